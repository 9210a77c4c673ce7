"""The holdout: opened once, for one model, with the fact written before anything is known."""

from __future__ import annotations

import json
import os
import re
import signal
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import lightgbm as lgb
import numpy as np
import pandas as pd
import pytest
from filelock import FileLock
from hypothesis import given
from hypothesis import strategies as st
from mlflow.entities import DatasetInput
from numerai_tools import scoring as oracle
from sqlalchemy.engine.default import DefaultDialect

from signal_miner.data.dataset import Dataset, open_dataset
from signal_miner.errors import UserError
from signal_miner.experiment.plan import make_plan
from signal_miner.experiment.schema import parse_experiment
from signal_miner.holdout import evaluation
from signal_miner.holdout.model import EvaluatedModel, holdout_plan
from signal_miner.holdout.record import HoldoutScores, Opening
from signal_miner.holdout.runs import HoldoutRuns
from signal_miner.report.sentences import opened_holdout
from signal_miner.scoring.objective import Objective, Scoring
from signal_miner.scoring.scorer import Scorer
from signal_miner.tracking.studies import Studies
from signal_miner.tracking.tags import ENSEMBLE_SHA256
from tests.conftest import write_numerai_directory
from tests.helpers.mining import artifact, client_of, environment, mine_here, runs_of, write_experiment
from tests.helpers.study import artifact_path, command, copy_study, members_of

slow = pytest.mark.slow

ERAS, HOLDOUT, STEP = 100, 12, 2
PURGE = {"target": 8, "target_cyrusd_60": 16}
FIRST = ERAS - HOLDOUT + 1

KILLED_BEFORE_IT_SCORES = """
import os, signal, sys
from signal_miner.holdout import evaluation
from signal_miner.__main__ import main
evaluation.blended = lambda *_arguments: os.kill(os.getpid(), signal.SIGKILL)
sys.exit(main(sys.argv[1:]))
"""


@pytest.fixture(scope="module")
def mined(tmp_path_factory):
    """A study with a holdout, thinned, of targets with different purges, and two ensembles; copied to be changed."""
    directory = tmp_path_factory.mktemp("holdout")
    path = write_experiment(directory, write_numerai_directory(directory / "numerai", eras=ERAS), trials=8)
    path.write_text(path.read_text().replace("embargo_eras = 8", f"holdout_eras = {HOLDOUT}\ntrain_era_step = {STEP}"))
    done = mine_here(directory)
    assert done.returncode == 0, done.stderr
    assert command(directory, "ensemble", "--select", "top", "--members", "4", "--weights", "rank") == 0
    assert command(directory, "ensemble", "--select", "top", "--neutralize", "benchmark", "--proportion", ".5") == 0
    return directory


@pytest.fixture
def study(mined, tmp_path):
    return copy_study(mined, tmp_path / "study")


def opening(directory: Path, *arguments: str) -> int:
    return command(directory, "holdout", *arguments, "--open", "true")


def study_run(directory: Path):
    return next(run for run in runs_of(directory, "study") if run.info.run_name.startswith("study tiny"))


def ensemble(directory: Path, number: int):
    return next(run for run in runs_of(directory, "ensemble") if run.info.run_name == f"ensemble {number}")


def holdout_tags(directory: Path) -> dict[str, str]:
    tags = study_run(directory).data.tags.items()
    return {name.removeprefix("signal_miner.holdout."): value for name, value in tags if "holdout" in name}


def holdout_metrics(run) -> dict[str, float]:
    return {name: value for name, value in run.data.metrics.items() if name.startswith("holdout/")}


def contents(directory: Path) -> tuple[list[str], dict[str, bytes]]:
    """Return all that a store and the folder hold."""
    with closing(sqlite3.connect(directory / "mlflow.db")) as store:
        dump = list(store.iterdump())
    files = {str(path): path.read_bytes() for path in directory.rglob("*") if path.is_file() and path.suffix != ".db"}
    return dump, files


def plain_lightgbm(dataset: Dataset, params: dict[str, str], trees: int) -> pd.Series:
    """Train on the eras before the holdout, counted here once more, and predict the holdout."""
    target = dataset.read_target(params["target"])
    newest = FIRST - PURGE[params["target"]] - 1
    train = (dataset.eras <= newest) & ((newest - dataset.eras) % STEP == 0) & np.isfinite(target)
    features = dataset.read_features(dataset.features, slice(0, len(dataset))).to_pandas()
    model = lgb.LGBMRegressor(
        n_estimators=trees,
        learning_rate=float(params["learning_rate"]),
        max_bin=int(params["max_bin"]),
        max_depth=int(params["max_depth"]),
        num_leaves=int(params["num_leaves"]),
        colsample_bytree=float(params.get("colsample_bytree", 1)),
        random_state=11,
        force_col_wise=True,
        deterministic=True,
        n_jobs=1,
        verbosity=-1,
    ).fit(features[train], target[train])
    holdout = dataset.eras >= FIRST
    ids = pd.Index(dataset.read_ids().to_pylist(), name="id")
    return pd.Series(model.predict(features[holdout]).astype(np.float32), ids[holdout])


@slow
def test_an_unopened_holdout_is_described_and_left_untouched(mined, capsys):
    before = contents(mined)
    assert command(mined, "holdout", "--ensemble", "ensemble 1") == 0
    output = capsys.readouterr().out
    run_id = ensemble(mined, 1).info.run_id
    assert "its holdout, 12 eras 0089–0100, was not opened yet" in output
    assert f"Model: ensemble 1 (run {run_id})" in output
    assert "0002–0080 (purge 8 eras)" in output
    assert "This can be done once for the study" in output
    assert f"-P ensemble={run_id} -P open=true" in output
    assert command(mined, "holdout", "--trial", "3", "--study", "tiny") == 0
    output = capsys.readouterr().out
    assert "Model: trial 0003 at its best checkpoint" in output
    assert f"-P study={study_run(mined).data.tags['signal_miner.study']} -P trial=3 -P open=true" in output
    assert contents(mined) == before


@slow
@pytest.mark.parametrize("number", [1, 2])
def test_it_is_plain_lightgbm_and_numerais_scores(study, number):
    """Members trained by LightGBM's own class, blended, neutralised and scored by `numerai_tools`."""
    assert opening(study, "--ensemble", f"ensemble {number}") == 0
    run, evaluated = study_run(study), ensemble(study, number)
    dataset = open_dataset(study / "numerai", "all", "target")
    benchmark_run = runs_of(study, "benchmark")[0]
    folder = artifact_path(study, run, "holdout")
    members = members_of(study, evaluated)
    assert {member["params"]["target"] for member in members} == set(PURGE)
    columns = {}
    for member in members:
        expected = plain_lightgbm(dataset, member["params"], member["trees"])
        (file,) = folder.glob(f"trial-{member['number']:04d}-*")
        given = pd.read_parquet(file).set_index("id")["prediction"]
        pd.testing.assert_series_equal(given, expected, check_names=False, rtol=0, atol=1e-6)
        columns[member["number"]] = given
    tracked = artifact(study, run, "holdout_predictions.parquet")
    plain = plain_lightgbm(dataset, benchmark_run.data.params, int(benchmark_run.data.params["n_estimators"]))
    pd.testing.assert_series_equal(tracked["benchmark"], plain, check_names=False, rtol=0, atol=1e-6)

    target = pd.Series(dataset.read_target("target"), dataset.read_ids().to_pylist(), name="target").astype(float)
    weights = np.array([member["weight"] for member in members])
    rows = []
    for era, part in pd.DataFrame(columns).groupby(tracked["era"]):
        blend = (oracle.gaussian(oracle.tie_kept_rank(part)) @ weights).to_frame("prediction")
        benchmark = tracked.loc[part.index, ["benchmark"]]
        if number == 2:
            blend = oracle.neutralize(blend, oracle.gaussian(oracle.tie_kept_rank(benchmark)), 0.5)
        ranks = oracle.tie_kept_rank(blend.round(10))
        assert tracked.loc[part.index, "prediction"].to_numpy() == pytest.approx(ranks["prediction"], abs=1e-9)
        own = target.loc[part.index]
        gaussian = [oracle.gaussian(oracle.tie_kept_rank(each)).iloc[:, 0] for each in (ranks, benchmark)]
        rows.append(
            {
                "era": era,
                "corr": oracle.numerai_corr(ranks, own)["prediction"],
                "bmc": oracle.correlation_contribution(ranks, benchmark["benchmark"], own)["prediction"],
                "benchmark_corr": np.corrcoef(*gaussian)[0, 1],
                "benchmark": oracle.numerai_corr(benchmark, own)["benchmark"],
                "benchmark_bmc": 0.0,  # to itself
            }
        )
    expected = pd.DataFrame(rows)
    pd.testing.assert_frame_equal(artifact(study, run, "holdout_scores.parquet"), expected, rtol=0, atol=1e-9)

    payouts = (3 * expected["corr"] + 15 * expected["bmc"]).clip(-1, 1)
    metrics = {
        "holdout/payout": payouts.mean(),
        "holdout/payout_sharpe": oracle.sharpe_ratio(payouts),
        "holdout/payout_drawdown": (payouts.cumsum().cummax() - payouts.cumsum()).max(),
        "holdout/payout_over_benchmark": payouts.mean() - (3 * expected["benchmark"]).clip(-1, 1).mean(),
        "holdout/corr": expected["corr"].mean(),
        "holdout/sharpe": oracle.sharpe_ratio(expected["corr"]),
        "holdout/max_drawdown": (expected["corr"].cumsum().cummax() - expected["corr"].cumsum()).max(),
        "holdout/bmc": expected["bmc"].mean(),
        "holdout/benchmark_corr": expected["benchmark_corr"].mean(),
        "holdout/corr_over_benchmark": expected["corr"].mean() - expected["benchmark"].mean(),
        "holdout/sharpe_over_benchmark": oracle.sharpe_ratio(expected["corr"])
        - oracle.sharpe_ratio(expected["benchmark"]),
    }
    assert holdout_metrics(run) == pytest.approx(metrics, abs=1e-9)
    assert holdout_metrics(ensemble(study, number)) == holdout_metrics(run)
    assert opened_holdout(Opening.of(run.data.tags)).startswith("The holdout, eras 0089–0100, was opened on 20")
    assert f"for ensemble {number}: CORR {metrics['holdout/corr']:.4f}" in opened_holdout(Opening.of(run.data.tags))


@given(
    eras=st.sets(st.integers(1, 90), min_size=12),
    holdout=st.integers(1, 6),
    purges=st.tuples(st.integers(0, 20), st.integers(0, 20)),
    step=st.integers(1, 5),
)
def test_training_ends_a_purge_before_the_holdout(whole_plan, eras, holdout, purges, step):
    """For any eras, thinned or with holes: each target has its own purge, and training uses every era before it."""
    from dataclasses import replace

    ordered = sorted(eras)
    known = np.repeat(np.array(ordered, np.int32), 2)
    experiment = replace(whole_plan.experiment, folds=replace(whole_plan.experiment.folds, train_era_step=step))
    plan = replace(
        whole_plan,
        experiment=experiment,
        dataset=replace(whole_plan.dataset, eras=known),
        holdout_eras=tuple(ordered[-holdout:]),
        purge_eras=dict(zip(PURGE, purges, strict=True)),
    )
    if not all(ordered[-holdout] - ordered[0] > purge for purge in purges):
        return
    for target, purge in plan.purge_eras.items():
        (fold,) = holdout_plan(plan).folds[target]
        assert fold.validation_eras == plan.holdout_eras
        assert min(fold.validation_eras) - max(fold.train_eras) > purge
        allowed = [era for era in ordered if ordered[-holdout] - era > purge]
        assert list(fold.train_eras) == [era for era in allowed if (max(allowed) - era) % step == 0]


@pytest.fixture(scope="module")
def whole_plan(tmp_path_factory):
    directory = write_numerai_directory(tmp_path_factory.mktemp("plan") / "numerai", eras=ERAS, rows=6)
    table = {
        "name": "plan",
        "data": str(directory),
        "feature_set": "all",
        "scoring_target": "target",
        "targets": list(PURGE),
        "trials": 1,
        "folds": {"holdout_eras": HOLDOUT},
        "grid": {"n_estimators": [5]},
        "benchmark": {"n_estimators": 5},
    }
    return make_plan(parse_experiment(table), open_dataset(directory, "all", "target"))


@slow
def test_killed_before_it_scores_it_stays_opened_for_this_model_alone(study, mined, capsys):
    run_id = ensemble(study, 1).info.run_id
    arguments = ["holdout", "--ensemble", run_id, "--open", "true"]
    killed = subprocess.run(
        [sys.executable, "-c", KILLED_BEFORE_IT_SCORES, *arguments],
        cwd=study,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    tags = holdout_tags(study)
    assert (tags["model"], tags["run"]) == ("ensemble 1", run_id)
    assert "result" not in tags
    assert not holdout_metrics(study_run(study))
    assert not artifact_path(study, study_run(study), "holdout_scores.parquet").exists()
    assert "not finished" in opened_holdout(Opening.of(study_run(study).data.tags))

    assert opening(study, "--ensemble", "ensemble 2") == 2
    assert "for ensemble 1 (run " in capsys.readouterr().err
    assert command(study, "holdout", "--ensemble", run_id) == 0
    assert "for this model and not finished" in capsys.readouterr().out

    (kept,) = artifact_path(study, study_run(study), "holdout").glob("benchmark-*")
    kept.write_bytes(kept.read_bytes()[:-20])  # a disk that lost the end of it
    assert opening(study, "--ensemble", run_id) == 0
    assert "4 of 5 models were trained before" in capsys.readouterr().out
    assert holdout_tags(study)["opened"] == tags["opened"]
    assert holdout_tags(study)["result"].startswith("CORR ")

    undisturbed = copy_study(mined, study.parent / "undisturbed")
    assert opening(undisturbed, "--ensemble", "ensemble 1") == 0
    for name in ("holdout_scores.parquet", "holdout_predictions.parquet"):
        pd.testing.assert_frame_equal(
            artifact(study, study_run(study), name), artifact(undisturbed, study_run(undisturbed), name)
        )
    assert holdout_metrics(study_run(study)) == holdout_metrics(study_run(undisturbed))


@slow
@pytest.mark.parametrize("writes", [0, 1, 2, 4, 8, 12, 16, 24, 32])
def test_a_store_that_fails_at_a_write_is_one_line_and_loses_nothing(study, mined, writes, monkeypatch, capsys):
    execute, left = DefaultDialect.do_execute, [writes]

    def failing(dialect, cursor, statement, *arguments):
        if statement.startswith(("INSERT", "UPDATE", "DELETE")):
            left[0] -= 1
            if left[0] < 0:
                raise sqlite3.OperationalError("disk I/O error")
        return execute(dialect, cursor, statement, *arguments)

    with monkeypatch.context() as patched:
        patched.setattr(DefaultDialect, "do_execute", failing)
        code = opening(study, "--trial", "1")
    if left[0] >= 0:
        assert code == 0
    else:
        assert code == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert "disk I/O error" in line
        if "opened" in holdout_tags(study):  # and so for no other
            assert opening(study, "--trial", "2") == 2
    assert opening(study, "--trial", "1") == 0
    undisturbed = copy_study(mined, study.parent / "undisturbed")
    assert opening(undisturbed, "--trial", "1") == 0
    assert holdout_metrics(study_run(study)) == holdout_metrics(study_run(undisturbed))
    assert holdout_tags(study).keys() == holdout_tags(undisturbed).keys()


@slow
def test_the_fact_is_written_before_anything_is_predicted_or_scored(study, monkeypatch):
    seen = []

    def watched(name, method):
        def watching(*arguments, **options):
            seen.append((name, "opened" in holdout_tags(study), "result" in holdout_tags(study)))
            return method(*arguments, **options)

        return watching

    monkeypatch.setattr(evaluation.Retraining, "predict", watched("predict", evaluation.Retraining.predict))
    monkeypatch.setattr(Scorer, "_evaluate", watched("score", Scorer._evaluate))
    assert opening(study, "--trial", "1") == 0
    assert set(seen) == {("predict", True, False), ("score", True, False)}
    assert "result" in holdout_tags(study)


@slow
def test_opened_for_a_trial_it_is_read_again_and_refused_to_others(study, capsys, monkeypatch):
    assert opening(study, "--trial", "trial 0002") == 0
    first = capsys.readouterr().out
    assert "On opening, it and the benchmark are trained on eras 0002–0" in first
    trial = runs_of(study)[2]
    trees = int(trial.data.metrics["best/trees"])
    (file,) = artifact_path(study, study_run(study), "holdout").glob(f"trial-0002-{trees}-trees-*")
    dataset = open_dataset(study / "numerai", "all", "target")
    expected = plain_lightgbm(dataset, trial.data.params, trees)
    pd.testing.assert_series_equal(
        pd.read_parquet(file).set_index("id")["prediction"], expected, check_names=False, rtol=0, atol=1e-6
    )
    assert f"validation   {trial.data.metrics['best/validation_corr']:.4f}" in first
    assert f"holdout      {study_run(study).data.metrics['holdout/corr']:.4f}" in first
    assert not holdout_metrics(trial)

    before = contents(study)

    def never(*_arguments, **_options):
        raise AssertionError("it was trained or looked at again")

    with monkeypatch.context() as patched:
        patched.setattr(evaluation, "Retraining", never)
        patched.setattr(evaluation, "fold_scorers", never)
        for further in ((), ("--open", "true")):
            assert command(study, "holdout", "--trial", "2", *further) == 0
            again = capsys.readouterr().out
            assert "nothing is trained or evaluated again" in again
            assert first[first.index("Trial 0002 at") :] == again[again.index("Trial 0002 at") :]
    for arguments in (("--trial", "3"), ("--ensemble", "ensemble 1")):
        assert opening(study, *arguments) == 2
        assert command(study, "holdout", *arguments) == 2
        error = capsys.readouterr().err.splitlines()
        assert len(error) == 2
        assert f"for trial 0002 at its best checkpoint (run {trial.info.run_id}): CORR " in error[0]
        assert "a holdout that is looked at twice is a validation set" in error[0]
    assert contents(study) == before


@slow
def test_ctrl_c_keeps_what_is_trained(study, capsys, monkeypatch):
    def interrupted(method):
        def keeping(*arguments):
            method(*arguments)
            os.kill(os.getpid(), signal.SIGINT)

        return keeping

    with monkeypatch.context() as patched:
        patched.setattr(HoldoutRuns, "keep", interrupted(HoldoutRuns.keep))
        assert opening(study, "--ensemble", "ensemble 1", "--jobs", "1") == 130
    assert "rerun the command to resume" in capsys.readouterr().err
    assert "result" not in holdout_tags(study)
    assert opening(study, "--ensemble", "ensemble 1") == 0
    output = capsys.readouterr().out
    assert "1 of 5 models were trained before" in output or "2 of 5 models were trained before" in output


@slow
def test_two_at_once_are_one(study, capsys):
    name = study_run(study).data.tags["signal_miner.study"]
    (study / "studies").mkdir(exist_ok=True)
    with FileLock(study / "studies" / f"{name}.holdout.lock"):
        assert opening(study, "--trial", "1") == 2
    assert "is being opened by another process" in capsys.readouterr().err
    runs = HoldoutRuns(f"sqlite:///{study / 'mlflow.db'}")
    run_id = study_run(study).info.run_id
    trial = runs_of(study)[1].info.run_id
    assert runs.opening(run_id) is None
    tracked = Studies(f"sqlite:///{study / 'mlflow.db'}").find()
    model = EvaluatedModel.of_trial(tracked, next(each for each in tracked.trials if each.number == 1))
    own = Opening.now(model.name, model.run_id, model.digest, ["0089", "0100"])
    client_of(study).log_param(run_id, "holdout_opened_for", json.dumps(own.tags))  # elsewhere, before its tags
    assert runs.opening(run_id) == own
    with pytest.raises(UserError, match=f"was opened for run {trial}, not for another as it is now; a holdout that"):
        runs.open(run_id, Opening.now("another", "another", "digest", ["0089", "0100"]))
    assert opening(study, "--trial", "2") == 2
    assert "was opened on" in capsys.readouterr().err
    assert opening(study, "--trial", "1") == 0


@slow
def test_changed_inputs_are_not_evaluated(study, capsys):
    evaluated = ensemble(study, 1)
    path = artifact_path(study, evaluated, "ensemble.json")
    whole = path.read_text()
    changed = json.loads(whole)
    changed["members"][0]["params"]["seed"] = "99"
    path.write_text(json.dumps(changed))
    assert opening(study, "--ensemble", "ensemble 1") == 2
    assert "ensemble 1 has no readable ensemble.json (it was changed: its SHA-256" in capsys.readouterr().err
    client_of(study).delete_tag(evaluated.info.run_id, ENSEMBLE_SHA256)  # as of an ensemble made before there were any
    assert opening(study, "--ensemble", "ensemble 1") == 2
    assert "is not as the study tracked it" in capsys.readouterr().err
    path.write_text(whole[:-40])
    assert opening(study, "--ensemble", "ensemble 1") == 2
    assert "ensemble 1 has no readable ensemble.json" in capsys.readouterr().err
    assert not holdout_tags(study)

    path.write_text(whole)
    assert opening(study, "--ensemble", "ensemble 1") == 0
    changed = json.loads(whole)
    changed["members"][0]["weight"] /= 2
    path.write_text(json.dumps(changed))
    capsys.readouterr()
    assert opening(study, "--ensemble", "ensemble 1") == 2
    assert "was changed since the holdout of study" in capsys.readouterr().err

    path.write_text(whole)
    scores = artifact_path(study, study_run(study), "holdout_scores.parquet")
    body = scores.read_bytes()
    for damage in (body[:-50], None):
        scores.unlink() if damage is None else scores.write_bytes(damage)
        assert command(study, "holdout", "--ensemble", "ensemble 1") == 2
        error = capsys.readouterr().err
        assert "has no readable holdout_scores.parquet" in error
        assert "its tags say of ensemble 1: CORR" in error
        assert error.count("\n") == 1


@slow
def test_eras_that_another_study_has_seen_are_named(study, capsys):
    run = study_run(study)
    tags = {
        "signal_miner.kind": "study",
        "signal_miner.study": "older-12345678",
        **Opening.now("trial 0001", "other", "digest", ["0060", "0089"]).tags,
    }
    client = client_of(study)
    other = client.create_run(run.info.experiment_id, start_time=1, tags=tags)
    client.log_param(other.info.run_id, "data", "the same data by another name")
    given = [DatasetInput(each.dataset, []) for each in run.inputs.dataset_inputs]
    client.log_inputs(other.info.run_id, given)
    assert opening(study, "--trial", "1") == 0
    output = capsys.readouterr().out
    assert "Eras of it were looked at before: study older-12345678 opened its holdout 0060–0089 on 20" in output
    assert "; eras of it were looked at before: study older-12345678" in holdout_tags(study)["result"]


@slow
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "the holdout is opened for one model; name it with -P ensemble=…"),
        (("--study", "tiny"), "the holdout is opened for one model; name it"),
        (("--ensemble", "ensemble 1", "--trial", "1"), "leave out study and trial, or leave out ensemble"),
        (("--ensemble", "ensemble 9"), "ensemble 'ensemble 9' is not tracked; did you mean 'ensemble"),
        (("--trial", "99"), "run '99' is no trial of the study"),
        (("--trial", "1", "--study", "tinny"), "study 'tinny' is not tracked; did you mean 'tiny'"),
        (("--trial", "1", "--open", "maybe"), "open = 'maybe' is neither true nor false"),
        (("--trial", "1", "--jobs", "0"), "jobs = 0 is not 1 or more"),
        (("--trial", "1", "--data", "nowhere"), "data 'nowhere' does not exist"),
    ],
)
def test_mistakes_are_one_line(mined, arguments, message, capsys):
    assert command(mined, "holdout", *arguments) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1


@slow
def test_a_study_without_a_holdout_says_how_to_have_one(tiny_study, capsys):
    for further in ((), ("--open", "true")):
        assert command(tiny_study, "holdout", "--trial", "1", *further) == 2
        error = capsys.readouterr().err
        assert "has no holdout, as folds.holdout_eras is 0; give the experiment file one" in error
        assert error.count("\n") == 1


def scores(corr: list[float], benchmark: list[float]) -> HoldoutScores:
    labels = tuple(f"{era:04d}" for era in range(1, len(corr) + 1))
    other = np.zeros(len(corr))
    return HoldoutScores(labels, np.array(corr), other, other, np.array(benchmark))


@pytest.mark.parametrize(
    ("corr", "benchmark", "output"),
    [
        ([0.3, 0.2, 0.4], [0.1, 0.3, 0.1], "it beats the benchmark in CORR and Sharpe, and is above it in 2 of 3 eras"),
        ([0.9, 0.0, 0.1], [0.1, 0.2, 0.1], "it beats the benchmark in CORR alone"),
        ([-0.1, -0.2, 0.0], [-0.3, -0.3, -0.2], "it beats the benchmark in CORR and Sharpe, but its own CORR is not"),
        ([0.1, 0.1, 0.11], [0.1, 0.9, 0.0], "it beats the benchmark in Sharpe alone"),
        ([0.1, 0.0, 0.1], [0.2, 0.2, 0.3], "it does not beat the benchmark, and is above it in 0 of 3 eras"),
        ([0.9, np.nan, 0.8], [0.1, 0.2, 0.1], "it does not beat the benchmark, and is above it in 2 of 3 eras; no"),
        ([np.nan] * 3, [0.1, 0.2, 0.1], "CORR not defined and Sharpe not defined"),
    ],
)
def test_the_sentence_matches_the_scores(corr, benchmark, output):
    evaluated = scores(corr, benchmark)
    assert output in evaluated.result()
    assert all(np.isfinite(value) for value in evaluated.metrics.values())
    assert evaluated.metrics.get("holdout/undefined_eras", 0) == np.isnan(corr).sum()


PAYS = Scoring(Objective.PAYOUT)


@pytest.mark.parametrize(
    ("bmc", "benchmark_bmc", "output"),
    [
        ([0.02] * 4, [0.0] * 4, "0.390, CORR 0.0300 and Sharpe not defined over 4 eras, the benchmark 0.090, 0.0300"),
        (
            [0.02] * 4,
            [0.0] * 4,
            "it beats the benchmark, with a higher payout in each half of the eras, and is above it",
        ),
        ([0.09, 0.09, -0.01, -0.01], [0.0] * 4, "it does not beat the benchmark, and is above it in 2 of 4 eras"),
        ([-0.02] * 4, [-0.03] * 4, "in each half of the eras, but its own payout is not above 0"),
    ],
)
def test_a_study_that_looks_for_payouts_is_judged_by_them(bmc, benchmark_bmc, output):
    same = np.full(4, 0.03)
    labels = tuple(f"{era:04d}" for era in range(1, 5))
    evaluated = HoldoutScores(labels, same, np.array(bmc), same, same, np.array(benchmark_bmc), PAYS)
    assert output in evaluated.result()
    again = HoldoutScores.of_frame(evaluated.to_frame(), PAYS)
    assert again.result() == evaluated.result()
    assert again.metrics == evaluated.metrics
    assert evaluated.metrics["holdout/payout"] == pytest.approx(np.clip(3 * same + 15 * np.array(bmc), -1, 1).mean())
    over = evaluated.metrics["holdout/payout"] - (0.09 + 15 * np.mean(benchmark_bmc))
    assert evaluated.metrics["holdout/payout_over_benchmark"] == pytest.approx(over)


def test_a_holdout_opened_before_payouts_were_kept_is_judged_by_corr():
    older = HoldoutScores.of_frame(scores([0.3, 0.2, 0.4], [0.1, 0.3, 0.1]).to_frame(), PAYS)
    assert "it beats the benchmark in CORR and Sharpe" in older.result()
    assert "holdout/payout_over_benchmark" not in older.metrics


def test_overlapping_eras_count_for_less():
    slow = 0.1 + 0.1 * np.sin(np.arange(104) / 8)
    long = scores(slow.tolist(), [0.0, 0.1] * 52)
    assert re.search(r"as targets overlap, these eras are worth about (9|1\d)\.\d independent ones$", long.result(11))
    assert "overlap" not in long.result()


def test_an_opening_is_described_by_its_tags():
    assert Opening.of({}) is None
    made = Opening("2026-10-03T12:00:00+00:00", "ensemble 1", "abc", "digest", "0089–0100")
    sentence = "The holdout, eras 0089–0100, was opened on 2026-10-03 12:00 UTC for ensemble 1: "
    assert (
        opened_holdout(Opening.of(made.tags))
        == f"{sentence}not finished, the same command for the same model resumes it."
    )
    assert (
        opened_holdout(Opening.of(made.tags | {"signal_miner.holdout.result": "CORR 0.01"})) == f"{sentence}CORR 0.01."
    )
    assert Opening.of(made.tags) == made
