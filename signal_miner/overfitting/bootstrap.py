"""Intervals of Sharpe ratios by a stationary block bootstrap over eras, widened to what short series hide.

Sources
-------
Politis, D. N. and Romano, J. P. (1994), "The Stationary Bootstrap", Journal of the American Statistical Association
89(428), 1303–1313.
Politis, D. N. and White, H. (2004), "Automatic Block-Length Selection for the Dependent Bootstrap", Econometric
Reviews 23(1), 53–70; corrected with Patton, A. (2009), 28(4), 372–375.
Lo, A. W. (2002), "The Statistics of Sharpe Ratios", Financial Analysts Journal 58(4), 36–52.
"""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np
from arch.bootstrap import StationaryBootstrap, optimal_block_length
from numpy.typing import NDArray
from scipy.special import ndtri, stdtrit

from signal_miner.overfitting.expectation import influences
from signal_miner.overfitting.records import INTERVAL_LEVEL, Estimate, Pool
from signal_miner.scoring.objective import Objective
from signal_miner.scoring.series import sharpe
from signal_miner.scoring.sharpe_ratio import effective_observations

DRAWS = 1000
"""Bootstrap samples."""

FEWEST_ERAS = 8
"""Below these there is no interval."""

_ERAS_FOR_SHARE = 4.0
_LEAST_FREEDOM = 2.0  # degrees of freedom of an interval's tails


def sharpe_estimate(scores: NDArray[np.float64], overlap_eras: int, seed: int) -> Estimate:
    """Return a series' Sharpe ratio and its interval.

    The interval is the *basic* one of the stationary bootstrap, ``centre − w (θ*₉₅ − θ)`` to ``centre − w (θ*₅ − θ)``
    for the bootstrap's Sharpe ratios θ*, with two corrections for short series of overlapping targets, of which 52
    eras hold four or five independent ones. *w*: samples of blocks vary too little, so they are widened to the standard
    error from the influence function of the Sharpe ratio (Lo 2002) and `effective_observations`, where that is
    larger, and to Student's tails. *centre*: a sample's standard deviation is too small by ``√(1 − 1/n_eff)``, so the
    Sharpe ratio is too large by as much. In simulations of 52 to 407 eras, of independent scores and of moving
    averages of twelve, it covers a true Sharpe ratio of 0 to 1 in 86 to 92% of the cases; percentile intervals, without
    the corrections, in 53% of the worst. A Sharpe ratio of 2 in 52 eras of overlapping targets it covers in 78%.

    Parameters
    ----------
    scores : ndarray of float64, shape (n_eras,)
        In the order of the eras; NaN eras are left out.
    overlap_eras : int
        Eras after an era whose targets share returns with its own. Blocks are longer than that on average.

    Returns
    -------
    Estimate
        Without an interval where fewer than `FEWEST_ERAS` eras are known; all NaN where the scores are all equal.
    """
    scores = scores[~np.isnan(scores)]
    value = float(sharpe(scores))
    if len(scores) < FEWEST_ERAS or not math.isfinite(value):
        return Estimate(value, math.nan, math.nan)
    weights = block_weights(len(scores), block_length(scores, overlap_eras), seed)
    drawn = weighted_sharpe(weights, scores[:, None])[:, 0]
    centre = value * _shrinkage(scores, overlap_eras)
    return _interval(value, centre, drawn, _influence(scores), overlap_eras)


def sharpe_difference(
    scores: NDArray[np.float64], benchmark: NDArray[np.float64], overlap_eras: int, seed: int
) -> Estimate:
    """Return a series' Sharpe ratio less the benchmark's, and the interval of the difference.

    As `sharpe_estimate`, over eras that both have: what moves both alike does not widen the interval.

    Parameters
    ----------
    scores, benchmark : ndarray of float64, shape (n_eras,)
        Of the same eras, in their order; eras in which either is NaN are left out.
    """
    known = ~(np.isnan(scores) | np.isnan(benchmark))
    pair = np.stack([scores[known], benchmark[known]], axis=1)
    values = sharpe(pair)
    value = float(values[0] - values[1])
    if len(pair) < FEWEST_ERAS or not math.isfinite(value):
        return Estimate(value, math.nan, math.nan)
    weights = block_weights(len(pair), block_length(pair[:, 0] - pair[:, 1], overlap_eras), seed)
    drawn = weighted_sharpe(weights, pair)
    shrunk = [float(values[column]) * _shrinkage(pair[:, column], overlap_eras) for column in (0, 1)]
    influence = _influence(pair[:, 0]) - _influence(pair[:, 1])
    return _interval(value, shrunk[0] - shrunk[1], drawn[:, 0] - drawn[:, 1], influence, overlap_eras)


def corrected_estimate(estimate: Estimate, scores: NDArray[np.float64], pool: Pool, overlap_eras: int) -> Estimate:
    """Return a chosen trial's Sharpe ratio and interval, corrected for selection bias.

    The centre moves from S to ``S̄ + B (S − S̄)`` with `Pool.kept_surely` for B. What moves all trials alike remains as
    uncertain, what sets the trial apart is known as B says: the interval is as wide times ``√(ρ + (1 − ρ) B)``, where
    as much as ``4 / n`` is added to B, as it is estimated from n effective eras, too.

    Parameters
    ----------
    estimate : Estimate
        As from `sharpe_estimate` of `scores`.
    pool : Pool
        Of all trials of the study.
    """
    scores = scores[~np.isnan(scores)]
    kept, excess = pool.kept_surely, estimate.value - pool.mean
    value = pool.mean + kept * excess
    if not math.isfinite(value) or not math.isfinite(estimate.low):
        return Estimate(value if math.isfinite(value) else estimate.value, estimate.low, estimate.high)
    uncertain = kept + (1 - kept) * min(1.0, _ERAS_FOR_SHARE / max(pool.effective_eras, 1.0))
    narrowing = math.sqrt(pool.correlation + (1 - pool.correlation) * uncertain)
    shrinkage = _shrinkage(scores, overlap_eras)
    old, centre = estimate.value * shrinkage, value * shrinkage
    low, high = centre - narrowing * (old - estimate.low), centre + narrowing * (estimate.high - old)
    return Estimate(value, min(low, value), max(high, value))


def corrected_difference(difference: Estimate, estimate: Estimate, pool: Pool) -> Estimate:
    """Return a chosen trial's Sharpe ratio less the benchmark's and the interval, corrected for selection bias.

    The interval moves as much as that of `corrected_estimate`, and is as wide as before: the benchmark was not chosen,
    and is as uncertain as it was.

    Parameters
    ----------
    difference, estimate : Estimate
        As from `sharpe_difference` and `sharpe_estimate` of the trial's scores.
    """
    shift = (1 - pool.kept_surely) * (estimate.value - pool.mean)
    if not math.isfinite(shift):
        return difference
    return Estimate(difference.value - shift, difference.low - shift, difference.high - shift)


def difference_to_average(scores: NDArray[np.float64], place: int, pool: Pool, overlap_eras: int) -> Estimate:
    """Return a trial's Sharpe ratio less the average trial's and the interval, corrected for selection bias.

    Parameters
    ----------
    scores : ndarray of float64, shape (n_eras, n_trials)
        Of the validation eras.
    place : int
        Of the trial.
    """
    own = float(sharpe(scores[:, place]))
    value = pool.kept_surely * (own - pool.mean)
    if not math.isfinite(value) or pool.n_trials < 2 or len(scores) < FEWEST_ERAS:
        return Estimate(value, math.nan, math.nan)
    every = influences(scores, Objective.SHARPE)
    influence = every[:, place] - every.mean(axis=1)
    independent = effective_observations(influence, overlap_eras)
    quantile = float(stdtrit(max(independent - 1, _LEAST_FREEDOM), (1 + INTERVAL_LEVEL) / 2))
    half = quantile * float(influence.std()) / math.sqrt(independent)
    return Estimate(value, value - half, value + half)


def block_length(scores: NDArray[np.float64], overlap_eras: int) -> int:
    """Return the mean block length: Politis and White's, longer than the overlap, at most a third of the eras.

    Parameters
    ----------
    scores : ndarray of float64, shape (n_eras,)
        Without NaN.
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        optimal = float(optimal_block_length(scores)["stationary"].iloc[0]) if np.ptp(scores) > 0 else 1.0
    longer = max(overlap_eras + 1, math.ceil(optimal) if math.isfinite(optimal) else 1)
    return max(1, min(longer, len(scores) // 3))


@lru_cache(maxsize=8)  # leaders mostly have blocks of one length
def block_weights(n_eras: int, length: int, seed: int) -> NDArray[np.float64]:
    """Return how often each era is in each sample of a stationary bootstrap.

    Parameters
    ----------
    length : int
        Mean length of a block, in eras.

    Returns
    -------
    ndarray of float64, shape (DRAWS, n_eras)
        Rows sum to `n_eras`; read-only.
    """
    bootstrap = StationaryBootstrap(length, np.arange(n_eras), seed=seed)
    weights = np.empty((DRAWS, n_eras))
    for row, (positions, _) in enumerate(bootstrap.bootstrap(DRAWS)):
        weights[row] = np.bincount(positions[0], minlength=n_eras)
    weights.flags.writeable = False
    return weights


def weighted_sharpe(weights: NDArray[np.float64], scores: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the Sharpe ratio of each series in each bootstrap sample.

    Parameters
    ----------
    weights : ndarray of float64, shape (n_draws, n_eras)
        As from `block_weights`.
    scores : ndarray of float64, shape (n_eras, n_series)
        NaN eras are skipped, as in `signal_miner.scoring.sharpe`.

    Returns
    -------
    ndarray of float64, shape (n_draws, n_series)
        NaN where a sample has no known scores, or equal ones.
    """
    known = ~np.isnan(scores)
    centre = np.nan_to_num(np.where(known, scores, 0.0).sum(axis=0) / known.sum(axis=0).clip(1))
    deviations = np.where(known, scores - centre, 0.0)
    count = weights.sum(axis=1)[:, None] if known.all() else weights @ known.astype(np.float64)
    with np.errstate(divide="ignore", invalid="ignore"):
        mean = weights @ deviations / count
        variance = weights @ deviations**2 / count - mean**2
        smallest = 1e-20 * (deviations**2).mean(axis=0)
        ratio: NDArray[np.float64] = np.where(variance > smallest, (centre + mean) / np.sqrt(variance), np.nan)
    return ratio


def _influence(scores: NDArray[np.float64]) -> NDArray[np.float64]:
    return influences(scores[:, None], Objective.SHARPE)[:, 0]


def _shrinkage(scores: NDArray[np.float64], overlap_eras: int) -> float:
    return math.sqrt(1 - min(0.5, 1 / effective_observations(scores, overlap_eras)))


def _interval(
    value: float, centre: float, drawn: NDArray[np.float64], influence: NDArray[np.float64], overlap_eras: int
) -> Estimate:
    drawn = drawn[np.isfinite(drawn)]
    spread = float(drawn.std()) if len(drawn) else 0.0
    if spread == 0.0:
        # Nothing that a sample could change: a benchmark compared with itself.
        return Estimate(value, value, value) if len(drawn) else Estimate(value, math.nan, math.nan)
    independent = effective_observations(influence, overlap_eras)
    error = float(influence.std()) / math.sqrt(independent)
    tail = (1 + INTERVAL_LEVEL) / 2
    student = float(stdtrit(max(independent - 1, _LEAST_FREEDOM), tail) / ndtri(tail))
    widening = max(1.0, error / spread) * student
    low, high = np.quantile(drawn, [1 - tail, tail])
    low, high = centre - widening * (high - value), centre - widening * (low - value)
    return Estimate(value, min(float(low), value), max(float(high), value))
