"""A study's files on this machine, and the lock that keeps a second process off them."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from signal_miner.errors import UserError
from signal_miner.utils.next_command import next_command
from signal_miner.utils.redaction import without_passwords
from signal_miner.utils.store_address import same_database

STUDY_STORAGE = "studies"
"""Default directory of the studies, below the working directory."""

DEFAULT_TRACKING = "sqlite:///mlflow.db"
"""MLflow's own choice of a tracking store."""


def study_directory(storage: str) -> Path:
    """Return the directory of a study's files on this machine; the default one if its storage is a URL."""
    return Path(STUDY_STORAGE) if "://" in storage else Path(storage)


@contextmanager
def sole_process(storage: str, name: str, lock_message: str) -> Iterator[None]:
    """Hold a lock file of this name beside a study's files; the system frees the lock of a killed process.

    Raises
    ------
    UserError
        With `lock_message` if another process holds it; or if the directory cannot be written.
    """
    directory = study_directory(storage)
    try:
        directory.mkdir(parents=True, exist_ok=True)
        held = FileLock(directory / name, timeout=0).acquire()
    except Timeout as error:
        raise UserError(lock_message) from error
    except OSError as error:
        raise UserError(
            f"study_storage = {without_passwords(storage)!r} cannot be written ({error.strerror}); name another"
        ) from error
    with held:
        yield


def lock_message(study: str, storage: str) -> str:
    """Return the error for a study that another process of this folder is mining."""
    return (
        f"study {study} is being mined by another process; wait for it, or stop it with {stop_command(study, storage)}"
    )


def stop_command(study: str, storage: str) -> str:
    """Return the command that stops a study's miner in the folder that it was started in."""
    elsewhere = None if study_directory(storage) == Path(STUDY_STORAGE) else storage
    return next_command("stop", study=study, study_storage=elsewhere)


def refuse_shared_database(study_storage: str, tracking_uri: str | None) -> None:
    """Raise `UserError` where one database is to hold Optuna's study and MLflow's runs.

    Both keep the version of their tables in a table of the same name, so that neither can open what the other made.
    """
    tracking = tracking_uri or os.environ.get("MLFLOW_TRACKING_URI") or DEFAULT_TRACKING
    if "://" in study_storage and same_database(study_storage, tracking):
        raise UserError(
            f"study_storage = {without_passwords(study_storage)!r} is the tracking store, and a database holds one of "
            f"both; leave study_storage out ({STUDY_STORAGE!r}), or name another database"
        )
