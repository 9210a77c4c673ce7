"""Which checkpoint of a learning curve is the best one: chosen on validation alone."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from signal_miner.scoring.series import sharpe


def best_checkpoint(curve: NDArray[np.float64]) -> int:
    """Return the index of the checkpoint with the highest Sharpe; the last where none has a Sharpe.

    `curve` is the CORR of the validation eras, shape (n_eras, n_checkpoints). A checkpoint whose predictions are
    constant in some era (NaN) is chosen only if all are.
    """
    sharpes = sharpe(curve, axis=0)
    scorable = np.isfinite(curve).any(axis=1)  # an era of one row has no CORR at any checkpoint
    whole = np.isfinite(curve[scorable]).all(axis=0) & np.isfinite(sharpes)
    candidates = whole if whole.any() else np.isfinite(sharpes)
    if not candidates.any():
        return int(curve.shape[1]) - 1
    return int(np.argmax(np.where(candidates, sharpes, -np.inf)))
