"""A tracking server that is stopped while a study is mined: it accepts connections and answers none."""

from __future__ import annotations

import signal
import subprocess
import time
from pathlib import Path

import pytest

from tests.conftest import write_numerai_directory
from tests.helpers.mining import mine_here, outcome, put_store, runs_of, start_mining, write_experiment
from tests.helpers.tracking_server import TrackingServer, tracking_server

pytestmark = pytest.mark.slow

SHORT = {"MLFLOW_HTTP_REQUEST_TIMEOUT": "3", "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1"}


def mine_until(server: TrackingServer, directory: Path, finished: int) -> subprocess.Popen[str]:
    """Start to mine, and freeze the server once so many trials are finished."""
    process = start_mining(directory, "--tracking-uri", server.address, **SHORT)
    deadline = time.monotonic() + 120
    while sum(run.info.status == "FINISHED" for run in runs_of(server.address)) < finished:
        assert process.poll() is None, process.communicate()[1]
        assert time.monotonic() < deadline
        time.sleep(0.05)
    server.freeze()
    return process


def test_a_frozen_server_ends_the_mining_in_one_line_or_at_repeated_ctrl_c_and_loses_nothing(tmp_path):
    data = write_numerai_directory(tmp_path / "numerai")
    for name in ("alone", "mining", "server"):
        (tmp_path / name).mkdir()
    for name in ("alone", "mining"):
        write_experiment(tmp_path / name, data, trials=16, trees=60, jobs=1)
    put_store(tmp_path / "server")
    with tracking_server(tmp_path / "server") as server:
        process = mine_until(server, tmp_path / "mining", 2)
        _, err = process.communicate(timeout=120)
        assert process.returncode == 2
        assert len(err.splitlines()) == 1
        assert f"the tracking store {server.address} " in err
        assert "rerun the command to resume" in err
        server.thaw()

        process = mine_until(server, tmp_path / "mining", 5)
        began = time.monotonic()
        while process.poll() is None and time.monotonic() - began < 30:
            process.send_signal(signal.SIGINT)
            time.sleep(0.5)
        assert process.poll() is not None
        assert time.monotonic() - began < 15
        assert "Traceback" not in process.communicate()[1]
        server.thaw()

        process = start_mining(tmp_path / "mining", "--tracking-uri", server.address)
        _, err = process.communicate(timeout=240)
        assert process.returncode == 0, err
        found = outcome(server.address)
    assert mine_here(tmp_path / "alone").returncode == 0
    assert found == outcome(tmp_path / "alone")
