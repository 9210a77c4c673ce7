"""Experiment files: what ships parses; each mistake is one line that names the value, the rule and the repair."""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from signal_miner.errors import UserError
from signal_miner.experiment.files import load_experiment
from signal_miner.experiment.schema import RaceSettings, experiment_table, parse_experiment

EXPERIMENTS = Path(__file__).resolve().parents[2] / "experiments"


def a_table(**changes: Any) -> dict[str, Any]:
    table: dict[str, Any] = {
        "name": "tiny",
        "data": "somewhere",
        "grid": {"n_estimators": [10, 20], "max_depth": [2, 3]},
        "benchmark": {"n_estimators": 10},
    }
    return {key: value for key, value in (table | changes).items() if value is not ...}


@pytest.mark.parametrize("path", sorted(EXPERIMENTS.glob("*.toml")), ids=lambda path: path.stem)
def test_every_shipped_experiment_parses_under_its_own_name(path):
    assert load_experiment(path).name == path.stem


def test_the_original_is_the_public_grid():
    original = load_experiment(EXPERIMENTS / "original.toml")
    lengths = {name: len(values) for name, values in original.axes.items()}
    assert lengths == {
        "colsample_bytree": 100,
        "reg_lambda": 10_000,
        "learning_rate": 1000,
        "max_bin": 4,
        "max_depth": 11,
        "num_leaves": 15,
        "min_child_samples": 250,
        "n_estimators": 1991,
    }
    assert original.axes["learning_rate"] == tuple(np.linspace(0.00001, 1, 1000).tolist())
    assert original.axes["num_leaves"] == tuple(np.linspace(2, 24, 15, dtype=int).tolist())
    assert original.targets is None
    assert original.constraint.expression == "num_leaves <= 2**max_depth"


def test_what_a_file_leaves_out_has_a_default():
    experiment = parse_experiment(a_table())
    assert (experiment.feature_set, experiment.scoring_target, experiment.targets) == ("all", "target", None)
    assert (experiment.folds.count, experiment.folds.embargo_eras, experiment.folds.holdout_eras) == (2, None, 0)
    assert (experiment.trials, experiment.jobs, experiment.tracking_uri) == (100, -1, None)
    assert (experiment.memory_gb, experiment.cache_gb, experiment.folds.train_era_step) == (None, 20, 1)


def test_a_race_is_read_and_so_are_the_settings_that_it_once_had():
    assert parse_experiment(a_table(race=True)).race == RaceSettings()
    assert parse_experiment(a_table(race=False)).race is None
    assert parse_experiment(a_table(race={"recovery": 0.1})).race == RaceSettings(recovery=0.1)
    former = parse_experiment(a_table(race={"significance": 0.05, "patience": 5})).race
    assert former == RaceSettings(significance=0.05, patience=5)
    in_full = parse_experiment(a_table(race={"significance": 0.0})).race
    assert in_full == RaceSettings(significance=0.0, recovery=0.0)
    assert parse_experiment(experiment_table(parse_experiment(a_table(race={"patience": 5})))).race.patience == 5


def test_memory_cache_and_thinning_are_read():
    table = a_table(memory_gb=6, cache_gb=0, folds={"train_era_step": 4})
    experiment = parse_experiment(table | {"benchmark": {"n_estimators": 10, "device_type": "cuda"}})
    assert (experiment.memory_gb, experiment.cache_gb, experiment.folds.train_era_step) == (6.0, 0.0, 4)
    assert experiment.benchmark["device_type"] == "cuda"


def test_changes_reach_into_tables(tmp_path):
    path = tmp_path / "tiny.toml"
    path.write_text('name = "a"\ndata = "b"\n[grid]\nn_estimators = [1]\n[benchmark]\nn_estimators = 1\n')
    experiment = load_experiment(path, trials=7, folds={"embargo_eras": 3})
    assert (experiment.trials, experiment.folds.embargo_eras) == (7, 3)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"trails": 10}, "unknown key 'trails'; did you mean 'trials'"),
        ({"max_depth": [3]}, r"'max_depth' is at the top of the file but belongs in \[grid\]"),
        ({"embargo_eras": 3}, r"'embargo_eras' is at the top of the file but belongs in \[folds\]"),
        ({"name": ...}, "name is missing; add the line name ="),
        ({"name": "a/b"}, "name = 'a/b' is not a name"),
        ({"data": 5}, "data = 5 is not text; write it in quotes"),
        ({"trials": "many"}, "trials = 'many' is not an integer of at least 1"),
        ({"trials": 0}, "trials = 0 is not an integer of at least 1"),
        ({"jobs": 0}, r"jobs = 0 is not an integer from 1 to 1024, nor -1"),
        ({"seed": -1}, "seed = -1 is not an integer of at least 0 and at most 2147483647"),
        ({"trials": 10**15}, "trials = 1000000000000000 is not an integer of at least 1 and at most 1000000000$"),
        ({"trials": 10**5000}, "trials = about 1e5000 is not an integer of at least 1"),
        ({"memory_gb": 10**400}, r"memory_gb = about 1e400 is not a number above 0 and at most 1e\+09, in GB"),
        ({"folds": {"count": -(10**400)}}, "folds.count = about -1e400 is not an integer of at least 2"),
        ({"targets": [10**5000]}, r"targets = \[about 1e5000\] is neither"),
        ({"name": "n" * 300}, "name = 'nnn.*nnn' is too long; use at most 100 letters"),
        ({"name": "n" + "é" * 50}, "name = 'né.*é' is too long; use at most 100 letters, fewer with accents such as é"),
        ({"data": "a\0b"}, r"data = 'a\\x00b' holds a null byte, which no name or path can; remove it"),
        ({"study_storage": "a\0b"}, r"study_storage = 'a\\x00b' holds a null byte"),
        ({"study_storage": ["redis://me:hush@host"]}, r"study_storage = \['redis://\*\*\*@host'\] is not text"),
        ({"targets": []}, "targets = \\[\\] leaves nothing to train on"),
        ({"targets": 3}, 'targets = 3 is neither "all" nor a list of names'),
        ({"targets": ["a", "a"]}, "holds a name twice"),
        ({"horizon_days": 30}, "horizon_days = 30 is not a horizon of Numerai's targets; use 20 or 60"),
        ({"folds": 2}, r"folds = 2 is not a table; write \[folds\]"),
        ({"folds": {"cuont": 2}}, "unknown key 'folds.cuont'; did you mean 'count'"),
        ({"folds": {"count": 1}}, "folds.count = 1 is not an integer of at least 2"),
        ({"folds": {"embargo_eras": -3}}, "folds.embargo_eras = -3 is not an integer of at least 0"),
        ({"folds": {"train_era_step": 0}}, "folds.train_era_step = 0 is not an integer of at least 1"),
        ({"train_era_step": 4}, r"'train_era_step' is at the top of the file but belongs in \[folds\]"),
        ({"memory_gb": 0}, "memory_gb = 0 is not a number above 0 .*, in GB"),
        ({"memory_gb": "8"}, "memory_gb = '8' is not a number above 0 and at most .*, in GB"),
        ({"memory_gb": math.inf}, "memory_gb = inf is not a number above 0"),
        ({"cache_gb": -1}, "cache_gb = -1 is not a number of at least 0 .*, in GB"),
        ({"cache_gb": True}, "cache_gb = True is not a number of at least 0"),
        (
            {"grid": {"n_estimators": [3], "device_type": ["tpu"]}},
            "grid.device_type = 'tpu' is not one of cpu, gpu, cuda",
        ),
        ({"folds": {"holdout_eras": 1.5}}, "folds.holdout_eras = 1.5 is not an integer"),
        ({"grid": ...}, r"\[grid\] is missing or empty"),
        ({"grid": {"max_depth": [3]}}, "grid.n_estimators is missing"),
        ({"grid": {"n_estimators": [3], "target": ["x"]}}, "grid.target is set by targets"),
        (
            {"grid": {"n_estimators": [3], "feature_set": ["small"]}},
            "grid.feature_set is set by feature_set, at the top",
        ),
        ({"feature_set": []}, r"feature_set = \[\] leaves nothing to train on; list one or more sets"),
        ({"feature_set": ["a", "a "]}, r"feature_set = \['a', 'a '\] holds a name twice"),
        ({"feature_set": ["a", 3]}, "feature_set = 3 is not text; write it in quotes"),
        (
            {"grid": {"n_estimators": [3], "train_last_eras": [1]}},
            r"_eras = 1 is not an integer of at least 2, nor -1 \(",
        ),
        (
            {"grid": {"n_estimators": [3], "train_last_eras": ["all"]}},
            "train_last_eras = 'all' is not an integer of at",
        ),
        (
            {"benchmark": {"n_estimators": 3, "train_last_eras": 0}},
            "benchmark.train_last_eras = 0 is not an integer of",
        ),
        (
            {"folds": {"train_last_eras": 100}},
            r"folds.train_last_eras is not a setting of \[folds\]; move it to \[grid",
        ),
        (
            {"train_last_eras": 100},
            r"'train_last_eras' is at the top of the file but belongs in \[grid\] or \[benchmark",
        ),
        (
            {"grid": {"n_estimators": [5], "train_last_eras": [-1, 9]}, "constraint": "train_last_eras > n_estimators"},
            r"cannot compare train_last_eras = -1 \(all eras\); use a number that all folds have",
        ),
        ({"constraint": "feature_set == 'small'"}, "'feature_set' is not in the grid"),
        ({"grid": {"n_estimators": [3], "max_depht": [3]}}, "grid.max_depht .* did you mean 'max_depth'"),
        ({"benchmark": ...}, r"\[benchmark\] is missing"),
        ({"benchmark": {"max_depth": 3}}, "benchmark.n_estimators is missing"),
        (
            {"benchmark": {"n_estimators": 5, "learning_rate": -1}},
            "benchmark.learning_rate = -1 is not a number above 0",
        ),
        ({"grid": {"n_estimators": [5], "subsample": [0.5]}}, r"does nothing without subsample_freq; add"),
        (
            {"grid": {"n_estimators": [5], "max_depth": [-1, 3]}, "constraint": "max_depth < 3"},
            r"cannot compare max_depth = -1",
        ),
        ({"constraint": 3}, "constraint = 3 is not text"),
        ({"constraint": "num_leaves <= 4"}, "'num_leaves' is not in the grid"),
        ({"numerai_benchmarks": 3}, "numerai_benchmarks = 3 is neither"),
    ],
)
def test_a_mistake_is_one_line_with_the_repair(changes, message):
    with pytest.raises(UserError, match=message) as caught:
        parse_experiment(a_table(**changes))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"data": ["a", "b"]}, r"data = \['a', 'b'\] is not text but a list; write one text in quotes"),
        ({"data": {"a": 1}}, r"data = {'a': 1} is not text but a table; write one text in quotes"),
        (
            {"grid": {"n_estimators": [3], "model": ["xgb"]}},
            "grid.model is not a parameter: every model is a LightGBM reg",
        ),
        (
            {"nonsense": 1},
            "unknown key 'nonsense'; known are name, data, feature_set, .*, study_storage, tracking_uri$",
        ),
        ({"k" * 5000: 1}, "unknown key 'k{5,100}\\.\\.\\.k{5,100}'; known are name"),
        (
            {"benchmark": {"n_estimators": 5, "data_sample_strategy": "goss", "subsample": 0.5, "subsample_freq": 1}},
            "benchmark.data_sample_strategy = 'goss' goes with subsample = 1 only",
        ),
        (
            {
                "grid": {
                    "n_estimators": [5],
                    "data_sample_strategy": ["bagging", "goss"],
                    "subsample": [0.5, 1.0],
                    "subsample_freq": [0, 1],
                }
            },
            "grid.data_sample_strategy holds 'goss', which goes with subsample = 1 only",
        ),
    ],
)
def test_what_lightgbm_or_a_reader_would_stumble_over_is_refused(changes, message):
    with pytest.raises(UserError, match=message) as caught:
        parse_experiment(a_table(**changes))
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 600


def test_goss_beside_bagging_is_allowed_where_a_constraint_separates_them():
    grid = {
        "n_estimators": [5],
        "data_sample_strategy": ["bagging", "goss"],
        "subsample": [0.5, 1.0],
        "subsample_freq": [1],
    }
    constraint = "data_sample_strategy == 'bagging' or subsample == 1"
    assert parse_experiment(a_table(grid=grid, constraint=constraint)).constraint.names == set(grid) - {
        "n_estimators",
        "subsample_freq",
    }


def test_goss_beside_bagging_that_was_mined_can_still_be_read():
    grid = {"n_estimators": [5], "data_sample_strategy": ["goss"], "subsample": [0.5], "subsample_freq": [1]}
    assert parse_experiment(a_table(grid=grid), recorded=True).axes["subsample"] == (0.5,)


def test_all_mistakes_are_reported_at_once_in_one_order():
    table = {
        "zeta": 1,
        "name": "a/b",
        "trails": 2,
        "trials": 0,
        "folds": {"cuont": 2},
        "grid": {"max_depht": [3], "eta": 1},
    }
    for _ in range(3):
        with pytest.raises(UserError) as caught:
            parse_experiment(table)
        first, *others = re.split(r" \(\d+\) ", str(caught.value))
        assert first.startswith("unknown key 'zeta'; known are name, data")
        assert [text.split(";")[0] for text in others] == [
            "unknown key 'trails'",
            "unknown key 'folds.cuont'",
            "grid.max_depht is not a parameter that can be mined",
            "grid.eta is LightGBM's other name",
            "name = 'a/b' is not a name",
            "data is missing",
            "trials = 0 is not an integer of at least 1 and at most 1000000000",
            "grid.n_estimators is missing",
            "[benchmark] is missing",
        ]


def test_an_impossible_constraint_is_refused_with_the_file(tmp_path):
    path = tmp_path / "tiny.toml"
    path.write_text(
        'name = "a"\ndata = "b"\nconstraint = "max_depth > 9"\n[grid]\nn_estimators = [1]\nmax_depth = [3]\n'
        "[benchmark]\nn_estimators = 1\n"
    )
    with pytest.raises(UserError, match=r"tiny.toml: constraint = 'max_depth > 9' allows no configuration of the grid"):
        load_experiment(path)


def test_a_byte_order_mark_is_read_and_other_encodings_are_named(tmp_path):
    text = 'name = "ä"\ndata = "b"\n[grid]\nn_estimators = [1]\n[benchmark]\nn_estimators = 1\n'
    path = tmp_path / "tiny.toml"
    path.write_bytes(b"\xef\xbb\xbf" + text.replace("ä", "a").encode())
    assert load_experiment(path).text == text.replace("ä", "a")
    for body, found in ((text.encode("utf-16"), "is UTF-16"), (text.encode("latin-1"), "is not UTF-8 text in line 1")):
        path.write_bytes(body)
        with pytest.raises(UserError, match=rf"tiny.toml {found}; save it as UTF-8$"):
            load_experiment(path)


def test_a_benchmark_on_the_scoring_target_follows_its_change(tmp_path):
    path = tmp_path / "tiny.toml"
    text = 'name = "a"\ndata = "b"\n[grid]\nn_estimators = [1]\n[benchmark]\nn_estimators = 1\ntarget = "%s"\n'
    for target, followed in (("target", "target_kazutsugi"), ("target_other", "target_other")):
        path.write_text(text % target)
        experiment = load_experiment(path, scoring_target="target_kazutsugi")
        assert (experiment.scoring_target, experiment.benchmark["target"]) == ("target_kazutsugi", followed)
        assert f'target = "{followed}"' in experiment.text
    kept = load_experiment(path, scoring_target="x", benchmark={"target": "target"})
    assert kept.benchmark["target"] == "target"


def test_a_file_that_is_absent_or_no_toml_is_named(tmp_path):
    (tmp_path / "demo.toml").write_text("name = 'x'\nname = 'y'")
    with pytest.raises(UserError, match=r"demi.toml' does not exist; did you mean '.*demo.toml'"):
        load_experiment(tmp_path / "demi.toml")
    with pytest.raises(UserError, match=r"demo.toml is not a TOML file: Cannot overwrite a value"):
        load_experiment(tmp_path / "demo.toml")
    with pytest.raises(
        UserError, match=r"experiment file 'aa.*aa' cannot be read \(File name too long\); name another"
    ):
        load_experiment(Path("a" * 5000))


@pytest.mark.parametrize("text", ["trials = " + "1" * 5000, "trials = " + "[" * 5000], ids=["digits", "brackets"])
def test_what_pythons_reader_gives_up_on_is_no_toml(text, tmp_path):
    (tmp_path / "wild.toml").write_text(text)
    with pytest.raises(UserError, match=r"wild.toml is not a TOML file: ") as caught:
        load_experiment(tmp_path / "wild.toml")
    assert "\n" not in str(caught.value)
