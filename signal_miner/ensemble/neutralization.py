"""What is taken out of a blend, era by era: all features, our benchmark, or a column of Numerai's predictions."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from signal_miner.data.dataset import Dataset
from signal_miner.ensemble.members import FEATURES, OWN_BENCHMARK
from signal_miner.scoring.blending import filled_features, gaussianised


def neutralizers_of(
    to: str, dataset: Dataset, span: slice, benchmark: NDArray[np.floating[Any]]
) -> Callable[[slice], NDArray[np.float64]]:
    """Return what gives the neutralizers of some of a range's rows.

    Parameters
    ----------
    to : str
        `FEATURES`, `OWN_BENCHMARK`, or a column of Numerai's benchmark predictions.
    dataset : Dataset
    span : slice
        The range of its rows.
    benchmark : ndarray of float, shape (n_rows,)
        Our benchmark's predictions of the range.

    Returns
    -------
    callable
        Given rows within the range, returns float64 of shape (n_rows, n_neutralizers).
    """
    if to == FEATURES:

        def features(rows: slice) -> NDArray[np.float64]:
            table = dataset.read_features(dataset.features, slice(span.start + rows.start, span.start + rows.stop))
            return filled_features(np.column_stack([column.to_numpy().astype(np.float64) for column in table.columns]))

        return features
    values = benchmark if to == OWN_BENCHMARK else dataset.read_benchmarks([to], span)[to]
    ranked = gaussianised(dataset.eras[span], values[:, np.newaxis])
    return lambda rows: ranked[rows]
