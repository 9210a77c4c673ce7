"""Memory of boosters on planes against its estimate."""

from __future__ import annotations

import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from signal_miner.data.dataset import open_dataset
from signal_miner.engine.bitplane.memory import booster_bytes, build_bytes, era_booster_bytes, fold_bytes
from signal_miner.engine.memory_needs import shape_of
from signal_miner.engine.memory_plan import _least, _what_fits
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
    eras = np.arange(n_rows) * 300 // n_rows
    return PlaneFold(store, np.arange(n_features), target, train, validation, eras)

def status(name):
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * next(int(line.split()[1]) for line in lines if line.startswith(name))

def train(fold, leaves, by_era):
    criterion = {"split_criterion": "era", "boltzmann_alpha": -1.0, "allow_degenerate_splits": True}
    booster = Booster(fold, {"num_leaves": leaves} | (criterion if by_era else {}), 0)
    booster.grow(3)
    booster.predictions()

def measure(n_rows, n_features, leaves, by_era):
    fold = fold_of(n_rows, n_features)
    before = status("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")
    train(fold, leaves, by_era)
    print(status("VmHWM") - before)

for leaves in (4, 40):
    train(fold_of(5000, 20), leaves, leaves == 4)  # compiles
train(fold_of(5000, 20), 4, False)
for case in sys.argv[1:]:  # each in a process of its own
    process = get_context("fork").Process(target=measure, args=tuple(map(int, case.split())))
    process.start()
    process.join()
"""


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="reads peak memory from /proc")
def test_a_booster_takes_no_more_than_estimated():
    cases = [(2_000_000, 20, 15, 0), (2_000_000, 20, 64, 0), (500_000, 200, 300, 0), (200_000, 200, 31, 1)]
    command = [sys.executable, "-c", MEASURED, *(" ".join(map(str, case)) for case in cases)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    for (n_rows, n_features, leaves, by_era), line in zip(cases, done.stdout.split(), strict=True):
        sizes = n_rows, 4 * n_features, leaves
        estimate = era_booster_bytes(*sizes, 200) if by_era else booster_bytes(*sizes)
        estimate += fold_bytes(n_rows, n_rows // 3)
        assert 0.5 * estimate < int(line) < 1.05 * estimate, (n_rows, n_features, leaves, by_era)


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


def test_sums_of_every_era_are_planned_and_refused_with_what_would_fit(tmp_path):
    frame = make_frame(range(1, 301), rows=5)
    frame.to_parquet(tmp_path / "some.parquet")
    dataset = open_dataset(tmp_path / "some.parquet", "all", "target", ["target"])

    def shape(**params):
        table = {"name": "some", "data": str(tmp_path / "some.parquet"), "targets": ["target"], "horizon_days": 20}
        table |= {"benchmark": {"n_estimators": 5}, "engine": "bitplane", "grid": {"n_estimators": [5], **params}}
        plan = make_plan(parse_experiment(table), dataset)
        eras = np.arange(1, 1_201)
        made = shape_of(plan)
        made = replace(
            made,
            n_features=740,
            set_sizes=dict.fromkeys(made.set_sizes, 740),
            rows_of_era=dict.fromkeys(eras.tolist(), 5_000),
        )
        folds = [replace(fold, train_eras=tuple(eras.tolist())) for fold in plan.folds["target"]]
        return plan, replace(made, folds={"target": tuple(folds)})

    pooled, by_era = (
        shape(num_leaves=[31], **own)[1]
        for own in ({}, {"split_criterion": ["pooled", "directional"], "era_block": [1, 4]})
    )
    sums = by_era.trial_bytes(by_era.trial) - by_era.trial_bytes(replace(by_era.trial, era_block=10**6))
    assert sums > 0
    levels = by_era.n_levels - 1
    assert by_era.trial_bytes(by_era.trial) > 31 * 1_200 * 740 * levels * 8 > pooled.trial_bytes(pooled.trial) / 2
    plan, small = shape(num_leaves=[31], split_criterion="directional", colsample_bytree=[0.1])
    assert small.trial_bytes(small.trial) < by_era.trial_bytes(by_era.trial)
    plan, by_era = shape(num_leaves=[31], split_criterion="directional")
    budget = (_least(by_era) + _least(replace(by_era, trial=replace(by_era.trial, era_block=8)))) // 2
    fitting = list(_what_fits(plan, by_era, budget))
    assert any(re.fullmatch(r"era_block = \d+", each) for each in fitting), fitting
    assert any(re.fullmatch(r"num_leaves = \d+", each) for each in fitting), fitting
