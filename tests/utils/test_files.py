"""Temporary directories: deleted after use, and those of killed processes by the next process."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

import pytest

from signal_miner.errors import UserError
from signal_miner.utils.files import alone, remove_abandoned, temporary_directory
from tests.helpers.mining import environment

HOLD = """
import sys, time
from pathlib import Path
from signal_miner.utils.files import temporary_directory
with temporary_directory(Path(sys.argv[1]) if len(sys.argv) > 1 else None) as directory:
    (directory / "predictions.parquet").write_bytes(b"0" * 1000)
    print(directory, flush=True)
    time.sleep(600)
"""


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where temporary files are, as after a start of the process."""
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    remove_abandoned.cache_clear()
    return tmp_path


def hold(*arguments: str) -> tuple[subprocess.Popen[str], Path]:
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, *arguments], env=environment(), stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    return process, Path(process.stdout.readline().strip())


def test_a_temporary_directory_is_empty_and_deleted_after_use(place: Path) -> None:
    with temporary_directory() as first, temporary_directory() as second:
        assert first != second
        assert not list(first.iterdir())  # whatever is in it may be logged as artifacts
        (first / "file").write_text("")
    assert not list(place.iterdir())
    with pytest.raises(ValueError, match="error"), temporary_directory():
        raise ValueError("error")
    assert not list(place.iterdir())


@pytest.mark.skipif(sys.platform == "win32", reason="kills as POSIX does")
@pytest.mark.parametrize("beside", [False, True])
def test_what_a_killed_process_left_is_deleted_and_what_a_living_one_has_is_not(place: Path, beside: bool) -> None:
    arguments = [str(place)] if beside else []
    killed, left = hold(*arguments)
    living, kept = hold(*arguments)
    try:
        killed.send_signal(signal.SIGKILL)
        killed.wait()
        assert (left / "predictions.parquet").exists()
        (foreign := place / "signal-miner-notes").mkdir()  # a person's, without a lock
        (place / "signal-miner-link").symlink_to(place, target_is_directory=True)
        with temporary_directory(place if beside else None):
            assert not left.parent.exists()
            assert (kept / "predictions.parquet").exists()
        assert foreign.is_dir()
    finally:
        living.kill()
        living.wait()


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only root creates files of another user")
def test_directories_of_other_users_are_left_alone(place: Path) -> None:
    other = place / "signal-miner-other"
    other.mkdir()
    (other / "lock").touch()
    os.chown(other, 12345, 12345)
    remove_abandoned(place)
    assert (other / "lock").exists()
    os.chown(other, 0, 0)
    remove_abandoned.cache_clear()
    remove_abandoned(place)
    assert not other.exists()


def test_one_holds_a_lock_at_a_time_and_who_waits_says_so(tmp_path: Path) -> None:
    lock, said, order = tmp_path / "locks" / ".lock", threading.Event(), []

    def second() -> None:
        with alone(lock, said.set):
            order.append("second")

    other = threading.Thread(target=second)
    with alone(lock, lambda: pytest.fail("nobody else has it")):
        other.start()
        assert said.wait(30)
        order.append("first")
    other.join(30)
    assert order == ["first", "second"]
    (tmp_path / "file").write_text("")
    with (
        pytest.raises(UserError, match=r"file' can't be used \(.*\); choose another"),
        alone(tmp_path / "file" / "x", said.set),
    ):
        pass
