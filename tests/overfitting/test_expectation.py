"""What is expected of the chosen: properties, and simulated studies of which the truth is known."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from signal_miner.overfitting.bootstrap import (
    corrected_difference,
    corrected_estimate,
    difference_to_average,
    sharpe_difference,
    sharpe_estimate,
)
from signal_miner.overfitting.expectation import expectation, expectation_from, influences, pool_of
from signal_miner.overfitting.records import Pool
from signal_miner.scoring.objective import Objective
from signal_miner.scoring.series import sharpe

SHARPE, PAYOUT = Objective.SHARPE, Objective.PAYOUT
SCORES = st.tuples(st.integers(0, 2**32 - 1), st.integers(1, 30), st.integers(20, 120))


def drawn(seed, n_trials, n_eras, correlation=0.5, skill=0.3):
    rng = np.random.default_rng(seed)
    common, own = rng.standard_normal((n_eras, 1)), rng.standard_normal((n_eras, n_trials))
    return math.sqrt(correlation) * common + math.sqrt(1 - correlation) * own + skill


@settings(max_examples=40, deadline=None)
@given(SCORES, st.sampled_from([SHARPE, PAYOUT]))
def test_an_expectation_lies_between_the_pool_and_what_was_shown(shape, objective):
    scores = drawn(*shape)
    pool = pool_of(scores, 3, objective)
    assert 0 <= pool.kept_surely <= pool.kept <= 1
    values = np.atleast_1d(objective.summary(scores))
    assert pool.mean == pytest.approx(values.mean())
    place = int(values.argmax())
    found = expectation(scores[:, place], np.empty(0), pool, 3, objective)
    assert pool.mean - 1e-12 <= found.value <= values[place] + 1e-12
    assert found.value == found.by_validation
    assert found.low < found.value < found.high
    assert math.isnan(found.test)


@settings(max_examples=40, deadline=None)
@given(SCORES, st.sampled_from([SHARPE, PAYOUT]), st.floats(0.01, 100.0), st.integers(0, 2**32 - 1))
def test_the_order_of_trials_and_the_unit_of_scores_change_nothing(shape, objective, unit, seed):
    scores, test = drawn(*shape), drawn(shape[0] + 1, 1, 40)[:, 0]
    other = unit * scores[:, np.random.default_rng(seed).permutation(scores.shape[1])]
    one, two = (pool_of(each, 3, objective) for each in (scores, other))
    assert two.kept == pytest.approx(one.kept, abs=1e-6)
    first = expectation(scores[:, 0], test, one, 3, objective)
    second = expectation(unit * scores[:, 0], unit * test, two, 3, objective)
    scale = 1 if objective.is_ratio else unit
    assert np.array([second.value, second.low, second.high]) == pytest.approx(
        scale * np.array([first.value, first.low, first.high]), rel=1e-6, abs=1e-9
    )


def test_with_test_it_is_the_mean_weighted_by_eras():
    scores, test = drawn(0, 40, 120), drawn(1, 1, 60)[:, 0]
    pool = pool_of(scores, 0, SHARPE)
    without = expectation(scores[:, 0], test[:0], pool, 0, SHARPE)
    found = expectation(scores[:, 0], test, pool, 0, SHARPE)
    assert found.value == pytest.approx((120 * without.value + 60 * float(sharpe(test))) / 180)
    assert found.by_validation == without.value
    assert found.test == pytest.approx(float(sharpe(test)))
    longer = expectation(scores[:, 0], test, pool, 0, SHARPE, future_eras=400)
    assert longer.value == found.value
    assert longer.high - longer.low < found.high - found.low


def test_with_test_the_width_is_that_of_the_expected_ratio():
    validation, test = drawn(3, 1, 120, skill=0.0)[:, 0], drawn(4, 1, 120, skill=0.0)[:, 0]
    chosen = validation + 3 * validation.std()

    def width(of: np.ndarray, tested: np.ndarray) -> float:
        found = expectation_from(0.0, 0.3, of, tested, 0, SHARPE)
        return found.high - found.low

    assert width(chosen, test[:0]) > 2 * width(validation, test[:0])
    assert width(chosen, test) < 1.2 * width(validation, test)


def test_unknown_eras_are_left_out_and_too_few_have_no_interval():
    scores = drawn(2, 12, 60)
    holes = np.insert(scores, [5, 30], np.nan, axis=0)
    pool = pool_of(scores, 0, SHARPE)
    one, two = (expectation(each[:, 0], np.full(3, np.nan), pool, 0, SHARPE) for each in (scores, holes))
    assert (one.value, one.low, one.high) == (two.value, two.low, two.high)
    few = expectation(scores[:6, 0], np.empty(0), pool, 0, SHARPE)
    assert math.isfinite(few.value)
    assert math.isnan(few.low)
    equal = expectation_from(0.5, 1.0, np.full(20, 0.1), np.empty(0), 0, SHARPE)
    assert math.isnan(equal.low)
    nothing = pool_of(np.full((20, 3), np.nan), 0, SHARPE)
    assert nothing.n_trials == 0
    assert math.isnan(expectation(np.full(20, np.nan), np.empty(0), nothing, 0, SHARPE).value)


def test_what_is_kept_is_what_differs_by_skill():
    equal = [pool_of(drawn(seed, 80, 120), 0, SHARPE).kept for seed in range(20)]
    assert np.mean(equal) < 0.15
    skills = np.random.default_rng(0).normal(0, 1.0, 80)
    assert pool_of(drawn(0, 80, 120) + skills, 0, SHARPE).kept > 0.9
    assert [pool_of(drawn(0, count, 120), 0, SHARPE).kept for count in (1, 2, 3)] == [1.0, 1.0, 1.0]


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**32 - 1), st.floats(0.2, 2.0))
def test_the_influence_is_the_derivative(seed, skill):
    scores = drawn(seed, 2, 50, skill=skill)
    for objective in (SHARPE, PAYOUT):
        influence = influences(scores, objective)
        assert influence.mean(axis=0) == pytest.approx(0, abs=1e-9)
        weights = np.ones(50)
        weights[7] += 1e-6
        mean = weights @ scores / weights.sum()
        deviation = np.sqrt(weights @ (scores - mean) ** 2 / weights.sum())
        moved = mean / deviation if objective.is_ratio else mean
        assert 50e6 * (moved - objective.summary(scores)) == pytest.approx(influence[7], rel=1e-3, abs=1e-3)


def test_of_equal_trials_the_leader_is_corrected_and_not_called_better():
    n_studies, n_trials, n_eras, truth = 60, 60, 120, 0.5
    inside, raw_better, better, average = [], [], [], []
    for seed in range(n_studies):
        scores = drawn(seed, n_trials + 1, n_eras, skill=truth)
        trials, benchmark = scores[:, :-1], scores[:, -1]
        place, pool = int(sharpe(trials).argmax()), pool_of(trials, 0, SHARPE)
        raw = sharpe_estimate(trials[:, place], 0, 0)
        found = corrected_estimate(raw, trials[:, place], pool, 0)
        assert found.low <= found.value <= found.high <= raw.high
        inside.append(found.low <= truth <= found.high)
        difference = sharpe_difference(trials[:, place], benchmark, 0, 0)
        corrected = corrected_difference(difference, raw, pool)
        assert corrected.high - corrected.low == pytest.approx(difference.high - difference.low)
        raw_better.append(difference.low > 0)
        better.append(corrected.low > 0)
        average.append(difference_to_average(trials, place, pool, 0).low > 0)
    assert np.mean(inside) >= 0.8
    assert np.mean(raw_better) > 0.2
    assert max(np.mean(better), np.mean(average)) <= 0.05


def test_a_trial_that_is_better_is_called_so():
    scores = drawn(5, 41, 300)
    scores[:, 0] += 1.0
    pool = pool_of(scores[:, :-1], 0, SHARPE)
    raw, difference = sharpe_estimate(scores[:, 0], 0, 0), sharpe_difference(scores[:, 0], scores[:, -1], 0, 0)
    assert corrected_difference(difference, raw, pool).low > 0
    assert difference_to_average(scores[:, :-1], 0, pool, 0).low > 0


def test_a_prediction_interval_covers_what_comes():
    covered, errors, shown = [], [], []
    for seed in range(150):
        scores = drawn(seed, 40, 240, skill=0.5)
        validation, test, future = scores[:80], scores[80:160], scores[160:]
        place, pool = int(sharpe(validation).argmax()), pool_of(validation, 0, SHARPE)
        found = expectation(validation[:, place], test[:, place], pool, 0, SHARPE, 80)
        came = float(sharpe(future[:, place]))
        covered.append(found.low <= came <= found.high)
        errors.append(found.value - came)
        shown.append(found.validation - came)
    assert 0.8 <= np.mean(covered) <= 0.95
    assert abs(np.mean(errors)) < 0.05 < 0.2 < np.mean(shown)


def test_a_pool_of_one_trial_is_not_corrected():
    scores = drawn(9, 1, 60)
    pool = pool_of(scores, 0, SHARPE)
    assert pool == Pool(pytest.approx(float(sharpe(scores[:, 0]))), 1, 1.0, 60.0, 1.0, 1.0)
    raw = sharpe_estimate(scores[:, 0], 0, 0)
    corrected = corrected_estimate(raw, scores[:, 0], pool, 0)
    assert (corrected.value, corrected.low) == (pytest.approx(raw.value), pytest.approx(raw.low))
    assert math.isnan(difference_to_average(scores, 0, pool, 0).low)
