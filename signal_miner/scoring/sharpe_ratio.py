"""The Sharpe ratio of the best of many tries: probabilistic, deflated, and what overlapping eras are worth.

Sources
-------
Bailey, D. H. and López de Prado, M. (2012), "The Sharpe Ratio Efficient Frontier", Journal of Risk 15(2), 3–44.
Bailey, D. H. and López de Prado, M. (2014), "The Deflated Sharpe Ratio: Correcting for Selection Bias, Backtest
Overfitting, and Non-Normality", Journal of Portfolio Management 40(5), 94–107.
Hansen, L. P. and Hodrick, R. J. (1980), "Forward Exchange Rates as Optimal Predictors of Future Spot Rates",
Journal of Political Economy 88(5), 829–853.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr, ndtri

_CHUNK = 2048  # columns worked on at a time
_DECAYS = np.linspace(0.0, 1.0, 201)


def probabilistic_sharpe_ratio(
    sharpe: float, n_observations: float, skewness: float, kurtosis: float, threshold: float = 0.0
) -> float:
    """Return the probability that the true Sharpe ratio is above a threshold (Bailey & López de Prado 2012).

    ``Φ((SR − SR*) √(n − 1) / √(1 − γ₃ SR + (γ₄ − 1)/4 SR²))``. It is the *deflated* Sharpe ratio (2014) where the
    threshold is what luck gives the best of n trials, their Sharpe ratios' standard deviation times
    ``expected_maximum(n)``.

    Parameters
    ----------
    sharpe : float
        Of one observation, not annualised.
    n_observations : float
        Independent observations; may be a fraction.
    skewness, kurtosis : float
        Of the observations; the kurtosis of a normal distribution is 3.

    Returns
    -------
    float
        NaN where a value is NaN, there is not more than one observation, or the moments are too extreme for the
        formula.
    """
    spread = 1 - skewness * sharpe + (kurtosis - 1) / 4 * sharpe**2
    if not (n_observations > 1 and spread > 0):
        return math.nan
    return float(ndtr((sharpe - threshold) * math.sqrt(n_observations - 1) / math.sqrt(spread)))


def expected_maximum(n_trials: float) -> float:
    """Return the expected maximum of so many independent standard normals, by the False Strategy theorem.

    ``(1 − γ) Φ⁻¹(1 − 1/n) + γ Φ⁻¹(1 − 1/(n e))`` with Euler's γ (Bailey & López de Prado 2014).

    Parameters
    ----------
    n_trials : float
        May be a fraction; at least 1.

    Returns
    -------
    float
        0 of one, and never below 0, which the approximation is below n = 1.3.

    Raises
    ------
    ValueError
        If there is not one trial.
    """
    if not n_trials >= 1:
        raise ValueError(f"n_trials = {n_trials} is below 1")
    if n_trials == 1:
        return 0.0
    quantiles = ndtri(1 - 1 / n_trials), ndtri(1 - 1 / (n_trials * math.e))
    return max(0.0, float((1 - np.euler_gamma) * quantiles[0] + np.euler_gamma * quantiles[1]))


def mean_correlation(scores: NDArray[np.float64]) -> float:
    """Return the mean correlation of all pairs of columns, in time proportional to the size of the matrix.

    The sum over all pairs of standardised columns is the square of their sum.

    Parameters
    ----------
    scores : ndarray of float64, shape (n_eras, n_columns)
        A NaN counts as the column's mean; a column that never varies is left out.

    Returns
    -------
    float
        From 0 (where it is below, too) to 1; 1 of fewer than two columns that vary.
    """
    total, columns = np.zeros(len(scores)), 0
    for start in range(0, scores.shape[1], _CHUNK):
        deviations = _deviations(scores[:, start : start + _CHUNK])
        norms = np.sqrt(np.einsum("ij,ij->j", deviations, deviations))
        varies = norms > 0
        total += deviations[:, varies] @ (1 / norms[varies])
        columns += int(varies.sum())
    if columns < 2:
        return 1.0
    return float(np.clip((total @ total - columns) / (columns * (columns - 1.0)), 0.0, 1.0))


def effective_observations(scores: NDArray[np.float64], overlap_eras: int) -> float:
    """Return how many independent eras overlapping ones are worth: their number over the inflation of the variance.

    Targets that share returns make the scores of neighbouring eras alike, by ``1 − k/(overlap + 1)`` at a distance of
    k eras if the model held the same stocks (Hansen & Hodrick 1980), and by less as its ranks change: here by
    ``φᵏ (1 − k/(overlap + 1))``. φ is fitted by least squares to the sample's autocorrelations, each of which is held
    to what the model expects of a *sample*: ``(ρₖ − I/n) / (1 − I/n)`` with the inflation
    ``I = 1 + 2 Σ (1 − k/n) ρₖ``, as the mean is estimated too. A sum of sample autocorrelations, weighted after
    Bartlett or not, has no such correction: of 52 eras of a 60-day target it finds an inflation of 6 where 11 is true,
    and calls three times as many series significant as it should.

    Parameters
    ----------
    scores : ndarray of float64, shape (n_eras,) or (n_eras, n_series)
        In the order of the eras, a NaN where a score is not known. Of several series the autocorrelations are
        averaged: together, series of one kind give a surer estimate.
    overlap_eras : int
        Eras after an era whose targets share returns with its own.

    Returns
    -------
    float
        From 1 to the number of known eras (of the series with the most); 0 where none is known.
    """
    columns = scores.reshape(len(scores), -1)
    n_known = int((~np.isnan(columns)).sum(axis=0).max(initial=0))
    lags = np.arange(1, min(overlap_eras, n_known - 2) + 1)
    if len(lags) == 0:
        return float(n_known)
    sample = _autocorrelations(columns, len(lags))
    triangle = 1 - lags / (overlap_eras + 1)
    model = triangle * _DECAYS[:, None] ** lags  # (n_decays, n_lags)
    inflation = 1 + 2 * model @ (1 - lags / n_known)  # (n_decays,)
    share = (inflation / n_known)[:, None]  # of the variance that the sample's own mean takes away
    with np.errstate(divide="ignore", invalid="ignore"):
        expected = np.where(share < 1, (model - share) / (1 - share), -np.inf)
    misfit = (((sample - expected) * triangle) ** 2).sum(axis=1)
    return max(1.0, n_known / float(inflation[int(np.argmin(misfit))]))


def _deviations(scores: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return scores less each column's mean, 0 where NaN and in columns that never vary."""
    unknown = np.isnan(scores)
    count = len(scores) - unknown.sum(axis=0)
    deviations = np.where(unknown, 0.0, scores)
    # Rounding leaves a column of equal scores just above 0.
    varies = np.where(unknown, -np.inf, scores).max(axis=0, initial=-np.inf) > np.where(unknown, np.inf, scores).min(
        axis=0, initial=np.inf
    )
    deviations -= deviations.sum(axis=0) / np.maximum(count, 1)
    deviations[unknown] = 0.0
    deviations[:, ~varies] = 0.0
    return deviations


def _autocorrelations(scores: NDArray[np.float64], n_lags: int) -> NDArray[np.float64]:
    """Return the autocorrelations of 1 to `n_lags` eras, averaged over the series that vary; 0 where none does."""
    total, columns = np.zeros(n_lags), 0
    for start in range(0, scores.shape[1], _CHUNK):
        part = scores[:, start : start + _CHUNK]
        known = (~np.isnan(part)).astype(np.float64)
        deviations = _deviations(part)
        variance = np.einsum("ij,ij->j", deviations, deviations) / np.maximum(known.sum(axis=0), 1)
        varies = variance > 0
        columns += int(varies.sum())
        for lag in range(1, n_lags + 1):
            products = np.einsum("ij,ij->j", deviations[:-lag, varies], deviations[lag:, varies])
            pairs = np.einsum("ij,ij->j", known[:-lag, varies], known[lag:, varies])
            total[lag - 1] += float((products / np.maximum(pairs, 1) / variance[varies]).sum())
    return total / max(columns, 1)
