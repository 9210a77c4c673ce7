"""Thresholds with few bins and rare levels, against LightGBM's datasets."""

from __future__ import annotations

import lightgbm as lgb
import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from signal_miner.engine.bitplane.level_groups import kept_thresholds

LEVELS = st.one_of(
    st.integers(2, 12).map(lambda count: [float(level) for level in range(count)]),
    st.lists(st.integers(-8, 8).map(lambda level: level / 4), min_size=2, max_size=12, unique=True).map(sorted),
)


@settings(max_examples=150)
@given(st.data(), LEVELS, st.integers(2, 13))
def test_the_same_thresholds_as_lightgbm_s(data, levels, max_bin):
    counts = data.draw(st.lists(st.integers(0, 40), min_size=len(levels), max_size=len(levels)))
    values = np.repeat(levels, counts)
    if len(np.unique(values)) < 2:
        return
    kept = kept_thresholds(levels, counts, max_bin)
    assert len(kept) + 1 <= max_bin
    # A target that a tree can only fit by splitting between all levels: its thresholds are all there are.
    target = np.searchsorted(np.unique(values), values).astype(np.float64) ** 2
    params = {"max_bin": max_bin, "min_data_in_leaf": 1, "min_sum_hessian_in_leaf": 0, "num_leaves": 40}
    params |= {"feature_pre_filter": False, "verbosity": -1, "num_threads": 1, "objective": "regression"}
    booster = lgb.Booster(params, lgb.Dataset(values[:, None], target, params=params))
    booster.update()
    splits = booster.trees_to_dataframe()["threshold"].dropna()
    expected = {int(np.searchsorted(levels, threshold, side="right")) - 1 for threshold in splits}
    occurring = np.flatnonzero(counts)
    assert {int(occurring[occurring <= at].max()) for at in kept} == {
        int(occurring[occurring <= at].max()) for at in expected
    }
