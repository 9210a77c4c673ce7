"""Addresses of stores that mean the same wherever a process stands."""

from __future__ import annotations

import re
from pathlib import Path

_SQLITE = re.compile(r"(sqlite(?:\+\w+)?:///)([^?]*)(.*)", re.DOTALL)


def absolute(address: str) -> str:
    """Return a store's address; of an SQLite database below the working directory, with its whole path.

    A notebook may change its directory, and the database is not in the new one.

    Examples
    --------
    >>> absolute("postgresql://host/studies")
    'postgresql://host/studies'
    """
    sqlite = _SQLITE.fullmatch(address)
    if sqlite is None or sqlite[2] in ("", ":memory:") or Path(sqlite[2]).is_absolute():
        return address
    return f"{sqlite[1]}{Path(sqlite[2]).absolute().as_posix()}{sqlite[3]}"
