"""MLflow's local store, an SQLite database: created whole, and opened only where MLflow can read it as it is."""

from __future__ import annotations

import errno
import re
import shlex
import sqlite3
from contextlib import closing
from pathlib import Path

from alembic.util import CommandError
from filelock import FileLock
from mlflow import MlflowClient

from signal_miner.errors import StoreError, UserError
from signal_miner.utils.files import file_exists, temporary_directory
from signal_miner.utils.redaction import reason_of_system
from signal_miner.utils.store_address import sqlite_address

_SECONDS_FOR_THE_LOCK = 5.0


def create(path: Path) -> None:
    """Create an empty store.

    MLflow creates one in some fifty steps over two seconds. A process killed in between leaves one that no later
    process can open, and two processes that create it at once break each other's. So it is created under another name
    and then renamed.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    # MLflow keeps its connection open, which Windows does not delete: the directory may outlive us there.
    with temporary_directory(path.parent) as scratch:
        made, whole = scratch / "made.db", scratch / "whole.db"
        MlflowClient(sqlite_address(made)).search_experiments(max_results=1)
        with closing(sqlite3.connect(made)) as source, closing(sqlite3.connect(whole)) as target:
            source.backup(target)
        with FileLock(path.with_name(f".{path.name}.lock")):
            if is_absent(path):  # or another process was faster
                whole.replace(path)


def is_absent(path: Path) -> bool:
    """Return whether there is no store yet: no file, or an empty one, such as `touch` leaves.

    Raises
    ------
    UserError
        If it is a link to nothing, such as to a disk that is not mounted.
    """
    return not path.is_dir() and (not file_exists(path) or not path.stat().st_size)


def check(path: Path) -> None:
    """Refuse a database that MLflow would not open, or would upgrade unasked and without a backup.

    Raises
    ------
    UserError
        If it is no database, another program's, of another MLflow's schema, or was not created to its end.
    StoreError
        If it is locked by another process.
    """
    if path.is_dir():
        raise UserError(f"the tracking store {path} is a directory; set tracking_uri to a file or a server")
    try:
        # Not read-only: that could not roll back what a killed process left of a transaction, and fail.
        with closing(
            sqlite3.connect(path.absolute().as_uri() + "?mode=rw", timeout=_SECONDS_FOR_THE_LOCK, uri=True)
        ) as store:
            tables = {name for (name,) in store.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
            revisions = (
                [text for (text,) in store.execute("SELECT version_num FROM alembic_version")]
                if ("alembic_version" in tables)
                else []
            )
            runs = store.execute("SELECT count(*) FROM runs").fetchone()[0] if "runs" in tables else 0
    except sqlite3.OperationalError as error:
        if is_locked(error):
            raise StoreError(locked(f"tracking store {path}")) from error
        raise
    except sqlite3.DatabaseError as error:
        raise UserError(
            f"the tracking store {path} is not an SQLite database; restore it from a backup, or set tracking_uri to "
            "another file"
        ) from error
    if tables and "experiments" not in tables and not _is_known(revisions):
        shown = ", ".join(sorted(tables - {"alembic_version"})[:3])
        raise UserError(
            f"{path} is a database of another program (tables {shown}, …); set tracking_uri to a file of its own"
        )
    if revisions == [newest_revision()]:
        return
    if not runs:
        raise UserError(
            f"the tracking store {path} was not created to its end and holds no run; delete it and rerun the command"
        )
    if not _is_known(revisions):
        raise UserError(f"the tracking store {path} was made by a newer MLflow; install that version to open it")
    raise UserError(outdated(sqlite_address(path), str(path)))


def is_locked(error: BaseException) -> bool:
    """Return whether SQLite's error says that another process holds the database."""
    return "database is locked" in str(error) or "database table is locked" in str(error)


def locked(store: str) -> str:
    """Return the message on a store, such as ``tracking store mlflow.db``, that another process holds."""
    return f"the {store} is locked by another process; try again once that has finished"


def full_disk(error: BaseException) -> str:
    """Return what an error says of a full disk, a quota or a limit of a file's size; empty if it is another."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, OSError) and cause.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            return reason_of_system(cause)
        cause = cause.__cause__ or cause.__context__
    found = re.search("database or disk is full|disk I/O error|No space left on device|File too large", str(error))
    return found[0] if found else ""


def outdated(address: str, store: str) -> str:
    """Return the message on a store of an older MLflow; `address` without a password."""
    return (
        f"the tracking store {store} was made by an older MLflow; back it up, then run "
        f"`mlflow db upgrade {shlex.quote(address)}`"
    )


def newest_revision() -> str:
    """Return the revision of the schema that the installed MLflow reads."""
    from mlflow.store.db.utils import _get_latest_schema_revision

    return str(_get_latest_schema_revision())  # type: ignore[no-untyped-call]


def _is_known(revisions: list[str]) -> bool:
    """Return whether the installed MLflow knows how to upgrade from a database's revision."""
    from alembic.script import ScriptDirectory
    from mlflow.store.db.utils import _get_alembic_config

    script = ScriptDirectory.from_config(_get_alembic_config(db_url=""))  # type: ignore[no-untyped-call]
    try:
        return bool(revisions) and all(script.get_revision(revision) is not None for revision in revisions)
    except CommandError:
        return False
