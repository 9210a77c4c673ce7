"""`mlflow run` as in the README, in a copy of the project."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import write_numerai_directory
from tests.helpers.mining import ROOT, client_of, environment, put_store, runs_of, write_experiment

pytestmark = pytest.mark.docs


@pytest.fixture
def project(tmp_path):
    """The files of the project that `mlflow run` needs, and a small experiment."""
    for name in ("MLproject", "conda.yaml"):
        shutil.copy(ROOT / name, tmp_path)
    ignored = shutil.ignore_patterns("__pycache__")
    shutil.copytree(ROOT / "signal_miner", tmp_path / "signal_miner", ignore=ignored)
    write_experiment(tmp_path, write_numerai_directory(tmp_path / "numerai"), trials=4)
    return tmp_path


def mlflow_run(project, entry, *parameters):
    arguments = [sys.executable, "-m", "mlflow", "run", ".", "-e", entry, "--env-manager", "local"]
    for parameter in parameters:
        arguments += ["-P", parameter]
    # `python` of the project's command must be this one.
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    kept = {name: value for name, value in environment().items() if name != "PYTHONPATH"} | {"PATH": path}
    return subprocess.run(arguments, cwd=project, env=kept, capture_output=True, text=True, timeout=240)


def test_mine_runs_from_the_project_file(project):
    done = mlflow_run(project, "mine", "experiment=tiny.toml", "trials=3")
    assert done.returncode == 0, done.stderr
    assert "3 trials finished" in done.stdout
    assert len(runs_of(project)) == 3
    (study,) = runs_of(project, "study")
    launchers = client_of(project).search_runs(["0"])
    assert [run.info.status for run in launchers] == ["FINISHED"]
    assert study.data.tags["signal_miner.study"] in launchers[0].data.tags["mlflow.note.content"]
    assert all("mlflow.parentRunId" not in run.data.tags for run in runs_of(project))


def test_a_mistake_leaves_nothing_running(project):
    put_store(project)
    done = mlflow_run(project, "mine", "experiment=tiny.toml", "data=nowhere")
    assert done.returncode != 0
    assert "signal-miner: data 'nowhere' does not exist; give a directory or file that does" in done.stderr
    client = client_of(project)
    ids = [experiment.experiment_id for experiment in client.search_experiments()]
    assert not client.search_runs(ids, "attributes.status = 'RUNNING'")
