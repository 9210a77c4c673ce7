"""Bytes of a value of a binned dataset: resident, and at the peak of building it from parquet.

``python -m benchmarks.dataset_memory`` invents about 1.1 GB of raw features, builds the newest fold's dataset in a
process of its own, trains one booster on it, and counts from what the process held before.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import psutil
from rich.console import Console

from benchmarks.common import alone, measured, peak_bytes, plan_over, ratio_table, run_in_scratch
from benchmarks.engine import MAX_BIN, SEED
from benchmarks.full_size import write
from signal_miner.engine.binning import BinnedFolds
from signal_miner.engine.column_groups import return_free_memory


def resident_bytes() -> int:
    """Return what this process holds now, without free memory that allocators keep."""
    return_free_memory()
    return int(psutil.Process().memory_info().rss)


def built(data: Path) -> tuple[int, int, int, int, float]:
    """Build a fold; return its values, and bytes held for it: resident, at the peak, in training; and CPU seconds."""
    plan = plan_over(data)
    fold = plan.scored_folds[-1]
    before = resident_bytes()
    binned = BinnedFolds(plan.dataset, plan.targets, SEED)
    build = measured(lambda: binned.get(fold, MAX_BIN, "target"))
    peak, resident = peak_bytes() - before, resident_bytes() - before
    booster = build.result.start({"num_leaves": 15, "colsample_bytree": 0.1, "max_bin": MAX_BIN}, SEED)
    booster.grow(5)
    values = build.result.n_rows * len(plan.dataset.features)
    return values, resident, peak, resident_bytes() - before, build.cpu_seconds


def measure(given: argparse.Namespace, console: Console) -> None:
    """Run it and print one table."""
    data = Path("data").resolve()
    write(data, given)
    values, resident, peak, training, seconds = alone(built, data).result
    title = f"{values / 1e9:.2f} GB raw ({given.features} features), built in {seconds:.0f} CPU s"
    table = ratio_table(title, "", "GB", "bytes a value")
    for name, taken in (("resident", resident), ("at the peak of building", peak), ("with a booster", training)):
        table.add_row(name, f"{taken / 1e9:.2f}", f"{taken / values:.2f}")
    console.print(table)


def main() -> None:
    """Run the benchmark and print its table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=1_500_000)
    parser.add_argument("--features", type=int, default=740)
    run_in_scratch(measure, parser)


if __name__ == "__main__":
    main()
