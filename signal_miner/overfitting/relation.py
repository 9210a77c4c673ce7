"""How well validation predicted test: the relation of Sharpe ratios over all trials.

Source
------
Spearman, C. (1904), "The Proof and Measurement of Association between Two Things", American Journal of Psychology
15(1), 72–101; its interval by Politis and Romano's stationary bootstrap over eras.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri
from scipy.stats import rankdata

from signal_miner.overfitting.bootstrap import FEWEST_ERAS, block_length, block_weights, weighted_sharpe
from signal_miner.overfitting.records import FEWEST_TRIALS, INTERVAL_LEVEL, STRONG, Estimate, Relation, Strength
from signal_miner.scoring.series import sharpe
from signal_miner.scoring.sharpe_ratio import effective_observations
from signal_miner.scoring.study_scores import TEST, VALIDATION, StudyScores

_CHUNK = 100  # bootstrap samples worked on at a time
_HIGHEST = 0.999999  # Fisher's transformation of 1 is infinite


def relation(scores: StudyScores, seed: int) -> Relation:
    """Return how well validation Sharpe predicted test Sharpe, over all trials; see `StudyScores.unbiased`.

    Trials of one study resemble each other, so that their number is no measure of how certain the rank correlation is.
    Its interval therefore draws eras anew, in blocks, in validation and test separately, and takes the standard
    deviation of Fisher's transformation ``artanh`` of the rank correlations that result, widened by what samples of
    blocks vary too little in short series, as the intervals of `signal_miner.overfitting.bootstrap` are.

    Returns
    -------
    Relation
        *weak* where the whole interval of the rank correlation is above 0; *strong* where it is above half of `STRONG`
        and the rank correlation at least `STRONG`; *no* elsewhere, and of fewer than `FEWEST_TRIALS` trials.
    """
    known = scores.era_scores[:, scores.unbiased]
    sections = [known[scores.rows(section)] for section in (VALIDATION, TEST)]
    ratios = np.stack([sharpe(section) for section in sections])  # (2, n_trials)
    both = np.isfinite(ratios).all(axis=0)
    validation, test = ratios[:, both]
    n_trials = int(both.sum())
    if n_trials < 2 or np.ptp(validation) == 0 or np.ptp(test) == 0:
        unknown = Estimate(math.nan, math.nan, math.nan)
        return Relation(math.nan, math.nan, unknown, n_trials, Strength.NO)
    slope, intercept = (float(value) for value in np.polyfit(validation, test, 1))
    rank = _rank_correlation([section[:, both] for section in sections], ratios[:, both], scores.overlap_eras, seed)
    return Relation(slope, intercept, rank, n_trials, _strength(rank, n_trials))


def _rank_correlation(
    sections: list[NDArray[np.float64]], ratios: NDArray[np.float64], overlap_eras: int, seed: int
) -> Estimate:
    value = float(_spearman(ratios[:1], ratios[1:])[0])
    if min(len(section) for section in sections) < FEWEST_ERAS:
        return Estimate(value, math.nan, math.nan)
    weights, widening = [], []
    for section, own_seed in zip(sections, np.random.SeedSequence(seed).generate_state(2), strict=True):
        known = ~np.isnan(section)
        mean = np.where(known, section, 0.0).sum(axis=1) / known.sum(axis=1).clip(1)
        weights.append(block_weights(len(section), block_length(mean, overlap_eras), int(own_seed)))
        widening.append(_widening(weights[-1], section, overlap_eras))
    drawn = []
    for start in range(0, len(weights[0]), _CHUNK):
        one, other = (
            weighted_sharpe(own[start : start + _CHUNK], section)
            for own, section in zip(weights, sections, strict=True)
        )
        drawn.append(_spearman(np.nan_to_num(one, nan=-np.inf), np.nan_to_num(other, nan=-np.inf)))
    spread = float(np.arctanh(np.clip(np.concatenate(drawn), -_HIGHEST, _HIGHEST)).std())
    half = float(ndtri((1 + INTERVAL_LEVEL) / 2)) * spread * max(1.0, float(np.mean(widening)))
    centre = math.atanh(min(max(value, -_HIGHEST), _HIGHEST))
    return Estimate(value, math.tanh(centre - half), math.tanh(centre + half))


def _widening(weights: NDArray[np.float64], section: NDArray[np.float64], overlap_eras: int) -> float:
    """Return the standard error of the trials' means over what the bootstrap makes of it, in the median trial."""
    scores = np.where(np.isnan(section), np.nanmean(section, axis=0), section)
    errors = scores.std(axis=0) / math.sqrt(max(effective_observations(section, overlap_eras) - 1, 1.0))
    spreads = (weights @ scores / len(scores)).std(axis=0)
    varies = spreads > 0
    return float(np.median(errors[varies] / spreads[varies])) if varies.any() else 1.0


def _spearman(one: NDArray[np.float64], other: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the rank correlation of each row of one with that of the other; 0 where all of a row are equal."""
    ranks = [rankdata(values, axis=1) for values in (one, other)]
    first, second = (values - values.mean(axis=1, keepdims=True) for values in ranks)
    scale = np.sqrt((first**2).sum(axis=1) * (second**2).sum(axis=1))
    correlation: NDArray[np.float64] = (first * second).sum(axis=1) / np.where(scale > 0, scale, 1.0)
    return correlation


def _strength(rank: Estimate, n_trials: int) -> Strength:
    if n_trials < FEWEST_TRIALS or not rank.low > 0:
        return Strength.NO
    return Strength.STRONG if rank.value >= STRONG and rank.low >= STRONG / 2 else Strength.WEAK
