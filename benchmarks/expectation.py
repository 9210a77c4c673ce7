"""What a study says of the trial that it chooses, against what is true: simulated studies of known skill.

``python -m benchmarks.expectation`` draws the era scores of trials whose true Sharpe ratios are known, for every
combination of an overlap of targets, a correlation between trials and a number of eras: all trials equally good, or
with skills that differ by ``--spread``. ``latent`` trials are mixtures of three directions, of which skill follows
one. Validation, test and a segment to come have as many eras each, and nothing changes between them. Of the segment to
come, which depends on the winner's true Sharpe ratio alone, all possible ones count, so that few studies tell the
coverage of prediction intervals. The first table shows bias, RMSE and coverage of what is expected of the winner; the
second, how often each verdict is given: its size where there is nothing to be found, else its power.
"""

from __future__ import annotations

import argparse
import itertools
import math
import multiprocessing
import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from rich.console import Console

from benchmarks.common import ratio_table
from signal_miner.overfitting import bootstrap
from signal_miner.overfitting.bootstrap import (
    corrected_difference,
    corrected_estimate,
    difference_to_average,
    sharpe_difference,
    sharpe_estimate,
)
from signal_miner.overfitting.cross_validation import probability_of_overfitting
from signal_miner.overfitting.deflation import deflate
from signal_miner.overfitting.expectation import expectation, pool_of
from signal_miner.overfitting.superiority import SIGNIFICANT, superior_predictive_ability
from signal_miner.overfitting.verdict import SKILL_LEVEL
from signal_miner.scoring.objective import Objective
from signal_miner.scoring.series import sharpe
from signal_miner.scoring.study_scores import StudyScores

Scores = NDArray[np.float64]
LATENT = "latent"
OVERLAPS, ERAS = (3, 11), (52, 120, 300)
CORRELATIONS: tuple[float | str, ...] = (0.3, 0.6, 0.9, LATENT)
LEVEL = 0.5
"""True Sharpe ratio of the average trial, but where skill is asked for."""
POWERS = (0.0, 0.25, 0.5, 0.75)
FUTURES = 4000
"""Segments to come."""


@dataclass(frozen=True)
class Cell:
    """A kind of study."""

    overlap: int
    trials: int
    correlation: float | str
    eras: int
    spread: float

    @property
    def label(self) -> str:
        """Its settings."""
        return f"{self.overlap} | {self.trials:,} | {self.correlation} | {self.eras}"


def study(cell: Cell, generator: np.random.Generator) -> tuple[Scores, Scores, Scores]:
    """Return the scores of validation and of test, and true Sharpe ratios; the benchmark is last."""
    gap = cell.overlap + 1
    steps = 2 * cell.eras + gap + cell.overlap
    own = generator.standard_normal((steps, cell.trials + 1))
    if cell.correlation == LATENT:
        loadings = generator.standard_normal((3, cell.trials + 1))
        loadings /= np.linalg.norm(loadings, axis=0)
        loadings += 1 / math.sqrt(3)
        loadings /= np.linalg.norm(loadings, axis=0)
        returns = math.sqrt(0.9) * generator.standard_normal((steps, 3)) @ loadings + math.sqrt(0.1) * own
        skill = generator.standard_normal(3) @ loadings
        skill = (skill - skill.mean()) / skill.std()
    else:
        rho = float(cell.correlation)
        returns = math.sqrt(rho) * generator.standard_normal((steps, 1)) + math.sqrt(1 - rho) * own
        skill = generator.standard_normal(cell.trials + 1)
    skill = cell.spread * skill
    skill[-1] = 0.0
    scores = overlapping(returns, cell.overlap) + skill
    return scores[: cell.eras], scores[cell.eras + gap :], skill


def overlapping(returns: Scores, overlap: int) -> Scores:
    """Return scores of variance 1 that share returns with so many eras before, shape (n_steps - overlap, n_columns)."""
    total = np.concatenate([np.zeros((1, returns.shape[1])), returns]).cumsum(axis=0)
    return np.asarray((total[overlap + 1 :] - total[: -overlap - 1]) / math.sqrt(overlap + 1))


@lru_cache(maxsize=1)
def futures(overlap: int, eras: int) -> tuple[Scores, Scores]:
    """Return means and standard deviations of segments to come, less the true Sharpe ratio, each (`FUTURES`,)."""
    scores = overlapping(np.random.default_rng(1).standard_normal((eras + overlap, FUTURES)), overlap)
    return scores.mean(axis=0), scores.std(axis=0)


def as_study(validation: Scores, test: Scores, overlap: int, level: float) -> StudyScores:
    """Return scores as deflation reads them, best first."""
    order = np.argsort(-sharpe(validation[:, :-1]))
    era_scores = np.concatenate([validation, test])[:, :-1][:, order] + level
    n_eras, n_trials = era_scores.shape
    nothing = np.empty((n_eras, 0))
    return StudyScores(
        study="simulated",
        era_labels=tuple(map(str, range(n_eras))),
        eras=np.arange(n_eras),
        folds=np.repeat([1, 2], [len(validation), len(test)]),
        overlap_eras=overlap,
        names=tuple(map(str, order)),
        numbers=tuple(order.tolist()),
        failed=0,
        era_scores=era_scores,
        bmc=nothing,
        benchmark_corr=nothing,
        benchmark=np.concatenate([validation, test])[:, -1] + level,
        candidates=era_scores,
        candidate_trial=np.arange(n_trials),
        candidate_trees=np.ones(n_trials, dtype=np.int64),
    )


def measure(cell: Cell, repetitions: int, expensive: int) -> tuple[Cell, dict[str, float]]:
    """Return what was said of a kind of study, and how often it was so."""
    bootstrap.block_weights = lru_cache(maxsize=None)(bootstrap.block_weights.__wrapped__)
    generator = np.random.default_rng(0)
    rows = [_said(cell, *study(cell, generator), expensive=repetition < expensive) for repetition in range(repetitions)]
    columns = {name: np.array([row[name] for row in rows if name in row]) for name in {*itertools.chain(*rows)}}
    errors = {f"± {name}": float(values.std() / math.sqrt(len(values))) for name, values in columns.items()}
    return cell, {name: float(values.mean()) for name, values in columns.items()} | errors


def _said(cell: Cell, validation: Scores, test: Scores, skill: Scores, expensive: bool) -> dict[str, float]:
    overlap, ratio = cell.overlap, Objective.SHARPE
    scores = as_study(validation, test, overlap, LEVEL)
    winner = scores.numbers[0]
    past, benchmark = scores.era_scores[: cell.eras], scores.benchmark[: cell.eras]
    own, own_test = past[:, 0], scores.era_scores[cell.eras :, 0]
    pool = pool_of(past, overlap, ratio)
    with_test = expectation(own, own_test, pool, overlap, ratio, cell.eras)
    without = expectation(own, own_test[:0], pool, overlap, ratio, cell.eras)
    raw = sharpe_estimate(own, overlap, 0)
    corrected = corrected_estimate(raw, own, pool, overlap)
    difference = sharpe_difference(own, benchmark, overlap, 0)
    over = corrected_difference(difference, raw, pool)
    average = difference_to_average(past, 0, pool, overlap)
    true = LEVEL + float(skill[winner])
    means, deviations = futures(overlap, cell.eras)
    came = (true + means) / deviations
    in_test = sharpe(scores.era_scores[cell.eras :])
    row = {
        "covers validation": float(((without.low <= came) & (came <= without.high)).mean()),
        "covers test": float(((with_test.low <= came) & (came <= with_test.high)).mean()),
        "interval raw": float(raw.low <= true <= raw.high),
        "interval corrected": float(corrected.low <= true <= corrected.high),
        "benchmark raw": float(difference.low > 0),
        "benchmark": float(over.low > 0 and in_test[0] > float(sharpe(scores.benchmark[cell.eras :]))),
        "average": float(average.low > 0 and in_test[0] > in_test.mean()),
    }
    for name, expected in (("raw", raw.value), ("validation", without.value), ("test", with_test.value)):
        row |= {
            f"error {name}": float((expected - came).mean()),
            f"square {name}": float(((expected - came) ** 2).mean()),
        }
    for level in POWERS if expensive else POWERS[:1]:
        moved = replace(scores, era_scores=scores.era_scores + (level - LEVEL))
        deflated = float(deflate(moved, 1)[1][0])
        row[f"skill {level}"] = float(deflated >= SKILL_LEVEL and float(own_test.mean()) + level - LEVEL > 0)
    if expensive:
        found = probability_of_overfitting(scores.era_scores, overlap)
        if found is not None:
            row["choosing paid"] = float(found.pays)
            row["PBO below .25"] = float(found.probability < 0.25)
        for name, objective in (("SPA", Objective.CORR), ("SPA of Sharpe", ratio)):
            tested = superior_predictive_ability(past, benchmark, overlap, 0, objective)
            row[name] = float(tested is not None and tested.p_consistent <= SIGNIFICANT)
    return row


def _table(
    console: Console, title: str, found: list[tuple[Cell, dict[str, float]]], columns: dict[str, Callable[..., str]]
) -> None:
    table = ratio_table(title, "overlap | trials | correlation | eras", *columns)
    for cell, values in found:
        table.add_row(cell.label, *(text(values) for text in columns.values()))
    console.print(table)


def _share(name: str) -> Callable[[dict[str, float]], str]:
    return lambda values: f"{values[name]:.2f}" if name in values else ""


def _coverage(name: str) -> Callable[[dict[str, float]], str]:
    return lambda values: f"{values[name]:.3f} ± {values[f'± {name}']:.3f}"


def _error(name: str) -> Callable[[dict[str, float]], str]:
    return lambda values: f"{values[f'error {name}']:+.2f}, {math.sqrt(values[f'square {name}']):.2f}"


def main() -> None:
    """Run the benchmark and print its tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trials", type=int, nargs="+", default=[80, 3000])
    parser.add_argument("--repetitions", type=int, nargs="+", default=[200, 40], help="of each number of trials")
    parser.add_argument("--expensive", type=int, default=10, help="repetitions with power, PBO and SPA")
    parser.add_argument("--spread", type=float, nargs="+", default=[0.0, 0.1])
    parser.add_argument("--processes", type=int, default=1)
    given = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = os.environ["OPENBLAS_NUM_THREADS"] = "1"
    work = [
        (Cell(overlap, trials, correlation, eras, spread), repetitions, given.expensive)
        for spread in given.spread
        for trials, repetitions in zip(given.trials, given.repetitions, strict=True)
        for overlap, eras in itertools.product(OVERLAPS, ERAS)
        for correlation in CORRELATIONS
    ]
    with multiprocessing.get_context("spawn").Pool(given.processes) as pool:
        found = pool.starmap(measure, work, chunksize=1)
    console = Console(width=200)
    for spread in given.spread:
        own = [each for each in found if each[0].spread == spread]
        skills = "equal skill" if spread == 0 else f"skills that differ by {spread:g}"
        columns = {name: _error(name) for name in ("raw", "validation", "test")}
        columns |= {f"covers, {name}": _coverage(f"covers {name}") for name in ("validation", "test")}
        columns |= {f"interval, {name}": _coverage(f"interval {name}") for name in ("raw", "corrected")}
        _table(console, f"{skills}: bias and RMSE of what is expected of the winner, and coverage", own, columns)
        verdicts = {f"skill at {level:g}": _share(f"skill {level}") for level in POWERS}
        verdicts |= {name: _share(name) for name in ("benchmark raw", "benchmark", "average")}
        verdicts |= {name: _share(name) for name in ("PBO below .25", "choosing paid", "SPA", "SPA of Sharpe")}
        _table(console, f"{skills}: how often each verdict is given", own, verdicts)


if __name__ == "__main__":
    main()
