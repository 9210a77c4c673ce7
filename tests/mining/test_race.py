"""Studies that race: what is stopped, what stays as it was, and what switching a race off or on makes of a study."""

from __future__ import annotations

import os
import re
import shutil
import signal
import sys
import time
from contextlib import chdir
from dataclasses import asdict, replace
from types import SimpleNamespace

import numpy as np
import optuna
import pandas as pd
import pytest
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from rich.console import Console

from signal_miner.data.folds import Fold
from signal_miner.engine.memory_plan import plan_memory
from signal_miner.engine.racing import Curve, Race, is_control
from signal_miner.engine.trial import replay
from signal_miner.experiment.files import load_experiment
from signal_miner.experiment.plan import make_plan, open_data
from signal_miner.experiment.schema import RaceSettings
from signal_miner.mining.session import _race_changes, mine
from signal_miner.scoring.objective import Scoring
from signal_miner.scoring.study_scores import VALIDATION
from signal_miner.tracking.ranking import make_leaderboard
from signal_miner.tracking.studies import Studies
from signal_miner.tracking.study_reader import StudyReader
from tests.conftest import write_numerai_directory
from tests.helpers.mining import artifact, mine_here, outcome, put_store, runs_of, start_mining, write_experiment

TRIALS, SEED = 16, 11
SETTINGS = RaceSettings(controls=0.2, recovery=0.8)
RACE = "\n[race]\ncontrols = 0.2\nrecovery = 0.8\n"
PREFIX = "signal_miner.race."


def experiment_in(directory, data, jobs=2, race=RACE):
    directory.mkdir(exist_ok=True)
    put_store(directory)
    path = write_experiment(directory, data, trials=TRIALS, jobs=jobs, trees=60)
    path.write_text(path.read_text() + race)
    return directory


def mined(directory, *arguments):
    done = mine_here(directory, *arguments)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return write_numerai_directory(tmp_path_factory.mktemp("data") / "numerai")


@pytest.fixture(scope="module")
def raced(tmp_path_factory, data):
    """A study that raced, and what it printed."""
    directory = experiment_in(tmp_path_factory.mktemp("raced"), data)
    return directory, mined(directory)


@pytest.fixture(scope="module")
def in_full(tmp_path_factory, data):
    """The same study without a race."""
    directory = experiment_in(tmp_path_factory.mktemp("full"), data)
    mined(directory, "--race", "false")
    return directory


def by_number(directory):
    return {int(run.data.tags["signal_miner.trial"]): run for run in runs_of(directory)}


def summary_of(directory):
    """What a study made of each draw: status, tags of the race, and scores but for times."""
    found = {}
    for number, run in by_number(directory).items():
        tags = {key: value for key, value in run.data.tags.items() if key.startswith((PREFIX, "beats"))}
        scores = {key: value for key, value in run.data.metrics.items() if not key.endswith("seconds")}
        found[number] = (run.info.status, dict(run.data.params), tags, scores)
    return found


def states(directory):
    (journal,) = (directory / "studies").glob("*.journal")
    storage = JournalStorage(JournalFileBackend(str(journal)))
    (name,) = optuna.get_all_study_names(storage)
    return [trial.state.name for trial in optuna.load_study(study_name=name, storage=storage).trials]


def test_stopped_trials_are_tracked_and_pruned_and_lead_nothing(raced):
    directory, output = raced
    runs = by_number(directory)
    stopped = {number for number, run in runs.items() if f"{PREFIX}stopped_at" in run.data.tags}
    assert 3 < len(stopped) < TRIALS
    assert len(runs) == TRIALS
    for number in stopped:
        tags = runs[number].data.tags
        assert re.fullmatch(r"fold 1, \d+ trees", tags[f"{PREFIX}stopped_at"])
        assert tags[f"{PREFIX}reason"] == "below the benchmark"
        assert runs[number].info.status == "KILLED"
        assert not {"validation/sharpe", "test/sharpe", "best/test_sharpe"} & runs[number].data.metrics.keys()
    assert {number for number, state in enumerate(states(directory)) if state == "PRUNED"} == stopped
    study = Studies(f"sqlite:///{directory / 'mlflow.db'}").find()
    board = make_leaderboard(study.trials, study.benchmark, study.objective)
    assert not stopped & {place.trial.number for place in board.places}
    assert (board.stopped, board.failed, board.finished) == (len(stopped), 0, TRIALS - len(stopped))
    assert f"{TRIALS - len(stopped)} trials finished, {len(stopped)} stopped by the race" in output
    assert "at their best checkpoints" in output
    assert "models judged/h" in output


def test_controls_are_those_of_the_seed_and_exactly_as_without_a_race(raced, in_full):
    directory, _ = raced
    runs, whole = by_number(directory), by_number(in_full)
    controls = {number for number, run in runs.items() if f"{PREFIX}control" in run.data.tags}
    assert controls == {number for number in range(TRIALS) if is_control(SETTINGS, SEED, number)}
    for number in controls:
        assert "A control: " in runs[number].data.tags["mlflow.note.content"]
        for name in ("predictions.parquet", "era_scores.parquet", "curve_scores.parquet"):
            paths = [
                place / run.info.artifact_uri.removeprefix("file://") / name
                for place, run in ((directory, runs[number]), (in_full, whole[number]))
            ]
            assert paths[0].read_bytes() == paths[1].read_bytes()


def test_trials_that_proceed_have_the_same_scores_where_they_were_trained(raced, in_full):
    directory, _ = raced
    compared = 0
    for number, run in by_number(directory).items():
        tags = run.data.tags
        if run.info.status != "FINISHED" or f"{PREFIX}control" in tags:
            continue
        other = by_number(in_full)[number]
        both = ((directory, run), (in_full, other))
        own, whole = (artifact(place, each, "curve_scores.parquet") for place, each in both)
        known = own.notna()
        assert (f"{PREFIX}partial" not in tags) == bool(known.to_numpy().all())
        pd.testing.assert_frame_equal(own.where(known), whole.where(known), check_exact=True)
        for metric in ("corr", "sharpe", "bmc", "payout"):
            at_best = run.data.metrics[f"best/validation_{metric}"]
            assert run.data.metrics[f"validation/{metric}"] == pytest.approx(at_best, abs=1e-12)
        if run.data.metrics["best/trees"] == other.data.metrics["best/trees"]:
            compared += 1
            predictions = [artifact(place, each, "predictions.parquet")["best_prediction"] for place, each in both]
            np.testing.assert_array_equal(*predictions)
    assert compared


def test_a_replay_on_the_curves_of_the_full_study_stops_the_same_trials(raced, in_full):
    directory, _ = raced
    reader = StudyReader(f"sqlite:///{in_full / 'mlflow.db'}")
    study = Studies(f"sqlite:///{in_full / 'mlflow.db'}").find()
    folds = [Fold(number=number, train_eras=(1,), validation_eras=(2,)) for number in (1, 2)]
    eras = reader.era_scores(study.benchmark)
    first = eras.column("fold").to_numpy() == 1
    corr, bmc = (eras.column(name).to_numpy()[first][:, np.newaxis] for name in ("corr", "bmc"))
    overlap = reader.scores(study).overlap_eras
    race = Race.of(SETTINGS, Scoring(study.objective), overlap, [Curve(corr, bmc)])
    runs = by_number(directory)
    for trial in study.trials:
        params = {"n_estimators": int(trial.params["n_estimators"])}
        found = replay(params, folds, reader.curves(trial, [1, 2]), race)
        tags = runs[trial.number].data.tags
        if f"{PREFIX}control" in tags:
            assert tags.get(f"{PREFIX}reason", "") == ("" if found.stop is None else str(found.stop.reason))
        elif found.stop is None:
            assert f"{PREFIX}stopped_at" not in tags
        else:
            assert tags[f"{PREFIX}stopped_at"] == f"fold 1, {found.stop.trees} trees"


def test_stopped_trials_count_with_their_validation_scores(raced, in_full):
    scores, whole = (
        StudyReader(uri).scores(Studies(uri).find())
        for uri in (f"sqlite:///{place / 'mlflow.db'}" for place in (raced[0], in_full))
    )
    assert scores.stopped_scores.shape[1] == scores.stopped
    among = scores.chosen_among(scores.era_scores, scores.stopped_scores)
    assert among.shape == (whole.rows(VALIDATION).sum(), TRIALS)
    # At the best of the checkpoints that each has reached, whose scores are the same in both studies.
    candidates = whole.candidates[whole.rows(VALIDATION)]
    for column in among.T:
        assert (np.abs(candidates - column[:, np.newaxis]).max(axis=0) < 1e-12).any()


def test_a_pilot_sets_the_bar_in_the_same_call(tmp_path, data):
    directory = experiment_in(tmp_path / "study", data, race="\n[race]\nquantile = 0.5\npilot = 5\n")
    mined(directory)
    runs = by_number(directory)
    assert [runs[number].data.tags[f"{PREFIX}control"] for number in range(5)] == ["pilot"] * 5
    scores = [runs[number].data.metrics["validation/sharpe"] for number in range(5)]
    for number in range(5, TRIALS):
        run = runs[number]
        if run.info.status == "FINISHED" and f"{PREFIX}control" not in run.data.tags:
            assert run.data.metrics["validation/sharpe"] >= np.median(scores)
    assert any(run.data.tags.get(f"{PREFIX}reason") == "below the pilot" for run in runs.values())


@pytest.mark.parametrize(
    ("earlier", "settings", "said"),
    [
        ({}, RaceSettings(), ""),
        ({"recovery": 0.1}, RaceSettings(), "races with recovery = 0.25; until now it raced with recovery = 0.1."),
        ({"patience": 3}, RaceSettings(), "races with recovery = 0.25; until now it raced with patience = 3."),
        ({"recovery": 0.25, "patience": None}, RaceSettings(patience=3), ""),
        (
            {"recovery": 0.25, "patience": 3},
            RaceSettings(patience=3, margin=0.001),
            "races with margin = 0.001; until now it raced with margin = 0.0.",
        ),
        ({"significance": 0.0, "patience": 3}, RaceSettings(significance=0.0, recovery=0.0), ""),
        (None, RaceSettings(), ""),
        ({"recovery": 0.1}, None, ""),
    ],
)
def test_only_rules_that_differ_are_named(earlier, settings, said):
    of_before = {key: value for key, value in asdict(RaceSettings()).items() if key != "recovery"}
    if earlier == {}:
        of_before["recovery"] = RaceSettings().recovery
    record = None if earlier is None else of_before | earlier
    tracker = SimpleNamespace(read_plan=lambda _run: {"experiment": {"race": record}})
    found = _race_changes(tracker, "run", settings)
    assert found.endswith(said) if said else found == ""


@pytest.mark.slow
def test_jobs_change_nothing(raced, tmp_path, data):
    directory = experiment_in(tmp_path / "alone", data, jobs=1)
    mined(directory)
    assert summary_of(directory) == summary_of(raced[0])


@pytest.mark.slow
def test_switched_off_or_on_in_the_middle(in_full, tmp_path, data):
    directory = experiment_in(tmp_path / "study", data)
    mined(directory)
    assert "PRUNED" in states(directory)
    mined(directory, "--race", "false")
    assert outcome(directory) == outcome(in_full)
    expected = summary_of(in_full)
    for number, (*others, scores) in summary_of(directory).items():
        assert others == list(expected[number][:-1])
        assert scores | expected[number][-1] == scores  # and FNC where it was a leader in the race
    found, whole = (
        StudyReader(uri).scores(Studies(uri).find())
        for uri in (f"sqlite:///{place / 'mlflow.db'}" for place in (directory, in_full))
    )
    assert found.names == whole.names
    np.testing.assert_array_equal(found.era_scores, whole.era_scores)
    assert set(states(directory)) == {"COMPLETE", "PRUNED"}
    again = mined(directory)
    assert "Ranking" in again
    assert "16 trials finished;" in again
    study = Studies(f"sqlite:///{directory / 'mlflow.db'}").find()
    assert make_leaderboard(study.trials, study.benchmark, study.objective).finished == TRIALS


def test_other_rules_apply_from_then_on_and_are_named(raced, tmp_path):
    directory = tmp_path / "moved"
    shutil.copytree(raced[0], directory)
    before = summary_of(directory)
    path = directory / "tiny.toml"
    path.write_text(path.read_text().replace(RACE, "\n[race]\ncontrols = 0.2\n"))
    named = " ".join(mined(directory).split())
    assert "From now on the study races with recovery = 0.25; until now it raced with recovery = 0.8." in named
    assert summary_of(directory) == before
    assert "From now on" not in mined(directory)


@pytest.mark.slow
def test_blocks_race_as_whole_trials_do(raced, tmp_path, data):
    directory = experiment_in(tmp_path / "blocks", data)
    with chdir(directory):
        experiment = load_experiment("tiny.toml")
        plan = make_plan(experiment, open_data(experiment))
        memory = replace(plan_memory(plan, 2), together=False, kept_bytes=1, jobs=2)
        mine(plan, memory, Console(quiet=True))
    assert summary_of(directory) == summary_of(raced[0])


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="it has no SIGKILL")
def test_killed_and_resumed_it_is_the_uninterrupted_study(raced, tmp_path, data):
    directory = experiment_in(tmp_path / "killed", data)
    for count in (3, 9):
        process = start_mining(directory)
        while len(list(directory.glob("mlruns/*/*/artifacts/curve_scores.parquet"))) < count:
            assert process.poll() is None, process.communicate()
            time.sleep(0.02)
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
    mined(directory)
    assert summary_of(directory) == summary_of(raced[0])


@pytest.mark.cluster
def test_a_cluster_races_alike(raced, tmp_path, data):
    directory = experiment_in(tmp_path / "cluster", data, race=f"{RACE}\n[cluster]\nworkers = 1\n")
    mined(directory)
    assert summary_of(directory) == summary_of(raced[0])
