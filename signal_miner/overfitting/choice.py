"""The bootstrap of a choice: repeated on eras drawn anew, in blocks, and evaluated on the eras that are left out.

Sources
-------
Tsamardinos, I., Greasidou, E. and Borboudakis, G. (2018), "Bootstrapping the Out-of-sample Predictions for Efficient
and Accurate Cross-validation", Machine Learning 107, 1895–1922 (BBC-CV).
Politis, D. N. and Romano, J. P. (1994), "The Stationary Bootstrap", Journal of the American Statistical Association
89(428), 1303–1313.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from signal_miner.overfitting.bootstrap import block_weights
from signal_miner.scoring.objective import Objective

CHOICES = 200
"""Times that a choice is repeated."""


def choice_weights(n_eras: int, overlap_eras: int, seed: int = 0) -> NDArray[np.float64]:
    """Return how often each era is drawn for each repetition of a choice, shape (`CHOICES`, n_eras).

    Blocks are twice as long as targets overlap, or at most a third of the eras: eras that are left out then share
    few returns with those that are chosen by.
    """
    length = max(1, min(2 * overlap_eras + 1, n_eras // 3))
    return block_weights(n_eras, length, seed)[:CHOICES]


def summary_by_weights(
    weights: NDArray[np.float64], scores: NDArray[np.float64], objective: Objective
) -> NDArray[np.float64]:
    """Return the scores of models over eras that count so often; NaN where an era that counts is not known.

    Parameters
    ----------
    weights : ndarray of float64, shape (n_eras,)
    scores : ndarray of float64, shape (n_eras, n_models)
        Of eras, such as CORR or payouts.

    Returns
    -------
    ndarray of float64, shape (n_models,)
    """
    rows = weights > 0
    share = weights[rows] / weights[rows].sum()
    mean = share @ scores[rows]
    if not objective.is_ratio:
        return np.asarray(mean)
    with np.errstate(divide="ignore", invalid="ignore"):
        variance = share @ (scores[rows] - mean) ** 2
        ratio: NDArray[np.float64] = np.where(variance > 0, mean / np.sqrt(variance), np.nan)
    return ratio


def score_left_out(weights: NDArray[np.float64], chosen: NDArray[np.float64], objective: Objective) -> float:
    """Return the score of what was chosen, over the eras that it was not chosen by.

    All repetitions together, as the Sharpe ratio of few eras is too high.

    Parameters
    ----------
    weights : ndarray of float64, shape (n_choices, n_eras)
        As of `choice_weights`.
    chosen : ndarray of float64, shape (n_choices, n_eras)
        Scores of the eras of what each repetition chose.
    """
    out = chosen[(weights == 0) & np.isfinite(chosen)]
    return float(objective.summary(out)) if len(out) else float("nan")
