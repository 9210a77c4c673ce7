"""Numerai's layout as it is: resolved eras, horizons, feature sets, row order, extracts, and data that is broken."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
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
        case "feature missing":
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
        ("feature missing", "1 features of set 'small' are not in train.parquet, such as 'feature_99'"),
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


def with_column(path, name, values):
    """Rewrite a file with a column replaced or added, as Arrow holds it."""
    table = pq.read_table(path)
    if name in table.column_names:
        table = table.drop_columns([name])
    pq.write_table(table.append_column(name, values(len(table))), path)


DAMAGES = {
    "validation without era": (
        lambda place: drop(place / "validation.parquet", "era"),
        "validation.parquet has no column 'era'",
    ),
    "validation without id": (
        lambda place: drop(place / "validation.parquet", "id"),
        "validation.parquet lacks the column 'id' of train.parquet; download both of one version",
    ),
    "a column twice in validation": (
        lambda place: append(place / "validation.parquet", "feature_01"),
        "validation.parquet has the column 'feature_01' twice; keep one",
    ),
    "train without id": (
        lambda place: drop(place / "train.parquet", "id"),
        "train.parquet lacks the column 'id' of validation.parquet; write both the same",
    ),
    "ids of another type": (
        lambda place: with_column(place / "validation.parquet", "id", lambda n: pa.array(range(n))),
        "column 'id' is int64, in train.parquet string; write both as text",
    ),
    "ids that are lists": (
        lambda place: with_column(place / "train.parquet", "id", lambda n: pa.array([[1]] * n)),
        "train.parquet: column 'id' is .*list.*, not text; convert it",
    ),
    "rows without an id": (
        lambda place: with_column(place / "train.parquet", "id", lambda n: pa.array(["a", *[None] * (n - 1)])),
        r"rows of .* have no id; fill or drop them",
    ),
    "eras that are lists": (
        lambda place: with_column(place / "train.parquet", "era", lambda n: pa.array([["0001"]] * n)),
        "column 'era' is .*list.*, not text; convert it",
    ),
    "the same rows in both files": (
        lambda place: shutil.copy(place / "train.parquet", place / "validation.parquet"),
        "occurs twice in .*train.parquet and .*validation.parquet .1600 such ids.; keep one row of each id",
    ),
    "the same rows in both files under other ids": (
        lambda place: (
            shutil.copy(place / "train.parquet", place / "validation.parquet"),
            with_column(place / "validation.parquet", "id", lambda n: pa.array([f"m{row}" for row in range(n)])),
        ),
        "era 0001 is in .*train.parquet and in validation.parquet with the same features under other ids",
    ),
    "infinite features": (
        lambda place: with_column(
            place / "train.parquet", "feature_00", lambda n: pa.array([np.inf, *[1.0] * (n - 1)], pa.float32())
        ),
        "'feature_00' holds infinite values; correct them, or leave them empty",
    ),
    "integers that a double rounds": (
        lambda place: [
            with_column(place / file, "feature_00", lambda n: pa.array([2**53 + 1, *[1] * (n - 1)], pa.int64()))
            for file in ("train.parquet", "validation.parquet")
        ],
        r"'feature_00' holds integers beyond 2\^53, which LightGBM rounds",
    ),
    "a target that is constant": (
        lambda place: [
            with_column(place / file, "target", lambda n: pa.array(np.full(n, 0.5, np.float32)))
            for file in ("train.parquet", "validation.parquet")
        ],
        "'target' has one value in each era, so no model can be scored on it; choose another scoring_target",
    ),
    "a name that LightGBM refuses": (
        lambda place: rename(place, "feature_00", "feature_a[0]"),
        r"feature 'feature_a\[0\]' has '\[' in its name, which LightGBM refuses; rename it",
    ),
    "names that LightGBM takes for one": (
        lambda place: rename(place, "feature_00", "feature 01"),
        "features 'feature 01' and 'feature_01' are one to LightGBM, which writes '_' for blanks",
    ),
    "a validation file that is a link to nothing": (
        lambda place: (
            (place / "validation.parquet").unlink(),
            (place / "validation.parquet").symlink_to(place / "moved.parquet"),
        ),
        "validation.parquet is a link to nothing; replace or remove it",
    ),
    "a validation file that is a directory": (
        lambda place: ((place / "validation.parquet").unlink(), (place / "validation.parquet").mkdir()),
        "validation.parquet is no file; replace or remove it",
    ),
    "feature sets that are a link to nothing": (
        lambda place: ((place / "features.json").unlink(), (place / "features.json").symlink_to(place / "moved")),
        "features.json is a link to nothing",
    ),
    "benchmark predictions that are a directory": (
        lambda place: (
            (place / "train_benchmark_models.parquet").unlink(),
            (place / "train_benchmark_models.parquet").mkdir(),
        ),
        "train_benchmark_models.parquet is no file",
    ),
    "feature sets nested without end": (
        lambda place: (place / "features.json").write_text("[" * 200_000),
        "features.json is not Numerai's features.json",
    ),
    "a feature twice in a set": (
        lambda place: (place / "features.json").write_text('{"feature_sets": {"all": ["feature_00", "feature_00"]}}'),
        "feature_set = 'all' in .* lists 'feature_00' twice",
    ),
    "a set that is null": (
        lambda place: (place / "features.json").write_text('{"feature_sets": {"all": null}}'),
        "feature_set = 'all' in .* is not a list of features",
    ),
}


def drop(path, name):
    pq.write_table(pq.read_table(path).drop_columns([name]), path)


def append(path, name):
    table = pq.read_table(path)
    pq.write_table(table.append_column(name, table.column(name)), path)


def rename(directory, old, new):
    for path in (directory / "train.parquet", directory / "validation.parquet"):
        table = pq.read_table(path)
        pq.write_table(table.rename_columns([new if name == old else name for name in table.column_names]), path)
    (directory / "features.json").unlink()


@pytest.mark.parametrize("damage", sorted(DAMAGES))
def test_data_that_cannot_be_scored_honestly_are_refused_in_one_line(numerai_directory, damage):
    break_it, message = DAMAGES[damage]
    break_it(numerai_directory)
    with pytest.raises(UserError, match=message) as caught:
        open_dataset(numerai_directory, "all", "target")
    assert "\n" not in str(caught.value)


def test_rows_of_an_era_in_two_files_without_ids_are_refused(numerai_directory):
    for name in ("train.parquet", "validation.parquet"):
        frame = pd.read_parquet(numerai_directory / name).reset_index(drop=True)
        frame.to_parquet(numerai_directory / name, index=False)
    assert open_dataset(numerai_directory, "small", "target").id_column is None
    shutil.copy(numerai_directory / "train.parquet", numerai_directory / "validation.parquet")
    with pytest.raises(UserError, match=r"era 0001 is in .*train.parquet and in validation.parquet, and without ids"):
        open_dataset(numerai_directory, "small", "target")


def test_other_rows_of_an_era_in_the_other_file_are_kept(numerai_directory):
    path = numerai_directory / "validation.parquet"
    frame = pd.read_parquet(path)
    frame.loc[frame["era"] == "0041", "era"] = "0040"
    frame.to_parquet(path)
    dataset = open_dataset(numerai_directory, "small", "target")
    assert (dataset.eras == 40).sum() == 80


def test_benchmark_predictions_with_an_id_twice_are_refused(numerai_directory):
    path = numerai_directory / "train_benchmark_models.parquet"
    frame = pd.read_parquet(path)
    pd.concat([frame, frame.iloc[:2]]).to_parquet(path)
    dataset = open_dataset(numerai_directory, "small", "target")
    with pytest.raises(UserError, match=r"occurs twice in .*train_benchmark_models.parquet .2 such ids."):
        dataset.read_benchmarks(["tiny_lgbm_ender20"], slice(0, 9))


def test_infinite_values_that_no_statistics_show_are_refused_when_they_are_read(tmp_path):
    frame = make_frame(range(1, 31), rows=20)
    frame["feature_00"] = frame["feature_00"].astype("float32")
    frame.iloc[7, frame.columns.get_loc("feature_00")] = -np.inf
    frame.to_parquet(tmp_path / "x.parquet", write_statistics=False)
    dataset = open_dataset(tmp_path / "x.parquet", "all", "target")
    with pytest.raises(UserError, match=r"x.parquet: 'feature_00' holds infinite values"):
        dataset.read_features(["feature_00"], slice(0, 20))


@pytest.mark.parametrize(
    "kind",
    [
        pa.large_string(),
        pa.dictionary(pa.int32(), pa.string()),
        pa.string_view() if hasattr(pa, "string_view") else pa.string(),
    ],
)
def test_ids_written_as_text_in_any_way_are_the_same(numerai_directory, kind):
    expected = open_dataset(numerai_directory, "small", "target").read_ids().to_pylist()
    ids = pq.read_table(numerai_directory / "validation.parquet").column("id")
    cast = ids.dictionary_encode() if pa.types.is_dictionary(kind) else ids.cast(kind)
    with_column(numerai_directory / "validation.parquet", "id", lambda _n: cast)
    assert open_dataset(numerai_directory, "small", "target").read_ids().to_pylist() == expected


@pytest.mark.parametrize(
    "values", [lambda n: pa.array(range(n)), lambda n: pa.nulls(n), lambda n: pa.array([True] * n)]
)
def test_a_data_type_that_is_no_text_marks_no_row_as_live(numerai_directory, values):
    expected = len(open_dataset(numerai_directory, "small", "target"))
    for name in ("train.parquet", "validation.parquet"):
        with_column(numerai_directory / name, "data_type", values)
    assert len(open_dataset(numerai_directory, "small", "target")) == expected


def test_all_features_need_no_entry_in_features_json(numerai_directory):
    (numerai_directory / "features.json").write_text('{"feature_sets": {"small": ["feature_00"]}}')
    assert open_dataset(numerai_directory, "all", "target").features == tuple(FEATURES)


@pytest.mark.parametrize("column", ["feature_05", "target_cyrusd_60", "tiny_lgbm_ender20", "id"])
def test_the_content_follows_every_value_that_is_used(numerai_directory, column):
    first = open_dataset(numerai_directory, "all", "target").content
    assert open_dataset(numerai_directory, "all", "target").content == first
    name = "validation_benchmark_models.parquet" if column.startswith("tiny") else "train.parquet"
    frame = pd.read_parquet(numerai_directory / name).reset_index()
    rows = frame.index[:2]
    frame.loc[rows, column] = frame[column].to_numpy()[[1, 0]] if column == "id" else frame[column].dtype.type(0.25)
    frame.set_index("id").to_parquet(numerai_directory / name)
    assert open_dataset(numerai_directory, "all", "target").content != first


def test_an_infinite_training_target_is_refused_rather_than_left_out(numerai_directory):
    frame = pd.read_parquet(numerai_directory / "train.parquet")
    frame.iloc[3, frame.columns.get_loc("target_cyrusd_60")] = np.inf
    frame.to_parquet(numerai_directory / "train.parquet")
    with pytest.raises(UserError, match=r"train.parquet: 'target_cyrusd_60' holds infinite values"):
        open_dataset(numerai_directory, "small", "target")
    dataset = open_dataset(numerai_directory, "small", "target", ["target"])  # it is not trained on
    assert dataset.horizon_days("target") == 20
    with pytest.raises(UserError, match=r"numerai: 'target_cyrusd_60' holds infinite values"):
        dataset.read_target("target_cyrusd_60")


def test_a_link_to_nothing_is_not_the_version_of_the_same_name(tmp_path, monkeypatch, numerai_directory):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data").mkdir()
    numerai_directory.rename(tmp_path / "data" / "v5.3")
    assert open_source("v5.3", "small", "target").name == "v5.3"
    (tmp_path / "v5.3").symlink_to(tmp_path / "moved")
    with pytest.raises(UserError, match=r"v5.3 is a link to nothing; replace or remove it"):
        open_source("v5.3", "small", "target")


def test_the_repr_names_rows_eras_and_columns(numerai_directory):
    dataset = open_dataset(numerai_directory, "small", "target")
    counts = f"{len(dataset.features)} features, {len(dataset.targets)} targets)"
    assert repr(dataset).endswith(counts)
    one = replace(dataset, features=dataset.features[:1], targets=dataset.targets[:1], eras=dataset.eras[:1])
    assert repr(one).endswith(": 1 row, era 0001, 1 feature, 1 target)")
