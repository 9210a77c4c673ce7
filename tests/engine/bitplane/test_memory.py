"""Memory of boosters on planes against its estimate."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from signal_miner.data.dataset import open_dataset
from signal_miner.engine.bitplane.memory import booster_bytes, build_bytes, fold_bytes
from signal_miner.engine.memory_needs import shape_of
from signal_miner.errors import UserError
from signal_miner.experiment.plan import make_plan
from signal_miner.experiment.schema import parse_experiment
from tests.conftest import make_frame

MEASURED = """
import sys
from multiprocessing import get_context
from pathlib import Path

import numpy as np

from signal_miner.engine.bitplane.booster import Booster
from signal_miner.engine.bitplane.fold import PlaneFold
from signal_miner.engine.bitplane.planes import words_of
from signal_miner.engine.bitplane.store import PlaneStore

def fold_of(n_rows, n_features):
    generator = np.random.default_rng(0)
    planes = generator.integers(0, 2**63, (n_features, 4, words_of(n_rows)), dtype=np.uint64)
    np.bitwise_and.accumulate(planes, axis=1, out=planes)
    names = tuple(str(number) for number in range(n_features))
    offsets = np.arange(0, 4 * n_features + 1, 4)
    levels = ((0.0, 1.0, 2.0, 3.0, 4.0),) * n_features
    store = PlaneStore(Path(), n_rows, names, levels, planes.reshape(-1, words_of(n_rows)), offsets)
    target = generator.random(n_rows, dtype=np.float32)
    train, validation = store.mask(slice(0, n_rows * 2 // 3)), store.mask(slice(n_rows * 2 // 3, n_rows))
    return PlaneFold(store, np.arange(n_features), target, train, validation)

def status(name):
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * next(int(line.split()[1]) for line in lines if line.startswith(name))

def train(fold, leaves):
    booster = Booster(fold, {"num_leaves": leaves}, 0)
    booster.grow(3)
    booster.predictions()

def measure(n_rows, n_features, leaves):
    fold = fold_of(n_rows, n_features)
    before = status("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")
    train(fold, leaves)
    print(status("VmHWM") - before)

for leaves in (4, 40):
    train(fold_of(5000, 20), leaves)  # compiles
for case in sys.argv[1:]:  # each in a process of its own
    process = get_context("fork").Process(target=measure, args=tuple(map(int, case.split())))
    process.start()
    process.join()
"""


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="reads peak memory from /proc")
def test_a_booster_takes_no_more_than_estimated():
    cases = [(2_000_000, 20, 15), (2_000_000, 20, 64), (500_000, 200, 300)]
    command = [sys.executable, "-c", MEASURED, *(" ".join(map(str, case)) for case in cases)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    for (n_rows, n_features, leaves), line in zip(cases, done.stdout.split(), strict=True):
        estimate = fold_bytes(n_rows, n_rows // 3) + booster_bytes(n_rows, 4 * n_features, leaves)
        assert 0.5 * estimate < int(line) < 1.05 * estimate, (n_rows, n_features, leaves)


def test_a_store_is_built_in_groups_of_at_least_a_column():
    assert build_bytes(1000, 50, 4, 40_000) == 3 * 40_000
    assert build_bytes(1000, 50, 4, 1) == 3 * 4_000
    assert build_bytes(1000, 5, 4, 10**9) == 3 * 20_000


def test_features_that_planes_cannot_hold_are_refused_when_memory_is_planned(tmp_path):
    frame = make_frame(range(1, 61), rows=40)
    frame["feature_04"] = np.linspace(0, 1, len(frame), dtype=np.float32)
    frame.to_parquet(tmp_path / "some.parquet")
    table = {"name": "some", "data": str(tmp_path / "some.parquet"), "targets": ["target"], "horizon_days": 20}
    table |= {"benchmark": {"n_estimators": 5}, "grid": {"n_estimators": [5]}, "engine": "bitplane"}
    plan = make_plan(parse_experiment(table), open_dataset(tmp_path / "some.parquet", "all", "target", ["target"]))
    with pytest.raises(UserError, match=r"'feature_04' has more than 16 values, .* or set engine = .lightgbm.$"):
        shape_of(plan)
