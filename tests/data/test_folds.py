"""Folds: purged by era number whatever the eras, nothing lost but purge and holdout, scikit-learn's protocol."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from sklearn.linear_model import Ridge
from sklearn.model_selection import cross_val_score

from signal_miner.data.folds import PURGE_ERAS, WalkForward, purge_for, thinned
from signal_miner.errors import UserError


@st.composite
def era_sets(draw: st.DrawFn, least: int = 10) -> list[int]:
    """Return at least so many eras that are dense, thinned (every 4th) or full of holes."""
    step = draw(st.sampled_from([1, 4]))
    numbers = range(draw(st.integers(1, 600)), 2000, step)[: draw(st.integers(least + 20, 300))]
    dropped = draw(st.sets(st.sampled_from(list(numbers)), max_size=20))
    return [number for number in numbers if number not in dropped]


@given(
    eras=era_sets(),
    count=st.integers(1, 6),
    horizon=st.sampled_from(sorted(PURGE_ERAS)),
    holdout=st.integers(0, 30),
)
def test_every_fold_is_purged_and_nothing_else_is_lost(eras, count, horizon, holdout):
    purge = purge_for(horizon)
    splitter = WalkForward(count, purge, holdout)
    try:
        folds = splitter.folds(eras)
    except UserError:
        assume(False)
    held_out = splitter.holdout(eras)
    assert len(folds) == count
    for fold in folds:
        assert min(fold.validation_eras) - max(fold.train_eras) > purge
        assert not set(fold.train_eras) & set(fold.validation_eras)
        purged = {era for era in eras if min(fold.validation_eras) - purge <= era < min(fold.validation_eras)}
        later = {era for era in eras if era > max(fold.validation_eras)}
        assert set(fold.train_eras) | purged | set(fold.validation_eras) | later == set(eras)
        assert not set(held_out) & {*fold.train_eras, *fold.validation_eras}
    validation = [era for fold in folds for era in fold.validation_eras]
    assert validation == sorted(set(validation))
    assert len({len(fold.validation_eras) for fold in folds}) == 1
    gap = {era for era in eras if held_out and held_out[0] - purge <= era < held_out[0]}
    assert set(eras) - {era for era in eras if era < validation[0]} == set(validation) | gap | set(held_out)
    if held_out:
        assert len(held_out) == holdout
        assert min(held_out) - max(validation) > purge


@given(
    eras=era_sets(),
    count=st.integers(1, 6),
    purge=st.sampled_from(sorted(PURGE_ERAS.values())),
    holdout=st.integers(0, 30),
    step=st.integers(1, 12),
)
def test_thinning_keeps_every_kth_training_era_by_number_and_all_that_are_predicted(eras, count, purge, holdout, step):
    try:
        whole = WalkForward(count, purge, holdout).folds(eras)
    except UserError:
        assume(False)
    left = [thinned(fold.train_eras, step) for fold in whole]
    splitter = WalkForward(count, purge, holdout, train_era_step=step)
    if any(len(kept) == 1 < len(fold.train_eras) for kept, fold in zip(left, whole, strict=True)):
        with pytest.raises(
            UserError, match=rf"train_era_step = {step} leaves fold \d 1 of \d+ eras to train on; lower"
        ):
            splitter.folds(eras)
        return
    thin = splitter.folds(eras)
    for full, fold in zip(whole, thin, strict=True):
        assert fold.validation_eras == full.validation_eras
        newest = full.train_eras[-1]
        assert fold.train_eras == tuple(era for era in full.train_eras if (newest - era) % step == 0)
        assert fold.train_eras[-1] == newest
        assert min(fold.validation_eras) - max(fold.train_eras) > purge
    if step == 1:
        assert thin == whole


def test_thinned_training_eras_are_counted_back_by_number_over_holes():
    eras = [1, 2, 3, 4, 5, 6, 7, 9, 10, 11, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29]
    (fold,) = WalkForward(1, purge_eras=8, train_era_step=4).folds(eras)
    assert fold.validation_eras == tuple(range(20, 30))
    assert fold.train_eras == (3, 7, 11)  # by position it were (2, 6, 11)


@given(eras=era_sets(least=18), data=st.data())  # of fewer, a purge of 4 may leave none to train on
def test_split_yields_the_rows_of_the_folds_in_any_row_order(eras, data):
    rows = np.array(data.draw(st.permutations(eras * 2)))
    splitter = WalkForward(2, purge_eras=4)
    for fold, (train, validation) in zip(splitter.folds(eras), splitter.split(None, groups=rows), strict=True):
        assert sorted(rows[train]) == sorted(fold.train_eras * 2)
        assert sorted(rows[validation]) == sorted(fold.validation_eras * 2)


def test_two_folds_of_a_hundred_eras_are_the_originals_less_the_purge():
    validation, test = WalkForward(2, purge_eras=12).folds(range(1, 101))
    assert validation.train_eras == tuple(range(1, 23))
    assert validation.validation_eras == tuple(range(35, 68))
    assert test.train_eras == tuple(range(1, 56))
    assert test.validation_eras == tuple(range(68, 101))


def test_scikit_learn_takes_the_splitter():
    generator = np.random.default_rng(0)
    eras = np.repeat([f"{era:04d}" for era in range(1, 61)], 20)
    features = generator.normal(size=(len(eras), 3))
    target = features[:, 0] + generator.normal(size=len(eras))
    splitter = WalkForward(3, purge_eras=8)
    scores = cross_val_score(Ridge(), features, target, groups=eras, cv=splitter)
    assert len(scores) == splitter.get_n_splits(features, target, eras) == 3
    assert (scores > 0.2).all()


@pytest.mark.parametrize(
    ("splitter", "eras", "message"),
    [
        (lambda: WalkForward(0), [], "n_splits = 0 is below 1"),
        (lambda: WalkForward(2, -1), [], "purge_eras = -1 is below 0"),
        (lambda: WalkForward(2, train_era_step=0), [], "train_era_step = 0 is below 1"),
        (lambda: WalkForward(2, 16), range(1, 40), "fold 1 has no eras to train on: its validation starts at era 14"),
        (lambda: WalkForward(9, 0), range(1, 6), "5 eras are too few for 9 folds; lower"),
        (lambda: WalkForward(2, 0, 50), range(1, 40), "holdout_eras = 50 leaves nothing of 39 eras"),
        (lambda: WalkForward(2), ["monday"], "'monday' is not an era label"),
    ],
)
def test_impossible_folds_are_refused_with_the_repair(splitter, eras, message):
    with pytest.raises(UserError, match=message):
        splitter().folds(eras)


def test_split_without_eras_says_how_to_give_them():
    with pytest.raises(UserError, match=r"split\(X, y, groups=eras\)"):
        next(WalkForward().split([[1]]))


def test_a_horizon_that_no_target_has_is_refused():
    with pytest.raises(UserError, match=r"horizon_days = 30 .* use 20 or 60"):
        purge_for(30)
