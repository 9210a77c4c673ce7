"""Stopped, killed, started twice, or without some of its files: rerunning the command gives the undisturbed study."""

from __future__ import annotations

import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time

import pytest

from signal_miner.errors import OUT_OF_MEMORY
from tests.conftest import write_numerai_directory
from tests.helpers.mining import (
    MINE,
    client_of,
    mine_here,
    outcome,
    put_store,
    run_mining,
    runs_of,
    start_mining,
    write_experiment,
)
from tests.helpers.study import artifact_path, command, copy_study

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
    """A study of 24 trials that nothing disturbed."""
    directory = tmp_path_factory.mktemp("uninterrupted")
    write_experiment(directory, write_numerai_directory(directory / "numerai"), trials=24, trees=200)
    assert mine_here(directory).returncode == 0
    return directory


@pytest.fixture
def fresh(uninterrupted, tmp_path):
    """The same study before its first trial."""
    directory = tmp_path / "fresh"
    directory.mkdir()
    put_store(directory)
    write_experiment(directory, uninterrupted / "numerai", trials=24, trees=200)
    return directory


def wait_for_trials(directory, count, process, seconds=240):
    """Wait until some trials have written their artifacts; MLflow's store is left alone while it is made."""
    end = time.monotonic() + seconds
    while len(list(directory.glob("mlruns/*/*/artifacts/predictions.parquet"))) < count + 1:
        assert process.poll() is None, "it ended before it could be disturbed"
        assert time.monotonic() < end
        time.sleep(0.01)


def still_running(directory):
    client = client_of(directory)
    ids = [experiment.experiment_id for experiment in client.search_experiments()]
    return client.search_runs(ids, "attributes.status = 'RUNNING'")


def test_a_study_killed_three_times_is_the_uninterrupted_one(uninterrupted, fresh):
    chance = random.Random(os.environ.get("KILL_SEED", "7"))
    for count in (1, 8, 15):
        process = start_mining(fresh)
        wait_for_trials(fresh, count, process)
        time.sleep(chance.random() * 0.5)
        os.killpg(process.pid, signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL
    done = mine_here(fresh)
    assert done.returncode == 0, done.stderr
    assert outcome(fresh) == outcome(uninterrupted)
    assert len(runs_of(fresh, "benchmark")) == len(runs_of(fresh, "study")) == 1
    assert not still_running(fresh)
    assert len(list(fresh.glob("mlruns/*/*"))) == 26  # with the study's and the benchmark's, and no half of another


def test_ctrl_c_stops_cleanly_and_the_command_resumes(uninterrupted, fresh):
    process = start_mining(fresh)
    wait_for_trials(fresh, 3, process)
    os.killpg(process.pid, signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "Traceback" not in err
    assert "Stopped before the last trial; rerun the command to resume." in out
    (study,) = runs_of(fresh, "study")
    assert study.info.status == "KILLED"
    assert not still_running(fresh)
    assert 3 <= len(runs_of(fresh)) < 24
    assert mine_here(fresh).returncode == 0
    assert outcome(fresh) == outcome(uninterrupted)


def test_ctrl_c_twice_leaves_nothing_running(uninterrupted, fresh):
    process = start_mining(fresh)
    wait_for_trials(fresh, 3, process)
    os.killpg(process.pid, signal.SIGINT)
    time.sleep(0.02)
    os.killpg(process.pid, signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "Traceback" not in err
    assert not still_running(fresh)
    assert [run.info.status for run in runs_of(fresh, "study")] == ["KILLED"]
    assert mine_here(fresh).returncode == 0
    assert outcome(fresh) == outcome(uninterrupted)


def test_a_benchmark_whose_predictions_are_damaged_is_trained_again(uninterrupted, tmp_path):
    copy = copy_study(uninterrupted, tmp_path / "copy")
    (benchmark,) = runs_of(copy, "benchmark")
    path = artifact_path(copy, benchmark, "predictions.parquet")
    path.write_bytes(path.read_bytes()[:100])
    done = mine_here(copy)
    assert done.returncode == 0, done.stderr
    assert "cannot be read back; it is trained again" in done.stdout
    assert len(runs_of(copy, "benchmark")) == 1


def test_a_damaged_journal_is_one_line(uninterrupted, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(uninterrupted, copy)
    (journal,) = (copy / "studies").glob("*.journal")
    lines = journal.read_bytes().splitlines(keepends=True)
    journal.write_bytes(b"".join([*lines[:9], b"no journal\n", *lines[9:]]))
    done = mine_here(copy)
    assert done.returncode == 2
    assert "is damaged" in done.stderr
    assert done.stderr.count("\n") == 1
    journal.unlink()
    assert mine_here(copy).returncode == 0
    assert outcome(copy) == outcome(uninterrupted)


def test_two_at_once_do_not_mine_the_same_study(uninterrupted, fresh):
    first = start_mining(fresh)
    wait_for_trials(fresh, 1, first)
    os.killpg(first.pid, signal.SIGSTOP)  # it holds the study, and cannot finish it before the second comes
    second = mine_here(fresh)
    os.killpg(first.pid, signal.SIGCONT)
    assert second.returncode == 2
    assert "is being mined by another process; wait for it, or stop it" in second.stderr
    _, err = first.communicate(timeout=120)
    assert first.returncode == 0, err
    assert outcome(fresh) == outcome(uninterrupted)


def test_a_lost_journal_trains_nothing_again(uninterrupted, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(uninterrupted, copy, ignore=shutil.ignore_patterns("studies"))
    before = {run.info.run_id for run in runs_of(copy)}
    done = mine_here(copy)
    assert done.returncode == 0, done.stderr
    assert {run.info.run_id for run in runs_of(copy)} == before


def test_a_lost_tracking_store_is_filled_again(uninterrupted, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(uninterrupted, copy, ignore=shutil.ignore_patterns("mlflow.db", "mlruns"))
    assert command(copy, *MINE) == 0
    assert outcome(copy) == outcome(uninterrupted)


@pytest.fixture
def small_disk(tmp_path):
    """A file system of its own that holds an empty store and some trials."""
    if sys.platform != "linux" or os.geteuid() != 0:
        pytest.skip("only root mounts a file system in memory")
    directory = tmp_path / "disk"
    directory.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=1500k", "tmpfs", str(directory)], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip("this machine does not let root mount a file system in memory")
    yield directory
    subprocess.run(["umount", "--lazy", str(directory)], check=True)


def test_a_full_disk_is_one_line_and_loses_nothing(uninterrupted, small_disk, monkeypatch):
    put_store(small_disk)
    write_experiment(small_disk, uninterrupted / "numerai", trials=24, trees=200)
    monkeypatch.setenv("TMPDIR", str(small_disk))
    full = run_mining(small_disk)
    assert full.returncode == 2, full.stdout
    assert full.stderr.count("\n") == 1, full.stderr
    assert re.search("No space left|disk is full|disk I/O error", full.stderr)
    assert "rerun the command to resume" in full.stderr
    subprocess.run(["mount", "-o", "remount,size=50m", str(small_disk)], check=True)
    assert not list(small_disk.glob("signal-miner-*"))
    done = mine_here(small_disk)
    assert done.returncode == 0, done.stderr
    assert outcome(small_disk) == outcome(uninterrupted)
    assert not still_running(small_disk)


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no limits of this kind")
def test_a_limit_of_a_files_size_is_one_line_and_loses_nothing(uninterrupted, fresh):
    import resource

    size = (fresh / "mlflow.db").stat().st_size + 200_000
    process = start_mining(fresh, preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (size, size)))
    out, err = process.communicate(timeout=240)
    assert process.returncode == 2, out
    assert err.count("\n") == 1, err
    assert "rerun the command to resume" in err
    assert mine_here(fresh).returncode == 0
    assert outcome(fresh) == outcome(uninterrupted)


@pytest.mark.skipif(sys.platform != "linux", reason="other systems do not limit a process's addresses")
def test_a_limit_of_memory_is_one_line(uninterrupted, fresh):
    import resource

    limit = 1400 * 2**20
    process = start_mining(fresh, preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, (limit, limit)))
    out, err = process.communicate(timeout=240)
    assert "Traceback" not in out + err
    if process.returncode == 2:  # how much is needed depends on the libraries, some of which end the process
        said = err.splitlines()[-1].removeprefix("signal-miner: ").removeprefix("mining stopped at the benchmark: ")
        assert said == OUT_OF_MEMORY
    assert mine_here(fresh).returncode == 0
    assert outcome(fresh) == outcome(uninterrupted)
