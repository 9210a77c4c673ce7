"""Faults of memory, data and stores while a study is mined."""

from __future__ import annotations

import itertools
import json
import os
import signal
import sys
import threading
import time
from contextlib import suppress
from dataclasses import asdict, replace

import pytest
from mlflow.exceptions import MlflowException
from rich.console import Console

from signal_miner.data.sources import open_source
from signal_miner.engine.memory_plan import plan_memory
from signal_miner.errors import Stopped, UserError
from signal_miner.experiment.files import load_experiment
from signal_miner.experiment.plan import make_plan
from signal_miner.mining import claim, training
from signal_miner.mining.claim import Owner
from signal_miner.mining.session import mine
from signal_miner.tracking.study_writer import Tracker
from signal_miner.tracking.tags import TRIAL_KIND
from signal_miner.utils.interruption import StopRequest
from tests.conftest import write_numerai_directory
from tests.helpers.mining import MINE, client_of, outcome, put_store, runs_of, write_experiment
from tests.helpers.study import command

pytestmark = pytest.mark.slow


@pytest.fixture
def plan(tmp_path, monkeypatch):
    """A small study in a directory of its own, laid out as the command lays it out."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MLFLOW_RUN_ID", raising=False)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path / 'mlflow.db'}")
    put_store(tmp_path)
    path = write_experiment(tmp_path, write_numerai_directory(tmp_path / "numerai"), trials=6, jobs=2)
    experiment = load_experiment(path, folds={"embargo_eras": 9})
    return make_plan(experiment, open_source(experiment.data, "all", "target", experiment.targets))


def after(count, error, work):
    """Return `work` that raises an error from its call number `count` on."""

    def fail(*_arguments, **_options):
        raise error

    return _replaced(work, fail, lambda call: call > count)


def _replaced(work, other, is_other):
    """Return `work` that is `other` in the calls, numbered from 1, for which `is_other` is true."""
    calls = itertools.count(1)

    def wrapped(*arguments, **options):
        return (other if is_other(next(calls)) else work)(*arguments, **options)

    return wrapped


@pytest.mark.parametrize("error", [MemoryError("no memory"), OSError("disk failed"), RuntimeError("std::bad_alloc")])
def test_a_fault_of_the_machine_ends_no_trial(plan, tmp_path, monkeypatch, error):
    with monkeypatch.context() as fault:
        fault.setattr(training, "complete", after(3, error, training.complete))
        with pytest.raises(
            UserError, match=r"mining stopped at trial \d: .*(fix this and|then) rerun the command to resume"
        ):
            mine(plan, plan_memory(plan, 2), Console(quiet=True))
    assert all(run.info.status == "FINISHED" for run in runs_of(tmp_path))
    assert [run.info.status for run in runs_of(tmp_path, "study")] == ["FAILED"]
    summary = mine(plan, plan_memory(plan, 2), Console(quiet=True))
    assert len(summary.leaderboard.places) == 7
    assert summary.leaderboard.failed == 0


def test_a_tracking_store_that_stops_answering_is_one_line(plan, tmp_path, monkeypatch):
    with monkeypatch.context() as fault:
        failure = MlflowException("no answer\nand more")
        fault.setattr(Tracker, "_create", after(4, failure, Tracker._create))
        with pytest.raises(UserError, match=r"tracking store .* failed \(no answer\); once it answers again"):
            mine(plan, plan_memory(plan, 2), Console(quiet=True))
    mine(plan, plan_memory(plan, 2), Console(quiet=True))
    assert len(outcome(tmp_path)) == 6


def test_a_miner_that_lost_its_study_stops_and_touches_nothing_of_the_other(plan, tmp_path, monkeypatch):
    """It was suspended for minutes: another process removed its claim, made one of its own and has trials running."""
    plan = replace(plan, experiment=replace(plan.experiment, trials=30))
    other = json.dumps(asdict(Owner("other", "/data", "another machine", 1, mining=True)))
    monkeypatch.setattr(claim, "HEARTBEAT", 0.05)

    def taken(tracker, number, *arguments, **options):
        if number == 2:
            for token in tracker.claims():
                tracker.remove_claim(token)
            tracker.write_claim("-taker", other)  # before any other token
            tracker._create_trial(TRIAL_KIND, 29, {}, 0.0)
            time.sleep(0.5)
        return real(tracker, number, *arguments, **options)

    real = Tracker.log_trial
    with monkeypatch.context() as fault:
        fault.setattr(Tracker, "log_trial", taken)
        with pytest.raises(UserError, match=r"was taken over by process 1 on other, in /data, as this process did not"):
            mine(plan, plan_memory(plan, 2), Console(quiet=True))
    statuses = {run.info.run_name: run.info.status for run in runs_of(tmp_path)}
    assert statuses["trial 0029"] == "RUNNING"
    assert [run.info.status for run in runs_of(tmp_path, "study")] == ["RUNNING"]
    assert len(statuses) < 30
    with monkeypatch.context() as impatient:
        impatient.setattr(StopRequest, "is_set", lambda _: True)
        with pytest.raises(Stopped):
            mine(plan, plan_memory(plan, 2), Console(quiet=True))
    assert {run.info.run_name: run.info.status for run in runs_of(tmp_path)} == statuses  # nothing of a living one
    monkeypatch.setattr(claim, "STALE_AFTER", 0.3)
    mine(plan, plan_memory(plan, 2), Console(quiet=True))
    assert sorted(run.info.run_name for run in runs_of(tmp_path)) == [f"trial {number:04d}" for number in range(30)]


@pytest.mark.skipif(sys.platform == "win32", reason="Windows sends no SIGINT to one process")
def test_an_error_that_a_second_ctrl_c_causes_is_an_interruption(plan, tmp_path, monkeypatch):
    """SQLAlchemy may fail to roll back a transaction in which it was interrupted, and raise that instead."""

    def interrupted(*_arguments, **_options):
        with suppress(KeyboardInterrupt):
            for _ in range(2):
                signal.raise_signal(signal.SIGINT)
            pytest.fail("the second signal does not interrupt")
        raise MlflowException("cannot roll back - no transaction is active")

    with monkeypatch.context() as fault:
        fault.setattr(Tracker, "_write", _replaced(Tracker._write, interrupted, lambda call: call == 5))
        with pytest.raises(KeyboardInterrupt):
            mine(plan, plan_memory(plan, 2), Console(quiet=True))
    assert [run.info.status for run in runs_of(tmp_path, "study")] == ["KILLED"]
    assert all(run.info.status == "FINISHED" for run in runs_of(tmp_path))


@pytest.mark.skipif(sys.platform == "win32", reason="Windows sends no SIGINT to one process")
@pytest.mark.parametrize("hangs_at", ["_write", "end_study"])
def test_a_store_that_hangs_is_left_at_the_third_ctrl_c(plan, monkeypatch, hangs_at):
    waits, sent = [], []

    def hang(*_arguments, **_options):
        waits.append(time.monotonic())
        time.sleep(100)

    def interrupt():
        while not waits:
            time.sleep(0.05)
        while not left.wait(0.4):
            sent.append(signal.SIGINT)
            os.kill(os.getpid(), signal.SIGINT)

    left = threading.Event()
    thread = threading.Thread(target=interrupt)
    number = 5 if hangs_at == "_write" else 1
    monkeypatch.setattr(Tracker, hangs_at, _replaced(getattr(Tracker, hangs_at), hang, lambda call: call >= number))
    monkeypatch.setattr(Tracker, "delete_cut_off", _replaced(Tracker.delete_cut_off, hang, lambda call: call > 1))
    thread.start()
    try:
        with pytest.raises(KeyboardInterrupt):
            mine(plan, plan_memory(plan, 2), Console(quiet=True))
    finally:
        left.set()
        thread.join()
    assert len(sent) <= 3
    assert os.environ["MLFLOW_HTTP_REQUEST_TIMEOUT"] == "20"


def test_a_failing_benchmark_is_one_line_and_a_failed_run(tmp_path, capfd):
    path = write_experiment(tmp_path, write_numerai_directory(tmp_path / "numerai"))
    wrong = 'device_type = "cuda"\n'  # LightGBM as it is installed was built without it
    path.write_text(path.read_text().replace("[benchmark]\n", f"[benchmark]\n{wrong}"))
    put_store(tmp_path)
    assert command(tmp_path, *MINE) == 2
    *lightgbms, ours = capfd.readouterr().err.splitlines()  # what is fatal to LightGBM it prints itself, from C
    assert ours.startswith("signal-miner: the benchmark failed: ")
    assert not [line for line in lightgbms if line.startswith(("signal-miner", "Traceback"))]
    assert [run.info.status for run in runs_of(tmp_path, "benchmark")] == ["FAILED"]
    assert [run.info.status for run in runs_of(tmp_path, "study")] == ["FAILED"]


def test_the_studys_run_records_how_it_was_mined(plan, tmp_path):
    summary = mine(plan, plan_memory(plan, 2), Console(quiet=True))
    client = client_of(tmp_path)
    record = json.loads(
        open(client.download_artifacts(summary.study_run_id, "plan.json", str(tmp_path))).read()  # noqa: PTH123, SIM115
    )
    assert record["study"] == summary.study
    folds = {"count": 2, "embargo_eras": 9, "holdout_eras": 0, "train_era_step": 1}
    assert record["experiment"]["folds"] == folds
    assert record["targets"]["target_cyrusd_60"]["purge_eras"] == 9
    fold = record["targets"]["target"]["folds"][0]
    assert min(fold["validation_eras"]) - max(fold["train_eras"]) > 9
    assert record["data"]["features"] == list(plan.dataset.features)
    text = client.download_artifacts(summary.study_run_id, "experiment.toml", str(tmp_path))
    assert 'name = "tiny"' in open(text).read()  # noqa: PTH123, SIM115
