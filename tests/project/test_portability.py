"""No module uses what Windows or macOS lack, and mining works in spawned processes."""

from __future__ import annotations

import json
import multiprocessing
from collections.abc import Callable
from contextlib import chdir
from io import BytesIO, StringIO
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import signal_miner
from signal_miner.mining.background import detached
from tests.conftest import write_numerai_directory
from tests.helpers.mining import ROOT, mine_here, outcome, put_store, write_experiment
from tests.helpers.portability import scan

FILES = sorted((ROOT / "signal_miner").rglob("*.py"))


def test_no_file_uses_what_windows_or_macos_lack() -> None:
    found = {str(path.relative_to(ROOT)): scan(path.read_text(encoding="utf-8")) for path in FILES}
    assert len(found) > 100
    assert {name: lines for name, lines in found.items() if lines} == {}


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("import fcntl", "line 1 on win32: import of fcntl"),
        ("def f():\n    from resource import getrusage", "line 2 on win32: import of resource"),
        ("import winreg", "line 1 on darwin: import of winreg"),
        ("import os\nif os.fork() == 0:\n    pass", "line 2 on win32: os.fork"),
        ("from os import setsid", "line 1 on win32: os.setsid"),
        ("def end(process):\n    os.kill(process.pid, signal.SIGKILL)", "line 2 on win32: signal.SIGKILL"),
        ("count = len(os.sched_getaffinity(0))", "line 1 on darwin: os.sched_getaffinity"),
        ("with lock:\n    for _ in rows:\n        os.getuid()", "line 3 on win32: os.getuid"),
        ("flags = subprocess.CREATE_NO_WINDOW", "line 1 on darwin: subprocess.CREATE_NO_WINDOW"),
        ("context = multiprocessing.get_context('fork')", "line 1 on win32: a process that is forked"),
        ("set_start_method(method='fork')", "line 1 on darwin: a process that is forked"),
        ("multiprocessing.Pool(2)", "line 1 on darwin: a process started in the system's way; get_context says which"),
        ("subprocess.Popen(command, preexec_fn=nothing)", "line 1 on win32: preexec_fn"),
        ("cache = Path('/dev/shm') / 'x'", "line 1 on win32: a place of its own: '/dev/shm'"),
        ("cache = f'/tmp/{name}'", "line 1 on win32: a place of its own: '/tmp/'"),
        ("path = os.path.join(folder, 'x')", "line 1 on win32: os.path in place of pathlib"),
        ("from os.path import join", "line 1 on win32: os.path in place of pathlib"),
        ("path = Path(f'{folder}/x')", "line 1 on win32: a path joined by hand"),
        ("file = open(folder + '/x', 'rb')", "line 1 on win32: a path joined by hand"),
        ("text = path.read_text()", "line 1 on win32: read_text in the system's encoding"),
        ("path.write_text(text)", "line 1 on win32: write_text in the system's encoding"),
        # The wrong branch, or code that runs after it.
        ("if sys.platform == 'win32':\n    os.fork()", "line 2 on win32: os.fork"),
        ("if os.name != 'posix':\n    log()\nos.setsid()", "line 3 on win32: os.setsid"),
        ("if ready:\n    return\nimport pwd", "line 3 on win32: import of pwd"),
        ("x = 1 if os.name == 'posix' else os.getpgrp()", "line 1 on win32: os.getpgrp"),
        ("try:\n    import pwd\nexcept OSError:\n    pass", "line 2 on win32: import of pwd"),
    ],
)
def test_unportable_code_is_found(source: str, found: str) -> None:
    assert found in scan(source)


@pytest.mark.parametrize(
    "source",
    [
        '"""Not by os.fork, fcntl or /dev/shm."""\nimport os  # os.fork\n',
        "if hasattr(os, 'fork'):\n    os.fork()",
        "if sys.platform != 'win32':\n    import resource",
        "if sys.platform == 'win32':\n    flags = subprocess.CREATE_NO_WINDOW\nelse:\n    os.setsid()",
        "def f():\n    if os.name != 'posix':\n        return\n    os.getuid()",
        "def f():\n    if sys.platform in ('win32', 'cygwin'):\n        raise OSError\n    import resource",
        "user = os.getuid() if os.name == 'posix' else 0",
        "leads = os.name == 'posix' and os.getpgrp() == os.getpid()",
        "flag = not sys.platform.startswith('win') and os.O_DIRECTORY",
        "try:\n    import fcntl\nexcept ImportError:\n    fcntl = None",
        "number = getattr(signal, 'SIGHUP', None)",
        "context = multiprocessing.get_context('spawn')",
        "page = f'{address}/#/experiments/1'\nname = full.rpartition('/')[2]",
        "text = (folder / 'x').read_text(encoding='utf-8')",
    ],
)
def test_guarded_code_and_comments_are_not_reported(source: str) -> None:
    assert scan(source) == []


def mine_four(directory: Path) -> None:
    """Mine four trials with the command's `main`; runs in a process of its own."""
    done = mine_here(directory, "--trials", "4")
    if done.returncode != 0:
        raise RuntimeError(done.stderr)


def start_and_end(directory: Path) -> None:
    """Start a miner and exit; runs in a process of its own."""
    with chdir(directory):
        signal_miner.start_mining("tiny.toml", report=False)


def spawn(target: Callable[[Path], None], directory: Path) -> None:
    """Run a function to its end in a spawned process, as Windows and macOS start them."""
    process = multiprocessing.get_context("spawn").Process(target=target, args=(directory,))
    process.start()
    process.join(120)
    assert process.exitcode == 0


@pytest.mark.docs
def test_a_spawned_process_mines_the_same_study(tmp_path: Path) -> None:
    data = write_numerai_directory(tmp_path / "numerai")
    here, there, in_background = (tmp_path / name for name in ("here", "there", "background"))
    for directory in (here, there, in_background):
        directory.mkdir()
        put_store(directory)
        write_experiment(directory, data, trials=4)
    mine_four(here)
    spawn(mine_four, there)
    spawn(start_and_end, in_background)
    miner = signal_miner.attach("tiny", study_storage=str(in_background / "studies"))
    assert miner.progress().running  # although the process that started it has exited
    assert miner.wait(timeout=120).state == "finished"
    assert len(outcome(here)) == 4
    assert outcome(there) == outcome(in_background) == outcome(here)


@pytest.mark.parametrize(
    ("platform", "flags"), [("win32", 0x0800_0000 | 0x0200), ("darwin", 0), ("linux", 0)], ids=lambda value: str(value)
)
def test_a_background_miner_has_no_window_and_no_console(
    platform: str, flags: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    started: list[dict[str, Any]] = []

    def popen(command: list[str], **given: Any) -> SimpleNamespace:
        started.append({"command": command, **given})
        return SimpleNamespace(pid=1234, stdin=BytesIO())

    order = {"job": "what is to be mined", "log": str(tmp_path / "miner.log")}
    stdout = StringIO()
    system = SimpleNamespace(platform=platform, executable="python", stdin=StringIO(json.dumps(order)), stdout=stdout)
    library = SimpleNamespace(
        Popen=popen, PIPE=-1, STDOUT=-2, CREATE_NO_WINDOW=0x0800_0000, CREATE_NEW_PROCESS_GROUP=0x0200
    )
    monkeypatch.setattr(detached, "sys", system)
    monkeypatch.setattr(detached, "subprocess", library)
    detached._start_and_end()
    (process,) = started
    assert process["command"] == ["python", "-P", "-m", "signal_miner.cli.worker"]
    assert process["creationflags"] == flags  # the values of Windows
    assert process["start_new_session"] is True  # ignored by Windows
    assert stdout.getvalue() == "1234"
