"""Stores of planes: the data bit for bit, built once for all, and no damaged or foreign file is ever trained on."""

from __future__ import annotations

import json
import logging
import os
import shutil
import signal
import struct
import subprocess
import sys
import threading
import time
import zlib
from collections import namedtuple

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from signal_miner.data.dataset import open_dataset
from signal_miner.engine.bitplane import store as store_module
from signal_miner.engine.bitplane import store_file
from signal_miner.engine.bitplane.planes import planes_bytes
from signal_miner.engine.bitplane.store import SUFFIX, level_counts_in_files, open_store, store_key
from signal_miner.engine.dataset_cache import DISK_RESERVE_BYTES
from signal_miner.errors import Stopped, UserError
from tests.conftest import FEATURES, make_frame, write_numerai_directory
from tests.engine.bitplane.test_planes import FLOATS, bits_of

HEAD = 64
TAIL = struct.Struct("<QQ8s")


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    path = tmp_path_factory.mktemp("planes") / "some.parquet"
    make_frame(range(1, 31), rows=77).to_parquet(path)
    return open_dataset(path, "all", "target")


@pytest.fixture
def directory(tmp_path):
    return tmp_path / "planes"


@pytest.fixture
def builds(monkeypatch):
    """The files written so far."""
    written = []

    def counting(path, *rest):
        written.append(path.name)
        store_file.write_planes(path, *rest)

    monkeypatch.setattr("signal_miner.engine.bitplane.store.write_planes", counting)
    return written


def matrix_of(dataset):
    return dataset.read_features(dataset.features, slice(None)).to_pandas().to_numpy()


def assert_holds(store, dataset):
    values = matrix_of(dataset)
    assert store.n_rows == len(values)
    assert store.features == dataset.features
    assert not store.planes.flags.writeable
    for place, levels in enumerate(store.levels):
        expected = np.unique(values[:, place])
        assert levels == tuple(expected.astype(float))
        planes = store.planes[store.offsets[place] : store.offsets[place + 1]]
        assert len(planes) == len(levels) - 1
        for plane, level in zip(planes, expected, strict=False):
            np.testing.assert_array_equal(bits_of(plane, len(values)), values[:, place] > level)
    assert len(store.planes) == store.offsets[-1] == len(store.thresholds)


def files_in(directory):
    return sorted(path.name for path in directory.iterdir() if path.name != ".lock")


@given(st.integers(0, 2**32), st.sampled_from(["int8", "uint8", "int32", "float16", *FLOATS]), st.data())
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=30)
def test_a_store_holds_the_resolved_rows_of_all_files(tmp_path_factory, seed, kind, data):
    """Of one or two files in any order of eras, of several row groups, with eras that are not resolved yet."""
    directory = tmp_path_factory.mktemp("any")
    generator = np.random.default_rng(seed)
    n_rows, n_features = data.draw(st.integers(40, 400)), data.draw(st.integers(1, 6))
    eras = generator.integers(1, 12, n_rows)
    columns = {"id": [f"n{row:05d}" for row in range(n_rows)], "era": [f"{era:04d}" for era in eras]}
    for place in range(n_features):
        levels = generator.choice(40, data.draw(st.integers(1, 16)), replace=False)
        levels = levels / 4 if kind.startswith("float") else levels
        columns[f"feature_{place}"] = generator.choice(levels, n_rows).astype(kind)
    columns["target"] = np.where(eras == 7, np.nan, generator.random(n_rows)).astype("float32")
    frame = pd.DataFrame(columns).set_index("id")
    cut = data.draw(st.integers(1, n_rows))
    frame.iloc[:cut].to_parquet(directory / "train.parquet", row_group_size=data.draw(st.integers(10, n_rows)))
    frame.iloc[cut:].to_parquet(directory / "validation.parquet", row_group_size=50)
    dataset = open_dataset(directory, "all", "target")
    built = open_store(dataset, directory / "planes", group_bytes=data.draw(st.sampled_from([1, 1000, 10**6])))
    assert_holds(built, dataset)
    assert_holds(open_store(dataset, directory / "planes"), dataset)
    assert built.planes.nbytes <= planes_bytes(len(dataset), level_counts_in_files(dataset))
    rows = dataset.rows_of(generator.choice(np.unique(dataset.eras), 3))
    values = matrix_of(dataset)[rows]
    for place, counts in enumerate(built.level_counts(built.mask(rows))):
        levels = built.levels[place]
        assert counts.tolist() == [*(np.sum(values[:, place] == level) for level in levels), *[0] * (16 - len(levels))]


def test_a_feature_set_is_a_list_of_columns(tmp_path, directory, builds):
    source = write_numerai_directory(tmp_path / "numerai")
    whole, small = (open_dataset(source, name, "target") for name in ("all", "small"))
    store = open_store(whole, directory)
    columns = store.columns(small.features)
    assert [store.features[column] for column in columns] == list(small.features)
    mask = store.mask(whole.rows_of([3, 4, 9]))
    np.testing.assert_array_equal(store.level_counts(mask, columns), store.level_counts(mask)[columns])
    assert store.level_counts(store.mask(slice(0))).sum() == 0
    with pytest.raises(KeyError):
        store.columns(["feature_of_others"])
    assert len(builds) == 1


def test_real_data(legacy_directory, directory):
    dataset = open_dataset(legacy_directory, "all", "target")
    assert_holds(open_store(dataset, directory), dataset)


def test_split_values_are_halfway_between_levels(tmp_path, directory):
    frame = make_frame(range(1, 8), rows=20)
    frame["feature_00"] = (frame["feature_00"] / 4).astype("float32")
    frame["feature_01"] = (frame["feature_01"] * 2 - 3).astype("int8")
    frame["feature_02"] = np.int8(2)
    frame.to_parquet(tmp_path / "some.parquet")
    store = open_store(open_dataset(tmp_path / "some.parquet", "all", "target"), directory)
    assert store.levels[:3] == ((0, 0.25, 0.5, 0.75, 1), (-3, -1, 1, 3, 5), (2,))
    assert store.offsets[:5].tolist() == [0, 4, 8, 8, 12]
    assert store.thresholds[:9].tolist() == [0.125, 0.375, 0.625, 0.875, -2, 0, 2, 4, 0.5]


def test_features_that_never_change_have_no_planes(tmp_path, directory):
    frame = make_frame(range(1, 8), rows=20)
    frame[FEATURES] = np.int8(2)
    frame.to_parquet(tmp_path / "some.parquet")
    dataset = open_dataset(tmp_path / "some.parquet", "all", "target")
    for _ in range(2):
        store = open_store(dataset, directory)
        assert store.planes.shape == (0, 8)
        assert store.level_counts(store.mask(slice(0, 9)))[:, 0].tolist() == [9] * len(FEATURES)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ([0, 1, None], "is missing in some rows, which bit planes cannot hold"),
        (np.arange(17, dtype="int8"), "has more than 16 values, the most that bit planes hold"),
        (np.arange(17) / 16, "has more than 16 values, the most that bit planes hold"),
        (np.arange(2000) / 7, "has more than 16 values, the most that bit planes hold"),
    ],
)
def test_what_planes_cannot_hold_is_refused_in_one_line_that_names_the_other_engine(
    tmp_path, directory, values, message
):
    frame = make_frame(range(1, 31), rows=77)
    frame["feature_05"] = np.resize(np.array(values), len(frame))
    frame["feature_05"] = frame["feature_05"].astype("int8" if np.array(values).dtype == "int8" else "float32")
    frame.to_parquet(tmp_path / "some.parquet")
    dataset = open_dataset(tmp_path / "some.parquet", "all", "target")
    with pytest.raises(UserError, match=f"^some.parquet: feature 'feature_05' {message}; .* or set engine = \"lightgb"):
        level_counts_in_files(dataset)
    with pytest.raises(UserError, match=f"^some.parquet: feature 'feature_05' {message}; .* or set engine = \"lightgb"):
        open_store(dataset, directory)
    assert files_in(directory) == []


def forge(path, made=None, **changes):
    """Change a store's record, with a checksum that is right, or replace it by another text."""
    content = path.read_bytes()
    length, _, end = TAIL.unpack(content[-TAIL.size :])
    start = len(content) - TAIL.size - length
    record = json.loads(content[start : -TAIL.size]) | changes
    body = json.dumps({key: value for key, value in record.items() if value is not None}).encode()
    body = made or body
    path.write_bytes(content[:start] + body + TAIL.pack(len(body), zlib.crc32(body), end))


DAMAGE = {
    "empty": lambda path: os.truncate(path, 0),
    "the first byte alone": lambda path: os.truncate(path, 1),
    "no record": lambda path: os.truncate(path, HEAD),
    "half": lambda path: os.truncate(path, path.stat().st_size // 2),
    "a byte too few": lambda path: os.truncate(path, path.stat().st_size - 1),
    "a byte too many": lambda path: path.write_bytes(path.read_bytes() + b"\0"),
    "a plane more": lambda path: path.write_bytes(path.read_bytes()[:HEAD] + bytes(320) + path.read_bytes()[HEAD:]),
    "text": lambda path: path.write_text("era,feature\n" * 100),
    "zeros": lambda path: path.write_bytes(bytes(path.stat().st_size)),
    "zeros in the middle": lambda path: path.write_bytes(path.read_bytes()[:4096] + bytes(path.stat().st_size - 4096)),
    "another format": lambda path: forge(path, format=store_file.FORMAT + 1),
    "another key": lambda path: forge(path, key="0" * 64),
    "other rows": lambda path: forge(path, n_rows=2311),
    "other features": lambda path: forge(path, features=[*FEATURES[:-1], "feature_zz"]),
    "fewer features": lambda path: forge(path, features=FEATURES[:-1]),
    "other levels": lambda path: forge(path, levels=[[0, 1, 2]] * len(FEATURES)),
    "levels of nothing": lambda path: forge(path, levels=None),
    "levels that are none": lambda path: forge(path, levels=[1] * len(FEATURES)),
    "other checksums": lambda path: forge(path, crc32=[1] * len(FEATURES)),
    "too few checksums": lambda path: forge(path, crc32=[1]),
    "no checksums": lambda path: forge(path, crc32=None),
    "a record that is text": lambda path: forge(path, b'"era"'),
    "a record that is a list": lambda path: forge(path, b"[]"),
    "a record that is no JSON": lambda path: forge(path, b"{"),
    "more than is known": lambda path: forge(path, compressed=True),
}


@pytest.mark.parametrize("what", DAMAGE)
def test_a_damaged_outdated_or_foreign_store_is_built_again(dataset, directory, builds, caplog, what):
    path = open_store(dataset, directory).path
    whole = path.read_bytes()
    DAMAGE[what](path)
    assert path.read_bytes() != whole
    assert_holds(open_store(dataset, directory), dataset)
    assert caplog.text.count("is unusable and built again") == 1
    assert path.read_bytes() == whole
    assert len(builds) == 2
    open_store(dataset, directory)
    assert len(builds) == 2


@given(place=st.floats(0, 1, exclude_max=True), bit=st.integers(0, 7), part=st.sampled_from(["all", "record", "tail"]))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)
def test_a_flipped_bit_anywhere_is_found(dataset, directory, builds, place, bit, part):
    path = open_store(dataset, directory).path
    whole = path.read_bytes()
    record = TAIL.unpack(whole[-TAIL.size :])[0] + TAIL.size
    length = {"all": len(whole), "record": record, "tail": TAIL.size}[part]
    changed = bytearray(whole)
    changed[len(whole) - length + int(place * length)] ^= 1 << bit
    path.write_bytes(changed)
    builds.clear()
    open_store(dataset, directory)
    assert len(builds) == 1
    assert path.read_bytes() == whole


def test_a_store_under_another_name_is_not_used(dataset, tmp_path, directory, builds):
    make_frame(range(1, 31), rows=77, seed=1).to_parquet(tmp_path / "other.parquet")
    other = open_dataset(tmp_path / "other.parquet", "all", "target")
    paths = [open_store(each, directory).path for each in (dataset, other)]
    shutil.copy(*paths)
    assert_holds(open_store(other, directory), other)
    assert len(builds) == 3


def test_a_directory_in_a_stores_place_is_one_line(dataset, directory):
    (directory / f"{store_key(dataset)}{SUFFIX}").mkdir(parents=True)
    with pytest.raises(UserError, match=r"\.planes cannot be written \([^)]+\); choose another place"):
        open_store(dataset, directory)
    assert len(files_in(directory)) == 1


def test_the_key_follows_values_rows_and_features_and_not_the_target(tmp_path, monkeypatch):
    def written(name, frame):
        frame.to_parquet(tmp_path / name)
        return tmp_path / name

    frame = make_frame(range(1, 31), rows=40)
    frame["target_other_20"] = frame["target"].where(frame["era"] < "0025")
    source = written("some.parquet", frame)
    swapped = frame.copy()
    swapped.loc[swapped.index[:2], "feature_03"] = swapped["feature_03"].to_numpy()[1::-1]
    keys = [
        store_key(open_dataset(source, "all", "target")),
        store_key(open_dataset(source, "all", "target_other_20")),  # of fewer eras
        store_key(open_dataset(written("swapped.parquet", swapped), "all", "target")),
        store_key(open_dataset(written("fewer.parquet", frame.drop(columns="feature_11")), "all", "target")),
    ]
    assert store_key(open_dataset(source, "all", "target_ender_20")) == keys[0]
    monkeypatch.setattr(store_module, "FORMAT", 99)
    keys.append(store_key(open_dataset(source, "all", "target")))
    assert len(set(keys)) == len(keys)


def test_data_that_are_written_again_get_a_store_of_their_own(tmp_path, directory):
    for seed in range(2):
        make_frame(range(1, 31), rows=40, seed=seed).to_parquet(tmp_path / "some.parquet")
        dataset = open_dataset(tmp_path / "some.parquet", "all", "target")
        assert_holds(open_store(dataset, directory), dataset)
    assert len(files_in(directory)) == 2


def test_data_that_change_while_they_are_read_are_not_stored(tmp_path, directory):
    path = tmp_path / "some.parquet"
    make_frame(range(1, 31), rows=40).to_parquet(path)
    dataset = open_dataset(path, "all", "target")

    def written_again(done, total):
        make_frame(range(1, 31), rows=40, seed=1).to_parquet(path)

    with pytest.raises(UserError, match=r"the files of some\.parquet changed while they were read; start again"):
        open_store(dataset, directory, group_bytes=1, on_features=written_again)
    assert files_in(directory) == []


def test_progress_is_reported_by_features(dataset, directory):
    seen = []
    open_store(dataset, directory, group_bytes=5 * len(dataset), on_features=lambda *each: seen.append(each))
    assert seen == [(5, 12), (10, 12), (12, 12)]


def test_a_stopped_build_leaves_nothing(dataset, directory):
    asked = []
    with pytest.raises(Stopped):
        open_store(dataset, directory, group_bytes=1, should_stop=lambda: len(asked) > 4 or asked.append(0))
    assert files_in(directory) == []


def test_a_check_and_a_wait_for_another_process_can_be_stopped(dataset, directory):
    open_store(dataset, directory)
    with pytest.raises(Stopped):
        open_store(dataset, directory, should_stop=lambda: True)
    shutil.rmtree(directory)
    with store_module._turn(directory, lambda: False), pytest.raises(Stopped):
        open_store(dataset, directory, should_stop=lambda: True)


def test_threads_share_one_build(dataset, directory, builds):
    stores = []
    threads = [threading.Thread(target=lambda: stores.append(open_store(dataset, directory))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(builds) == 1
    assert len(stores) == 4
    assert_holds(stores[3], dataset)


@pytest.mark.skipif(os.name == "nt", reason="Windows removes no file that is mapped")
def test_beyond_the_limit_the_stores_that_were_not_used_for_longest_are_removed(tmp_path, directory):
    def store(seed, limit=10**9):
        path = tmp_path / f"{seed}.parquet"
        if not path.exists():
            make_frame(range(1, 31), rows=77, seed=seed).to_parquet(path)
        opened = open_store(open_dataset(path, "all", "target"), directory, limit_bytes=limit)
        time.sleep(0.02)
        return opened

    first, second = store(1), store(2)
    kept = second.planes.copy()
    store(1)
    size = first.path.stat().st_size
    third = store(3, limit=2 * size)
    assert files_in(directory) == sorted([first.path.name, third.path.name])
    np.testing.assert_array_equal(second.planes, kept)  # still mapped
    fourth = store(4, limit=1)
    assert files_in(directory) == [fourth.path.name]


def test_no_room_on_disk_is_one_line(dataset, directory, monkeypatch):
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda _path: usage(10**12, 10**12, DISK_RESERVE_BYTES + 1000))
    with pytest.raises(
        UserError,
        match=r"planes needs 0\.0 GB more for the features as bit planes, and the disk has 0\.0 GB to spare; "
        r'free disk space, name a smaller feature_set, or set engine = "lightgbm"$',
    ):
        open_store(dataset, directory)
    assert files_in(directory) == []


def test_a_disk_that_fills_up_meanwhile_is_one_line(dataset, directory):
    resource = pytest.importorskip("resource")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (9000, before[1]))
    try:
        with pytest.raises(UserError, match=r"\.planes cannot be written \(File too large\); .* or free disk space$"):
            open_store(dataset, directory)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert files_in(directory) == []
    assert_holds(open_store(dataset, directory), dataset)


def test_a_place_that_cannot_be_written_is_one_line(dataset, tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(UserError, match=r"file cannot be written or locked \(.*\); permit it, or work on "):
        open_store(dataset, tmp_path / "file")


SCRIPT = """
import sys, time
from pathlib import Path
from signal_miner.data.dataset import open_dataset
from signal_miner.engine.bitplane.store import open_store

dataset = open_dataset(Path(sys.argv[1]), "all", "target")
pause = float(sys.argv[3])
seen = []
store = open_store(
    dataset, Path(sys.argv[2]), group_bytes=1,
    on_features=lambda done, total: (seen.append(done), print(done, flush=True), time.sleep(pause)),
)
print("built" if seen else "found", int(store.planes.sum() % 2**53))
"""


def start(dataset, directory, pause):
    command = [sys.executable, "-c", SCRIPT, *dataset.source.paths, directory, str(pause)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


@pytest.mark.slow
def test_of_two_processes_one_builds_and_the_other_waits(dataset, directory):
    processes = [start(dataset, directory, 0.05) for _ in range(2)]
    answers = []
    for process in processes:
        out, err = process.communicate(timeout=120)
        assert process.returncode == 0, err
        answers.append(out.splitlines()[-1].split())
    assert sorted(answer[0] for answer in answers) == ["built", "found"]
    assert answers[0][1] == answers[1][1] == str(int(open_store(dataset, directory).planes.sum() % 2**53))


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="no kill -9 here")
def test_what_a_killed_process_wrote_is_removed_and_the_store_built(dataset, directory, caplog):
    process = start(dataset, directory, 5)
    assert process.stdout.readline() == "1\n"
    process.send_signal(signal.SIGKILL)
    process.communicate()
    (left,) = files_in(directory)
    assert left.endswith(".part")
    with caplog.at_level(logging.WARNING):
        assert_holds(open_store(dataset, directory), dataset)
    assert files_in(directory) == [f"{store_key(dataset)}{SUFFIX}"]
    assert not caplog.records
