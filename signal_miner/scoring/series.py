"""What is computed of a series of era scores: mean, Sharpe, drawdown, and whether it beats the benchmark's."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

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


def era_slices(eras: NDArray[np.integer[Any]]) -> Iterator[slice]:
    """Yield the rows of each era; `eras` ascend."""
    starts = np.flatnonzero(np.diff(eras, prepend=eras[:1] - 1)).tolist()
    for start, stop in zip(starts, [*starts[1:], len(eras)], strict=True):
        yield slice(start, stop)
