"""Helpers for the tests of whole studies: a small experiment, the command as a process, and its MLflow runs."""

from __future__ import annotations

import io
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from contextlib import chdir, redirect_stderr, redirect_stdout
from functools import cache
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pandas as pd
from mlflow import MlflowClient

from signal_miner.__main__ import main
from signal_miner.tracking.store import open_client

ROOT = Path(__file__).resolve().parents[2]

EXPERIMENT = """
name = "tiny"
data = "{data}"
feature_set = "all"
targets = ["target", "target_cyrusd_60"]
trials = {trials}
jobs = {jobs}
seed = 11
constraint = "num_leaves <= 2**max_depth"

[folds]
embargo_eras = {embargo}

[grid]
learning_rate = [0.03, 0.1, 0.3]
n_estimators = {{ from = 5, to = {trees}, step = 5 }}
max_bin = [3, 5]
max_depth = [2, 3, 4]
num_leaves = [3, 4, 8]
colsample_bytree = [0.3, 0.6, 1.0]
{grid}

[benchmark]
learning_rate = 0.1
n_estimators = 20
max_bin = 5
max_depth = 3
num_leaves = 8
"""


MINE = ("mine", "--experiment", "tiny.toml", "--report", "false")
"""The command; the report takes as long as a tiny study itself, and has tests of its own."""


def write_experiment(directory: Path, data: Path, **changes: Any) -> Path:
    """Write the small experiment with some of its values changed."""
    values = {"trials": 10, "jobs": 2, "embargo": 8, "trees": 30, "grid": ""} | changes
    path = directory / "tiny.toml"
    path.write_text(EXPERIMENT.format(data=data, **values))
    return path


def environment() -> dict[str, str]:
    """Return the environment of a process that mines in its own directory."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("MLFLOW_")}
    return kept | {"PYTHONPATH": str(ROOT), "COLUMNS": "140"}


def start_mining(
    directory: Path, *arguments: str, preexec_fn: Callable[[], None] | None = None, **variables: str
) -> subprocess.Popen[str]:
    """Start the command in a process group of its own, with further environment variables."""
    return subprocess.Popen(
        [sys.executable, "-m", "signal_miner", *MINE, *arguments],
        cwd=directory,
        env=environment() | variables,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        preexec_fn=preexec_fn,
    )


def run_mining(directory: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the command to its end."""
    process = start_mining(directory, *arguments)
    out, err = process.communicate(timeout=240)
    return subprocess.CompletedProcess(process.args, process.returncode, out, err)


@cache
def _empty_store() -> bytes:
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as directory:
        path = Path(directory) / "mlflow.db"
        open_client(f"sqlite:///{path}")
        return path.read_bytes()


def put_store(directory: Path) -> Path:
    """Copy an empty store to a directory and return its path; MLflow takes two seconds to create one."""
    path = directory / "mlflow.db"
    path.write_bytes(_empty_store())
    return path


def mine_here(directory: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the command in this process, creating an empty store if there is none: one second instead of six."""
    if not (directory / "mlflow.db").exists():
        put_store(directory)
    command = [*MINE, *arguments]
    out, err = io.StringIO(), io.StringIO()
    with chdir(directory), patch.dict(os.environ, COLUMNS="140"), redirect_stdout(out), redirect_stderr(err):
        code = main(command)
    return subprocess.CompletedProcess(command, code, out.getvalue(), err.getvalue())


def client_of(directory: Path | str) -> MlflowClient:
    """Return a client of the store that the command creates in its directory, or of a server."""
    return MlflowClient(directory if isinstance(directory, str) else f"sqlite:///{directory / 'mlflow.db'}")


def runs_of(directory: Path | str, kind: str = "trial") -> list[Any]:
    """Return MLflow's runs of a kind, by name."""
    client = client_of(directory)
    ids = [experiment.experiment_id for experiment in client.search_experiments()]
    found = client.search_runs(ids, f"tags.`signal_miner.kind` = '{kind}'", max_results=1000)
    return sorted(found, key=lambda run: run.info.run_name)


def artifact(directory: Path | str, run: Any, name: str) -> pd.DataFrame:
    """Return a run's parquet artifact."""
    if isinstance(directory, str):
        with tempfile.TemporaryDirectory() as place:
            return pd.read_parquet(client_of(directory).download_artifacts(run.info.run_id, name, place))
    uri = run.info.artifact_uri.removeprefix("file://")
    return pd.read_parquet(directory / uri / name)


def outcome(directory: Path | str) -> dict[tuple[tuple[str, str], ...], tuple[Any, ...]]:
    """Return a study's results by configuration: metrics except times, tags, and exact predictions."""
    study = {}
    for run in runs_of(directory):
        # Which trials were leaders, and have further scores, depends on how often the study came to an end.
        further = ("train_seconds", "/fnc", "/feature_exposure")
        metrics = {name: value for name, value in run.data.metrics.items() if not name.endswith(further)}
        predictions = artifact(directory, run, "predictions.parquet")
        tags = {name: value for name, value in run.data.tags.items() if name.startswith(("beats", "signal_miner.t"))}
        key = tuple(sorted(run.data.params.items()))
        assert key not in study, f"{run.info.run_name} appears twice"
        study[key] = (run.info.run_name, run.info.status, metrics, tags, predictions.to_csv())
    return study
