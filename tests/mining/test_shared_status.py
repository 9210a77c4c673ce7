"""A miner's status in the study's own database, read and stopped without its folder."""

from __future__ import annotations

import time

import pytest

from signal_miner.__main__ import main
from signal_miner.errors import UserError
from signal_miner.experiment.grid import Axis, Grid
from signal_miner.mining.observer import ClusterWorkers
from signal_miner.mining.search import Search, request_shared_stop
from signal_miner.mining.shared_status import SharedStatus, known_statuses, stop_elsewhere
from signal_miner.mining.status import FAILED, FINISHED, MINING, TrialCounts
from signal_miner.mining.status_writer import StatusWriter
from tests.helpers.mining import put_store


@pytest.fixture
def storage(tmp_path):
    return f"sqlite:///{tmp_path / 'studies.db'}"


@pytest.fixture
def mining(tmp_path, storage, monkeypatch):
    """A miner that has done 3 of 5 trials on a cluster, and what was asked of it; its files are in another folder."""
    monkeypatch.setattr("signal_miner.mining.shared_status._SECONDS_BETWEEN_LOOKS", 0.05)
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    search, asked = Search("demo-1", Grid((Axis("max_depth", (2, 3)),), None), 0, storage), []
    with StatusWriter(tmp_path / "studies") as writer:
        writer.claim("demo-1", lambda: None)
        writer.observe(ClusterWorkers(2, 4))
        writer.observe(TrialCounts(5, done=3))
        yield SharedStatus(search, writer, lambda: asked.append(True)), asked


def command(capsys, *arguments):
    code = main(arguments)
    return code, *capsys.readouterr()


def the_status(storage):
    while not (found := known_statuses(storage)):
        time.sleep(0.01)
    return found[0]


def test_the_status_is_read_without_the_miners_folder(mining, storage, capsys):
    shared, _ = mining
    with shared:
        status = the_status(storage)
        assert (status.study, status.state, status.trial_counts.done) == ("demo-1", MINING, 3)
        code, out, _ = command(capsys, "status", "--study-storage", storage)
        assert code == 0
        assert "demo-1: mining · 3 of 5 trials" in out
        assert "2 workers, 4 trials at a time" in out
    assert the_status(storage).state == FINISHED
    assert "demo-1: finished" in command(capsys, "status", "--study-storage", storage)[1]


def test_a_miner_that_fails_says_why(mining, storage):
    shared, _ = mining

    def fail():
        with shared:
            raise UserError("the disk is full")

    with pytest.raises(UserError):
        fail()
    status = the_status(storage)
    assert (status.state, status.message) == (FAILED, "the disk is full")


def test_a_stop_reaches_the_miner_once(mining, storage):
    shared, asked = mining
    with shared:
        status = the_status(storage)
        request_shared_stop(storage, "demo-1", status.token)
        while not asked:
            time.sleep(0.01)
        time.sleep(0.2)
        assert asked == [True]
    assert stop_elsewhere(storage, the_status(storage)).state == FINISHED


def test_a_database_without_studies_and_one_of_mlflow(storage, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert "No study has been mined here yet" in command(capsys, "status", "--study-storage", storage)[1]
    assert "No miner is running here" in command(capsys, "stop", "--study-storage", storage)[1]
    code, _, error = command(capsys, "status", "--study-storage", f"sqlite:///{put_store(tmp_path)}")
    assert code == 2
    assert "is a database of MLflow" in error
