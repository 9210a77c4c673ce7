"""The values of features, by statistics or read, against numpy."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from signal_miner.data.feature_values import MOST_LEVELS, FeatureValues, feature_values

ROWS = 1000


def columns() -> pd.DataFrame:
    generator = np.random.default_rng(0)
    quintiles = generator.integers(0, 5, ROWS)
    return pd.DataFrame(
        {
            "integers": quintiles.astype(np.int8),
            "quarters": (quintiles / 4).astype(np.float32),
            "half": (quintiles / 4).astype(np.float16),
            "decimals": quintiles / 10,
            "with_nan": np.where(quintiles == 3, np.nan, quintiles),
            "unknown": np.full(ROWS, np.nan),
            "one": np.full(ROWS, 2, np.int8),
            "sparse": quintiles.astype(np.int64) * 1000,
            "continuous": generator.normal(size=ROWS),
            "many": np.arange(ROWS),
            "infinite": np.where(quintiles == 3, np.inf, quintiles),
        }
    )


@pytest.mark.parametrize("statistics", [True, False])
@pytest.mark.parametrize("files", [1, 3])
def test_levels_are_those_of_the_rows(tmp_path: Path, files: int, statistics: bool) -> None:
    frame = columns()
    paths = [tmp_path / f"{number}.parquet" for number in range(files)]
    for path, part in zip(paths, np.array_split(np.arange(ROWS), files), strict=True):
        pq.write_table(pa.Table.from_pandas(frame.iloc[part]), path, row_group_size=70, write_statistics=statistics)
    found = dict(zip(frame, feature_values(paths, list(frame)), strict=True))
    for name in frame:
        values = frame[name].to_numpy(np.float32)
        distinct = np.unique(values[np.isfinite(values)])
        if len(distinct) == 0:
            assert found[name].levels == ()
            assert np.isnan([found[name].low, found[name].high]).all()
            continue
        assert (found[name].low, found[name].high) == (distinct[0], distinct[-1])
        assert found[name].levels == (tuple(distinct.tolist()) if len(distinct) <= MOST_LEVELS else ())


def test_integers_in_a_small_range_are_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "data.parquet"
    pd.DataFrame({"feature": np.array([0, 4, 2, 0], np.int8)}).to_parquet(path)
    monkeypatch.setattr("signal_miner.data.feature_values._read_levels", None)
    assert feature_values([path], ["feature"]) == (FeatureValues((0.0, 1.0, 2.0, 3.0, 4.0), 0.0, 4.0),)
