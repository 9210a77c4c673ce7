"""Jobs that share a dataset: what two threads train in the time of one, and what four hold in the memory of one.

``python -m benchmarks.jobs`` wants a quiet machine: it is the one benchmark that compares wall-clock seconds. With
``--engine bitplane``, threads share a store of bit planes.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from statistics import median
from typing import Any

import joblib
from rich.console import Console

from benchmarks.common import (
    add_size,
    alone,
    measured,
    plan_over,
    ratio_table,
    run_in_scratch,
    usual_configurations,
    write_large,
)
from benchmarks.engine import MAX_BIN, SEED
from signal_miner.engine.binning import BinnedFolds
from signal_miner.engine.bitplane.folds import PlaneFolds
from signal_miner.engine.boosters import FoldData, FoldSource
from signal_miner.engine.trial import train_fold
from signal_miner.experiment.engines import ENGINES, LIGHTGBM


def throughput(data: Path, engine: str, drawn: list[dict[str, Any]], repeats: int) -> list[tuple[float, float]]:
    """Return wall-clock seconds of training all configurations by one thread and by two, in turn, `repeats` times."""
    fold = _newest_fold(data, engine)
    train_fold(fold, drawn[0] | {"n_estimators": 2}, SEED)  # compiles
    return [(_seconds(fold, drawn, 1), _seconds(fold, drawn, 2)) for _ in range(repeats)]


def trained_by(data: Path, engine: str, drawn: list[dict[str, Any]], jobs: int) -> None:
    """Train all configurations, so many at a time."""
    _seconds(_newest_fold(data, engine), drawn, jobs)


def _newest_fold(data: Path, engine: str) -> FoldData:
    plan = plan_over(data)
    source: FoldSource = PlaneFolds(plan.dataset, 1)
    if engine == LIGHTGBM:
        source = BinnedFolds(plan.dataset, plan.targets, SEED)
    return source.get(plan.scored_folds[-1], MAX_BIN, "target")


def _seconds(fold: FoldData, drawn: list[dict[str, Any]], jobs: int) -> float:
    workers = joblib.Parallel(n_jobs=jobs, backend="threading", batch_size=1)

    def train(params: dict[str, Any]) -> None:
        train_fold(fold, params, SEED)

    return measured(lambda: workers(joblib.delayed(train)(params) for params in drawn)).wall_seconds


def measure(given: argparse.Namespace, console: Console) -> None:
    """Run all and print one table."""
    data = write_large(Path("data"), given).resolve()
    drawn = usual_configurations(given.configurations, given.trees, given.colsample, MAX_BIN, SEED)
    seconds = alone(throughput, data, given.engine, drawn, given.repeats).result
    peaks = [alone(trained_by, data, given.engine, drawn, jobs).peak_bytes for jobs in (1, 4)]
    ratios = sorted(one / two for one, two in seconds)
    title = f"{given.rows:,} rows x {given.features} features, {len(drawn)} configurations of {given.trees} trees"
    table = ratio_table(title, "", "one", "several", "ratio")
    one, two = (median(column) for column in zip(*seconds, strict=True))
    spread = f"{median(ratios):.2f} x ({ratios[0]:.2f} to {ratios[-1]:.2f})"
    table.add_row(f"two threads, wall s, median of {given.repeats}", f"{one:.2f}", f"{two:.2f}", spread)
    several = f"{peaks[1] / peaks[0]:.2f} x"
    table.add_row(
        "four jobs, peak memory of the process, GB", f"{peaks[0] / 1e9:.2f}", f"{peaks[1] / 1e9:.2f}", several
    )
    console.print(table)


def main() -> None:
    """Run the benchmark and print its table."""
    parser = argparse.ArgumentParser(description=__doc__)
    add_size(parser)
    parser.add_argument("--engine", choices=ENGINES, default=LIGHTGBM)
    parser.add_argument("--trees", type=int, default=200)
    parser.add_argument("--colsample", type=float, default=1.0)
    parser.add_argument("--configurations", type=int, default=4)
    parser.add_argument("--repeats", type=int, default=5)
    run_in_scratch(measure, parser)


if __name__ == "__main__":
    main()
