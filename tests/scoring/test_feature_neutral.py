"""Features taken out of predictions: equal to `numerai_tools`, whatever the size of the column groups."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numerai_tools import scoring as oracle

from signal_miner.scoring.feature_neutral import feature_neutral, neutral_bytes


@st.composite
def eras(draw):
    """Return features of an era, some of which depend on others or are constant, and predictions."""
    generator = np.random.default_rng(draw(st.integers(0, 2**32)))
    n_rows, n_features = draw(st.integers(30, 80)), draw(st.integers(1, 24))
    features = generator.integers(0, 5, (n_rows, n_features)).astype(draw(st.sampled_from(["i1", "f4", "f8"])))
    for column in range(n_features):
        kind = draw(st.sampled_from(["own", "own", "constant", "copy", "near copy", "mirrored", "scaled", "missing"]))
        earlier = features[:, draw(st.integers(0, max(0, column - 1)))]
        if kind == "constant":
            features[:, column] = 2
        elif kind != "own" and column and kind not in ("scaled", "missing"):
            features[:, column] = 4 - earlier if kind == "mirrored" else earlier
            if kind == "near copy":
                features[0, column] += 1
        elif kind == "scaled" and features.dtype.kind == "f":
            features[:, column] = features[:, column] / 3 + 7
        elif kind == "missing" and features.dtype.kind == "f":
            features[generator.random(n_rows) < draw(st.sampled_from([0.1, 1.0])), column] = np.nan
    columns = generator.standard_normal((n_rows, draw(st.integers(1, 3))))
    return features, columns + draw(st.sampled_from([0, 1])) * np.nan_to_num(features[:, :1].astype(float))


def filled(features):
    frame = pd.DataFrame(features.astype(float))
    return frame.fillna(frame.mean()).fillna(0.0)


@settings(max_examples=50, deadline=None)
@given(eras(), st.integers(1, 30))
def test_it_is_numerais_in_groups_of_any_size(era, group):
    features, columns = era
    neutral, exposure = feature_neutral(features, columns, group)
    frame = pd.DataFrame(columns)
    expected = oracle.neutralize(frame, filled(features)).to_numpy()
    np.testing.assert_allclose(neutral, expected, rtol=0, atol=1e-9)
    varying = filled(features).loc[:, lambda each: each.std() > 1e-9]
    largest = [oracle.max_feature_correlation(frame[name], varying)[1] if varying.size else 0.0 for name in frame]
    np.testing.assert_allclose(exposure, largest, rtol=0, atol=1e-9)


def test_nothing_is_left_where_features_explain_all():
    generator = np.random.default_rng(0)
    features, columns = generator.integers(0, 5, (40, 60), dtype=np.int8), generator.standard_normal((40, 2))
    neutral, exposure = feature_neutral(features, columns, 7)
    assert not neutral.any()
    assert (exposure > 0.2).all()
    neutral, _ = feature_neutral(features[:, :20], features[:, [0]] * 2.0 - features[:, [1]])
    assert not neutral.any()


def test_without_anything_that_varies_only_the_mean_is_taken_out():
    columns = np.column_stack([np.arange(5.0), np.full(5, 3.0)])
    for features in (
        np.empty((5, 0)),
        np.full((5, 3), -128, dtype=np.int8),
        np.full((5, 2), 0.1),
        np.full((5, 1), np.nan),
    ):
        neutral, exposure = feature_neutral(features, columns)
        np.testing.assert_allclose(neutral, columns - columns.mean(axis=0), atol=1e-15)
        assert not exposure.any()


@pytest.mark.parametrize(("n_rows", "n_features"), [(1500, 700), (300, 1200)])
def test_it_holds_no_more_than_it_says(n_rows, n_features):
    generator = np.random.default_rng(0)
    features = np.asfortranarray(generator.integers(0, 5, (n_rows, n_features), dtype=np.int8))
    columns = generator.standard_normal((n_rows, 11))
    tracemalloc.start()
    try:
        feature_neutral(features, columns)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert 0.5 * neutral_bytes(n_rows, n_features) < peak < 1.1 * neutral_bytes(n_rows, n_features)
