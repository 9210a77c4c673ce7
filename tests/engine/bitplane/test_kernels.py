"""Compiled kernels against plain NumPy."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from signal_miner.engine.bitplane import intrinsics, kernels, random_numbers, residuals

SEEDS = st.integers(0, 2**32)


def bits(words):
    """Return the bits of words along the last axis, one integer a row."""
    octets = np.ascontiguousarray(words, "<u8").view(np.uint8)
    return np.unpackbits(octets, axis=-1, bitorder="little").astype(np.int64)


def random_words(generator, *shape, density=0.5):
    """Return words with runs of zeros."""
    words = generator.integers(0, 2**64, shape, dtype=np.uint64)
    return np.where(generator.random(shape) < density, words, np.uint64(0))


def rounded(generator, bag):
    """Return residuals, and them rounded as planes and as bytes."""
    residual = generator.normal(size=64 * len(bag)) * bits(bag)
    planes, values = np.empty((5, len(bag)), np.uint64), np.zeros(64 * len(bag), np.int8)
    scale = max(np.abs(residual).max(), 1e-9) / 7
    residuals.round_residuals(residual, bag, 0, scale, np.uint64(3), planes, values)
    return residual / scale, planes, values


@settings(max_examples=20)
@given(SEEDS, st.integers(1, 40))
def test_residuals_are_rounded_to_a_neighbour_in_two_s_complement(seed, n_words):
    generator = np.random.default_rng(seed)
    bag = random_words(generator, n_words)
    exact, planes, values = rounded(generator, bag)
    weights = np.array([1, 2, 4, -8])[:, None]
    of_planes = (bits(planes[:4]) * weights).sum(axis=0)
    np.testing.assert_array_equal(of_planes, values * bits(bag))
    np.testing.assert_array_equal(planes[residuals.BAG], bag)
    assert np.abs(of_planes - exact).max() < 1


def test_rounding_keeps_the_mean_and_integers():
    n_words = 4_000
    bag = np.full(n_words, ~np.uint64(0))
    planes, values = np.empty((5, n_words), np.uint64), np.zeros(64 * n_words, np.int8)
    for value in (-7.0, -6.3, -0.25, 0.0, 0.01, 3.0, 6.99, 7.0):
        residuals.round_residuals(np.full(64 * n_words, value), bag, 5, 1.0, np.uint64(1), planes, values)
        assert set(values) <= {np.floor(value), np.ceil(value)}
        assert abs(values.mean() - value) < 0.005


def test_rounding_depends_on_key_and_row_and_not_on_where_the_fold_begins():
    residual = np.random.default_rng(0).normal(size=64 * 20)
    bag = np.full(20, ~np.uint64(0))

    def planes_of(first, key):
        planes, values = np.empty((5, 20 - first), np.uint64), np.zeros(64 * (20 - first), np.int8)
        residuals.round_residuals(residual[64 * first :], bag[first:], first, 0.5, np.uint64(key), planes, values)
        return planes

    np.testing.assert_array_equal(planes_of(0, 1)[:, 7:], planes_of(7, 1))
    assert (planes_of(0, 1) != planes_of(0, 2)).any()


@settings(max_examples=40)
@given(SEEDS, st.integers(1, 2_500), st.sampled_from([0.01, 0.3, 1.0]))
def test_spans_cover_every_word_with_rows_and_no_long_gap(seed, n_words, density):
    generator = np.random.default_rng(seed)
    train = random_words(generator, n_words, density=density)
    spans = np.empty((n_words + 1, 2), np.int64)
    spans = spans[: kernels.spans_of(train, spans)]
    assert (np.diff(spans, axis=1) <= kernels.BLOCK).all()
    assert (spans[1:, 0] >= spans[:-1, 1]).all()
    covered = np.zeros(n_words, bool)
    for start, stop in spans:
        covered[start:stop] = True
        assert train[start]
        assert train[stop - 1]
    np.testing.assert_array_equal(covered & (train > 0), train > 0)
    gap = 0
    for word, inside in zip(train, covered, strict=True):
        gap = 0 if word or not inside else gap + 1
        assert gap <= 32


@settings(max_examples=25)
@given(SEEDS, st.integers(1, 9), st.integers(1, 2_200), st.integers(0, 70), st.integers(1, 6))
def test_masks_and_lists_of_rows_count_what_numpy_counts(seed, first, n_words, n_planes, n_nodes):
    generator = np.random.default_rng(seed)
    planes = random_words(generator, n_planes + 3, first + n_words, density=0.9)
    planes.flags.writeable = False
    ids = generator.permutation(n_planes + 3)[:n_planes]
    bag = random_words(generator, n_words)
    _, residual_planes, values = rounded(generator, bag)
    spans = np.empty((n_words + 1, 2), np.int64)
    spans = spans[: kernels.spans_of(bag, spans)].copy()
    masks = random_words(generator, n_nodes + 2, n_words)
    slots = generator.permutation(n_nodes + 2)[:n_nodes]
    stride = max(1, -(-n_planes // intrinsics.GROUP))
    sums, counts = (np.zeros((n_nodes, 64 * stride), np.int32) for _ in range(2))
    scratch = np.empty((n_nodes, 5, kernels.BLOCK), np.uint64)
    kernels.count_masks(planes, ids, first, spans, residual_planes, masks, slots, n_nodes, scratch, sums, counts)
    chosen = bits(planes[ids][:, first:])
    members = bits(masks[slots] & bag)
    np.testing.assert_array_equal(counts[:, :n_planes], members @ chosen.T)
    np.testing.assert_array_equal(sums[:, :n_planes], (members * values) @ chosen.T)

    copied = np.zeros(64 * n_words * stride, np.uint64)
    for start in range(0, n_words, 777):
        stop = min(start + 777, n_words)
        part = copied[64 * start * stride : 64 * stop * stride]
        kernels.transpose(planes, ids, first, bag, start, stop, part, stride)
    listed_sums, listed_counts = np.zeros_like(sums), np.zeros_like(counts)
    for node, member in enumerate(members):
        rows = np.flatnonzero(member).astype(np.int32)
        gathered = np.empty(256, np.int8)
        middle = len(rows) // 3
        for begin, end in ((0, middle), (middle, len(rows))):
            kernels.count_rows(
                copied, stride, 0, rows, begin, end, values, gathered, listed_sums[node], listed_counts[node]
            )
    np.testing.assert_array_equal(listed_sums, sums)
    np.testing.assert_array_equal(listed_counts, counts)


def test_a_copy_can_begin_at_any_row():
    generator = np.random.default_rng(4)
    planes = random_words(generator, 5, 30, density=1.0)
    bag = np.full(30, ~np.uint64(0))
    copied = np.zeros(64 * 10, np.uint64)
    kernels.transpose(planes, np.arange(5), 0, bag, 20, 30, copied, 1)
    np.testing.assert_array_equal(bits(copied[:, None])[:, :5], bits(planes)[:, 64 * 20 :].T)
    rows, values = np.arange(64 * 20, 64 * 30, 3, dtype=np.int32), np.ones(64 * 30, np.int8)
    sums, counts = np.zeros(64, np.int32), np.zeros(64, np.int32)
    kernels.count_rows(copied, 1, 64 * 20, rows, 0, len(rows), values, np.empty(256, np.int8), sums, counts)
    np.testing.assert_array_equal(counts[:5], bits(planes)[:, rows].sum(axis=1))
    np.testing.assert_array_equal(sums, counts)


@pytest.mark.parametrize("value", [-8, 7])
def test_sums_of_a_list_do_not_overflow(value):
    n_rows = 3_000
    copied, rows = np.full(n_rows, ~np.uint64(0)), np.arange(n_rows, dtype=np.int32)
    sums, counts = np.zeros(64, np.int32), np.zeros(64, np.int32)
    values = np.full(n_rows, value, np.int8)
    kernels.count_rows(copied, 1, 0, rows, 0, n_rows, values, np.empty(256, np.int8), sums, counts)
    assert set(sums) == {value * n_rows}
    assert set(counts) == {n_rows}


@settings(max_examples=30)
@given(SEEDS, st.integers(1, 50), st.floats(0.01, 1))
def test_a_choice_has_its_number_and_every_candidate_its_chance(seed, candidates, share):
    count = max(1, round(candidates * share))
    chosen = np.empty(candidates, np.bool_)
    total = np.zeros(candidates)
    for key in range(200):
        random_numbers.choose(np.uint64(seed + key * 2**33), candidates, count, chosen)
        assert chosen.sum() == count
        total += chosen
    assert np.abs(total / 200 - count / candidates).max() < 0.25


@pytest.mark.parametrize("fraction", [0.05, 0.5, 1.0])
def test_a_bag_is_a_share_of_the_training_rows(fraction):
    train = random_words(np.random.default_rng(1), 2_000)
    bag = np.empty_like(train)
    random_numbers.draw_bag(np.uint64(7), 3, fraction, train, bag)
    assert not (bag & ~train).any()
    assert abs(bits(bag).sum() / bits(train).sum() - fraction) < 0.01
