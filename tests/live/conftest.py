"""A store with a registered version for all tests, copied for each."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from mlflow import MlflowClient

from signal_miner.ensemble.build import build_ensemble
from tests.conftest import write_numerai_directory
from tests.helpers.live_rounds import register_version
from tests.helpers.mining import mine_here, write_experiment
from tests.helpers.refresh import DATA, write_live
from tests.helpers.study import command, copy_study


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


@pytest.fixture(scope="session")
def registered_numerai_study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A study mined on a version of Numerai's data, with live data beside it, and a champion."""
    study = tmp_path_factory.mktemp("refreshed") / "study"
    write_live(write_numerai_directory(study / DATA))
    write_experiment(study, Path(DATA.name), trials=3)
    assert mine_here(study).returncode == 0
    build_ensemble(select="top", members=2, tracking_uri=f"sqlite:///{study}/mlflow.db")
    assert command(study, "register", "--promote", "always") == 0
    return study


@pytest.fixture
def numerai_study(registered_numerai_study: Path, tmp_path: Path) -> Path:
    return copy_study(registered_numerai_study, tmp_path / "study")
