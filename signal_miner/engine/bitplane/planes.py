"""Rows and features as words of bits: bit b of word w stands for row 64 w + b."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from signal_miner.data.parquet_rows import Rows

MOST_LEVELS = 16
"""A feature may have this many distinct values."""

VECTOR = 8
"""Words of a cache line and of a vector of 512 bits: a plane is padded to whole ones."""
_ALL = ~np.uint64(0)


class NotLevels(ValueError):
    """Raised for a feature that bit planes cannot hold."""


class MissingValues(NotLevels):
    """Raised for a feature with missing values or NaN."""


def words_of(n_rows: int) -> int:
    """Return the number of words of a plane: the least multiple of 8 that has a bit for each row."""
    return -(-n_rows // (64 * VECTOR)) * VECTOR


def planes_bytes(n_rows: int, level_counts: Iterable[int]) -> int:
    """Return the bytes of features with these numbers of levels: half a byte a value where there are five."""
    return 8 * words_of(n_rows) * sum(max(0, count - 1) for count in level_counts)


def row_mask(n_rows: int, rows: Rows | NDArray[np.bool_]) -> NDArray[np.uint64]:
    """Return the words of a plane in which the bits of some rows are set, shape (`words_of` (n_rows),).

    `rows` are a range, positions in any order, or a boolean for each row; a ValueError is raised for booleans of
    another number.
    """
    words = np.zeros(words_of(n_rows), dtype=np.uint64)
    if isinstance(rows, slice):
        start, stop, _ = rows.indices(n_rows)
        if start < stop:
            words[start // 64 : -(-stop // 64)] = _ALL
            words[start // 64] &= _ALL << np.uint64(start % 64)
            words[(stop - 1) // 64] &= _ALL >> np.uint64(63 - (stop - 1) % 64)
        return words
    if rows.dtype == np.bool_:
        if rows.shape != (n_rows,):
            raise ValueError(f"booleans of shape {rows.shape} are not one for each of {n_rows} rows")
        return _packed(rows.astype(np.bool_), words)
    chosen = np.zeros(n_rows, dtype=np.bool_)
    chosen[rows] = True
    return _packed(chosen, words)


def level_counts(planes: NDArray[np.uint64], mask: NDArray[np.uint64]) -> NDArray[np.int64]:
    """Count the rows of a mask at each level of a feature, shape (n_levels,).

    `planes` are the feature's, shape (n_levels - 1, n_words); `mask` has shape (n_words,).
    """
    rows = np.bitwise_count(mask).sum(dtype=np.int64)
    above = np.bitwise_count(planes & mask).sum(axis=1, dtype=np.int64)
    counts: NDArray[np.int64] = -np.diff(above, prepend=rows, append=0)
    return counts


def to_planes(column: pa.ChunkedArray) -> tuple[NDArray[np.uint64], tuple[float, ...]]:
    """Return a feature's planes, shape (n_levels - 1, n_words), and its levels: its distinct values, ascending.

    Plane k says which rows have a value above level k.

    Raises
    ------
    NotLevels
        If the feature has more than `MOST_LEVELS` values.
    MissingValues
        If it is missing or NaN in a row.
    """
    values = _values(column)
    numbers = column.to_numpy()
    planes = np.zeros((len(values) - 1, words_of(len(column))), dtype=np.uint64)
    for plane, value in zip(planes, values, strict=False):
        _packed(numbers > value, plane)
    # A value in between that does not occur has the plane of the value before it.
    occurs = level_counts(planes, row_mask(len(column), slice(None))) > 0
    return planes[occurs[:-1]], tuple(float(value) for value, found in zip(values, occurs, strict=True) if found)


def _values(column: pa.ChunkedArray) -> list[float]:
    """Return a feature's distinct values, ascending; of integers of a small range, each of the range."""
    if column.null_count:
        raise MissingValues
    if pa.types.is_integer(column.type):
        extremes = pc.min_max(column).as_py()
        if extremes["max"] - extremes["min"] < MOST_LEVELS:
            return list(range(extremes["min"], extremes["max"] + 1))
    values = np.unique(pc.unique(column).to_numpy())  # the former merges 0 and -0
    if np.isnan(values).any():
        raise MissingValues
    if len(values) > MOST_LEVELS:
        raise NotLevels
    found: list[float] = values.tolist()
    return found


def _packed(bits: NDArray[np.bool_], words: NDArray[np.uint64]) -> NDArray[np.uint64]:
    octets = np.packbits(bits, bitorder="little")
    words.view(np.uint8)[: len(octets)] = octets
    return words
