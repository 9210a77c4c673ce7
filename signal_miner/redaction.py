"""Passwords taken out of what is shown, logged or kept."""

from __future__ import annotations

import re

_USER = re.compile(r"(://)[^\s\"'/:]*(?::[^\s\"]*)?@")  # a user's name may hold @, a password / too
_PASSWORD = re.compile(
    r"(?i)((?:[?&;\s]|%3B|%3D)[a-z_]*(?:password|passwd|pwd|token|secret|api_?key)(?:=|%3D))[^&;%\s\"']+"
)

HIDDEN = "***"
"""What stands in the place of a user and a password."""


def without_passwords(text: str) -> str:
    """Return a text whose addresses have lost user and password.

    Parameters
    ----------
    text : str
        An address, a message or a whole file.

    Returns
    -------
    str
        With ``***`` in their place.

    Examples
    --------
    >>> without_passwords("postgresql://me:secret@host/studies?password=secret")
    'postgresql://***@host/studies?password=***'
    """
    return _PASSWORD.sub(rf"\1{HIDDEN}", _USER.sub(rf"\1{HIDDEN}@", text))


def reason_of(error: BaseException) -> str:
    """Return what an error says, in one line and without passwords; its type where it says nothing."""
    lines = str(error).strip().splitlines()
    return without_passwords(lines[0] if lines else type(error).__name__)


def reason_of_system(error: OSError) -> str:
    """Return what the system says, such as ``No space left on device``, without the path; its type if nothing."""
    return error.strerror or type(error).__name__
