"""LightGBM's model text, read against what its Python API says of the same booster."""

from __future__ import annotations

import lightgbm as lgb
import numpy as np
import pandas as pd
import pytest

from signal_miner.models.portable.booster_text import BoosterText


@pytest.mark.parametrize("trees", [1, 3])
@pytest.mark.parametrize("names", [None, ["feature_a", "a b", "c"]])
def test_a_header_is_read(trees: int, names: list[str] | None) -> None:
    values = np.random.default_rng(0).normal(size=(200, 3))
    features = values if names is None else pd.DataFrame(values, columns=names)
    settings = {"objective": "regression", "num_leaves": 4, "verbosity": -1}
    booster = lgb.train(settings, lgb.Dataset(features, values[:, 0]), trees)
    header = BoosterText.parse(booster.model_to_string())
    assert (header.trees, header.outputs) == (booster.num_trees(), booster.num_model_per_iteration())
    assert header.feature_count == booster.num_feature()
    assert list(header.feature_names) == booster.feature_name()
    assert header.named == (names is not None)


def test_several_outputs_are_counted() -> None:
    values = np.random.default_rng(0).normal(size=(200, 3))
    settings = {"objective": "multiclass", "num_class": 3, "num_leaves": 4, "verbosity": -1}
    booster = lgb.train(settings, lgb.Dataset(values, np.arange(200) % 3), 2)
    assert BoosterText.parse(booster.model_to_string()).outputs == 3


@pytest.mark.parametrize("text", ["", "tree", "tree\nversion=v4\n\n", "{}", "forest\nmax_feature_idx=1\n\n"])
def test_another_text_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="not LightGBM's model text"):
        BoosterText.parse(text)
