"""What the best of a study's tries would show without skill, and the leaders' Sharpe ratios less that."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from scipy.stats import kurtosis, skew

from signal_miner.overfitting.records import Deflation
from signal_miner.scoring.series import sharpe
from signal_miner.scoring.sharpe_ratio import (
    effective_observations,
    expected_maximum,
    mean_correlation,
    probabilistic_sharpe_ratio,
)
from signal_miner.scoring.study_scores import VALIDATION, StudyScores

_LEAST_FREEDOM = 1.0
_NORMAL_KURTOSIS = 3.0


def deflate(scores: StudyScores, leaders: int) -> tuple[Deflation, NDArray[np.float64]]:
    """Return what luck alone gives the best of a study's tries, and the leaders' deflated Sharpe ratios.

    The False Strategy theorem (Bailey & López de Prado 2014) for tries that resemble each other: of M scores of
    standard deviation σ with the correlation ρ, the share ρ of the variance moves all alike, so that the best is
    ``√(1 − ρ) σ`` times the expected maximum of M independent ones above their mean. σ² is the sampling variance
    ``1 / (n − 3)`` of a Sharpe ratio without skill, with n the effective eras: of n independent normal scores it is
    ``t / √(n − 1)`` with Student's t of n − 1 degrees of freedom. The paper takes the candidates' *empirical* variance.
    That is the same without skill, but where there is signal it also holds the true differences of skill, such as of
    early checkpoints, and a study would be deflated for having found it.

    Leaders are evaluated as drawn, while every checkpoint counts as a try, as the best of them may be chosen. For a
    leader as drawn that errs against skill.

    A leader's eras count as independent ones by its own autocorrelations or those of all trials, whichever are
    fewer. Its skewness counts where it is negative and its kurtosis where it is above 3: the opposite makes a Sharpe
    ratio look surer, and in the winner of a short sample is mostly chance.

    Over simulated studies without skill (`benchmarks/expectation.py`: overlaps of 3 and 11, correlations of .3 to .9,
    52 to 300 eras) the winner's deflated Sharpe ratio is at least `SKILL_LEVEL`, with a test Sharpe above 0, in at most
    5% of the cases.

    Parameters
    ----------
    leaders : int
        How many of the first trials to deflate.

    Returns
    -------
    Deflation
        With NaN where there is no trial or no validation era.
    ndarray of float64, shape (at most `leaders`,)
        NaN where a trial's scores never vary, or are worth no more than one era.
    """
    validation = scores.rows(VALIDATION)
    n_trials, n_columns = len(scores.names), scores.candidates.shape[1]
    n_candidates = round(n_columns * scores.tries / n_trials) if n_trials else scores.tries
    lost = scores.tries > n_trials
    if n_trials == 0 or not validation.any():
        nothing = Deflation(n_candidates, math.nan, math.nan, math.nan, math.nan, lost, math.nan)
        return nothing, np.full(min(leaders, n_trials), np.nan)
    rho = mean_correlation(scores.candidates[validation])
    corr = scores.era_scores[validation]
    independent = effective_observations(corr, scores.overlap_eras)
    deviation = math.sqrt((1 - rho) / max(independent - 3, _LEAST_FREEDOM))
    expected = deviation * expected_maximum(max(n_candidates, 1))
    own = [
        _own_eras(corr[:, place], independent, scores.overlap_eras) for place in range(min(max(leaders, 1), n_trials))
    ]
    deflated = np.array([_deflated(corr[:, place], own[place], expected) for place in range(min(leaders, n_trials))])
    best = float(sharpe(corr[:, 0]))
    return Deflation(n_candidates, rho, own[0], deviation, expected, lost, best), deflated


def deflated_sharpe(own: NDArray[np.float64], deflation: Deflation, overlap_eras: int) -> float:
    """Return the deflated Sharpe ratio of a further model of a study; NaN as of `deflate`.

    Parameters
    ----------
    own : ndarray of float64, shape (n_eras,)
        Its scores of the validation eras.
    """
    return _deflated(own, _own_eras(own, deflation.effective_eras, overlap_eras), deflation.expected_best_sharpe)


def _own_eras(own: NDArray[np.float64], independent: float, overlap_eras: int) -> float:
    return min(effective_observations(own, overlap_eras), independent)


def _deflated(own: NDArray[np.float64], independent: float, expected: float) -> float:
    own = own[~np.isnan(own)]
    ratio = float(sharpe(own))
    if not math.isfinite(ratio):
        return math.nan
    skewness, weight = min(float(skew(own)), 0.0), max(float(kurtosis(own, fisher=False)), _NORMAL_KURTOSIS)
    return probabilistic_sharpe_ratio(ratio, independent, skewness, weight, expected)
