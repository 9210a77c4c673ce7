"""What "beats the benchmark" means, of scores by era and of scores of a section."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from signal_miner.scoring.series import mean, sharpe


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
        The benchmark's CORR of the same eras; those in which it has none do not count.

    Returns
    -------
    ndarray of bool, shape (n_models,)
        A NumPy scalar for one model.
    """
    # The benchmark is a column of the same array: sums are rounded by their layout, and a model that scores exactly
    # what the benchmark does must not beat it.
    columns = np.hstack([in_common(_columns(corr), benchmark), _columns(benchmark)])
    means, ratios = mean(columns), sharpe(columns)
    undefined = undefined_eras(columns[:, :-1], benchmark)
    beats: NDArray[np.bool_] = is_above(means[:-1], ratios[:-1], means[-1], ratios[-1], undefined)
    return beats if np.ndim(corr) > 1 else beats[0]


def in_common(corr: ArrayLike, benchmark: ArrayLike) -> NDArray[np.float64]:
    """Return models' scores, shape (n_eras,) or (n_eras, n_models), NaN in eras in which the benchmark has none."""
    scores, known = np.asarray(corr, dtype=np.float64), ~np.isnan(np.asarray(benchmark, dtype=np.float64))
    return np.where(known if scores.ndim == 1 else known[:, np.newaxis], scores, np.nan)


def is_above(
    corr: ArrayLike, sharpe: ArrayLike, benchmark_corr: ArrayLike, benchmark_sharpe: ArrayLike, undefined: ArrayLike
) -> NDArray[np.bool_]:
    """Return the same from scores of whole sections, which broadcast; `undefined` is what `undefined_eras` counts."""
    above: NDArray[np.bool_] = scores_above(corr, benchmark_corr, undefined) & scores_above(
        sharpe, benchmark_sharpe, undefined
    )
    return above


def scores_above(score: ArrayLike, benchmark: ArrayLike, undefined: ArrayLike) -> NDArray[np.bool_]:
    """Return whether one of the scores is above the benchmark's; never where eras are undefined."""
    above: NDArray[np.bool_] = np.greater(score, benchmark) & np.equal(undefined, 0)
    return above


def wins(beats: ArrayLike, corr: ArrayLike) -> NDArray[np.bool_]:
    """Return whether models that beat the benchmark do not lose themselves: their mean CORR is above 0.

    Where the benchmark loses, a model that loses less beats it, which is no reason to take it.
    """
    won: NDArray[np.bool_] = np.asarray(beats, dtype=bool) & is_positive(corr)
    return won


def is_positive(corr: ArrayLike) -> NDArray[np.bool_]:
    """Return whether a mean CORR, and with it the Sharpe, is above 0."""
    positive: NDArray[np.bool_] = np.greater(corr, 0)
    return positive


def _columns(era_scores: ArrayLike) -> NDArray[np.float64]:
    scores = np.asarray(era_scores, dtype=np.float64)
    return scores if scores.ndim > 1 else scores[:, np.newaxis]
