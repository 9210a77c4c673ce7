"""Binned once against binned each time: our engine beside `LGBMRegressor.fit` on the raw matrix, on the same data.

``python -m benchmarks.engine`` writes an invented directory, trains some configurations on both folds each way, one
thread, and holds the predictions to each other. CPU seconds of the process; the one-off build apart and with it.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import lightgbm as lgb
import numpy as np
from rich.console import Console
from rich.table import Table

from benchmarks.trial_overhead import write_large
from signal_miner.binning import BinnedFolds
from signal_miner.experiment import parse_experiment
from signal_miner.plan import Plan, make_plan
from signal_miner.sources import open_source
from signal_miner.trial import booster_params, grow, start_booster, validation_predictions

T = TypeVar("T")
MAX_BIN, SEED = 5, 0


def timed(work: Callable[[], T]) -> tuple[T, float]:
    """Return what `work` returns and the CPU seconds it took."""
    started = time.process_time()
    return work(), time.process_time() - started


def configurations(count: int, trees: int) -> list[dict[str, Any]]:
    """Return configurations as a random search draws them."""
    generator = np.random.default_rng(SEED)
    return [
        {
            "n_estimators": trees,
            "learning_rate": float(generator.uniform(0.005, 0.1)),
            "max_depth": int(generator.integers(4, 8)),
            "num_leaves": 15,
            "colsample_bytree": float(generator.choice([0.1, 0.3, 1.0])),
            "max_bin": MAX_BIN,
        }
        for _ in range(count)
    ]


def the_plain_way(plan: Plan, matrix: np.ndarray, target: np.ndarray, params: dict[str, Any]) -> list[np.ndarray]:
    """Fit and predict both folds from raw matrices."""
    own = {key: value for key, value in booster_params(params, SEED).items() if key not in ("objective", "metric")}
    predictions = []
    for fold in plan.scored_folds:
        train, validation = (plan.dataset.rows_of(eras) for eras in (fold.train_eras, fold.validation_eras))
        model = lgb.LGBMRegressor(n_estimators=params["n_estimators"], **own)
        model.fit(matrix[train], target[train])
        predictions.append(model.predict(matrix[validation], num_threads=1))
    return predictions


def ours(plan: Plan, binned: BinnedFolds, params: dict[str, Any]) -> list[np.ndarray]:
    """Train and predict both folds on datasets that are binned already."""
    predictions = []
    for fold in plan.scored_folds:
        booster = start_booster(binned.get(fold, MAX_BIN, "target"), params, SEED)
        grow(booster, params["n_estimators"])
        predictions.append(validation_predictions(booster))
    return predictions


def measure(given: argparse.Namespace, console: Console) -> None:
    """Run both and print one table."""
    data = write_large(Path("data"), given)
    experiment = parse_experiment(
        {
            "name": "engine",
            "data": str(data),
            "targets": ["target"],
            "grid": {"n_estimators": [given.trees]},
            "benchmark": {"n_estimators": given.trees},
        }
    )
    plan = make_plan(experiment, open_source(str(data), "all", "target", ["target"]))
    whole = slice(0, len(plan.dataset))
    columns = plan.dataset.read_features(plan.dataset.features, whole).columns
    matrix = np.column_stack([column.to_numpy() for column in columns])
    target = plan.dataset.read_target("target")
    drawn = configurations(given.configurations, given.trees)
    plain, plain_seconds = timed(lambda: [the_plain_way(plan, matrix, target, params) for params in drawn])
    binned = BinnedFolds(plan.dataset, plan.targets, SEED)
    _, build = timed(lambda: [binned.get(fold, MAX_BIN, "target") for fold in plan.scored_folds])
    own, own_seconds = timed(lambda: [ours(plan, binned, params) for params in drawn])
    difference = max(
        float(np.abs(one - other.astype(np.float32)).max())
        for mine, theirs in zip(own, plain, strict=True)
        for one, other in zip(mine, theirs, strict=True)
    )
    size = f"{len(plan.dataset):,} rows x {len(plan.dataset.features)} features, {given.trees} trees"
    table = Table(title=f"{size}, {len(drawn)} configurations x 2 folds", title_justify="left")
    for name in ("", "CPU s", "ratio"):
        table.add_column(name, justify="left" if not name else "right")
    table.add_row("the plain way", f"{plain_seconds:.2f}", "")
    table.add_row("ours, datasets built", f"{own_seconds:.2f}", f"{plain_seconds / own_seconds:.1f} x")
    table.add_row("building both folds, once", f"{build:.2f}", "")
    table.add_row("ours, with building", f"{own_seconds + build:.2f}", f"{plain_seconds / (own_seconds + build):.1f} x")
    table.add_row("largest difference of predictions", f"{difference:.1g}", "")
    console.print(table)


def main() -> None:
    """Run the benchmark and print its table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=500_000)
    parser.add_argument("--features", type=int, default=42)
    parser.add_argument("--eras", type=int, default=100)
    parser.add_argument("--trees", type=int, default=10)
    parser.add_argument("--configurations", type=int, default=10)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        os.chdir(scratch)
        measure(given, Console())


if __name__ == "__main__":
    main()
