"""``plan.json``: what a plan writes restores the same plan, and so do the records of earlier versions."""

from __future__ import annotations

import json

import pytest

from signal_miner.errors import UserError
from signal_miner.experiment.files import make_experiment
from signal_miner.experiment.plan import make_plan, open_data, plan_record, restore_plan
from signal_miner.experiment.schema import experiment_table


@pytest.fixture
def plan(numerai_directory):
    experiment = make_experiment(
        name="tiny",
        data=numerai_directory,
        targets=["target", "target_cyrusd_60"],
        folds={"embargo_eras": 9},
        grid={"n_estimators": [10, 20], "num_leaves": [2, 3], "max_depth": [2, 3]},
        constraint="num_leaves <= 2**max_depth",
        benchmark={"n_estimators": 10},
        memory_gb=4,
        study_storage="elsewhere",
    )
    return make_plan(experiment, open_data(experiment))


def test_a_record_restores_the_plan_and_its_own_bytes(plan):
    record = json.dumps(plan_record(plan))
    restored = restore_plan(json.loads(record))
    assert json.dumps(plan_record(restored)) == record
    assert (restored.study, restored.config_hash) == (plan.study, plan.config_hash)
    resolved = {"benchmark": dict(plan.benchmark), "numerai_benchmarks": ["tiny_lgbm_ender20"]}
    local = {"study_storage": "studies"}  # a record holds no paths of one machine but the data's
    assert experiment_table(restored.experiment) == experiment_table(plan.experiment) | resolved | local


def test_a_record_of_an_earlier_version_lacks_keys_and_may_have_others(plan):
    record = json.loads(json.dumps(plan_record(plan)))
    for key in ("jobs", "memory_gb", "cache_gb", "scoring_horizon_days"):
        del record["experiment"][key]
    del record["experiment"]["folds"]["train_era_step"]
    restored = restore_plan(record | {"experiment": record["experiment"] | {"removed_since": 1}})
    assert restored.config_hash == plan.config_hash
    assert (restored.experiment.jobs, restored.experiment.memory_gb, restored.experiment.cache_gb) == (-1, None, 20)


def test_other_data_than_the_records_are_refused(plan):
    record = json.loads(json.dumps(plan_record(plan)))
    record["data"]["digest"] = "0" * 16
    with pytest.raises(UserError, match=r"are not those that study tiny-\w+ was mined on .*; name those with -P data="):
        restore_plan(record)
