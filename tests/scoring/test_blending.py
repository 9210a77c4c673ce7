"""Blends, neutralised or not, are Numerai's, and the travelling code blends the same."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numerai_tools import scoring as oracle

from signal_miner.models.portable.predict_source import BLEND_DECIMALS, blend_era
from signal_miner.scoring import blending
from signal_miner.scoring.blending import filled_features, gaussianised, mean_correlations, neutralized, uniform_ranks
from signal_miner.scoring.series import era_slices


def random_predictions(seed: int, rows: int = 60, models: int = 3, levels: int = 0):
    """Return eras, predictions (with ties if there are levels), weights and neutralizers."""
    generator = np.random.default_rng(seed)
    eras = np.sort(generator.integers(1, 5, rows))
    predictions = generator.normal(size=(rows, models)).astype(np.float32)
    if levels:
        predictions = np.floor(predictions * levels) / np.float32(levels)
    weights = generator.random(models) + 0.1
    return eras, predictions, weights / weights.sum(), generator.normal(size=(rows, 2))


@given(st.integers(0, 10_000), st.integers(1, 200), st.integers(1, 4), st.sampled_from([0, 1, 3]))
def test_gaussianised_and_uniform_ranks_are_numerais(seed, rows, models, levels):
    eras, predictions, _, _ = random_predictions(seed, rows, models, levels)
    frame = pd.DataFrame(predictions.astype(np.float64))
    expected = np.vstack([oracle.gaussian(oracle.tie_kept_rank(part)) for _, part in frame.groupby(eras)])
    assert gaussianised(eras, predictions) == pytest.approx(expected, abs=1e-12)
    ranks = np.concatenate([oracle.tie_kept_rank(part[[0]])[0] for _, part in frame.groupby(eras)])
    blend = uniform_ranks(eras, predictions[:, 0].astype(np.float64))
    assert blend == pytest.approx(ranks, abs=1e-12)
    assert ((blend > 0) & (blend < 1)).all()


@given(st.integers(0, 10_000), st.sampled_from([0.0, 0.5, 1.0]))
def test_neutralising_is_numerais(seed, proportion):
    eras, predictions, _, exposures = random_predictions(seed, rows=80)
    columns = gaussianised(eras, predictions)
    neutral = neutralized(eras, columns, lambda rows: exposures[rows], proportion)
    for rows in era_slices(eras):
        if rows.stop - rows.start < 4:  # numerai_tools makes NaN of a column without spread
            continue
        expected = oracle.neutralize(pd.DataFrame(columns[rows]), pd.DataFrame(exposures[rows]), proportion)
        assert neutral[rows] == pytest.approx(expected.to_numpy(), abs=1e-9)


@given(st.integers(0, 10_000), st.booleans(), st.sampled_from([0, 2]))
def test_the_travelling_code_blends_the_same(seed, neutralise, levels):
    eras, predictions, weights, exposures = random_predictions(seed, rows=70, levels=levels)
    blend = (gaussianised(eras, predictions) @ weights)[:, np.newaxis]
    if neutralise:
        blend = neutralized(eras, blend, lambda rows: exposures[rows], 0.7)
    ours = uniform_ranks(eras, blend[:, 0])
    for rows in era_slices(eras):
        other = exposures[rows] if neutralise else None
        theirs = blend_era(predictions[rows], weights, other, 0.7)
        assert ours[rows] == pytest.approx(theirs, abs=1e-12)


def test_both_round_alike():
    assert blending.BLEND_DECIMALS == BLEND_DECIMALS


def test_rows_without_a_prediction_lie_in_the_middle_and_move_nobody():
    eras = np.array([1] * 5 + [2] * 3)
    values = np.array([[3.0], [np.nan], [1.0], [2.0], [np.nan], [np.nan], [np.nan], [np.nan]])
    ranked = gaussianised(eras, values)
    assert ranked[[0, 2, 3], 0] == pytest.approx(
        gaussianised(np.array([1, 1, 1]), np.array([[3.0], [1.0], [2.0]]))[:, 0]
    )
    assert (ranked[[1, 4, 5, 6, 7], 0] == 0).all()


def test_correlations_are_means_over_eras():
    eras, predictions, _, _ = random_predictions(3, rows=200, models=4)
    columns = gaussianised(eras, predictions)
    expected = np.mean([np.corrcoef(columns[rows].T) for rows in era_slices(eras)], axis=0)
    assert mean_correlations(eras, columns) == pytest.approx(expected, abs=1e-12)


def test_a_constant_era_does_not_count():
    eras = np.repeat([1, 2], 10)
    columns = np.random.default_rng(0).normal(size=(20, 2))
    columns[:10, 0] = 0.0
    correlation = mean_correlations(eras, columns)[0, 1]
    assert correlation == pytest.approx(np.corrcoef(columns[10:].T)[0, 1])


def test_missing_features_become_the_eras_mean():
    values = np.array([[1.0, np.nan, np.nan], [3.0, 4.0, np.nan]])
    assert filled_features(values).tolist() == [[1.0, 4.0, 0.0], [3.0, 4.0, 0.0]]
