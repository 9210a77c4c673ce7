"""Feature sets and the newest eras as dimensions of the grid: as data opened with the set alone, cut by hand."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from signal_miner.data.dataset import open_dataset
from signal_miner.data.folds import Fold, WalkForward, thinned
from signal_miner.engine.boosters import fold_data
from signal_miner.engine.fold_sources import fold_source
from signal_miner.engine.memory_needs import shape_of
from signal_miner.engine.memory_plan import plan_memory
from signal_miner.engine.trial import train_fold
from signal_miner.experiment.files import make_experiment
from signal_miner.experiment.plan import Plan, make_plan, open_data
from signal_miner.report.sentences import describe_plan, memory_lines
from tests.conftest import FEATURES, write_numerai_directory

GB = 10**9
PARAMS = {"n_estimators": 12, "num_leaves": 5, "max_bin": 5, "learning_rate": 0.2, "colsample_bytree": 0.7}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Data whose sets list features in another order than the files, and overlap."""
    directory = write_numerai_directory(tmp_path_factory.mktemp("sets") / "numerai")
    few, others = [FEATURES[7], FEATURES[0], FEATURES[2]], [FEATURES[1], *FEATURES[:0:-2]][1:]
    sets = {"few": few, "others": others, "all": FEATURES}
    text = (directory / "features.json").read_text()
    start = text.index('"targets"')
    (directory / "features.json").write_text(f'{{"feature_sets": {sets}, '.replace("'", '"') + text[start:])
    return directory


def plan_of(data: Path, engine: str, **changes: Any) -> Plan:
    settings: dict[str, Any] = {
        "name": "sets",
        "data": data,
        "engine": engine,
        "targets": ["target", "target_cyrusd_60"],
        "feature_set": ["few", "others"],
        "folds": {"embargo_eras": 4},
        "grid": {"n_estimators": [12], "train_last_eras": [6, 10, -1]},
        "benchmark": {"n_estimators": 12, "feature_set": "all"},
        "seed": 3,
        "cache_gb": 0,
    }
    experiment = make_experiment(**settings | changes)
    return make_plan(experiment, open_data(experiment))


def predictions(plan: Plan, fold: Fold, params: dict[str, Any]) -> np.ndarray:
    source = fold_source(plan, plan_memory(plan, 2), plan.targets, lambda: False)
    return train_fold(fold_data(source, fold, params), params, plan.experiment.seed)


@pytest.mark.parametrize("engine", ["lightgbm", "bitplane"])
@pytest.mark.parametrize("step", [1, 4])
def test_a_set_and_a_window_train_as_the_set_alone_on_a_fold_cut_by_hand(
    data: Path, engine: str, step: int, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)  # where the store of planes goes
    folds = {"embargo_eras": 4, "train_era_step": step}
    plan = plan_of(data, engine, folds=folds)
    source = fold_source(plan, plan_memory(plan, 2), plan.targets, lambda: False)
    for name, last, target in (("few", 10, "target"), ("others", 6, "target_cyrusd_60"), ("all", -1, "target")):
        params = PARAMS | {"feature_set": name, "train_last_eras": last, "target": target}
        alone = plan_of(
            data, engine, feature_set=name, folds=folds, grid={"n_estimators": [12]}, benchmark={"n_estimators": 12}
        )
        for fold in plan.folds[target]:
            newest = [era for era in fold.train_eras if last == -1 or era > fold.train_eras[-1] - last]
            by_hand = replace(fold, train_eras=tuple(newest))
            assert (len(by_hand.train_eras) < len(fold.train_eras)) == (last != -1)
            ours = train_fold(fold_data(source, fold, params), params, 3)
            np.testing.assert_array_equal(ours, predictions(alone, by_hand, PARAMS | {"target": target}))
            assert len(np.unique(ours[:, -1])) > 4


@given(
    eras=st.lists(st.integers(1, 300), min_size=30, max_size=120, unique=True),
    step=st.integers(1, 5),
    last=st.integers(2, 400),
)
def test_the_newest_eras_are_counted_by_number_before_or_after_thinning(eras: list[int], step: int, last: int) -> None:
    whole = WalkForward(2, 3).folds(eras)
    for fold in whole:
        cut = fold.trained_on_newest(last)
        assert cut.train_eras[-1] == fold.train_eras[-1]
        assert set(cut.train_eras) == {era for era in fold.train_eras if era > fold.train_eras[-1] - last}
        thin = replace(fold, train_eras=thinned(fold.train_eras, step))
        assert thin.trained_on_newest(last).train_eras == thinned(cut.train_eras, step)
        assert fold.trained_on_newest(-1) is fold


def test_every_dataset_is_planned_for_once(data: Path) -> None:
    plan = plan_of(data, "lightgbm", targets=["target"], grid={"n_estimators": [12], "train_last_eras": [6, 900, -1]})
    needs = shape_of(plan).datasets
    found = {(need.key.feature_set, len(need.fold.train_eras), need.fold.number): need for need in needs}
    assert len(found) == len(needs) == 2 * (1 + 2 * 2)  # in each fold the benchmark's, and two windows of two sets
    rows = dict(zip(*np.unique(plan.dataset.eras, return_counts=True), strict=True))
    for (name, n_eras, number), need in found.items():
        fold = plan.folds["target"][number - 1]
        assert need.n_features == len(plan.dataset.feature_sets[str(name)])
        assert need.train_rows == sum(rows[era] for era in fold.train_eras[-n_eras:])
    shape = shape_of(plan)
    whole = shape_of(plan_of(data, "lightgbm", targets=["target"], grid={"n_estimators": [12]}))
    assert whole.together_bytes < shape.together_bytes == sum(need.bytes for need in needs)


def test_planes_are_one_store_of_every_feature_of_the_sets(data: Path) -> None:
    plan = plan_of(data, "bitplane", benchmark={"n_estimators": 12, "feature_set": "few"})
    others = plan_of(data, "bitplane", feature_set="others", benchmark={"n_estimators": 12})
    assert set(plan.dataset.features) == {FEATURES[0], FEATURES[2], *others.dataset.features}
    assert shape_of(plan).largest_bytes > shape_of(others).largest_bytes


def test_what_is_said_before_mining(data: Path) -> None:
    plan = plan_of(data, "lightgbm")
    lines = describe_plan(plan)
    assert "12 features in sets (few 3, others 6, all 12)" in lines[1]
    assert any("train 0001–0016, the newest train_last_eras of them, purge 4 eras" in line for line in lines)
    grouped = replace(plan_memory(plan, 1, available_bytes=8 * GB), together=False)
    assert "grouped by fold, feature_set, train_last_eras and target" in memory_lines(grouped)[0]


def test_cached_datasets_of_sets_are_told_apart(data: Path) -> None:
    from signal_miner.engine.dataset_cache import entry_key

    dataset = open_dataset(data, ("few", "others"), "target")
    fold = WalkForward(2, 8).folds(dataset.eras)[0]
    keys = [
        entry_key(dataset, each, None, {}, name)
        for name in ("few", "others")
        for each in (fold, fold.trained_on_newest(5))
    ]
    assert len(set(keys)) == 4
