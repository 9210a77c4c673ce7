"""The report of a large study: seconds and memory.

``python -m benchmarks.report write DIRECTORY`` invents 3,000 trials of 814 eras and tracks them through the project's
own tracker (about ten minutes). ``python -m benchmarks.report report DIRECTORY`` then makes the report as a person
would and prints what it took.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import psutil
import pyarrow as pa

from signal_miner.data.folds import Fold
from signal_miner.engine.metrics import trial_metrics
from signal_miner.engine.trial import FoldResult, TrialResult
from signal_miner.engine.validation_rows import FoldRows
from signal_miner.experiment.schema import BENCHMARK
from signal_miner.scoring.best_checkpoint import best_checkpoint
from signal_miner.scoring.scorer import EraScores
from signal_miner.tracking.artifacts import write_artifacts
from signal_miner.tracking.records import StudyRecord
from signal_miner.tracking.study_writer import Tracker
from signal_miner.utils.validation import Value

STUDY = "large-00000000"
FIRST_ERA, PURGE, CHECKPOINTS = 408, 16, 20
SPREAD, SHARED, OWN = 0.004, 0.025, 0.012
"""Of the trials' skill, of what all have in common in an era, and of a trial's own noise: CORR."""


def write(directory: Path, given: argparse.Namespace) -> None:
    """Invent and track a study."""
    directory.mkdir(parents=True)
    os.chdir(directory)
    half = given.eras // 2
    spans = [(FIRST_ERA, FIRST_ERA + half), (FIRST_ERA + half, FIRST_ERA + 2 * half)]
    folds = [
        Fold(number, tuple(range(1, first - PURGE)), tuple(range(first, last)))
        for number, (first, last) in enumerate(spans, start=1)
    ]
    rows = {
        fold.number: FoldRows(
            pa.array([f"n{era:04d}{row:04d}" for era in fold.validation_eras for row in range(given.rows)]),
            pa.array([f"{era:04d}" for era in fold.validation_eras for _ in range(given.rows)]),
            tuple(f"{era:04d}" for era in fold.validation_eras),
        )
        for fold in folds
    }
    tracker = Tracker("large", STUDY, "0" * 64)
    run_id = tracker.open_study()
    tracker.begin_study(run_id, _record(folds, given.trials))
    generator = np.random.default_rng(0)
    shared = {fold.number: SHARED * generator.standard_normal((half, 1)) for fold in folds}
    reference = {}
    for number in range(-1, given.trials):
        skill = SPREAD * generator.standard_normal()
        parts = []
        for fold in folds:
            curve = 0.02 + skill * np.linspace(0.4, 1, CHECKPOINTS) + shared[fold.number]
            curve = curve + OWN * generator.standard_normal((half, 1))
            curve = curve + OWN / 4 * generator.standard_normal((half, CHECKPOINTS))
            parts.append(curve)
        best = best_checkpoint(parts[0])
        results = []
        for fold, curve in zip(folds, parts, strict=True):
            both = curve[:, [-1, best]]
            predictions = generator.standard_normal((half * given.rows, 2)).astype(np.float32)
            near = np.clip(0.6 + 20 * skill + 0.05 * generator.standard_normal((half, 2)), -1, 1)
            scores = EraScores(np.array(fold.validation_eras), both, {BENCHMARK: both / 2}, {BENCHMARK: near})
            results.append(FoldResult(fold, predictions, scores, curve, curve / 2))
            if number < 0:
                reference[fold.number] = scores
        params: dict[str, Value] = {
            "n_estimators": 2000,
            "learning_rate": float(generator.choice([0.01, 0.02, 0.05, 0.1])),
            "max_depth": int(generator.integers(3, 9)),
            "colsample_bytree": round(float(generator.uniform(0.05, 1)), 2),
            "target": str(generator.choice(["target", "target_cyrusd_60", "target_teager2b_60"])),
        }
        points = tuple(np.linspace(100, 2000, CHECKPOINTS).astype(int).tolist())
        result = TrialResult(params, points, best, tuple(results), 1.0)
        with tempfile.TemporaryDirectory() as scratch:
            write_artifacts(Path(scratch), result, rows)
            tracker.log_trial(
                None if number < 0 else number, params, trial_metrics(result, reference), Path(scratch), time.time()
            )
    tracker.end_study(run_id, "FINISHED", {"trials/finished": given.trials}, "Synthetic.")


def _record(folds: list[Fold], trials: int) -> StudyRecord:
    listed = [
        {"number": fold.number, "train_eras": fold.train_eras, "validation_eras": fold.validation_eras}
        for fold in folds
    ]
    plan = {
        "study": STUDY,
        "config_hash": "0" * 64,
        "experiment": {
            "name": "large",
            "scoring_target": "target",
            "horizon_days": 60,
            "scoring_horizon_days": 60,
            "trials": trials,
            "folds": {"count": 2, "embargo_eras": None, "holdout_eras": 0, "train_era_step": 1},
            "grid": {
                "n_estimators": [2000],
                "learning_rate": [0.01, 0.02, 0.05, 0.1],
                "max_depth": [3, 4, 5, 6, 7, 8],
                "colsample_bytree": [round(value, 2) for value in np.arange(0.05, 1.01, 0.01)],
                "target": ["target", "target_cyrusd_60", "target_teager2b_60"],
            },
            "benchmark": {"n_estimators": 2000, "target": "target"},
        },
        "data": {"digest": "0" * 16},
        "targets": {name: {"purge_eras": PURGE, "folds": listed} for name in ("target", "target_cyrusd_60")},
        "holdout_eras": [],
        "era_labels": {str(era): f"{era:04d}" for era in range(1, folds[-1].validation_eras[-1] + 1)},
    }
    return StudyRecord(STUDY, "0" * 64, {"data": "synthetic"}, "", plan, "synthetic", "0" * 16, "0" * 16, "", {})


def report(directory: Path) -> None:
    """Make the report in its own process and print its time and memory."""
    command = [sys.executable, "-m", "signal_miner", "report", "--study", STUDY]
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).resolve().parents[1])}
    started, most, seconds = time.monotonic(), 0, 0.0
    process = subprocess.Popen(command, cwd=directory, env=environment)
    watched = psutil.Process(process.pid)
    while process.poll() is None:
        try:
            most = max(most, watched.memory_info().rss)
            seconds = sum(watched.cpu_times()[:2])
        except psutil.Error:
            break
        time.sleep(0.1)
    print(f"{time.monotonic() - started:.1f} s, {seconds:.1f} CPU s, peak {most / 1e9:.2f} GB")


def main() -> None:
    """Track the study, or report on it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("step", choices=("write", "report"))
    parser.add_argument("directory", type=Path)
    parser.add_argument("--trials", type=int, default=3000)
    parser.add_argument("--eras", type=int, default=814)
    parser.add_argument("--rows", type=int, default=20, help="rows of an era")
    given = parser.parse_args()
    write(given.directory, given) if given.step == "write" else report(given.directory)


if __name__ == "__main__":
    main()
