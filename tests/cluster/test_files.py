"""Data and predictions at addresses that several machines reach."""

from __future__ import annotations

import numpy as np
import pytest

from signal_miner.cluster.files import ArraysFile, local_data
from signal_miner.data.sources import open_source
from signal_miner.errors import UserError
from tests.conftest import write_numerai_directory


@pytest.mark.parametrize("place", ["{tmp}/a/b", "memory://exchange"])
def test_arrays_come_back_as_they_were_and_leave_nothing(tmp_path, place):
    generator = np.random.default_rng(0)
    arrays = [np.asfortranarray(generator.random((rows, 2)).astype(np.float32)) for rows in (5, 1, 7)]
    file = ArraysFile.write(place.format(tmp=tmp_path), "study-1", arrays)
    for taken, array in zip(file.take(), arrays, strict=True):
        assert taken.dtype == np.float32
        assert taken.flags.f_contiguous
        np.testing.assert_array_equal(taken, array)
    with pytest.raises(FileNotFoundError):
        file.take()


def test_the_first_place_that_is_here_counts(tmp_path):
    assert local_data((str(tmp_path / "none"), str(tmp_path), "demo")) == str(tmp_path)
    assert local_data((str(tmp_path / "none"), "demo")) == "demo"


def test_data_at_an_address_are_copied_once(tmp_path, monkeypatch):
    directory = write_numerai_directory(tmp_path / "numerai", eras=30, rows=10)
    monkeypatch.chdir(tmp_path)
    place = local_data((directory.as_uri(),))
    wanted, found = (open_source(str(path), "all", "target") for path in (directory, place))
    assert (found.digest, found.content) == (wanted.digest, wanted.content)
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / place).glob("*.parquet")}
    assert local_data((directory.as_uri(),)) == place
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / place).glob("*.parquet")} == before
    single = local_data(((directory / "train.parquet").as_uri(),))
    assert single.endswith("train.parquet")


def test_an_address_that_cannot_be_read_is_named(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=r"cluster\.data = 'file:.*/none' cannot be read"):
        local_data(((tmp_path / "none").as_uri(),))
