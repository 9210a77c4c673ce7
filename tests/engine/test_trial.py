"""Our engine against plain LightGBM: the same trees, the same predictions, at every checkpoint."""

from __future__ import annotations

import lightgbm as lgb
import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from signal_miner.data.dataset import open_dataset
from signal_miner.data.folds import WalkForward
from signal_miner.engine.binning import BinnedFolds
from signal_miner.engine.trial import checkpoints, run_trial
from signal_miner.errors import Stopped, UserError
from signal_miner.experiment.parameters import booster_params
from signal_miner.scoring.best_checkpoint import best_checkpoint
from signal_miner.scoring.scorer import Scorer
from tests.conftest import make_frame, write_numerai_directory
from tests.helpers.training import plain_predictions, train

PARAMS = {
    "learning_rate": 0.1,
    "max_depth": 4,
    "num_leaves": 9,
    "colsample_bytree": 0.5,
    "min_child_samples": 5,
    "reg_lambda": 3.0,
    "subsample": 0.7,
    "subsample_freq": 1,
    "n_estimators": 30,
}


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    directory = write_numerai_directory(tmp_path_factory.mktemp("trial") / "numerai", eras=60, rows=60)
    return open_dataset(directory, "all", "target")


@pytest.mark.parametrize("max_bin", [2, 3, 4, 5, 255])
@pytest.mark.parametrize("target", ["target", "target_cyrusd_60"])
@pytest.mark.parametrize("group_bytes", [4000, 2**28])
def test_predictions_are_plain_lightgbms_at_every_checkpoint(dataset, max_bin, target, group_bytes):
    params = PARAMS | {"max_bin": max_bin, "target": target}
    fold = WalkForward(2, 8).folds(dataset.eras)[1]
    binned = BinnedFolds(dataset, ("target", "target_cyrusd_60"), seed=5, group_bytes=group_bytes)
    ours = train(binned, fold, params, seed=5)
    model, unseen = plain_predictions(dataset, fold, params, seed=5)
    for column, trees in enumerate(checkpoints(30)):
        np.testing.assert_array_equal(ours[:, column], model.predict(unseen, num_iteration=trees).astype(np.float32))
    assert np.isnan(dataset.read_target("target_cyrusd_60")).any()
    assert len(np.unique(ours[:, -1])) > 20


@pytest.fixture(scope="module")
def large(tmp_path_factory):
    """Above LightGBM's sample size, with a target that has NaN."""
    path = tmp_path_factory.mktemp("large") / "large.parquet"
    columns = ["era", "feature_00", "feature_01", "feature_02", "target", "target_cyrusd_60"]
    make_frame(range(1, 31), rows=20_000)[columns].to_parquet(path)
    return open_dataset(path, "all", "target")


@pytest.mark.parametrize("max_bin", [3, 5])
def test_a_subset_of_a_large_fold_trains_as_a_rebuild_does(large, max_bin):
    """Above LightGBM's sample size a target with NaN takes a subset where bins allow it, a rebuild where not."""
    fold = WalkForward(2, 2).folds(large.eras)[1]
    params = PARAMS | {"max_bin": max_bin, "target": "target_cyrusd_60", "n_estimators": 5}
    binned = BinnedFolds(large, ("target", "target_cyrusd_60"), seed=1)
    ours = train(binned, fold, params, seed=1)
    model, unseen = plain_predictions(large, fold, params, seed=1)
    np.testing.assert_array_equal(ours[:, -1], model.predict(unseen).astype(np.float32))


def test_features_with_nan_and_floats_train_as_plain_lightgbm_does(tmp_path):
    frame = make_frame(range(1, 41), rows=50)
    frame["feature_03"] = frame["feature_03"].astype("float32").where(frame["feature_03"] != 1)
    frame["feature_04"] = frame["feature_04"] / 4
    frame["feature_05"] = frame["feature_05"].astype("Int8").where(frame["feature_05"] != 2)
    frame["feature_06"] = np.int8(2)
    frame.to_parquet(tmp_path / "odd.parquet")
    dataset = open_dataset(tmp_path / "odd.parquet", "all", "target")
    fold = WalkForward(2, 4).folds(dataset.eras)[0]
    for max_bin in (3, 5):
        params = PARAMS | {"max_bin": max_bin, "target": "target"}
        ours = train(BinnedFolds(dataset, ("target",), seed=2), fold, params, seed=2)
        model, unseen = plain_predictions(dataset, fold, params, seed=2)
        np.testing.assert_array_equal(ours[:, -1], model.predict(unseen).astype(np.float32))


def test_a_booster_holds_every_smaller_one(dataset):
    """The inner predictions, which have no public name, are what `predict` says."""
    fold = WalkForward(2, 8).folds(dataset.eras)[0]
    binned = BinnedFolds(dataset, ("target",), seed=0)
    data = binned.get(fold, 5, "target")
    booster = lgb.Booster(booster_params(PARAMS | {"max_bin": 5}, 0), data.train)
    for _ in range(30):
        booster.update()
    unseen = dataset.read_features(dataset.features, dataset.rows_of(fold.validation_eras)).to_pandas().to_numpy()
    ours = train(binned, fold, PARAMS | {"max_bin": 5, "target": "target"}, seed=0)
    np.testing.assert_array_equal(ours[:, -1], booster.predict(unseen).astype(np.float32))


def test_memory_beyond_the_limit_is_given_back_and_rebuilt(dataset):
    folds = WalkForward(2, 8).folds(dataset.eras)
    small = BinnedFolds(dataset, ("target", "target_cyrusd_60"), seed=0, memory_bytes=1)
    large = BinnedFolds(dataset, ("target", "target_cyrusd_60"), seed=0)
    for fold in (*folds, *folds):
        params = PARAMS | {"max_bin": 5, "target": "target"}
        np.testing.assert_array_equal(train(small, fold, params, 0), train(large, fold, params, 0))
    assert small.get(folds[0], 5, "target") is small.get(folds[0], 5, "target")
    assert large.get(folds[0], 5, "target") is large.get(folds[0], 5, "target")


def test_a_trial_scores_its_own_predictions(dataset):
    folds = WalkForward(3, 8).folds(dataset.eras)
    spans = {fold.number: dataset.rows_of(fold.validation_eras) for fold in folds}
    scorers = {
        number: Scorer(dataset.eras[span], dataset.read_target("target", span), {"flat": np.arange(span.stop)[span]})
        for number, span in spans.items()
    }
    binned = BinnedFolds(dataset, ("target",), seed=0)
    result = run_trial(binned, folds, scorers, PARAMS | {"max_bin": 5, "target": "target"}, seed=0)
    assert result.checkpoints == checkpoints(30)
    validation = np.concatenate([part.curve for part in result.folds[:-1]])
    assert result.best == best_checkpoint(validation)
    for part in result.folds:
        whole = train(binned, part.fold, PARAMS | {"max_bin": 5, "target": "target"}, seed=0)
        np.testing.assert_array_equal(part.predictions, whole[:, [-1, result.best]])
        np.testing.assert_array_equal(part.scores.corr[:, 0], part.curve[:, -1])
        np.testing.assert_array_equal(part.scores.corr[:, 1], part.curve[:, result.best])
    assert result.train_seconds > 0


def test_a_trial_stops_at_the_next_tree_on_request(dataset):
    fold = WalkForward(2, 8).folds(dataset.eras)[0]
    asked = []

    def stop():
        asked.append(None)
        return len(asked) > 7

    with pytest.raises(Stopped):
        train(BinnedFolds(dataset, ("target",), seed=0), fold, PARAMS | {"target": "target"}, 0, should_stop=stop)
    assert len(asked) == 8


def test_a_build_stops_on_request(dataset):
    fold = WalkForward(2, 8).folds(dataset.eras)[0]
    with pytest.raises(Stopped):
        BinnedFolds(dataset, ("target",), seed=0, should_stop=lambda: True).get(fold, 5, "target")


def test_a_target_that_is_nowhere_known_in_a_fold_is_refused(tmp_path):
    frame = make_frame(range(1, 41), rows=20)
    frame.loc[frame["era"] < "0030", "target_cyrusd_60"] = np.nan
    frame.to_parquet(tmp_path / "late.parquet")
    dataset = open_dataset(tmp_path / "late.parquet", "all", "target")
    fold = WalkForward(2, 4).folds(dataset.eras)[0]
    with pytest.raises(UserError, match="'target_cyrusd_60' is known in no training row of fold 1"):
        BinnedFolds(dataset, ("target_cyrusd_60",), seed=0).get(fold, 5, "target_cyrusd_60")


@given(st.integers(1, 3000))
def test_checkpoints_are_about_twenty_and_end_at_the_drawn_number(trees):
    points = checkpoints(trees)
    assert len(points) == min(20, trees)
    assert points[-1] == trees
    assert all(before < after for before, after in zip((0, *points), points, strict=False))


def test_the_best_checkpoint_is_never_one_with_constant_eras_while_another_has_none():
    curve = np.array([[0.5, 0.01, 0.02], [np.nan, 0.03, 0.02], [0.6, 0.02, 0.025]])
    assert best_checkpoint(curve) == 2
    assert best_checkpoint(np.where(curve > 0.1, np.nan, np.nan)) == 2
    unscorable = np.vstack([curve[:, 1:], [np.nan, np.nan]])  # an era of one row
    assert best_checkpoint(unscorable) == best_checkpoint(curve[:, 1:])
    frame = pd.DataFrame(curve[:, 1:])
    assert best_checkpoint(curve[:, 1:]) == (frame.mean() / frame.std(ddof=0)).argmax()
