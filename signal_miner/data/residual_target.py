"""A training target without a share of what a benchmark's predictions explain of it, era by era."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from signal_miner.scoring.series import era_slices


@dataclass(frozen=True, order=True)
class ResidualTarget:
    """A target to train on what a benchmark does not know.

    Attributes
    ----------
    name : str
        The target.
    share : float
        Of what the dataset's `residual_column` explains, in (0, 1], that is taken out.
    """

    name: str
    share: float

    def __str__(self) -> str:
        return f"{self.name} less {self.share:g} of the benchmark"


Label = str | ResidualTarget
"""What a booster is trained on: a target of the data, or what is left of one."""


def residual(
    eras: NDArray[np.integer], target: NDArray[np.float32], exposures: NDArray[np.float64], share: float
) -> NDArray[np.float32]:
    """Return a target less a share of its least-squares fit on a benchmark, era by era; each era keeps its mean.

    Numerai's ``numerai_tools.scoring.neutralize`` of the target, but for the mean.

    Parameters
    ----------
    eras : ndarray of int, shape (n_rows,)
        Ascending.
    target : ndarray of float32, shape (n_rows,)
        NaN where it is not known.
    exposures : ndarray of float64, shape (n_rows,)
        Gaussianised ranks of the benchmark's predictions within each era; NaN where there is none.
    share : float
        From 0 to 1.

    Returns
    -------
    ndarray of float32, shape (n_rows,)
        NaN where the target or the benchmark is.
    """
    left = np.full(len(target), np.nan, dtype=np.float32)
    for rows in era_slices(eras):
        known = rows.start + np.flatnonzero(np.isfinite(target[rows]) & np.isfinite(exposures[rows]))
        if not len(known):
            continue
        own = target[known].astype(np.float64)
        centred = exposures[known] - exposures[known].mean()
        square = float(centred @ centred)
        slope = float(centred @ own) / square if square > 0 else 0.0
        left[known] = own - share * slope * centred
    return left
