"""A store of planes in memory, made of a matrix."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa

from signal_miner.engine.bitplane.fold import PlaneFold
from signal_miner.engine.bitplane.planes import to_planes
from signal_miner.engine.bitplane.store import PlaneStore


def store_of(matrix: np.ndarray) -> PlaneStore:
    """Return the columns of a matrix as planes."""
    made = [to_planes(pa.chunked_array([np.ascontiguousarray(column)])) for column in matrix.T]
    names = tuple(f"feature_{number}" for number in range(matrix.shape[1]))
    offsets = np.cumsum([0, *(len(planes) for planes, _ in made)])
    return PlaneStore(
        Path(),
        len(matrix),
        names,
        tuple(levels for _, levels in made),
        np.concatenate([planes for planes, _ in made]),
        offsets,
    )


def fold_of(matrix, target, train=slice(None), validation=slice(0, 0), columns=None, eras=None) -> PlaneFold:
    """Return a fold over the rows of a matrix; `eras` are the numbers of its rows' eras, by default one."""
    store = store_of(matrix)
    chosen = np.arange(matrix.shape[1]) if columns is None else np.asarray(columns)
    masks = store.mask(train), store.mask(validation)
    return PlaneFold(store, chosen, target.astype(np.float32), *masks, eras)
