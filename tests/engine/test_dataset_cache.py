"""Binned datasets on disk: the same trees from them, and no damaged entry ever reaches LightGBM."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections import namedtuple

import lightgbm as lgb
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from signal_miner.data.dataset import open_dataset
from signal_miner.data.folds import Fold, WalkForward
from signal_miner.engine import dataset_cache
from signal_miner.engine.binning import BinnedFolds
from signal_miner.engine.dataset_cache import RECORD, DatasetCache, entry_key
from signal_miner.errors import Stopped
from signal_miner.experiment.parameters import dataset_params
from tests.conftest import make_frame
from tests.helpers.training import train

PARAMS = {"n_estimators": 4, "num_leaves": 7, "max_bin": 5, "target": "target"}
GROUP_BYTES = 400_000


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    path = tmp_path_factory.mktemp("cache") / "some.parquet"
    make_frame(range(1, 61), rows=300).to_parquet(path)
    return path


@pytest.fixture(scope="module")
def dataset(source):
    return open_dataset(source, "all", "target")


@pytest.fixture(scope="module")
def folds(dataset):
    return WalkForward(4, 8).folds(dataset.eras)


@pytest.fixture
def cache(tmp_path):
    return DatasetCache(tmp_path / "cache", 10**9, worth_seconds=-1)


def predict(dataset, fold, cache=None):
    binned = BinnedFolds(dataset, ("target",), 0, group_bytes=GROUP_BYTES, cache=cache)
    return train(binned, fold, PARAMS, 0)


def entries(cache):
    return sorted(path for path in cache.directory.iterdir() if path.is_dir())


def refuse_to_build(monkeypatch):
    def built(*_arguments):
        raise AssertionError("it was built again")

    monkeypatch.setattr("signal_miner.engine.binning.binned_groups", built)


def test_what_is_stored_is_loaded_and_trains_the_same(dataset, folds, cache, monkeypatch):
    expected = predict(dataset, folds[1])
    np.testing.assert_array_equal(predict(dataset, folds[1], cache), expected)
    (entry,) = entries(cache)
    names = {path.name for path in entry.iterdir()}
    assert {RECORD, "train-0000.bin", "validation-0000.bin", "train-0001.bin", "validation-0001.bin"} <= names
    refuse_to_build(monkeypatch)
    np.testing.assert_array_equal(predict(dataset, folds[1], cache), expected)
    with pytest.raises(AssertionError, match="built again"):
        predict(dataset, folds[0], cache)


def test_a_fold_without_validation_eras_is_stored_too(dataset, cache, monkeypatch):
    whole = Fold(5, tuple(range(1, 61)), ())
    texts = []
    for _ in range(2):
        data = BinnedFolds(dataset, ("target",), 0, group_bytes=GROUP_BYTES, cache=cache).get(whole, 5, "target")
        assert data.validation is None
        texts.append(lgb.train(dataset_params(5, 0), data.train, 3).model_to_string())
        refuse_to_build(monkeypatch)
    assert texts[0] == texts[1]


def test_what_was_built_quickly_is_not_stored(dataset, folds, tmp_path):
    cache = DatasetCache(tmp_path / "cache", 10**9, worth_seconds=60)
    predict(dataset, folds[0], cache)
    assert not cache.directory.exists()


@given(place=st.floats(0, 1, exclude_max=True), bit=st.integers(0, 7), which=st.integers(0, 99))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=25)
def test_a_flipped_bit_anywhere_is_found_and_the_entry_rebuilt(dataset, folds, cache, caplog, place, bit, which):
    expected = predict(dataset, folds[0], cache)
    (entry,) = entries(cache)
    files = sorted(entry.iterdir())
    path = files[which % len(files)]
    content = bytearray(path.read_bytes())
    content[int(place * len(content))] ^= 1 << bit
    path.write_bytes(content)
    caplog.clear()
    np.testing.assert_array_equal(predict(dataset, folds[0], cache), expected)
    assert "is unusable and removed" in caplog.text
    caplog.clear()
    np.testing.assert_array_equal(predict(dataset, folds[0], cache), expected)
    assert not caplog.records


def damage(entry, other, what):
    first, second = entry / "train-0000.bin", entry / "train-0001.bin"
    match what:
        case "cut short":
            os.truncate(first, first.stat().st_size - 1)
        case "empty":
            os.truncate(first, 0)
        case "missing":
            second.unlink()
        case "all but the record missing":
            for path in entry.glob("*.bin"):
                path.unlink()
        case "record missing":
            (entry / RECORD).unlink()
        case "record cut short":
            os.truncate(entry / RECORD, 100)
        case "record of nothing":
            (entry / RECORD).write_text("[]")
        case "a file more":
            shutil.copy(first, entry / "train-0000.bin.bin")
        case "parts swapped":
            content = first.read_bytes()
            first.write_bytes(second.read_bytes())
            second.write_bytes(content)
        case "entries swapped":
            aside = entry.with_name("aside")
            entry.rename(aside)
            other.rename(entry)
            aside.rename(other)
        case "text":
            first.write_text("1,2,3\n4,5,6\n")
        case "a directory":
            first.unlink()
            first.mkdir()
        case "another version's":
            record = json.loads((entry / RECORD).read_text())
            (entry / RECORD).write_text(json.dumps(record | {"lightgbm": "4.6.0"}))


@pytest.mark.parametrize(
    "what",
    [
        *("cut short", "empty", "missing", "all but the record missing", "record missing", "record cut short"),
        *("record of nothing", "a file more", "parts swapped", "entries swapped", "text", "a directory"),
        "another version's",
    ],
)
def test_a_damaged_entry_is_removed_and_rebuilt(dataset, folds, cache, caplog, what):
    expected = [predict(dataset, fold, cache) for fold in folds[:2]]
    damage(*entries(cache), what)
    for fold, values in zip(folds[:2], expected, strict=True):
        np.testing.assert_array_equal(predict(dataset, fold, cache), values)
    assert caplog.text.count("is unusable and removed") == (2 if what == "entries swapped" else 1)
    caplog.clear()
    for fold, values in zip(folds[:2], expected, strict=True):
        np.testing.assert_array_equal(predict(dataset, fold, cache), values)
    assert not caplog.records
    assert len(entries(cache)) == 2


def test_the_key_follows_whatever_the_bins_depend_on(dataset, source, folds, monkeypatch):
    params = dataset_params(5, 0)
    known = np.ones(10, bool)
    other = known.copy()
    other[3] = False
    keys = [
        entry_key(dataset, folds[0], None, params),
        entry_key(dataset, folds[1], None, params),
        entry_key(dataset, Fold(1, folds[0].train_eras[::4], folds[0].validation_eras), None, params),
        entry_key(dataset, folds[0], known, params),
        entry_key(dataset, folds[0], other, params),
        entry_key(dataset, folds[0], None, dataset_params(4, 0)),
        entry_key(dataset, folds[0], None, dataset_params(5, 1)),
        entry_key(open_dataset(source, "all", "target_ender_20"), folds[0], None, params),
    ]
    monkeypatch.setattr(lgb, "__version__", "4.9.9")
    keys.append(entry_key(dataset, folds[0], None, params))
    assert len(set(keys)) == len(keys)
    monkeypatch.undo()
    assert entry_key(dataset, Fold(9, folds[0].train_eras, folds[0].validation_eras), None, params) == keys[0]


def test_beyond_the_limit_what_was_not_used_for_longest_is_removed(dataset, folds, cache):
    fold_keys = [entry_key(dataset, fold, None, dataset_params(5, 0)) for fold in folds]
    for number in (1, 3, 0):
        predict(dataset, folds[number], cache)
        time.sleep(0.02)
    predict(dataset, folds[1], cache)  # used again, so that the largest is the oldest
    (cache.directory / "notes").mkdir()
    (cache.directory / "notes" / "mine.txt").write_text("not an entry")
    total = sum(path.stat().st_size for path in cache.directory.glob("*/*.bin"))
    small = DatasetCache(cache.directory, total, worth_seconds=-1)
    predict(dataset, folds[2], small)
    assert {entry.name for entry in entries(cache)} == {*(fold_keys[number] for number in (0, 1, 2)), "notes"}
    assert sum(path.stat().st_size for path in cache.directory.glob("*/*.bin")) <= total


def test_what_is_larger_than_limit_or_disk_is_not_stored(dataset, folds, cache, monkeypatch, caplog):
    expected = predict(dataset, folds[0])
    tiny = DatasetCache(cache.directory, 10_000, worth_seconds=-1)
    np.testing.assert_array_equal(predict(dataset, folds[0], tiny), expected)
    assert "the limit is 10000" in caplog.text
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda _path: usage(10**12, 10**12, dataset_cache.DISK_RESERVE_BYTES))
    np.testing.assert_array_equal(predict(dataset, folds[0], cache), expected)
    assert "the disk has 0 to spare" in caplog.text
    assert not [path for path in cache.directory.iterdir() if path.name != ".lock"]


def test_a_place_that_cannot_be_written_is_no_error(dataset, folds, tmp_path, caplog):
    (tmp_path / "file").write_text("in the way")
    np.testing.assert_array_equal(
        predict(dataset, folds[0], DatasetCache(tmp_path / "file", 10**9, -1)), predict(dataset, folds[0])
    )
    assert "is not stored in" in caplog.text


def test_an_entry_that_cannot_be_removed_is_not_used(dataset, folds, cache, monkeypatch, caplog):
    expected = predict(dataset, folds[0], cache)
    (entry,) = entries(cache)
    os.truncate(entry / "train-0000.bin", 5000)
    monkeypatch.setattr(DatasetCache, "_remove", lambda self, entry: None)
    np.testing.assert_array_equal(predict(dataset, folds[0], cache), expected)
    assert "train-0000.bin is not as it was written" in caplog.text


def test_a_file_that_lightgbm_cut_short_is_seen(dataset, folds, cache):
    predict(dataset, folds[0], cache)
    (entry,) = entries(cache)
    whole = (entry / "train-0000.bin").read_bytes()
    dataset_cache._check_whole(entry / "train-0000.bin")
    for size in (len(whole) - 1, len(whole) - 4096, len(whole) // 2, 41, 39, 0):
        (entry / "cut.bin").write_bytes(whole[:size])
        with pytest.raises(OSError, match=r"cut.bin was cut short"):
            dataset_cache._check_whole(entry / "cut.bin")


def test_a_stopped_build_leaves_nothing(dataset, folds, cache):
    calls = []
    binned = BinnedFolds(
        dataset, ("target",), 0, should_stop=lambda: len(calls) > 2 or calls.append(0), group_bytes=1, cache=cache
    )
    with pytest.raises(Stopped):
        binned.get(folds[0], 5, "target")
    assert len(calls) == 3
    assert not [path for path in cache.directory.iterdir() if path.name != ".lock"]


SCRIPT = """
import hashlib, resource, sys, time
from pathlib import Path
from signal_miner.engine.binning import BinnedFolds
from signal_miner.data.dataset import open_dataset
from signal_miner.engine.dataset_cache import DatasetCache
from signal_miner.data.folds import WalkForward
from signal_miner.engine.trial import train_fold

source, directory, mode, rounds = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3], int(sys.argv[4])
if mode == "full disk":
    resource.setrlimit(resource.RLIMIT_FSIZE, (9_000, 9_000))
limit = 2_000_000 if mode == "crowded" else 10**9
dataset = open_dataset(source, "all", "target")
digest = hashlib.sha256()
for _ in range(rounds):
    for fold in WalkForward(4, 8).folds(dataset.eras):
        cache = DatasetCache(directory, limit, worth_seconds=-1)
        binned = BinnedFolds(
            dataset, ("target",), 0, group_bytes=400_000, cache=cache,
            should_stop=lambda: time.sleep(0.5 if mode == "slow" else 0),
        )
        params = {"n_estimators": 4, "num_leaves": 7, "max_bin": 5, "target": "target"}
        digest.update(train_fold(binned.get(fold, 5, "target"), params, 0).tobytes())
print(digest.hexdigest())
"""


def start(source, directory, mode, rounds=1):
    command = [sys.executable, "-W", "ignore", "-c", SCRIPT, source, directory, mode, str(rounds)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def expected_digest(dataset, folds, rounds=1):
    return hashlib.sha256(b"".join(predict(dataset, fold).tobytes() for fold in folds) * rounds).hexdigest()


@pytest.mark.slow
@pytest.mark.parametrize(("mode", "rounds"), [("shared", 2), ("crowded", 4)])
def test_two_processes_share_a_directory(source, dataset, folds, cache, mode, rounds):
    """In the crowded one, which is too small for all entries, each removes what the other has stored."""
    processes = [start(source, cache.directory, mode, rounds) for _ in range(2)]
    for process in processes:
        out, err = process.communicate(timeout=120)
        assert process.returncode == 0, err
        assert out.strip() == expected_digest(dataset, folds, rounds)
    assert not list(cache.directory.glob(".aside-*"))
    assert len(entries(cache)) == (4 if mode == "shared" else len(entries(cache)))


@pytest.mark.slow
def test_a_disk_that_fills_up_while_storing_is_no_error(source, dataset, folds, cache):
    process = start(source, cache.directory, "full disk")
    out, err = process.communicate(timeout=120)
    assert process.returncode == 0, err
    assert out.strip() == expected_digest(dataset, folds)
    assert not entries(cache)


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="no kill -9 here")
def test_what_a_killed_process_was_storing_is_never_loaded_and_removed_by_the_next(source, dataset, folds, cache):
    process = start(source, cache.directory, "slow")
    deadline = time.monotonic() + 240
    while not list(cache.directory.glob(".aside-*/train-0001.bin")) and time.monotonic() < deadline:
        time.sleep(0.01)
    process.send_signal(signal.SIGSTOP)  # alive, and not done before the other is
    (aside,) = cache.directory.glob(".aside-*")
    predict(dataset, folds[3], cache)
    assert aside.exists(), "another process removed what a living one writes"
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert aside.exists()
    assert len(entries(cache)) == 2
    np.testing.assert_array_equal(predict(dataset, folds[0], cache), predict(dataset, folds[0]))
    assert not aside.exists()
    assert not list(cache.directory.glob(".aside-*"))


HOLDER = """
import sys, time
from filelock import FileLock
with FileLock(sys.argv[1]):
    print("held", flush=True)
    time.sleep(60)
"""


def test_a_lock_that_another_process_holds_too_long_is_not_waited_for(dataset, folds, cache, monkeypatch, caplog):
    monkeypatch.setattr(dataset_cache, "LOCK_SECONDS", 0.1)
    cache.directory.mkdir()
    command = [sys.executable, "-c", HOLDER, cache.directory / ".lock"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout.readline().strip() == "held"
        np.testing.assert_array_equal(predict(dataset, folds[0], cache), predict(dataset, folds[0]))
        holder.kill()
    assert "is not stored in" in caplog.text
    assert not entries(cache)
