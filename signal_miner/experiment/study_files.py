"""A study's files on this machine, and the lock that keeps a second process off them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from signal_miner.errors import UserError
from signal_miner.utils.next_command import next_command
from signal_miner.utils.redaction import without_passwords

STUDY_STORAGE = "studies"
"""Default directory of the studies, below the working directory."""


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


def lock_message(study: str) -> str:
    """Return the error for a study that another process is mining."""
    return (
        f"study {study} is being mined by another process; wait for it, or stop it with "
        f"{next_command('stop', study=study)}"
    )
