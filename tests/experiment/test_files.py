"""Experiments in code: what a notebook holds, changes to a file, the text that is tracked, the table that is sent."""

from __future__ import annotations

import json
import pickle
import tomllib
from copy import copy, deepcopy
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from signal_miner.errors import UserError
from signal_miner.experiment.files import load_experiment, make_experiment
from signal_miner.experiment.parameters import ERA_PARAMETERS, RULES
from signal_miner.experiment.plan import open_data
from signal_miner.experiment.schema import Experiment, experiment_table, parse_experiment
from signal_miner.mining.background.handoff import MiningJob

EXPERIMENTS = sorted((Path(__file__).resolve().parents[2] / "experiments").glob("*.toml"))
DEMO = next(path for path in EXPERIMENTS if path.stem == "demo")


def made(**changes: Any) -> Experiment:
    given: dict[str, Any] = {
        "name": "tiny",
        "data": "somewhere",
        "grid": {"n_estimators": [10, 20], "max_depth": [2, 3]},
        "benchmark": {"n_estimators": 10},
    }
    return make_experiment(**(given | changes))


def nested(depth: int) -> list[Any]:
    value: list[Any] = []
    for _ in range(depth):
        value = [value]
    return value


def self_referencing(value: Any) -> Any:
    if isinstance(value, list):
        value.append(value)
    else:
        value["count"] = value
    return value


def same(one: Experiment, other: Experiment) -> bool:
    """Say whether two experiments are equal, in the order of their axes too, which decides what is drawn."""
    return one == other and list(one.axes) == list(other.axes)


def mined_again(experiment: Experiment, directory: Path) -> Experiment:
    """Read an experiment's text as the command does."""
    (directory / "experiment.toml").write_text(experiment.text, encoding="utf-8")
    return load_experiment(directory / "experiment.toml")


def values_of(name: str) -> st.SearchStrategy[Any]:
    rule = RULES[name]
    if rule.kind is bool:
        return st.booleans()
    if rule.kind is str:
        return st.sampled_from(rule.choices) if rule.choices else st.text("ab_ é\"'\\", min_size=1)
    low, high = max(rule.low, 2 if name == "train_last_eras" else 1), min(rule.high, 1000)
    return st.integers(int(low), int(high)) if rule.kind is int else st.floats(1e-9, high)


def axis_of(name: str) -> st.SearchStrategy[Any]:
    listed = st.lists(values_of(name), min_size=1, max_size=4, unique=True)
    if RULES[name].kind is int:
        ends = st.tuples(st.integers(2, 50), st.integers(50, 90), st.integers(1, 7))
        ranges = ends.map(lambda drawn: dict(zip(("from", "to", "step"), drawn, strict=True)))
        return st.one_of(listed, values_of(name), ranges)
    if RULES[name].kind is float:
        return st.one_of(listed, st.just({"from": 0.25, "to": 1, "count": 4}))
    return listed


@st.composite
def tables(draw: st.DrawFn) -> dict[str, Any]:
    by_era = draw(st.booleans())
    of_others = {"data_sample_strategy", "device_type"} if by_era else {"split_criterion", *ERA_PARAMETERS}
    names = sorted(RULES.keys() - {"target", "feature_set", "subsample"} - of_others)
    axes = draw(st.permutations(["n_estimators", *draw(st.sets(st.sampled_from(names), max_size=5))]))
    table: dict[str, Any] = {
        "name": draw(st.from_regex(r"\A[A-Za-z0-9][A-Za-z0-9_ .-]{0,8}[a-z]\Z")),
        "data": draw(st.text(min_size=1).filter(lambda text: bool(text.strip()) and "\0" not in text)),
        "grid": {name: draw(axis_of(name)) for name in axes},
        "benchmark": {"n_estimators": 5}
        | {name: draw(values_of(name)) for name in [*axes, "target", "feature_set"] if name != "target_residual"},
    }
    if by_era:
        table["engine"] = "bitplane"
        table["grid"] |= {"split_criterion": ["pooled", "era"]}
        table["benchmark"] |= {"split_criterion": "directional"}
    texts = st.text("abc_ .:/", min_size=1).filter(lambda text: bool(text.strip()))
    named = st.one_of(st.just("all"), texts, st.lists(texts, min_size=1, unique=True))
    optional = {
        "feature_set": st.one_of(texts, st.lists(texts, min_size=1, unique_by=str.strip)),
        "targets": named,
        "scoring_target": texts,
        "horizon_days": st.sampled_from([20, 60]),
        "numerai_benchmarks": st.one_of(named, st.just([])),
        "trials": st.integers(1, 10**6),
        "jobs": st.sampled_from([-1, 1, 7]),
        "seed": st.integers(0, 2**31 - 1),
        "memory_gb": st.one_of(st.integers(1, 99), st.floats(0.001, 1e6)),
        "cache_gb": st.floats(0, 1e6),
        "study_storage": texts,
        "tracking_uri": texts,
        "contribution_to": texts,
        "confirm": st.fixed_dictionaries({"leaders": st.just(0)}, optional={"seeds": st.integers(2, 9)}),
        "constraint": st.sampled_from(["n_estimators >= 1", "n_estimators % 2 == 0 or n_estimators < 9"]),
        "folds": st.fixed_dictionaries(
            {},
            optional={
                "count": st.integers(2, 9),
                "embargo_eras": st.integers(0, 99),
                "holdout_eras": st.integers(0, 99),
                "train_era_step": st.integers(1, 9),
            },
        ),
    }
    return table | draw(st.fixed_dictionaries({}, optional=optional))


@settings(max_examples=60, deadline=None)
@given(tables())
def test_an_experiments_table_and_its_text_make_the_same_experiment(table):
    experiment = make_experiment(**table)
    assert same(experiment, parse_experiment(table, experiment.text))
    assert same(experiment, parse_experiment(tomllib.loads(experiment.text), experiment.text))
    sent = json.loads(json.dumps(experiment_table(experiment)))
    assert sent == experiment_table(experiment)
    assert same(experiment, parse_experiment(sent, experiment.text))


@pytest.mark.parametrize("path", EXPERIMENTS, ids=lambda path: path.stem)
def test_every_shipped_experiment_is_sent_and_changed_whole(path, tmp_path):
    shipped = load_experiment(path)
    assert same(shipped, load_experiment(path))
    assert shipped.text == path.read_text(encoding="utf-8")
    assert same(shipped, parse_experiment(json.loads(json.dumps(experiment_table(shipped))), shipped.text))
    changed = load_experiment(path, trials=7)
    assert same(mined_again(changed, tmp_path), changed)
    assert experiment_table(changed) == experiment_table(shipped) | {"trials": 7}
    assert list(changed.axes) == list(shipped.axes)


def test_notebook_values_become_plain(tmp_path):
    experiment = made(
        data=tmp_path / "extract.parquet",
        study_storage=Path("studies") / "mine",
        targets=pd.Index(["target", "target_ender_20"]),
        numerai_benchmarks=("a", "b"),
        trials=np.int64(12),
        seed=np.array(3),
        memory_gb=np.float64(1.5),
        folds=MappingProxyType({"count": np.int32(3), "embargo_eras": None}),
        grid={
            "n_estimators": range(50, 0, -20),
            "learning_rate": np.logspace(-3, -1, 3),
            "extra_trees": np.array([True, False]),
            "max_depth": {"from": np.int64(2), "to": 4},
            "colsample_bytree": (0.1, np.float64(0.5)),
            "max_bin": None,
        },
        benchmark={"n_estimators": np.uint8(9), "learning_rate": np.float64(0.1), "target": np.str_("target")},
    )
    assert (experiment.data, experiment.study_storage) == (str(tmp_path / "extract.parquet"), str(Path("studies/mine")))
    assert (experiment.targets, experiment.numerai_benchmarks) == (("target", "target_ender_20"), ("a", "b"))
    assert (experiment.trials, experiment.seed, experiment.memory_gb) == (12, 3, 1.5)
    assert (experiment.folds.count, experiment.folds.embargo_eras) == (3, None)
    assert dict(experiment.axes) == {
        "n_estimators": (50, 30, 10),
        "learning_rate": tuple(np.logspace(-3, -1, 3).tolist()),
        "extra_trees": (True, False),
        "max_depth": (2, 3, 4),
        "colsample_bytree": (0.1, 0.5),
    }
    assert {type(value) for values in experiment.axes.values() for value in values} == {int, float, bool}
    assert same(mined_again(experiment, tmp_path), experiment)


def test_a_path_is_never_the_synthetic_market():
    assert made(data=Path("demo")).data == "./demo"
    assert made(data="demo").data == "demo"
    assert made(data=Path("v5.3") / "all").data == str(Path("v5.3/all"))


def test_none_is_as_if_the_key_were_not_given():
    assert experiment_table(made(trials=None, folds=None, targets=None)) == experiment_table(made())
    assert "None" not in made(trials=None, folds={"count": None}).text


def test_the_text_keeps_ranges_and_the_order_of_the_axes():
    experiment = made(grid={"max_depth": {"from": 2, "to": 4}, "n_estimators": [5, 6], "max_bin": 5})
    written = "[grid]\nmax_depth = { from = 2, to = 4 }\nn_estimators = [\n    5,\n    6,\n]\nmax_bin = 5\n"
    assert experiment.text.endswith(written)
    assert list(parse_experiment(tomllib.loads(experiment.text)).axes) == ["max_depth", "n_estimators", "max_bin"]


def test_changes_reach_into_tables_and_leave_the_rest(tmp_path):
    shipped = load_experiment(DEMO)
    changed = load_experiment(
        DEMO,
        data=tmp_path,
        folds={"embargo_eras": 9},
        grid={"n_estimators": [3, 4], "reg_lambda": None, "path_smooth": [0.0, 1.0]},
        benchmark={"n_estimators": 5},
    )
    assert changed.data == str(tmp_path)
    assert (changed.folds.count, changed.folds.embargo_eras) == (shipped.folds.count, 9)
    axes = {name: values for name, values in shipped.axes.items() if name != "reg_lambda"}
    assert changed.axes == axes | {"n_estimators": (3, 4), "path_smooth": (0.0, 1.0)}
    assert list(changed.axes) == [*axes, "path_smooth"]
    assert changed.benchmark == dict(shipped.benchmark) | {"n_estimators": 5}
    assert "embargo_eras = 9" in changed.text
    assert same(mined_again(changed, tmp_path), changed)


def test_none_takes_a_key_out_of_a_file():
    changed = load_experiment(DEMO, constraint=None, folds=None, trials=None, seed=None)
    assert (changed.constraint, changed.trials, changed.seed) == (None, 100, 0)
    assert "constraint" not in changed.text
    assert "folds" not in changed.text


def test_a_change_to_the_same_value_keeps_the_text():
    shipped = load_experiment(str(DEMO))
    assert load_experiment(DEMO, trials=80, grid={"max_bin": np.array([3, 5])}, memory_gb=None) == shipped


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"trails": 10}, "unknown key 'trails'; did you mean 'trials'"),
        ({"trails": None}, "unknown key 'trails'; did you mean 'trials'"),
        ({"embargo_eras": 9}, r'^embargo_eras is not a setting but a key of folds; write folds={"embargo_eras": 9}$'),
        (
            {"max_depth": np.array([4])},
            r'^max_depth is not a setting .* and benchmark; write grid={"max_depth": \[4\]}$',
        ),
        ({"max_depth": None}, r'^max_depth is not a setting .*; write grid={"max_depth": None}$'),
        ({"targets": nested(5000)}, r"targets holds lists or tables more than 3 deep, which no experiment does; write"),
        ({"grid": {"max_depth": self_referencing([])}}, r"grid.max_depth holds lists or tables more than 3 deep"),
        ({"folds": self_referencing({})}, r"folds(.count)+ holds lists or tables more than 3 deep"),
        ({"grid": {10**5000: [1]}}, "grid has the key about 1e5000, which is not text"),
        ({"folds": [10**5000]}, r"folds = \[about 1e5000\] is not a table"),
        ({"trials": np.array([range(9)])}, r"trials = \[\[0, 1, 2, 3, 4, 5, \.\.\.\]\] is not an integer"),
        ({"folds": {"cuont": None}}, "unknown key 'folds.cuont'; did you mean 'count'"),
        ({"grid": {"max_depht": None}}, "grid.max_depht is not a parameter .* did you mean 'max_depth'"),
        ({"benchmark": {"eta": None}}, "benchmark.eta is LightGBM's other name; use learning_rate"),
        ({"grid": {"n_estimators": None, "max_depth": [3]}}, "grid.n_estimators is missing"),
        ({"name": None}, "name is missing"),
        ({"folds": [2]}, r"folds = \[2\] is not a table"),
        ({"trials": np.array([1, 2])}, r"trials = \[1, 2\] is not an integer of at least 1"),
        ({"trials": True}, "trials = True is not an integer"),
        ({"seed": object()}, "seed holds a value of type 'object', which no experiment file can; write text, numbers"),
        ({"targets": {"target"}}, "targets holds a value of type 'set', which no experiment file can"),
        (
            {"targets": pd.DataFrame({"a": [1]})},
            "targets holds a value of type 'DataFrame', which no experiment file can",
        ),
        ({"targets": ["target", None]}, "targets holds None, which is not a value; leave it out"),
        ({"memory_gb": np.float64}, "memory_gb holds a value of type 'type', which no experiment file can"),
        (
            {"benchmark": {"max_depth": np.datetime64("2020-01-01")}},
            "benchmark.max_depth holds a value of type 'date', which no",
        ),
        (
            {"grid": {"max_depth": [2, 3 + 0j]}},
            "grid.max_depth holds a value of type 'complex', which no experiment file can",
        ),
        ({"grid": {3: [1]}}, "grid has the key 3, which is not text; write it in quotes"),
        ({"grid": {"max_depth": {"from": 1, 2: 3}}}, "grid.max_depth has the key 2, which is not text"),
        ({"grid": {"min_child_samples": range(10**30)}}, "grid.min_child_samples has more than 1000000 values"),
        ({"grid": {"max_depth": np.eye(2)}}, r"grid.max_depth = \[1.0, 0.0\] is not an integer"),
        ({"grid": {"max_depth": np.array([3, 3])}}, "grid.max_depth holds 3 twice"),
        ({"grid": {"learning_rate": np.array([0.1, np.nan])}}, "grid.learning_rate = nan is not a number"),
        ({"data": Path("\udce9")}, r"data = './\\udce9' is not Unicode text"),
    ],
)
@pytest.mark.parametrize("build", [made, lambda **changes: load_experiment(DEMO, **changes)], ids=["made", "changed"])
def test_a_mistake_is_one_line_with_the_repair(build, changes, message):
    with pytest.raises(UserError, match=message) as caught:
        build(**changes)
    assert "\n" not in str(caught.value)


def test_a_mistake_in_a_file_names_the_file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=r"experiment file 'experiments/none.toml' does not exist"):
        load_experiment("experiments/none.toml")
    (tmp_path / "wrong.toml").write_text('name = "wrong"\ntrails = 3')
    with pytest.raises(UserError, match=r"^wrong.toml: unknown key 'trails'"):
        load_experiment("wrong.toml")
    with pytest.raises(UserError, match=r"demo.toml: trials = 0 is not an integer of at least 1"):
        load_experiment(DEMO, trials=0)


@pytest.mark.parametrize(
    ("path", "message"),
    [
        (None, "path = None is not a path; write one such as 'experiments/demo.toml'"),
        (b"demo.toml", "path = b'demo.toml' is not a path"),
        ("a\0b", r"path = 'a\\x00b' is not a path"),
        ("~nouser/x.toml", "path = '~nouser/x.toml' names no user's home directory; write the absolute path"),
        ("a" * 5000, r"cannot be read \(File name too long\); name another"),
    ],
)
def test_what_is_no_path_is_one_line(path, message):
    with pytest.raises(UserError, match=message) as caught:
        load_experiment(path)
    assert "\n" not in str(caught.value)


def test_data_that_no_experiment_names_are_one_line():
    with pytest.raises(
        UserError, match=r"^experiment = 'tiny.toml' is not an Experiment; pass what load_experiment or make"
    ):
        open_data("tiny.toml")
    with pytest.raises(UserError, match=r"^data = '~nouser/x' names no user's home directory"):
        open_data(made(data="~nouser/x"))
    with pytest.raises(UserError, match=r"^data = 'aa.*aa' cannot be read \(File name too long\); name another$"):
        open_data(made(data="a" * 5000))


def test_neither_the_repr_nor_a_pickle_holds_a_password():
    storage, store = "postgresql://me:hush1@host/studies", "https://me:hush2@host"
    experiment = made(study_storage=storage, tracking_uri=store)
    for text in (repr(experiment), str(experiment), f"{[experiment]}"):
        assert "hush" not in text
        assert "study_storage='postgresql://***@host/studies', tracking_uri='https://***@host')" in text
    assert "text=" not in repr(experiment)
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        pickled = pickle.dumps(experiment, protocol)
        assert b"hush" not in pickled
        kept = pickle.loads(pickled)
        assert (kept.study_storage, kept.tracking_uri) == ("postgresql://***@host/studies", None)
        assert kept.axes == experiment.axes


def test_what_stays_in_the_process_or_goes_to_the_miner_keeps_the_password():
    experiment = made(study_storage="postgresql://me:hush1@host/studies", tracking_uri="https://me:hush2@host")
    for copied in (copy(experiment), deepcopy(experiment)):
        assert copied == experiment
        assert copied.text == experiment.text
    assert deepcopy(experiment).axes is not experiment.axes
    handed = MiningJob.from_json(MiningJob(experiment, "tiny-1", "token", True, "log").to_json())
    assert handed.experiment == experiment
    plain = made(tracking_uri="sqlite:///mlflow.db")
    assert pickle.loads(pickle.dumps(plain)) == plain


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ({"workers": 0}, r"cluster\.workers = 0 is not an integer of at least 1 and at most 1024"),
        ({"scheduler": "10.0.0.1:8786"}, r"cluster\.scheduler = '10\.0\.0\.1:8786' is not the address of a Dask sch"),
        ({"scheduler": "tcp://host:1", "workers": 2}, r"cluster\.workers = 2 starts workers on this machine, and cl"),
        ({"schedular": "tcp://host:1"}, r"unknown key 'cluster\.schedular'; did you mean 'scheduler'\?"),
        ({"data": "s3://key:secret@bucket/v5.3"}, r"cluster\.data = 's3://\*\*\*@bucket/v5\.3' contains a password"),
        ("tcp://host:1", r"cluster = 'tcp://host:1' is not a table; write \[cluster\]"),
    ],
)
def test_mistakes_of_a_cluster_are_named(table, message):
    with pytest.raises(UserError, match=message):
        load_experiment(cluster=table)


def test_a_scheduler_replaces_the_workers_of_the_file_and_changes_no_study():
    plain, own = load_experiment(), load_experiment(cluster={"workers": 2})
    assert not plain.cluster
    assert own.cluster.workers == 2
    again = parse_experiment(experiment_table(own))
    assert again.cluster == own.cluster
