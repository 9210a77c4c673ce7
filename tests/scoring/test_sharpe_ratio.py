"""Probabilistic and deflated Sharpe ratios against another implementation, and what tries and eras are worth."""

from __future__ import annotations

import math

import numpy as np
import purgedcv
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import kurtosis, skew

from signal_miner.scoring.sharpe_ratio import (
    effective_observations,
    expected_maximum,
    mean_correlation,
    probabilistic_sharpe_ratio,
)


def overlapping(rng, n_eras, overlap, n_series=1):
    """Moving averages of independent returns, as scores of overlapping targets are; variance 1."""
    steps = rng.standard_normal((n_eras + overlap + 1, n_series)).cumsum(axis=0)
    return (steps[overlap + 1 :] - steps[: -overlap - 1])[:n_eras] / math.sqrt(overlap + 1)


def moments(returns):
    return returns.mean() / returns.std(), skew(returns, bias=False), kurtosis(returns, bias=False, fisher=False)


def deflated_sharpe_ratio(ratio, n_observations, skewness, weight, n_trials, variance):
    threshold = math.sqrt(variance) * expected_maximum(n_trials)
    return probabilistic_sharpe_ratio(ratio, n_observations, skewness, weight, threshold)


@pytest.mark.parametrize("seed", range(10))
def test_probabilistic_and_deflated_equal_purgedcv(seed):
    rng = np.random.default_rng(seed)
    returns = rng.standard_t(5, size=int(rng.integers(20, 400))) * 0.02 + 0.004
    ratio, skewness, weight = moments(returns)
    threshold, trials, variance = rng.normal(0, 0.2), int(rng.integers(1, 5000)), float(rng.uniform(0, 0.05))
    assert probabilistic_sharpe_ratio(ratio, len(returns), skewness, weight, threshold) == pytest.approx(
        purgedcv.probabilistic_sharpe_ratio(returns, threshold), abs=1e-9
    )
    assert deflated_sharpe_ratio(ratio, len(returns), skewness, weight, trials, variance) == pytest.approx(
        purgedcv.deflated_sharpe_ratio(returns, trials, variance), abs=1e-9
    )


def test_the_example_of_the_deflated_sharpe_ratios_paper():
    # Annualised Sharpe 2.5 over five years of 250 days, best of 100 trials whose annualised Sharpes have variance 1/2.
    deflated = deflated_sharpe_ratio(2.5 / math.sqrt(250), 1250, -3, 10, 100, 0.5 / 250)
    assert deflated == pytest.approx(0.9004, abs=5e-5)


@pytest.mark.parametrize("n_trials", [2, 10, 100, 1000])
def test_expected_maximum_is_that_of_draws(n_trials):
    drawn = np.random.default_rng(0).standard_normal((4000, n_trials)).max(axis=1)
    assert expected_maximum(n_trials) == pytest.approx(drawn.mean(), abs=0.07)


@given(st.floats(1, 1e6), st.floats(1, 1e6))
def test_expected_maximum_grows_from_zero(one, other):
    fewer, more = sorted((one, other))
    assert expected_maximum(1) == 0 <= expected_maximum(fewer) <= expected_maximum(more) + 1e-12


def test_expected_maximum_of_no_trial_is_refused():
    with pytest.raises(ValueError, match=r"n_trials = 0\.5 is below 1"):
        expected_maximum(0.5)


def test_no_probability_without_observations_or_a_spread():
    assert math.isnan(probabilistic_sharpe_ratio(1.0, 1.0, 0.0, 3.0))
    assert math.isnan(probabilistic_sharpe_ratio(math.nan, 50, 0.0, 3.0))
    assert math.isnan(probabilistic_sharpe_ratio(2.0, 50, 3.0, 3.0))


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(2, 12), st.integers(5, 60))
def test_mean_correlation_is_that_of_all_pairs(seed, n_columns, n_eras):
    rng = np.random.default_rng(seed)
    scores = rng.standard_normal((n_eras, n_columns)) + 2 * rng.standard_normal((n_eras, 1))
    pairs = np.corrcoef(scores, rowvar=False)[np.triu_indices(n_columns, 1)]
    assert mean_correlation(scores) == pytest.approx(np.clip(pairs.mean(), 0, 1), abs=1e-12)
    assert mean_correlation(scores[:, rng.permutation(n_columns)]) == pytest.approx(mean_correlation(scores), abs=1e-12)
    constant = np.column_stack([scores, np.full(n_eras, 0.1)])
    assert mean_correlation(constant) == pytest.approx(mean_correlation(scores), abs=1e-12)


@pytest.mark.parametrize(("n_eras", "overlap"), [(52, 3), (104, 11), (407, 3), (407, 11)])
def test_effective_observations_of_overlapping_and_of_independent_eras(n_eras, overlap):
    rng = np.random.default_rng(1)
    lags = np.arange(1, overlap + 1)
    inflation = 1 + 2 * ((1 - lags / n_eras) * (1 - lags / (overlap + 1))).sum()
    alike = [effective_observations(overlapping(rng, n_eras, overlap)[:, 0], overlap) for _ in range(100)]
    assert np.median(alike) == pytest.approx(n_eras / inflation, rel=0.15)
    free = [effective_observations(rng.standard_normal(n_eras), overlap) for _ in range(100)]
    assert np.median(free) == pytest.approx(n_eras, rel=0.1)


def test_a_mean_of_overlapping_scores_is_as_sure_as_its_effective_eras_say():
    rng = np.random.default_rng(2)
    series = overlapping(rng, 156, 11, 400)
    surprising = 0
    for column in series.T:
        independent = effective_observations(column, 11)
        surprising += probabilistic_sharpe_ratio(column.mean() / column.std(), independent, 0.0, 3.0) >= 0.95
    assert 0.02 <= surprising / 400 <= 0.10
    naive = np.mean([probabilistic_sharpe_ratio(c.mean() / c.std(), 156, 0.0, 3.0) >= 0.95 for c in series.T])
    assert naive > 0.2  # as if the 156 eras were independent


def test_unknown_eras_and_several_series():
    rng = np.random.default_rng(3)
    series = overlapping(rng, 104, 11, 40)
    holes = series.copy()
    holes[rng.random(holes.shape) < 0.05] = np.nan
    assert effective_observations(holes, 11) == pytest.approx(effective_observations(series, 11), rel=0.15)
    assert effective_observations(np.full(20, np.nan), 11) == 0
    assert effective_observations(np.full(20, 0.1), 0) == 20
    assert effective_observations(rng.standard_normal(3), 11) >= 1
