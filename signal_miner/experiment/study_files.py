"""Where a study's files lie on this machine, and the lock that keeps a second process off them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from signal_miner.errors import UserError
from signal_miner.utils.redaction import without_passwords

STUDY_STORAGE = "studies"
"""Directory of studies where an experiment names none, below the working directory."""


def study_directory(storage: str) -> Path:
    """Return the directory of a study's files on this machine; where its storage is an address, the usual one."""
    return Path(STUDY_STORAGE) if "://" in storage else Path(storage)


@contextmanager
def sole_process(storage: str, name: str, taken: str) -> Iterator[None]:
    """Keep a second process off what a study's lock stands for; the system frees the lock of a killed process.

    Parameters
    ----------
    storage : str
        The study's.
    name : str
        Of the lock's file, in `study_directory`.
    taken : str
        What is told where another process holds it.

    Raises
    ------
    UserError
        If another process holds it, or the directory cannot be written.
    """
    directory = study_directory(storage)
    try:
        directory.mkdir(parents=True, exist_ok=True)
        held = FileLock(directory / name, timeout=0).acquire()
    except Timeout as error:
        raise UserError(taken) from error
    except OSError as error:
        raise UserError(
            f"study_storage = {without_passwords(storage)!r} cannot be written ({error.strerror}); name another"
        ) from error
    with held:
        yield


def taken(study: str) -> str:
    """Return what a person is told where another process mines the study."""
    return (
        f"study {study} is being mined by another process; wait for it, or stop it with mlflow run . -e stop "
        f"--env-manager local -P study={study}"
    )
