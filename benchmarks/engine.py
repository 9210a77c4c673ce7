"""Binned once against binned each time: our engine beside `LGBMRegressor.fit` on the raw matrix, on the same data.

``python -m benchmarks.engine`` writes a synthetic directory and trains some configurations on both folds each way, each
way in a process of its own and on one thread, and holds the predictions to each other. CPU seconds of the training,
with the one-off build of our datasets apart and together; peak memory of the whole process.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import lightgbm as lgb
import numpy as np
from numpy.typing import NDArray
from rich.console import Console

from benchmarks.common import (
    Measured,
    add_size,
    alone,
    measured,
    plan_over,
    ratio_table,
    raw_matrix,
    run_in_scratch,
    usual_configurations,
    write_large,
)
from signal_miner.engine.binning import BinnedFolds

MAX_BIN, SEED = 5, 0

Predictions = list[list[NDArray[Any]]]
"""Of each configuration, of each fold."""


def plain_model(params: dict[str, Any], trees: int) -> lgb.LGBMRegressor:
    """Return the model that a person would fit, on one thread."""
    own = {key: value for key, value in params.items() if key != "n_estimators"}
    return lgb.LGBMRegressor(n_estimators=trees, **own, random_state=SEED, n_jobs=1, verbosity=-1)


def the_plain_way(data: Path, drawn: list[dict[str, Any]]) -> Measured[Predictions]:
    """Fit and predict both folds from the raw matrix, for each configuration."""
    plan = plan_over(data)
    matrix, target = raw_matrix(plan), plan.dataset.read_target("target")

    def fitted() -> Predictions:
        predictions: Predictions = []
        for params in drawn:
            predictions.append([])
            for fold in plan.scored_folds:
                train, validation = (plan.dataset.rows_of(eras) for eras in (fold.train_eras, fold.validation_eras))
                model = plain_model(params, params["n_estimators"])
                model.fit(matrix[train], target[train])
                predictions[-1].append(np.asarray(model.predict(matrix[validation], num_threads=1)))
        return predictions

    return measured(fitted)


def ours(data: Path, drawn: list[dict[str, Any]]) -> tuple[Measured[Predictions], float]:
    """Bin both folds once and train each configuration on them; also the build's CPU seconds."""
    plan = plan_over(data)
    binned = BinnedFolds(plan.dataset, plan.targets, SEED)
    folds = measured(lambda: [binned.get(fold, MAX_BIN, "target") for fold in plan.scored_folds])

    def trained() -> Predictions:
        predictions: Predictions = []
        for params in drawn:
            predictions.append([])
            for fold in folds.result:
                booster = fold.start(params, SEED)
                booster.grow(params["n_estimators"])
                predictions[-1].append(booster.predictions())
        return predictions

    return measured(trained), folds.cpu_seconds


def measure(given: argparse.Namespace, console: Console) -> None:
    """Run both and print one table."""
    data = write_large(Path("data"), given).resolve()
    drawn = usual_configurations(given.configurations, given.trees, given.colsample, MAX_BIN, SEED)
    plain, own = alone(the_plain_way, data, drawn), alone(ours, data, drawn)
    trained, build = own.result
    difference = max(
        float(np.abs(one - other.astype(np.float32)).max())
        for mine, theirs in zip(trained.result, plain.result.result, strict=True)
        for one, other in zip(mine, theirs, strict=True)
    )
    seconds, with_build = plain.result.cpu_seconds, trained.cpu_seconds + build
    size = f"{given.rows:,} rows x {given.features} features"
    title = f"{size}, {given.trees} trees, colsample {given.colsample:g}, {len(drawn)} configurations x 2 folds"
    table = ratio_table(title, "", "CPU s", "ratio", "peak memory, GB")
    table.add_row("the plain way", f"{seconds:.2f}", "", f"{plain.peak_bytes / 1e9:.2f}")
    table.add_row(
        "ours, datasets built",
        f"{trained.cpu_seconds:.2f}",
        f"{seconds / trained.cpu_seconds:.1f} x",
        f"{own.peak_bytes / 1e9:.2f}",
    )
    table.add_row("building both folds, once", f"{build:.2f}", "", "")
    table.add_row("ours, with building", f"{with_build:.2f}", f"{seconds / with_build:.1f} x", "")
    table.add_row("largest difference of predictions", f"{difference:.1g}", "", "")
    console.print(table)


def main() -> None:
    """Run the benchmark and print its table."""
    parser = argparse.ArgumentParser(description=__doc__)
    add_size(parser)
    parser.add_argument("--trees", type=int, default=10)
    parser.add_argument("--colsample", type=float, default=0.1)
    parser.add_argument("--configurations", type=int, default=10)
    run_in_scratch(measure, parser)


if __name__ == "__main__":
    main()
