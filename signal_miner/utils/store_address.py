"""Addresses of stores: SQLAlchemy's for an SQLite database name a file, which depends on the working directory."""

from __future__ import annotations

import re
from pathlib import Path

_SQLITE = re.compile(r"(sqlite(?:\+\w+)?:///)([^?]*)(.*)", re.DOTALL)


def sqlite_path(address: str) -> Path | None:
    """Return the file of an SQLite database; None for any other store, and for a database in memory."""
    sqlite = _SQLITE.fullmatch(address)
    return None if sqlite is None or sqlite[2] in ("", ":memory:") else Path(sqlite[2])


def absolute_address(address: str) -> str:
    """Return a store's address; of an SQLite database below the working directory, with its whole path.

    A notebook may change its directory, and the database is not in the new one.

    Examples
    --------
    >>> absolute_address("postgresql://host/studies")
    'postgresql://host/studies'
    """
    path = sqlite_path(address)
    if path is None or path.is_absolute():
        return address
    return _SQLITE.sub(lambda sqlite: f"{sqlite[1]}{path.absolute().as_posix()}{sqlite[3]}", address)
