"""Words of bits against plain NumPy: masks of rows, features of any levels, counts."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from signal_miner.engine.bitplane.planes import (
    MOST_LEVELS,
    MissingValues,
    NotLevels,
    level_counts,
    planes_bytes,
    row_mask,
    to_planes,
    words_of,
)

INTEGERS = ("int8", "uint8", "int16", "int32", "uint32", "int64", "uint64")
FLOATS = ("float32", "float64")


def bits_of(words: np.ndarray, n_rows: int) -> np.ndarray:
    """Return rows as booleans; the bits after them have to be 0."""
    bits = np.array([(int(word) >> bit) & 1 for word in words for bit in range(64)], dtype=bool)
    assert not bits[n_rows:].any()
    return bits[:n_rows]


@st.composite
def columns(draw, most=MOST_LEVELS):
    kind = draw(st.sampled_from([*INTEGERS, *FLOATS]))
    values = st.floats(-4, 4, width=32) if kind in FLOATS else st.integers(0 if kind[0] == "u" else -100, 100)
    if draw(st.booleans()):
        values = st.integers(0, most - 1)
    levels = draw(st.lists(values, min_size=1, max_size=most, unique=True))
    rows = draw(st.lists(st.sampled_from(levels), min_size=1, max_size=200))
    cuts = draw(st.lists(st.integers(0, len(rows)), max_size=3).map(sorted))
    pieces = np.split(np.array(rows, dtype=kind), cuts)
    return pa.chunked_array(pieces)


@given(columns())
def test_a_plane_says_which_rows_are_above_a_level(column):
    planes, levels = to_planes(column)
    values = column.to_numpy()
    expected, counts = np.unique(values, return_counts=True)
    assert levels == tuple(expected.astype(float))
    assert planes.shape == (len(levels) - 1, words_of(len(values)))
    assert planes.nbytes == planes_bytes(len(values), [len(levels)])
    for plane, level in zip(planes, expected, strict=False):
        np.testing.assert_array_equal(bits_of(plane, len(values)), values > level)
    np.testing.assert_array_equal(level_counts(planes, row_mask(len(values), slice(None))), counts)


@given(columns(), st.randoms(use_true_random=False))
def test_levels_are_counted_over_a_mask(column, random):
    planes, levels = to_planes(column)
    values = column.to_numpy()
    chosen = np.array([random.random() < 0.4 for _ in values])
    counts = [int(np.sum(values[chosen] == level)) for level in levels]
    assert level_counts(planes, row_mask(len(values), chosen)).tolist() == counts


@given(st.integers(1, 1200), st.data())
def test_rows_are_masked_alike_as_range_positions_and_booleans(n_rows, data):
    start, stop = data.draw(st.tuples(st.integers(0, n_rows), st.integers(0, n_rows)))
    expected = np.zeros(n_rows, dtype=bool)
    expected[start:stop] = True
    positions = np.random.default_rng(start).permutation(np.arange(start, max(start, stop)))
    for rows in (slice(start, stop), positions, expected):
        mask = row_mask(n_rows, rows)
        assert mask.dtype == np.uint64
        assert mask.shape == (words_of(n_rows),)
        np.testing.assert_array_equal(bits_of(mask, n_rows), expected)


def test_booleans_of_another_length_are_no_mask():
    with pytest.raises(ValueError, match=r"booleans of shape \(3,\) are not one for each of 4 rows"):
        row_mask(4, np.ones(3, dtype=bool))


@pytest.mark.parametrize("kind", ["int8", "int64", "float32"])
def test_sixteen_levels_are_held_and_seventeen_are_not(kind):
    assert len(to_planes(pa.chunked_array([np.arange(16, dtype=kind)]))[0]) == 15
    with pytest.raises(NotLevels):
        to_planes(pa.chunked_array([np.arange(17, dtype=kind)]))
    apart = np.arange(16, dtype=kind) * 7
    assert to_planes(pa.chunked_array([apart]))[1] == tuple(apart.astype(float))


@pytest.mark.parametrize(
    "column",
    [
        pa.chunked_array([np.array([0, np.nan, 1], dtype="float32")]),
        pa.chunked_array([pa.array([0.0, None])]),
        pa.chunked_array([pa.array([1, None], type=pa.int8())]),
        pa.chunked_array([pa.array([None, None], type=pa.int8())]),
    ],
)
def test_missing_values_are_not_held(column):
    with pytest.raises(MissingValues):
        to_planes(column)


def test_zeros_of_both_signs_are_one_level():
    planes, levels = to_planes(pa.chunked_array([np.array([0.0, -0.0, 0.5])]))
    assert levels == (0.0, 0.5)
    assert bits_of(planes[0], 3).tolist() == [False, False, True]


def test_planes_are_padded_to_whole_vectors():
    assert [words_of(n_rows) for n_rows in (1, 512, 513, 6_784_799)] == [8, 8, 16, 106_016]
    assert planes_bytes(6_784_799, [5] * 3555) / (6_784_799 * 3555) == pytest.approx(0.5, rel=1e-3)
