"""Below and above expectation: how often wrongly, how soon rightly."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.live import MARKETS, histories, said
from signal_miner.live.evidence import HORIZON_WEEKS, LEVEL, Standing, cumulated_variance, evidence_below, standing


@pytest.mark.parametrize("market", MARKETS)
def test_of_500_models_as_good_as_expected_few_are_ever_said_to_be_below_in_a_year(market):
    drawn = histories(np.random.default_rng(1), 500, 52, market)
    assert (said(drawn) > 0).mean() <= LEVEL
    assert (said(-drawn) > 0).mean() <= LEVEL


def test_an_expectation_estimated_on_two_years_raises_few_false_alarms():
    generator = np.random.default_rng(2)
    backtest = histories(generator, 500, 104)
    drawn = histories(generator, 500, 52) - backtest.mean(axis=1, keepdims=True)
    assert (said(drawn) > 0).mean() <= LEVEL


def test_the_weaker_a_model_the_sooner_it_is_said_to_be_below():
    drawn = histories(np.random.default_rng(3), 200, 400)
    weeks = [np.where(found := said(drawn - lost), found, 10**6) for lost in (0.5, 1.0, 2.0)]
    medians = [float(np.median(each)) for each in weeks]
    assert medians == sorted(medians, reverse=True)
    assert medians[-1] < 30
    assert 50 < medians[1] < 130


def test_a_model_that_breaks_after_good_months_is_found_sooner_than_by_its_whole_history():
    drawn = histories(np.random.default_rng(4), 200, 90)
    drawn[:, :30] += 0.5
    drawn[:, 30:] -= 2.5
    assert (said(drawn) > 30).mean() > 0.9


@given(
    surprises=st.lists(st.floats(-5, 5) | st.just(float("nan")), min_size=1, max_size=60),
    lower=st.floats(0.001, 2),
)
def test_lower_scores_are_never_less_evidence_from_the_start(surprises, lower):
    before = np.array(surprises)
    first, second = (evidence_below(each[: HORIZON_WEEKS + 1]) for each in (before, before - lower))
    assert (second >= first - 1e-9).all()
    assert (evidence_below(before) > 0).all()


@given(surprises=st.lists(st.floats(-3, 3), min_size=1, max_size=40), gap=st.integers(0, 39))
def test_a_week_without_rounds_is_no_evidence(surprises, gap):
    weekly = np.insert(np.array(surprises), min(gap, len(surprises)), np.nan)
    place = int(np.flatnonzero(np.isnan(weekly))[0])
    evidence = evidence_below(weekly)
    assert np.isfinite(evidence).all()
    if 0 < place < HORIZON_WEEKS:
        assert evidence[place] == pytest.approx(evidence[place - 1])


def test_the_clock_is_the_variance_of_overlapping_scores():
    drawn = histories(np.random.default_rng(5), 20_000, 30).cumsum(axis=1)
    assert cumulated_variance(np.zeros(30)) == pytest.approx(drawn.var(axis=0), rel=0.05)


def test_what_was_said_is_not_taken_back():
    surprises = np.full(60, -3.0)
    assert standing(surprises) is Standing.BELOW
    assert standing(np.concatenate([surprises, np.full(8, 1.0)])) is Standing.BELOW
    assert standing(np.full(5, np.nan)) is Standing.NONE
    assert standing(np.zeros(52)) is Standing.WITHIN
