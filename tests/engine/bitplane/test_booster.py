"""Boosters on planes against LightGBM, and against themselves with other batches, blocks and threads."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import lightgbm as lgb
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from signal_miner.engine.bitplane.booster import Booster
from signal_miner.engine.bitplane.tuning import Tuning
from signal_miner.errors import Stopped
from tests.helpers.planes import fold_of

DEFAULTS = {"learning_rate": 0.1, "min_child_samples": 5}

PLAIN = {
    "objective": "regression",
    "verbosity": -1,
    "num_threads": 1,
    "deterministic": True,
    "force_col_wise": True,
    "enable_bundle": False,
    "feature_pre_filter": False,
}


def levels(generator, n_rows, n_features, most=5):
    """Return a matrix of features of 1 to `most` levels."""
    counts = generator.integers(1, most + 1, n_features)
    return np.column_stack([generator.integers(0, count, n_rows) for count in counts]).astype(np.int8)


def signal(generator, matrix):
    """Return targets with an interaction, of five values."""
    raw = matrix[:, 0] + matrix[:, 1] * (matrix[:, 2] > 1) + generator.normal(0, 2, len(matrix))
    return np.clip(np.round((raw - raw.mean()) / raw.std() + 2), 0, 4).astype(np.float32) / 4


def exact(generator, n_rows, n_features):
    """Return features, and integers of mean 3 that differ from it by at most 7: four bits hold these residuals."""
    matrix = levels(generator, n_rows, n_features)
    raw = matrix @ generator.integers(-2, 3, n_features) + generator.integers(-3, 4, n_rows)
    residual = np.clip(raw - round(raw.mean()), -7, 7)
    balance = [7, -7, *[-np.sign(residual.sum()) * 7] * (abs(residual.sum()) // 7)]
    balance.append(-(residual.sum() + sum(balance)))
    more = matrix[generator.integers(0, n_rows, len(balance))]
    return np.vstack([matrix, more]), np.concatenate([residual, balance]) + 3.0


@st.composite
def parameters(draw):
    options = {
        "num_leaves": st.integers(2, 80),
        "max_depth": st.sampled_from([-1, 1, 2, 3, 5, 8]),
        "min_child_samples": st.integers(16, 40),
        "min_child_weight": st.sampled_from([0.0, 1e-3, 5.5, 12.0]),
        "min_split_gain": st.sampled_from([0.0, 0.5, 10.0]),
        "reg_lambda": st.sampled_from([0.0, 1.0, 30.0]),
        "reg_alpha": st.sampled_from([0.0, 2.5, 40.0]),
        "max_delta_step": st.sampled_from([0.0, 0.3, 2.0]),
        "path_smooth": st.sampled_from([0.0, 1.0, 50.0]),
        "learning_rate": st.sampled_from([0.1, 1.0]),
        "max_bin": st.integers(2, 6),
    }
    return draw(st.fixed_dictionaries({}, optional=options))


def nodes(booster, matrix):
    """Return a LightGBM model's first tree: splits and leaves by their numbers, thresholds as the level below."""
    splits, leaves = {}, {}

    def below(node):
        column = matrix[:, node["split_feature"]]
        return column[column <= node["threshold"]].max()

    def visit(node):
        if "leaf_value" in node:
            leaves[node.get("leaf_index", 0)] = (node["leaf_value"], node.get("leaf_count"))
            return
        sides = [
            child.get("split_index", ~child.get("leaf_index", 0)) for child in (node["left_child"], node["right_child"])
        ]
        splits[node["split_index"]] = (
            (node["split_feature"], below(node), *sides, node["internal_count"]),
            (node["split_gain"], node["internal_value"]),
        )
        visit(node["left_child"])
        visit(node["right_child"])

    visit(booster.dump_model()["tree_info"][0]["tree_structure"])
    return splits, leaves


def assert_equal_trees(params, matrix, target):
    fold = fold_of(matrix, target)
    ours = Booster(fold, params, seed=0)
    ours.grow(1)
    theirs = lgb.Booster(PLAIN | params, lgb.Dataset(matrix, target, params=PLAIN | params))
    theirs.update()
    splits, leaves = nodes(lgb.Booster(model_str=ours.model_text()), matrix)
    expected_splits, expected_leaves = nodes(theirs, matrix)
    assert {at: split[0] for at, split in splits.items()} == {at: split[0] for at, split in expected_splits.items()}
    for at, (_, numbers) in splits.items():
        np.testing.assert_allclose(numbers, expected_splits[at][1], rtol=1e-6, atol=1e-5)
    for at, (value, count) in leaves.items():
        np.testing.assert_allclose(value, expected_leaves[at][0], rtol=1e-6, atol=1e-6)
        assert count == expected_leaves[at][1]
    return len(splits)


@settings(max_examples=50)
@given(st.integers(0, 2**32), parameters(), st.integers(1, 12), st.integers(10, 700))
def test_a_first_tree_whose_residuals_four_bits_hold_is_lightgbm_s(seed, params, n_features, n_rows):
    generator = np.random.default_rng(seed)
    assert_equal_trees(params, *exact(generator, n_rows, n_features))


@settings(max_examples=30)
@given(st.integers(0, 2**32), parameters(), st.integers(1, 12), st.integers(5, 200), st.integers(0, 15))
def test_a_first_split_of_few_rows_gains_what_lightgbm_s_gains(seed, params, n_features, n_rows, smallest):
    """LightGBM adds 1e-15 to Hessians, which decides between equal gains where fewer than 16 rows are on a side."""
    matrix, target = exact(np.random.default_rng(seed), n_rows, n_features)
    params |= {"num_leaves": 2, "min_child_samples": smallest}
    ours = Booster(fold_of(matrix, target), params, seed=0)
    ours.grow(1)
    theirs = lgb.Booster(PLAIN | params, lgb.Dataset(matrix, target, params=PLAIN | params))
    theirs.update()
    gains = [
        model.trees_to_dataframe()["split_gain"].dropna().tolist()
        for model in (lgb.Booster(model_str=ours.model_text()), theirs)
    ]
    np.testing.assert_allclose(gains[0], gains[1], rtol=1e-6, atol=1e-5)


def random_fold(seed, n_rows=900, n_features=9):
    """Return a fold with gaps: thinned training rows, unknown targets, validation rows later."""
    generator = np.random.default_rng(seed)
    matrix = levels(generator, n_rows, n_features, most=7)
    target = signal(generator, matrix)
    target[generator.random(n_rows) < 0.1] = np.nan
    train = np.arange(n_rows) < n_rows * 6 // 10
    train &= np.arange(n_rows) // 70 % 3 > 0
    validation = np.arange(n_rows) >= n_rows * 7 // 10
    return matrix, fold_of(matrix, target, train, validation, generator.permutation(n_features)[:-1])


DRAWN = {
    "colsample_bytree": st.sampled_from([0.3, 0.7, 1.0]),
    "colsample_bynode": st.sampled_from([0.3, 0.7, 1.0]),
    "subsample": st.sampled_from([0.3, 0.8]),
    "subsample_freq": st.integers(0, 3),
    "extra_trees": st.booleans(),
    "num_leaves": st.integers(2, 60),
    "min_child_samples": st.integers(1, 10),
    "path_smooth": st.sampled_from([0.0, 5.0]),
}


@settings(max_examples=30)
@given(st.integers(0, 2**32), st.fixed_dictionaries({}, optional=DRAWN))
def test_the_model_text_predicts_what_was_predicted_in_training(seed, params):
    matrix, fold = random_fold(seed)
    booster = Booster(fold, params, seed)
    for trees in (1, 4):
        booster.grow(trees)
        model = lgb.Booster(model_str=booster.model_text())
        predicted = model.predict(matrix[fold.validation_rows + 64 * fold.first][:, fold.columns])
        np.testing.assert_allclose(booster.predictions(), predicted, rtol=0, atol=1e-6)
        assert model.num_trees() == max(1, booster.num_trees)
        assert model.feature_name() == list(fold.names)
    again = lgb.Booster(model_str=model.model_to_string())
    np.testing.assert_array_equal(again.predict(matrix[:, fold.columns]), model.predict(matrix[:, fold.columns]))


@settings(max_examples=20)
@given(
    st.integers(0, 2**32),
    st.fixed_dictionaries({}, optional=DRAWN),
    st.builds(
        Tuning,
        st.integers(1, 40),
        st.sampled_from([2, 20, 100]),
        st.integers(1, 12),
        st.sampled_from([0, 2_000, 10**6]),
        st.sampled_from([2, 30]),
        st.integers(1, 40),
    ),
)
def test_what_decides_speed_decides_no_result(seed, params, tuning):
    _, fold = random_fold(seed)
    boosters = Booster(fold, params, seed), Booster(fold, params, seed, tuning)
    for booster in boosters:
        booster.grow(4)
    assert boosters[0].model_text() == boosters[1].model_text()
    np.testing.assert_array_equal(boosters[0].predictions(), boosters[1].predictions())


def test_threads_that_share_a_fold_train_what_one_trains_alone():
    _, fold = random_fold(5, n_rows=5_000)
    drawn = [DEFAULTS | {"num_leaves": leaves, "subsample": 0.5, "subsample_freq": 1} for leaves in (7, 30, 31, 60)]

    def text(params):
        booster = Booster(fold, params, 2)
        booster.grow(10)
        return booster.model_text()

    alone = [text(params) for params in drawn]
    with ThreadPoolExecutor(4) as threads:
        assert list(threads.map(text, drawn)) == alone


def test_growing_in_steps_grows_the_same_trees():
    _, fold = random_fold(6)
    whole, stepped = Booster(fold, {"subsample": 0.5, "subsample_freq": 2}, 1), None
    whole.grow(6)
    stepped = Booster(fold, {"subsample": 0.5, "subsample_freq": 2}, 1)
    for _ in range(3):
        stepped.grow(2)
    assert stepped.model_text() == whole.model_text()
    other = Booster(fold, {"subsample": 0.5, "subsample_freq": 2}, 2)
    other.grow(6)
    assert other.model_text() != whole.model_text()


def test_a_stop_is_asked_for_before_each_tree():
    _, fold = random_fold(7)
    booster, asked = Booster(fold, {}, 1), iter([False, False, True])
    with pytest.raises(Stopped):
        booster.grow(5, lambda: next(asked))
    assert booster.num_trees == 2


@pytest.mark.parametrize("params", [{"min_child_samples": 10_000}, {"min_split_gain": 1e9}])
def test_without_a_split_the_mean_is_predicted_as_by_lightgbm(params):
    matrix, fold = random_fold(8)
    booster = Booster(fold, params, 1)
    booster.grow(3)
    model = lgb.Booster(model_str=booster.model_text())
    assert booster.num_trees == 0
    assert set(booster.predictions()) == {np.float32(fold.mean)}
    np.testing.assert_allclose(model.predict(matrix[:5, fold.columns]), fold.mean, rtol=1e-12)


def test_constant_features_and_targets_are_no_trouble():
    nothing = np.zeros((100, 3), np.int8)
    for matrix, target in ((nothing, np.arange(100) % 5 / 4), (nothing + np.arange(100)[:, None] % 2, np.ones(100))):
        booster = Booster(fold_of(matrix, target, slice(0, 60), slice(80, 100)), {}, 1)
        booster.grow(2)
        assert booster.num_trees == 0
        np.testing.assert_allclose(booster.predictions(), np.mean(target[:60]), rtol=1e-6)


def test_extra_trees_draw_any_threshold_but_the_highest_as_lightgbm_s_do():
    generator = np.random.default_rng(9)
    matrix = generator.integers(0, 5, (3_000, 4)).astype(np.int8)
    target = generator.normal(size=3_000).astype(np.float32)
    params = {"extra_trees": True, "num_leaves": 20}
    ours = Booster(fold_of(matrix, target), params, 1)
    ours.grow(20)
    theirs = lgb.train(PLAIN | params, lgb.Dataset(matrix, target), 20)
    used = [
        {int(at) for at in np.floor(model.trees_to_dataframe()["threshold"].dropna())}
        for model in (lgb.Booster(model_str=ours.model_text()), theirs)
    ]
    assert used == [{0, 1, 2}, {0, 1, 2}]


def test_features_and_rows_are_drawn_in_lightgbm_s_numbers():
    generator = np.random.default_rng(10)
    matrix = generator.integers(0, 3, (4_000, 25)).astype(np.int8)
    fold = fold_of(matrix, generator.normal(size=4_000))
    for share, expected in ((0.01, 2), (0.1, 3), (0.5, 13)):
        booster = Booster(fold, {"colsample_bytree": share, "num_leaves": 60, "min_child_samples": 1}, 1)
        booster.grow(8)
        trees = lgb.Booster(model_str=booster.model_text()).trees_to_dataframe()
        assert trees.groupby("tree_index")["split_feature"].nunique().max() == expected
        assert trees["split_feature"].nunique() > expected
    booster = Booster(fold, {"subsample": 0.3, "subsample_freq": 2}, 1)
    booster.grow(4)
    counts = lgb.Booster(model_str=booster.model_text()).trees_to_dataframe().query("node_depth == 1")["count"].tolist()
    assert counts[0] == counts[1] != counts[2] == counts[3]
    assert all(abs(count - 1_200) < 150 for count in counts)


def test_boosters_learn_what_lightgbm_learns():
    generator = np.random.default_rng(11)
    matrix = generator.integers(0, 5, (20_000, 12)).astype(np.int8)
    target = signal(generator, matrix)
    params = {"num_leaves": 15, "learning_rate": 0.1, "colsample_bytree": 0.5}
    booster = Booster(fold_of(matrix, target, slice(0, 12_000), slice(12_000, 20_000)), params, 1)
    booster.grow(60)
    theirs = [
        lgb.train(PLAIN | params | {"seed": seed}, lgb.Dataset(matrix[:12_000], target[:12_000]), 60).predict(
            matrix[12_000:]
        )
        for seed in (1, 2)
    ]
    unseen = target[12_000:]
    scores = [np.corrcoef(each, unseen)[0, 1] for each in (booster.predictions(), *theirs)]
    assert abs(scores[0] - scores[1]) < 0.01
    assert np.corrcoef(booster.predictions(), theirs[0])[0, 1] > np.corrcoef(*theirs)[0, 1] - 0.02
