"""Does the report call noise luck and signal skill: the verdict on the winner of 300 trials, market by market.

``python -m benchmarks.luck`` makes synthetic markets of noise and of strong signal, each of its own seed, mines each
with LightGBM through the miner's own functions, and evaluates the studies. A market is narrow, 120 stocks an era in
place of the default's 500, so that a study takes seconds; the strong signal pays ten times what the default's does, so
that it shows in so few stocks. Eras, folds and targets are the default's: 52 weekly eras each of validation and test,
targets of 60 days.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import tempfile
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from rich.console import Console

from benchmarks.common import drawn_configurations, measured, ratio_table
from signal_miner.data.demo import Market, write_market
from signal_miner.data.folds import OVERLAP_ERAS
from signal_miner.data.sources import open_source
from signal_miner.engine.binning import BinnedFolds
from signal_miner.engine.trial import train_fold
from signal_miner.engine.validation_rows import fold_scorers
from signal_miner.experiment.parameters import max_bin_of
from signal_miner.experiment.plan import Plan, make_plan
from signal_miner.experiment.schema import parse_experiment
from signal_miner.overfitting.verdict import evaluate
from signal_miner.scoring.scorer import Scorer
from signal_miner.scoring.series import sharpe
from signal_miner.scoring.study_scores import TEST, VALIDATION, StudyScores
from signal_miner.utils.validation import Value

Curve = NDArray[np.float64]
"""CORR, (n_eras, n_checkpoints), of both folds' eras."""

NOISE, STRONG = 0.0, 10.0
TARGETS = ["target", "target_cyrusd_60", "target_teager2b_60"]
GRID = {
    "n_estimators": [12, 24],
    "learning_rate": [0.02, 0.05, 0.1, 0.2],
    "max_depth": [2, 3, 4],
    "num_leaves": [4, 7],
    "colsample_bytree": [0.1, 0.3, 1.0],
    "min_child_samples": [20, 100],
    "max_bin": [5],
}
PLAIN = {"n_estimators": 24, "learning_rate": 0.1, "max_depth": 3, "num_leaves": 7, "max_bin": 5}


@dataclass(frozen=True)
class Winner:
    """The estimates for a study's best trial."""

    signal: float
    seed: int
    verdict: str
    deflated_sharpe: float
    expected_best: float
    validation: float
    test: float
    overfitting: float
    superiority: float
    relation: str
    cpu_seconds: float


def study_scores(seed: int, signal: float, trials: int) -> StudyScores:
    """Invent a market, mine it, and return what its trials scored."""
    with tempfile.TemporaryDirectory() as scratch:
        market = Market(seed=seed, rows_per_era=120, features=20, signal=signal)
        plan = plan_over(write_market(Path(scratch) / "market", market).resolve())
        binned, scorers = BinnedFolds(plan.dataset, plan.targets, seed=0), fold_scorers(plan)
        benchmark = curve(plan, binned, scorers, plan.benchmark, seed)[:, -1]
        configurations = drawn_configurations(plan.grid, trials, seed)
        curves = [curve(plan, binned, scorers, params, seed) for params in configurations]
        return assembled(plan, curves, benchmark)


def curve(
    plan: Plan, binned: BinnedFolds, scorers: Mapping[int, Scorer], params: Mapping[str, Value], seed: int
) -> Curve:
    """Train a configuration on both folds and return the CORR of each era at each checkpoint."""
    target = str(params["target"])
    parts = []
    for fold in plan.folds[target]:
        predictions = train_fold(binned.get(fold, max_bin_of(params), target), params, seed)
        parts.append(scorers[fold.number].corr(predictions))
    return np.concatenate(parts)


def plan_over(data: Path) -> Plan:
    """Return the plan of two folds over a market's directory."""
    experiment = parse_experiment(
        {
            "name": "luck",
            "data": str(data),
            "targets": TARGETS,
            "scoring_target": "target",
            "constraint": "num_leaves <= 2**max_depth",
            "grid": GRID,
            "benchmark": PLAIN,
        }
    )
    return make_plan(experiment, open_source(str(data), "all", "target", TARGETS))


def assembled(plan: Plan, curves: list[Curve], benchmark: NDArray[np.float64]) -> StudyScores:
    """Put a study together as the report reads it: trials by validation Sharpe, best first; BMC is not used."""
    folds = plan.scored_folds
    numbers = np.concatenate([np.full(len(fold.validation_eras), fold.number) for fold in folds])
    drawn = np.stack([each[:, -1] for each in curves], axis=1)
    ranked = np.argsort(-np.nan_to_num(sharpe(drawn[numbers < numbers.max()]), nan=-np.inf), kind="stable")
    curves = [curves[place] for place in ranked]
    eras = np.concatenate([np.array(fold.validation_eras, dtype=np.int64) for fold in folds])
    points = [each.shape[1] for each in curves]
    return StudyScores(
        study="luck",
        era_labels=tuple(plan.dataset.era_labels[era] for era in eras),
        eras=eras,
        folds=numbers,
        overlap_eras=OVERLAP_ERAS[60],
        names=tuple(f"trial {place}" for place in ranked),
        numbers=tuple(int(place) for place in ranked),
        failed=0,
        era_scores=drawn[:, ranked],
        bmc=np.full_like(drawn, np.nan),
        benchmark_corr=np.full_like(drawn, np.nan),
        benchmark=benchmark,
        candidates=np.concatenate(curves, axis=1),
        candidate_trial=np.repeat(np.arange(len(curves)), points),
        candidate_trees=np.concatenate([np.arange(1, count + 1) for count in points]),
    )


def winner(signal: float, seed: int, trials: int) -> Winner:
    """Mine a market and evaluate its best trial."""
    done = measured(lambda: evaluate(study_scores(seed, signal, trials), leaders=1))
    evaluation = done.result
    best = evaluation.leaders[0]
    return Winner(
        signal,
        seed,
        str(best.verdict),
        best.deflated_sharpe,
        evaluation.deflation.expected_best_sharpe,
        best.sharpe[VALIDATION].value,
        best.sharpe[TEST].value,
        evaluation.overfitting.probability if evaluation.overfitting else np.nan,
        evaluation.superiority.p_consistent if evaluation.superiority else np.nan,
        evaluation.relation.strength,
        done.cpu_seconds,
    )


def show(winners: list[Winner], console: Console) -> None:
    """Print each winner, then the counts of each kind of market."""
    for signal, name in ((NOISE, "noise"), (STRONG, "strong signal")):
        own = [one for one in winners if one.signal == signal]
        each = ratio_table(
            f"{name}: the winners",
            "seed",
            "verdict",
            "deflated",
            "Sharpe",
            "by luck",
            "test",
            "PBO",
            "SPA p",
            "relation",
        )
        for one in own:
            sharpes = (one.deflated_sharpe, one.validation, one.expected_best, one.test)
            figures = (*sharpes, one.overfitting, one.superiority)
            each.add_row(str(one.seed), one.verdict, *(f"{figure:.2f}" for figure in figures), one.relation)
        console.print(each)
        found, overfitting = Counter(one.verdict for one in own), np.array([one.overfitting for one in own])
        verdicts = ", ".join(f"{verdict} {found[verdict]}" for verdict in ("skill", "unclear", "luck"))
        superior = sum(one.superiority < 0.05 for one in own)
        console.print(
            f"{name}, {len(own)} studies: {verdicts}; PBO {overfitting.mean():.2f} on average, "
            f"{overfitting.min():.2f} to {overfitting.max():.2f}; SPA below 5% in {superior}; "
            f"{np.mean([one.cpu_seconds for one in own]):.0f} CPU seconds a study\n"
        )


def main() -> None:
    """Run the benchmark and print its tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--trials", type=int, default=300)
    parser.add_argument("--processes", type=int, default=1)
    given = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = "1"
    seeds = range(given.first_seed, given.first_seed + given.seeds)
    work = [(signal, seed, given.trials) for seed in seeds for signal in (NOISE, STRONG)]
    with multiprocessing.get_context("spawn").Pool(given.processes, maxtasksperchild=10) as pool:
        show(pool.starmap(winner, work, chunksize=1), Console())


if __name__ == "__main__":
    main()
