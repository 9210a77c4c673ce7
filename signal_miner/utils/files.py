"""Whether a file is there, its checksum, atomic writes, and temporary directories."""

from __future__ import annotations

import hashlib
import os
import secrets
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import BinaryIO

from filelock import FileLock, Timeout

from signal_miner.errors import UserError
from signal_miner.utils.formatting import shortened
from signal_miner.utils.redaction import reason_of_system

UNFINISHED = ".part"
"""Ends the names of files that are not written whole yet."""

_TEMPORARY, _LOCK = "signal-miner-", "lock"
"""Beginning of the names of temporary directories, and the file in each that its process has locked."""

_LONGEST_SHOWN = 200  # characters of a path


def file_exists(path: Path) -> bool:
    """Return whether there is a file at a path.

    Raises
    ------
    UserError
        If something else is there, such as a directory or a link to nothing: it must not count as absent.
    """
    try:
        if path.is_file():
            return True
    except OSError as error:
        name = shortened(str(path), _LONGEST_SHOWN)
        raise UserError(f"{name} cannot be read ({reason_of_system(error)}); permit it or name another") from error
    if path.is_symlink() or path.exists():
        found = "is a link to nothing" if path.is_symlink() and not path.exists() else "is no file"
        raise UserError(f"{path} {found}; replace or remove it")
    return False


def sha256_of(path: Path) -> str:
    """Return the SHA-256 of a file as 64 hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextmanager
def temporary_directory(parent: Path | None = None) -> Iterator[Path]:
    """Yield a directory that is deleted after use; those that killed processes left are deleted, too.

    A lock beside it, which the system frees however its process ends, shows which are in use.

    Parameters
    ----------
    parent : Path, optional
        Where to create it; the system's directory of temporary files if not given.
    """
    place = Path(tempfile.gettempdir()) if parent is None else parent
    remove_abandoned(place)
    prefix = _TEMPORARY if parent is None else f".{_TEMPORARY}"
    while True:
        root = Path(tempfile.mkdtemp(prefix=prefix, dir=place))
        lock = FileLock(root / _LOCK)
        try:
            lock.acquire(timeout=0)
            break
        except Timeout:  # another process took it for one without an owner, and deletes it
            continue
    try:
        (root / "files").mkdir()
        yield root / "files"
    finally:
        lock.release()
        shutil.rmtree(root, ignore_errors=True)  # on Windows a file that is still open may remain


@cache
def remove_abandoned(place: Path) -> None:
    """Delete, once a process, the temporary directories that killed processes of this user left in a place."""
    with suppress(OSError):
        for root in (path for prefix in (_TEMPORARY, f".{_TEMPORARY}") for path in place.glob(f"{prefix}*")):
            own = not hasattr(os, "getuid") or root.lstat().st_uid == os.getuid()
            if own and not root.is_symlink() and (root / _LOCK).is_file():
                with suppress(OSError, Timeout):
                    with FileLock(root / _LOCK, timeout=0):
                        shutil.rmtree(root, ignore_errors=True)
                    shutil.rmtree(root, ignore_errors=True)  # the lock itself, on Windows


@contextmanager
def alone(lock_file: Path, on_wait: Callable[[], None]) -> Iterator[None]:
    """Wait until no other process holds a lock, and hold it; a process that is killed leaves none behind.

    Parameters
    ----------
    lock_file : Path
        Its directory is made.
    on_wait : callable
        Called where another process holds it.

    Raises
    ------
    UserError
        If the directory cannot be used.
    """
    lock = FileLock(lock_file)
    try:
        lock_file.parent.mkdir(parents=True, exist_ok=True)
        try:
            lock.acquire(timeout=0)
        except Timeout:
            on_wait()
            lock.acquire()
    except OSError as error:
        reason = reason_of_system(error)
        raise UserError(f"directory {str(lock_file.parent)!r} can't be used ({reason}); choose another") from None
    try:
        yield
    finally:
        lock.release()


@contextmanager
def writing_whole(path: Path) -> Iterator[BinaryIO]:
    """Yield a file that takes its place once the block ends without an error, also with concurrent writers.

    Creates its directory. A process that is killed leaves what it wrote as a file whose name ends in `UNFINISHED`.

    Raises
    ------
    UserError
        If the file cannot be written.
    """
    part = path.with_name(f".{path.name}.{secrets.token_hex(4)}{UNFINISHED}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with part.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    except OSError as error:
        raise UserError(
            f"{path} cannot be written ({reason_of_system(error)}); choose another place, or free disk space"
        ) from None
    finally:
        with suppress(OSError):  # its directory may not exist
            part.unlink(missing_ok=True)


def write_whole(path: Path, body: bytes) -> None:
    """Write or replace a file atomically, also with concurrent writers, and create its directory.

    Raises
    ------
    UserError
        If the file cannot be written.
    """
    with writing_whole(path) as file:
        file.write(body)
