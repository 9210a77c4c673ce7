"""``plan.json``: what a plan writes restores the same plan, and so do the records of earlier versions."""

from __future__ import annotations

import json

import pytest

from signal_miner.errors import UserError
from signal_miner.experiment.files import make_experiment
from signal_miner.experiment.plan import make_plan, open_data, plan_record, restore_plan
from signal_miner.experiment.schema import experiment_table
from tests.conftest import make_frame


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
    resolved = {
        "benchmark": dict(plan.benchmark),
        "numerai_benchmarks": ["tiny_lgbm_ender20"],
        "payout": {"corr": 3.0, "mmc": 15.0, "clip": 1.0},
    }
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


def test_a_setting_of_the_race_that_has_no_effect_is_warned_of(plan):
    def warnings(race):
        experiment = make_experiment(**experiment_table(plan.experiment) | {"race": race, "targets": ["target"]})
        return make_plan(experiment, plan.dataset).warnings

    assert not any("race" in warning for warning in warnings({"significance": 0.05}))
    assert any("race.patience has no effect" in warning for warning in warnings({"patience": 3}))


def test_other_data_than_the_records_are_refused(plan):
    record = json.loads(json.dumps(plan_record(plan)))
    record["data"]["digest"] = "0" * 16
    with pytest.raises(UserError, match=r"are not those that study tiny-\w+ was mined on .*; name those with -P data="):
        restore_plan(record)


def test_other_values_of_the_same_data_are_refused_where_the_record_knows_them(plan):
    content = plan.dataset.content
    record = json.loads(json.dumps(plan_record(plan, "0" * 16)))
    with pytest.raises(UserError, match=r"hold other values than those that study tiny-\w+ was mined on; bring those"):
        restore_plan(record)
    assert restore_plan(json.loads(json.dumps(plan_record(plan, content)))).study == plan.study
    del record["data"]["content"]  # as studies mined earlier
    assert restore_plan(record).study == plan.study


@pytest.mark.parametrize("key", ["experiment", "data"])
@pytest.mark.parametrize("value", [None, [], "text", {"grid": 3}])
def test_a_damaged_record_is_one_line(plan, key, value):
    record = json.loads(json.dumps(plan_record(plan)))
    with pytest.raises(UserError, match=r"plan.json of study 'tiny-\w+' is damaged .*; rerun `mine` to write it again"):
        restore_plan(record | {key: value})


def plan_of(path, frame, **settings):
    frame.to_parquet(path)
    grid = {"grid": {"n_estimators": [10]}, "benchmark": {"n_estimators": 10}, "targets": ["target"]}
    experiment = make_experiment(name="tiny", data=path, **grid, **settings)
    return make_plan(experiment, open_data(experiment))


def renumbered(frame, step):
    return frame.assign(era=frame["era"].astype(int) * step)


@pytest.mark.parametrize("step", [2, 4])
def test_eras_that_are_not_a_number_apart_are_purged_by_number_with_a_warning(tmp_path, step):
    plan = plan_of(tmp_path / "thin.parquet", renumbered(make_frame(range(1, 101), 4), step))
    (warning,) = plan.warnings
    assert warning == (
        f"the eras of thin.parquet are usually {step} apart, and the purge of 8 takes them for weeks; set "
        "-P embargo_eras=… by their numbers if these are not weeks"
    )
    assert plan_of(tmp_path / "thin.parquet", make_frame(range(1, 101), 4)).warnings == ()


def test_a_purge_that_drops_no_era_is_refused_unless_it_is_set(tmp_path):
    frame = renumbered(make_frame(range(1, 101), 4), 100)
    with pytest.raises(UserError, match=r"are usually 100 apart, so a purge of 8 drops none; number them by weeks"):
        plan_of(tmp_path / "far.parquet", frame)
    plan = plan_of(tmp_path / "far.parquet", frame, folds={"embargo_eras": 800})
    assert plan.warnings == ()
    fold = plan.scored_folds[0]
    assert fold.validation_eras[0] - fold.train_eras[-1] == 900
    (warning,) = plan_of(tmp_path / "far.parquet", frame, folds={"embargo_eras": 8}).warnings
    assert "so embargo_eras = 8 drops none; raise it" in warning


def test_what_the_error_advises_for_monthly_data_is_not_warned_of(tmp_path):
    frame = make_frame(range(1, 101), 4).drop(columns=["target_ender_20", "target_cyrusd_60"])
    with pytest.raises(
        UserError, match=r"set horizon_days=20 \(or 60\) and, if eras are a month apart, embargo_eras=1"
    ):
        plan_of(tmp_path / "monthly.parquet", frame)
    for horizon, embargo in ((20, 1), (60, 3)):
        folds = {"embargo_eras": embargo}
        assert plan_of(tmp_path / "monthly.parquet", frame, horizon_days=horizon, folds=folds).warnings == ()
    (warning,) = plan_of(tmp_path / "monthly.parquet", frame, horizon_days=60, folds={"embargo_eras": 1}).warnings
    assert warning.startswith("embargo_eras = 1 is below the 16 that target scored on target needs")
    # A horizon that the names give does not make eras months.
    named = make_frame(range(1, 101), 4)
    assert plan_of(tmp_path / "named.parquet", named, horizon_days=20, folds={"embargo_eras": 1}).warnings


def test_eras_whose_target_is_mostly_unknown_are_left_out_with_a_warning(tmp_path):
    frame = make_frame(range(1, 101), 40)
    for era, known in (("0060", 2), ("0070", 19), ("0080", 20)):
        frame.loc[frame.index[frame["era"] == era][known:], "target"] = None
    plan = plan_of(tmp_path / "sparse.parquet", frame, horizon_days=20)
    assert plan.warnings == ("target is known in less than half of the rows of era 0060 and 1 more; they are left out",)
    assert {60, 70} & set(plan.dataset.eras.tolist()) == set()
    assert 80 in plan.dataset.eras


def sets_of(directory, **changes):
    settings = {
        "name": "tiny",
        "data": directory,
        "targets": ["target"],
        "feature_set": ["small", "medium"],
        "folds": {"embargo_eras": 8},
        "grid": {"n_estimators": [10], "num_leaves": [2, 3]},
        "benchmark": {"n_estimators": 10},
    }
    experiment = make_experiment(**settings | changes)
    return make_plan(experiment, open_data(experiment))


def test_several_feature_sets_are_a_dimension_that_a_record_restores(numerai_directory):
    plan = sets_of(numerai_directory, constraint="feature_set == 'small' or num_leaves > 2")
    assert [(axis.name, axis.values) for axis in plan.grid.axes[-2:]] == [
        ("feature_set", ("small", "medium")),
        ("target", ("target",)),
    ]
    assert plan.benchmark["feature_set"] == "small"
    assert plan.dataset.features == plan.dataset.feature_sets["medium"]
    assert not plan.grid.is_feasible((0, 0, 1, 0))
    record = json.loads(json.dumps(plan_record(plan)))
    assert record["data"]["feature_sets"]["small"] == list(plan.dataset.feature_sets["small"])
    restored = restore_plan(record)
    assert (restored.study, restored.grid, restored.benchmark) == (plan.study, plan.grid, plan.benchmark)
    assert sets_of(numerai_directory, feature_set=["medium", "small"]).study != plan.study


def test_one_feature_set_is_no_dimension_however_it_is_written(numerai_directory):
    plans = [
        sets_of(numerai_directory, feature_set=name, benchmark={"n_estimators": 10} | own)
        for name in ("small", ["small"])
        for own in ({}, {"feature_set": "small"})
    ]
    assert len({plan.config_hash for plan in plans}) == 1
    assert {axis.name for plan in plans for axis in plan.grid.axes} == {"n_estimators", "num_leaves", "target"}
    assert all("feature_set" not in plan.benchmark for plan in plans)


def test_a_benchmark_may_have_a_set_of_its_own(numerai_directory):
    plan = sets_of(numerai_directory, feature_set="small", benchmark={"n_estimators": 10, "feature_set": "medium"})
    assert (plan.benchmark["feature_set"], plan.grid.axes[-2].values) == ("medium", ("small",))
    assert restore_plan(json.loads(json.dumps(plan_record(plan)))).study == plan.study


def test_other_features_in_a_set_of_the_same_name_make_another_study(numerai_directory):
    plan = sets_of(numerai_directory)
    path = numerai_directory / "features.json"
    table = json.loads(path.read_text())
    table["feature_sets"]["small"].pop()  # all features of both sets stay the same
    path.write_text(json.dumps(table))
    changed = sets_of(numerai_directory)
    assert changed.dataset.features == plan.dataset.features
    assert changed.study != plan.study
    with pytest.raises(UserError, match="are not those that study"):
        restore_plan(json.loads(json.dumps(plan_record(plan))))


def test_a_window_of_a_single_era_is_refused_and_one_of_all_is_not(numerai_directory):
    def plan(step, *last):
        folds = {"embargo_eras": 8, "train_era_step": step}
        return sets_of(numerai_directory, folds=folds, grid={"n_estimators": [10], "train_last_eras": list(last)})

    assert plan(3, 4, 10**6, -1).study != plan(3, 4, -1).study
    with pytest.raises(UserError, match=r"^grid.train_last_eras = 3 leaves fold 1 1 of 4 eras .*; raise it$"):
        plan(3, 4, 3)
    with pytest.raises(UserError, match=r"^benchmark.train_last_eras = 2 leaves fold 1 1 of 4"):
        sets_of(
            numerai_directory,
            folds={"embargo_eras": 8, "train_era_step": 3},
            benchmark={"n_estimators": 10, "train_last_eras": 2},
        )
