"""A store of planes against LightGBM's datasets: what each takes to build from parquet, and how much it holds.

``python -m benchmarks.plane_store`` invents data, builds LightGBM's datasets of both folds and the store of all rows,
and opens the store again, which checks every bit of it; each in a process of its own.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from benchmarks.common import (
    Measured,
    alone,
    measured,
    plan_over,
    ratio_table,
    run_in_scratch,
)
from benchmarks.dataset_memory import resident_bytes
from benchmarks.engine import MAX_BIN, SEED
from benchmarks.full_size import write
from signal_miner.data.parquet_rows import footer_of
from signal_miner.engine.binning import BinnedFolds
from signal_miner.engine.bitplane.store import open_store
from signal_miner.experiment.plan import Plan


@dataclass(frozen=True)
class Built:
    """CPU seconds of building; bytes held before and after; bytes of planes."""

    cpu_seconds: float
    before: int
    after: int
    planes: int = 0


def _prepared(data: Path) -> tuple[Plan, int]:
    plan = plan_over(data)
    _ = plan.dataset.content  # which every study needs for its hash
    return plan, resident_bytes()


def datasets(data: Path) -> Built:
    """Bin both folds."""
    plan, before = _prepared(data)
    binned = BinnedFolds(plan.dataset, plan.targets, SEED)
    build = measured(lambda: [binned.get(fold, MAX_BIN, "target") for fold in plan.scored_folds])
    return Built(build.cpu_seconds, before, resident_bytes())


def store(data: Path, directory: Path) -> Built:
    """Open the store, and build it if it is not there."""
    plan, before = _prepared(data)
    build = measured(lambda: open_store(plan.dataset, directory))
    return Built(build.cpu_seconds, before, resident_bytes(), build.result.planes.nbytes)


def measure(given: argparse.Namespace, console: Console) -> None:
    """Run all and print one table."""
    data, directory = Path("data").resolve(), Path("planes").resolve()
    write(data, given)
    n_rows = sum(footer_of(data / f"{name}.parquet").n_rows for name in ("train", "validation"))
    values = n_rows * given.features
    table = ratio_table(
        f"{n_rows:,} rows x {given.features} features",
        *("", "CPU s", "ratio", "held, bytes a value", "peak of building, bytes a value"),
    )
    plain = alone(datasets, data)

    def add(name: str, done: Measured[Built], held: int) -> None:
        ratio = plain.result.cpu_seconds / done.result.cpu_seconds
        peak = (done.peak_bytes - done.result.before) / values
        table.add_row(name, f"{done.result.cpu_seconds:.2f}", f"{ratio:.1f} x", f"{held / values:.2f}", f"{peak:.2f}")

    add("LightGBM's datasets of both folds", plain, plain.result.after - plain.result.before)
    for name in ("store of planes", "the same, there already: checked"):
        done = alone(store, data, directory)
        add(name, done, done.result.planes)
    console.print(table)


def main() -> None:
    """Run the benchmark and print its table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=500_000)
    parser.add_argument("--features", type=int, default=740)
    run_in_scratch(measure, parser)


if __name__ == "__main__":
    main()
