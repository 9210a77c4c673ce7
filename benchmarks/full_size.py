"""All of Numerai: `mine` on data of v5.3's shape, 6.8 million rows x 3,555 features, and what it took.

``python -m benchmarks.full_size write DIRECTORY`` invents the data era by era (about 8 GB on disk): features are drawn
independently, the target is a weak sum of some of them. ``python -m benchmarks.full_size mine DIRECTORY`` then runs
``python -m signal_miner mine`` on them, the benchmark and two trials of few trees, and prints what it printed, with the
seconds and the memory of the process at each line, and the most it held. ``python -m benchmarks.full_size train
DIRECTORY``, after it, trains one configuration on each fold by one thread and says what `LONG` trees would take. All
take ``--features`` and ``--rows``, the latter two ``--engine``.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import threading
import time
from functools import partial
from pathlib import Path

import numpy as np
import psutil
import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.common import measured, peak_bytes
from signal_miner.engine.fold_sources import fold_source
from signal_miner.engine.memory_plan import plan_memory
from signal_miner.engine.trial import train_fold
from signal_miner.experiment.engines import ENGINES, LIGHTGBM
from signal_miner.experiment.files import load_experiment
from signal_miner.experiment.parameters import max_bin_of
from signal_miner.experiment.plan import make_plan, open_data

LONG = 2_000
TRAIN_ERAS, ERAS, ROWS, FEATURES = 574, 1221, 6_782_302, 3_555
ERAS_A_ROW_GROUP = 10
SIGNAL_FEATURES, SIGNAL = 40, 0.02

EXPERIMENT = """
name = "full_size"
data = "{data}"
feature_set = "{feature_set}"
targets = ["target"]
scoring_target = "target"
horizon_days = 60
trials = 2
seed = 0
jobs = 2
engine = "{engine}"
memory_gb = {memory_gb}
cache_gb = {cache_gb}

[grid]
n_estimators = {trees}
learning_rate = [0.05, 0.07, 0.2]
max_depth = [4, 5, 6]
num_leaves = 15
colsample_bytree = 0.1
max_bin = 5

[benchmark]
n_estimators = {trees}
learning_rate = 0.1
max_depth = 5
num_leaves = 15
colsample_bytree = 0.1
max_bin = 5
"""


def write(directory: Path, given: argparse.Namespace) -> None:
    """Invent the data, some eras at a time."""
    directory.mkdir(parents=True)
    names = [f"feature_{number:04d}" for number in range(given.features)]
    sets = {"all": names, "medium": names[: min(740, given.features)], "small": names[: min(42, given.features)]}
    (directory / "features.json").write_text(json.dumps({"feature_sets": sets, "targets": ["target"]}))
    for name, first, last in (("train", 1, TRAIN_ERAS), ("validation", TRAIN_ERAS + 1, ERAS)):
        writer = None
        for start in range(first, last + 1, ERAS_A_ROW_GROUP):
            table = pa.concat_tables(
                _era(era, given.rows, names, name) for era in range(start, min(start + ERAS_A_ROW_GROUP, last + 1))
            )
            writer = writer or pq.ParquetWriter(directory / f"{name}.parquet", table.schema, compression="zstd")
            writer.write_table(table)
        if writer is not None:
            writer.close()


def _era(era: int, n_rows: int, names: list[str], kind: str) -> pa.Table:
    generator = np.random.default_rng(era)
    growth = 0.55 + 0.9 * era / ERAS  # later eras have more stocks, as Numerai's
    count = round(growth * n_rows / ERAS)
    features = generator.integers(0, 5, (len(names), count), dtype=np.int8)
    score = SIGNAL * (features[:SIGNAL_FEATURES].astype(np.float32) - 2).sum(axis=0)
    place = np.argsort(np.argsort(score + generator.standard_normal(count))) / count
    target = np.searchsorted((0.05, 0.25, 0.75, 0.95), place).astype(np.float32) / np.float32(4)
    columns = {
        "id": pa.array([f"n{era:04d}{row:011x}" for row in range(count)]),
        "era": pa.array([f"{era:04d}"] * count),
        "data_type": pa.array([kind] * count),
    }
    columns |= {name: pa.array(values) for name, values in zip(names, features, strict=True)}
    return pa.table(columns | {"target": pa.array(target)})


def experiment_file(directory: Path, given: argparse.Namespace) -> Path:
    """Write the experiment into the folder to work in, and return it."""
    work = Path(given.work).resolve()
    work.mkdir(parents=True, exist_ok=True)
    experiment = work / "full_size.toml"
    own = {name: getattr(given, name) for name in ("feature_set", "engine", "memory_gb", "cache_gb", "trees")}
    experiment.write_text(EXPERIMENT.format(data=directory.resolve().as_posix(), **own))
    return experiment


def train(directory: Path, given: argparse.Namespace) -> None:
    """Train the benchmark's configuration on each fold, and print its CPU seconds and those of `LONG` trees."""
    experiment = load_experiment(experiment_file(directory, given))
    os.chdir(given.work)
    plan = make_plan(experiment, open_data(experiment))
    source = fold_source(plan, plan_memory(plan, 1), plan.targets, lambda: False)
    total = 0.0
    for fold in plan.scored_folds:
        data = source.get(fold, max_bin_of(plan.benchmark), "target")
        train_fold(data, {**plan.benchmark, "n_estimators": 2}, plan.experiment.seed)  # compiles, and reads the planes
        done = measured(partial(train_fold, data, plan.benchmark, plan.experiment.seed))
        total += done.cpu_seconds
        took = f"{given.trees} trees in {done.cpu_seconds:.1f} CPU s, {done.wall_seconds:.0f} s"
        print(f"fold {fold.number}, {len(fold.train_eras)} eras: {took}")
        print(f"peak {peak_bytes() / 1e9:.2f} GB", flush=True)
    print(f"{LONG:,} trees on all folds, extrapolated: {total * LONG / given.trees / 60:.0f} CPU min")


def mine(directory: Path, given: argparse.Namespace) -> None:
    """Mine the data in its own process and print its time and memory."""
    experiment = experiment_file(directory, given)
    command = [sys.executable, "-u", "-m", "signal_miner", "mine", "--experiment", str(experiment)]
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[1])}
    started = time.monotonic()
    process = subprocess.Popen(
        command, cwd=experiment.parent, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    peak = _Peak(process.pid)
    for line in process.stdout or ():
        print(f"{time.monotonic() - started:7.0f} s {peak.now / 1e9:5.1f} GB  {line.rstrip()}", flush=True)
    code = process.wait()
    swap = psutil.swap_memory().total
    print(
        f"exit {code}, {time.monotonic() - started:.0f} s, {peak.cpu_seconds:.0f} CPU s, peak {peak.most / 1e9:.2f} GB"
    )
    print(f"{psutil.cpu_count()} cores, {psutil.virtual_memory().total / 1e9:.1f} GB, swap {swap / 1e9:.1f} GB")


class _Peak(threading.Thread):
    """Watches what a process holds, and writes it down every minute."""

    def __init__(self, pid: int) -> None:
        super().__init__(daemon=True)
        self._process = psutil.Process(pid)
        self.now = self.most = 0
        self.cpu_seconds = 0.0
        self.start()

    def run(self) -> None:
        beats = 0
        while True:
            try:
                self.now = self._process.memory_info().rss
                self.cpu_seconds = sum(self._process.cpu_times()[:2])
            except psutil.Error:
                return
            self.most = max(self.most, self.now)
            if beats % 600 == 0:
                print(f"        … {self.now / 1e9:5.1f} GB, {self.cpu_seconds:.0f} CPU s", flush=True)
            beats += 1
            time.sleep(0.1)


def main() -> None:
    """Write the data, or mine them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("step", choices=("write", "mine", "train"))
    parser.add_argument("directory", type=Path)
    parser.add_argument("--rows", type=int, default=ROWS)
    parser.add_argument("--features", type=int, default=FEATURES)
    parser.add_argument("--feature-set", default="all")
    parser.add_argument("--engine", choices=ENGINES, default=LIGHTGBM)
    parser.add_argument("--trees", type=int, default=20)
    parser.add_argument("--memory-gb", type=float, default=20.0)
    parser.add_argument("--cache-gb", type=float, default=40.0)
    parser.add_argument("--work", default="full_size")
    given = parser.parse_args()
    {"write": write, "mine": mine, "train": train}[given.step](given.directory, given)


if __name__ == "__main__":
    main()
