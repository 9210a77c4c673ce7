"""Passwords taken out of what is shown, logged or kept."""

from __future__ import annotations

import re

_USER = re.compile(r"(://)[^/@\s\"']+@")
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
