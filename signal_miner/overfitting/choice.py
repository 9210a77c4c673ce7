"""Cross-validation of a choice: repeated without some eras, and evaluated on these.

Sources
-------
Tsamardinos, I., Greasidou, E. and Borboudakis, G. (2018), "Bootstrapping the Out-of-sample Predictions for Efficient
and Accurate Cross-validation", Machine Learning 107, 1895–1922: the choice is repeated, not what is chosen among.
López de Prado, M. (2018), "Advances in Financial Machine Learning", chapter 7: purging of overlapping labels.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from signal_miner.scoring.objective import Objective

MOST_CHOICES = 100
"""Times that a choice is repeated, at most."""

_SHARE_LEFT_OUT = 0.1
_MOST_PURGED = 0.25  # of the eras, on each side of those left out, so that something is left to choose by


@dataclass(frozen=True, eq=False)
class ChoiceSplits:
    """Eras that a repeated choice is made by, and those that it is evaluated on.

    Attributes
    ----------
    chosen_by, left_out : ndarray of bool, shape (n_splits, n_eras)
    """

    chosen_by: NDArray[np.bool_]
    left_out: NDArray[np.bool_]


def choice_splits(n_eras: int, overlap_eras: int) -> ChoiceSplits:
    """Return windows of a tenth of the eras, which move through them, with the eras to both sides purged.

    A choice shares no returns with eras that are more than `overlap_eras` away. The eras left out by a block bootstrap
    mostly lie next to some that were drawn: where 51 eras have an overlap of 11, it took two thirds of what choosing
    adds for skill (`benchmarks/README.md`). Of few eras at most a quarter is purged on each side.
    """
    width = max(1, round(n_eras * _SHARE_LEFT_OUT))
    purged = min(overlap_eras, int(n_eras * _MOST_PURGED))
    count = min(n_eras + width - 1, MOST_CHOICES)
    starts = np.unique(np.linspace(1 - width, n_eras - 1, count).round().astype(int))[:, None]
    eras = np.arange(n_eras)
    left_out = (eras >= starts) & (eras < starts + width)
    return ChoiceSplits((eras < starts - purged) | (eras >= starts + width + purged), left_out)


def summary_of_known(scores: NDArray[np.float64], objective: Objective) -> NDArray[np.float64]:
    """Return the scores of models, shape (n_models,), from those of eras; NaN where one of the eras is not known.

    Parameters
    ----------
    scores : ndarray of float64, shape (n_eras, n_models)
    """
    return np.where(np.isfinite(scores).all(axis=0), objective.summary(scores), np.nan)


def score_left_out(splits: ChoiceSplits, chosen: NDArray[np.float64], objective: Objective) -> float:
    """Return the score of what was chosen, over the eras that it was not chosen by.

    All repetitions together, as the Sharpe ratio of few eras is too high.

    Parameters
    ----------
    chosen : ndarray of float64, shape (n_splits, n_eras)
        Scores of the eras of what each repetition chose.
    """
    out = chosen[splits.left_out & np.isfinite(chosen)]
    return float(objective.summary(out)) if len(out) else float("nan")
