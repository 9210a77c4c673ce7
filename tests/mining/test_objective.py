"""What a study looks for: ranked by it from the first trial, or anew; and the multipliers that it pays by."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from signal_miner.data.payout_file import PublishedPayout, write_payout
from signal_miner.scoring.payout import Payout
from signal_miner.tracking.frames import leaderboard
from tests.helpers.mining import artifact, client_of, mine_here, runs_of, write_experiment
from tests.helpers.study import copy_study

KEPT = ("beats_benchmark.", "signal_miner.o", "signal_miner.p", "mlflow.runC")


@pytest.fixture(scope="module")
def mined_for_payout(tiny_study: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("payout")
    write_experiment(directory, tiny_study / "numerai")
    assert mine_here(directory, "--objective", "payout").returncode == 0
    return directory


def without_payouts(directory: Path) -> None:
    """Leave a study as it was tracked before there were payouts."""
    with closing(sqlite3.connect(directory / "mlflow.db")) as store, store:
        for table in ("latest_metrics", "metrics"):
            store.execute(f"delete from {table} where key like '%payout%'")
        store.execute("delete from tags where key in ('signal_miner.objective', 'signal_miner.payout')")


def scored(directory: Path) -> dict[str, tuple[dict[str, float], dict[str, str]]]:
    """Return what follows from the objective: metrics as drawn, and tags, by run."""
    return {
        run.info.run_name: (
            {name: value for name, value in run.data.metrics.items() if "best/" not in name and "_s" not in name},
            {name: value for name, value in run.data.tags.items() if name.startswith(KEPT)},
        )
        for run in (*runs_of(directory, "benchmark"), *runs_of(directory))
    }


@pytest.mark.parametrize("old", [False, True])
def test_a_finished_study_is_ranked_anew_without_training(tiny_study, mined_for_payout, tmp_path, monkeypatch, old):
    directory = copy_study(tiny_study, tmp_path / "study")
    before = runs_of(directory)
    if old:
        without_payouts(directory)

    def refuse(*_arguments: object, **_options: object) -> None:
        raise AssertionError("nothing is to be trained")

    monkeypatch.setattr("signal_miner.engine.trial.train_fold", refuse)
    done = mine_here(directory, "--objective", "payout")
    assert done.returncode == 0, done.stderr
    assert "Ranking 10 trials anew by payout" in done.stdout
    assert "Leaderboard by validation payout" in done.stdout
    assert [run.info.run_id for run in runs_of(directory)] == [run.info.run_id for run in before]
    again, fresh = scored(directory), scored(mined_for_payout)
    assert again.keys() == fresh.keys()
    for name, (metrics, tags) in fresh.items():
        curves = {"validation/payout_curve", "test/payout_curve"} if old else set()
        assert again[name] == ({k: v for k, v in metrics.items() if k not in curves}, tags), name
    board = leaderboard(tracking_uri=f"sqlite:///{directory / 'mlflow.db'}")
    assert board["validation/payout"].is_monotonic_decreasing
    for run in runs_of(directory):
        assert {"best/validation_payout", "best/test_payout_sharpe"} <= run.data.metrics.keys()
    back = mine_here(directory)
    assert "Ranking 10 trials anew by Sharpe" in back.stdout
    assert "Ranking" not in mine_here(directory).stdout


def test_the_best_checkpoint_is_that_of_the_highest_payout(mined_for_payout) -> None:
    for run in runs_of(mined_for_payout):
        history = client_of(mined_for_payout).get_metric_history(run.info.run_id, "validation/payout_curve")
        best = max(history, key=lambda point: (point.value, -point.step))
        assert run.data.metrics["best/trees"] == best.step
        assert run.data.metrics["best/validation_payout"] == pytest.approx(best.value, abs=1e-12)
        assert run.data.metrics["validation/payout"] == pytest.approx(history[-1].value, abs=1e-12)
        curve = artifact(mined_for_payout, run, "curve_scores.parquet")
        assert {f"bmc_{point.step}" for point in history} <= set(curve)
    (benchmark,) = runs_of(mined_for_payout, "benchmark")
    corr = artifact(mined_for_payout, benchmark, "era_scores.parquet").query("fold == 1")["corr"]
    assert benchmark.data.metrics["validation/payout"] == pytest.approx((3 * corr).clip(-1, 1).mean(), abs=1e-9)


def test_other_multipliers_do_not_continue_a_study(mined_for_payout, tmp_path) -> None:
    directory = copy_study(mined_for_payout, tmp_path / "study")
    path = directory / "tiny.toml"
    written = path.read_text()
    path.write_text(f"{written}\n[payout]\ncorr = 5\nmmc = 10\nclip = 1\n")
    refused = mine_here(directory, "--objective", "payout", "--trials", "11")
    assert refused.returncode == 2
    assert (
        "began with payouts of 3 × CORR + 15 × MMC, clipped to ±1, and they are 5 × CORR + 10 × MMC, clipped to ±1 now"
        in refused.stderr
    )
    assert len(runs_of(directory)) == 10
    path.write_text(f"{written}\n[payout]\ncorr = 3\nmmc = 15\nclip = 1\n")
    assert mine_here(directory, "--objective", "payout").returncode == 0


def test_multipliers_are_those_of_the_experiment_or_the_data_or_the_default(tiny_study, tmp_path) -> None:
    data = tmp_path / "numerai"
    data.mkdir()
    for file in (tiny_study / "numerai").iterdir():
        (data / file.name).write_bytes(file.read_bytes())
    path = write_experiment(tmp_path, data, trials=1)
    assert "3 × CORR + 15 × MMC" in mine_here(tmp_path).stdout
    write_payout(data, PublishedPayout(Payout(5.0, 10.0, 0.5), 1400, "2027-01-02"))
    refused = mine_here(tmp_path)
    assert (refused.returncode, "they are 5 × CORR + 10 × MMC" in refused.stderr) == (2, True)
    done = mine_here(tmp_path, "--name", "other")
    assert "5 × CORR + 10 × MMC, clipped to ±0.5" in done.stdout
    assert "round 1400" in done.stdout
    runs = [run for kind in ("study", "benchmark", "trial") for run in runs_of(tmp_path, kind)]
    paid = {run.data.tags["signal_miner.payout"] for run in runs if "other" in run.data.tags["signal_miner.study"]}
    assert paid == {"5 × CORR + 10 × MMC, clipped to ±0.5"}
    path.write_text(path.read_text() + "\n[payout]\ncorr = 1\nmmc = 0\nclip = 0.1\n")
    done = mine_here(tmp_path, "--name", "third")
    assert "1 × CORR + 0 × MMC, clipped to ±0.1" in done.stdout
    (study,) = (run for run in runs_of(tmp_path, "study") if run.data.params["payout"].startswith("1 ×"))
    plan = json.loads((tmp_path / study.info.artifact_uri.removeprefix("file://") / "plan.json").read_text())
    assert plan["experiment"]["payout"] == {"corr": 1.0, "mmc": 0.0, "clip": 0.1}
    assert plan["experiment"]["objective"] == "sharpe"
    (data / "payout.json").write_text('{"payout": {"corr": "x"}}')
    path.write_text(path.read_text().replace("[payout]\ncorr = 1\nmmc = 0\nclip = 0.1\n", ""))
    assert "is not a record of payouts" in mine_here(tmp_path).stderr
