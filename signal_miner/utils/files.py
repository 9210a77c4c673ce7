"""Whether a file is there, atomic writes, and temporary directories."""

from __future__ import annotations

import os
import secrets
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from signal_miner.errors import UserError
from signal_miner.utils.formatting import shortened
from signal_miner.utils.redaction import reason_of_system

UNFINISHED = ".part"
"""Ends the names of files that are not written whole yet."""

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
    if os.path.lexists(path):
        link = path.is_symlink() and not path.exists()
        raise UserError(f"{path} is {'a link to nothing' if link else 'no file'}; replace or remove it")
    return False


@contextmanager
def temporary_directory() -> Iterator[Path]:
    """Yield a directory that is deleted after use; on Windows a file that is still open may remain."""
    with tempfile.TemporaryDirectory(prefix="signal-miner-", ignore_cleanup_errors=True) as directory:
        yield Path(directory)


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
