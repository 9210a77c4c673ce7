"""What to believe of a study's leaders: skill, unclear or luck, from the scores of their eras alone."""

from __future__ import annotations

import math
from collections.abc import Mapping
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from signal_miner.overfitting.bootstrap import (
    corrected_difference,
    corrected_estimate,
    difference_to_average,
    sharpe_difference,
    sharpe_estimate,
)
from signal_miner.overfitting.cross_validation import probability_of_overfitting
from signal_miner.overfitting.deflation import deflate, deflated_sharpe
from signal_miner.overfitting.expectation import expectation, pool_of
from signal_miner.overfitting.records import (
    Estimate,
    Expectation,
    ModelEvaluation,
    Pool,
    Standing,
    StudyEvaluation,
    Verdict,
)
from signal_miner.overfitting.relation import relation
from signal_miner.overfitting.superiority import superior_predictive_ability
from signal_miner.scoring.objective import Objective
from signal_miner.scoring.payout import DEFAULT_PAYOUT, Payout
from signal_miner.scoring.series import mean, sharpe
from signal_miner.scoring.study_scores import TEST, VALIDATION, StudyScores

SKILL_LEVEL, LUCK_LEVEL = 0.92, 0.5
"""Deflated Sharpe ratios from which a model is *skill*, and below which it is *luck*.

With a test Sharpe above 0, as *skill* also needs, 92% are exceeded in at most 5% of studies without skill, whatever
their trials' correlation."""

SOURCES: Mapping[str, str] = MappingProxyType(
    {
        "deflation": (
            "after Bailey and López de Prado (2014), The Deflated Sharpe Ratio, Journal of Portfolio Management 40(5)"
        ),
        "overfitting": (
            "Bailey, Borwein, López de Prado and Zhu (2017), The Probability of Backtest Overfitting, "
            "Journal of Computational Finance 20(4)"
        ),
        "superiority": (
            "Hansen (2005), A Test for Superior Predictive Ability, Journal of Business & Economic Statistics 23(4); "
            "White (2000), A Reality Check for Data Snooping, Econometrica 68(5)"
        ),
        "bootstrap": (
            "Politis and Romano (1994), The Stationary Bootstrap, Journal of the American Statistical Association "
            "89(428); Lo (2002), The Statistics of Sharpe Ratios, Financial Analysts Journal 58(4)"
        ),
        "expectation": (
            "after James and Stein (1961), Estimation with Quadratic Loss, Fourth Berkeley Symposium 1; Efron and "
            "Morris (1975), Data Analysis Using Stein's Estimator and its Generalizations, Journal of the American "
            "Statistical Association 70(350)"
        ),
        "relation": (
            "Spearman (1904), The Proof and Measurement of Association between Two Things, American Journal of "
            "Psychology 15(1)"
        ),
    }
)
"""Where each conclusion's method was published."""


def evaluate(scores: StudyScores, leaders: int = 10, seed: int = 0, payout: Payout = DEFAULT_PAYOUT) -> StudyEvaluation:
    """Evaluate a study by the scores of its eras.

    A leader is *skill* where its deflated Sharpe ratio is at least `SKILL_LEVEL` and its test Sharpe above 0; *luck*
    where its deflated Sharpe ratio is below `LUCK_LEVEL`, which is no more than luck alone is expected to give the
    best of so many tries, or its test Sharpe is not above 0; *unclear* elsewhere. It is *better* than the benchmark, or
    than the average trial, where the interval of the difference in validation, corrected for selection bias, is above
    0, and the difference in test is. Leaders are chosen and deflated by validation alone.

    Parameters
    ----------
    leaders : int, default 10
        How many of the first trials get a verdict, at most.
    seed : int, default 0
        Of the bootstraps.
    payout : Payout
        Multipliers of payouts, where `scores` are CORR.

    Returns
    -------
    StudyEvaluation
        The same for the same scores and seed.
    """
    deflation, deflated = deflate(scores, leaders)
    benchmark = scores.benchmark[scores.rows(VALIDATION)]
    among = scores.chosen_among(scores.era_scores, scores.stopped_scores)
    pool = pool_of(among, scores.overlap_eras, Objective.SHARPE)
    tried = scores.known_in_validation(scores.era_scores, scores.stopped_scores)
    evaluated = tuple(
        _evaluate_model(scores, tried, place, float(probability), pool, seed)
        for place, probability in enumerate(deflated)
    )
    return StudyEvaluation(
        evaluated,
        deflation,
        relation(scores, seed),
        probability_of_overfitting(scores.era_scores[:, scores.unbiased], scores.overlap_eras, seed=seed),
        superior_predictive_ability(tried, benchmark, scores.overlap_eras, seed),
        superior_predictive_ability(tried, benchmark, scores.overlap_eras, seed, Objective.SHARPE),
        pool,
        _expectations(scores, pool, payout),
    )


def evaluate_blend(
    name: str,
    own: NDArray[np.float64],
    by_choosing: float,
    scores: StudyScores,
    evaluation: StudyEvaluation,
    seed: int = 0,
) -> ModelEvaluation:
    """Evaluate an ensemble of a study's trials as `evaluate` does its leaders.

    It is deflated as if it were one of the tries.

    Parameters
    ----------
    own : ndarray of float64, shape (n_eras,)
        Its scores of the study's eras.
    by_choosing : float
        What its selection added to its validation Sharpe ratio; NaN where that is not known, and then nothing is
        corrected, and it is not called better than anything.
    """
    validation, test = scores.rows(VALIDATION), scores.rows(TEST)
    overlap, benchmark = scores.overlap_eras, scores.benchmark
    parts = {VALIDATION: validation, TEST: test}
    estimates = {part: sharpe_estimate(own[rows], overlap, seed) for part, rows in parts.items()}
    over = {part: sharpe_difference(own[rows], benchmark[rows], overlap, seed) for part, rows in parts.items()}
    own_estimate, difference = _lower(estimates[VALIDATION], by_choosing), _lower(over[VALIDATION], by_choosing)
    every = np.column_stack([scores.known_in_validation(scores.era_scores, scores.stopped_scores), own[validation]])
    pool = Pool(evaluation.pool.mean, evaluation.pool.n_trials + 1, 1.0, 1.0, 1.0, 1.0)
    over_average = _lower(difference_to_average(every, every.shape[1] - 1, pool, overlap), by_choosing)
    average = float(mean(np.atleast_1d(sharpe(scores.era_scores[test]))))
    deflated = deflated_sharpe(own[validation], evaluation.deflation, overlap)
    return ModelEvaluation(
        name=name,
        number=-1,
        sharpe=estimates,
        sharpe_over_benchmark=over,
        corrected=own_estimate,
        corrected_over_benchmark=difference,
        over_average=over_average,
        against_benchmark=_standing(difference, over[TEST].value),
        against_average=_standing(over_average, estimates[TEST].value - average),
        deflated_sharpe=deflated,
        verdict=_verdict(estimates[TEST].value, deflated),
    )


def _lower(estimate: Estimate, by: float) -> Estimate:
    return Estimate(estimate.value - by, estimate.low - by, estimate.high - by)


def _expectations(scores: StudyScores, pool: Pool, payout: Payout) -> tuple[Expectation, ...]:
    """Return what to expect of the first trial: the ratio that is compared, and its payout."""
    if not scores.names:
        return ()
    validation, test = scores.rows(VALIDATION), scores.rows(TEST)
    own, paying = scores.era_scores, scores.objective.compared is Objective.PAYOUT
    ratio = Objective.PAYOUT_SHARPE if paying else Objective.SHARPE
    paid = own if paying else payout.of(own, scores.bmc)
    stopped = scores.stopped_scores
    if not paying and stopped is not None and scores.stopped_bmc is not None:
        stopped = payout.of(stopped, scores.stopped_bmc)
    of_payouts = pool_of(scores.chosen_among(paid, stopped), scores.overlap_eras, Objective.PAYOUT)
    found = (
        expectation(eras[validation, 0], eras[test, 0], its_pool, scores.overlap_eras, objective)
        for eras, its_pool, objective in ((own, pool, ratio), (paid, of_payouts, Objective.PAYOUT))
    )
    return tuple(each for each in found if math.isfinite(each.value))


def _evaluate_model(
    scores: StudyScores, tried: NDArray[np.float64], place: int, deflated: float, pool: Pool, seed: int
) -> ModelEvaluation:
    own = scores.era_scores[:, place]
    estimates, over_benchmark = {}, {}
    for section in (VALIDATION, TEST):
        rows = scores.rows(section)
        estimates[section] = sharpe_estimate(own[rows], scores.overlap_eras, seed)
        over_benchmark[section] = sharpe_difference(own[rows], scores.benchmark[rows], scores.overlap_eras, seed)
    validation, test = scores.rows(VALIDATION), scores.rows(TEST)
    difference = corrected_difference(over_benchmark[VALIDATION], estimates[VALIDATION], pool)
    over_average = difference_to_average(tried, place, pool, scores.overlap_eras)
    average = float(mean(np.atleast_1d(sharpe(scores.era_scores[test]))))
    return ModelEvaluation(
        name=scores.names[place],
        number=scores.numbers[place],
        sharpe=estimates,
        sharpe_over_benchmark=over_benchmark,
        corrected=corrected_estimate(estimates[VALIDATION], own[validation], pool, scores.overlap_eras),
        corrected_over_benchmark=difference,
        over_average=over_average,
        against_benchmark=_standing(difference, over_benchmark[TEST].value),
        against_average=_standing(over_average, estimates[TEST].value - average),
        deflated_sharpe=deflated,
        verdict=_verdict(estimates[TEST].value, deflated),
    )


def _standing(corrected: Estimate, in_test: float) -> Standing:
    return Standing.BETTER if corrected.low > 0 and in_test > 0 else Standing.NOT_SHOWN


def _verdict(test: float, deflated: float) -> Verdict:
    if test <= 0 or deflated < LUCK_LEVEL:
        return Verdict.LUCK
    return Verdict.SKILL if deflated >= SKILL_LEVEL and math.isfinite(test) else Verdict.UNCLEAR
