"""Models scored per CPU second: a learning curve read off one booster, against a fit for each number of trees.

``python -m benchmarks.checkpoints`` draws configurations from ``experiments/original.toml``, their trees capped, trains
each on both folds and scores it at its checkpoints; and fits, predicts and scores a model for each of these numbers of
trees the plain way, by default at four of the twenty, spread so that their mean is that of all. Both ways score with
our `Scorer`, so that the ratio is one of training alone.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.console import Console

from benchmarks.common import (
    Measured,
    add_size,
    alone,
    measured,
    original_configurations,
    plan_over,
    ratio_table,
    raw_matrix,
    run_in_scratch,
    write_large,
)
from benchmarks.engine import SEED, plain_model
from signal_miner.engine.binning import BinnedFolds
from signal_miner.engine.trial import FoldCurve, checkpoints, train_fold
from signal_miner.engine.validation_rows import fold_scorers
from signal_miner.experiment.parameters import max_bin_of

Curves = list[NDArray[np.float64]]
"""CORR, (n_eras, n_checkpoints), of each configuration and fold."""


def plain_points(n_checkpoints: int, most: int) -> list[int]:
    """Return places of at most so many checkpoints, in the middles of equal parts of them all."""
    parts = min(most, n_checkpoints)
    return [round((part + 0.5) * n_checkpoints / parts - 0.5) for part in range(parts)]


def the_plain_way(data: Path, drawn: list[dict[str, Any]], most: int) -> Measured[Curves]:
    """Fit, predict and score numbers of trees each by itself."""
    plan = plan_over(data)
    matrix, target = raw_matrix(plan), plan.dataset.read_target("target")
    scorers = fold_scorers(plan)

    def evaluated() -> Curves:
        curves = []
        for params in drawn:
            for fold in plan.scored_folds:
                train, validation = (plan.dataset.rows_of(eras) for eras in (fold.train_eras, fold.validation_eras))
                columns = []
                points = checkpoints(params["n_estimators"])
                for place in plain_points(len(points), most):
                    model = plain_model(params, points[place])
                    model.fit(matrix[train], target[train])
                    predicted = np.asarray(model.predict(matrix[validation], num_threads=1), np.float32)
                    columns.append(scorers[fold.number].corr(predicted[:, None])[:, 0])
                curves.append(np.stack(columns, axis=1))
        return curves

    return measured(evaluated)


def ours(data: Path, drawn: list[dict[str, Any]]) -> tuple[Measured[Curves], float]:
    """Train and score as the miner does; also CPU seconds of building all datasets, each once."""
    plan = plan_over(data)
    binned = BinnedFolds(plan.dataset, plan.targets, SEED)
    scorers = fold_scorers(plan)
    max_bins = sorted({max_bin_of(params) for params in drawn})
    build = measured(
        lambda: [binned.get(fold, max_bin, "target") for max_bin in max_bins for fold in plan.scored_folds]
    )

    def evaluated() -> Curves:
        curves = []
        for params in drawn:
            for fold in plan.scored_folds:
                predictions = train_fold(binned.get(fold, max_bin_of(params), "target"), params, SEED)
                curves.append(FoldCurve.of(predictions, scorers[fold.number], 0.0).curve)
        return curves

    return measured(evaluated), build.cpu_seconds


def measure(given: argparse.Namespace, console: Console) -> None:
    """Run both and print one table."""
    data = write_large(Path("data"), given).resolve()
    drawn = original_configurations(given.configurations, given.most_trees, SEED)
    points = [len(checkpoints(params["n_estimators"])) for params in drawn for _ in range(2)]
    plain = alone(the_plain_way, data, drawn, given.plain_checkpoints).result
    trained, build = alone(ours, data, drawn).result
    places = [plain_points(count, given.plain_checkpoints) for count in points]
    difference = max(
        float(np.nanmax(np.abs(mine[:, columns] - theirs), initial=0.0))
        for mine, theirs, columns in zip(trained.result, plain.result, places, strict=True)
    )
    title = f"{given.rows:,} rows x {given.features} features, {len(drawn)} configurations of original.toml x 2 folds"
    table = ratio_table(title, "", "models scored", "CPU s", "models per CPU s", "ratio")
    rows = (
        ("the plain way", sum(map(len, places)), plain.cpu_seconds),
        ("ours, datasets built", sum(points), trained.cpu_seconds),
        ("ours, with building", sum(points), trained.cpu_seconds + build),
    )
    plain_rate = rows[0][1] / rows[0][2]
    for name, models, seconds in rows:
        rate = models / seconds
        ratio = "" if rate == plain_rate else f"{rate / plain_rate:.1f} x"
        table.add_row(name, f"{models}", f"{seconds:.1f}", f"{rate:.2f}", ratio)
    table.add_row("largest difference of CORR in an era", "", f"{difference:.1g}", "", "")
    console.print(table)


def main() -> None:
    """Run the benchmark and print its table."""
    parser = argparse.ArgumentParser(description=__doc__)
    add_size(parser)
    parser.add_argument("--configurations", type=int, default=24)
    parser.add_argument("--most-trees", type=int, default=300)
    parser.add_argument("--plain-checkpoints", type=int, default=4)
    run_in_scratch(measure, parser)


if __name__ == "__main__":
    main()
