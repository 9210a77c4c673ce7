"""Helpers for the tests of background mining: a slow study, and programs run in another process."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable
from pathlib import Path

from signal_miner.mining.background.miner_handle import BackgroundMiner
from signal_miner.mining.background.progress import Progress
from signal_miner.mining.status import MinerStatus, read_status
from tests.conftest import write_numerai_directory
from tests.helpers.mining import environment, put_store, write_experiment


def write_study(directory: Path, **changes: object) -> Path:
    """Put an empty store, data and an experiment in a directory; return the experiment's file."""
    directory.mkdir(parents=True, exist_ok=True)
    put_store(directory)
    return write_experiment(directory, write_numerai_directory(directory / "numerai"), **changes)


def python(directory: Path, program: str) -> subprocess.CompletedProcess[str]:
    """Run a program in a process of its own."""
    return subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program)],
        cwd=directory,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def status_of(miner: BackgroundMiner) -> MinerStatus:
    status = read_status(Path("studies").resolve(), miner.study)
    assert status is not None
    return status


def wait_until(miner: BackgroundMiner, reached: Callable[[Progress], bool], seconds: float = 240) -> Progress:
    end = time.monotonic() + seconds
    while not reached(progress := miner.progress()):
        assert progress.running, f"{progress}\n{miner.log()}"
        assert time.monotonic() < end, progress
        time.sleep(0.05)
    return progress


def kill(miner: BackgroundMiner) -> None:
    """Kill a miner with SIGKILL if it is running."""
    status = status_of(miner)
    if status.alive:
        os.kill(status.process.pid, signal.SIGKILL)
