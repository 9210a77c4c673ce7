"""Removes passwords from what is shown, logged or stored."""

from __future__ import annotations

import re
from copy import deepcopy
from dataclasses import dataclass, replace
from typing import Any, Self

_USER = re.compile(r"(://)[^\s\"'/:]*(?::[^\s\"]*)?@")  # a user's name may hold @, a password / too
_PASSWORD = re.compile(
    r"(?i)((?:[?&;\s]|%3B|%3D)[a-z_]*(?:password|passwd|pwd|token|secret|api_?key)(?:=|%3D))[^&;%\s\"']+"
)

HIDDEN = "***"
"""Replaces a user and a password."""


def without_passwords(text: str) -> str:
    """Return a text with ``***`` for the users and passwords in its addresses.

    Examples
    --------
    >>> without_passwords("postgresql://me:secret@host/studies?password=secret")
    'postgresql://***@host/studies?password=***'
    """
    return _PASSWORD.sub(rf"\1{HIDDEN}", _USER.sub(rf"\1{HIDDEN}@", text))


def reason_of(error: BaseException) -> str:
    """Return an error's first line without passwords, or its type if it has no message."""
    lines = str(error).strip().splitlines()
    return without_passwords(lines[0] if lines else type(error).__name__)


def reason_of_system(error: OSError) -> str:
    """Return the system's message without the path, such as ``No space left on device``, or the error's type."""
    return error.strerror or type(error).__name__


@dataclass(frozen=True, eq=False, repr=False)
class KeptWithoutPasswords:
    """A dataclass pickled without passwords; a store's address that contained one has to be given again."""

    def __getstate__(self) -> dict[str, Any]:
        state = {
            key: without_passwords(value) if isinstance(value, str) else value for key, value in vars(self).items()
        }
        if state["tracking_uri"] != vars(self)["tracking_uri"]:
            state["tracking_uri"] = None  # MLflow's own choice, which may know the password
        return state

    def __copy__(self) -> Self:  # a copy stays in this process, so it keeps the passwords
        return replace(self)

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        return replace(self, **deepcopy(vars(self), memo))
