"""Whether both engines find equally good models: scores of random configurations trained by each, in pairs.

``python -m benchmarks.engine_scores`` draws configurations from the grids of ``demo.toml`` and ``original.toml``, half
from each, their trees capped, and trains each for the test fold by LightGBM and on planes of bits, with two seeds. It
prints, for CORR and Sharpe ratio of the test eras, the mean difference between the engines (means of both seeds) with
its 95% interval beside those between the seeds, and the rank correlation between the engines (mean of the four pairs)
beside those between the seeds. Data are the demo's and an invented market of 500,000 rows x 740 features, or those that
are named: ``demo``, ``market``, or a directory in Numerai's layout. CPU seconds of training are printed, too.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from scipy.stats import spearmanr, t

from benchmarks.common import drawn_configurations, measured, ratio_table, run_in_scratch, write_large
from signal_miner.engine.fold_sources import fold_source
from signal_miner.engine.memory_plan import plan_memory
from signal_miner.engine.validation_rows import fold_scorers
from signal_miner.experiment.engines import BITPLANE, LIGHTGBM
from signal_miner.experiment.files import load_experiment
from signal_miner.experiment.parameters import max_bin_of
from signal_miner.experiment.plan import Plan, make_plan, open_data
from signal_miner.scoring.series import mean, sharpe

GRIDS = ("demo", "original")
SCORES = ("test CORR", "test Sharpe")
RUNS = ((LIGHTGBM, 0), (LIGHTGBM, 1), (BITPLANE, 0), (BITPLANE, 1))
"""Engines and seeds."""

Params = Mapping[str, Any]


def figures(lightgbm: Sequence[NDArray[np.float64]], planes: Sequence[NDArray[np.float64]]) -> tuple[str, ...]:
    """Return the printed figures of one score of all configurations, by each engine with two seeds."""
    ranked = [_ranked(one, other) for one in lightgbm for other in planes]
    return (
        f"{np.mean(lightgbm):.4f}",
        _interval(np.mean(planes, axis=0) - np.mean(lightgbm, axis=0)),
        _interval(lightgbm[1] - lightgbm[0]),
        _interval(planes[1] - planes[0]),
        f"{np.mean(ranked):.3f}",
        f"{_ranked(*lightgbm):.3f}",
        f"{_ranked(*planes):.3f}",
    )


def _interval(differences: NDArray[np.float64]) -> str:
    n = len(differences)
    half = float(t.ppf(0.975, n - 1)) * differences.std(ddof=1) / np.sqrt(n)
    return f"{differences.mean():+.4f} ± {half:.4f}"


def _ranked(one: NDArray[np.float64], other: NDArray[np.float64]) -> float:
    return float(spearmanr(one, other).statistic)


def plans_over(grid: str, data: str, given: argparse.Namespace) -> dict[str, Plan]:
    """Return the plan of a grid over some data by each engine."""
    changes: dict[str, Any] = {"data": data, "numerai_benchmarks": []}
    if data != "demo":
        changes |= {"horizon_days": given.horizon_days, "folds": {"embargo_eras": given.embargo_eras}}
    if given.targets:
        changes |= {"targets": given.targets}
    experiments = {engine: load_experiment(grid, engine=engine, **changes) for engine in (LIGHTGBM, BITPLANE)}
    return {engine: make_plan(experiment, open_data(experiment)) for engine, experiment in experiments.items()}


def drawn(plan: Plan, count: int, most_trees: int, seed: int) -> list[Params]:
    """Return random configurations, those of a dataset side by side."""
    found = drawn_configurations(plan.grid, count, seed)
    capped = [each | {"n_estimators": min(int(each["n_estimators"]), most_trees)} for each in found]
    return sorted(capped, key=lambda each: (max_bin_of(each), str(each["target"])))


def scored(plan: Plan, configurations: Sequence[Params], seed: int) -> tuple[NDArray[np.float64], float]:
    """Train on the test fold; return test CORR and Sharpe, shape (n_configurations, 2), and CPU seconds of training.

    Scores are NaN where no tree was found.
    """
    source = fold_source(plan, plan_memory(plan, 1), plan.targets, lambda: False)
    scorer = fold_scorers(plan)[plan.scored_folds[-1].number]
    scores, seconds = [], 0.0
    for params in configurations:
        target = str(params["target"])
        booster = source.get(plan.folds[target][-1], max_bin_of(params), target).start(params, seed)
        seconds += measured(partial(booster.grow, int(params["n_estimators"]))).cpu_seconds
        corr = scorer.corr(booster.predictions()[:, None])[:, 0]
        scores.append((float(mean(corr)), float(sharpe(corr))))
    return np.array(scores), seconds


def measure(given: argparse.Namespace, console: Console) -> None:
    """Train all on all data and print one table."""
    columns = (
        "LightGBM",
        "planes - LightGBM",
        "seeds: LightGBM",
        "planes",
        "rank corr.: engines",
        "LightGBM",
        "planes",
    )
    table = ratio_table(f"{given.configurations} configurations, at most {given.most_trees} trees", "", *columns)
    for named in given.data:
        data = str(write_large(Path("market"), given).resolve()) if named == "market" else named
        runs: list[list[NDArray[np.float64]]] = [[] for _ in RUNS]
        seconds = dict.fromkeys((LIGHTGBM, BITPLANE), 0.0)
        for number, grid in enumerate(GRIDS):
            plans = plans_over(grid, data, given)
            count = (given.configurations + number) // len(GRIDS)
            configurations = drawn(plans[LIGHTGBM], count, given.most_trees, seed=number)
            for found, (engine, seed) in zip(runs, RUNS, strict=True):
                result, took = scored(plans[engine], configurations, seed)
                found.append(result)
                seconds[engine] += took
        scores = [np.concatenate(found) for found in runs]
        known = np.logical_and.reduce([np.isfinite(each).all(axis=1) for each in scores])
        title = Path(named).name + (f" ({known.sum()} of {len(known)})" if not known.all() else "")
        for column, score in enumerate(SCORES):
            chosen = [each[known, column] for each in scores]
            table.add_row(f"{title}: {score}", *figures(chosen[:2], chosen[2:]))
        one, other = seconds.values()
        ratio = f"{one:.0f} CPU s by LightGBM, {other:.0f} on planes, compiling included: {one / other:.1f} x"
        console.print(f"{title}: training took {ratio}", highlight=False)
    console.print(table)


def main() -> None:
    """Run the benchmark and print its table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", nargs="*", default=["demo", "market"], help="demo, market, or a directory")
    parser.add_argument("--configurations", type=int, default=60)
    parser.add_argument("--most-trees", type=int, default=200)
    parser.add_argument("--targets", nargs="+", help="to train on; default: all")
    parser.add_argument("--horizon-days", type=int, help="of a directory's targets, if their names do not say it")
    parser.add_argument("--embargo-eras", type=int, help="of a directory, if its eras are not a week apart")
    parser.add_argument("--rows", type=int, default=500_000, help="of the market")
    parser.add_argument("--features", type=int, default=740)
    parser.add_argument("--eras", type=int, default=100)
    run_in_scratch(measure, parser)


if __name__ == "__main__":
    main()
