"""What to believe of a study's leaders: skill, unclear or luck, from the scores of their eras alone."""

from __future__ import annotations

import math
from collections.abc import Mapping
from types import MappingProxyType

import numpy as np

from signal_miner.overfitting.bootstrap import sharpe_difference, sharpe_estimate
from signal_miner.overfitting.cross_validation import FEW_SPLITS, probability_of_overfitting
from signal_miner.overfitting.deflation import deflate
from signal_miner.overfitting.records import Deflation, Judgement, ModelJudgement, Overfitting, Superiority, Verdict
from signal_miner.overfitting.relation import relation
from signal_miner.overfitting.superiority import superior_predictive_ability
from signal_miner.scoring.study_scores import TEST, VALIDATION, StudyScores
from signal_miner.utils.formatting import number_text, probability_text

SKILL_LEVEL, LUCK_LEVEL = 0.95, 0.5
"""Deflated Sharpe ratios from which a model is *skill*, and below which it is *luck*."""

FEW_EFFECTIVE_ERAS = 10
"""Independent eras below which a note warns."""

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


def judge(scores: StudyScores, leaders: int = 10, seed: int = 0) -> Judgement:
    """Judge a study by the scores of its eras.

    A leader is *skill* where its deflated Sharpe ratio is at least `SKILL_LEVEL` and its test Sharpe above 0; *luck*
    where its deflated Sharpe ratio is below `LUCK_LEVEL`, which is no more than luck alone is expected to give the
    best of so many tries, or its test Sharpe is not above 0; *unclear* elsewhere. Leaders are chosen and deflated by
    validation alone.

    Parameters
    ----------
    scores : StudyScores
    leaders : int, default 10
        How many of the first trials are judged, at most.
    seed : int, default 0
        Of the bootstraps.

    Returns
    -------
    Judgement
        The same for the same scores and seed.
    """
    deflation, deflated = deflate(scores, leaders)
    judged = tuple(
        _judge_model(scores, place, float(probability), deflation, seed) for place, probability in enumerate(deflated)
    )
    validation = scores.rows(VALIDATION)
    overfitting = probability_of_overfitting(scores.corr, scores.overlap_eras)
    superiority = superior_predictive_ability(
        scores.corr[validation], scores.benchmark[validation], scores.overlap_eras, seed
    )
    notes = _notes(scores, deflation, overfitting, superiority)
    return Judgement(judged, deflation, relation(scores, seed), overfitting, superiority, notes)


def _judge_model(scores: StudyScores, place: int, deflated: float, deflation: Deflation, seed: int) -> ModelJudgement:
    own = scores.corr[:, place]
    estimates, over_benchmark = {}, {}
    for section in (VALIDATION, TEST):
        rows = scores.rows(section)
        estimates[section] = sharpe_estimate(own[rows], scores.overlap_eras, seed)
        over_benchmark[section] = sharpe_difference(own[rows], scores.benchmark[rows], scores.overlap_eras, seed)
    verdict, reason = _verdict(estimates[VALIDATION].value, estimates[TEST].value, deflated, deflation)
    return ModelJudgement(
        scores.names[place], scores.numbers[place], estimates, over_benchmark, deflated, verdict, reason
    )


def _verdict(validation: float, test: float, deflated: float, deflation: Deflation) -> tuple[Verdict, str]:
    if not math.isfinite(deflated):
        if test <= 0:
            return Verdict.LUCK, f"Its test Sharpe of {number_text(test)} is not above 0."
        return Verdict.UNCLEAR, "Its validation scores are too few or too alike to tell skill from luck."
    own, best = f"Its validation Sharpe of {number_text(validation)} is", number_text(deflation.expected_best_sharpe)
    expected = f"above the {best} that the best of so many tries reaches by luck alone"
    figures = f"deflated Sharpe {probability_text(deflated)}"
    if deflated < LUCK_LEVEL:
        return Verdict.LUCK, f"{own} not {expected} ({figures})."
    if test <= 0:
        return Verdict.LUCK, f"{own} {expected} ({figures}), but it did not hold: in test it is {number_text(test)}."
    if not math.isfinite(test):
        return Verdict.UNCLEAR, f"{own} {expected} ({figures}), but it has no Sharpe in test."
    if deflated < SKILL_LEVEL:
        return Verdict.UNCLEAR, f"{own} {expected}, but not clearly: {figures}, and skill needs {SKILL_LEVEL:.0%}."
    return Verdict.SKILL, f"{own} {expected} ({figures}), and in test it is {number_text(test)}."


def _notes(
    scores: StudyScores, deflation: Deflation, overfitting: Overfitting | None, superiority: Superiority | None
) -> tuple[str, ...]:
    notes = []
    n_trials, n_validation = len(scores.names), int(scores.rows(VALIDATION).sum())
    if n_trials == 0:
        notes.append("No trial has finished, so there is nothing to judge.")
    elif n_trials == 1:
        notes.append("There is one trial: nothing was chosen among, so only its checkpoints deflate its Sharpe.")
    if n_validation == 0:
        notes.append("There is one fold, which is test: without validation eras no trial can be chosen.")
    elif n_trials and deflation.effective_eras < FEW_EFFECTIVE_ERAS:
        worth = f", worth {number_text(deflation.effective_eras, 1)} independent ones, as the targets of "
        worth += f"{scores.overlap_eras + 1} neighbouring eras overlap"
        has = f"Validation has {_eras(n_validation)}{worth if scores.overlap_eras else ''}"
        notes.append(f"{has}: only a very high Sharpe can be told from luck.")
    if n_trials >= 2 and overfitting is None:
        notes.append(
            f"The {_eras(len(scores.eras))} are too few for four blocks longer than twice the overlap of "
            f"{_eras(scores.overlap_eras)}, or trials have undefined eras: there is no probability of overfitting."
        )
    elif overfitting is not None and overfitting.n_splits < FEW_SPLITS:
        notes.append(f"The probability of overfitting is coarse: {overfitting.n_splits} splits, as the eras are few.")
    if n_trials and n_validation and superiority is None:
        notes.append("No trial differs from the benchmark over enough defined validation eras to be tested against it.")
    undefined = int(np.isnan(scores.corr).any(axis=0).sum())
    if undefined:
        trials = "trial has" if undefined == 1 else "trials have"
        notes.append(
            f"{undefined:,} {trials} eras in which all predictions were equal. Such eras count for nothing, and such a "
            "trial is left out of overfitting and of the test against the benchmark if others are defined there."
        )
    return tuple(notes)


def _eras(count: int) -> str:
    return f"{count:,} era" + ("" if count == 1 else "s")
