"""A miner's status: written, read, and when the miner counts as dead."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import threading
import time
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from signal_miner.errors import Stopped, UserError
from signal_miner.mining.background.progress import progress_of
from signal_miner.mining.status import (
    MINING,
    MinerStatus,
    Process,
    TrialCounts,
    all_statuses,
    own_process,
    read_status,
    request_stop,
    studies_of,
    write_status,
)
from signal_miner.mining.status_writer import StatusWriter
from signal_miner.tracking.records import TrackedTrial


def trial(number: int, sharpe: float | None, *, beats: bool = False, undefined: float = 0.0) -> TrackedTrial:
    metrics = {} if sharpe is None else {"validation/sharpe": sharpe, "validation/undefined_eras": undefined}
    status = "FAILED" if sharpe is None else "FINISHED"
    return TrackedTrial(str(number), "trial", number, status, {}, metrics, {"validation": beats, "test": False})


def written(directory: Path) -> MinerStatus:
    status = read_status(directory, "demo-1")
    assert status is not None
    return status


def test_counts_of_trials_name_the_best() -> None:
    earlier = [trial(0, 0.5), trial(1, None)]
    counts = TrialCounts.at_start(10, earlier)
    assert (counts.done, counts.done_before, counts.failed) == (2, 2, 1)
    assert counts.rate(counts.since + 5) is None
    assert counts.time_left(counts.since + 5) is None
    for each in (trial(2, 0.9, beats=True), trial(3, 2.0, undefined=3.0), trial(4, float("nan")), trial(5, 0.7)):
        counts = counts.after(each)
    assert (counts.best, counts.best_score, counts.beating) == ("trial 0002", 0.9, 1)
    assert counts.rate(counts.since + 8) == pytest.approx(0.5)  # four of this process in eight seconds
    assert counts.time_left(counts.since + 8) == timedelta(seconds=8)


def test_a_status_is_read_as_it_was_written(tmp_path: Path) -> None:
    counts = TrialCounts(10, 3, 1, time.time(), 1, 1, "trial 0002", 0.9)
    status = MinerStatus("demo-1", "token", own_process(), MINING, counts, at="fold 1", log="x.log")
    write_status(tmp_path, status)
    assert read_status(tmp_path, "demo-1") == status
    assert status.alive
    assert read_status(tmp_path, "demo-2") is None


def test_a_damaged_status_is_none(tmp_path: Path) -> None:
    (tmp_path / "demo-1.status.json").write_text('{"study": "demo-1", "process": {}}')
    assert read_status(tmp_path, "demo-1") is None
    assert all_statuses(tmp_path) == ()


def test_a_process_that_has_ended_is_no_miner() -> None:
    ended = subprocess.Popen([sys.executable, "-c", ""])
    process = Process.of(ended.pid)
    ended.wait()
    status = MinerStatus("demo-1", "token", process, MINING, TrialCounts(10, 3))
    assert not status.alive
    progress = progress_of(status)
    assert progress.state == "failed"
    assert progress.error.startswith("the miner exited unexpectedly while mining (killed or out of memory; ")
    assert f"process {ended.pid} on {socket.gethostname()})" in progress.error
    assert "failed" in progress._repr_html_()


def test_a_later_process_of_the_same_number_is_no_miner() -> None:
    another = Process(os.getpid(), 1.0, socket.gethostname())
    assert not MinerStatus("demo-1", "token", another, MINING, updated=time.time() - 3600).alive


def test_a_process_of_the_same_number_that_began_after_the_last_update_is_no_miner() -> None:
    reused = Process(os.getpid(), 1.0, socket.gethostname())
    assert not MinerStatus("demo-1", "token", reused, MINING, updated=own_process().created - 5).alive
    assert MinerStatus("demo-1", "token", reused, MINING).alive  # the clock was set since: its status is fresh


def test_a_starter_counts_as_the_miner_for_a_minute() -> None:
    starting = MinerStatus("demo-1", "token", own_process(), starter=True)
    assert starting.alive
    assert not replace(starting, updated=time.time() - 61).alive
    assert not replace(starting, updated=time.time() + 3600).alive


@pytest.mark.parametrize(
    "change", [{"updated": "x"}, {"state": "none"}, {"standing": {"total": None}}, {"process": {"pid": -1}}]
)
def test_a_status_of_wrong_values_is_none(tmp_path: Path, change: dict[str, Any]) -> None:
    write_status(tmp_path, MinerStatus("demo-1", "token", own_process(), trial_counts=TrialCounts(5)))
    table = json.loads((tmp_path / "demo-1.status.json").read_text())
    assert table["standing"]["total"] == 5
    for key, value in change.items():
        table[key] = table[key] | value if isinstance(value, dict) else value
    (tmp_path / "demo-1.status.json").write_text(json.dumps(table))
    assert read_status(tmp_path, "demo-1") is None


def test_impossible_times_are_not_shown() -> None:
    counts = replace(TrialCounts.at_start(10**30, []), done=3)
    assert counts.rate(counts.since - 3600) is None
    assert counts.time_left(counts.since + 1) is not None


@pytest.mark.skipif(sys.platform == "win32", reason="Windows keeps no processes that ended")
def test_a_zombie_is_no_miner() -> None:
    ended = subprocess.Popen([sys.executable, "-c", ""])
    process = Process.of(ended.pid)
    end = time.monotonic() + 20
    while MinerStatus("demo-1", "token", process, MINING).alive:
        assert time.monotonic() < end
        time.sleep(0.02)
    ended.wait()


def test_a_miner_of_another_machine_lives_as_long_as_it_updates_its_status() -> None:
    elsewhere = MinerStatus("demo-1", "token", Process(1, 1.0, "elsewhere"), MINING)
    assert elsewhere.alive
    assert not replace(elsewhere, updated=time.time() - 61).alive


def test_a_study_is_found_by_its_name_or_its_beginning(tmp_path: Path) -> None:
    for study in ("demo-1", "demo-12", "other-1"):
        write_status(tmp_path, MinerStatus(study, "token", own_process()))
    statuses = all_statuses(tmp_path)
    assert {status.study for status in statuses} == {"demo-1", "demo-12", "other-1"}
    assert [status.study for status in studies_of(statuses, "demo-1")] == ["demo-1"]
    assert {status.study for status in studies_of(statuses, "demo")} == {"demo-1", "demo-12"}
    assert len(studies_of(statuses, None)) == 3
    assert studies_of(statuses, "none") == []


def test_a_stop_request_reaches_only_the_miner_it_names(tmp_path: Path) -> None:
    heard = threading.Event()
    with StatusWriter(tmp_path) as status_writer:
        status_writer.claim("demo-1", heard.set)
        status_writer.update(state=MINING, trial_counts=TrialCounts(5, 2))
        end = time.monotonic() + 10
        while (status := read_status(tmp_path, "demo-1")) is None or status.state != MINING:
            assert time.monotonic() < end
            time.sleep(0.02)
        request_stop(tmp_path, replace(status, token="of another"))
        assert not heard.wait(0.6)
        request_stop(tmp_path, status)
        assert heard.wait(5)
    assert not (tmp_path / "demo-1.stop").exists()
    assert written(tmp_path).state == "finished"
    assert written(tmp_path).trial_counts.done == 2


def end_with(status_writer: StatusWriter, error: BaseException) -> None:
    status_writer.claim("demo-1", lambda: None)
    raise error


@pytest.mark.parametrize(
    ("error", "state", "message"),
    [
        (UserError("no store at postgresql://me:secret@host/x"), "failed", "no store at postgresql://***@host/x"),
        (RuntimeError("what\nnow"), "failed", "RuntimeError: what"),
        (KeyboardInterrupt(), "stopped", ""),
        (Stopped(), "stopped", ""),
    ],
)
def test_the_last_status_says_how_it_ended(tmp_path: Path, error: BaseException, state: str, message: str) -> None:
    status_writer = StatusWriter(tmp_path)
    with pytest.raises(type(error)), status_writer:
        end_with(status_writer, error)
    assert (written(tmp_path).state, written(tmp_path).message) == (state, message)
    assert not written(tmp_path).alive


def test_a_process_without_the_lock_does_not_overwrite_the_status(tmp_path: Path) -> None:
    winner = MinerStatus("demo-1", "winner", own_process(), MINING)
    write_status(tmp_path, winner)
    status_writer = StatusWriter(tmp_path, "demo-1", "loser")
    status_writer.__enter__()
    status_writer.update(state=MINING)
    status_writer.__exit__(UserError, UserError("study demo-1 is taken"), None)
    assert read_status(tmp_path, "demo-1") == winner


def test_a_status_that_cannot_be_written_is_no_error(tmp_path: Path) -> None:
    nowhere = tmp_path / "file"
    nowhere.write_text("")
    with StatusWriter(nowhere) as status_writer:
        status_writer.claim("demo-1", lambda: None)
        status_writer.update(state=MINING)
        status_writer.release()


def test_the_address_of_a_store_with_a_password_is_not_kept(tmp_path: Path) -> None:
    with StatusWriter(tmp_path) as status_writer:
        status_writer.claim("demo-1", lambda: None)
        status_writer.update(tracking_uri="postgresql://me:secret@host/x")
    assert written(tmp_path).tracking_uri == "postgresql://***@host/x"
    assert "secret" not in (tmp_path / "demo-1.status.json").read_text()
