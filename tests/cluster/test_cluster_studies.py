"""Studies on a real Dask cluster, in real processes; each equals the study of one machine."""

from __future__ import annotations

import re
import shutil
import signal
import subprocess
import sys
import textwrap
import time
from unittest.mock import patch

import pytest

from tests.conftest import write_numerai_directory
from tests.helpers.cluster import DaskCluster, Processes, free_port, postgres, start_mlflow, wait_for
from tests.helpers.mining import (
    MINE,
    ROOT,
    environment,
    mine_here,
    outcome,
    put_store,
    run_mining,
    runs_of,
    write_experiment,
)

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(900)]


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return write_numerai_directory(tmp_path_factory.mktemp("data") / "numerai")


def undisturbed(directory, data, *arguments, **changes):
    """Mine the study in this process, and return its results."""
    directory.mkdir()
    write_experiment(directory, data, **changes)
    done = mine_here(directory, *arguments)
    assert done.returncode == 0, done.stderr
    return outcome(directory)


def cluster_study(directory, data, settings, **changes):
    """Write the same study with a `[cluster]` table."""
    directory.mkdir(exist_ok=True)
    put_store(directory)
    path = write_experiment(directory, data, **changes)
    path.write_text(path.read_text() + f"\n[cluster]\n{settings}\n")


@pytest.mark.parametrize("engine", ["lightgbm", "bitplane"])
def test_a_local_cluster_trains_what_one_machine_trains(tmp_path, data, engine):
    expected = undisturbed(tmp_path / "plain", data, "--engine", engine)
    exchange = tmp_path / "exchange"
    cluster_study(tmp_path / "cluster", data, f'workers = 2\nexchange = "{exchange}"')
    done = run_mining(tmp_path / "cluster", "--engine", engine)
    assert done.returncode == 0, done.stderr
    assert outcome(tmp_path / "cluster") == expected
    assert not list(exchange.iterdir())


class Site:
    """PostgreSQL, an MLflow server on it, a scheduler and workers, and studies that are mined on them."""

    def __init__(self, directory, database):
        self.directory, self.database = directory, database
        self.processes = Processes(directory)
        self.cluster = DaskCluster(self.processes)
        self.mlflow_port = free_port()
        self.mlflow = f"http://127.0.0.1:{self.mlflow_port}"
        self.study_storage, self.runs = database.create("studies"), database.create("runs")
        self.secrets = {"PGPASSWORD": database.password}

    def start(self, *preload, workers=2, **variables):
        self.start_mlflow()
        self.cluster.start_scheduler(**variables)
        self.preload = preload
        self.start_workers(workers)

    def start_workers(self, workers=2):
        for number in range(workers):
            self.cluster.start_worker(f"worker{number}", *self.preload)

    def start_mlflow(self):
        start_mlflow(self.processes, self.mlflow_port, self.runs, self.directory / "artifacts", **self.secrets)

    def write(self, data, further="", **changes):
        path = write_experiment(self.directory, data, **changes)
        text = path.read_text().replace("\n[folds]", f'study_storage = "{self.study_storage}"\n\n[folds]', 1)
        path.write_text(f'{text}\n[cluster]\nscheduler = "{self.cluster.address}"\n{further}')

    def mine(self, *arguments):
        secrets = self.secrets | {"MLFLOW_TRACKING_URI": self.mlflow}
        return self.processes.start("miner", "signal_miner", *MINE, *arguments, **secrets)

    def command(self, *arguments, cwd):
        return subprocess.run(
            [sys.executable, "-m", "signal_miner", *arguments, "--study-storage", self.study_storage],
            cwd=cwd, env=environment() | self.secrets, capture_output=True, text=True, check=False,
        )  # fmt: skip

    def output(self):
        return self.processes.log("miner").read_text()

    def ended(self, process, code=0, seconds=500):
        assert process.wait(seconds) == code, self.output()
        return self.output()

    def wait_for_finished(self, number):
        wait_for(lambda: len(runs_of(self.mlflow)) >= number, 300)


@pytest.fixture
def site(tmp_path):
    with postgres() as database:
        site = Site(tmp_path / "site", database)
        site.directory.mkdir()
        try:
            yield site
        finally:
            site.processes.end()


def preload(directory, body):
    """Write what each worker runs before it is given work; it may replace `worker.run_trial`."""
    path = directory / "preload.py"
    path.write_text(
        "import os, signal, time\nfrom signal_miner.cluster import worker\n"
        "from signal_miner.engine.trial import run_trial as real\n"
        f"def run_trial(source, folds, scorers, params, *others):\n{textwrap.indent(textwrap.dedent(body), '    ')}\n"
        "    return real(source, folds, scorers, params, *others)\nworker.run_trial = run_trial\n"
    )
    return "--preload", str(path)


def test_a_whole_site_mines_what_one_machine_mines_and_shows_no_password(tmp_path, data, site):
    expected = undisturbed(tmp_path / "plain", data, trials=60)
    expected |= undisturbed(tmp_path / "planes", data, "--engine", "bitplane", trials=60)
    site.start(*preload(tmp_path, "while os.path.exists('held'): time.sleep(0.1)"))
    site.write(data, trials=60)
    site.ended(site.mine())
    # The second study is stopped and resumed from folders that know no more than the address of its storage.
    miner = site.mine("--engine", "bitplane")
    site.wait_for_finished(65)
    held = site.directory / "held"  # so that the study is still mined when it is to be stopped
    held.touch()
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    shown = site.command("status", cwd=elsewhere).stdout
    assert " of 60 trials" in shown
    assert "2 workers, 2 trials at a time" in shown
    commands = [" ".join(each.cmdline()) for name in site.processes.running for each in site.processes.tree(name)]
    stopped = site.command("stop", cwd=elsewhere)
    assert "stopped" in stopped.stdout, stopped.stderr
    site.ended(miner, code=130)
    held.unlink()
    page = dashboard(site)
    site.ended(site.mine("--engine", "bitplane"))
    assert "60 of 60 trials" in site.command("status", cwd=elsewhere).stdout
    assert outcome(site.mlflow) == expected

    secret = site.database.password
    assert not any(secret in text for text in (page, *commands))
    for path in (path for path in site.directory.rglob("*") if path.is_file()):
        assert secret.encode() not in path.read_bytes(), path
    for run in (run for kind in ("study", "benchmark", "trial") for run in runs_of(site.mlflow, kind)):
        assert secret not in str(run)
    for process in ("worker0", "worker1"):
        assert "mlflow" not in site.processes.log(process).read_text()


def dashboard(site):
    """Return what the pages of Dask's dashboard that list workers and tasks show."""
    import urllib.request

    found = re.search(r"dashboard at:\s+(\S+)/status", site.processes.log("scheduler").read_text())
    pages = ("info/main/workers.html", "json/identity.json", "info/main/logs.html")
    return "".join(urllib.request.urlopen(f"{found[1]}/{page}").read().decode() for page in pages)


def test_a_study_survives_the_kill_of_each_of_its_processes(tmp_path, data, site):
    expected = undisturbed(tmp_path / "plain", data, trials=30)
    site.start(*preload(tmp_path, "time.sleep(3)"))
    site.write(data, trials=30)
    miner = site.mine()
    site.wait_for_finished(3)
    site.cluster.worker_of("worker0").send_signal(signal.SIGKILL)  # its nanny starts another
    site.wait_for_finished(6)
    site.processes.kill("scheduler")
    site.processes.kill("worker0")
    site.processes.kill("worker1")
    site.cluster.start_scheduler()
    site.start_workers()
    site.wait_for_finished(10)
    site.processes.kill("mlflow")
    wait_for(lambda: list((site.directory / "studies").glob("*.waiting/*/trial.json")))
    site.database.stop()
    time.sleep(3)
    site.database.start()
    site.start_mlflow()
    wait_for(lambda: "answers again" in site.output())
    site.processes.kill("miner")
    output = site.output()
    site.ended(site.mine())
    assert miner.returncode == -signal.SIGKILL
    assert outcome(site.mlflow) == expected
    for said in ("finished trials wait in", "answers again", "does not answer; waiting", "is back"):
        assert said in output
    assert not list((site.directory / "studies").glob("*.waiting/*"))


def test_a_configuration_that_memory_cannot_hold_fails_and_the_others_are_trained(tmp_path, data):
    expected = undisturbed(tmp_path / "plain", data, trials=12)
    drawn = sorted(expected.values())
    body = """
        if params["num_leaves"] == 8 and params["max_depth"] == 4:
            raise MemoryError("too large")
        if params["num_leaves"] == 3 and params["max_depth"] == 2:
            os.kill(os.getpid(), signal.SIGKILL)
    """
    directory = tmp_path / "cluster"
    directory.mkdir()
    processes = Processes(directory)
    cluster = DaskCluster(processes)
    try:
        cluster.start_scheduler(DASK_DISTRIBUTED__SCHEDULER__ALLOWED_FAILURES="0")
        for number in range(2):
            cluster.start_worker(f"worker{number}", *preload(tmp_path, body))
        cluster_study(directory, data, f'scheduler = "{cluster.address}"', trials=12)
        done = run_mining(directory)
    finally:
        processes.end()
    assert done.returncode == 0, done.stderr
    assert "tried again, alone" in done.stdout
    assert drawn
    found = outcome_of_finished(directory)
    assert found == {key: value for key, value in expected.items() if key in found}
    failed = {run.info.run_name: run for run in runs_of(directory) if run.info.status == "FAILED"}
    assert len(found) + len(failed) == 12
    for run in failed.values():
        shape = run.data.params["num_leaves"], run.data.params["max_depth"]
        assert shape in {("8", "4"), ("3", "2")}
        error = run.data.tags["signal_miner.error"]
        assert "too large" in error if shape == ("8", "4") else "killed" in error


def outcome_of_finished(directory):
    with patch(
        "tests.helpers.mining.runs_of", lambda place: [r for r in runs_of(place) if r.info.status == "FINISHED"]
    ):
        return outcome(directory)


def test_a_worker_with_other_data_or_of_another_version_is_given_no_trials(tmp_path, data):
    expected = undisturbed(tmp_path / "plain", data, trials=6)
    other = write_numerai_directory(tmp_path / "other" / "numerai", seed=1)
    elsewhere = tmp_path / "elsewhere.py"
    elsewhere.write_text(
        f"from signal_miner.cluster import worker\nworker.local_data = lambda places: {str(other)!r}\n"
    )
    newer = tmp_path / "newer"
    shutil.copytree(ROOT / "signal_miner", newer / "signal_miner", ignore=shutil.ignore_patterns("__pycache__"))
    version = newer / "signal_miner" / "__init__.py"
    version.write_text(version.read_text().replace("__version__ = ", '__version__ = "9.9.9"  # '))
    directory = tmp_path / "cluster"
    directory.mkdir()
    processes = Processes(directory)
    cluster = DaskCluster(processes)
    cluster_study(directory, data, f'scheduler = "{cluster.address}"', trials=6)
    try:
        cluster.start_scheduler()
        cluster.start_worker("newer", PYTHONPATH=str(newer))
        cluster.start_worker("other", "--preload", str(elsewhere))
        for name in ("newer", "other"):
            wait_for(lambda: "Registered to" in processes.log(name).read_text())  # noqa: B023
        cluster.start_worker("good", *preload(tmp_path, "time.sleep(1)"))
        done = run_mining(directory)
    finally:
        processes.end()
    assert done.returncode == 0, done.stderr
    assert re.search(
        r"is given no trials: it has signal_miner 9\.9\.9 \(\w+\), and the study is mined with", done.stdout
    )
    assert re.search(r"is given no trials: its data in \S+other/numerai differ from those that are mined", done.stdout)
    assert outcome(directory) == expected
