"""Passwords taken out of what is shown, logged or kept."""

from __future__ import annotations

import re

_USER = re.compile(r"(://)[^\s\"'@/:]*(?::[^\s\"]*)?@")  # a password may hold / and @
_PASSWORD = re.compile(r"(?i)([?&;\s](?:password|passwd|pwd|token|secret)=)[^&;\s\"']+")


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
    return _PASSWORD.sub(r"\1***", _USER.sub(r"\1***@", text))


def reason_of(error: BaseException) -> str:
    """Return what an error says, in one line and without passwords; its type where it says nothing."""
    lines = str(error).strip().splitlines()
    return without_passwords(lines[0] if lines else type(error).__name__)


def reason_of_system(error: OSError) -> str:
    """Return what the system says, such as ``No space left on device``, without the path; its type if nothing."""
    return error.strerror or type(error).__name__
