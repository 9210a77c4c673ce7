"""Trees whose splits are chosen by era: against the paper's formulas, against pooled trees, and at the edges."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import lightgbm as lgb
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.era_splits import accuracies, memorisation
from signal_miner.engine.bitplane.booster import Booster
from signal_miner.engine.bitplane.environments import environments_of
from signal_miner.engine.bitplane.era_kernels import (
    count_environments,
    count_in,
    exponential,
    sum_environments,
    sum_in,
)
from signal_miner.engine.bitplane.kernels import BLOCK
from tests.helpers.era_trees import grown
from tests.helpers.planes import fold_of, store_of

CRITERIA = ("era", "directional")


def exact(generator, n_rows, n_features, eras):
    """Return features, integers from -7 to 7 of mean 0, which four bits hold, and eras in order.

    Each era has relations of its own besides those of all.
    """
    counts = generator.integers(1, 6, n_features)
    matrix = np.column_stack([generator.integers(0, count, n_rows) for count in counts]).astype(np.int8)
    own = generator.integers(-1, 2, (eras.max() + 1, n_features))[eras]
    raw = (matrix * (own + generator.integers(-1, 2, n_features))).sum(axis=1) + generator.integers(-3, 4, n_rows)
    residual = np.clip(raw - round(raw.mean()), -7, 7)
    balance = [7, -7, *[-np.sign(residual.sum()) * 7] * (abs(residual.sum()) // 7)]
    balance.append(-(residual.sum() + sum(balance)))
    more = generator.integers(0, n_rows, len(balance))
    order = np.argsort(np.concatenate([eras, eras[more]]), kind="stable")
    merged = np.vstack([matrix, matrix[more]])[order], np.concatenate([residual, balance])[order]
    return *merged, np.concatenate([eras, eras[more]])[order]


def apart(generator, matrix, residual, eras):
    """Return a fold of these rows with others between them: unknown targets, eras that are left out, validation."""
    n_rows = len(matrix)
    kinds = generator.choice(["train", "unknown", "out"], n_rows + n_rows // 3, p=[0.6, 0.2, 0.2])
    kinds = np.concatenate([kinds, np.full(n_rows, "train")])
    kinds = kinds[: np.flatnonzero(np.cumsum(kinds == "train") == n_rows)[0] + 1]
    before = np.cumsum(kinds == "train") - (kinds == "train")
    place = np.minimum(before, n_rows - 1)
    wide = matrix[place]
    target = np.where(kinds == "train", residual[place] + 3.0, np.where(kinds == "out", 50.0, np.nan))
    return fold_of(wide, target, np.isin(kinds, ["train", "unknown"]), kinds == "out", eras=eras[place])


PARAMETERS = {
    "boltzmann_alpha": st.sampled_from([0.0, -0.01, -0.5, -30.0, 0.02, 5.0]),
    "min_direction_agreement": st.sampled_from([0.0, 0.2, 0.5, 1.0]),
    "allow_degenerate_splits": st.booleans(),
    "num_leaves": st.integers(2, 12),
    "max_depth": st.sampled_from([-1, 1, 2, 3]),
    "min_child_samples": st.integers(0, 30),
    "min_child_weight": st.sampled_from([0.0, 1e-3, 12.0]),
    "min_split_gain": st.sampled_from([0.0, 0.5, 10.0]),
    "reg_lambda": st.sampled_from([0.0, 1.0, 30.0]),
    "reg_alpha": st.sampled_from([0.0, 2.5, 40.0]),
    "max_delta_step": st.sampled_from([0.0, 0.3, 2.0]),
    "path_smooth": st.sampled_from([0.0, 1.0, 50.0]),
}


@settings(max_examples=60)
@given(
    st.integers(0, 2**32),
    st.fixed_dictionaries({"split_criterion": st.sampled_from(CRITERIA)}, optional=PARAMETERS),
    st.integers(1, 5),
    st.integers(10, 250),
    st.integers(1, 9),
    st.sampled_from([1, 1, 2, 3, 100]),
)
def test_a_tree_is_the_one_that_the_papers_formulas_grow(seed, params, n_features, n_rows, n_eras, era_block):
    generator = np.random.default_rng(seed)
    eras = np.sort(generator.choice(generator.integers(0, 12, n_eras), n_rows))
    matrix, residual, eras = exact(generator, n_rows, n_features, eras)
    fold = apart(generator, matrix, residual, eras)
    columns = fold.thresholds(255, 0)
    per_column = np.repeat(columns.features, np.diff(columns.starts))
    candidates = [
        (int(feature), fold.store.levels[feature][id_ - fold.store.offsets[feature]])
        for feature, id_ in zip(per_column, columns.ids, strict=True)
    ]
    blocks = (eras - eras[0]) // era_block
    environments = np.unique(blocks, return_inverse=True)[1]
    splits, leaves = grown(matrix, residual.astype(float), environments, candidates, params)
    booster = Booster(fold, params | {"era_block": era_block, "learning_rate": 1.0}, 0)
    booster.grow(1)
    if not splits:
        assert booster.num_trees == 0
        return
    (tree,) = lgb.Booster(model_str=booster.model_text()).dump_model()["tree_info"]
    found = {}

    def visit(node, rows):
        if "split_index" not in node:
            leaf = leaves[node["leaf_index"]]
            np.testing.assert_array_equal(rows, leaf.rows)
            np.testing.assert_allclose(node["leaf_value"], leaf.value + 3.0, rtol=1e-6, atol=1e-6)
            return
        right = matrix[rows, node["split_feature"]] > node["threshold"]
        found[node["split_index"]] = node["split_feature"], node["split_gain"], rows[~right], rows[right]
        visit(node["left_child"], rows[~right])
        visit(node["right_child"], rows[right])

    visit(tree["tree_structure"], np.arange(len(matrix)))
    assert len(found) == len(splits)
    for number, (feature, _, gain, *sides) in enumerate(splits):
        assert found[number][0] == feature
        np.testing.assert_allclose(found[number][1], gain, rtol=1e-6, atol=1e-6)
        for expected, rows in zip(sides, found[number][2:], strict=True):
            np.testing.assert_array_equal(rows, expected)


def drifting(seed, n_eras=12, n_rows=90, n_features=8):
    """Return a fold whose first feature has the same relation in all eras, and the others one that changes sign."""
    generator = np.random.default_rng(seed)
    sizes = generator.integers(n_rows // 2, n_rows, n_eras)
    eras = np.repeat(np.arange(1, n_eras + 1), sizes)
    matrix = generator.integers(0, 5, (len(eras), n_features)).astype(np.int8)
    relations = generator.choice([-1.0, 1.0, 1.0], (n_eras + 1, n_features))
    relations[:, 0] = 0.5
    target = (matrix * relations[eras]).sum(axis=1) + generator.normal(0, 2, len(eras))
    train = eras <= n_eras * 2 // 3
    return matrix, fold_of(matrix, target, train, eras > n_eras * 2 // 3 + 1, eras=eras)


def text(fold, params, trees=5, seed=1):
    booster = Booster(fold, params, seed)
    booster.grow(trees)
    return booster.model_text()


@pytest.mark.parametrize("criterion", CRITERIA)
@pytest.mark.parametrize(
    "params",
    [
        {},
        {"num_leaves": 8, "subsample": 0.5, "subsample_freq": 1, "boltzmann_alpha": -3.0},
        {"colsample_bynode": 0.4, "colsample_bytree": 0.6},
        {"path_smooth": 5.0, "reg_alpha": 1.0, "reg_lambda": 3.0, "num_leaves": 6},
    ],
)
def test_over_one_environment_splits_are_the_pooled_ones(criterion, params):
    _, fold = drifting(3)
    by_era = params | {"split_criterion": criterion, "era_block": 1000, "min_direction_agreement": 1.0}
    ours, pooled = (lgb.Booster(model_str=text(fold, each)).trees_to_dataframe() for each in (by_era, params))
    pd.testing.assert_frame_equal(ours, pooled, rtol=1e-9)


def test_a_tree_splits_what_points_the_same_way_in_all_eras():
    def used(**params):
        dumped = lgb.Booster(model_str=text(drifting(4)[1], params | {"num_leaves": 3}, 1)).dump_model()
        return dumped["tree_info"][0]["tree_structure"]["split_feature"]

    assert used() != 0
    assert used(split_criterion="directional") == 0
    assert used(split_criterion="era", min_direction_agreement=1.0) == 0


@pytest.mark.slow
def test_what_every_era_tells_anew_is_not_memorised():
    fold = memorisation(1)
    pooled, *by_era = (
        accuracies(fold, params, 60) for params in ({}, {"split_criterion": "era"}, {"split_criterion": "directional"})
    )
    assert pooled[0] > 0.99
    assert pooled[1] < 0.65
    assert min(test for _, test in by_era) > 0.95


DRAWN = {
    "era_block": st.integers(1, 9),
    "boltzmann_alpha": st.sampled_from([0.0, -1.0, 0.3]),
    "min_direction_agreement": st.sampled_from([0.0, 0.5]),
    "allow_degenerate_splits": st.booleans(),
    "colsample_bytree": st.sampled_from([0.3, 1.0]),
    "colsample_bynode": st.sampled_from([0.3, 1.0]),
    "subsample": st.sampled_from([0.1, 0.8]),
    "subsample_freq": st.integers(0, 3),
    "extra_trees": st.booleans(),
    "num_leaves": st.integers(2, 40),
    "min_child_samples": st.integers(1, 10),
}


@settings(max_examples=25)
@given(st.integers(0, 99), st.sampled_from(CRITERIA), st.fixed_dictionaries({}, optional=DRAWN))
def test_the_model_text_predicts_what_was_predicted_in_training(seed, criterion, params):
    matrix, fold = drifting(seed)
    booster = Booster(fold, params | {"split_criterion": criterion}, seed)
    booster.grow(3)
    booster.grow(2)
    model = lgb.Booster(model_str=booster.model_text())
    predicted = model.predict(matrix[fold.validation_rows + 64 * fold.first])
    np.testing.assert_allclose(booster.predictions(), predicted, rtol=0, atol=1e-6)
    assert booster.model_text() == text(fold, params | {"split_criterion": criterion}, 5, seed)


def test_threads_that_share_a_fold_train_what_one_trains_alone():
    _, fold = drifting(5, n_rows=900)
    drawn = [{"split_criterion": kind, "era_block": block} for kind in ("pooled", *CRITERIA) for block in (1, 3)]
    alone = [text(fold, params) for params in drawn]
    assert len(set(alone)) == 5
    _, fold = drifting(5, n_rows=900)
    with ThreadPoolExecutor(4) as threads:
        assert list(threads.map(lambda params: text(fold, params), drawn)) == alone


@pytest.mark.parametrize(
    "params",
    [
        {"split_criterion": "directional", "min_direction_agreement": 1.0},
        {"split_criterion": "era", "min_direction_agreement": 1.0},
        {"split_criterion": "era", "era_block": 1, "min_split_gain": 1e9},
    ],
)
def test_where_no_split_agrees_the_mean_is_predicted(params):
    generator = np.random.default_rng(6)
    eras = np.repeat(np.arange(40), 30)
    matrix = generator.integers(0, 2, (1_200, 3)).astype(np.int8)
    target = np.where(eras % 2, 1, -1) * matrix.sum(axis=1)
    fold = fold_of(matrix, target, slice(0, 900), slice(1000, 1200), eras=eras)
    booster = Booster(fold, params, 1)
    booster.grow(2)
    assert booster.num_trees == 0
    assert set(booster.predictions()) == {np.float32(fold.mean)}


def test_a_level_that_one_era_lacks_is_split_off_only_where_degenerate_splits_are_allowed():
    eras = np.repeat([1, 2, 3], 60)
    matrix = (np.arange(180) % 2 * (eras < 3)).astype(np.int8)[:, None]
    fold = fold_of(matrix, matrix[:, 0] * 1.0, eras=eras)
    for criterion in CRITERIA:
        params = {"split_criterion": criterion}
        assert "num_leaves=2" not in text(fold, params, 1)
        assert "num_leaves=2" in text(fold, params | {"allow_degenerate_splits": True}, 1)
        one_of_three = params | {"allow_degenerate_splits": True, "min_direction_agreement": 0.7}
        assert "num_leaves=2" not in text(fold, one_of_three, 1)  # two of three eras have a direction
        assert "num_leaves=2" in text(fold, params | {"era_block": 3}, 1)


def test_twelve_hundred_environments_of_a_few_rows():
    generator = np.random.default_rng(7)
    eras = np.repeat(np.arange(1_200), 30)
    matrix = generator.integers(0, 2, (len(eras), 20)).astype(np.int8)
    target = matrix[:, 0] + generator.normal(0, 1, len(eras))
    booster = Booster(fold_of(matrix, target, eras=eras), {"split_criterion": "directional", "num_leaves": 31}, 1)
    booster.grow(2)
    model = lgb.Booster(model_str=booster.model_text())
    assert model.trees_to_dataframe()["split_feature"].iloc[0] == "feature_0"


@settings(max_examples=60)
@given(st.integers(0, 2**32), st.integers(1, 40), st.integers(1, 12))
def test_segments_hold_each_training_row_once(seed, n_eras, era_block):
    generator = np.random.default_rng(seed)
    sizes = np.where(generator.random(n_eras) < 0.2, 70_000, generator.integers(1, 3_000, n_eras))
    numbers = np.cumsum(generator.integers(1, 4, n_eras))
    eras = np.repeat(numbers, sizes)
    rows = np.flatnonzero(np.repeat(generator.random(n_eras) < 0.7, sizes) & (generator.random(len(eras)) < 0.9))
    n_words = -(-len(eras) // 512) * 8
    environments = environments_of(rows, eras[rows], era_block, n_words)
    found = np.full(len(eras), -1)
    for environment, word, vectors, low, high in environments.segments:
        assert 0 <= word <= low // 64
        assert (high - 1) // 64 < word + 8 * vectors <= n_words
        assert (found[low:high] < 0).all()
        found[low:high] = environment
    if len(rows):
        expected = np.unique((eras[rows] - eras[rows[0]]) // era_block, return_inverse=True)[1]
        np.testing.assert_array_equal(found[rows], expected)
        assert environments.n_environments == expected.max() + 1
    words = environments.segments[:, 2] * 8
    for begin, end in zip(environments.blocks, environments.blocks[1:], strict=False):
        assert words[begin:end].sum() <= BLOCK
    assert environments.blocks[-1] == len(environments.segments)


def test_counts_of_many_and_long_segments_are_numpys():
    generator = np.random.default_rng(8)
    eras = np.repeat(np.arange(9), [70_001, 3, 200, 64, 5_000, 90_000, 1, 777, 63])
    matrix = generator.integers(0, 3, (len(eras), 5)).astype(np.int8)
    store = store_of(matrix)
    bag = generator.random(len(eras)) < 0.6
    rounded = np.where(bag, generator.integers(-8, 8, len(eras)), 0)
    environments = environments_of(np.flatnonzero(bag), eras[bag], 1, store.planes.shape[1])
    bits = np.stack([store.mask((rounded & (1 << bit)) != 0) for bit in range(4)] + [store.mask(bag)])
    inside = generator.random(len(eras)) < 0.5
    ids = np.append(np.arange(10), np.full(6, 9))
    planes = store.planes.view()
    planes.flags.writeable = False
    sums = np.full((environments.n_environments, 16), 99)
    masked = np.empty((5, BLOCK), np.uint64)
    count_environments(planes, ids, 0, environments, bits, store.mask(inside), masked, sums)
    whole = np.empty(len(sums), np.int64)
    sum_environments(0, environments, bits, whole)
    for place, era in enumerate(np.unique(eras[bag])):
        here = bag & (eras == era)
        assert (sum_in(whole[place]), count_in(whole[place])) == (rounded[here].sum(), here.sum())
        for column in range(10):
            right = here & inside & (matrix[:, column // 2] > column % 2)
            packed = sums[place, column]
            assert (sum_in(packed), count_in(packed)) == (rounded[right].sum(), right.sum())


def test_the_exponential_is_numpys():
    numbers = np.concatenate([-np.logspace(-20, np.log10(699), 3_000), [0.0]])
    np.testing.assert_allclose([exponential(x) for x in numbers], np.exp(numbers), rtol=5e-16)
    assert 0 < exponential(-np.inf) == exponential(-1e300) < 1e-300
