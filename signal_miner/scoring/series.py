"""What is computed of a series of era scores: mean, Sharpe, drawdown, and whether it beats the benchmark's."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray


def mean(era_scores: ArrayLike, axis: int = 0) -> NDArray[np.float64]:
    """Return the mean over the eras whose score is known, without their axis; NaN where none is."""
    scores = np.asarray(era_scores, dtype=np.float64)
    known = ~np.isnan(scores)
    with np.errstate(invalid="ignore"):
        average: NDArray[np.float64] = np.where(known, scores, 0.0).sum(axis=axis) / known.sum(axis=axis)
    return average


def sharpe(era_scores: ArrayLike, axis: int = 0) -> NDArray[np.float64]:
    """Return the Sharpe ratio of era scores: mean / standard deviation.

    ``numerai_tools.scoring.sharpe_ratio``: ddof=0, not annualised.

    Parameters
    ----------
    era_scores : array_like of float, shape (n_eras,) or (n_eras, ...)
        Scores in the order of the eras; NaN eras are skipped.
    axis : int, default 0
        The axis of the eras.

    Returns
    -------
    ndarray of float64
        Without the axis of the eras (a NumPy scalar for one series). NaN where all scores are equal or none
        is known.
    """
    scores = np.moveaxis(np.asarray(era_scores, dtype=np.float64), axis, 0)
    known = ~np.isnan(scores)
    count = known.sum(axis=0)
    average = mean(scores)
    with np.errstate(divide="ignore", invalid="ignore"):
        variance = np.where(known, (scores - average) ** 2, 0.0).sum(axis=0) / count
        lowest = np.where(known, scores, np.inf).min(axis=0, initial=np.inf)
        highest = np.where(known, scores, -np.inf).max(axis=0, initial=-np.inf)
        # Rounding leaves a variance of equal scores just above 0, which would make a huge ratio.
        ratio: NDArray[np.float64] = np.where(highest > lowest, average / np.sqrt(variance), np.nan)[()]
    return ratio


def max_drawdown(era_scores: ArrayLike, axis: int = 0) -> NDArray[np.float64]:
    """Return the maximum drawdown of era scores: max(cummax(cumsum) - cumsum).

    The running maximum starts with the first era's score, not with 0, as Numerai computes it: a loss in the
    first era is no drawdown.

    Parameters
    ----------
    era_scores : array_like of float, shape (n_eras,) or (n_eras, ...)
        Scores in the order of the eras; NaN eras are skipped.
    axis : int, default 0
        The axis of the eras.

    Returns
    -------
    ndarray of float64
        Without the axis of the eras (a NumPy scalar for one series), at least 0. NaN where no score is known.
    """
    scores = np.moveaxis(np.asarray(era_scores, dtype=np.float64), axis, 0)
    known = ~np.isnan(scores)
    total = np.where(known, scores, 0.0).cumsum(axis=0)
    peak = np.maximum.accumulate(np.where(known, total, -np.inf), axis=0)
    depth = np.where(known, peak - total, -np.inf).max(axis=0, initial=-np.inf)
    drawdown: NDArray[np.float64] = np.where(known.any(axis=0), depth, np.nan)[()]
    return drawdown


def undefined_eras(corr: ArrayLike, benchmark: ArrayLike) -> NDArray[np.int64]:
    """Return in how many eras a model has no CORR though the benchmark has one, for each model; see `beats_benchmark`.

    An era in which no model can be scored, such as one of a single row, does not count against it.
    """
    models, reference = _columns(corr), _columns(benchmark)
    count: NDArray[np.int64] = (np.isnan(models) & ~np.isnan(reference)).sum(axis=0)
    return count if np.ndim(corr) > 1 else count[0]


def beats_benchmark(corr: ArrayLike, benchmark: ArrayLike) -> NDArray[np.bool_]:
    """Return whether models beat the benchmark: mean CORR and Sharpe above its own, and no undefined era.

    Parameters
    ----------
    corr : array_like of float, shape (n_eras,) or (n_eras, n_models)
        CORR of one model or several; NaN in an era whose predictions were all equal, see `undefined_eras`.
    benchmark : array_like of float, shape (n_eras,)
        The benchmark's CORR of the same eras.

    Returns
    -------
    ndarray of bool, shape (n_models,)
        A NumPy scalar for one model.
    """
    # The benchmark is a column of the same array: sums are rounded by their layout, and a model that scores exactly
    # what the benchmark does must not beat it.
    columns = np.hstack([_columns(corr), _columns(benchmark)])
    means, ratios = mean(columns), sharpe(columns)
    beats: NDArray[np.bool_] = (undefined_eras(columns[:, :-1], benchmark) == 0) & (
        (means[:-1] > means[-1]) & (ratios[:-1] > ratios[-1])
    )
    return beats if np.ndim(corr) > 1 else beats[0]


def _columns(era_scores: ArrayLike) -> NDArray[np.float64]:
    scores = np.asarray(era_scores, dtype=np.float64)
    return scores if scores.ndim > 1 else scores[:, np.newaxis]
