"""Thresholds with few bins and rare levels, against LightGBM's datasets."""

from __future__ import annotations

import lightgbm as lgb
import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from signal_miner.engine.bitplane.level_groups import kept_thresholds
from signal_miner.experiment.parameters import dataset_params
from tests.helpers.planes import fold_of

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
    # A target that a tree fits only by splitting between all levels: its thresholds are all there are.
    target = np.searchsorted(np.unique(values), values).astype(np.float64) ** 2
    expected = lightgbm_thresholds(values, target, levels, {"max_bin": max_bin})
    occurring = np.flatnonzero(counts)
    assert {int(occurring[occurring <= at].max()) for at in kept} == {
        int(occurring[occurring <= at].max()) for at in expected
    }


def lightgbm_thresholds(values, target, levels, params):
    """Return the levels after which a tree of LightGBM's splits."""
    params = params | {"min_data_in_leaf": 1, "min_sum_hessian_in_leaf": 0, "num_leaves": 40}
    params |= {"feature_pre_filter": False, "verbosity": -1, "num_threads": 1, "objective": "regression"}
    booster = lgb.Booster(params, lgb.Dataset(values[:, None], target, params=params))
    booster.update()
    splits = booster.trees_to_dataframe()["threshold"].dropna()
    return {int(np.searchsorted(levels, threshold, side="right")) - 1 for threshold in splits}


def test_bins_are_found_on_the_rows_that_lightgbm_samples():
    """Where levels are about equally frequent, the sample of 200,000 rows decides which share a bin."""
    values = (np.arange(250_000) % 7).astype(np.int8)
    target = values.astype(np.float32) ** 2
    fold = fold_of(values[:, None], target)
    found = []
    for seed in range(12):
        kept = sorted(fold.thresholds(4, seed).ids.tolist())
        assert set(kept) == lightgbm_thresholds(values, target, list(range(7)), dataset_params(4, seed))
        found.append(tuple(kept))
    assert len(set(found)) > 1
