"""What a trial costs beside its training: study, scoring and tracking, as shares of the training's CPU time.

``python -m benchmarks.trial_overhead`` writes a synthetic directory of 500,000 rows and 42 features, bins it, and
runs trials one after another through the same functions as the miner. CPU seconds of the process, median of the
trials. The one-off build of the binned folds is given apart.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path
from statistics import median

from rich.console import Console

from benchmarks.common import add_size, measured, ratio_table, run_in_scratch, write_large
from signal_miner.data.sources import open_source
from signal_miner.engine.binning import BinnedFolds
from signal_miner.engine.metrics import trial_metrics
from signal_miner.engine.trial import run_trial, train_fold
from signal_miner.engine.validation_rows import fold_rows, fold_scorers
from signal_miner.experiment.plan import make_plan
from signal_miner.experiment.schema import BENCHMARK, parse_experiment
from signal_miner.mining.search import Search
from signal_miner.tracking.artifacts import write_artifacts
from signal_miner.tracking.study_writer import Tracker


def main() -> None:
    """Run the benchmark and print its table."""
    parser = argparse.ArgumentParser(description=__doc__)
    add_size(parser)
    parser.add_argument("--trees", type=int, default=200)
    parser.add_argument("--trials", type=int, default=5)
    run_in_scratch(measure, parser)


def measure(given: argparse.Namespace, console: Console) -> None:
    """Mine a few trials step by step."""
    data = write_large(Path("data"), given)
    experiment = parse_experiment(
        {
            "name": "overhead",
            "data": str(data),
            "targets": ["target"],
            "grid": {
                "n_estimators": [given.trees],
                "learning_rate": {"from": 0.005, "to": 0.1, "count": 200},
                "max_depth": [5],
                "num_leaves": [15],
                "colsample_bytree": [0.3, 1.0],
                "max_bin": [5],
            },
            "benchmark": {"n_estimators": given.trees, "max_depth": 5, "num_leaves": 15, "max_bin": 5},
        }
    )
    plan = make_plan(experiment, open_source(str(data), "all", "target", ["target"]))
    binned = BinnedFolds(plan.dataset, plan.targets, seed=0)
    folds = plan.scored_folds
    built = measured(lambda: [binned.get(fold, 5, "target") for fold in folds])
    bins, build = built.result, built.cpu_seconds
    scorers, rows = fold_scorers(plan), fold_rows(plan)
    reference = run_trial(binned, folds, scorers, plan.benchmark, 0)
    scorers = {
        part.fold.number: scorers[part.fold.number].with_benchmark(BENCHMARK, part.predictions[:, 0])
        for part in reference.folds
    }
    benchmark = {part.fold.number: scorers[part.fold.number].score(part.predictions) for part in reference.folds}
    search = Search(plan.study, plan.grid, 0, "studies")
    tracker = Tracker("overhead", plan.study, plan.config_hash, "sqlite:///mlflow.db")
    seconds: dict[str, list[float]] = {"training": [], "scoring": [], "study": [], "tracking": []}
    for _ in range(given.trials):
        asked = measured(search.ask)
        draw = asked.result
        if draw is None:
            raise RuntimeError("the grid is exhausted; ask for fewer trials")
        trained = measured(lambda: [train_fold(data, draw.params, 0) for data in bins])  # noqa: B023

        def score() -> None:
            for fold, predictions in zip(folds, trained.result, strict=True):  # noqa: B023
                scorers[fold.number].score(predictions, (BENCHMARK,))
                scorers[fold.number].score(predictions[:, [-1, 0]])

        scoring = measured(score)
        result = run_trial(binned, folds, scorers, draw.params, 0)

        def track() -> None:
            metrics = trial_metrics(result, benchmark)  # noqa: B023
            with tempfile.TemporaryDirectory() as directory:
                write_artifacts(Path(directory), result, rows)  # noqa: B023
                tracker.log_trial(draw.number, draw.params, metrics, Path(directory), time.time())  # noqa: B023

        tracking = measured(track)
        reported = measured(lambda: search.tell(draw.number, 1.0))  # noqa: B023
        for name, value in (
            ("training", trained.cpu_seconds),
            ("scoring", scoring.cpu_seconds),
            ("study", asked.cpu_seconds + reported.cpu_seconds),
            ("tracking", tracking.cpu_seconds),
        ):
            seconds[name].append(value)
    size = f"{len(plan.dataset):,} rows x {given.features} features"
    table = ratio_table(f"{size}, {given.trees} trees, a trial of 2 folds", "part", "CPU s", "of training")
    training = median(seconds["training"])
    for name, values in seconds.items():
        table.add_row(name, f"{median(values):.3f}", "" if name == "training" else f"{median(values) / training:.1%}")
    beside = sum(median(values) for name, values in seconds.items() if name != "training")
    table.add_row("all but training", f"{beside:.3f}", f"{beside / training:.1%}")
    table.add_row("build, once a study", f"{build:.3f}", f"{build / training:.1%}")
    console.print(table)


if __name__ == "__main__":
    main()
