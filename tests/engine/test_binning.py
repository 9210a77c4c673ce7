"""Binned folds in every combination of options: plain LightGBM's trees, within the memory that is estimated."""

from __future__ import annotations

import subprocess
import sys
import weakref
from pathlib import Path

import lightgbm as lgb
import numpy as np
import pandas as pd
import pytest

from signal_miner.data.dataset import open_dataset
from signal_miner.data.folds import Fold, WalkForward
from signal_miner.engine.binning import BinnedFolds
from signal_miner.engine.dataset_cache import DatasetCache
from signal_miner.engine.dataset_size import dataset_bytes
from tests.conftest import make_frame, write_numerai_directory
from tests.helpers.training import plain_predictions, train

TARGETS = ("target", "target_ender_20", "target_cyrusd_60")
PARAMS = {
    "learning_rate": 0.1,
    "num_leaves": 9,
    "colsample_bytree": 0.5,
    "subsample": 0.7,
    "subsample_freq": 1,
    "n_estimators": 8,
    "max_bin": 5,
}


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    directory = write_numerai_directory(tmp_path_factory.mktemp("binning") / "numerai", eras=60, rows=40)
    return open_dataset(directory, "all", "target")


@pytest.fixture
def cache(tmp_path):
    return DatasetCache(tmp_path / "cache", 10**9, worth_seconds=-1)


@pytest.mark.slow
def test_every_combination_of_options_trains_as_plain_lightgbm_does(dataset, tmp_path):
    for step in (1, 4):
        fold = WalkForward(2, 8, train_era_step=step).folds(dataset.eras)[1]
        for target in TARGETS:
            params = PARAMS | {"target": target}
            model, unseen = plain_predictions(dataset, fold, params, seed=3)
            expected = model.predict(unseen).astype(np.float32)
            cache = DatasetCache(tmp_path / f"cache-{step}", 10**9, worth_seconds=-1)
            for memory in (0, 10**9):
                for exclusive in (False, True):
                    for on_disk in (None, cache, cache):
                        for targets in (TARGETS, (target,)):
                            binned = BinnedFolds(
                                dataset, targets, 3, memory, group_bytes=100_000, cache=on_disk, exclusive=exclusive
                            )
                            np.testing.assert_array_equal(train(binned, fold, params, 3)[:, -1], expected)


@pytest.fixture(scope="module")
def large(tmp_path_factory):
    """Above LightGBM's sample size, with a target that has NaN."""
    path = tmp_path_factory.mktemp("large") / "large.parquet"
    columns = ["era", "feature_00", "feature_01", "feature_02", "feature_03", "target", "target_cyrusd_60"]
    make_frame(range(1, 31), rows=20_000)[columns].to_parquet(path)
    return open_dataset(path, "all", "target")


@pytest.mark.parametrize(("memory", "cached"), [(0, False), (0, True), (10**9, True)])
def test_a_subset_taken_by_column_group_trains_like_a_rebuild(large, cache, memory, cached):
    """Above LightGBM's sample size a target with NaN uses a subset of the fold's column groups, built or stored."""
    fold = WalkForward(2, 2).folds(large.eras)[1]
    params = PARAMS | {"target": "target_cyrusd_60"}
    on_disk = cache if cached else None
    if cached:
        BinnedFolds(large, ("target",), 1, group_bytes=10**7, cache=on_disk).get(fold, 5, "target")
    for targets in (("target_cyrusd_60",), ("target", "target_cyrusd_60")):
        binned = BinnedFolds(large, targets, 1, memory, group_bytes=10**7, cache=on_disk)
        ours = train(binned, fold, params, seed=1)
        model, unseen = plain_predictions(large, fold, params, seed=1)
        np.testing.assert_array_equal(ours[:, -1], model.predict(unseen).astype(np.float32))
    assert not cached or len([entry for entry in cache.directory.iterdir() if entry.is_dir()]) == 1


def test_an_exclusive_dataset_serves_targets_in_turn_without_a_copy(dataset):
    fold = WalkForward(2, 8).folds(dataset.eras)[0]
    binned = BinnedFolds(dataset, TARGETS, 0, exclusive=True)
    first = binned.get(fold, 5, "target")
    for target in ("target", "target_ender_20", "target"):
        served = binned.get(fold, 5, target)
        assert served.train is first.train
        np.testing.assert_array_equal(
            served.train.get_field("label"), dataset.read_target(target, dataset.rows_of(fold.train_eras))
        )
    assert binned.get(fold, 5, "target_cyrusd_60").train is not first.train
    shared = BinnedFolds(dataset, TARGETS, 0)
    assert shared.get(fold, 5, "target").train is not shared.get(fold, 5, "target_ender_20").train


def test_datasets_are_dropped_before_a_build_and_by_release(dataset):
    folds = WalkForward(3, 8).folds(dataset.eras)
    first = []
    alive = []
    largest = dataset_bytes(len(dataset), len(dataset.features), 5)
    binned = BinnedFolds(
        dataset, ("target",), 0, largest, should_stop=lambda: bool(first and alive.append(first[0]() is not None))
    )
    first.append(weakref.ref(binned.get(folds[2], 5, "target").train))
    assert first[0]() is not None
    again = binned.get(folds[2], 5, "target").train
    del again
    binned.get(folds[1], 5, "target")
    assert alive == [False]
    second = weakref.ref(binned.get(folds[1], 5, "target").train)
    binned.release()
    assert second() is None


def test_estimates_step_with_the_bytes_of_a_bin():
    sizes = {bins: dataset_bytes(1, 10**9, bins) for bins in (5, 15, 16, 255, 256)}
    assert sizes[5] == sizes[15] < 0.65e9
    assert sizes[16] == sizes[255] == pytest.approx(2 * sizes[15])
    assert sizes[256] == pytest.approx(4 * sizes[15])


PROCESS_BYTES = 30_000_000
"""What a process grows by when it reads and bins anything at all; more where its threads wait for a processor."""

MEASURED = """
import sys
from multiprocessing import get_context
from pathlib import Path
from signal_miner.engine.binning import BinnedFolds
from signal_miner.engine.column_groups import return_free_memory
from signal_miner.data.dataset import open_dataset
from signal_miner.engine.dataset_cache import DatasetCache
from signal_miner.data.folds import Fold

def status(name):
    return next(int(line.split()[1]) * 1024 for line in open("/proc/self/status") if line.startswith(name))

def measure(directory, target, step, cached):
    dataset = open_dataset(directory / "large.parquet", "all", "target")
    cache = DatasetCache(directory / "cache", 10**9, worth_seconds=-1) if cached == "cached" else None
    binned = BinnedFolds(dataset, (target,), 0, group_bytes=24 * 2**20, cache=cache)
    fold = Fold(1, tuple(range(1, 61, int(step))), tuple(range(65, 101)))
    dataset.read_target(target)
    return_free_memory()
    before = status("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")
    bins = binned.get(fold, 5, target)
    print(bins.n_rows * len(dataset.features), status("VmRSS") - before, status("VmHWM") - before)

for case in sys.argv[2:]:  # each in a process of its own, which does not import all of it anew
    process = get_context("fork").Process(target=measure, args=(Path(sys.argv[1]), *case.split()))
    process.start()
    process.join()
"""


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="reads peak memory from /proc")
def test_memory_matches_the_estimate_resident_and_at_the_peak(tmp_path):
    frame = make_frame(range(1, 101), rows=5_000)
    generator = np.random.default_rng(0)
    names = [f"feature_{number:03d}" for number in range(12, 200)]
    features = generator.integers(0, 5, (len(frame), len(names)), dtype=np.int8)
    frame = pd.concat([frame, pd.DataFrame(features, frame.index, names)], axis=1)
    frame.to_parquet(tmp_path / "large.parquet", row_group_size=50_000)
    assert (frame["target_cyrusd_60"].isna().mean()) > 0.05
    cases = ("target 1 cached", "target 1 cached", "target_cyrusd_60 1 cached")
    cases += ("target 1 built", "target_cyrusd_60 1 built", "target 4 built")
    command = [sys.executable, "-W", "ignore", "-c", MEASURED, tmp_path, *cases]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    for case, line in zip(cases, done.stdout.splitlines(), strict=True):
        values, resident, peak = (int(number) for number in line.split())
        figures = f"{case}: {resident / values:.3f} resident, {peak / values:.3f} at the peak"
        estimate = dataset_bytes(values // 200, 200, 5)
        assert resident > 0.8 * estimate, figures
        assert resident < 1.1 * estimate + PROCESS_BYTES, figures
        assert peak <= values + PROCESS_BYTES, figures
    assert any((tmp_path / "cache").glob("*/train-0003.bin"))


def test_a_merged_dataset_is_identical_to_one_built_whole(dataset):
    """Model text and predictions, for a booster over column groups and one over all columns at once."""
    fold = Fold(1, tuple(range(1, 31)), tuple(range(39, 50)))
    params = {"verbosity": -1, "num_threads": 1, "max_bin": 5, "feature_pre_filter": False}
    texts = []
    for group_bytes in (1, 10**9):
        data = BinnedFolds(dataset, ("target",), 0, group_bytes=group_bytes).get(fold, 5, "target")
        booster = lgb.train(params, data.train, 5)
        texts.append(booster.model_to_string())
    assert texts[0] == texts[1]
