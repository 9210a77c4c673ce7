"""A store with a registered version for all tests, copied for each."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from mlflow import MlflowClient

from tests.helpers.live_rounds import register_version


@pytest.fixture(scope="session")
def registered(tmp_path_factory: pytest.TempPathFactory, empty_store: Path) -> tuple[Path, str]:
    """A folder with a database and its artifacts, and the run of the version in it."""
    folder = tmp_path_factory.mktemp("registered")
    shutil.copy(empty_store, folder / "mlflow.db")
    store = f"sqlite:///{folder}/mlflow.db"
    MlflowClient(store).create_experiment("tiny", artifact_location=(folder / "mlruns" / "1").as_uri())
    return folder, register_version(store, tmp_path_factory.mktemp("model"))


@pytest.fixture
def run_id(registered: tuple[Path, str]) -> str:
    return registered[1]


@pytest.fixture
def own_store(registered: tuple[Path, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A copy for this test alone; the working directory is another one."""
    shutil.copytree(registered[0], tmp_path / "store")
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    return f"sqlite:///{tmp_path}/store/mlflow.db"
