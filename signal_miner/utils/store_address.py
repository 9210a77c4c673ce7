"""Addresses of stores: SQLAlchemy's for an SQLite database name a file, which depends on the working directory."""

from __future__ import annotations

import re
from pathlib import Path
from urllib.parse import unquote

_SQLITE = re.compile(r"(sqlite(?:\+\w+)?:///)([^?]*)(.*)", re.DOTALL)
_PORTS = {"postgresql": 5432, "mysql": 3306, "mariadb": 3306, "mssql": 1433}


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


def same_database(first: str, second: str) -> bool:
    """Return whether two addresses of SQLAlchemy mean one database, however they are spelled; users do not count."""
    paths = [sqlite_path(address) for address in (first, second)]
    if None not in paths:
        one, other = (Path(path).resolve() for path in paths if path is not None)
        return one == other or (one.exists() and other.exists() and one.samefile(other))
    from sqlalchemy.engine import make_url  # a third of a second, which commands that only look do not need
    from sqlalchemy.exc import ArgumentError

    try:
        urls = [make_url(address) for address in (first, second)]
    except ArgumentError:
        return False
    one_server, another = (
        (url.get_backend_name(), url.host, url.port or _PORTS.get(url.get_backend_name()), url.database, url.query)
        for url in urls
    )
    return one_server == another and urls[0].host is not None
