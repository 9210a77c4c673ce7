"""An ensemble from Python is the command's, and its table says what is tracked."""

from __future__ import annotations

import inspect
import pickle
from copy import copy
from dataclasses import fields, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest

from signal_miner.ensemble.build import BuiltEnsemble, build_ensemble
from signal_miner.ensemble.options import EnsembleOptions, SelectionRule
from signal_miner.errors import UserError
from signal_miner.models.options import RegistrationOptions
from signal_miner.tracking.studies import referenced
from tests.helpers.mining import runs_of
from tests.helpers.study import command, copy_study, members_of, newest_ensemble

SCORES = [
    "validation/corr",
    "validation/sharpe",
    "validation/bmc",
    "validation/benchmark_corr",
    "validation/payout",
    "test/corr",
    "test/sharpe",
    "test/bmc",
    "test/payout",
]


@pytest.fixture(scope="module")
def study(tiny_study: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the finished study, which has no ensemble yet."""
    return copy_study(tiny_study, tmp_path_factory.mktemp("built") / "study")


@pytest.fixture(scope="module")
def uri(study: Path) -> str:
    return f"sqlite:///{study / 'mlflow.db'}"


@pytest.fixture(scope="module")
def built(uri: str) -> BuiltEnsemble:
    return build_ensemble("tiny", select="top", members=3, weights="rank", tracking_uri=uri)


def test_the_table_holds_what_is_tracked(built: BuiltEnsemble, study: Path) -> None:
    run = next(run for run in runs_of(study, "ensemble") if run.info.run_id == built.run_id)
    trials = {run.info.run_id: run for run in runs_of(study)}
    (benchmark,) = runs_of(study, "benchmark")
    assert built.name == run.info.run_name
    assert list(built.table.columns) == ["weight", "trees", *SCORES]
    members = members_of(study, run)
    assert list(built.table.index) == [
        *(trials[member["run_id"]].info.run_name for member in members),
        built.name,
        "benchmark",
    ]
    for member in members:
        trial = trials[member["run_id"]]
        row = built.table.loc[trial.info.run_name]
        assert row["weight"] == member["weight"]
        assert row["trees"] == member["trees"] == trial.data.metrics["best/trees"]
        for score in SCORES:
            assert row[score] == trial.data.metrics[f"best/{score.replace('/', '_')}"]
    for name, metrics in ((built.name, run.data.metrics), ("benchmark", benchmark.data.metrics)):
        assert built.table.loc[name, SCORES].to_dict() == {score: metrics[score] for score in SCORES}
        assert built.table.loc[name, ["weight", "trees"]].isna().all()
    assert built.highest_correlation == run.data.metrics["members/highest_correlation"]


def test_an_ensemble_is_shown_as_a_table(built: BuiltEnsemble) -> None:
    caption = (
        f"{built.name.capitalize()} of study {built.study}, chosen on validation (test is shown, not used); "
        f"members at their best checkpoints; two members correlate {built.highest_correlation:.2f} at most"
    )
    head, *lines = repr(built).splitlines()
    first = built.expectations[0]
    expected = f"Expect a Sharpe of about {first.value:.2f}, between {first.low:.2f} and {first.high:.2f} over the next"
    assert head == f"{expected} 52 eras. {caption}"
    assert first.value < first.validation
    assert max(map(len, lines)) < 120
    assert f"{built.table.loc[built.name, 'validation/sharpe']:.2f}" in lines[-2]
    table = ElementTree.fromstring(built._repr_html_())
    assert table.findtext("caption") == head
    rows = [[cell.text or "" for cell in row] for row in table.findall("tbody/tr")]
    assert [name for name, *_ in rows] == list(built.table.index)
    shown = [float(cells[-3]) for cells in rows]
    assert shown == pytest.approx(built.table["test/sharpe"].tolist(), abs=0.005)


def test_the_defaults_are_the_commands(study: Path, uri: str, capsys: pytest.CaptureFixture[str]) -> None:
    made = build_ensemble(tracking_uri=uri)
    assert capsys.readouterr().out == ""
    ours = newest_ensemble(study)
    assert ours.info.run_id == made.run_id
    assert command(study, "ensemble") == 0
    theirs = newest_ensemble(study)
    assert theirs.info.run_id != made.run_id
    assert ours.data.params == theirs.data.params
    assert ours.data.metrics == theirs.data.metrics
    parameters = inspect.signature(build_ensemble).parameters
    for name in ("select", "members", "metric", "weights", "checkpoint", "min_trees"):
        assert parameters[name].default == getattr(SelectionRule(), name)


def test_the_mean_of_the_best_is_shown_beside_a_greedy_ensemble(uri: str) -> None:
    greedy = build_ensemble("tiny", min_trees=1, tracking_uri=uri)
    assert list(greedy.table.index[-3:]) == [greedy.name, "mean of 10 best", "benchmark"]
    mean = build_ensemble("tiny", select="top", members=10, min_trees=1, tracking_uri=uri)
    assert len(mean.table) == 12
    shown, made = (each.table[SCORES].loc[name] for each, name in ((greedy, "mean of 10 best"), (mean, mean.name)))
    assert shown.to_dict() == pytest.approx(made.to_dict(), nan_ok=True)
    few = build_ensemble("tiny", max_benchmark_correlation=0.9999, pool=3, tracking_uri=uri)
    assert few.table.index[-1] == "benchmark"


def test_the_options_are_declared_once() -> None:
    declared = {each.name: each for each in fields(EnsembleOptions)}
    assert set(inspect.signature(build_ensemble).parameters) == set(declared)
    assert all(each.metadata["help"] for each in (*declared.values(), *fields(RegistrationOptions)))


def test_every_option_arrives(study: Path, uri: str) -> None:
    options: dict[str, Any] = {"members": 2, "metric": "corr", "max_correlation": 0.95, "pool": 4, "weights": "rank"}
    options |= {"max_benchmark_correlation": 0.99, "neutralize": "features", "proportion": 0.5}
    build_ensemble(tracking_uri=uri, data=str(study / "numerai"), **options)
    ours = newest_ensemble(study)
    words = [word for name, value in options.items() for word in (f"--{name.replace('_', '-')}", str(value))]
    assert command(study, "ensemble", *words) == 0
    theirs = newest_ensemble(study)
    assert ours.info.run_id != theirs.info.run_id
    assert ours.data.params == theirs.data.params
    assert ours.data.metrics == theirs.data.metrics


def test_a_reference_says_study_and_store(built: BuiltEnsemble, uri: str) -> None:
    named = build_ensemble(built, select="runs", runs=[built.table.index[1]])
    assert named.study == built.study
    assert named.tracking_uri == uri
    assert list(named.table.index) == [built.table.index[1], named.name, "benchmark"]
    assert named.highest_correlation is None
    assert "at most" not in repr(named)
    assert referenced(SimpleNamespace(study="tiny-1", tracking_uri="there"), "here") == ("tiny-1", "here")
    assert referenced(SimpleNamespace(study="tiny-1", tracking_uri=None), None) == ("tiny-1", None)
    assert referenced(None, None) == (None, None)


def test_a_pickle_holds_the_table_and_no_password(built: BuiltEnsemble, uri: str) -> None:
    assert pickle.loads(pickle.dumps(built)).tracking_uri == uri
    secret = replace(built, tracking_uri="postgresql://me:hush@host/mlflow")
    assert copy(secret).tracking_uri == secret.tracking_uri
    pickled = pickle.dumps(secret)
    assert b"hush" not in pickled
    kept = pickle.loads(pickled)
    assert (kept.run_id, kept.tracking_uri, repr(kept)) == (built.run_id, None, repr(built))


def test_numbers_may_be_numpys_and_runs_none(study: Path, uri: str) -> None:
    made = build_ensemble(
        select="top",
        members=np.int64(2),
        max_benchmark_correlation=np.float32(1),
        runs=None,
        neutralize="features",
        proportion=np.float32(0.5),
        tracking_uri=uri,
    )
    assert len(members_of(study, newest_ensemble(study))) == 2
    again = build_ensemble(select="runs", runs=np.array([0, 1]), tracking_uri=uri)
    assert again.study == made.study


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"study": "tinny"}, "study 'tinny' is not tracked; did you mean 'tiny'"),
        (
            {"study": Path("tiny")},
            r"study is a \w*Path; give a study's name, its beginning, or what start_mining returned",
        ),
        ({"select": "best"}, "select = 'best' is not one of greedy, top, beating, runs"),
        ({"select": "top", "max_correlation": 0.5}, "max_correlation belongs to select=greedy, not to select=top"),
        ({"select": "beating", "pool": 3}, "pool belongs to select=greedy, not to select=beating; leave it out"),
        ({"proportion": 0.5}, "none is set; add neutralize"),
        ({"neutralize": "features", "proportion": 2.0}, r"proportion = 2\.0 is not a number of at least 0"),
        ({"members": "5"}, "members = '5' is not an integer of at most 1000000000; use 1 or more"),
        ({"members": 2.5}, "members = 2.5 is not an integer"),
        ({"members": True}, "members = True is not an integer"),
        ({"members": 10**5000}, "members = about 1e5000 is not an integer of at most 1000000000"),
        ({"pool": "x"}, "pool = 'x' is not an integer of at most 1000000000; use 1 or more"),
        ({"max_correlation": "x"}, "max_correlation = 'x' is not a number; use one such as 0.9"),
        ({"max_benchmark_correlation": 10**400}, "max_benchmark_correlation = about 1e400 is not a number; use one"),
        (
            {"neutralize": "features", "proportion": "x"},
            "proportion = 'x' is not a number of at least 0 and at most 1; use one such as 0.5",
        ),
        ({"neutralize": 5}, "neutralize = 5 is not a name"),
        ({"select": 5}, "select = 5 is not a name"),
        ({"metric": ["corr"]}, r"metric = \['corr'\] is not a name"),
        ({"select": "runs", "runs": 5}, r"runs = 5 is not a list; write runs=\[5\]"),
        ({"select": "runs", "runs": [1.5]}, "runs: a trial = 1.5 is not an integer of .*, nor a run's id or name"),
        ({"select": "runs", "runs": None}, "select = 'runs' needs runs"),
        ({"select": "runs", "runs": "trial 9999"}, "run 'trial 9999' is no trial of the study"),
    ],
)
def test_mistakes_are_one_line(options: dict[str, Any], message: str, study: Path, uri: str) -> None:
    before = len(runs_of(study, "ensemble"))
    with pytest.raises(UserError, match=message) as raised:
        build_ensemble(tracking_uri=uri, **options)
    assert "\n" not in str(raised.value)
    assert len(runs_of(study, "ensemble")) == before
