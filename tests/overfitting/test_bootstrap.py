"""Intervals that cover what they say, and a test of superiority with its size, its power and another implementation."""

from __future__ import annotations

import math

import numpy as np
import pytest
from arch.bootstrap import SPA
from hypothesis import given, settings
from hypothesis import strategies as st

from signal_miner.overfitting.bootstrap import (
    DRAWS,
    block_length,
    block_weights,
    sharpe_difference,
    sharpe_estimate,
    weighted_sharpe,
)
from signal_miner.overfitting.superiority import null_values, superior_predictive_ability
from signal_miner.report.sentences import superiority_sentence
from signal_miner.scoring.objective import Objective
from signal_miner.scoring.series import sharpe


def moving_average(rng, n_eras, n_series=1):
    """Scores of 60-day targets, a week apart: moving averages of twelve; variance 1."""
    steps = rng.standard_normal((n_eras + 12, n_series)).cumsum(axis=0)
    return (steps[12:] - steps[:-12]) / math.sqrt(12)


def coverage(truth, overlap, series):
    estimates = [sharpe_estimate(scores, overlap, 0) for scores in series]
    assert all(estimate.low <= estimate.value <= estimate.high for estimate in estimates)
    return np.mean([estimate.low <= truth <= estimate.high for estimate in estimates])


def test_intervals_cover_the_sharpe_of_independent_eras():
    rng = np.random.default_rng(0)
    assert 0.82 <= coverage(1.0, 0, rng.standard_normal((120, 52)) + 1.0) <= 0.97


@pytest.mark.parametrize(("n_eras", "truth"), [(52, 0.0), (52, 1.0), (104, 0.5)])
def test_intervals_cover_the_sharpe_of_overlapping_eras(n_eras, truth):
    rng = np.random.default_rng(1)
    series = [moving_average(rng, n_eras)[:, 0] + truth for _ in range(100)]
    assert 0.8 <= coverage(truth, 11, series) <= 0.98


def test_intervals_of_differences_cover_and_leave_out_what_is_common():
    rng = np.random.default_rng(2)
    found, single = [], []
    for _ in range(80):
        common, own = moving_average(rng, 104), moving_average(rng, 104, 2)
        pair = common + 0.3 * own + np.array([0.8, 0.5])
        found.append(sharpe_difference(pair[:, 0], pair[:, 1], 11, 0))
        single.append(sharpe_estimate(pair[:, 0], 11, 0))
    truth = 0.3 / math.sqrt(1 + 0.3**2)
    assert 0.8 <= np.mean([estimate.low <= truth <= estimate.high for estimate in found]) <= 0.98
    widths = [np.median([estimate.high - estimate.low for estimate in some]) for some in (found, single)]
    assert widths[0] < 0.7 * widths[1]


def test_a_difference_to_itself_is_zero_for_sure():
    scores = np.random.default_rng(3).standard_normal(60)
    itself = sharpe_difference(scores, scores, 3, 0)
    assert (itself.value, itself.low, itself.high) == pytest.approx((0.0, 0.0, 0.0), abs=1e-9)


@settings(max_examples=10, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_undefined_eras_are_left_out_and_the_seed_decides(seed):
    rng = np.random.default_rng(seed)
    scores, benchmark = rng.standard_normal((2, 40)) + 0.5
    holes = np.insert(scores, [3, 20], np.nan)
    assert sharpe_estimate(holes, 3, seed) == sharpe_estimate(scores, 3, seed)
    padded = np.insert(benchmark, [3, 20], 1.0)
    assert sharpe_difference(holes, padded, 3, seed) == sharpe_difference(scores, benchmark, 3, seed)


def test_too_few_or_equal_eras_have_no_interval():
    few = sharpe_estimate(np.array([0.01, 0.02, 0.03]), 11, 0)
    assert few.value == pytest.approx(math.sqrt(6))
    assert math.isnan(few.low)
    assert math.isnan(few.high)
    assert math.isnan(sharpe_estimate(np.full(50, 0.02), 11, 0).value)
    assert math.isnan(sharpe_estimate(np.full(50, np.nan), 11, 0).value)


def test_weighted_sharpe_is_that_of_the_sample():
    rng = np.random.default_rng(4)
    scores = rng.standard_normal((30, 3)) + 1
    scores[rng.random(scores.shape) < 0.1] = np.nan
    weights = block_weights(30, 5, 0)
    assert weights.shape == (DRAWS, 30)
    assert (weights.sum(axis=1) == 30).all()
    for row in range(5):
        sample = np.repeat(scores, weights[row].astype(int), axis=0)
        assert weighted_sharpe(weights[row : row + 1], scores)[0] == pytest.approx(sharpe(sample), abs=1e-9)


def test_blocks_are_longer_than_the_overlap_where_the_eras_allow():
    rng = np.random.default_rng(5)
    assert block_length(rng.standard_normal(407), 11) >= 12
    assert block_length(moving_average(rng, 800)[:, 0], 3) > 4  # longer dependence than the overlap says
    assert block_length(rng.standard_normal(20), 11) == 6


def test_null_values_give_the_p_values_of_arch():
    rng = np.random.default_rng(6)
    scores, benchmark = rng.standard_normal((90, 7)) + np.linspace(-0.5, 0.1, 7), rng.standard_normal(90)
    theirs = SPA(-benchmark, -scores, block_size=5, reps=DRAWS, bootstrap="stationary", seed=11)
    theirs.compute()
    differences = scores - benchmark[:, None]
    means, drawn = differences.mean(axis=0), block_weights(90, 5, 11) @ differences / 90
    near = theirs._check_column_validity()
    ours = [(values > means.max()).mean() for values in null_values(drawn, means, near)]
    assert ours == pytest.approx(list(theirs.pvalues), abs=1e-9)


@pytest.mark.parametrize(("n_eras", "overlap"), [(52, 0), (104, 11)])
def test_without_skill_superiority_is_rare(n_eras, overlap):
    rng = np.random.default_rng(7)
    draw = moving_average if overlap else (lambda rng, n, m: rng.standard_normal((n, m)))
    values = []
    for _ in range(60):
        scores, benchmark = draw(rng, n_eras, 1) + draw(rng, n_eras, 15), draw(rng, n_eras, 2).sum(axis=1)
        values.append(superior_predictive_ability(scores, benchmark, overlap, 0).p_consistent)
    assert np.mean(np.array(values) <= 0.05) <= 0.15
    assert 0.3 <= np.mean(np.array(values) <= 0.5) <= 0.75


def test_a_planted_trial_is_found_whatever_its_place():
    rng = np.random.default_rng(8)
    benchmark = moving_average(rng, 200)[:, 0]
    scores = benchmark[:, None] + 0.5 * rng.standard_normal((200, 30))
    scores[:, 17] += 0.3
    found = superior_predictive_ability(scores, benchmark, 11, 0)
    assert found.p_lower <= found.p_consistent <= found.p_upper <= 0.02
    assert "by more than luck" in superiority_sentence(found, Objective.SHARPE)
    shuffled = superior_predictive_ability(scores[:, rng.permutation(30)], benchmark, 11, 0)
    assert shuffled.p_consistent == pytest.approx(found.p_consistent)
    alone = superior_predictive_ability(np.delete(scores, 17, axis=1), benchmark, 11, 0)
    assert alone.p_consistent > 0.05


def test_superiority_leaves_out_what_is_undefined():
    rng = np.random.default_rng(9)
    scores, benchmark = rng.standard_normal((60, 5)), rng.standard_normal(60)
    found = superior_predictive_ability(scores, benchmark, 3, 0)
    spoiled = np.column_stack([scores, rng.standard_normal(60)])
    spoiled[7, 5] = np.nan
    assert superior_predictive_ability(spoiled, benchmark, 3, 0) == found
    assert (
        superior_predictive_ability(np.insert(scores, 9, np.nan, axis=0), np.insert(benchmark, 9, 0.0), 3, 0) == found
    )
    assert superior_predictive_ability(np.full((60, 2), np.nan), benchmark, 3, 0) is None
    assert superior_predictive_ability(benchmark[:, None], benchmark, 3, 0) is None
