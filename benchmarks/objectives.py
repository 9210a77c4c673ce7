"""What a study should look for: test scores of what each objective picks, and of what residual targets train.

``python -m benchmarks.objectives`` draws configurations from the grid of ``demo.toml``, with one seed, and trains them
on synthetic markets of several seeds, of the demo's size or of ``--rows`` x ``--features``. An objective trains
nothing: the same predictions, of all drawn trees, are ranked in validation by payout and by Sharpe. The first table has
the best model, the mean of the ten best, and what `ensemble` grows greedily: payout, CORR and BMC of the test eras,
means and standard deviations over the markets. The second has the same, by payout, with the shares 0, 0.5 and 1 of the
benchmark taken out of the training targets. The third is of studies on further markets: payouts of the best in
validation with the seed that it was chosen with, and of the same configuration with two others.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.console import Console

from benchmarks.common import drawn_configurations, ratio_table, run_in_scratch
from signal_miner.data.demo import DEFAULT_MARKET, Market, write_market
from signal_miner.engine.benchmark_run import BenchmarkScores, score_benchmark
from signal_miner.engine.boosters import FoldSource, fold_data
from signal_miner.engine.fold_sources import fold_source
from signal_miner.engine.memory_plan import plan_memory
from signal_miner.engine.validation_rows import fold_scorers
from signal_miner.ensemble.options import SelectionRule
from signal_miner.ensemble.selection import grow
from signal_miner.experiment.files import load_experiment
from signal_miner.experiment.plan import Plan, make_plan, open_data
from signal_miner.experiment.schema import BENCHMARK
from signal_miner.overfitting.choice import summary_of_known
from signal_miner.scoring.blending import gaussianised, mean_correlations
from signal_miner.scoring.objective import Objective, Scoring
from signal_miner.utils.validation import Value

Columns = dict[int, NDArray[np.float32]]
"""Predictions by fold number, shape (n_rows, n_models)."""

WAYS = ("best", "ten best", "greedy")
COMPARED = (Objective.PAYOUT, Objective.SHARPE)
SHOWN = (Objective.PAYOUT, Objective.CORR, Objective.BMC)
SHARES = (0.0, 0.5, 1.0)
SEEDS = 3


@dataclass(frozen=True, eq=False)
class Mined:
    """A study's models as drawn, with all their trees."""

    plan: Plan
    source: FoldSource
    configurations: Sequence[Mapping[str, Value]]
    predictions: Columns
    against: BenchmarkScores

    @property
    def validation(self) -> list[int]:
        """Numbers of the validation folds."""
        return [fold.number for fold in self.plan.scored_folds[:-1]]

    @property
    def test(self) -> list[int]:
        """Number of the test fold."""
        return [self.plan.scored_folds[-1].number]

    def eras(self, number: int) -> NDArray[np.int32]:
        """Return the eras of a fold's rows."""
        fold = self.plan.scored_folds[number - 1]
        return self.plan.dataset.eras[self.plan.dataset.span_of(fold.validation_eras)]

    def scores(self, objective: Objective, numbers: Sequence[int], columns: Columns) -> NDArray[np.float64]:
        """Return a score of some folds for each column; NaN where some era has none."""
        scored = [self.against.scorers[number].score(columns[number], (BENCHMARK,)) for number in numbers]
        scoring = Scoring(objective, self.plan.payout)
        eras = np.concatenate([scoring.era_scores(each.corr, each.bmc[BENCHMARK]) for each in scored])
        return summary_of_known(eras, objective)


@dataclass(frozen=True, eq=False)
class OfMarket:
    """Test scores of what was picked, the last axis as `SHOWN`.

    Attributes
    ----------
    by_objective : ndarray of float64, shape (n_objectives, n_ways, n_scores)
    by_share : ndarray of float64, shape (n_shares, n_ways, n_scores)
    benchmark : ndarray of float64, shape (n_scores,)
    winners_differ : bool
        Whether payout and Sharpe rank different models first.
    cpu_seconds : float
    """

    by_objective: NDArray[np.float64]
    by_share: NDArray[np.float64]
    benchmark: NDArray[np.float64]
    winners_differ: bool
    cpu_seconds: float


def mine(data: str, trials: int, grid: Mapping[str, Any] | None = None, **changes: Any) -> Mined:
    """Train the benchmark and random configurations of the demo's grid, with changes of it, on some data."""
    experiment = load_experiment("demo", data=data, trials=trials, grid=dict(grid or {}), **changes)
    plan = make_plan(experiment, open_data(experiment))
    source = fold_source(plan, plan_memory(plan, 1), plan.targets, lambda: False)
    benchmark = {
        number: columns[:, 0]
        for number, columns in trained(plan, source, [plan.benchmark], plan.experiment.seed).items()
    }
    against = score_benchmark(plan, fold_scorers(plan), benchmark)
    configurations = drawn_configurations(plan.grid, trials, plan.experiment.seed)
    predictions = trained(plan, source, configurations, plan.experiment.seed)
    return Mined(plan, source, configurations, predictions, against)


def trained(plan: Plan, source: FoldSource, configurations: Sequence[Mapping[str, Value]], seed: int) -> Columns:
    """Train configurations on every fold, and predict with all their trees."""
    columns: dict[int, list[NDArray[np.float32]]] = {fold.number: [] for fold in plan.scored_folds}
    for params in configurations:
        for fold in plan.folds[str(params["target"])]:
            booster = fold_data(source, fold, params).start(params, seed)
            booster.grow(int(params["n_estimators"]))
            columns[fold.number].append(booster.predictions())
    return {number: np.column_stack(each) for number, each in columns.items()}


def best_first(mined: Mined, objective: Objective) -> NDArray[np.intp]:
    """Return the models that have a validation score, best first."""
    scores = mined.scores(objective, mined.validation, mined.predictions)
    return np.argsort(np.where(np.isnan(scores), np.inf, -scores), kind="stable")[: np.isfinite(scores).sum()]


def picks(mined: Mined, objective: Objective) -> dict[str, Columns]:
    """Return the predictions of what each way picks by validation, one column a fold."""
    ranked = best_first(mined, objective)
    rule = SelectionRule(metric=str(objective))
    pool = ranked[: rule.pool]
    ranks = {
        number: gaussianised(mined.eras(number), columns[:, pool]).astype(np.float32)
        for number, columns in mined.predictions.items()
    }
    eras = np.concatenate([mined.eras(number) for number in mined.validation])
    candidates = [ranks[number] for number in mined.validation]

    def score(blends: Sequence[NDArray[np.float32]]) -> NDArray[np.float64]:
        return mined.scores(objective, mined.validation, dict(zip(mined.validation, blends, strict=True)))

    grown, weights = grow(rule, candidates, score, mean_correlations(eras, np.concatenate(candidates)))
    members = {"best": ([0], [1.0]), "ten best": (range(10), [0.1] * 10), "greedy": (grown, weights)}
    return {
        way: {
            number: (columns[:, list(places)] @ np.array(shares, np.float32))[:, np.newaxis]
            for number, columns in ranks.items()
        }
        for way, (places, shares) in members.items()
    }


def figures(mined: Mined, objective: Objective) -> NDArray[np.float64]:
    """Return test scores, shape (ways, scores)."""
    found = picks(mined, objective)
    return np.array([[mined.scores(score, mined.test, found[way])[0] for score in SHOWN] for way in WAYS])


def of_market(market: Market, trials: int) -> OfMarket:
    """Mine a market once for each share of the benchmark taken out, and score what is picked."""
    started = time.process_time()
    data = str(write_market(Path(f"market-{market.seed}"), market).resolve())
    studies = [mine(data, trials, {"target_residual": [share]}) for share in SHARES]
    plain = studies[0]
    by_share = np.array([figures(study, Objective.PAYOUT) for study in studies])
    own = plain.against.scores[plain.test[0]]
    corr, bmc = own.corr[:, 0], own.bmc[BENCHMARK][:, 0]
    return OfMarket(
        by_objective=np.array([by_share[0], figures(plain, Objective.SHARPE)]),
        by_share=by_share,
        benchmark=np.array([plain.plan.payout.of(corr, bmc).mean(), corr.mean(), bmc.mean()]),
        winners_differ=len({int(best_first(plain, objective)[0]) for objective in COMPARED}) > 1,
        cpu_seconds=time.process_time() - started,
    )


def seed_noise(market: Market, trials: int) -> NDArray[np.float64]:
    """Return payouts of the best in validation with its own seed and with further ones, shape (seeds, sections)."""
    mined = mine(str(write_market(Path(f"small-{market.seed}"), market).resolve()), trials)
    winner = int(best_first(mined, Objective.PAYOUT)[0])
    again = [
        trained(mined.plan, mined.source, [mined.configurations[winner]], mined.plan.experiment.seed + further)
        for further in range(1, SEEDS)
    ]
    own = {number: columns[:, [winner]] for number, columns in mined.predictions.items()}
    sections = mined.validation, mined.test
    return np.array([[mined.scores(Objective.PAYOUT, part, each)[0] for part in sections] for each in (own, *again)])


def measure(given: argparse.Namespace, console: Console) -> None:
    """Run everything and print the tables."""
    os.environ["OMP_NUM_THREADS"] = "1"
    market = DEFAULT_MARKET
    if given.rows:
        market = replace(market, rows_per_era=given.rows // market.resolved_eras, features=given.features)
    markets = [replace(market, seed=given.first_seed + number) for number in range(given.markets)]
    small = [replace(DEFAULT_MARKET, seed=1000 + number) for number in range(given.studies)]
    with multiprocessing.get_context("spawn").Pool(given.processes, maxtasksperchild=1) as pool:
        found, noise = list[OfMarket](), list[NDArray[np.float64]]()
        for one in pool.imap(partial(of_market, trials=given.trials), markets):
            found.append(one)
            console.print(f"market {len(found)} of {len(markets)}: {one.cpu_seconds:.0f} CPU s", highlight=False)
            if len(found) > 1:
                show_picks(found, f"{given.trials} trials, {len(found)} markets", console)
        for winner in pool.imap(partial(seed_noise, trials=given.small), small):
            noise.append(winner)
        if len(noise) > 1:
            show_noise(np.array(noise), f"{len(noise)} studies of {given.small} trials", console)


def show_picks(found: Sequence[OfMarket], size: str, console: Console) -> None:
    """Print what was picked by each objective, and where the benchmark was taken out of the target."""
    by_objective = np.array([each.by_objective for each in found])
    by_share = np.array([each.by_share for each in found])
    heads = [f"test {score.label}" for score in SHOWN]
    table = ratio_table(f"Picked in validation by payout or by Sharpe, {size}", "", *heads, "higher payout in")
    for place, way in enumerate(WAYS):
        for row, objective in enumerate(COMPARED):
            own, other = by_objective[:, row, place], by_objective[:, 1 - row, place]
            won = f"{(own[:, 0] > other[:, 0]).sum()} of {len(own)} markets"
            table.add_row(f"{way}, by {objective.label}", *spread(own), won)
    table.add_row("benchmark", *spread(np.array([each.benchmark for each in found])), "")
    console.print(table)
    differing = sum(each.winners_differ for each in found)
    console.print(f"The two objectives' winners differ in {differing} of {len(found)} markets.", highlight=False)
    table = ratio_table(f"Benchmark taken out of the training target, picked by payout, {size}", "", *heads)
    for place, way in enumerate(WAYS):
        for row, share in enumerate(SHARES):
            table.add_row(f"{way}, share {share:g}", *spread(by_share[:, row, place]))
    console.print(table)


def show_noise(payouts: NDArray[np.float64], size: str, console: Console) -> None:
    """Print payouts of winners with their own seed and with others, shape (studies, seeds, sections)."""
    own, others, mean = payouts[:, 0], payouts[:, 1:].mean(axis=1), payouts.mean(axis=1)
    heads = ("its own seed", f"{SEEDS - 1} other seeds", f"mean of {SEEDS}", "mean less own, ± standard error")
    table = ratio_table(f"Payout of the best in validation, {size}", "", *heads)
    for place, section in enumerate(("validation", "test")):
        change = (mean - own)[:, place]
        error = change.std(ddof=1) / np.sqrt(len(change))
        means = (f"{each[:, place].mean():.3f}" for each in (own, others, mean))
        table.add_row(section, *means, f"{change.mean():+.3f} ± {error:.3f}")
    console.print(table)


def spread(scores: NDArray[np.float64]) -> list[str]:
    """Return mean and standard deviation over markets of each score."""
    return [
        f"{mean:.4f} (sd {deviation:.4f})"
        for mean, deviation in zip(scores.mean(axis=0), scores.std(axis=0, ddof=1), strict=True)
    ]


def main() -> None:
    """Run the benchmark and print its tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trials", type=int, default=200)
    parser.add_argument("--markets", type=int, default=5)
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--rows", type=int, default=0, help="of a market; the demo's where not given")
    parser.add_argument("--features", type=int, default=42)
    parser.add_argument("--studies", type=int, default=10, help="of which the noise of seeds is measured")
    parser.add_argument("--small", type=int, default=40, help="trials of each of these")
    parser.add_argument("--processes", type=int, default=1)
    run_in_scratch(measure, parser)


if __name__ == "__main__":
    main()
