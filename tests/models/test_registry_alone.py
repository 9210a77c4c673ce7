"""A registered model works where the project is not: in fresh processes, from the command line, from a server."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest
from mlflow import MlflowClient

from signal_miner.models.registry import CHAMPION, ModelVersion, Registry
from signal_miner.models.registry.package import ModelRecord
from tests.helpers.registry import BENCHMARK, live, make_record, predict_pkl
from tests.helpers.tracking_server import tracking_server

ALONE = """
import sys
import pandas as pd
try:
    import signal_miner
except ModuleNotFoundError:
    pass
else:
    sys.exit("signal_miner can be imported here")
import mlflow
model = mlflow.pyfunc.load_model("models:/signal-miner@champion")
model.predict(pd.read_pickle(sys.argv[1])).to_pickle(sys.argv[2])
"""


def run_alone(directory: Path, tracking_uri: str, *command: str) -> subprocess.CompletedProcess[str]:
    """Run a command in an empty directory, out of reach of the project."""
    directory.mkdir()
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("MLFLOW_", "PYTHON"))}
    return subprocess.run(
        command,
        cwd=directory,
        env=kept | {"MLFLOW_TRACKING_URI": tracking_uri},
        capture_output=True,
        text=True,
        check=False,
        timeout=200,
    )


def check_alone(record: ModelRecord, tracking_uri: str, directory: Path) -> None:
    """Load the champion in a fresh process without the project, and compare with predict.pkl."""
    frame = live(50, seed=5)
    frame.to_pickle(directory / "live.pkl")
    files = (str(directory / "live.pkl"), str(directory / "predicted.pkl"))
    done = run_alone(directory / "alone", tracking_uri, sys.executable, "-I", "-c", ALONE, *files)
    assert done.returncode == 0, done.stderr
    assert "type hint" not in done.stderr.lower()
    pd.testing.assert_frame_equal(pd.read_pickle(files[1]), predict_pkl(record, frame))


@pytest.mark.slow
def test_mlflow_predicts_from_the_command_line(empty_store, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    store = f"sqlite:///{shutil.copy(empty_store, tmp_path)}"
    registry = Registry(store)
    record = make_record(tmp_path / "made", store)
    registry.register(record)
    loaded = registry.load("signal-miner", "1", tmp_path / "loaded")
    example = loaded.predict_file.parents[1] / "serving_input_example.json"
    arguments = ["-m", "models:/signal-miner/1", "-i", str(example), "-t", "json", "--env-manager", "local"]
    command = [sys.executable, "-I", "-m", "mlflow", "models", "predict", *arguments]
    done = run_alone(tmp_path / "alone", store, *command)
    assert done.returncode == 0, done.stderr
    answered = [row["prediction"] for row in json.loads(done.stdout)["predictions"]]
    assert answered == predict_pkl(record, record.example)["prediction"].tolist()


@pytest.fixture
def server(empty_store: Path, tmp_path: Path) -> Iterator[str]:
    """A tracking server with artifacts of its own."""
    place = tmp_path / "server"
    place.mkdir()
    shutil.copy(empty_store, place)
    with tracking_server(place) as running:
        yield running.address


@pytest.mark.slow
def test_a_tracking_server_serves_the_model(server, tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    registry = Registry(server)
    record = make_record(tmp_path / "made", server, BENCHMARK)
    version = registry.register(record)
    registry.promote("signal-miner", version.version)
    loaded = registry.load("signal-miner", CHAMPION, tmp_path / "loaded")
    assert capfd.readouterr() == ("", "")
    assert not (tmp_path / "mlflow.db").exists()
    assert isinstance(version, ModelVersion)
    frame = live(30)
    pd.testing.assert_frame_equal(loaded.predict(frame), predict_pkl(record, frame))
    client = MlflowClient(server)
    (model,) = client.search_logged_models([record.needs.experiment_id])
    assert model.artifact_location.startswith("mlflow-artifacts:/")
    assert json.loads(model.tags["mlflow.modelVersions"]) == [{"name": "signal-miner", "version": 1}]
    assert {metric.key: metric.value for metric in model.metrics} == record.metrics
    assert [len(client.get_metric_history(record.run_id, name)) for name in record.metrics] == [1, 1]
    check_alone(record, server, tmp_path)
