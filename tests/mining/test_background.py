"""Mining in a process of its own: started, followed, stopped, killed, found again; from Python and from a terminal."""

from __future__ import annotations

import os
import pickle
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

import signal_miner
from signal_miner import BackgroundMiner, UserError
from signal_miner.mining.status import all_statuses, own_process, read_status, write_status
from tests.helpers.background import kill, python, status_of, wait_until, write_study
from tests.helpers.mining import client_of, mine_here, outcome, runs_of, start_mining
from tests.helpers.study import command

pytestmark = pytest.mark.slow

LONG = {"trials": 400, "trees": 300}


@pytest.fixture
def study(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A study that takes minutes, in the working directory; its miner does not outlive the test."""
    for name in [name for name in os.environ if name.startswith("MLFLOW_")]:
        monkeypatch.delenv(name)
    path = write_study(tmp_path, **LONG)
    monkeypatch.chdir(tmp_path)
    yield path
    os.chdir(tmp_path)
    for status in (tmp_path / "studies").glob("*.status.json"):
        kill(BackgroundMiner(status.name.removesuffix(".status.json"), status.parent))


def running(directory: Path) -> list[str]:
    client = client_of(directory)
    ids = [experiment.experiment_id for experiment in client.search_experiments()]
    return [run.info.run_name for run in client.search_runs(ids, "attributes.status = 'RUNNING'")]


def test_a_miner_is_started_found_stopped_and_resumed(study: Path, capsys: pytest.CaptureFixture[str]) -> None:
    started = time.monotonic()
    miner = signal_miner.start_mining(study, report=False)
    assert time.monotonic() - started < 5  # of imports and a small dataset; nothing is trained
    assert miner.progress().running
    assert miner.leaderboard().empty
    process = status_of(miner).process
    wait_until(miner, lambda progress: progress.done >= 3)

    again = signal_miner.start_mining(study, report=False)
    assert signal_miner.attach("tiny").study == again.study == miner.study
    progress = again.progress()
    assert status_of(again).process.pid != os.getpid()
    assert (progress.state, progress.total) == ("mining", 400)
    assert progress.rate is not None
    assert progress.rate > 0
    assert progress.time_left is not None
    assert progress.best.startswith("trial 0")
    board = miner.leaderboard()
    assert len(board) >= 4
    assert board["validation/sharpe"].max() >= (progress.best_score or 0) - 1e-12
    with pytest.warns(UserWarning, match="is being mined already, up to 400 trials; call start_mining again once"):
        signal_miner.start_mining(signal_miner.load_experiment(study, trials=500))

    assert command(Path.cwd(), "status") == 0
    printed = capsys.readouterr().out
    assert f"{miner.study}: mining" in printed
    assert f"process {status_of(miner).process.pid} on" in printed

    started = time.monotonic()
    stopped = miner.stop()
    assert time.monotonic() - started < 5  # a tree takes milliseconds here; then the stores are written
    assert stopped.state == "stopped"
    assert not stopped.error
    assert miner.wait().state == "stopped"
    assert not running(Path.cwd())
    (run,) = runs_of(Path.cwd(), "study")
    assert run.info.status == "KILLED"
    tracked = {run.info.run_id for run in runs_of(Path.cwd())}
    assert len(tracked) == stopped.done

    onwards = signal_miner.start_mining(signal_miner.load_experiment(study, trials=stopped.done + 2), report=False)
    assert onwards.wait().done == stopped.done + 2
    assert status_of(onwards).process != process
    assert len({run.info.run_id for run in runs_of(Path.cwd())} - tracked) == 2
    assert "trials finished" in onwards.log(30)

    undisturbed = write_study(Path("undisturbed").resolve(), trials=stopped.done + 2, trees=300).parent
    assert mine_here(undisturbed).returncode == 0
    assert outcome(undisturbed) == outcome(Path.cwd())


def test_a_killed_miner_is_an_error_and_resumed(study: Path, capsys: pytest.CaptureFixture[str]) -> None:
    miner = signal_miner.start_mining(study, report=False)
    wait_until(miner, lambda progress: progress.done >= 2)
    kill(miner)
    progress = wait_for_end(miner)
    assert progress.state == "failed"
    assert "the miner exited unexpectedly while mining (killed or out of memory; " in progress.error
    assert "start_mining" in progress.error
    with pytest.raises(UserError, match=r"failed: the miner exited unexpectedly"):
        miner.wait()
    assert command(Path.cwd(), "status") == 0
    assert "failed: the miner" in capsys.readouterr().out
    assert command(Path.cwd(), "stop") == 0
    assert "No miner is running here." in capsys.readouterr().out

    again = signal_miner.start_mining(study, report=False)
    wait_until(again, lambda each: each.done >= progress.done + 1)
    assert command(Path.cwd(), "stop", "--study", "tiny") == 0
    assert f"{miner.study}: stopped" in capsys.readouterr().out
    assert not running(Path.cwd())


def wait_for_end(miner: BackgroundMiner) -> signal_miner.Progress:
    end = time.monotonic() + 10
    while miner.progress().running:
        assert time.monotonic() < end
        time.sleep(0.05)
    return miner.progress()


def test_two_that_start_at_once_start_one_miner(study: Path) -> None:
    program = """
        import concurrent.futures, signal_miner, time
        from pathlib import Path
        from signal_miner.mining.status import all_statuses, own_process, read_status, write_status
        with concurrent.futures.ThreadPoolExecutor(4) as several:
            miners = list(several.map(lambda _: signal_miner.start_mining("tiny.toml", report=False), range(4)))
        tokens = {read_status(Path("studies"), miner.study).token for miner in miners}
        assert len(tokens) == 1, tokens
        print(tokens.pop())
    """
    done = python(Path.cwd(), program)
    assert done.returncode == 0, done.stderr
    miner = signal_miner.attach()
    assert status_of(miner).token == done.stdout.strip()
    wait_until(miner, lambda progress: progress.done >= 1)  # the process that started it has ended
    assert status_of(miner).token == done.stdout.strip()
    assert miner.stop().state == "stopped"


def test_a_failure_in_the_background_is_one_line_without_secrets(study: Path) -> None:
    secret = "postgresql+psycopg://me:topsecret@127.0.0.1:1/none"
    miner = signal_miner.start_mining(signal_miner.load_experiment(study, tracking_uri=secret), report=False)
    progress = wait_for_end_of_start(miner)
    assert progress.state == "failed"
    assert "the tracking store postgresql+psycopg://***@127.0.0.1:1/none cannot be opened" in progress.error
    with pytest.raises(UserError, match="cannot be opened"):
        miner.wait()
    assert "topsecret" not in miner.log()
    written = [path for path in Path("studies").iterdir() if path.is_file()]
    assert written
    assert not [path for path in written if b"topsecret" in path.read_bytes()]


def wait_for_end_of_start(miner: BackgroundMiner) -> signal_miner.Progress:
    end = time.monotonic() + 240
    while miner.progress().running:
        assert time.monotonic() < end
        time.sleep(0.1)
    return miner.progress()


def test_mistakes_are_reported_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_study(tmp_path)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match="data 'nowhere' does not exist"):
        signal_miner.start_mining(signal_miner.load_experiment(path, data="nowhere"))
    with pytest.raises(UserError, match=r"memory_gb = 0\.001 cannot hold one binned dataset"):
        signal_miner.start_mining(signal_miner.load_experiment(path, memory_gb=0.001))
    with pytest.raises(
        UserError,
        match=r"no miner of any study has its files in .*; start one with: mlflow run \. -e mine ",
    ):
        signal_miner.attach()
    assert mine_here(tmp_path, "--trials", "2").returncode == 0
    assert mine_here(tmp_path, "--trials", "1", "--name", "another").returncode == 0
    assert signal_miner.attach("another").progress().total == 1
    assert signal_miner.attach("tiny").progress().state == "finished"
    with pytest.raises(UserError, match=r"no miner of study 'tinny' has its files in .*; did you mean 'tiny'\?"):
        signal_miner.attach("tinny")
    assert read_status(tmp_path / "studies", signal_miner.attach().study) is not None


@pytest.mark.docs
def test_a_miner_that_is_stopping_is_waited_for_and_followed_by_another(study: Path) -> None:
    miner = signal_miner.start_mining(study, report=False)
    wait_until(miner, lambda progress: progress.done >= 1)
    assert miner.stop(timeout=0).running
    again = signal_miner.start_mining(study, report=False)
    assert not status_of(again).stopping
    wait_until(again, lambda progress: progress.rate is not None)
    assert again.stop().state == "stopped"


def test_a_stop_request_reaches_the_process_that_mines_the_study(study: Path) -> None:
    terminal = start_mining(Path.cwd())
    end = time.monotonic() + 240
    while not (running := list(Path("studies").glob("*.status.json"))):
        assert time.monotonic() < end
        time.sleep(0.02)
    lost = replace(all_statuses(Path("studies"))[0], token="lost", state="starting", process=own_process())
    write_status(Path("studies"), lost)  # as a miner that was started beside it, and finds the study locked
    assert running
    assert signal_miner.attach().stop(timeout=60).state == "stopped"
    terminal.communicate(timeout=60)
    assert terminal.returncode == 130


def test_it_is_the_same_study_from_any_directory(study: Path, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "random.py").write_text("raise SystemExit('another module of this name')")
    experiment = signal_miner.load_experiment(study, tracking_uri="sqlite:///mlflow.db", trials=4, data="numerai")
    miner = signal_miner.start_mining(experiment, report=False)
    os.chdir(elsewhere)
    assert miner.wait().done == 4
    assert len(miner.leaderboard()) == 5
    ensemble = signal_miner.build_ensemble(miner, members=2)
    assert ensemble.run_id
    attached = signal_miner.attach("tiny", study_storage=tmp_path / "studies")
    assert attached.leaderboard().equals(miner.leaderboard())
    assert sorted(path.name for path in elsewhere.iterdir()) == ["random.py"]


@pytest.mark.docs
def test_a_stop_request_interrupts_the_report(study: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (Path.cwd() / "sitecustomize.py").write_text(SLOW_REPORT)
    monkeypatch.setenv("PYTHONPATH", str(Path.cwd()))
    miner = signal_miner.start_mining(signal_miner.load_experiment(study, trials=2))
    wait_until(miner, lambda progress: progress.state == "report")
    started = time.monotonic()
    assert miner.stop().state == "finished"
    assert time.monotonic() - started < 10
    assert "The report was not made, as a stop was requested" in miner.log()
    assert not list(Path("studies").glob("*.stop"))


SLOW_REPORT = """
import sys, time
from importlib.abc import MetaPathFinder

class Slow(MetaPathFinder):
    # Stands for a report of thousands of trials: it takes a minute before it begins.
    def find_spec(self, name, path=None, target=None):
        if name == "signal_miner.reporting":
            for _ in range(600):
                time.sleep(0.1)

sys.meta_path.insert(0, Slow())
"""


def test_trials_that_all_fail_are_a_failure(study: Path) -> None:
    given = {"trials": 2, "grid": {"device_type": ["cuda"]}}
    miner = signal_miner.start_mining(signal_miner.load_experiment(study, **given), report=False)
    with pytest.raises(UserError, match=r"failed: every trial failed, the last one with: .*CUDA"):
        miner.wait()
    assert "trial 0000 failed: " in miner.log(50)


def test_arguments_that_are_none(study: Path) -> None:
    assert mine_here(Path.cwd(), "--trials", "1").returncode == 0
    miner = signal_miner.attach(signal_miner.attach())
    with pytest.raises(UserError, match="timeout = '5' is not a number of seconds"):
        miner.wait("5")  # type: ignore[arg-type]
    with pytest.raises(UserError, match="lines = 0 is not an integer of at least 1"):
        miner.log(0)
    with pytest.raises(UserError, match="study is a int; write it in quotes"):
        signal_miner.attach(5)  # type: ignore[arg-type]
    with pytest.raises(UserError, match="experiment is a dict; give what load_experiment returned, or a file"):
        signal_miner.start_mining({})  # type: ignore[arg-type]
    secret = BackgroundMiner(miner.study, Path("studies").resolve(), "postgresql://me:topsecret@host/x")
    assert b"topsecret" not in pickle.dumps(secret)
    write_status(Path("studies"), replace(status_of(miner), tracking_uri="postgresql://***@host/x"))
    with pytest.raises(UserError, match=r"has a password, which is not stored; call signal_miner.attach\('tiny-"):
        miner.leaderboard()
