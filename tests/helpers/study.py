"""Helpers for the tests of ensembles and later steps: finished studies to copy, and commands run on them."""

from __future__ import annotations

import json
import shutil
import sqlite3
from contextlib import chdir, closing
from pathlib import Path
from typing import Any

from mlflow.tracking._tracking_service.utils import _artifact_repos_cache

from signal_miner.__main__ import main
from tests.helpers.mining import runs_of


def command(directory: Path, *arguments: str) -> int:
    """Run a command in this process, in the given directory."""
    with chdir(directory):
        return main(arguments)


LOCATIONS = (
    ("runs", "artifact_uri"),
    ("experiments", "artifact_location"),
    ("logged_models", "artifact_location"),
    ("model_versions", "source"),
    ("model_versions", "storage_location"),
)


def copy_study(study: Path, target: Path) -> Path:
    """Copy a study and its store, rewriting the artifact paths."""
    _artifact_repos_cache.clear()  # MLflow caches artifact paths by run id, and copies share the ids
    shutil.copytree(study, target)
    with closing(sqlite3.connect(target / "mlflow.db")) as store, store:
        for table, column in LOCATIONS:
            store.execute(f"update {table} set {column} = replace({column}, ?, ?)", (str(study), str(target)))
    return target


def newest_ensemble(directory: Path) -> Any:
    return max(runs_of(directory, "ensemble"), key=lambda run: run.info.start_time)


def artifact_path(directory: Path, run: Any, name: str) -> Path:
    return directory / run.info.artifact_uri.removeprefix("file://") / name


def members_of(directory: Path, run: Any) -> list[dict[str, Any]]:
    members: list[dict[str, Any]] = json.loads(artifact_path(directory, run, "ensemble.json").read_text())["members"]
    return members


def predict_file(directory: Path) -> Path:
    """Return the predict.pkl of the newest registered version."""
    found = sorted(directory.rglob("predict.pkl"), key=lambda path: path.stat().st_mtime)
    assert found
    return found[-1]
