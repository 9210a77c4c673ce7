"""The decisions of a race: which curves are cut, which trials proceed, which are controls."""

from __future__ import annotations

import math
import pickle
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
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


@EACH
def test_a_curve_that_falls_is_cut_after_its_patience_and_one_that_rises_never(objective):
    race = race_against([0.0], objective, patience=3)
    falling, rising = curve([0.02, 0.015, 0.01, 0.005, 0.0]), curve([0.0, 0.005, 0.01, 0.015, 0.02])
    assert [race.has_turned_down(falling.until(count)) for count in range(1, 6)] == [False, False, False, True, True]
    assert not any(race.has_turned_down(rising.until(count)) for count in range(1, 6))
    assert not replace(race, settings=RaceSettings(significance=0.0)).has_turned_down(falling)


def test_a_curve_that_falls_for_one_checkpoint_goes_on():
    race = race_against([0.0], patience=2)
    dented = curve([0.02, 0.03, 0.01, 0.035, 0.01, 0.04])
    assert not any(race.has_turned_down(dented.until(count)) for count in range(1, 7))
    assert replace(race, settings=RaceSettings(patience=1)).has_turned_down(dented.until(3))


def test_fewer_independent_eras_cut_less():
    slightly = curve([0.02, 0.0185, 0.0185, 0.0185], noise=0.02)
    cut = [replace(race_against([0.0]), overlap_eras=overlap).has_turned_down(slightly) for overlap in (0, 20)]
    assert cut == sorted(cut, reverse=True)


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
    race = race_against([0.0, 0.0], patience=1)
    params = {"n_estimators": 5}
    good = [curve([0.01, 0.03, 0.02, 0.01, 0.0]), curve([0.01, 0.02, 0.03, 0.04, 0.05]), curve([0.02] * 5)]
    found = replay(params, FOLDS, good, race)
    assert (found.stop, found.reached) == (None, (3, 3, found.best + 1))
    bad = [curve([-0.03] * 5), *good[1:]]
    found = replay(params, FOLDS, bad, race)
    assert found.stop is not None
    assert (found.stop.fold, found.stop.reason, len(found.reached)) == (1, Reason.BENCHMARK, 1)


def test_scores_that_are_not_defined_stop_no_curve():
    race = race_against([0.0])
    assert not race.has_turned_down(Curve(*np.full((2, 40, 6), math.nan)))
