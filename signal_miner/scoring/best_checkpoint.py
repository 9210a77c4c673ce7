"""Which checkpoint of a learning curve is the best one: chosen on validation alone."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from signal_miner.scoring.objective import Objective


def best_checkpoint(curve: NDArray[np.float64], objective: Objective = Objective.SHARPE) -> int:
    """Return the index of the checkpoint that is best by an objective; the last where none has a score.

    `curve` holds what the objective summarises of each validation era, such as CORR, shape (n_eras, n_checkpoints). A
    checkpoint whose predictions are constant in some era (NaN) is chosen only if all are.
    """
    scores = objective.summary(curve, axis=0)
    scorable = np.isfinite(curve).any(axis=1)  # an era of one row has no CORR at any checkpoint
    whole = np.isfinite(curve[scorable]).all(axis=0) & np.isfinite(scores)
    candidates = whole if whole.any() else np.isfinite(scores)
    if not candidates.any():
        return int(curve.shape[1]) - 1
    return int(np.argmax(np.where(candidates, scores, -np.inf)))
