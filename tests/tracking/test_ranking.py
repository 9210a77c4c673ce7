"""The leaderboard: who beats the benchmark, who held, and what that is worth where the benchmark loses."""

from __future__ import annotations

import io
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from signal_miner.cli.tables import print_leaderboard
from signal_miner.report.sentences import below_benchmark_sentence, leaderboard_sentence, shortfall_text
from signal_miner.scoring.objective import Objective
from signal_miner.tracking.comparison_view import COLORS, run_color
from signal_miner.tracking.ranking import Shortfall, below_benchmark, make_leaderboard
from signal_miner.tracking.records import TrackedTrial

SCORES = st.floats(-0.1, 0.1)


def model(
    number: int | None, validation: float, test: float, beats: tuple[bool, bool] = (False, False)
) -> TrackedTrial:
    metrics = {
        "validation/corr": validation,
        "validation/sharpe": 10 * validation,
        "test/corr": test,
        "test/sharpe": 10 * test,
    }
    kind = "benchmark" if number is None else "trial"
    tags = dict(zip(("validation", "test"), beats, strict=True))
    return TrackedTrial(f"{number}", kind, number, "FINISHED", {"n_estimators": "9"}, metrics, tags)


@given(SCORES, SCORES, st.booleans(), st.booleans())
def test_nothing_that_loses_wins(validation: float, test: float, past: bool, future: bool) -> None:
    trial = model(1, validation, test, (past, future))
    assert trial.wins == {"validation": past and validation > 0, "test": future and test > 0}
    assert trial.held == (past and future and min(validation, test) > 0)
    assert (run_color("trial", trial.wins) == COLORS["both"]) == trial.held
    if validation <= 0:
        assert run_color("trial", trial.wins) == COLORS["neither"]


LOSERS = [
    model(1, 0.02, -0.002, (True, True)),
    model(2, 0.01, 0.003, (True, True)),
    model(3, -0.001, 0.1, (True, True)),
]


def test_a_trial_that_loses_less_than_the_benchmark_has_not_held() -> None:
    board = make_leaderboard(LOSERS, model(None, -0.0171, -0.02), Objective.SHARPE)
    assert [place.trial.number for place in board.held] == [2]
    assert leaderboard_sentence(board) == (
        "3 trials finished; 3 beat the benchmark in validation (CORR and Sharpe), of which 1 held up in test. "
        "The benchmark's own CORR is −0.0171 in validation and −0.0200 in test, not above 0, so beating it means "
        "little there."
    )
    shown = io.StringIO()
    print_leaderboard(board, Console(file=shown, width=140))
    assert re.findall(r"(?m)^ *\d +(trial \d{4}) .* (\w+) *$", shown.getvalue()) == [
        ("trial 0001", "validation"),
        ("trial 0002", "both"),
        ("trial 0003", "validation"),
    ]


def test_a_benchmark_that_gains_is_not_commented_on() -> None:
    board = make_leaderboard(LOSERS, model(None, 0.001, 0.002), Objective.SHARPE)
    assert board.benchmark_losses == {}
    assert leaderboard_sentence(board).endswith("of which 1 held up in test.")


@pytest.mark.parametrize(
    ("own", "benchmark", "sentence"),
    [
        (0.01, 0.02, "Below the benchmark in test: Sharpe 0.10 against 0.20"),
        (-0.01, -0.02, "Its CORR in test is −0.0100, not above 0"),
        (0.02, 0.01, ""),
    ],
)
def test_a_model_that_disappoints_in_test(own: float, benchmark: float, sentence: str) -> None:
    models = model(1, 0.1, own).metrics, model(None, 0.1, benchmark).metrics
    assert below_benchmark_sentence(*models, Objective.SHARPE) == sentence


@given(st.floats(-5, 5), st.floats(-5, 5))
def test_digits_are_as_many_as_it_takes_to_differ(own: float, other: float) -> None:
    shortfall = below_benchmark({"test/sharpe": own}, {"test/sharpe": other}, Objective.SHARPE)
    assert (shortfall is not None) == (own < other)
    if shortfall is not None:
        first, second = re.fullmatch(r"Sharpe (\S+) against (\S+)", shortfall_text(shortfall)).groups()
        assert first != second
    assert shortfall_text(Shortfall(Objective.CORR, 0.01, 0.02)) == "CORR 0.0100 against 0.0200"
