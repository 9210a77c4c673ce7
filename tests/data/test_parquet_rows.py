"""Rows of parquet files in any choice and order, read as pandas would, with each footer parsed once."""

from __future__ import annotations

import threading
import time

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from signal_miner.data import parquet_rows
from signal_miner.data.dataset import open_dataset
from signal_miner.data.parquet_rows import ParquetRows, footer_of, forget_large_footers, open_parquet
from signal_miner.errors import UserError
from tests.conftest import FEATURES, make_frame

COUNTS, GROUPS = (230, 170), (37, 60)
VALUES = np.random.default_rng(0).integers(-100, 100, (sum(COUNTS), 2)).astype(np.int8)


@pytest.fixture(scope="module")
def paths(tmp_path_factory):
    """Two files whose row groups are of unlike sizes."""
    directory, start, found = tmp_path_factory.mktemp("rows"), 0, []
    for number, (count, group) in enumerate(zip(COUNTS, GROUPS, strict=True)):
        part = VALUES[start : start + count]
        path = directory / f"{number}.parquet"
        pq.write_table(pa.table({"a": part[:, 0], "b": part[:, 1]}), path, row_group_size=group)
        found.append(path)
        start += count
    return tuple(found)


@given(data=st.data(), at_a_time=st.sampled_from([1, 40, 100, 2**20]))
def test_any_rows_in_any_order_are_the_files_rows(paths, data, at_a_time):
    total = sum(COUNTS)
    if data.draw(st.booleans(), label="ascending"):
        positions = np.flatnonzero(data.draw(st.lists(st.booleans(), min_size=total, max_size=total)))
    else:
        positions = np.array(data.draw(st.permutations(range(total))))
    rows = ParquetRows(paths, positions.astype(np.int64))
    low, high = sorted(data.draw(st.tuples(st.integers(0, len(rows)), st.integers(0, len(rows)))))
    step = data.draw(st.integers(1, 9))
    chosen = slice(low, high) if step == 1 else np.arange(low, high, step)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(parquet_rows, "ROWS_AT_A_TIME", at_a_time)
        table = rows.read(["b", "a"], chosen)
        held = rows.rows_held(chosen)
    assert table.column_names == ["b", "a"]
    expected = VALUES[positions[chosen]][:, ::-1]
    np.testing.assert_array_equal(np.column_stack([column.to_numpy() for column in table.columns]), expected)
    assert len(expected) <= held <= 2 * max(len(expected), sum(COUNTS))


def test_only_row_groups_that_hold_rows_are_read(paths, monkeypatch):
    read = []
    whole = pq.ParquetFile.read_row_groups
    monkeypatch.setattr(
        pq.ParquetFile, "read_row_groups", lambda self, groups, **how: read.extend(groups) or whole(self, groups, **how)
    )
    rows = ParquetRows(paths, np.arange(sum(COUNTS)))
    rows.read(["a"], np.array([5, 36, 80, 200, 380]))
    assert read == [0, 2, 5, 2]  # the last of the second file


def test_a_footer_is_parsed_once_by_all_threads_until_the_file_changes(tmp_path, monkeypatch):
    path = tmp_path / "one.parquet"
    pq.write_table(pa.table({"a": np.arange(10)}), path)
    parsed = []
    opened = pq.ParquetFile

    def slow(source, metadata=None, **options):
        if metadata is None:
            parsed.append(source)
            time.sleep(0.05)
        return opened(source, metadata=metadata, **options)

    monkeypatch.setattr(pq, "ParquetFile", slow)
    threads = [threading.Thread(target=lambda: open_parquet(path).close()) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(parsed) == 1
    forget_large_footers()
    assert footer_of(path).n_rows == 10
    assert len(parsed) == 1
    forget_large_footers(larger_than=0)
    assert footer_of(path).n_rows == 10
    assert len(parsed) == 2
    pq.write_table(pa.table({"a": np.arange(11)}), path)
    assert footer_of(path).n_rows == 11
    path.unlink()
    with pytest.raises(UserError, match=r"one.parquet does not exist; give a directory or file that does"):
        open_parquet(path)


def test_thinned_eras_are_positions_and_neighbours_a_range(tmp_path):
    frame = make_frame(range(1, 31), rows=20)
    frame.to_parquet(tmp_path / "extract.parquet", row_group_size=50)
    dataset = open_dataset(tmp_path / "extract.parquet", "all", "target")
    assert dataset.rows_of(range(4, 9)) == slice(60, 160)
    thinned = dataset.rows_of((2, 6, 7, 30))
    np.testing.assert_array_equal(dataset.eras[thinned], np.repeat([2, 6, 7, 30], 20))
    expected = frame.iloc[thinned]
    assert dataset.read_ids(thinned).to_pylist() == expected.index.tolist()
    np.testing.assert_array_equal(dataset.read_features(FEATURES, thinned).to_pandas(), expected[FEATURES])
    np.testing.assert_array_equal(dataset.read_target("target_cyrusd_60", thinned), expected["target_cyrusd_60"])
    np.testing.assert_array_equal(dataset.read_scoring_target(thinned), expected["target"])
    with pytest.raises(ValueError, match="these eras are not neighbours"):
        dataset.span_of((2, 6, 7, 30))
    for eras in ((2, 31), ()):
        with pytest.raises(ValueError, match=r"these eras are not all in extract.parquet"):
            dataset.rows_of(eras)
