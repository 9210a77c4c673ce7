"""Splits chosen by era: what they cost, and what they keep out.

``python -m benchmarks.era_splits`` prints three tables.

The first: CPU seconds a tree of each criterion on synthetic eras of equal size, in turns with pooled trees and those of
LightGBM; one thread, medians, without building or compiling. With ``--erasplit PYTHON``, an interpreter
in whose environment ``erasplit`` is installed, a smaller work is done by both.

The second: the synthetic memorisation of Parascandolo et al., "Learning explanations that are hard to vary" (2021), as
in "Era Splitting" (arXiv 2309.14496). Two features show two arms of a spiral in all eras; sixteen others give the class
away by a position that every era chooses anew, and nothing in the test eras. Accuracy by criterion, mean of five seeds.

The third: invented eras in which 6 of 30 features predict the target in the same way, and 24 in one way in two of three
training eras and in any way later. Mean and Sharpe of the test eras' correlations by criterion, means of five seeds.
"""

from __future__ import annotations

import argparse
import subprocess
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import lightgbm as lgb
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from rich.console import Console

from benchmarks.common import alone, measured, ratio_table, run_in_scratch
from signal_miner.engine.bitplane.booster import Booster
from signal_miner.engine.bitplane.fold import PlaneFold
from signal_miner.engine.bitplane.planes import to_planes
from signal_miner.engine.bitplane.store import PlaneStore
from signal_miner.experiment.parameters import booster_params

CRITERIA: Mapping[str, dict[str, Any]] = {
    "pooled": {},
    "era": {"split_criterion": "era"},
    "era, alpha -0.5": {"split_criterion": "era", "boltzmann_alpha": -0.5},
    "directional": {"split_criterion": "directional"},
}
SHAPE = {"num_leaves": 15, "max_depth": 5, "colsample_bytree": 0.1, "max_bin": 5, "learning_rate": 0.05}
AGREEING = {"split_criterion": "directional", "min_direction_agreement": 0.5}
MEMORISED: dict[str, Any] = {"num_leaves": 32, "learning_rate": 0.1}
DRIFTING: dict[str, Any] = {"num_leaves": 12, "learning_rate": 0.05}
SEED = 1

_ERASPLIT = """
import sys, time
import numpy as np
from erasplit.ensemble import EraHistGradientBoostingRegressor

data = np.load("erasplit.npz")
def seconds(trees, **criterion):
    model = EraHistGradientBoostingRegressor(
        early_stopping=False, max_bins=5, max_depth=5, max_leaf_nodes=15, min_samples_leaf=20, max_iter=trees,
        learning_rate=0.05, n_jobs=1, **criterion)
    start = time.process_time()
    model.fit(data["matrix"].astype(float), data["target"], data["eras"])
    return time.process_time() - start
for criterion in ({"gamma": 1, "blama": 0}, {"gamma": 0, "blama": 1}):
    print("seconds", (seconds(11, **criterion) - seconds(1, **criterion)) / 10)
"""


def fold_over(matrix: NDArray[np.int8], target: NDArray[Any], eras: NDArray[Any], n_train: int) -> PlaneFold:
    """Return a fold whose first rows are trained on and whose others are predicted."""
    made = [to_planes(pa.chunked_array([np.ascontiguousarray(column)])) for column in matrix.T]
    store = PlaneStore(
        Path(),
        len(matrix),
        tuple(f"feature_{number}" for number in range(matrix.shape[1])),
        tuple(levels for _, levels in made),
        np.concatenate([planes for planes, _ in made]),
        np.cumsum([0, *(len(planes) for planes, _ in made)]),
    )
    masks = store.mask(slice(0, n_train)), store.mask(slice(n_train, len(matrix)))
    return PlaneFold(store, np.arange(matrix.shape[1]), target.astype(np.float32), *masks, eras)


def random_data(rows: int, features: int, eras: int) -> tuple[NDArray[np.int8], NDArray[Any], NDArray[Any]]:
    """Return features of five values, a target that a tenth of them predict, and eras of equal size."""
    generator = np.random.default_rng(0)
    matrix = generator.integers(0, 5, (rows, features), dtype=np.int8)
    target = matrix[:, : features // 10].sum(axis=1) * 0.05 + generator.normal(size=rows)
    return matrix, target.astype(np.float32), np.arange(rows) * eras // rows


def plane_seconds(fold: PlaneFold, params: Mapping[str, Any], trees: int) -> Callable[[], float]:
    """Return what grows further trees and returns CPU seconds a tree; the first trees are grown and compiled before."""
    booster = Booster(fold, params, SEED)
    booster.grow(2)
    return lambda: measured(partial(booster.grow, trees)).cpu_seconds / trees


def lightgbm_seconds(matrix: NDArray[np.int8], target: NDArray[Any], trees: int) -> Callable[[], float]:
    """Return the same for LightGBM."""
    params = booster_params(SHAPE, SEED)
    booster = lgb.Booster(params, lgb.Dataset(matrix, target, params=params))
    booster.update()

    def grow() -> None:
        for _ in range(trees):
            booster.update()

    return lambda: measured(grow).cpu_seconds / trees


def cost(rows: int, features: int, eras: int, trees: int, repeats: int, by_lightgbm: bool) -> dict[str, float]:
    """Return CPU seconds a tree by what grew it."""
    matrix, target, numbers = random_data(rows, features, eras)
    fold = fold_over(matrix, target, numbers, rows)
    ways = {name: plane_seconds(fold, SHAPE | params, trees) for name, params in CRITERIA.items()}
    if by_lightgbm:
        ways = {"LightGBM": lightgbm_seconds(matrix, target, trees)} | ways
    del matrix
    done = [{name: way() for name, way in ways.items()} for _ in range(repeats)]
    return {name: median(each[name] for each in done) for name in ways}


def small_work(trees: int, repeats: int) -> dict[str, float]:
    """Return CPU seconds a tree on what `erasplit` is given."""
    with np.load("erasplit.npz") as data:
        fold = fold_over(data["matrix"], data["target"], data["eras"], len(data["target"]))
    names = {"era": CRITERIA["era"], "directional": CRITERIA["directional"]}
    ways = {name: plane_seconds(fold, SHAPE | {"colsample_bytree": 1.0} | own, trees) for name, own in names.items()}
    return {name: median(way() for _ in range(repeats)) for name, way in ways.items()}


def memorisation(seed: int, eras: int = 16, rows: int = 512, turns: float = 1.5, shortcuts: int = 16) -> PlaneFold:
    """Return features of sixteen values, the class as the target, and eras of which the last quarter is test."""
    generator = np.random.default_rng(seed)
    n_test = eras // 4
    era = np.repeat(np.arange(eras + n_test), rows)
    label = generator.integers(0, 2, len(era))
    radius = np.sqrt(generator.uniform(0.05, 1, len(era)))
    angle = 2 * np.pi * turns * radius + np.pi * label + generator.normal(0, 0.3, len(era))
    spiral = np.column_stack([radius * np.cos(angle), radius * np.sin(angle)])
    centres = generator.normal(size=(eras, 2, shortcuts))
    of_row = np.where(era < eras, era, generator.integers(0, eras, len(era)))
    shown = np.where(era < eras, label, generator.integers(0, 2, len(era)))
    positions = centres[of_row, shown] + generator.normal(0, 0.1, (len(era), shortcuts))
    ranks = np.column_stack([spiral, positions]).argsort(axis=0).argsort(axis=0)
    return fold_over((ranks * 16 // len(era)).astype(np.int8), label.astype(float), era, eras * rows)


def accuracies(fold: PlaneFold, params: Mapping[str, Any], trees: int) -> tuple[float, float]:
    """Return the share of rows whose class is found, in training and in test."""
    everything = PlaneFold(fold.store, fold.columns, fold.target, fold.train, fold.train | fold.validation, fold.eras)
    booster = Booster(everything, MEMORISED | dict(params), SEED)
    booster.grow(trees)
    right = (booster.predictions() > 0.5) == (fold.target > 0.5)
    n_train = int(np.bitwise_count(fold.train).sum())
    return float(right[:n_train].mean()), float(right[n_train:].mean())


def drifting_market(seed: int, eras: int = 100, rows: int = 640, n_train: int = 40) -> PlaneFold:
    """Return features of five values, and a target whose relation to most of them changes its sign between eras."""
    generator = np.random.default_rng(seed)
    stable, drifting = 6, 24
    early = generator.random((n_train, drifting)) < 0.65
    signs = np.vstack([early, generator.random((eras - n_train, drifting)) < 0.5]) * 2.0 - 1
    relations = np.column_stack([np.full((eras, stable), 0.03), 0.06 * signs])
    era = np.repeat(np.arange(eras), rows)
    matrix = generator.integers(0, 5, (len(era), stable + drifting), dtype=np.int8)
    target = (matrix * relations[era]).sum(axis=1) / np.sqrt(2) + generator.normal(size=len(era))
    return fold_over(matrix, target, era, n_train * rows)


def era_correlations(fold: PlaneFold, params: Mapping[str, Any], trees: int) -> NDArray[np.float64]:
    """Return the correlation of prediction and target in every era, those of training too."""
    everything = PlaneFold(fold.store, fold.columns, fold.target, fold.train, fold.train | fold.validation, fold.eras)
    booster = Booster(everything, DRIFTING | dict(params), SEED)
    booster.grow(trees)
    if fold.eras is None:
        raise ValueError("the fold does not know its eras")
    _, starts = np.unique(fold.eras, return_index=True)
    parts = zip(np.split(booster.predictions(), starts[1:]), np.split(fold.target, starts[1:]), strict=True)
    return np.array([np.corrcoef(one, other)[0, 1] if one.std() else 0.0 for one, other in parts])


def measure(given: argparse.Namespace, console: Console) -> None:
    """Run everything and print the tables."""
    table = ratio_table(
        f"{given.rows:,} rows x {given.features} features, 15 leaves, a tenth of the features a tree",
        "criterion",
        *(f"{eras} eras, ms a tree" for eras in given.eras),
        *(f"{eras} eras, of pooled" for eras in given.eras),
    )
    sizes = given.rows, given.features
    found = [
        alone(cost, *sizes, eras, given.trees, given.repeats, place == 0).result
        for place, eras in enumerate(given.eras)
    ]
    for name in found[0]:
        seconds = [each.get(name) for each in found]
        ratios = [one / each["pooled"] if one else None for one, each in zip(seconds, found, strict=True)]
        shown = [f"{1e3 * one:.1f}" if one else "" for one in seconds]
        table.add_row(name, *shown, *(f"{ratio:.2f} x" if ratio else "" for ratio in ratios))
    console.print(table)
    if given.erasplit:
        matrix, target, eras = random_data(100_000, 74, 20)
        np.savez("erasplit.npz", matrix=matrix, target=target, eras=eras)
        ours = alone(small_work, given.trees, given.repeats).result
        finished = subprocess.run([given.erasplit, "-c", _ERASPLIT], capture_output=True, text=True, check=True)
        theirs = [float(line.split()[1]) for line in finished.stdout.splitlines() if line.startswith("seconds")]
        table = ratio_table(
            "100,000 rows x 74 features, 20 eras, 15 leaves", "criterion", "erasplit, ms a tree", "ours", "ratio"
        )
        for (name, one), other in zip(ours.items(), theirs, strict=True):
            table.add_row(name, f"{1e3 * other:.1f}", f"{1e3 * one:.2f}", f"{other / one:.0f} x")
        console.print(table)
    table = ratio_table(
        "Memorisation, 200 trees, means of 5 seeds", "criterion", "training accuracy", "test", "worst test"
    )
    ways = dict(CRITERIA) | {"directional, agreement 0.5": AGREEING}
    folds = [memorisation(seed) for seed in range(5)]
    for name, params in ways.items():
        scores = np.array([accuracies(fold, params, 200) for fold in folds])
        table.add_row(name, *(f"{mean:.3f}" for mean in scores.mean(axis=0)), f"{scores[:, 1].min():.3f}")
    console.print(table)
    table = ratio_table(
        "Relations that change, 200 trees, means of 5 seeds", "criterion", "training", "test", "test Sharpe"
    )
    folds = [drifting_market(seed) for seed in range(5)]
    for name, params in ways.items():
        done = np.array([era_correlations(fold, params, 200) for fold in folds])
        test = done[:, 40:]
        sharpe = (test.mean(axis=1) / test.std(axis=1, ddof=1)).mean()
        table.add_row(name, f"{done[:, :40].mean():.3f}", f"{test.mean():.3f}", f"{sharpe:.2f}")
    console.print(table)


def main() -> None:
    """Run the benchmark and print its tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=350_000)
    parser.add_argument("--features", type=int, default=740)
    parser.add_argument("--eras", type=int, nargs="+", default=[70, 364])
    parser.add_argument("--trees", type=int, default=10)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--erasplit", help="interpreter in whose environment erasplit is installed")
    run_in_scratch(measure, parser)


if __name__ == "__main__":
    main()
