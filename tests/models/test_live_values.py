"""Live features that are not as in training: on another scale, constant or missing."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import mlflow.pyfunc
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from signal_miner.data.feature_values import FeatureValues
from signal_miner.models.portable import PortableModel
from signal_miner.models.registry.package import save_package
from tests.helpers.portable import COLUMN, NAMES, NULLABLE, benchmark_frame, live_frame, loaded, portable_model
from tests.helpers.registry import FEATURES, live, make_record

QUINTILES = FeatureValues((0.0, 1.0, 2.0, 3.0, 4.0), 0.0, 4.0)
QUARTERS = FeatureValues((0.0, 0.25, 0.5, 0.75, 1.0), 0.0, 1.0)
CONTINUOUS = FeatureValues((), -3.0, 3.0)
FRAME = live_frame(300)


def knowing(*changed: FeatureValues, **settings: object) -> PortableModel:
    """Return a model whose features had quintiles in training, but for the last ones."""
    values = (*(QUINTILES,) * (len(NAMES) - len(changed)), *changed)
    return replace(portable_model(1), values=values, **settings)


def refusal(model: PortableModel, frame: pd.DataFrame, directory: Path) -> str:
    """Return the refusal; empty where the frame is predicted."""
    predict = loaded(model, directory)
    try:
        predict(frame, None)
    except ValueError as error:
        message = str(error)
    else:
        message = ""
    assert "\n" not in message
    return message


def test_the_values_of_training_are_predicted(tmp_path: Path) -> None:
    assert refusal(knowing(), FRAME, tmp_path) == ""
    assert refusal(knowing(), FRAME.astype(dict.fromkeys(NAMES, np.float64)), tmp_path) == ""
    assert refusal(knowing(), FRAME.iloc[:1], tmp_path) == ""


def test_another_scale_is_refused(tmp_path: Path) -> None:
    quarters = FRAME.assign(**{name: (FRAME[name] / 4).astype(np.float32) for name in NAMES})
    message = refusal(knowing(), quarters, tmp_path)
    assert message.startswith("12 of 12 features have values that they never had in training, such as 0.")
    assert "in 'feature_00', which had 0, 1, 2, 3, 4; give live data of the version, and on the scale" in message
    model = replace(portable_model(1), values=(QUARTERS,) * len(NAMES))
    assert refusal(model, quarters, tmp_path) == ""
    assert refusal(model, FRAME, tmp_path).startswith("12 of 12 features have values")


def test_a_model_without_values_refuses_none(tmp_path: Path) -> None:
    assert refusal(portable_model(1), FRAME.assign(feature_00=0.25), tmp_path) == ""


@settings(max_examples=25, deadline=None)
@given(position=st.integers(0, len(NAMES) - 1), row=st.integers(0, 299), value=st.floats(-100, 100, width=32))
def test_a_single_value_is_enough(
    position: int, row: int, value: float, tmp_path_factory: pytest.TempPathFactory
) -> None:
    frame = FRAME.astype({NAMES[position]: np.float64})
    frame.loc[frame.index[row], NAMES[position]] = value
    message = refusal(knowing(), frame, tmp_path_factory.mktemp("model"))
    assert (message == "") == (value in QUINTILES.levels)
    assert (
        message == "" or f"1 of 12 features have values that they never had in training, such as {value:g}" in message
    )


def test_a_feature_that_had_one_level_may_get_those_of_the_others(tmp_path: Path) -> None:
    assert refusal(knowing(FeatureValues((2.0,), 2.0, 2.0)), FRAME, tmp_path) == ""
    message = refusal(knowing(FeatureValues((7.0,), 7.0, 7.0)), FRAME, tmp_path)
    assert "in 'feature_11', which had 7; give" in message


def test_a_continuous_feature_may_leave_its_range_in_few_rows(tmp_path: Path) -> None:
    normal = np.random.default_rng(1).normal(size=300)
    assert refusal(knowing(CONTINUOUS), FRAME.assign(feature_11=normal * 1.5), tmp_path) == ""
    message = refusal(knowing(CONTINUOUS), FRAME.assign(feature_11=100 + normal), tmp_path)
    assert "in 'feature_11', which had -3 to 3" in message


def test_many_constant_features_are_refused_and_one_is_not(tmp_path: Path) -> None:
    assert refusal(knowing(), FRAME.assign(feature_00=2), tmp_path) == ""
    message = refusal(knowing(), FRAME.assign(feature_00=2, feature_01=0), tmp_path)
    assert message.startswith("2 of 12 features have the same value, or none, in all 300 rows, such as feature_00, fea")
    assert refusal(knowing(), FRAME.assign(**dict.fromkeys(NAMES, 2)), tmp_path).startswith("12 of 12 features have")
    assert refusal(knowing(), FRAME.assign(**dict.fromkeys(NAMES, 2)).iloc[:99], tmp_path) == ""


def test_features_that_were_constant_in_training_may_be_again(tmp_path: Path) -> None:
    model = knowing(constant_features=NAMES[:6])
    assert refusal(model, FRAME.assign(**dict.fromkeys(NAMES[:6], 2)), tmp_path) == ""


def test_missing_features_are_refused_where_they_are_many(tmp_path: Path) -> None:
    missing = FRAME.assign(**dict.fromkeys(NULLABLE, np.nan))
    assert refusal(knowing(), FRAME.assign(**{NULLABLE[0]: np.nan}), tmp_path) == ""
    assert refusal(knowing(), missing, tmp_path).startswith("2 of 12 features have the same value, or none, in all")


def test_a_constant_benchmark_is_refused(tmp_path: Path) -> None:
    predict = loaded(portable_model(1, COLUMN), tmp_path)
    benchmarks = benchmark_frame(FRAME).dropna()
    assert len(predict(FRAME, benchmarks)) == len(FRAME)
    with pytest.raises(ValueError, match=f"'{COLUMN}' is 0.5 wherever it is known in the 300 rows"):
        predict(FRAME, benchmarks.assign(**{COLUMN: 0.5}))


def test_the_registered_model_refuses_as_well(tmp_path: Path) -> None:
    values = (QUINTILES,) * len(FEATURES)
    record = make_record(tmp_path / "made", f"sqlite:///{tmp_path / 'mlflow.db'}", values=values)
    save_package(record, tmp_path / "model")
    model = mlflow.pyfunc.load_model(str(tmp_path / "model"))
    frame = live(120)
    assert len(model.predict(frame.astype(dict.fromkeys(FEATURES, np.float64)))) == 120
    with pytest.raises(ValueError, match="6 of 6 features have values that they never had in training"):
        model.predict(frame.assign(**{name: frame[name] / 4 for name in FEATURES}))
