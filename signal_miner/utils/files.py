"""Files that are never seen in part, and directories that go away after use."""

from __future__ import annotations

import os
import secrets
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from signal_miner.errors import UserError
from signal_miner.utils.redaction import reason_of_system


@contextmanager
def temporary_directory() -> Iterator[Path]:
    """Give a directory that goes away after use; on Windows a file in it that is still open may outlive it."""
    with tempfile.TemporaryDirectory(prefix="signal-miner-", ignore_cleanup_errors=True) as directory:
        yield Path(directory)


def write_whole(path: Path, body: bytes) -> None:
    """Write a file so that it is never seen in part, whoever writes it at the same time.

    Parameters
    ----------
    path : Path
        Replaced where it exists; its directory is made.
    body : bytes
        All of it.

    Raises
    ------
    UserError
        If the disk does not take it.
    """
    part = path.with_name(f".{path.name}.{secrets.token_hex(4)}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with part.open("wb") as file:
            file.write(body)
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    except OSError as error:
        raise UserError(
            f"{path} cannot be written ({reason_of_system(error)}); choose another place, or make room"
        ) from None
    finally:
        with suppress(OSError):  # there may be no such directory
            part.unlink(missing_ok=True)
