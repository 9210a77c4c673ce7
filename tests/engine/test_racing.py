"""The decisions of a race: which curves are cut, which trials proceed, which are controls."""

from __future__ import annotations

import math
import pickle
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from signal_miner.data.folds import Fold
from signal_miner.engine.racing import Curve, Race, Reason, is_control, trains_in_full
from signal_miner.engine.trial import replay
from signal_miner.experiment.schema import RaceSettings
from signal_miner.scoring.objective import Objective, Scoring

FOLDS = tuple(Fold(number=number, train_eras=(1,), validation_eras=(2,)) for number in (1, 2, 3))
EACH = pytest.mark.parametrize("objective", Objective)


def curve(means, n_eras=40, seed=0, noise=0.01):
    """A curve with these mean scores; the eras' noise is the same at each checkpoint, but for a tenth of it."""
    generator = np.random.default_rng(seed)
    eras = generator.normal(0, noise, (n_eras, 1)) + generator.normal(0, noise / 10, (n_eras, len(means)))
    corr = np.asarray(means) + eras
    return Curve(corr, corr / 10)


def race_against(means, objective=Objective.SHARPE, pilot=(), **settings):
    """A race over folds whose benchmarks have these mean scores."""
    benchmark = [curve([mean], seed=90 + place) for place, mean in enumerate(means)]
    benchmark = [Curve(each.corr, np.zeros_like(each.bmc)) for each in benchmark]
    return Race.of(RaceSettings(**settings), Scoring(objective), 0, benchmark, pilot)


def cut_at(race, means, **options):
    """After how many checkpoints a curve is cut; None where it is trained to the end."""
    whole, count = curve(means, **options), len(means)
    return next((at for at in range(1, count) if race.has_turned_down(whole.until(at), count - at)), None)


@EACH
def test_a_curve_that_falls_is_cut_and_one_that_rises_never(objective):
    race = race_against([0.0], objective)
    falling = [0.02 - 0.001 * place for place in range(10)]
    assert 3 < cut_at(race, falling) < 9
    assert cut_at(race, falling[::-1]) is None
    assert cut_at(replace(race, settings=RaceSettings(recovery=0.0)), falling) is None


def test_a_curve_is_not_cut_where_its_usual_steps_reach_its_best_again():
    race = race_against([0.0], Objective.CORR)
    assert cut_at(race, [0.02, 0.03, 0.015, 0.03, 0.015, 0.025, 0.015, 0.028], noise=0) is None
    assert cut_at(race, [0.02, 0.03, 0.015, 0.016, 0.015, 0.016, 0.015, 0.016], noise=0) is not None


@given(st.lists(st.floats(-0.05, 0.05), min_size=2, max_size=15), st.integers(1, 20))
@example([1e-167, 0.0], 1)
def test_more_checkpoints_left_or_a_lower_level_cut_less_and_units_do_not_matter(means, remaining):
    race, whole = race_against([0.0], Objective.CORR), curve(means, noise=0)
    cut = race.has_turned_down(whole, remaining)
    assert cut >= race.has_turned_down(whole, remaining + 5)
    assert cut >= replace(race, settings=RaceSettings(recovery=0.05)).has_turned_down(whole, remaining)
    assert cut == race.has_turned_down(curve(np.multiply(means, 2**6), noise=0), remaining)


def test_of_random_walks_no_more_are_cut_before_their_best_than_the_level():
    race, generator = race_against([0.0], Objective.CORR), np.random.default_rng(4)
    cut = early = 0
    for _ in range(400):
        walk = generator.normal(0, 0.01, 20).cumsum()
        count = cut_at(race, walk, noise=0)
        if count is not None:
            cut += 1
            early += walk[count:].max() > walk[:count].max()
    assert cut > 200
    assert 0.05 < early / cut < 0.22


@EACH
def test_after_validation_a_trial_has_to_beat_the_benchmark(objective):
    race = race_against([0.01], objective)
    assert race.reason_to_stop([curve([0.0, 0.03])]) is None
    assert race.reason_to_stop([curve([-0.03, -0.02])]) is Reason.BENCHMARK
    lenient = race_against([0.01], objective, margin=1.0)
    assert lenient.reason_to_stop([curve([-0.03, -0.02])]) is None
    assert race.reason_to_stop([Curve(*np.full((2, 40, 2), np.nan))]) is Reason.UNDEFINED


def test_after_an_earlier_fold_it_is_stopped_only_where_it_is_clearly_below():
    race = race_against([0.01, 0.01])
    assert race.reason_to_stop([curve([0.0095])]) is None
    assert race.reason_to_stop([curve([-0.02])]) is Reason.BENCHMARK


def test_the_pilots_quantile_is_a_bar_of_its_own():
    pilot = [[curve([mean], seed=7)] for mean in (0.01, 0.02, 0.03, 0.04)]
    race = race_against([0.0], Objective.CORR, pilot, quantile=0.5)
    assert race.pilot[0] == pytest.approx(0.025, abs=0.005)
    assert race.reason_to_stop([curve([0.015], seed=7)]) is Reason.PILOT
    assert race.reason_to_stop([curve([0.035], seed=7)]) is None
    assert race_against([0.0], Objective.CORR, [], quantile=0.5).reason_to_stop([curve([0.015], seed=7)]) is None


@given(st.integers(0, 2**31 - 1), st.floats(0, 1), st.integers(1, 300))
def test_controls_are_that_share_of_any_number_of_draws(seed, share, count):
    settings = RaceSettings(controls=share)
    assert abs(sum(is_control(settings, seed, number) for number in range(count)) - share * count) <= 1 + 1e-6


def test_each_draw_is_a_control_for_as_many_seeds():
    settings = RaceSettings(controls=0.1)
    for number in (0, 1, 17):
        assert 60 < sum(is_control(settings, seed, number) for seed in range(1000)) < 140


def test_without_a_race_or_in_its_pilot_all_are_trained_in_full():
    assert trains_in_full(None, 1, 500)
    settings = RaceSettings(controls=0.0, quantile=0.8, pilot=5)
    assert [trains_in_full(settings, 1, number) for number in (0, 4, 5)] == [True, True, False]
    assert not trains_in_full(replace(settings, quantile=0.0), 1, 0)


def test_a_race_is_the_same_after_pickling():
    race = race_against([0.01])
    copy = pickle.loads(pickle.dumps(race))
    for means in ([0.0, 0.03], [-0.03, -0.02]):
        assert copy.reason_to_stop([curve(means)]) is race.reason_to_stop([curve(means)])


def test_a_replayed_trial_is_cut_in_each_fold_at_the_shortest_before_it_and_in_the_last_at_its_best():
    race = race_against([0.0, 0.0])
    params = {"n_estimators": 9}
    falling = [0.01, 0.03, *(0.028 - 0.002 * place for place in range(7))]
    good = [curve(falling), curve([0.01 * place for place in range(9)]), curve([0.02] * 9)]
    found = replay(params, FOLDS, good, race)
    count = cut_at(race, falling)
    assert count < 9
    assert (found.stop, found.reached) == (None, (count, count, found.best + 1))
    bad = [curve([-0.03] * 9), *good[1:]]
    found = replay(params, FOLDS, bad, race)
    assert found.stop is not None
    assert (found.stop.fold, found.stop.reason, len(found.reached)) == (1, Reason.BENCHMARK, 1)


def test_scores_that_are_not_defined_stop_no_curve():
    race = race_against([0.0])
    assert not race.has_turned_down(Curve(*np.full((2, 40, 6), math.nan)), 10)
    gap = curve([0.01, 0.03, math.nan, math.nan, 0.0, -0.01])
    assert race.has_turned_down(gap, 1)
    assert not race.has_turned_down(gap, 1000)
