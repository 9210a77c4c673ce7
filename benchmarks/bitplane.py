"""Trees on planes of bits against LightGBM's on built datasets: the same rows, parameters and checkpoints.

``python -m benchmarks.bitplane`` invents data of three sizes, bins the newer fold, stores its planes, and trains each
shape of tree by both engines in turn, on one thread, with predictions of the validation rows at up to 20 checkpoints.
The first shape is trained by XGBoost and CatBoost too, where they are installed, and once more by code for processors
without AVX-512. CPU seconds, medians; neither building nor compiling is counted. ``--shrink 10`` tries it on a tenth
of the rows.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from benchmarks.common import alone, measured, plan_over, ratio_table, raw_matrix, run_in_scratch, write_large
from benchmarks.engine import MAX_BIN, SEED
from signal_miner.engine import trial
from signal_miner.engine.binning import BinnedFold, BinnedFolds
from signal_miner.engine.bitplane.booster import Booster
from signal_miner.engine.bitplane.fold import PlaneFold
from signal_miner.engine.bitplane.store import open_store
from signal_miner.experiment.plan import Plan

AVX2 = {"NUMBA_CPU_NAME": "haswell", "NUMBA_CPU_FEATURES": ""}
"""Environment in which numba compiles for a processor of 2013."""

OTHERS = ("xgboost", "catboost")

Train = Callable[[Mapping[str, Any]], NDArray[Any]]
"""Trains a configuration and returns the last predictions of the validation rows."""


@dataclass(frozen=True)
class Shape:
    """Leaves, depth and share of the features of a tree."""

    leaves: int
    depth: int
    colsample: float

    def params(self, trees: int, learning_rate: float) -> dict[str, Any]:
        """Return the configuration of a model of such trees."""
        own = {"num_leaves": self.leaves, "max_depth": self.depth, "colsample_bytree": self.colsample}
        return own | {"max_bin": MAX_BIN, "n_estimators": trees, "learning_rate": learning_rate}

    def __str__(self) -> str:
        return f"{self.leaves:,}, {self.depth if self.depth > 0 else 'any'}, {self.colsample:g}"


USUAL = Shape(15, 5, 0.1)

SIZES: tuple[tuple[int, int, tuple[Shape, ...]], ...] = (
    (500_000, 740, (USUAL, Shape(31, -1, 0.1), Shape(64, -1, 0.1), Shape(1_024, -1, 0.1), Shape(15, 5, 1.0))),
    (500_000, 42, (Shape(15, 5, 1.0),)),
    (120_000, 200, (USUAL,)),
)
"""Rows, features, and the shapes that are trained on them."""


@dataclass(frozen=True)
class Trained:
    """CPU seconds a tree, and the correlation of predictions and target."""

    seconds: float
    correlation: float


def by_lightgbm(fold: BinnedFold, params: Mapping[str, Any]) -> NDArray[Any]:
    """Train by LightGBM."""
    predictions: NDArray[Any] = trial.train_fold(fold, params, SEED)[:, -1]
    return predictions


def on_planes(fold: PlaneFold, params: Mapping[str, Any]) -> NDArray[Any]:
    """Train on planes."""
    booster, trees = Booster(fold, params, SEED), 0
    for point in trial.checkpoints(params["n_estimators"]):
        booster.grow(point - trees)
        trees = point
        predictions = booster.predictions()
    return predictions


def xgboost_trainer(plan: Plan, train: NDArray[np.int64], validation: NDArray[np.int64]) -> Train:
    """Return XGBoost's hist on a quantised matrix; it updates the validation rows' predictions with each tree."""
    import xgboost as xgb

    matrix, target = raw_matrix(plan), plan.dataset.read_target("target")
    trained = xgb.QuantileDMatrix(matrix[train], target[train], max_bin=MAX_BIN, nthread=1)
    validated = xgb.QuantileDMatrix(matrix[validation], ref=trained, max_bin=MAX_BIN, nthread=1)

    def fit(params: Mapping[str, Any]) -> NDArray[Any]:
        own = {"tree_method": "hist", "grow_policy": "lossguide", "max_bin": MAX_BIN, "nthread": 1, "seed": SEED}
        own |= {
            "max_leaves": params["num_leaves"],
            "max_depth": params["max_depth"],
            "lambda": 0,
            "min_child_weight": 20,
        }
        own |= {"learning_rate": params["learning_rate"], "colsample_bytree": params["colsample_bytree"]}
        booster = xgb.Booster(own, [trained, validated])
        points = trial.checkpoints(params["n_estimators"])
        for number in range(params["n_estimators"]):
            booster.update(trained, number)
            if number + 1 in points:
                predictions: NDArray[Any] = booster.predict(validated)
        return predictions

    return fit


def catboost_trainer(plan: Plan, train: NDArray[np.int64], validation: NDArray[np.int64]) -> Train:
    """Return CatBoost on quantised pools, with its own symmetric trees of the same depth."""
    import catboost

    matrix, target = raw_matrix(plan), plan.dataset.read_target("target")
    borders = Path("borders").resolve()
    trained, validated = (catboost.Pool(matrix[rows].astype(np.float32), target[rows]) for rows in (train, validation))
    trained.quantize(border_count=MAX_BIN - 1)
    trained.save_quantization_borders(str(borders))
    validated.quantize(input_borders=str(borders))

    def fit(params: Mapping[str, Any]) -> NDArray[Any]:
        model = catboost.CatBoostRegressor(
            iterations=params["n_estimators"],
            learning_rate=params["learning_rate"],
            depth=params["max_depth"],
            rsm=params["colsample_bytree"],
            border_count=MAX_BIN - 1,
            boosting_type="Plain",
            bootstrap_type="No",
            l2_leaf_reg=0,
            random_seed=SEED,
            thread_count=1,
            logging_level="Silent",
            allow_writing_files=False,
        )
        model.fit(trained)
        points = trial.checkpoints(params["n_estimators"])
        staged = model.staged_predict(validated, eval_period=points[0], thread_count=1)
        predictions: NDArray[Any] = list(staged)[-1]
        return predictions

    return fit


def compared(
    data: Path, shapes: Sequence[Shape], trees: int, learning_rate: float, repeats: int, others: Sequence[str] = ()
) -> list[dict[str, Trained]]:
    """Return what each shape took by the name of what trained it; `others` train the first shape only."""
    plan = plan_over(data)
    fold = plan.scored_folds[-1]
    target = plan.dataset.read_target("target")
    train, validation = (plan.dataset.rows_of(eras) for eras in (fold.train_eras, fold.validation_eras))
    positions = [np.arange(len(plan.dataset))[rows] for rows in (train, validation)]
    binned = BinnedFolds(plan.dataset, plan.targets, SEED).get(fold, MAX_BIN, "target")
    store = open_store(plan.dataset, data.parent / "planes")
    columns = store.columns(plan.dataset.features)
    planes = PlaneFold(store, columns, target, store.mask(train), store.mask(validation))
    trainers: dict[str, Train] = {"LightGBM": partial(by_lightgbm, binned), "planes": partial(on_planes, planes)}
    made = {"xgboost": xgboost_trainer, "catboost": catboost_trainer}
    extra = {name: made[name](plan, *positions) for name in others}
    found = []
    for shape in shapes:
        params = shape.params(trees, learning_rate)
        using = trainers | (extra if shape == shapes[0] else {})
        on_planes(planes, params | {"n_estimators": 2})  # compiles
        done = [{name: measured(partial(fit, params)) for name, fit in using.items()} for _ in range(repeats)]
        found.append(
            {
                name: Trained(
                    median(each[name].cpu_seconds for each in done) / trees,
                    float(np.corrcoef(done[-1][name].result, target[validation])[0, 1]),
                )
                for name in using
            }
        )
    return found


def measure(given: argparse.Namespace, console: Console) -> None:
    """Train all shapes on data of all sizes and print a table of each."""
    how = given.trees, given.learning_rate, given.repeats
    others = [name for name in OTHERS if find_spec(name)]
    columns = "leaves, depth, colsample", "by", "ms a tree", "LightGBM, ms a tree", "ratio", "correlations"
    for rows, features, shapes in SIZES:
        size = argparse.Namespace(rows=rows // given.shrink, features=features, eras=100)
        data = write_large(Path(f"{rows}x{features}") / "data", size).resolve()
        first = (rows, features) == SIZES[0][:2]
        table = ratio_table(f"{size.rows:,} rows x {features} features, the newer fold, {given.trees} trees", *columns)
        for shape, took in zip(shapes, alone(compared, data, shapes, *how, others * first).result, strict=True):
            _add(table, str(shape), took)
        if first:
            with _environment(AVX2):
                (took,) = alone(compared, data, shapes[:1], *how).result
            _add(table, f"{shapes[0]} (AVX2)", took)
        console.print(table)


def _add(table: Table, shape: str, took: dict[str, Trained]) -> None:
    plain = took.pop("LightGBM")
    for name, own in took.items():
        table.add_row(
            shape,
            name,
            f"{1e3 * own.seconds:.1f}",
            f"{1e3 * plain.seconds:.1f}",
            f"{plain.seconds / own.seconds:.2g} x",
            f"{own.correlation:.4f} and {plain.correlation:.4f}",
        )


@contextmanager
def _environment(variables: Mapping[str, str]) -> Iterator[None]:
    before = dict(os.environ)
    os.environ.update(variables)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


def main() -> None:
    """Run the benchmark and print its table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trees", type=int, default=20)
    parser.add_argument("--learning-rate", type=float, default=0.05)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--shrink", type=int, default=1, help="divide the rows by")
    run_in_scratch(measure, parser)


if __name__ == "__main__":
    main()
