"""Addresses of stores: SQLAlchemy's for an SQLite database name a file, which depends on the working directory."""

from __future__ import annotations

import re
from pathlib import Path
from urllib.parse import unquote

_SQLITE = re.compile(r"(sqlite(?:\+\w+)?:///)([^?]*)(.*)", re.DOTALL)


def sqlite_path(address: str) -> Path | None:
    """Return the file of an SQLite database; None for any other store, and for a database in memory."""
    sqlite = _SQLITE.fullmatch(address)
    return None if sqlite is None or sqlite[2] in ("", ":memory:") else Path(unquote(sqlite[2]))


def sqlite_address(path: Path) -> str:
    """Return the address of an SQLite database.

    Only what SQLAlchemy would read otherwise is quoted: MLflow creates the parent directory of an address as it is.

    Examples
    --------
    >>> sqlite_address(Path("100% mine.db"))
    'sqlite:///100%25 mine.db'
    """
    return "sqlite:///" + path.as_posix().replace("%", "%25").replace("?", "%3F")


def absolute_address(address: str) -> str:
    """Return a store's address; of an SQLite database with its whole path, quoted as `sqlite_address` does.

    A notebook may change its directory, and the database is not in the new one.

    Examples
    --------
    >>> absolute_address("postgresql://host/studies")
    'postgresql://host/studies'
    """
    path = sqlite_path(address)
    if path is None:
        return address
    whole = sqlite_address(path.absolute()).removeprefix("sqlite:///")
    return _SQLITE.sub(lambda sqlite: f"{sqlite[1]}{whole}{sqlite[3]}", address)
