"""What is concluded of a study: estimates with their intervals, what luck alone would give, and verdicts."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from signal_miner.scoring.objective import Objective

FEWEST_TRIALS = 10
"""With fewer trials no relation is claimed."""

STRONG = 0.5
"""Rank correlation from which a relation is strong, where its interval is above the half of it."""

EXPECTED = "expected"
"""Section of an ensemble's metrics: what to expect of it in eras to come, such as ``expected/sharpe``."""

INTERVAL_LEVEL = 0.9
"""Coverage of the intervals."""


PAYS = 0.1
"""Probability of overfitting below which choosing the best trial is said to have paid."""


class Verdict(StrEnum):
    """What to believe of a model."""

    SKILL = "skill"
    UNCLEAR = "unclear"
    LUCK = "luck"


class Standing(StrEnum):
    """Whether a model is better than what it is compared with, corrected for selection bias."""

    BETTER = "better"
    NOT_SHOWN = "not shown better"


class Strength(StrEnum):
    """Of the relation between validation and test Sharpe."""

    STRONG = "strong"
    WEAK = "weak"
    NO = "no"


@dataclass(frozen=True)
class Estimate:
    """A value and the interval that covers its truth with a probability of `INTERVAL_LEVEL`; NaN where not known."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Pool:
    """The trials of a study together.

    Attributes
    ----------
    mean : float
        Of their scores in validation.
    n_trials : int
        Trials with a score.
    correlation : float
        Mean of all pairs of trials, of their eras' scores.
    effective_eras : float
        Independent eras that the validation eras are worth.
    kept, kept_surely : float
        Share of a trial's distance to the mean that is skill: James and Stein's, and a lower one that few directions
        are not taken for skill by; see `signal_miner.overfitting.expectation.pool_of`.
    """

    mean: float
    n_trials: int
    correlation: float
    effective_eras: float
    kept: float
    kept_surely: float


@dataclass(frozen=True)
class Expectation:
    """What to expect of a chosen model in eras to come; NaN where not known.

    Attributes
    ----------
    objective : Objective
        The score that is meant.
    value, low, high : float
        Expected score, and its prediction interval.
    validation, test : float
        What it scored there.
    by_validation : float
        What validation alone let expect.
    eras : int
        How many eras to come the interval is for.
    """

    objective: Objective
    value: float
    low: float
    high: float
    validation: float
    test: float
    by_validation: float
    eras: int


@dataclass(frozen=True)
class Relation:
    """How well validation Sharpe predicted test Sharpe, over all trials.

    Attributes
    ----------
    slope, intercept : float
        Least squares of test Sharpe on validation Sharpe.
    rank_correlation : Estimate
        Spearman's, over trials; the interval is of eras, drawn anew in blocks.
    n_trials : int
        Trials with both.
    strength : Strength
        See `signal_miner.overfitting.relation.relation`.
    """

    slope: float
    intercept: float
    rank_correlation: Estimate
    n_trials: int
    strength: Strength


@dataclass(frozen=True, eq=False)
class Overfitting:
    """Probability of backtest overfitting, by combinatorially symmetric cross-validation.

    Attributes
    ----------
    probability : float
        Share of the splits in which the best trial of one half is below the median of the other.
    n_blocks, n_splits, block_eras : int
        Blocks that the eras were cut into, ways to halve them, and eras of a block.
    logits : ndarray of float64, shape (n_splits,)
        Of the best trial's relative rank in the other half.
    n_eras : int
        Validation and test eras that were halved.
    low_by_luck, high_by_luck : float
        Where nine in ten such probabilities are if all trials are equally good; NaN where not estimated.
    """

    probability: float
    n_blocks: int
    n_splits: int
    block_eras: int
    logits: NDArray[np.float64]
    n_eras: int
    low_by_luck: float = math.nan
    high_by_luck: float = math.nan

    @property
    def pays(self) -> bool:
        """Whether choosing the best trial paid: below `PAYS`, and below what luck gives one time in twenty."""
        limit = PAYS if math.isnan(self.low_by_luck) else min(PAYS, self.low_by_luck)
        return self.probability < limit


@dataclass(frozen=True)
class Superiority:
    """Hansen's test of superior predictive ability: whether any trial beats the benchmark, given how many were tried.

    Attributes
    ----------
    p_lower, p_consistent, p_upper : float
        Of the hypothesis that none does; the upper one is White's reality check.
    """

    p_lower: float
    p_consistent: float
    p_upper: float
    n_trials: int


@dataclass(frozen=True)
class Deflation:
    """What the best of so many tries would show without skill.

    Attributes
    ----------
    n_candidates : int
        Trials at each of their checkpoints; those that did not finish count as if they had as many.
    correlation : float
        Mean of all pairs of candidates.
    effective_eras : float
        Independent eras that the validation eras are worth, as their targets overlap; of the first trial.
    deviation : float
        Standard deviation of the Sharpe of candidates without skill.
    expected_best_sharpe : float
        Highest validation Sharpe that luck alone is expected to give.
    has_unfinished : bool
        Whether some of the candidates are those of trials that did not finish.
    best_sharpe : float
        Validation Sharpe of the first trial.
    """

    n_candidates: int
    correlation: float
    effective_eras: float
    deviation: float
    expected_best_sharpe: float
    has_unfinished: bool
    best_sharpe: float


@dataclass(frozen=True)
class ModelEvaluation:
    """The verdict on a trial, and the numbers behind it.

    Attributes
    ----------
    sharpe : mapping of str to Estimate
        By section, ``validation`` and ``test``: of its eras' CORR, as drawn.
    sharpe_over_benchmark : mapping of str to Estimate
        By section: less the benchmark's. Before the correction for selection bias.
    corrected, corrected_over_benchmark, over_average : Estimate
        Its validation Sharpe, that less the benchmark's, and that less the average trial's, corrected for selection
        bias.
    against_benchmark, against_average : Standing
        *better* where the corrected interval is above 0 and the difference in test is, too.
    deflated_sharpe : float
        Probability that the true validation Sharpe is above what luck alone gives the best of so many tries.
    """

    name: str
    number: int
    sharpe: Mapping[str, Estimate]
    sharpe_over_benchmark: Mapping[str, Estimate]
    corrected: Estimate
    corrected_over_benchmark: Estimate
    over_average: Estimate
    against_benchmark: Standing
    against_average: Standing
    deflated_sharpe: float
    verdict: Verdict


@dataclass(frozen=True, eq=False)
class StudyEvaluation:
    """All that is concluded of a study.

    Attributes
    ----------
    leaders : tuple of ModelEvaluation
        The first trials by validation Sharpe, best first.
    overfitting : Overfitting or None
        None where the eras are too few for blocks longer than the targets' overlap, or there is one trial.
    superiority : Superiority or None
        Of mean scores; None where no trial is defined in all validation eras.
    sharpe_superiority : Superiority or None
        The same of Sharpe ratios.
    pool : Pool
        The trials' Sharpe ratios in validation.
    expectations : tuple of Expectation
        Of the first trial: its Sharpe ratio, and its mean payout where payouts are known.
    """

    leaders: tuple[ModelEvaluation, ...]
    deflation: Deflation
    relation: Relation
    overfitting: Overfitting | None
    superiority: Superiority | None
    sharpe_superiority: Superiority | None
    pool: Pool
    expectations: tuple[Expectation, ...]
