"""A booster on a table of more features predicts what it predicted on its own."""

from __future__ import annotations

import lightgbm as lgb
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from signal_miner.models.portable.booster_text import BoosterText, on_features

FEATURES = tuple(f"feature_{number}" for number in range(9))


@pytest.fixture(scope="module")
def rows() -> np.ndarray:
    random = np.random.default_rng(3)
    rows = random.integers(0, 5, (400, len(FEATURES))).astype(np.float64)
    rows[random.random(rows.shape) < 0.05] = np.nan
    return rows


@given(
    own=st.lists(st.sampled_from(FEATURES), min_size=1, unique=True),
    others=st.permutations(FEATURES),
    trees=st.integers(1, 12),
    named=st.booleans(),
)
@settings(max_examples=30)
def test_predictions_stay(rows: np.ndarray, own: list[str], others: list[str], trees: int, named: bool) -> None:
    columns = rows[:, [FEATURES.index(name) for name in own]]
    target = np.nansum(columns[:, :2], axis=1) + np.random.default_rng(1).normal(0, 3, len(rows))
    data = lgb.Dataset(columns, target, feature_name=own if named else "auto")
    booster = lgb.train({"verbosity": -1, "num_leaves": 6, "min_data_in_leaf": 5, "num_threads": 1}, data, trees)
    text = booster.model_to_string()
    moved = on_features(text, own, others)
    wide = lgb.Booster(model_str=moved)
    table = rows[:, [FEATURES.index(name) for name in others]]
    np.testing.assert_array_equal(wide.predict(table), booster.predict(columns))
    header = BoosterText.parse(moved)
    assert (header.trees, header.feature_count, header.feature_names) == (booster.num_trees(), 9, tuple(others))
    assert on_features(text, own, own) == text


def test_the_sizes_of_trees_are_lightgbms(rows: np.ndarray) -> None:
    booster = lgb.train({"verbosity": -1, "num_threads": 1}, lgb.Dataset(rows[:, :2], rows[:, 0] % 3 + 1), 12)
    text = booster.model_to_string()
    own = BoosterText.parse(text).feature_names
    sizes = [
        [line for line in each.splitlines() if line.startswith("tree_sizes=")]
        for each in (text, on_features(text, own, (*own, "other")))  # the first features keep their places
    ]
    assert sizes[0] == sizes[1]
