"""Numerai's layout as it is: resolved eras, horizons, feature sets, row order, extracts, and data that is broken."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from signal_miner.data.dataset import open_dataset
from signal_miner.data.sources import open_source
from signal_miner.errors import UserError
from tests.conftest import FEATURES, make_frame


def test_train_and_validation_are_one_dataset_of_resolved_eras(numerai_directory):
    dataset = open_dataset(numerai_directory, "medium", "target")
    train = pd.read_parquet(numerai_directory / "train.parquet")
    validation = pd.read_parquet(numerai_directory / "validation.parquet")
    expected = pd.concat([train, validation[validation["data_type"] == "validation"]])
    assert len(dataset) == len(expected)
    assert dataset.features == tuple(FEATURES[:8])
    np.testing.assert_array_equal(dataset.eras, expected["era"].astype(int))
    assert dataset.read_ids().to_pylist() == expected.index.tolist()
    np.testing.assert_array_equal(dataset.read_target("target_cyrusd_60"), expected["target_cyrusd_60"])
    table = dataset.read_features(FEATURES[2:4], slice(1590, 1610))
    np.testing.assert_array_equal(table.to_pandas(), expected[FEATURES[2:4]].iloc[1590:1610])
    rows = dataset.rows_of(range(39, 43))
    assert dataset.eras[rows].tolist() == [era for era in range(39, 43) for _ in range(40)]


def test_rows_in_any_order_are_read_by_era(tmp_path):
    frame = make_frame(range(1, 31), rows=20)
    shuffled = frame.sample(frac=1, random_state=1)
    shuffled.to_parquet(tmp_path / "extract.parquet", row_group_size=37)
    dataset = open_dataset(tmp_path / "extract.parquet", "all", "target")
    expected = shuffled.iloc[np.argsort(shuffled["era"].astype(int), kind="stable")]
    assert dataset.read_ids().to_pylist() == expected.index.tolist()
    rows = slice(95, 240)
    np.testing.assert_array_equal(
        dataset.read_features(FEATURES, rows).to_pandas(), expected[FEATURES].iloc[rows].to_numpy()
    )


def test_horizons_are_read_compared_or_declared(numerai_directory, tmp_path):
    dataset = open_dataset(numerai_directory, "small", "target")
    assert dataset.horizon_days("target_cyrusd_60") == 60
    assert dataset.horizon_days("target") == 20  # equals target_ender_20 in every row
    assert dataset.horizon_days("target", declared=60) == 20
    frame = make_frame(range(1, 31), rows=20).drop(columns="target_ender_20")
    frame.to_parquet(tmp_path / "old.parquet")
    old = open_dataset(tmp_path / "old.parquet", "all", "target")
    assert old.horizon_days("target", declared=60) == 60
    with pytest.raises(
        UserError, match=r"horizon of .target. in old.parquet is not known.*horizon_days=20 .*embargo_eras=1"
    ):
        old.horizon_days("target")


def test_a_target_that_equals_a_named_one_only_at_first_is_not_its_twin(tmp_path):
    frame = make_frame(range(1, 101), rows=600)
    late = frame.index[-1]
    frame.loc[late, "target_ender_20"] = (frame.loc[late, "target"] + 0.25) % 1.25
    frame.to_parquet(tmp_path / "near.parquet")
    with pytest.raises(UserError, match=r"equals no target"):
        open_dataset(tmp_path / "near.parquet", "all", "target").horizon_days("target")


def test_numerai_benchmarks_are_joined_by_id(numerai_directory):
    dataset = open_dataset(numerai_directory, "small", "target")
    assert dataset.benchmark_columns == ("tiny_lgbm_ender20",)
    stored = pd.concat(
        pd.read_parquet(numerai_directory / f"{part}_benchmark_models.parquet") for part in ("train", "validation")
    )
    found = dataset.read_benchmarks(["tiny_lgbm_ender20"], slice(300, 2000))["tiny_lgbm_ender20"]
    expected = stored["tiny_lgbm_ender20"].reindex(dataset.read_ids(slice(300, 2000)).to_pylist())
    np.testing.assert_array_equal(found, expected.astype(np.float32))
    assert np.isnan(found[:100]).all()


def test_the_digest_follows_the_data(numerai_directory):
    first = open_dataset(numerai_directory, "small", "target").digest
    assert open_dataset(numerai_directory, "small", "target").digest == first
    assert open_dataset(numerai_directory, "medium", "target").digest != first
    frame = pd.read_parquet(numerai_directory / "train.parquet")
    frame.iloc[5, frame.columns.get_loc("target")] = 1 - frame["target"].iloc[5] or 0.5
    frame.to_parquet(numerai_directory / "train.parquet")
    assert open_dataset(numerai_directory, "small", "target").digest != first


@pytest.mark.parametrize("levels", [5, 50_000])
def test_a_csv_extract_is_converted_once(tmp_path, levels):
    frame = make_frame(range(1, 31), rows=20)
    if levels > 5:
        frame[FEATURES] = frame[FEATURES] / 7
    frame.to_csv(tmp_path / "mine.csv")
    dataset = open_source(str(tmp_path / "mine.csv"), "all", "target", directory=tmp_path / "kept")
    again = open_source(str(tmp_path / "mine.csv"), "all", "target", directory=tmp_path / "kept")
    assert dataset.digest == again.digest
    assert len(list((tmp_path / "kept" / "converted").iterdir())) == 1
    assert dataset.read_ids().to_pylist() == frame.index.tolist()
    np.testing.assert_allclose(
        dataset.read_features(FEATURES, slice(0, len(frame))).to_pandas(), frame[FEATURES], rtol=1e-6
    )
    assert dataset.eras[-1] == 30


def test_an_extract_without_ids_gets_some(tmp_path):
    frame = make_frame(range(1, 4), rows=5).reset_index(drop=True)
    frame.to_parquet(tmp_path / "noid.parquet")
    ids = open_dataset(tmp_path / "noid.parquet", "all", "target").read_ids(slice(4, 7)).to_pylist()
    assert ids == ["0001_4", "0002_5", "0002_6"]


def test_half_floats_and_an_empty_validation_file_are_read(numerai_directory):
    frame = pd.read_parquet(numerai_directory / "train.parquet")
    frame["feature_00"] = frame["feature_00"].astype("float16")
    frame.to_parquet(numerai_directory / "train.parquet")
    frame.iloc[:0].astype(object).to_parquet(numerai_directory / "validation.parquet")
    dataset = open_dataset(numerai_directory, "small", "target")
    table = dataset.read_features(FEATURES[:2], slice(0, 10))
    assert [str(field.type) for field in table.schema] == ["float", "int8"]
    np.testing.assert_array_equal(table.column(0), frame["feature_00"].iloc[:10])


def test_benchmark_predictions_without_ids_are_refused(numerai_directory):
    break_directory(numerai_directory, "no benchmark id")
    with pytest.raises(UserError, match=r"train_benchmark_models.parquet has no column 'id'"):
        open_dataset(numerai_directory, "small", "target").read_benchmarks(["tiny_lgbm_ender20"], slice(0, 9))


def break_directory(directory, what):
    """Damage a data directory in one way."""
    train = directory / "train.parquet"
    frame = pd.read_parquet(train)
    match what:
        case "no train":
            train.unlink()
        case "truncated":
            train.write_bytes(train.read_bytes()[:-100])
        case "text":
            train.write_text("era,target\n1,0.5\n")
        case "no era":
            frame.drop(columns="era").to_parquet(train)
        case "era missing":
            frame.loc[frame.index[3], "era"] = None
            frame.to_parquet(train)
        case "era odd":
            frame.assign(era="monday").to_parquet(train)
        case "unresolved":
            frame.assign(target=np.nan).to_parquet(train)
            (directory / "validation.parquet").unlink()
        case "infinite":
            frame.assign(target=np.inf).to_parquet(train)
        case "other columns":
            pd.read_parquet(directory / "validation.parquet").drop(columns=FEATURES[3]).to_parquet(
                directory / "validation.parquet"
            )
        case "feature gone":
            sets = {"feature_sets": {"small": ["feature_99"]}}
            (directory / "features.json").write_text(json.dumps(sets))
        case "text feature":
            frame.assign(feature_00="high").to_parquet(train)
        case "json broken":
            (directory / "features.json").write_text('{"feature_sets": ')
        case "target text":
            frame.assign(target="high").to_parquet(train)
        case "other type":
            other = pd.read_parquet(directory / "validation.parquet")
            other.assign(feature_01=other["feature_01"].astype("float32")).to_parquet(directory / "validation.parquet")
        case "ids twice":
            pd.concat([frame, frame.iloc[:3]]).to_parquet(train)
        case "no benchmark id":
            path = directory / "train_benchmark_models.parquet"
            pd.read_parquet(path).reset_index(drop=True).to_parquet(path, index=False)
        case "json list":
            (directory / "features.json").write_text('{"feature_sets": ["small"]}')
        case "target as feature":
            (directory / "features.json").write_text('{"feature_sets": {"small": ["feature_00", "target"]}}')
        case "huge era":
            frame.assign(era="99999999999").to_parquet(train)
        case "no json":
            (directory / "features.json").unlink()


@pytest.mark.parametrize(
    ("what", "message"),
    [
        ("no train", "has no train.parquet .it holds features.json.*; give the one that has"),
        ("truncated", "train.parquet is not a whole parquet file .* download or write it again"),
        ("text", "train.parquet is not a whole parquet file"),
        ("no era", "has no column 'era'"),
        ("era missing", "has rows without an era; fill or drop them"),
        ("era odd", "era 'monday' is not an era label"),
        ("unresolved", "no era of .* has a known 'target'; give data with resolved eras"),
        ("infinite", "'target' holds infinite values"),
        ("other columns", "validation.parquet lacks the column 'feature_03' of train.parquet"),
        ("feature gone", "1 features of set 'small' are not in train.parquet, such as 'feature_99'"),
        ("text feature", "column 'feature_00' is .*, not a number; convert it"),
        ("json broken", "features.json is not Numerai's features.json"),
        ("no json", "feature_set = 'small' needs a features.json"),
    ],
)
def test_broken_data_is_one_line(numerai_directory, what, message):
    break_directory(numerai_directory, what)
    with pytest.raises(UserError, match=message) as caught:
        open_dataset(numerai_directory, "small", "target")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda directory: open_dataset(directory, "smal", "target"), "'smal' is not in .*; did you mean 'small'"),
        (lambda directory: open_dataset(directory, "small", "targte"), "no target 'targte'; did you mean 'target'"),
        (lambda directory: open_dataset(directory, "small", "target", ["target_x"]), "no target 'target_x'"),
        (lambda directory: open_source(str(directory / "no"), "all", "target"), "does not exist; give a directory"),
        (
            lambda directory: open_source("v5.9", "all", "target", directory=directory),
            "'v5.9' is not here yet; fetch it with: mlflow run . -e download --env-manager local -P version=v5.9",
        ),
        (lambda directory: open_source(str(directory / "features.json"), "all", "target"), "neither parquet nor CSV"),
    ],
)
def test_a_wrong_name_gets_the_nearest_right_one(numerai_directory, call, message):
    with pytest.raises(UserError, match=message):
        call(numerai_directory)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("id,eraa,target\na,1,0.5\n", "has no column 'era'; did you mean 'eraa'"),
        ("id,era,feature_a,target\na,1,high,0.5\n", "cannot be read as CSV .*high.*; correct that value"),
        ("id,era,feature_a,target\na,1,2,\n", "has a known 'target'"),
    ],
)
def test_a_broken_csv_is_one_line(tmp_path, text, message):
    (tmp_path / "mine.csv").write_text(text)
    with pytest.raises(UserError, match=message):
        open_source(str(tmp_path / "mine.csv"), "all", "target", directory=tmp_path)
    assert not list(tmp_path.rglob("*.part"))


def test_the_repr_names_rows_eras_and_columns(numerai_directory):
    dataset = open_dataset(numerai_directory, "small", "target")
    counts = f"{len(dataset.features)} features, {len(dataset.targets)} targets)"
    assert repr(dataset).endswith(counts)
    one = replace(dataset, features=dataset.features[:1], targets=dataset.targets[:1], eras=dataset.eras[:1])
    assert repr(one).endswith(": 1 row, era 0001, 1 feature, 1 target)")
