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
"""Bytes of a column group, read and binned at a time: its raw values and LightGBM's sample of them."""

LIGHTGBM_SAMPLE_ROWS = 200_000
"""Rows that LightGBM samples to find its bins (``bin_construct_sample_cnt``)."""

SAMPLE_BYTES = 24
"""Bytes of a value that LightGBM has sampled: a double and its row, in arrays that grow by doubling."""

Part = tuple[lgb.Dataset, lgb.Dataset | None]
"""A column group's training rows, and its validation rows in the same bins where a fold has some."""


def column_groups(
    dataset: Dataset, rows: Sequence[Rows], group_bytes: int = GROUP_BYTES, feature_set: str | None = None
) -> list[tuple[str, ...]]:
    """Split the features of a set, or all, into groups of about `group_bytes`, of at least one column each.

    `rows` are the selections that will be read of each group, one after the other. LightGBM needs up to twice
    `group_bytes` more.
    """
    held = max(dataset.source.rows_held(each) for each in rows)
    column = held * dataset.feature_bytes + min(held, LIGHTGBM_SAMPLE_ROWS) * SAMPLE_BYTES
    width = max(1, group_bytes // max(1, column))
    features = dataset.features_in(feature_set)
    return [features[start : start + width] for start in range(0, len(features), width)]


def binned_groups(
    dataset: Dataset,
    groups: Sequence[Sequence[str]],
    train_rows: Rows,
    validation_rows: Rows | None,
    params: dict[str, Any],
    should_stop: Callable[[], bool] = lambda: False,
) -> Iterator[Part]:
    """Yield each column group binned, labelled 0; bins are found on the training rows.

    No group is held here: its memory is free as soon as the consumer drops it.

    Raises
    ------
    UserError
        If a file cannot be read.
    Stopped
        If `should_stop`, called before each group, returned true.
    """
    for group in groups:
        if should_stop():
            raise Stopped
        yield _binned(dataset, group, train_rows, validation_rows, params)
    forget_large_footers()


def of_rows(part: Part, rows: NDArray[np.int64], params: dict[str, Any]) -> Part:
    """Return a part with some of its training rows, in the same bins; the caller sets the labels.

    LightGBM leaves slack of half a byte a value in it, which merging removes.
    """
    whole, validation = part
    picked = whole.subset([], params)
    picked.used_indices = rows.astype(np.int32)  # type: ignore[assignment]  # subset() would make it a list
    picked.construct()
    picked.used_indices = None
    picked.reference = None  # or the whole dataset would live as long as the subset
    return picked, validation


def merged(parts: Iterable[Part]) -> Part:
    """Return parts as one, with all their features; each is dropped before the next is requested.

    Raises
    ------
    ValueError
        If there are no parts.
    """
    train: lgb.Dataset | None = None
    validation: lgb.Dataset | None = None
    for part, aligned in parts:
        # LightGBM adds a copy, without the slack that a new dataset has.
        train = part if train is None else train.add_features_from(part)
        if aligned is not None:
            validation = aligned if validation is None else validation.add_features_from(aligned)
        del part, aligned
        return_free_memory()
    if train is None:
        raise ValueError("there are no parts to merge")
    return train, validation


def return_free_memory() -> None:
    """Return to the system the free memory that Arrow's and C's allocators would keep for reuse."""
    pa.default_memory_pool().release_unused()
    trim = getattr(_C_LIBRARY, "malloc_trim", None)  # glibc only
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
    part.reference = None  # its bins are aligned by now, and the reference would stay in memory
    return part
