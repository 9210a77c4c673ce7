"""The Python face of a mined study."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from matplotlib.figure import Figure

import signal_miner
from signal_miner.errors import UserError
from signal_miner.tracking.studies import Studies


@pytest.fixture(scope="module")
def uri(tiny_study: Path) -> str:
    return f"sqlite:///{tiny_study / 'mlflow.db'}"


def test_leaderboard_holds_the_tracked_metrics_best_first(uri: str) -> None:
    frame = signal_miner.leaderboard("tiny", uri)
    study = Studies(uri).find()
    assert frame["validation/sharpe"].is_monotonic_decreasing
    assert len(frame) == 1 + sum(trial.finished for trial in study.trials)
    for trial in (study.benchmark, *study.trials):
        if trial.finished:
            assert frame.loc[trial.name, "test/corr"] == trial.metrics["test/corr"]
            assert frame.loc[trial.name, "learning_rate"] == float(trial.params["learning_rate"])
            assert frame.loc[trial.name, "target"] == trial.params["target"]
            assert frame.loc[trial.name, "run_id"] == trial.run_id


def test_comparison_with_the_benchmark_is_a_difference(uri: str) -> None:
    board, compared = signal_miner.leaderboard(None, uri), signal_miner.compare_to_benchmark(None, uri)
    assert "benchmark" not in compared.index
    for section in ("validation", "test"):
        above = board[f"{section}/sharpe"] - board.loc["benchmark", f"{section}/sharpe"]
        assert compared[f"{section}/sharpe_over_benchmark"].to_dict() == pytest.approx(
            above.loc[compared.index].to_dict()
        )


def test_past_against_future_is_a_figure(uri: str) -> None:
    assert isinstance(signal_miner.past_vs_future("tiny", uri), Figure)


def test_a_study_that_is_not_there(uri: str) -> None:
    with pytest.raises(UserError, match="study 'tinny' is not tracked; did you mean 'tiny'"):
        signal_miner.leaderboard("tinny", uri)


def test_the_package_imports_without_what_a_worker_does_not_need() -> None:
    program = "import signal_miner, sys; print(sorted({'mlflow', 'matplotlib', 'optuna'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_names_that_are_not_there() -> None:
    with pytest.raises(AttributeError, match="No signal_miner attribute leader_board"):
        signal_miner.leader_board  # noqa: B018
