"""A study's runs as its miner writes them, and as others read them."""

from __future__ import annotations

import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from signal_miner.engine.metrics import RunMetrics
from signal_miner.errors import StoreError, UserError
from signal_miner.tracking.records import StudyRecord
from signal_miner.tracking.store import open_client, store_errors
from signal_miner.tracking.studies import Studies
from signal_miner.tracking.study_writer import Tracker
from signal_miner.tracking.tags import CLAIM, KIND, NOTE

RECORD = StudyRecord(
    study="tiny-1",
    config_hash="1" * 64,
    params={"data": "in", "feature_set": "all", "seed": 1},
    experiment_file='name = "tiny"',
    plan={"experiment": {}, "data": {}, "targets": {}, "study": "tiny-1"},
    data_name="in",
    data_digest="0" * 16,
    data_content="0" * 16,
    data_source="in",
    data_profile={"num_rows": 1},
)


@pytest.fixture
def tracker(store: str, tmp_path: Path) -> Tracker:
    return Tracker(tmp_path.name, f"tiny-{tmp_path.name}", "1" * 64, store)


def finished(tracker: Tracker, number: int | None, tmp_path: Path, **params: object) -> str:
    empty = tmp_path / "empty"
    empty.mkdir(exist_ok=True)
    return tracker.log_trial(number, params, RunMetrics({"validation/sharpe": 1.0}, {}, {}), empty, 0.0).run_id


def test_the_same_data_under_another_path_resume_the_study(tracker: Tracker) -> None:
    run_id = tracker.open_study()
    tracker.begin_study(run_id, RECORD)
    tracker.end_study(run_id, "FINISHED", {}, "")
    moved = replace(
        RECORD,
        params=RECORD.params | {"data": "./in", "feature_set": "everything", "new": 2},
        plan=dict(RECORD.plan) | {"experiment": {"data": "./in"}},
        data_name="./in",
        data_source="./in",
    )
    assert tracker.open_study() == run_id
    tracker.begin_study(run_id, moved)
    (run,) = tracker._study_runs()
    assert run.data.params == {"data": "in", "feature_set": "all", "seed": "1", "new": "2"}
    assert run.info.status == "RUNNING"
    assert "./in" in Path(tracker._client.download_artifacts(run_id, "plan.json")).read_text()


def test_a_refused_parameter_is_an_answer_of_the_store(tracker: Tracker) -> None:
    run_id = tracker.open_study()
    tracker.begin_study(run_id, RECORD)
    with pytest.raises(StoreError) as refused, store_errors("http://localhost:1"):
        tracker._write(run_id, {"seed": 2}, {})
    assert refused.value.answered


def test_a_study_that_cannot_be_begun_does_not_count_as_running(tracker: Tracker) -> None:
    run_id = tracker.open_study()
    other = replace(RECORD, data_content="1" * 16)
    for status, record in (("FAILED", replace(RECORD, params={"long": 1} | {"": 1})), ("FINISHED", other)):
        if status == "FINISHED":
            tracker.begin_study(run_id, RECORD)
            tracker.end_study(run_id, "FINISHED", {}, "")
        with pytest.raises(UserError):
            tracker.begin_study(run_id, record)
        assert [run.info.status for run in tracker._study_runs()] == [status]


def test_of_two_runs_of_a_study_made_at_once_one_is_kept_with_the_claims_of_both(tracker: Tracker) -> None:
    run_id = tracker.open_study()
    other = tracker._create(tracker._experiment_id, "study", tracker._tags | {KIND: "study"})
    assert len(tracker._study_runs()) == 2
    tracker.write_claim("own", "claim")
    tracker._client.set_tag(other, f"{CLAIM}second", "another")
    assert tracker.claims() == {"own": "claim", "second": "another"}
    tracker.begin_study(tracker.open_study(), RECORD)
    assert len(tracker._study_runs()) == 1
    assert tracker.open_study() == run_id
    assert tracker.claims() == {"own": "claim", "second": "another"}
    for _ in range(2):
        tracker.remove_claim("own")
    assert tracker.claims() == {"second": "another"}


def test_a_refused_process_removes_the_run_that_it_created(tracker: Tracker, store: str, tmp_path: Path) -> None:
    run_id = tracker.open_study()
    tracker.begin_study(run_id, RECORD)
    refused = Tracker(tmp_path.name, f"tiny-{tmp_path.name}", "1" * 64, store)
    late = refused._create(refused._experiment_id, "study", refused._tags | {KIND: "study"})
    refused._client.set_tag(late, f"{CLAIM}late", "claim")
    assert refused.open_study() == run_id
    refused.remove_claim("late")
    assert [run.info.run_id for run in tracker._study_runs()] == [run_id]


def test_of_trials_tracked_twice_one_is_read(tracker: Tracker, store: str, tmp_path: Path) -> None:
    run_id = tracker.open_study()
    tracker.begin_study(run_id, replace(RECORD, study=tracker._study))
    finished(tracker, None, tmp_path)
    finished(tracker, 0, tmp_path, depth=2)
    failed = tracker.log_failure(1, {"depth": 3}, "error", 1.0).run_id
    finished(tracker, 0, tmp_path, depth=2)
    second = finished(tracker, 1, tmp_path, depth=3)
    tracker.log_failure(2, {"depth": 4}, "error", 2.0)
    tracker.log_failure(0, {"depth": 2}, "error", 3.0)
    for trials in (tracker.trials(), Studies(store).find(tracker._study).trials):
        assert [trial.number for trial in trials] == [0, 1, 2]
        assert [trial.run_id for trial in trials][1] == second != failed
        assert [trial.finished for trial in trials] == [True, True, False]
        assert trials[0].finished


def test_the_run_that_mlflow_starts_is_named_after_the_study_and_links_to_it(
    tracker: Tracker, monkeypatch: pytest.MonkeyPatch
) -> None:
    launcher = tracker._client.create_run("0", run_name="redolent-sponge-971").info.run_id
    run_id = tracker.open_study()
    tracker.begin_study(run_id, RECORD)
    monkeypatch.delenv("MLFLOW_RUN_ID", raising=False)
    tracker.link_launcher(run_id)
    monkeypatch.setenv("MLFLOW_RUN_ID", launcher)
    tracker.link_launcher(run_id)
    found = tracker._client.get_run(launcher)
    assert found.info.run_name == f"mine {tracker._study}"
    assert f"/runs/{run_id}?workflowType=machine_learning)" in found.data.tags[NOTE]
    monkeypatch.setenv("MLFLOW_RUN_ID", "of another store")
    tracker.link_launcher(run_id)


@pytest.mark.skipif(sys.platform == "win32", reason="kills as POSIX does")
def test_a_store_whose_writer_was_killed_within_a_transaction_is_opened(empty_store: Path, tmp_path: Path) -> None:
    path = Path(shutil.copy(empty_store, tmp_path / "mlflow.db"))
    program = f"""
import os, sqlite3
store = sqlite3.connect({str(path)!r}, isolation_level=None)
store.execute("PRAGMA cache_size = 1")
store.execute("BEGIN")
store.executemany("INSERT INTO experiments (name) VALUES (?)", [(f"{{n}}" * 200,) for n in range(3000)])
os.kill(os.getpid(), 9)
"""
    subprocess.run([sys.executable, "-c", program], check=False)
    assert (tmp_path / "mlflow.db-journal").stat().st_size  # to be rolled back
    assert [experiment.name for experiment in open_client(f"sqlite:///{path}").search_experiments()] == ["Default"]
