"""The claim to a study: one process mines it, whichever folders and machines the stores are shared by."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from signal_miner.errors import Stopped, StoreError, UserError
from signal_miner.experiment.grid import Axis, Grid
from signal_miner.mining import claim
from signal_miner.mining.claim import Claim, Owner
from signal_miner.mining.search import Search
from tests.conftest import write_numerai_directory
from tests.helpers.mining import mine_here, outcome, put_store, runs_of, start_mining, write_experiment


class MemoryStore:
    """Claims in memory, as stores give them: one at a time, and without comparing and setting in one step."""

    def __init__(self) -> None:
        self.kept: dict[str, str] = {}
        self.fails = False

    def claims(self) -> dict[str, str]:
        if self.fails:
            raise StoreError("no answer")
        return dict(self.kept)

    def write_claim(self, token: str, text: str) -> None:
        if self.fails:
            raise StoreError("no answer")
        self.kept[token] = text

    def remove_claim(self, token: str) -> None:
        self.kept.pop(token, None)


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> None:
    """Renewals twenty times a second, in place of every five."""
    if "slow" not in request.keywords:
        monkeypatch.setattr(claim, "HEARTBEAT", 0.05)
        monkeypatch.setattr(claim, "_SECONDS_BETWEEN_LOOKS", 0.01)


def make(
    store: MemoryStore, token: str, *, lost: threading.Event | None = None, waits: list[Owner] | None = None
) -> Claim:
    waiting = [] if waits is None else waits
    return Claim("demo-1", "studies", [store], token, lambda: False, waiting.append, (lost or threading.Event()).set)


ELSEWHERE = Owner("other", "/data", "another machine", 1, mining=True)


def test_a_study_is_mined_by_one_process_and_given_back() -> None:
    store = MemoryStore()
    with make(store, "b"):
        first = store.kept["b"]
        with pytest.raises(
            UserError, match=rf"study demo-1 is being mined by process {os.getpid()} on .*; wait for it"
        ):
            make(store, "a").__enter__()
        assert list(store.kept) == ["b"]
        assert store.kept["b"] != first
    assert not store.kept


@pytest.mark.parametrize("count", [2, 5])
def test_of_many_at_once_exactly_one_gets_the_study(count: int) -> None:
    store, got, refused = MemoryStore(), [], []
    start, end = threading.Barrier(count), threading.Event()

    def attempt(number: int) -> None:
        start.wait()
        try:
            with make(store, f"token {number}"):
                got.append(number)
                assert end.wait(20)
        except UserError:
            refused.append(number)
        if len(refused) == count - 1:
            end.set()

    with ThreadPoolExecutor(count) as several:
        list(several.map(attempt, range(count)))
    assert (len(got), len(refused)) == (1, count - 1)
    assert not store.kept


def test_a_claim_of_a_process_that_has_ended_is_removed_at_once() -> None:
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    store = MemoryStore()
    store.kept["dead"] = json.dumps(asdict(replace(Owner.this_process(), pid=ended.pid, mining=True)))
    store.kept["damaged"] = "no claim"
    started = time.monotonic()
    with make(store, "own"):
        assert time.monotonic() - started < claim.STALE_AFTER / 2
        assert list(store.kept) == ["own"]


def test_a_claim_of_another_machine_is_dead_when_it_is_not_renewed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(claim, "STALE_AFTER", 1.0)
    store, waits = MemoryStore(), []
    store.kept["dead"] = json.dumps(asdict(ELSEWHERE))
    started = time.monotonic()
    with make(store, "own", waits=waits):
        assert time.monotonic() - started > 1.0
        assert waits == [ELSEWHERE]
        assert list(store.kept) == ["own"]


def test_a_claim_is_not_dead_because_its_store_hung(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(claim, "STALE_AFTER", 0.5)
    store = MemoryStore()
    store.kept["living"] = json.dumps(asdict(ELSEWHERE))
    looks = 0

    def claims() -> dict[str, str]:
        nonlocal looks
        looks += 1
        if looks == 2:  # neither can the owner write meanwhile, and it renews its claim right after
            time.sleep(1.0)
        elif looks > 2:
            store.kept["living"] = json.dumps(asdict(replace(ELSEWHERE, renewals=looks)))
        return dict(store.kept)

    monkeypatch.setattr(store, "claims", claims)
    with pytest.raises(UserError, match="is being mined by process 1 on other, in /data; wait for it"):
        make(store, "own").__enter__()
    assert list(store.kept) == ["living"]


def test_a_copy_of_a_claim_that_its_living_owner_does_not_renew_is_dead(monkeypatch: pytest.MonkeyPatch) -> None:
    """The folder of a study was copied, store and all, while it was mined."""
    monkeypatch.setattr(claim, "STALE_AFTER", 0.5)
    store = MemoryStore()
    store.kept["copied"] = json.dumps(asdict(replace(Owner.this_process(), mining=True)))
    with make(store, "own"):
        assert list(store.kept) == ["own"]


def test_an_earlier_call_of_this_process_that_left_its_claim_is_dead() -> None:
    store = MemoryStore()
    store.kept["earlier"] = json.dumps(asdict(replace(Owner.this_process(), mining=True)))
    with make(store, "own"):
        assert list(store.kept) == ["own"]


def test_a_stop_ends_the_wait() -> None:
    store = MemoryStore()
    store.kept["silent"] = json.dumps(asdict(ELSEWHERE))
    with pytest.raises(Stopped):
        Claim("demo-1", "studies", [store], "own", lambda: True, lambda _: None, lambda: None).__enter__()
    assert list(store.kept) == ["silent"]


def test_a_process_that_was_suspended_learns_that_it_lost_the_study() -> None:
    store, lost = MemoryStore(), threading.Event()
    with make(store, "own", lost=lost) as own:
        assert not own.is_lost()
        store.remove_claim("own")
        store.kept["taker"] = json.dumps(asdict(ELSEWHERE))
        assert lost.wait(5)
        assert own.is_lost()
        assert "demo-1 was taken over by process 1 on other, in /data, as this process did not renew" in str(own.loss)
    assert list(store.kept) == ["taker"]


def test_of_two_that_both_have_the_study_for_a_moment_one_yields() -> None:
    store, lost = MemoryStore(), threading.Event()
    with make(store, "own", lost=lost) as own:
        store.kept["z"] = json.dumps(asdict(ELSEWHERE))
        assert not own.is_lost()
        store.kept["a"] = json.dumps(asdict(ELSEWHERE))
        assert own.is_lost()


def test_a_store_that_fails_for_a_while_costs_nothing() -> None:
    store, lost = MemoryStore(), threading.Event()
    with make(store, "own", lost=lost):
        store.fails = True
        time.sleep(0.2)
        store.fails = False
        before = store.kept["own"]
        end = time.monotonic() + 5
        while store.kept["own"] == before:
            assert time.monotonic() < end
            time.sleep(0.01)
    assert not lost.is_set()
    assert not store.kept


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path, str]:
    """Two folders with the same experiment, each with a journal of its own, and the store that they share."""
    data = write_numerai_directory(tmp_path / "numerai")
    for name in ("first", "second"):
        (tmp_path / name).mkdir()
        write_experiment(tmp_path / name, data, trials=24, trees=200)
    store = f"sqlite:///{put_store(tmp_path)}"
    return tmp_path / "first", tmp_path / "second", store


def wait_for_trials(folder: Path, count: int, process: subprocess.Popen[str]) -> None:
    end = time.monotonic() + 120
    while len([run for run in runs_of(folder) if run.info.status == "FINISHED"]) < count:
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < end
        time.sleep(0.2)


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="kills as POSIX does")
def test_of_two_folders_on_one_store_that_start_at_once_one_mines_and_the_other_resumes_when_it_is_killed(
    folders: tuple[Path, Path, str],
) -> None:
    *both, store = folders
    shared = both[0].parent
    processes = [start_mining(folder, "--tracking-uri", store, "--trials", "400") for folder in both]
    end = time.monotonic() + 120
    while all(process.poll() is None for process in processes):
        assert time.monotonic() < end
        time.sleep(0.1)
    loser, winner = sorted(range(2), key=lambda number: processes[number].poll() is None)
    _, refusal = processes[loser].communicate()
    assert processes[loser].returncode == 2, refusal
    assert f"is being mined by process {processes[winner].pid} on " in refusal
    assert f"in {both[winner]}; wait for it, or stop it there with " in refusal
    assert refusal.count("\n") == 1
    assert processes[winner].poll() is None
    assert [run.info.status for run in runs_of(shared, "study")] == ["RUNNING"]  # as the other has it
    wait_for_trials(shared, 2, processes[winner])

    os.killpg(processes[winner].pid, signal.SIGKILL)
    processes[winner].communicate()
    tracked = len([run for run in runs_of(shared) if run.info.status == "FINISHED"])
    resumed = mine_here(both[loser], "--tracking-uri", store, "--trials", str(tracked + 3))
    assert resumed.returncode == 0, resumed.stderr
    results = outcome(shared)  # fails where two trials have one configuration
    assert sorted(name for name, *_ in results.values()) == [f"trial {number:04d}" for number in range(tracked + 3)]
    (study,) = runs_of(shared, "study")
    assert study.info.status == "FINISHED"
    assert not [key for key in study.data.tags if key.startswith("signal_miner.claim")]
    assert len(runs_of(shared, "benchmark")) == 1


def test_a_study_storage_that_is_shared_admits_one_miner(tmp_path: Path) -> None:
    storage = f"sqlite:///{tmp_path / 'draws.db'}"
    grid = Grid((Axis("max_depth", tuple(range(2, 9))),), None)
    first, second = (Search("demo-1", grid, 0, storage) for _ in range(2))
    with Claim("demo-1", storage, [first], "b", lambda: False, lambda _: None, lambda: None):
        draw = first.ask()
        assert draw is not None
        with pytest.raises(UserError, match=f"demo-1 is being mined by process {os.getpid()} on "):
            Claim("demo-1", storage, [second], "a", lambda: False, lambda _: None, lambda: None).__enter__()
    with Claim("demo-1", storage, [second], "a", lambda: False, lambda _: None, lambda: None):
        second.reload()
        assert second.interrupted() == (draw,)
    assert not first.claims()
