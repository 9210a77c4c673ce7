"""Gaussianised ranks of many prediction columns at once, exact and without a normal quantile per value.

The ranks are those of ``numerai_tools.scoring``: ``tie_kept_rank`` (the average rank of equal values, less a
half, divided by their number) and ``gaussian`` (the normal quantile of that). Such a rank is a multiple of a
half, so the few thousand rows of an era know only ``2 n - 1`` different results: one table for each era size.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri

_DIGIT_BITS = 16


def gaussian_table(n_rows: int) -> NDArray[np.float64]:
    """Return the normal quantile of every tie-kept rank that ``n_rows`` values can have.

    Parameters
    ----------
    n_rows : int
        Number of values ranked together, at least 1.

    Returns
    -------
    ndarray of float64, shape (2 n_rows - 1,)
        First the quantiles of ``(position + .5) / n_rows`` for the positions 0 .. n_rows - 1, then those of
        ``(position + 1) / n_rows`` for the positions 0 .. n_rows - 2: the ranks halfway between two
        positions, which only an even number of equal values has. Read-only.
    """
    positions = np.arange(n_rows, dtype=np.float64)
    table: NDArray[np.float64] = ndtri(np.concatenate((positions + 0.5, positions[1:])) / n_rows)
    table.flags.writeable = False
    return table


def sort_columns(columns: NDArray[np.floating[Any]]) -> tuple[NDArray[np.int64], NDArray[Any]]:
    """Sort each column, and return the order together with sortable integers for the values.

    A stable radix sort over digits of 16 bits, NumPy's own for such integers: its time depends neither on the
    values nor on the vector instructions of the machine, and it is exact for every finite value.

    Parameters
    ----------
    columns : ndarray of float32 or float64, shape (n_rows, n_columns)
        Finite values; any strides, not copied as a whole by the caller.

    Returns
    -------
    order : ndarray of int64, shape (n_columns, n_rows)
        For each column the row numbers, smallest value first, equal values in row order.
    keys : ndarray of uint32 or uint64, shape (n_columns, n_rows)
        Integers in ascending order, equal exactly where the sorted values are equal (-0.0 equals 0.0).
    """
    n_rows, n_columns = columns.shape
    values = np.empty((n_columns, n_rows), dtype=columns.dtype)
    np.add(columns.T, columns.dtype.type(0), out=values)  # turns -0.0 into 0.0, which it must tie with
    bits = 8 * values.itemsize
    integers = values.view(f"i{values.itemsize}")
    # The bits of a negative float ascend as the float descends: flip all but the sign.
    integers ^= (integers >> (bits - 1)) & np.iinfo(integers.dtype).max
    # Differences from the smallest are unsigned and often have empty high bytes, which the radix sort skips.
    integers -= integers.min(axis=1, keepdims=True)
    keys = integers.view(f"u{values.itemsize}")

    first_of_row = np.arange(0, n_columns * n_rows, n_rows, dtype=np.int64)[:, np.newaxis]
    order: NDArray[np.int64] = keys.astype(np.uint16).argsort(axis=1, kind="stable")
    for shift in range(_DIGIT_BITS, bits, _DIGIT_BITS):
        digit = (keys >> shift).astype(np.uint16)
        step = digit.take(order + first_of_row).argsort(axis=1, kind="stable")
        step += first_of_row
        order = order.take(step)
    return order, keys.take(order + first_of_row)


def gaussian_ranks(keys: NDArray[Any], table: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the gaussianised tie-kept ranks of sorted values.

    Parameters
    ----------
    keys : ndarray, shape (n_columns, n_rows)
        Each row in ascending order, as from `sort_columns`.
    table : ndarray of float64, shape (2 n_rows - 1,)
        ``gaussian_table(n_rows)``.

    Returns
    -------
    ndarray of float64, shape (n_columns, n_rows) or (1, n_rows)
        Ranks in the order of the keys. One row for all (a view of the table, not to be written
        to) where no column has equal values.
    """
    n_columns, n_rows = keys.shape
    distinct = table[:n_rows]
    repeats = np.zeros((n_columns, n_rows), dtype=np.bool_)
    np.equal(keys[:, 1:], keys[:, :-1], out=repeats[:, 1:])
    repeated = np.flatnonzero(repeats)
    if repeated.size == 0:
        return distinct[np.newaxis]

    # A run of equal values is an element and the neighbours after it that repeat it.
    gap = np.flatnonzero(np.diff(repeated) != 1)
    first = repeated[np.concatenate(([0], gap + 1))] - 1
    last = repeated[np.concatenate((gap, [repeated.size - 1]))]
    lengths = last - first + 1
    doubled = first % n_rows + last % n_rows  # twice the average position
    of_run = table[(doubled >> 1) + (doubled & 1) * n_rows]

    ranks = np.tile(distinct, n_columns)
    before = np.cumsum(lengths) - lengths
    members = np.arange(lengths.sum()) + np.repeat(first - before, lengths)
    ranks[members] = np.repeat(of_run, lengths)
    return ranks.reshape(n_columns, n_rows)
