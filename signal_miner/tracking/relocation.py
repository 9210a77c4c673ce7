"""A local store that was moved, copied or mounted elsewhere: its artifacts are beside it, its records are out of date.

MLflow records the absolute location of each experiment's and each run's artifacts. In a folder that was renamed, or
that a container mounts under another path, it would find none of them, and create the old path again for new ones.
"""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import url2pathname

from mlflow.tracking._tracking_service.utils import _artifact_repos_cache

_LOG = logging.getLogger(__name__)
_SECONDS_FOR_THE_LOCK = 5.0
_IN_RUNS = (
    ("runs", "run_uuid", "artifact_uri", "experiment_id = ?"),
    ("logged_models", "model_id", "artifact_location", "experiment_id = ?"),
)
"""Tables whose locations are below the experiment's: key, location, and which rows are an experiment's."""

_IN_VERSIONS = ("source", "storage_location")  # of model versions, which know no experiment


def local_path(uri: str) -> Path | None:
    """Return the path of a location on this machine; None for any other."""
    if uri.startswith("file:"):
        return Path(url2pathname(urlsplit(uri).path))
    return None if not uri or ":/" in uri else Path(uri)  # in a plain path # and ? are part of it


def beside(store: Path, location: Path) -> Path:
    """Return where a location is if its folder was moved together with the store.

    For ``/old/mlruns/1`` that is ``mlruns/1`` in the store's folder, or ``old/mlruns/1`` there if that alone exists.
    """
    candidates = [store.parent.joinpath(*location.parts[-length:]) for length in range(2, len(location.parts))]
    return next((path for path in candidates if path.is_dir()), store.parent.joinpath(*location.parts[-2:]))


def here(store: Path | None, location: Path) -> Path:
    """Return where a run's artifacts are, or are to be written, which are recorded at ``…/mlruns/1/<run>/artifacts``.

    A container and its host correct the locations in a store that they share in turn, even while the other uses it.

    Parameters
    ----------
    store : Path or None
        The database of a local store.
    """
    if store is None or location.exists():
        return location
    folder = location.parents[1]
    moved = beside(store, folder)
    run = moved / location.relative_to(folder)
    is_moved = moved.is_dir() or not folder.parents[1].exists()
    return run if run.exists() or (is_moved and not folder.exists()) else location


def relocate(store: Path) -> bool:
    """Correct the locations in a local store whose artifacts were moved or copied together with it.

    A location is corrected where the artifacts are beside the store and no longer at the recorded location, or where
    the store is a copy with artifacts of its own. What exists at the recorded location only is left as it is.

    Parameters
    ----------
    store : Path
        SQLite database of MLflow's current schema.

    Returns
    -------
    bool
        False if the store cannot be written, so that it is left as it is.
    """
    store = store.absolute()
    try:
        with closing(sqlite3.connect(store, timeout=_SECONDS_FOR_THE_LOCK)) as connection:
            moved = dict(_moved(store, connection))
            if not moved:
                return True
            with connection:
                connection.execute("BEGIN IMMEDIATE")
                for experiment, (old, new) in moved.items():
                    _correct(connection, experiment, old, new)
    except sqlite3.Error:
        return False
    _artifact_repos_cache.clear()  # MLflow remembers locations by run id, and a copy's runs have the same
    for old, new in dict.fromkeys((old.parent, new.parent) for old, new in moved.values()):
        _LOG.warning("%s: artifacts were moved from %s to %s; their locations are corrected", store.name, old, new)
    return True


def _moved(store: Path, connection: sqlite3.Connection) -> Iterator[tuple[int, tuple[Path, Path]]]:
    """Yield the experiments whose artifacts were moved or copied with the store: id, recorded and actual location."""
    for experiment, uri in connection.execute("SELECT experiment_id, artifact_location FROM experiments").fetchall():
        old = local_path(uri or "")
        if old is None or not old.is_absolute():
            continue
        new = beside(store, old)
        if new == old or (old.exists() and (not new.exists() or old.samefile(new))):
            continue
        query = "SELECT run_uuid, status FROM runs WHERE experiment_id = ?"
        runs = connection.execute(query, (experiment,)).fetchall()
        own = any((new / run).is_dir() for run, _ in runs)
        # Nothing tracked can be lost: else a missing folder may be a disk that is not mounted.
        is_new = not old.parents[1].exists() and all(status != "FINISHED" for _, status in runs)
        if own or is_new:
            yield experiment, (old, new)


def _correct(connection: sqlite3.Connection, experiment: int, old: Path, new: Path) -> None:
    (uri,) = connection.execute(
        "SELECT artifact_location FROM experiments WHERE experiment_id = ?", (experiment,)
    ).fetchone()
    location = as_written(new, uri)
    connection.execute("UPDATE experiments SET artifact_location = ? WHERE experiment_id = ?", (location, experiment))
    for table, key, column, condition in _IN_RUNS:
        rows = connection.execute(f"SELECT {key}, {column} FROM {table} WHERE {condition}", (experiment,)).fetchall()
        changed = [(there, name) for name, uri in rows if (there := _corrected(uri, old, new))]
        connection.executemany(f"UPDATE {table} SET {column} = ? WHERE {key} = ?", changed)
    for column in _IN_VERSIONS:
        rows = connection.execute(f"SELECT DISTINCT {column} FROM model_versions").fetchall()
        changed = [(there, uri) for (uri,) in rows if (there := _corrected(uri, old, new))]
        connection.executemany(f"UPDATE model_versions SET {column} = ? WHERE {column} = ?", changed)


def _corrected(uri: str | None, old: Path, new: Path) -> str | None:
    """Return the location below `new`; None for one that is not below `old`, or exists there only."""
    path = local_path(uri or "")
    if path is None or not path.is_relative_to(old):
        return None
    there = new / path.relative_to(old)
    return as_written(there, str(uri)) if there.exists() or not path.exists() else None


def as_written(path: Path, uri: str) -> str:
    """Return a path in the form of a recorded location: as a plain path or a ``file:`` address."""
    return path.as_uri() if uri.startswith("file:") else str(path)
