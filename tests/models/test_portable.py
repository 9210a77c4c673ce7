"""The function in ``predict.pkl``: what it predicts, and which live data it refuses."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import lightgbm as lgb
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numerai_tools import scoring as oracle

from signal_miner.ensemble.members import FEATURES, OWN_BENCHMARK
from signal_miner.models.portable import PortableModel
from signal_miner.models.portable.predict_source import BLEND_DECIMALS, blend_era, filled_features
from tests.helpers.portable import (
    COLUMN,
    EVERY_WAY,
    NAMES,
    NULLABLE,
    benchmark_frame,
    booster_text,
    live_frame,
    loaded,
    portable_model,
)


def gaussian_ranks(predictions: pd.DataFrame) -> pd.DataFrame:
    """Numerai's own, whose functions want a sorted index."""
    ranked = oracle.gaussian(oracle.tie_kept_rank(predictions.reset_index(drop=True)))
    return ranked.set_axis(predictions.index, axis=0)


def blended(
    predictions: pd.DataFrame, weights: Any, neutralizers: pd.DataFrame | None = None, proportion: float = 0.0
) -> pd.Series:
    """Return the blend of one era by Numerai's own functions."""
    blend = (gaussian_ranks(predictions) * np.asarray(weights)).sum(axis=1).to_frame()
    if neutralizers is not None:
        blend = oracle.neutralize(blend, neutralizers, proportion).fillna(0.0)  # NaN where the blend is constant
    rounded = blend[0].round(BLEND_DECIMALS).reset_index(drop=True)
    return oracle.tie_kept_rank(rounded).set_axis(predictions.index)


def booster_predictions(text: str, frame: pd.DataFrame) -> np.ndarray:
    return lgb.Booster(model_str=text).predict(frame[list(NAMES)]).astype(np.float32)


def expected(model: PortableModel, frame: pd.DataFrame, benchmarks: pd.DataFrame | None = None) -> pd.Series:
    """Return what a model should predict, era by era, by plain pandas and Numerai's own functions."""
    parts = []
    for _, rows in frame.groupby("era", dropna=False):
        predictions = pd.DataFrame(
            {number: booster_predictions(text, rows) for number, text in enumerate(model.boosters)}, rows.index
        )
        neutralizers = None
        to = None if model.neutralization is None else model.neutralization.to
        if to == FEATURES:
            features = rows[list(NAMES)].astype(float)
            neutralizers = features.fillna(features.mean()).fillna(0.0)
        elif to == OWN_BENCHMARK:
            own = booster_predictions(model.benchmark_booster or "", rows)
            neutralizers = gaussian_ranks(pd.DataFrame({"own": own}, rows.index))
        elif to is not None:
            known = benchmarks[[to]].reindex(rows.index).dropna()
            neutralizers = gaussian_ranks(known).reindex(rows.index).fillna(0.0)
        proportion = model.neutralization.proportion if model.neutralization else 0.0
        parts.append(blended(predictions, model.weights, neutralizers, proportion))
    return pd.concat(parts).reindex(frame.index)


@settings(max_examples=60)
@given(
    rows=st.integers(1, 40),
    members=st.integers(1, 4),
    levels=st.sampled_from([1, 2, 5, 1000]),
    exposures=st.integers(0, 6),
    proportion=st.sampled_from([0.0, 0.3, 1.0]),
    seed=st.integers(0, 2**32 - 1),
)
def test_a_blend_is_numerai_tools(
    rows: int, members: int, levels: int, exposures: int, proportion: float, seed: int
) -> None:
    generator = np.random.default_rng(seed)
    predictions = (generator.integers(0, levels, (rows, members)) / levels).astype(np.float32)
    weights = generator.dirichlet(np.ones(members))
    neutralizers = generator.integers(0, 5, (rows, exposures)).astype(float) if exposures else None
    ranks = blend_era(predictions, weights, neutralizers, proportion)
    frame = None if neutralizers is None else pd.DataFrame(neutralizers)
    np.testing.assert_allclose(ranks, blended(pd.DataFrame(predictions), weights, frame, proportion), atol=1e-12)
    assert 0 < ranks.min() <= ranks.max() < 1

    order = generator.permutation(rows)
    shuffled = blend_era(predictions[order], weights, None if neutralizers is None else neutralizers[order], proportion)
    np.testing.assert_array_equal(shuffled, ranks[order])


def test_values_that_are_equal_but_for_noise_tie() -> None:
    opposed = np.column_stack([np.arange(101), -np.arange(101)]).astype(np.float32)
    assert (blend_era(opposed, np.array([0.5, 0.5]), None, 0.0) == 0.5).all()
    span = np.random.default_rng(0).normal(size=(8, 9))
    assert (blend_era(np.arange(8, dtype=np.float32)[:, np.newaxis], np.ones(1), span, 1.0) == 0.5).all()


def test_an_unknown_feature_becomes_its_mean_and_0_where_nothing_is_known() -> None:
    values = np.array([[1.0, np.nan], [np.nan, np.nan], [4.0, np.nan]])
    np.testing.assert_array_equal(filled_features(values), [[1.0, 0.0], [2.5, 0.0], [4.0, 0.0]])


@pytest.mark.parametrize("eras", [1, 4])
@pytest.mark.parametrize("to", EVERY_WAY)
def test_it_predicts_what_numerai_tools_blend_era_by_era(to: str | None, eras: int, tmp_path: Path) -> None:
    model = portable_model(3, to)
    frame = live_frame(400, eras)
    benchmarks = benchmark_frame(frame) if to == COLUMN else None
    predictions = loaded(model, tmp_path)(frame, benchmarks)
    assert type(predictions) is pd.DataFrame
    assert list(predictions) == ["prediction"]
    pd.testing.assert_index_equal(predictions.index, frame.index)
    np.testing.assert_allclose(predictions["prediction"], expected(model, frame, benchmarks), atol=1e-12)
    assert predictions["prediction"].between(0, 1, inclusive="neither").all()


@pytest.mark.parametrize("members", [1, 2])
def test_it_is_of_its_members_alone(members: int, tmp_path: Path) -> None:
    model, frame = portable_model(members), live_frame()
    predictions = loaded(model, tmp_path)(frame, None)["prediction"]
    np.testing.assert_allclose(predictions, expected(model, frame), atol=1e-12)
    if members == 1:
        own = pd.Series(booster_predictions(booster_text(0), frame))
        assert own.duplicated().any()
        np.testing.assert_array_equal(predictions, (own.rank() - 0.5) / len(own))


def test_predictions_that_are_equal_as_float32_tie_as_the_tracked_ones_do(tmp_path: Path) -> None:
    booster = lgb.Booster(model_str=booster_text(0, 1))
    for leaf in range(5):
        booster.set_leaf_output(0, leaf, 1 + leaf * 1e-12)
    frame = live_frame(50)
    assert len(np.unique(booster.predict(frame[list(NAMES)]))) > 1
    model = replace(portable_model(1), boosters=(booster.model_to_string(),))
    assert (loaded(model, tmp_path)(frame, None)["prediction"] == 0.5).all()


def test_rows_without_an_era_column_are_one_era_and_rows_without_a_label_one_of_their_own(tmp_path: Path) -> None:
    predict = loaded(portable_model(2), tmp_path)
    frame = live_frame(200, 3)
    labels = frame["era"].mask(frame["era"] == "1001")
    whole = predict(frame, None)
    pd.testing.assert_frame_equal(predict(frame.assign(era=labels), None), whole)
    one = frame[frame["era"] == "1001"]
    pd.testing.assert_frame_equal(predict(one.drop(columns="era"), None), whole.loc[one.index])
    assert not predict(frame.drop(columns="era"), None).equals(whole)


def test_the_order_of_columns_more_columns_and_types_change_nothing(tmp_path: Path) -> None:
    predict = loaded(portable_model(2, FEATURES), tmp_path)
    frame = live_frame(120)
    plain = predict(frame, None)
    reordered = frame[sorted(frame, reverse=True)].assign(target=np.nan, feature_new="text")
    nullable = frame.astype(dict.fromkeys(NAMES, "Int8"))
    assert nullable[NULLABLE[0]].isna().any()
    mixed = frame.astype({NAMES[0]: "Float32", NAMES[1]: np.float64, NAMES[2]: bool, NULLABLE[0]: "Int16"})
    ones = frame.assign(**{NAMES[2]: frame[NAMES[2]].astype(bool).astype(np.int8)})
    for other, same in ((reordered, plain), (nullable, plain), (mixed, predict(ones, None))):
        assert predict(other, None)["prediction"].to_numpy().tobytes() == same["prediction"].to_numpy().tobytes()


def test_ids_may_be_a_column_and_an_index_without_a_name_gets_one(tmp_path: Path) -> None:
    predict = loaded(portable_model(2, COLUMN), tmp_path)
    frame = live_frame(50)
    benchmarks = benchmark_frame(frame)
    whole = predict(frame, benchmarks)
    pd.testing.assert_frame_equal(predict(frame.reset_index(), benchmarks.reset_index()), whole)
    pd.testing.assert_frame_equal(predict(frame.rename_axis(index=None), benchmarks), whole)


@pytest.mark.parametrize("to", EVERY_WAY)
def test_the_callers_frames_stay_as_they_are(to: str | None, tmp_path: Path) -> None:
    frame = live_frame(80, 2).rename_axis(index=None)
    benchmarks = benchmark_frame(frame)
    before, benchmarks_before = frame.copy(deep=True), benchmarks.copy(deep=True)
    loaded(portable_model(2, to), tmp_path)(frame, benchmarks)
    pd.testing.assert_frame_equal(frame, before)
    pd.testing.assert_frame_equal(benchmarks, benchmarks_before)


FRAME = live_frame(20)
WRONG_FEATURES = {
    "missing": (
        FRAME.drop(columns=list(NAMES[2:6])),
        "4 of 12 features are missing, such as feature_02, feature_03, fe",
    ),
    "version": (FRAME.drop(columns=NAMES[0]), r"\(a data version change\?\); give live data of the version"),
    "nan": (
        FRAME.assign(feature_00=FRAME[NAMES[0]].where(np.arange(20) > 2)),
        "'feature_00' is NaN in 3 of 20 rows and",
    ),
    "pd.NA": (
        FRAME.assign(feature_00=FRAME[NAMES[0]].astype("Int8").where(np.arange(20) > 2)),
        "'feature_00' is NaN in 3 of 20 rows and never was in",
    ),
    "infinite": (FRAME.assign(feature_03=np.inf), "'feature_03' is infinite in 20 rows; download the live data again"),
    "text": (FRAME.assign(feature_01="2"), "'feature_01' is .*, which are no numbers; give it as Numerai publishes it"),
    "twice": (pd.concat([FRAME, FRAME[[NAMES[4]]]], axis=1), "'feature_04' is there twice; give each column once"),
    "ids": (pd.concat([FRAME, FRAME.iloc[:3]]), "live_features has 3 ids twice, such as .*; give each id once"),
    "no id": (FRAME.rename({FRAME.index[0]: None}), "has 1 rows without an id; leave them out"),
    "levels": (FRAME.set_index("era", append=True), "an index of 2 levels; index it by id alone"),
    "empty": (FRAME.iloc[:0], "live_features has no rows; give the rows to predict"),
}


@pytest.mark.parametrize("case", WRONG_FEATURES)
def test_live_features_that_do_not_fit_are_refused(case: str, tmp_path: Path) -> None:
    frame, message = WRONG_FEATURES[case]
    with pytest.raises(ValueError, match=message) as raised:
        loaded(portable_model(1), tmp_path)(frame, None)
    assert "\n" not in str(raised.value)


BENCHMARKS = benchmark_frame(FRAME)
WRONG_BENCHMARKS = {
    "none": (None, f"live_benchmark_models is None and the model is neutralised to its column '{COLUMN}'; give"),
    "column": (
        BENCHMARKS.drop(columns=COLUMN),
        f"has no columns '{COLUMN}'.*; give the benchmark predictions of the ver",
    ),
    "round": (BENCHMARKS.add_prefix("x", axis=0), "known for none of the 20 rows; give .* of the same round"),
    "text": (BENCHMARKS.assign(**{COLUMN: "a"}), f"'{COLUMN}' is .*; give its predictions as Numerai publishes them"),
    "infinite": (BENCHMARKS.assign(**{COLUMN: np.inf}), f"'{COLUMN}' is infinite in .* rows; download it again"),
    "ids": (pd.concat([BENCHMARKS, BENCHMARKS]), "live_benchmark_models has .* ids twice"),
}


@pytest.mark.parametrize("case", WRONG_BENCHMARKS)
def test_benchmarks_that_do_not_fit_are_refused(case: str, tmp_path: Path) -> None:
    frame, message = WRONG_BENCHMARKS[case]
    with pytest.raises(ValueError, match=message) as raised:
        loaded(portable_model(1, COLUMN), tmp_path)(FRAME, frame)
    assert "\n" not in str(raised.value)


def test_what_is_no_frame_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TypeError, match=r"live_features is a dict; give a pandas\.DataFrame indexed by id"):
        loaded(portable_model(1), tmp_path)({}, None)  # type: ignore[arg-type]
