"""Several hundred odd columns: each is read whole or refused in one line, and nothing that is accepted is wrong."""

from __future__ import annotations

import datetime
import decimal
import json
import re
import shutil
from collections.abc import Callable

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from signal_miner.data.dataset import Dataset, open_dataset
from signal_miner.engine.binning import BinnedFolds
from signal_miner.engine.memory_needs import shape_of
from signal_miner.errors import UserError
from signal_miner.experiment.files import make_experiment
from signal_miner.experiment.plan import make_plan
from tests.conftest import write_numerai_directory

Column = Callable[[int], pa.Array]

_DAY = datetime.date(2015, 1, 2)
KINDS: dict[str, Column] = {
    "null": lambda n: pa.nulls(n),
    "bool": lambda n: pa.array([row % 2 == 0 for row in range(n)]),
    "int8": lambda n: pa.array([row % 100 for row in range(n)], pa.int8()),
    "uint64": lambda n: pa.array([2**64 - 1 - row for row in range(n)], pa.uint64()),
    "int64 large": lambda n: pa.array([2**62 + row for row in range(n)], pa.int64()),
    "int64 negative": lambda n: pa.array([-row for row in range(n)], pa.int64()),
    "int32 constant": lambda n: pa.array([1] * n, pa.int32()),
    "float16": lambda n: pa.array(np.arange(n, dtype=np.float16) % 7),
    "float32": lambda n: pa.array(np.arange(n, dtype=np.float32) % 5 / 4),
    "float64": lambda n: pa.array(np.arange(n) % 5 / 4),
    "float64 huge": lambda n: pa.array(np.full(n, 1e300)),
    "float64 tiny": lambda n: pa.array(np.full(n, 5e-324)),
    "nan": lambda n: pa.array(np.full(n, np.nan)),
    "half nan": lambda n: pa.array(np.where(np.arange(n) % 2, np.nan, 0.5)),
    "nan but one": lambda n: pa.array(np.where(np.arange(n) == 3, 0.5, np.nan)),
    "inf": lambda n: pa.array(np.where(np.arange(n) == 3, np.inf, 0.5)),
    "minus inf": lambda n: pa.array(np.where(np.arange(n) == 3, -np.inf, 0.5).astype(np.float32)),
    "inf16": lambda n: pa.array(np.where(np.arange(n) == 3, np.inf, 0.5).astype(np.float16)),
    "decimal": lambda n: pa.array([decimal.Decimal("1.5")] * n),
    "text": lambda n: pa.array([f"x{row}" for row in range(n)]),
    "numbers as text": lambda n: pa.array([str(row) for row in range(n)]),
    "empty text": lambda n: pa.array([""] * n),
    "long text": lambda n: pa.array(["9" * 6000] * n),
    "escapes": lambda n: pa.array([f"\x1b[2J{row}\r\n" for row in range(n)]),
    "large text": lambda n: pa.array([f"{row:04d}" for row in range(n)], pa.large_string()),
    "categories": lambda n: pa.array([f"{row % 7:04d}" for row in range(n)]).dictionary_encode(),
    "number categories": lambda n: pa.array([row % 7 for row in range(n)]).dictionary_encode(),
    "bytes": lambda n: pa.array([b"\xff\xfe"] * n),
    "dates": lambda n: pa.array([_DAY + datetime.timedelta(days=row) for row in range(n)]),
    "weekly dates": lambda n: pa.array([_DAY + datetime.timedelta(days=7 * (row // 40)) for row in range(n)]),
    "times": lambda n: pa.array([datetime.datetime(2015, 1, 2, 3, row % 60) for row in range(n)]),
    "durations": lambda n: pa.array([datetime.timedelta(days=row) for row in range(n)]),
    "lists": lambda n: pa.array([[row] for row in range(n)]),
    "structs": lambda n: pa.array([{"a": row} for row in range(n)]),
    "missing but one": lambda n: pa.array(["0001", *[None] * (n - 1)]),
    "month codes": lambda n: pa.array([f"2017{1 + row % 12:02d}" for row in range(n)]),
    "seconds": lambda n: pa.array([1_483_660_800 + 604_800 * (row // 40) for row in range(n)]),
    "far apart": lambda n: pa.array([100 * (1 + row // 40) for row in range(n)]),
    "one era": lambda n: pa.array(["0007"] * n),
    "live eras": lambda n: pa.array(["X"] * n),
    "an era a row": lambda n: pa.array([f"{row + 1:04d}" for row in range(n)]),
    "descending": lambda n: pa.array([f"{n - row:05d}" for row in range(n)]),
}
FILES = {
    "train": ["train"],
    "validation": ["validation"],
    "both": ["train", "validation"],
    "benchmarks": ["benchmarks"],
}
WHERE = {
    "era": "both",
    "id": "validation",
    "data_type": "both",
    "feature_00": "both",
    "target": "both",
    "target_cyrusd_60": "validation",
    "tiny_lgbm_ender20": "benchmarks",
}
CASES = [
    (column, kind, where)
    for column, where in WHERE.items()
    for place, kind in enumerate(KINDS)
    if column not in ("data_type", "tiny_lgbm_ender20") or place % 2  # of these every other kind will do
]


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    return write_numerai_directory(tmp_path_factory.mktemp("odd") / "numerai", eras=60, rows=6)


def file_of(directory, name):
    return directory / ("train_benchmark_models.parquet" if name == "benchmarks" else f"{name}.parquet")


def put(directory, column, values, where):
    for name in FILES[where]:
        path = file_of(directory, name)
        table = pq.read_table(path)
        place = table.schema.get_field_index(column)
        pq.write_table(table.set_column(place, column, values(len(table))), path)


def used(directory, column: str) -> Dataset:
    """Open data, plan a study on them and read all that it would."""
    experiment = make_experiment(
        name="odd",
        data=directory,
        feature_set="small",
        targets=["target", "target_cyrusd_60"],
        horizon_days=20,
        folds={"embargo_eras": 8},
        grid={"n_estimators": [2]},
        benchmark={"n_estimators": 2},
    )
    dataset = open_dataset(directory, "small", "target")
    plan = make_plan(experiment, dataset)
    shape_of(plan)
    if column.startswith(("feature", "target")):
        BinnedFolds(dataset, plan.targets, 0).get(plan.scored_folds[0], 5, "target")
    dataset.read_target("target_cyrusd_60")
    dataset.read_benchmarks(dataset.benchmark_columns, slice(None))
    assert len(dataset.read_ids()) == len(dataset)
    assert len(dataset.content) == 16
    return dataset


def test_several_hundred_odd_columns_are_read_or_refused_in_one_line(whole, tmp_path):
    directory = tmp_path / "numerai"
    shutil.copytree(whole, directory)
    good = {path: path.read_bytes() for path in directory.iterdir()}
    refused, wrong = 0, []
    for column, kind, where in CASES:
        put(directory, column, KINDS[kind], where)
        try:
            check_what_was_accepted(used(directory, column))
        except UserError as error:
            refused += 1
            message = str(error)
            if "\n" in message or len(message) > 1000 or not re.search(rf"numerai|{column}|era", message):
                wrong.append((column, kind, where, message))
        except Exception as error:  # noqa: BLE001
            wrong.append((column, kind, where, repr(error)))
        for name in FILES[where]:
            path = file_of(directory, name)
            path.write_bytes(good[path])
    assert not wrong, "\n".join(map(str, wrong))
    assert len(CASES) > 240
    assert refused > 100


def check_what_was_accepted(dataset: Dataset) -> None:
    assert np.all(np.diff(dataset.eras) >= 0)
    assert np.isfinite(dataset.read_scoring_target()).any()
    for column in dataset.read_features(dataset.features, slice(None)).columns:
        values = column.cast(pa.float64(), safe=False).to_numpy()
        assert not np.isinf(values).any()
    assert len(set(dataset.read_ids().to_pylist())) == len(dataset)


def test_damaged_feature_sets_are_refused_in_one_line(whole, tmp_path):
    good = {"feature_sets": {"small": ["feature_00"], "all": ["feature_00", "feature_01"]}}
    texts = ["", "null", "[]", "3", '"x"', "{", "{}", "\x00", "[" * 100_000, '{"a":' * 100_000, "nan"]
    odd = [
        None,
        3,
        "x",
        [],
        [3],
        [None],
        [["feature_00"]],
        {},
        ["target"],
        ["feature_99"],
        ["feature_00"] * 2,
        [""],
        True,
    ]
    texts += [json.dumps({"feature_sets": value}) for value in odd]
    texts += [json.dumps(good | {"feature_sets": {"small": value}}) for value in odd]
    for text in texts:
        directory = tmp_path / "data"
        shutil.copytree(whole, directory)
        (directory / "features.json").write_text(text)
        with pytest.raises(UserError) as caught:
            open_dataset(directory, "small", "target")
        assert "\n" not in str(caught.value), text[:80]
        assert "features" in str(caught.value) or "feature_set" in str(caught.value), text[:80]
        shutil.rmtree(directory)
