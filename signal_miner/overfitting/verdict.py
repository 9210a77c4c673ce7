"""What to believe of a study's leaders: skill, unclear or luck, from the scores of their eras alone."""

from __future__ import annotations

import math
from collections.abc import Mapping
from types import MappingProxyType

from signal_miner.overfitting.bootstrap import sharpe_difference, sharpe_estimate
from signal_miner.overfitting.cross_validation import probability_of_overfitting
from signal_miner.overfitting.deflation import deflate
from signal_miner.overfitting.records import ModelEvaluation, StudyEvaluation, Verdict
from signal_miner.overfitting.relation import relation
from signal_miner.overfitting.superiority import superior_predictive_ability
from signal_miner.scoring.study_scores import TEST, VALIDATION, StudyScores

SKILL_LEVEL, LUCK_LEVEL = 0.95, 0.5
"""Deflated Sharpe ratios from which a model is *skill*, and below which it is *luck*."""

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
        "relation": (
            "Spearman (1904), The Proof and Measurement of Association between Two Things, American Journal of "
            "Psychology 15(1)"
        ),
    }
)
"""Where each conclusion's method was published."""


def evaluate(scores: StudyScores, leaders: int = 10, seed: int = 0) -> StudyEvaluation:
    """Evaluate a study by the scores of its eras.

    A leader is *skill* where its deflated Sharpe ratio is at least `SKILL_LEVEL` and its test Sharpe above 0; *luck*
    where its deflated Sharpe ratio is below `LUCK_LEVEL`, which is no more than luck alone is expected to give the
    best of so many tries, or its test Sharpe is not above 0; *unclear* elsewhere. Leaders are chosen and deflated by
    validation alone.

    Parameters
    ----------
    leaders : int, default 10
        How many of the first trials get a verdict, at most.
    seed : int, default 0
        Of the bootstraps.

    Returns
    -------
    StudyEvaluation
        The same for the same scores and seed.
    """
    deflation, deflated = deflate(scores, leaders)
    evaluated = tuple(
        _evaluate_model(scores, place, float(probability), seed) for place, probability in enumerate(deflated)
    )
    validation = scores.rows(VALIDATION)
    overfitting = probability_of_overfitting(scores.era_scores, scores.overlap_eras)
    superiority = superior_predictive_ability(
        scores.era_scores[validation], scores.benchmark[validation], scores.overlap_eras, seed
    )
    return StudyEvaluation(evaluated, deflation, relation(scores, seed), overfitting, superiority)


def _evaluate_model(scores: StudyScores, place: int, deflated: float, seed: int) -> ModelEvaluation:
    own = scores.era_scores[:, place]
    estimates, over_benchmark = {}, {}
    for section in (VALIDATION, TEST):
        rows = scores.rows(section)
        estimates[section] = sharpe_estimate(own[rows], scores.overlap_eras, seed)
        over_benchmark[section] = sharpe_difference(own[rows], scores.benchmark[rows], scores.overlap_eras, seed)
    verdict = _verdict(estimates[TEST].value, deflated)
    return ModelEvaluation(scores.names[place], scores.numbers[place], estimates, over_benchmark, deflated, verdict)


def _verdict(test: float, deflated: float) -> Verdict:
    if test <= 0 or deflated < LUCK_LEVEL:
        return Verdict.LUCK
    return Verdict.SKILL if deflated >= SKILL_LEVEL and math.isfinite(test) else Verdict.UNCLEAR
