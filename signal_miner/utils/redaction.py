"""Removes passwords from what is shown, logged or stored."""

from __future__ import annotations

import re
from copy import deepcopy
from dataclasses import dataclass, replace
from typing import Any, Self

_SCHEME = r"\b[a-z][\w+.-]*://"
# Between quotes, where a password may hold blanks and the other quote: all up to the last @.
_QUOTED_USER = re.compile(rf"""(?i)(?:(")({_SCHEME})(?:\\.|[^"\\\n])*@|(')({_SCHEME})[^'\n]*@)""")
# Elsewhere a user's name may hold @, a password / and quotes; one with blanks ends before the first @ and a host.
_USER = re.compile(
    r"(://)(?:[^\s\"'/:]*(?::[^\s\"]*)?@|[^\s\"'/:]*:(?!\d{1,5}(?:[/\s\"'),;?#]|$))(?:(?!://)[^\n])*?@(?=[\w.\[-]))"
)
_NAMES = r"[\w-]{0,40}(?:password|passwd|pwd|token|secret|(?:api|secret|access|private)_?key)"
_PASSWORD = re.compile(
    rf"""(?i)({_NAMES}["']?(?:\s*[=:]\s*|%3D)|[?&;](?:sig|[\w-]{{0,40}}signature|[\w-]{{0,40}}credential)=)"""
    r"""(?:(?P<quote>")(?:\\.|[^"\\\n])*"|(?P<mark>')[^'\n]*'|(?:[^&;%\s"']|%(?!3B|26))+)"""
)
_PASSWORD_IN_COMMENT = re.compile(rf"(?im)(^[^\"'\n]*#.*?\b{_NAMES}\s*[=:]\s*)\S.*$")
_AUTHORIZATION = re.compile(r"(?i)(\bauthorization[\"']?\s*[=:]\s*[\"']?(?:bearer|basic|token)\s+)[^\s\"']+")

HIDDEN = "***"
"""Replaces a user and a password."""


def without_passwords(text: str) -> str:
    """Return a text with ``***`` for users and passwords in addresses, and for what is assigned to names of secrets.

    In doubt it hides too much.

    Examples
    --------
    >>> without_passwords("postgresql://me:secret@host/studies?password=secret")
    'postgresql://***@host/studies?password=***'
    """
    text = _QUOTED_USER.sub(lambda match: "".join(filter(None, match.groups())) + f"{HIDDEN}@", text)
    text = _USER.sub(rf"\1{HIDDEN}@", text)
    text = _PASSWORD_IN_COMMENT.sub(rf"\1{HIDDEN}", text)
    text = _PASSWORD.sub(_assigned, text)
    return _AUTHORIZATION.sub(rf"\1{HIDDEN}", text)


def _assigned(match: re.Match[str]) -> str:
    quote = match["quote"] or match["mark"] or ""
    return f"{match[1]}{quote}{HIDDEN}{quote}"


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
