"""Mining from a real notebook kernel, which stays free meanwhile, and may be interrupted, restarted or killed."""

from __future__ import annotations

import re
import signal
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
import pytest
from jupyter_client import BlockingKernelClient, KernelManager

import signal_miner
from signal_miner import BackgroundMiner
from signal_miner.engine.trial import CHECKPOINTS
from tests.conftest import write_numerai_directory
from tests.helpers.background import kill, status_of, wait_until, write_study
from tests.helpers.mining import environment, runs_of

pytestmark = [
    pytest.mark.docs,
    pytest.mark.skipif(sys.platform == "win32", reason="kills as POSIX does"),
]

LONG = {"trials": 400, "trees": 300}
SECONDS = 60.0


@dataclass
class Cell:
    """The outcome of a cell that has ended.

    Attributes
    ----------
    error : dict or None
        The kernel's message of it, as a notebook shows it.
    outputs : list of dict
        Its messages: results, displays and what was printed.
    """

    error: dict[str, Any] | None = None
    outputs: list[dict[str, Any]] = field(default_factory=list)

    @property
    def value(self) -> str:
        """The plain text of the last expression."""
        assert self.error is None, "\n".join(self.error["traceback"])
        (result,) = [each["content"]["data"] for each in self.outputs if each["msg_type"] == "execute_result"]
        return str(result["text/plain"])


class Notebook:
    """A kernel in a process of its own, and a client that talks to it as a notebook does."""

    def __init__(self, directory: Path) -> None:
        self.manager = KernelManager()
        self.manager.start_kernel(cwd=str(directory), env=environment() | {"IPYTHONDIR": str(directory / ".ipython")})
        self.client: BlockingKernelClient = self.manager.client()
        self.client.start_channels()
        self.client.wait_for_ready(timeout=SECONDS)
        self.updates: list[dict[str, Any]] = []

    def begin(self, code: str) -> str:
        """Run a cell, and do not wait for it."""
        return str(self.client.execute(code))

    def end(self, cell: str) -> Cell:
        """Wait for a cell to end."""
        found = Cell()
        while True:
            message = self.client.get_iopub_msg(timeout=SECONDS)
            kind, content = message["msg_type"], message["content"]
            if kind == "update_display_data":  # of whichever cell
                self.updates.append(message)
            elif message["parent_header"].get("msg_id") != cell:
                continue
            elif kind == "error":
                found.error = content
            elif kind in ("execute_result", "display_data", "stream"):
                found.outputs.append(message)
            elif kind == "status" and content["execution_state"] == "idle":
                return found

    def run(self, code: str) -> Cell:
        """Run a cell to its end."""
        return self.end(self.begin(code))

    def value(self, code: str) -> str:
        """Run a cell to its end and return its last expression in plain text."""
        return self.run(code).value

    def next_update(self) -> dict[str, Any]:
        """Return the next message that changes what a cell has shown, while no cell runs."""
        while True:
            message = self.client.get_iopub_msg(timeout=SECONDS)
            if message["msg_type"] == "update_display_data":
                return dict(message)

    def restart(self) -> None:
        """Restart as the menu does: the kernel is asked to end, and ends its children first."""
        self.manager.restart_kernel(now=False)
        self.client.wait_for_ready(timeout=SECONDS)

    def kill(self) -> None:
        """Kill -9 the kernel and its process group."""
        self.manager.signal_kernel(signal.SIGKILL)
        wait_for(lambda: not self.manager.is_alive())

    def close(self) -> None:
        self.client.stop_channels()
        self.manager.shutdown_kernel(now=True)


def wait_for(there: Callable[[], object]) -> None:
    end = time.monotonic() + SECONDS
    while not there():
        assert time.monotonic() < end
        time.sleep(0.005)


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The directory of a study that takes minutes; its miner does not outlive the test."""
    monkeypatch.setenv("JUPYTER_RUNTIME_DIR", str(tmp_path / ".jupyter"))
    write_study(tmp_path, **LONG)
    monkeypatch.chdir(tmp_path)
    yield tmp_path
    for status in (tmp_path / "studies").glob("*.status.json"):
        kill(BackgroundMiner(status.name.removesuffix(".status.json"), status.parent))


@pytest.fixture
def notebooks(project: Path) -> Iterator[list[Notebook]]:
    """The kernels of a test, which end with it."""
    opened: list[Notebook] = []
    yield opened
    for notebook in opened:
        notebook.close()


def running_miners(directory: Path) -> set[int]:
    """Return the processes that mine in a directory, by whatever name they have in its files."""
    found = set()
    for process in psutil.process_iter(["cmdline", "cwd", "status"]):
        given = process.info
        mines = (given["cmdline"] or [])[-2:] == ["-m", "signal_miner.cli.worker"]
        if mines and given["cwd"] == str(directory) and given["status"] != psutil.STATUS_ZOMBIE:
            found.add(process.pid)
    return found


def trials_in(message: dict[str, Any]) -> int:
    """Return the number of trials that a bar shows; both of its forms say the same."""
    data = message["content"]["data"]
    plain, page = (re.search(r"(\d+) of 400 trials", data[form]) for form in ("text/plain", "text/html"))
    assert (plain and plain[1]) == (page and page[1])
    return int(plain[1]) if plain else 0


def test_the_notebook_stays_free_and_the_miner_outlives_its_kernel(project: Path, notebooks: list[Notebook]) -> None:
    notebook = Notebook(project)
    notebooks.append(notebook)
    notebook.run("import signal_miner")
    started = time.monotonic()
    shown = notebook.run('miner = signal_miner.start_mining("tiny.toml", report=False)\nminer')
    assert time.monotonic() - started < 20  # of imports, a small dataset and a process; nothing is trained
    assert shown.error is None
    (bar,) = [each for each in shown.outputs if each["msg_type"] == "display_data"]
    assert "<div" in bar["content"]["data"]["text/html"]
    assert notebook.value("6 * 7, miner.progress().running") == "(42, True)"

    # No cell runs any more, and the output of the first one still changes.
    updates = [notebook.next_update() for _ in range(2)]
    while trials_in(updates[-1]) < 3:
        updates.append(notebook.next_update())
    updates.append(notebook.next_update())
    counts = [trials_in(each) for each in [bar, *notebook.updates, *updates]]
    assert counts == sorted(counts)
    assert len(set(counts)) >= 3
    identity = bar["content"]["transient"]["display_id"]
    assert {each["content"]["transient"]["display_id"] for each in updates} == {identity}
    assert "width:0" in bar["content"]["data"]["text/html"]
    assert "width:0.0%" not in updates[-1]["content"]["data"]["text/html"]

    miner = signal_miner.attach("tiny")
    process = status_of(miner).process
    notebook.kill()
    done = miner.progress().done
    wait_until(miner, lambda progress: progress.done >= done + 2)

    other = Notebook(project)
    notebooks.append(other)
    other.run("import signal_miner")
    other.run('miner = signal_miner.attach("tiny")')
    seen = other.value("progress = miner.progress()\nmining = progress.running, progress.state, progress.total\nmining")
    assert seen == "(True, 'mining', 400)"
    assert int(other.value("progress.done")) >= done + 2
    other.run('again = signal_miner.start_mining("tiny.toml", report=False)')
    assert other.value("again.study == miner.study") == "True"
    assert status_of(miner).process == process
    assert running_miners(project) == {process.pid}

    assert other.value("miner.stop().state") == "'stopped'"
    wait_for(lambda: "Stopped before the last trial" in miner.log())
    assert "\x1b" not in Path(status_of(miner).log).read_text()  # colours and moving bars are for a terminal
    stopped = miner.progress()
    tracked = {run.info.run_id: run.info.start_time for run in runs_of(project)}
    assert len(tracked) == stopped.done < 400
    more = (
        f'signal_miner.start_mining(signal_miner.load_experiment("tiny.toml", trials={stopped.done + 2}), report=False)'
    )
    assert other.value(f"{more}.wait().done") == str(stopped.done + 2)
    now = {run.info.run_id: run.info.start_time for run in runs_of(project)}
    assert tracked.items() <= now.items()  # as they were: nothing finished is trained again
    assert len(now) == len(tracked) + 2


SLOW = """
import subprocess, sys
import signal_miner

same = {"max_depth": 4, "num_leaves": 8, "colsample_bytree": 1.0, "max_bin": 5}
slow = signal_miner.load_experiment(
    "tiny.toml",
    name="slow",
    data="wide",
    grid={"n_estimators": [20000]} | {name: [value] for name, value in same.items()},
    benchmark={"n_estimators": 100} | same,
)
"""
START = "miner = signal_miner.start_mining(slow, report=False)"
CHILD = """
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
child.pid
"""


def test_interrupts_and_a_restart_do_not_reach_the_miner_and_stop_takes_less_than_a_checkpoint(
    project: Path, notebooks: list[Notebook]
) -> None:
    write_numerai_directory(project / "wide", rows=1000)
    notebook = Notebook(project)
    notebooks.append(notebook)
    notebook.run(SLOW)

    # An interrupt just when the miner is about to be started: whatever happens, the next start starts one.
    starting = notebook.begin(START)
    wait_for(lambda: list((project / "studies").glob("slow-*.status.json")))
    notebook.manager.interrupt_kernel()
    notebook.end(starting)
    assert notebook.value(f"{START}\nminer.progress().running") == "True"
    miner = signal_miner.attach("slow")

    waiting = notebook.begin("miner.wait()")
    wait_until(miner, lambda progress: progress.state == "mining")
    process = status_of(miner).process
    notebook.manager.interrupt_kernel()
    interrupted = notebook.end(waiting).error
    assert interrupted is not None
    assert interrupted["ename"] == "KeyboardInterrupt"
    assert notebook.value("miner.progress().running") == "True"

    child = psutil.Process(int(notebook.value(CHILD)))
    notebook.restart()
    assert not child.is_running() or child.status() == psutil.STATUS_ZOMBIE  # this restart ends a kernel's children
    assert status_of(miner).process == process
    assert running_miners(project) == {process.pid}
    notebook.run("import signal_miner")
    assert notebook.value('signal_miner.attach("slow").progress().running') == "True"

    # The benchmark's trees are those of the trials, which have so many that one checkpoint, a twentieth of a fold,
    # takes seconds. Two trials are in training. Stopping and writing to the stores takes less than that:
    # a miner that looked only between folds, or between trials, would need up to twenty or forty times as long.
    assert miner.progress().done == 0
    started = time.monotonic()
    assert notebook.value('signal_miner.attach("slow").stop().state') == "'stopped'"
    seconds = time.monotonic() - started
    (benchmark,) = runs_of(project, "benchmark")
    seconds_of_a_tree = benchmark.data.metrics["train_seconds"] / (2 * 100)  # in two folds
    assert seconds < 20000 / CHECKPOINTS * seconds_of_a_tree
    assert not runs_of(project)
    (study,) = runs_of(project, "study")
    assert study.info.status == "KILLED"

    mistake = notebook.run('signal_miner.load_experiment("tiny.toml", trails=3)').error
    assert mistake is not None
    (line,) = mistake["traceback"]
    assert line.startswith("UserError: tiny.toml: ")
    assert "did you mean 'trials'?" in line
    assert "\n" not in line
