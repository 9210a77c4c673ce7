"""Trees on planes of bits against LightGBM's on built datasets: the same rows, parameters and checkpoints.

``python -m benchmarks.bitplane`` invents data, bins the newer fold and stores its planes, and trains each shape of tree
by both engines in turn, on one thread, with predictions of the validation rows at 20 checkpoints. CPU seconds, medians;
neither building nor compiling is counted. ``--avx2`` compiles for processors without AVX-512.
"""

from __future__ import annotations

import argparse
import os
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from rich.console import Console

from benchmarks.common import add_size, alone, measured, plan_over, ratio_table, run_in_scratch, write_large
from benchmarks.engine import MAX_BIN, SEED
from signal_miner.engine import trial
from signal_miner.engine.binning import BinnedFold, BinnedFolds
from signal_miner.engine.bitplane.booster import Booster
from signal_miner.engine.bitplane.fold import PlaneFold
from signal_miner.engine.bitplane.store import open_store

SHAPES = ((15, 5, 0.1), (31, -1, 0.1), (64, -1, 0.1), (64, 7, 0.1), (1_024, 10, 0.1), (15, 5, 1.0), (64, -1, 1.0))
"""Leaves, depth and share of the features of a tree."""

AVX2 = {"NUMBA_CPU_NAME": "haswell", "NUMBA_CPU_FEATURES": ""}
"""Environment in which numba compiles for a processor of 2013."""


def lightgbm_trees(fold: BinnedFold, params: dict[str, Any]) -> np.ndarray:
    """Train by LightGBM; return the last predictions."""
    return trial.train_fold(fold, params, SEED)[:, -1]


def plane_trees(fold: PlaneFold, params: dict[str, Any]) -> np.ndarray:
    """Train on planes; return the last predictions."""
    booster, trees = Booster(fold, params, SEED), 0
    for point in trial.checkpoints(params["n_estimators"]):
        booster.grow(point - trees)
        trees = point
        predictions = booster.predictions()
    return predictions


def compared(data: Path, trees: int, learning_rate: float, repeats: int) -> list[tuple[float, float, float, float]]:
    """Return of each shape CPU seconds a tree, and the correlation of predictions and target, LightGBM's first."""
    plan = plan_over(data)
    fold = plan.scored_folds[-1]
    binned = BinnedFolds(plan.dataset, plan.targets, SEED).get(fold, MAX_BIN, "target")
    store = open_store(plan.dataset, Path("planes"))
    target = plan.dataset.read_target("target")
    train, validation = (plan.dataset.rows_of(eras) for eras in (fold.train_eras, fold.validation_eras))
    columns = store.columns(plan.dataset.features)
    planes = PlaneFold(store, columns, target, store.mask(train), store.mask(validation))
    found = []
    for leaves, depth, share in SHAPES:
        params = {"num_leaves": leaves, "max_depth": depth, "colsample_bytree": share, "max_bin": MAX_BIN}
        params |= {"n_estimators": trees, "learning_rate": learning_rate}
        plane_trees(planes, params | {"n_estimators": 2})  # compiles
        theirs, ours = partial(lightgbm_trees, binned, params), partial(plane_trees, planes, params)
        done = [(measured(theirs), measured(ours)) for _ in range(repeats)]
        one, other = (median(each.cpu_seconds for each in side) / trees for side in zip(*done, strict=True))
        predicted = [each.result for each in done[-1]]
        scores = (float(np.corrcoef(each, target[validation])[0, 1]) for each in predicted)
        found.append((one, other, *scores))
    return found


def measure(given: argparse.Namespace, console: Console) -> None:
    """Run all shapes and print one table."""
    data = write_large(Path("data"), given).resolve()
    if given.avx2:
        os.environ.update(AVX2)
    rows = alone(compared, data, given.trees, given.learning_rate, given.repeats).result
    code = "AVX2 code" if given.avx2 else "this processor's code"
    title = f"{given.rows:,} rows x {given.features} features, the newer fold, {given.trees} trees, {code}"
    columns = ("LightGBM, ms a tree", "planes, ms a tree", "ratio", "correlations")
    table = ratio_table(title, "leaves, depth, colsample", *columns)
    for (leaves, depth, share), (one, other, *scores) in zip(SHAPES, rows, strict=True):
        table.add_row(
            f"{leaves:,}, {depth if depth > 0 else 'any'}, {share:g}",
            f"{1e3 * one:.1f}",
            f"{1e3 * other:.1f}",
            f"{one / other:.1f} x",
            " and ".join(f"{score:.4f}" for score in scores),
        )
    console.print(table)


def main() -> None:
    """Run the benchmark and print its table."""
    parser = argparse.ArgumentParser(description=__doc__)
    add_size(parser, features=740)
    parser.add_argument("--trees", type=int, default=20)
    parser.add_argument("--learning-rate", type=float, default=0.05)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--avx2", action="store_true", help="compile as for a processor without AVX-512")
    run_in_scratch(measure, parser)


if __name__ == "__main__":
    main()
