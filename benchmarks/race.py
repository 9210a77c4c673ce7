"""Racing against training all: confirmed winners per CPU second, and how many of them a race keeps.

``python -m benchmarks.race`` draws configurations from ``experiments/original.toml``, their trees capped, trains each
on bit planes to the end, on both folds of a synthetic market or of ``--data DIRECTORY``, and keeps its curves and
the CPU seconds at each checkpoint. Then each rule races the same configurations on these curves, which is exact, as a
race changes no score of a checkpoint: what it stops is not paid for. A *confirmed winner* beats the benchmark in
validation at its best checkpoint, and in test at the same one. Where none does, another learning rate of the benchmark
may be given for each objective. ``--keep FILE`` keeps what was trained, and reads it where it is there.
``--plain N`` also fits N of the configurations, evenly spread, as a person would with LightGBM, and says how many times
the CPU seconds that takes, a winner: engine and race together.
"""

from __future__ import annotations

import argparse
import pickle
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from scipy.stats import beta, spearmanr

from benchmarks.common import add_size, original_configurations, ratio_table, raw_matrix, run_in_scratch, write_large
from benchmarks.engine import plain_model
from signal_miner.data.folds import OVERLAP_ERAS, Fold
from signal_miner.data.sources import open_source
from signal_miner.engine.benchmark_run import score_benchmark
from signal_miner.engine.bitplane.folds import PlaneFolds
from signal_miner.engine.boosters import fold_data
from signal_miner.engine.racing import Curve, Race, trains_in_full
from signal_miner.engine.trial import checkpoints, replay
from signal_miner.engine.validation_rows import fold_scorers
from signal_miner.experiment.plan import Plan, make_plan
from signal_miner.experiment.schema import BENCHMARK, RaceSettings, parse_experiment
from signal_miner.scoring.beats_benchmark import beats_benchmark
from signal_miner.scoring.objective import Objective, Scoring

SEED, MAX_BINS = 0, (2, 3, 4, 5)
PLAIN = {"colsample_bytree": 0.1, "max_bin": 5, "max_depth": 5, "num_leaves": 15, "min_child_samples": 20}
"""The benchmark of ``original.toml``, but for its trees and learning rate."""

RULES = {
    "default": RaceSettings(),
    "recovery 0.05": RaceSettings(recovery=0.05),
    "recovery 0.15": RaceSettings(recovery=0.15),
    "recovery 0.35": RaceSettings(recovery=0.35),
    "recovery 0.5": RaceSettings(recovery=0.5),
    "curves to their end": RaceSettings(recovery=0.0),
    "quantile 0.5 of a pilot": RaceSettings(quantile=0.5),
    "quantile 0.8 of a pilot": RaceSettings(quantile=0.8),
}
LEVEL = 0.95


@dataclass(frozen=True, eq=False)
class TrainedFold:
    """A fold of a configuration: its curve, and CPU seconds of training and scoring up to each checkpoint."""

    curve: Curve
    seconds: NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class TrainedInFull:
    """A configuration that was trained to the end."""

    params: dict[str, Any]
    folds: tuple[TrainedFold, ...]


@dataclass(frozen=True, eq=False)
class Market:
    """Everything that was trained on one data set; of some trials what plain LightGBM takes, in CPU seconds."""

    folds: tuple[Fold, ...]
    overlap_eras: int
    benchmark: dict[Objective, tuple[Curve, ...]]
    trials: tuple[TrainedInFull, ...]
    plain_seconds: dict[int, float]


@dataclass(frozen=True)
class Outcome:
    """What a way of training found, and what it cost.

    Of a race, also how many validation folds it cut, and how many of these before their best checkpoint.
    """

    seconds: float
    winners: frozenset[int]
    finished: int
    cut: int = 0
    cut_early: int = 0


def open_plan(data: Path, trees: int, rate: float, horizon: int) -> Plan:
    """Return a plan of two folds on bit planes."""
    experiment = parse_experiment(
        {
            "name": "race",
            "data": str(data),
            "engine": "bitplane",
            "horizon_days": horizon,
            "targets": ["target"],
            "grid": {"n_estimators": [trees], "max_bin": list(MAX_BINS)},
            "benchmark": PLAIN | {"n_estimators": trees, "learning_rate": rate, "reg_lambda": 0.0},
        }
    )
    return make_plan(experiment, open_source(str(data), "all", "target", ["target"]))


def train_in_full(given: argparse.Namespace, console: Console) -> Market:
    """Train the benchmark and all configurations on every fold."""
    data = Path(given.data) if given.data else write_large(Path("data"), given).resolve()
    plan = open_plan(data, given.most_trees, given.payout_rate, given.horizon)
    source = PlaneFolds(plan.dataset, 2, lambda: False, limit_bytes=int(1e9), group_bytes=10**9)
    folds, scorers = plan.scored_folds, fold_scorers(plan)

    def predictions(params: dict[str, Any], fold: Fold) -> tuple[NDArray[np.float32], NDArray[np.float64]]:
        data, began = fold_data(source, fold, params), time.thread_time()
        booster, columns, seconds, trees = data.start(params, SEED), [], [], 0
        for point in checkpoints(params["n_estimators"]):
            booster.grow(point - trees, lambda: False)
            trees = point
            columns.append(booster.predictions())
            seconds.append(time.thread_time() - began)
        return np.asfortranarray(np.stack(columns, axis=1)), np.array(seconds)

    for fold in folds:
        predictions(dict(plan.benchmark) | {"n_estimators": 2}, fold)  # compiles, and reads the planes
    rates = {Objective.SHARPE: given.sharpe_rate, Objective.PAYOUT: given.payout_rate}
    benchmarks = {
        objective: score_benchmark(
            plan,
            scorers,
            {
                fold.number: predictions(dict(plan.benchmark) | {"learning_rate": rate}, fold)[0][:, -1]
                for fold in folds
            },
        )
        for objective, rate in rates.items()
    }
    scored = benchmarks[Objective.PAYOUT]
    trials = []
    for params in original_configurations(given.configurations, given.most_trees, given.seed):
        params |= {"target": "target"}
        parts = []
        for fold in folds:
            columns, seconds = predictions(params, fold)
            began = time.thread_time()
            scores = scored.scorers[fold.number].score(columns, (BENCHMARK,))
            scoring = (time.thread_time() - began) * np.arange(1, len(seconds) + 1) / len(seconds)
            parts.append(TrainedFold(Curve(scores.corr, scores.bmc[BENCHMARK]), seconds + scoring))
        trials.append(TrainedInFull(params, tuple(parts)))
        if len(trials) % 50 == 0:
            console.print(f"{len(trials)} configurations trained, {time.process_time():.0f} CPU s")
    benchmark = {
        objective: tuple(
            Curve(each.scores[fold.number].corr, each.scores[fold.number].bmc[BENCHMARK]) for fold in folds
        )
        for objective, each in benchmarks.items()
    }
    plain = plain_seconds(plan, [each.params for each in trials], given.plain)
    return Market(folds, OVERLAP_ERAS[given.horizon], benchmark, tuple(trials), plain)


def plain_seconds(plan: Plan, configurations: Sequence[dict[str, Any]], count: int) -> dict[int, float]:
    """Fit some configurations with LightGBM from the raw matrix, and predict with all their trees; CPU seconds."""
    found: dict[int, float] = {}
    if not count:
        return found
    matrix, target = raw_matrix(plan), plan.dataset.read_target("target")
    for number in range(0, len(configurations), -(-len(configurations) // count)):
        params = {name: value for name, value in configurations[number].items() if name != "target"}
        began = time.thread_time()
        for fold in plan.scored_folds:
            train, validation = (plan.dataset.rows_of(eras) for eras in (fold.train_eras, fold.validation_eras))
            model = plain_model(params, params["n_estimators"]).fit(matrix[train], target[train])
            model.predict(matrix[validation], num_threads=1)
        found[number] = time.thread_time() - began
    return found


def wins(trial: TrainedInFull, benchmark: Sequence[Curve], scoring: Scoring, checkpoint: int) -> bool:
    """Return whether a trial beats the benchmark at a checkpoint, in validation and in test."""
    compared = scoring.objective.compared

    def eras(curves: Sequence[Curve], place: int) -> NDArray[np.float64]:
        joined = Curve.joined(curves)
        return scoring.era_scores(joined.corr[:, place], joined.bmc[:, place], compared)

    curves = [fold.curve for fold in trial.folds]
    return all(
        bool(beats_benchmark(eras(own, checkpoint), eras(other, 0), compared))
        for own, other in ((curves[:-1], benchmark[:-1]), (curves[-1:], benchmark[-1:]))
    )


def in_full(market: Market, scoring: Scoring) -> Outcome:
    """Return what training all of it finds."""
    winners = [
        number
        for number, trial in enumerate(market.trials)
        if wins(trial, market.benchmark[scoring.objective], scoring, best_of(trial, scoring))
    ]
    seconds = sum(float(fold.seconds[-1]) for trial in market.trials for fold in trial.folds)
    return Outcome(seconds, frozenset(winners), len(market.trials))


def best_of(trial: TrainedInFull, scoring: Scoring) -> int:
    """Return a trial's best checkpoint in validation."""
    return Curve.joined([fold.curve for fold in trial.folds[:-1]]).best(scoring)[0]


def raced(market: Market, scoring: Scoring, settings: RaceSettings) -> Outcome:
    """Return what a race finds."""
    pilot = [[fold.curve for fold in trial.folds[:-1]] for trial in market.trials[: settings.pilot_trials]]
    benchmark = market.benchmark[scoring.objective]
    race = Race.of(settings, scoring, market.overlap_eras, benchmark[:-1], pilot)
    seconds, winners, finished, cut, cut_early = 0.0, [], 0, 0, 0
    for number, trial in enumerate(market.trials):
        if trains_in_full(settings, SEED, number):
            seconds += sum(float(fold.seconds[-1]) for fold in trial.folds)
            finished += 1
            won = wins(trial, benchmark, scoring, best_of(trial, scoring))
        else:
            found = replay(trial.params, market.folds, [fold.curve for fold in trial.folds], race)
            seconds += sum(
                float(fold.seconds[count - 1]) for fold, count in zip(trial.folds, found.reached, strict=False)
            )
            finished += found.stop is None
            for fold, count in zip(trial.folds[:-1], found.reached, strict=False):
                if count < len(fold.seconds):
                    cut += 1
                    cut_early += fold.curve.best(scoring)[0] >= count
            won = found.stop is None and wins(trial, benchmark, scoring, found.best)
        if won:
            winners.append(number)
    return Outcome(seconds, frozenset(winners), finished, cut, cut_early)


def with_foresight(market: Market, scoring: Scoring) -> Outcome:
    """Return what a race would find that trained every fold to its best checkpoint and no further.

    It is what no rule can know, and the most that any rule can save which lets all proceed that beat the benchmark in
    validation.
    """
    settings, benchmark = RaceSettings(recovery=0), market.benchmark[scoring.objective]
    race = Race.of(settings, scoring, market.overlap_eras, benchmark[:-1])
    seconds, winners, finished = 0.0, set[int](), 0
    for number, trial in enumerate(market.trials):
        best = best_of(trial, scoring)
        passes = race.reason_to_stop([fold.curve for fold in trial.folds[:-1]]) is None
        in_full = trains_in_full(settings, SEED, number)
        parts = trial.folds if passes or in_full else trial.folds[:-1]
        seconds += sum(float(fold.seconds[-1 if in_full else best]) for fold in parts)
        finished += passes or in_full
        if passes and wins(trial, benchmark, scoring, best):
            winners.add(number)
    return Outcome(seconds, frozenset(winners), finished)


def sampled(market: Market, settings: RaceSettings) -> list[int]:
    """Return the trials that a race trains to the end whatever they score."""
    return [number for number in range(len(market.trials)) if trains_in_full(settings, SEED, number)]


def measure(given: argparse.Namespace, console: Console) -> None:
    """Train, race on what was trained, and print a table for each objective."""
    kept = None if given.keep is None else Path(given.keep)
    if kept is not None and kept.exists():
        market: Market = pickle.loads(kept.read_bytes())
    else:
        market = train_in_full(given, console)
        if kept is not None:
            kept.write_bytes(pickle.dumps(market))
    for objective in (Objective.SHARPE, Objective.PAYOUT):
        scoring = Scoring(objective)
        print_table(market, scoring, console)


def print_table(market: Market, scoring: Scoring, console: Console) -> None:
    """Print what each rule finds and costs, and what the trials that are always finished say of all."""
    full = in_full(market, scoring)
    title = f"{scoring.objective}: {len(market.trials)} configurations of original.toml"
    table = ratio_table(title, "", "CPU s", "finished", "winners", "kept", "winners per CPU s", "ratio")
    rate = len(full.winners) / full.seconds
    table.add_row("in full", f"{full.seconds:.1f}", f"{full.finished}", f"{len(full.winners)}", "", f"{rate:.3f}", "")
    found_by = {name: raced(market, scoring, rule) for name, rule in RULES.items()}
    for name, found in (found_by | {"best checkpoints foreseen": with_foresight(market, scoring)}).items():
        kept = len(found.winners & full.winners) / max(len(full.winners), 1)
        own = len(found.winners) / found.seconds
        table.add_row(
            name,
            f"{found.seconds:.1f}",
            f"{found.finished}",
            f"{len(found.winners)}",
            f"{kept:.0%}",
            f"{own:.3f}",
            f"{own / rate:.2f} x" if rate else "",
        )
    console.print(table)
    default = found_by["default"]
    console.print(f"Of {default.cut} curves that the default cut, {default.cut_early} would have reached a new best")
    if market.plain_seconds:
        print_plain(market, full, default, console)
    chosen = sampled(market, RaceSettings())
    won = len(full.winners & set(chosen))
    low, high = beta.ppf(
        [(1 - LEVEL) / 2, (1 + LEVEL) / 2], [won + 1e-9, won + 1], [len(chosen) - won + 1, len(chosen) - won + 1e-9]
    )
    past, future = (
        np.array([float(scoring.objective.summary(_at_best(trial, scoring, part))) for trial in market.trials])
        for part in (slice(None, -1), slice(-1, None))
    )
    few, everyone = (float(spearmanr(past[rows], future[rows]).statistic) for rows in (chosen, slice(None)))
    console.print(
        f"Controls, {len(chosen)}: {won / len(chosen):.0%} win ({low:.0%} to {high:.0%}), of all "
        f"{len(full.winners) / len(market.trials):.0%}; rank correlation of validation and test {few:.2f}, of all "
        f"{everyone:.2f}"
    )


def print_plain(market: Market, full: Outcome, race: Outcome, console: Console) -> None:
    """Print what the same configurations take with plain LightGBM, which would find as many winners as all in full."""
    plain = sum(market.plain_seconds.values())
    own = sum(float(fold.seconds[-1]) for number in market.plain_seconds for fold in market.trials[number].folds)
    seconds = full.seconds * plain / own
    ratio = len(race.winners) / race.seconds / (len(full.winners) / seconds) if full.winners else np.nan
    console.print(
        f"Plain LightGBM takes {plain:.1f} CPU s for {len(market.plain_seconds)} of them, bit planes {own:.1f} "
        f"({plain / own:.1f} x); with the default race {ratio:.1f} x as many winners per CPU s"
    )


def _at_best(trial: TrainedInFull, scoring: Scoring, part: slice) -> NDArray[np.float64]:
    joined, place = Curve.joined([fold.curve for fold in trial.folds[part]]), best_of(trial, scoring)
    return scoring.era_scores(joined.corr[:, place], joined.bmc[:, place])


def main() -> None:
    """Run the benchmark and print its tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    add_size(parser)
    parser.add_argument("--data", default="")
    parser.add_argument("--horizon", type=int, default=60)
    parser.add_argument("--configurations", type=int, default=200)
    parser.add_argument("--most-trees", type=int, default=300)
    parser.add_argument("--sharpe-rate", type=float, default=0.01, help="learning rate of the benchmark by Sharpe")
    parser.add_argument("--payout-rate", type=float, default=0.01, help="of the benchmark by payout, and of BMC")
    parser.add_argument("--seed", type=int, default=SEED)
    parser.add_argument("--keep")
    parser.add_argument("--plain", type=int, default=0, help="configurations to fit with plain LightGBM, too")
    run_in_scratch(measure, parser)


if __name__ == "__main__":
    main()
