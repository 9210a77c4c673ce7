"""The folds of a study over the store of its data."""

from __future__ import annotations

from pathlib import Path

import pytest

from signal_miner.engine.fold_sources import fold_source
from signal_miner.engine.memory_plan import plan_memory
from signal_miner.experiment.files import make_experiment
from signal_miner.experiment.plan import make_plan, open_data
from tests.conftest import write_numerai_directory


@pytest.mark.parametrize(("cache_gb", "kept"), [(20, 2), (0, 1)])
def test_stores_of_all_data_are_limited_by_cache_gb(tmp_path, monkeypatch, cache_gb: float, kept: int) -> None:
    monkeypatch.chdir(tmp_path)
    for seed in range(2):
        experiment = make_experiment(
            name="tiny",
            data=write_numerai_directory(tmp_path / str(seed), seed=seed),
            engine="bitplane",
            cache_gb=cache_gb,
            targets=["target"],
            grid={"n_estimators": [5]},
            benchmark={"n_estimators": 5},
        )
        plan = make_plan(experiment, open_data(experiment))
        source = fold_source(plan, plan_memory(plan, 1), plan.targets, lambda: False)
        fold = source.get(plan.scored_folds[-1], 5, "target")
        assert fold.n_validation_rows
    stores = list(Path("data", "planes").glob("*.planes"))
    assert len(stores) == kept
    assert fold.fold.store.path in stores
