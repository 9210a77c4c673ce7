"""Era labels: numbers are weeks, dates are read as weeks, and what is neither is refused rather than purged wrongly."""

from __future__ import annotations

from datetime import date, datetime, timedelta

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from signal_miner.data.dataset import open_dataset
from signal_miner.data.eras import LIVE_ERA, era_numbers, is_date, recorded_era_numbers, weeks_of
from signal_miner.data.folds import WalkForward
from signal_miner.errors import UserError
from tests.conftest import make_frame

SPELLINGS = {
    "iso": lambda day: day.isoformat(),
    "digits": lambda day: f"{day:%Y%m%d}",
    "number": lambda day: int(f"{day:%Y%m%d}"),
    "float": lambda day: float(f"{day:%Y%m%d}"),
    "timestamp": lambda day: datetime(day.year, day.month, day.day),
    "date": lambda day: day,
}


def weekly(first: date, count: int, weeks: int = 1) -> list[date]:
    return [first + timedelta(days=7 * weeks * number) for number in range(count)]


def test_era_labels_of_all_ages_are_the_same_numbers():
    assert era_numbers(["0575", "era575", "575"]).tolist() == [575, 575, 575]
    assert era_numbers(["eraX", "X"]).tolist() == [LIVE_ERA, LIVE_ERA]
    assert era_numbers(np.array([3, 1])).tolist() == [3, 1]


@given(st.dates(date(1990, 1, 1), date(2090, 1, 1)), st.integers(1, 500), st.sampled_from(sorted(SPELLINGS)))
def test_dates_are_as_many_numbers_apart_as_weeks(first, weeks, spelling):
    labels = [SPELLINGS[spelling](day) for day in (first, first + timedelta(days=7 * weeks))]
    numbers = era_numbers(labels)
    assert numbers[1] - numbers[0] == weeks
    assert numbers[0] > 0
    assert all(map(is_date, labels))
    assert weeks_of([str(labels[0]), "X"]) == [numbers[0], LIVE_ERA]


@pytest.mark.parametrize("spelling", sorted(SPELLINGS))
def test_dates_are_purged_as_the_weeks_that_they_are(spelling):
    labels = [SPELLINGS[spelling](day) for day in weekly(date(2010, 1, 8), 100)]
    splitter = WalkForward(2, purge_eras=16, holdout_eras=10)
    for own, numbered in zip(
        splitter.split(None, groups=labels), splitter.split(None, groups=range(1, 101)), strict=True
    ):
        np.testing.assert_array_equal(own[0], numbered[0])
        np.testing.assert_array_equal(own[1], numbered[1])


@pytest.mark.parametrize(
    "kind", [pa.string(), pa.int64(), pa.date32(), pa.timestamp("ns"), pa.dictionary(pa.int8(), pa.string())]
)
def test_a_file_whose_eras_are_dates_has_weeks(tmp_path, kind):
    frame = make_frame(range(1, 41), rows=10)
    days = dict(zip(sorted(frame["era"].unique()), weekly(date(2015, 2, 6), 40), strict=True))
    text = kind == pa.string() or pa.types.is_dictionary(kind)
    spelled = {
        era: day.isoformat() if text else int(f"{day:%Y%m%d}") if kind == pa.int64() else day
        for era, day in days.items()
    }
    table = pa.Table.from_pandas(frame)
    eras = pa.array([spelled[era] for era in frame["era"]])
    table = table.set_column(
        table.schema.get_field_index("era"),
        "era",
        eras.cast(kind) if not pa.types.is_dictionary(kind) else eras.dictionary_encode(),
    )
    pq.write_table(table, tmp_path / "dated.parquet")
    frame.to_parquet(tmp_path / "numbered.parquet")
    dated, numbered = (open_dataset(tmp_path / f"{name}.parquet", "all", "target") for name in ("dated", "numbered"))
    assert dated.dated
    assert not numbered.dated
    np.testing.assert_array_equal(dated.eras - dated.eras[0], numbered.eras - numbered.eras[0])
    first, last = (dated.era_labels[int(dated.eras[place])] for place in (0, -1))
    assert pd.Timestamp(first) == pd.Timestamp(days["0001"])
    assert pd.Timestamp(last) == pd.Timestamp(days["0040"])


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (["monday"], "'monday' is not an era label; write the number of its week"),
        (["201701", "201702"], "'201701' is not an era label; .* or a date as '2017-01-06'"),
        ([1483660800, 1484265600], "'1483660800' is not an era label"),
        (["20171301"], "'20171301' is not an era label"),
        (["2017-01-03", "2017-01-04"], "'2017-01-03' and '2017-01-04' are in one week, .* keep one date a week"),
        (["20170103", "20170105"], "are in one week"),
        (["0575", "2017-01-06"], "era '0575' is no date, but era '2017-01-06' is; write all eras in one way"),
        (["2017-01-06", "eraY"], "era 'eraY' is no date"),
        (["9" * 5000], "is not an era label"),
    ],
)
def test_labels_whose_distance_is_not_known_are_refused(labels, message):
    with pytest.raises(UserError, match=message):
        era_numbers(labels)


def test_eras_that_were_mined_already_can_be_read_whatever_their_numbers():
    assert recorded_era_numbers(["201701", "201712"]).tolist() == [201701, 201712]
    assert recorded_era_numbers(["20170103", "20170104"]).tolist() == [20170103, 20170104]
    assert recorded_era_numbers(["0001", "0002"]).tolist() == [1, 2]
    with pytest.raises(UserError, match="'monday' is not an era label"):
        recorded_era_numbers(["monday"])


def test_dates_of_two_files_are_compared_with_each_other(tmp_path):
    directory = tmp_path / "data"
    directory.mkdir()
    make_frame(range(1, 3), rows=5).assign(era="2017-01-03").to_parquet(directory / "train.parquet")
    make_frame(range(3, 5), rows=5).assign(era="2017-01-04").to_parquet(directory / "validation.parquet")
    (directory / "features.json").write_text('{"feature_sets": {"all": ["feature_00"]}}')
    with pytest.raises(UserError, match="are in one week"):
        open_dataset(directory, "all", "target")
