"""Rows of the data as LightGBM datasets, read and binned a group of columns at a time."""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import lightgbm as lgb
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from signal_miner.data.dataset import Dataset
from signal_miner.data.parquet_rows import Rows, forget_large_footers
from signal_miner.errors import Stopped

GROUP_BYTES = 256 * 2**20
"""Bytes of the column group that is read and binned at a time: its raw values, and LightGBM's sample of them."""

LIGHTGBM_SAMPLE_ROWS = 200_000
"""Rows that LightGBM samples to find its bins (``bin_construct_sample_cnt``)."""

SAMPLE_BYTES = 24
"""Bytes of a value that LightGBM has sampled: a double and its row, in arrays that grow by doubling."""

Part = tuple[lgb.Dataset, lgb.Dataset | None]
"""A column group's training rows, and its validation rows in the same bins where a fold has some."""


def column_groups(dataset: Dataset, rows: Sequence[Rows], group_bytes: int = GROUP_BYTES) -> list[tuple[str, ...]]:
    """Cut a dataset's features into groups that are read at a time.

    Parameters
    ----------
    dataset : Dataset
    rows : sequence of slice or ndarray of int64
        What will be read of each group, one after the other.
    group_bytes : int, default GROUP_BYTES
        Bytes to be read at a time; at least one column is. LightGBM needs up to twice as many.

    Returns
    -------
    list of tuple of str
    """
    held = max(dataset.source.rows_held(each) for each in rows)
    column = held * dataset.feature_bytes + min(held, LIGHTGBM_SAMPLE_ROWS) * SAMPLE_BYTES
    width = max(1, group_bytes // max(1, column))
    return [dataset.features[start : start + width] for start in range(0, len(dataset.features), width)]


def binned_groups(
    dataset: Dataset,
    groups: Sequence[Sequence[str]],
    train_rows: Rows,
    validation_rows: Rows | None,
    params: dict[str, Any],
    should_stop: Callable[[], bool] = lambda: False,
) -> Iterator[Part]:
    """Bin column groups, one after the other.

    Parameters
    ----------
    dataset : Dataset
    groups : sequence of sequence of str
        By `column_groups`.
    train_rows : slice or ndarray of int64
        Rows that the bins are found on.
    validation_rows : slice or ndarray of int64, optional
        Rows to be put in the same bins.
    params : dict
        LightGBM's parameters of a dataset.
    should_stop : callable, optional
        Asked before each group.

    Yields
    ------
    Part
        With labels of 0. Not held here: a group's memory is free as soon as its taker lets go of it.

    Raises
    ------
    UserError
        If a file cannot be read.
    Stopped
        If `should_stop` said so.
    """
    for group in groups:
        if should_stop():
            raise Stopped
        yield _binned(dataset, group, train_rows, validation_rows, params)
    forget_large_footers()


def of_rows(part: Part, rows: NDArray[np.int64], params: dict[str, Any]) -> Part:
    """Return a part with some of its training rows, in the same bins; labels are for the caller to set.

    LightGBM leaves half a byte a value of slack in it, which is gone once it is merged.
    """
    whole, validation = part
    picked = whole.subset([], params)
    picked.used_indices = rows.astype(np.int32)  # type: ignore[assignment]  # subset() would make a list of them
    picked.construct()
    picked.used_indices = None
    picked.reference = None  # or the whole would live as long as the subset
    return picked, validation


def merged(parts: Iterable[Part]) -> Part:
    """Return parts as one, with all their features.

    Parameters
    ----------
    parts : iterable of Part
        At least one; each is let go of before the next is asked for.

    Returns
    -------
    Part

    Raises
    ------
    ValueError
        If there are none.
    """
    train: lgb.Dataset | None = None
    validation: lgb.Dataset | None = None
    for part, aligned in parts:
        # What LightGBM adds is a copy without the slack that a new dataset has.
        train = part if train is None else train.add_features_from(part)
        if aligned is not None:
            validation = aligned if validation is None else validation.add_features_from(aligned)
        del part, aligned
        return_free_memory()
    if train is None:
        raise ValueError("there are no parts to merge")
    return train, validation


def return_free_memory() -> None:
    """Return to the system what Arrow's and C's allocators have free; they would keep it for a next time."""
    pa.default_memory_pool().release_unused()
    trim = getattr(_C_LIBRARY, "malloc_trim", None)  # glibc's alone
    if trim is not None:
        trim(0)


def _c_library() -> ctypes.CDLL | None:
    try:
        return ctypes.CDLL(None)
    except (OSError, TypeError):  # Windows has no handle on the process itself
        return None


_C_LIBRARY = _c_library()


def _binned(
    dataset: Dataset,
    group: Sequence[str],
    train_rows: Rows,
    validation_rows: Rows | None,
    params: dict[str, Any],
) -> Part:
    train = _binned_rows(dataset, group, train_rows, None, params)
    if validation_rows is None:
        return train, None
    return train, _binned_rows(dataset, group, validation_rows, train, params)


def _binned_rows(
    dataset: Dataset, group: Sequence[str], rows: Rows, reference: lgb.Dataset | None, params: dict[str, Any]
) -> lgb.Dataset:
    table = dataset.read_features(group, rows)  # free when this returns
    part = lgb.Dataset(table, reference=reference, params=params).construct()
    part.reference = None  # it is aligned by now, and would keep what is no longer used
    return part
