"""Tables in a terminal: whole names and numbers at any width, fewer columns where it is narrow."""

from __future__ import annotations

import io
import re
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from rich.console import Console

from signal_miner.cli.tables import print_ensemble, print_holdout, print_leaderboard
from signal_miner.ensemble.maker import EnsembleSummary
from signal_miner.ensemble.members import Ensemble, Member
from signal_miner.ensemble.runs import TrackedEnsemble
from signal_miner.scoring.objective import Objective
from signal_miner.tracking.ranking import make_leaderboard
from signal_miner.tracking.records import TrackedTrial
from signal_miner.utils.formatting import number_text
from tests.helpers.report import make_contents

CONTENTS = make_contents(n_trials=1200, n_eras=8, n_checkpoints=2)
BENCHMARK = replace(CONTENTS.benchmark, metrics={**CONTENTS.benchmark.metrics, "validation/sharpe": -3.0})
WIDTHS = (60, 80, 100, 140)


def best(trial: TrackedTrial) -> TrackedTrial:
    """Return a trial that has scores at its best checkpoint, too."""
    scores = {f"best/{name.replace('/', '_')}": value for name, value in trial.metrics.items()}
    return replace(trial, metrics={**scores, **trial.metrics})


def leaderboard(console: Console) -> None:
    print_leaderboard(make_leaderboard(CONTENTS.trials, BENCHMARK, Objective.SHARPE), console)


def ensemble(console: Console) -> None:
    members = tuple(map(best, CONTENTS.trials[:3]))
    made = Ensemble("demo", tuple(Member(each.run_id, each.number or 0, {}, 1234, 1 / 3) for each in members), None, {})
    tracked = TrackedEnsemble("e", "1", "ensemble 12", made, {**members[0].metrics, "test/sharpe": -2.25}, {})
    print_ensemble(EnsembleSummary(tracked, members, np.eye(3)), BENCHMARK, console)


def opened(console: Console) -> None:
    scores = {"corr": 0.0123, "sharpe": -0.45, "max_drawdown": 0.12, "bmc": 0.0012, "benchmark_corr": 0.51}
    result = SimpleNamespace(
        scores=SimpleNamespace(model_scores=scores, benchmark_scores=scores),
        opening=SimpleNamespace(eras="0089–0100", result="CORR 0.0123"),
    )
    model = SimpleNamespace(name="ensemble 12", metrics=CONTENTS.trials[0].metrics)
    print_holdout(result, BENCHMARK, model, console)


def printed(table: object, width: int, terminal: bool = True) -> list[str]:
    shown = io.StringIO()
    table(Console(file=shown, force_terminal=terminal, width=width, color_system=None))  # type: ignore[operator]
    return shown.getvalue().splitlines()


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("table", [leaderboard, ensemble, opened])
def test_no_name_or_number_is_cut(table: object, width: int) -> None:
    lines = printed(table, width)
    assert max(map(len, lines)) <= width
    cut = [line for line in lines if "…" in line and line.strip() != "…"]
    assert not cut
    rows = [line for line in lines if re.search(r"^ *(\d+ +)?(trial \d{4}|ensemble 12|benchmark|holdout) ", line)]
    assert len(rows) >= (1 if table is opened else 5)
    text = "\n".join(lines)
    assert text.count("CORR") >= 2 or width < 80
    assert len(re.findall(r"\bSharpe\b", text)) >= 2


@pytest.mark.parametrize(("width", "left_out"), [(60, ["BMC", "trees"]), (80, ["drawdown", "trees"]), (140, [])])
def test_the_least_important_columns_go_first(width: int, left_out: list[str]) -> None:
    head = "\n".join(printed(leaderboard, width)[:5])
    assert [each for each in ("BMC", "drawdown", "trees") if each not in head] == [
        each for each in ("BMC", "drawdown", "trees") if each in left_out or (each == "drawdown" and width == 60)
    ]
    assert "CORR" in head
    assert head.count("Sharpe") >= 3  # the title's, validation's and test's
    assert "beats" in head


def test_a_gap_stands_before_a_benchmark_further_down() -> None:
    lines = printed(leaderboard, 80)
    place = next(number for number, line in enumerate(lines) if " benchmark " in line and "-3.00" in line)
    assert lines[place - 1].strip() == "…"
    assert lines[place - 2].split()[0] == "10"
    eleventh = CONTENTS.trials[9].metrics["validation/sharpe"] - 1e-9
    near = replace(BENCHMARK, metrics={**BENCHMARK.metrics, "validation/sharpe": eleventh})
    shown = io.StringIO()
    print_leaderboard(
        make_leaderboard(CONTENTS.trials, near, Objective.SHARPE), Console(file=shown, force_terminal=True, width=80)
    )
    assert "…" not in shown.getvalue()


def test_a_file_has_every_column() -> None:
    assert [line.rstrip() for line in printed(leaderboard, 60, terminal=False)[1:5]] == [
        line.rstrip() for line in printed(leaderboard, 140)[1:5]
    ]


def test_an_ensemble_below_the_benchmark_in_test_is_said_to_be() -> None:
    below = [line for line in printed(ensemble, 80) if line.startswith("Below the benchmark")]
    other = number_text(BENCHMARK.metrics["test/sharpe"])
    assert below == [f"Below the benchmark in test: Sharpe −2.25 against {other}"]
