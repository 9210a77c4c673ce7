"""What "beats the benchmark" means, of scores by era and of scores of a section.

Of CORR, as the original Signal Miner has it: mean and Sharpe above the benchmark's.

Of payouts: a higher payout in each half of the eras. What a model adds to the benchmark pays the model, while the
benchmark adds nothing to itself, so a higher mean alone says little: half of the models that add noise have it. Noise
rarely has it in both halves.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from signal_miner.scoring.objective import Objective
from signal_miner.scoring.series import mean, sharpe

_PARTS = 2
"""Of a section's eras, in each of which a model has to be paid more than the benchmark."""


def undefined_eras(corr: ArrayLike, benchmark: ArrayLike) -> NDArray[np.int64]:
    """Return in how many eras a model has no CORR though the benchmark has one, for each model; see `beats_benchmark`.

    An era in which no model can be scored, such as one of a single row, does not count against it.
    """
    models, reference = _columns(corr), _columns(benchmark)
    count: NDArray[np.int64] = (np.isnan(models) & ~np.isnan(reference)).sum(axis=0)
    return count if np.ndim(corr) > 1 else count[0]


def beats_benchmark(scores: ArrayLike, benchmark: ArrayLike, compared: Objective = Objective.CORR) -> NDArray[np.bool_]:
    """Return whether models beat the benchmark, and have no undefined era.

    Parameters
    ----------
    scores : array_like of float, shape (n_eras,) or (n_eras, n_models)
        CORR or payouts of one model or several; NaN in an era whose predictions were all equal, see `undefined_eras`.
    benchmark : array_like of float, shape (n_eras,)
        The same of the benchmark; eras in which it has none do not count.
    compared : {Objective.CORR, Objective.PAYOUT}
        Which of them, see `Objective.compared`.

    Returns
    -------
    ndarray of bool, shape (n_models,)
        A NumPy scalar for one model.
    """
    if compared is Objective.PAYOUT:
        return scores_above(least_lead(scores, benchmark), 0.0, undefined_eras(scores, benchmark))
    # The benchmark is a column of the same array: sums are rounded by their layout, and a model that scores exactly
    # what the benchmark does must not beat it.
    columns = np.hstack([in_common(_columns(scores), benchmark), _columns(benchmark)])
    means, ratios = mean(columns), sharpe(columns)
    undefined = undefined_eras(columns[:, :-1], benchmark)
    beats: NDArray[np.bool_] = is_above(means[:-1], ratios[:-1], means[-1], ratios[-1], undefined)
    return beats if np.ndim(scores) > 1 else beats[0]


def least_lead(payouts: ArrayLike, benchmark: ArrayLike) -> NDArray[np.float64]:
    """Return how far mean payouts are above the benchmark's in that half of the eras in which they are less so.

    Arguments and return value are shaped as those of `beats_benchmark`; NaN where a half has no era.
    """
    reference = _columns(benchmark)
    over = (_columns(payouts) - reference)[~np.isnan(reference[:, 0])]
    lead: NDArray[np.float64] = np.min([mean(part) for part in np.array_split(over, _PARTS)], axis=0)
    return lead if np.ndim(payouts) > 1 else lead[0]


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


def wins(beats: ArrayLike, score: ArrayLike) -> NDArray[np.bool_]:
    """Return whether models that beat the benchmark do not lose themselves: their mean CORR, or payout, is above 0.

    Where the benchmark loses, a model that loses less beats it, which is no reason to take it.
    """
    won: NDArray[np.bool_] = np.asarray(beats, dtype=bool) & is_positive(score)
    return won


def is_positive(score: ArrayLike) -> NDArray[np.bool_]:
    """Return whether a mean score, and with it the Sharpe, is above 0."""
    positive: NDArray[np.bool_] = np.greater(score, 0)
    return positive


def _columns(era_scores: ArrayLike) -> NDArray[np.float64]:
    scores = np.asarray(era_scores, dtype=np.float64)
    return scores if scores.ndim > 1 else scores[:, np.newaxis]
