"""Rules for values given by a user, and how a value is quoted in an error."""

from __future__ import annotations

import math
import os
import reprlib
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from signal_miner.errors import UserError
from signal_miner.utils.redaction import without_passwords

Value = bool | int | float | str
"""One value of a parameter."""


LARGEST_AXIS = 1_000_000
"""Values that one axis may have."""


LARGEST_INTEGER = 10**9
"""Integers of a setting that has no nearer bound; what counts them holds 32 bits."""


_LARGEST_NUMBER = 1e30


class _Shown(reprlib.Repr):
    def __init__(self) -> None:
        super().__init__()
        self.maxstring = self.maxother = 200

    def repr_int(self, x: int, level: int) -> str:
        # Python writes no integer of more than 4300 digits, and nobody reads one of more than 40.
        return repr(x) if abs(x) < 10**40 else f"about {'-' * (x < 0)}1e{math.log10(abs(x)):.0f}"

    def repr_str(self, x: str, level: int) -> str:
        return super().repr_str(without_passwords(x), level)


_SHOWN = _Shown()


def shown(value: object) -> str:
    """Return a value as an error shows it: in one short line and without passwords, whatever it is or holds."""
    return " ".join(_SHOWN.repr(value).split())


def as_path(key: str, value: object, example: str) -> Path:
    """Return a path that a person gave, with ``~`` for the home directory.

    Raises
    ------
    UserError
        If it is none.
    """
    if not isinstance(value, str | os.PathLike) or "\0" in str(value):
        raise UserError(f"{key} = {shown(value)} is not a path; write one such as {example!r}")
    try:
        return Path(value).expanduser()
    except RuntimeError:
        raise UserError(
            f"{key} = {shown(value)} begins with no user's home directory; write it from the root"
        ) from None


@dataclass(frozen=True)
class Rule:
    """Type and range of a parameter.

    Attributes
    ----------
    kind : type
        `bool`, `int`, `float` or `str`.
    low, high : float
        Bounds.
    open_low : bool
        Whether `low` itself is excluded.
    choices : tuple of str
        For a `str`: what it may be; empty where anything may stand.
    """

    kind: type
    low: float = -math.inf
    high: float = math.inf
    open_low: bool = False
    choices: tuple[str, ...] = ()

    def describe(self) -> str:
        """Return the rule in words."""
        if self.kind is bool:
            return "true or false"
        if self.kind is str:
            return "one of " + ", ".join(self.choices) if self.choices else "a name"
        noun, form = ("an integer", ".0f") if self.kind is int else ("a number", "g")
        parts = []
        if self.low > -math.inf:
            parts.append(f"{'above' if self.open_low else 'of at least'} {self.low:{form}}")
        if self.high < math.inf:
            parts.append(f"{'' if parts else 'of '}at most {self.high:{form}}")
        return f"{noun} {' and '.join(parts)}".strip()

    def admits(self, value: Any) -> bool:
        """Return whether a value is of the type, finite and in the range."""
        if isinstance(value, np.generic):
            value = value.item()
        if self.kind in (bool, str):
            return isinstance(value, self.kind) and (not self.choices or value in self.choices)
        is_number = isinstance(value, int if self.kind is int else int | float) and not isinstance(value, bool)
        if not is_number or not abs(value) <= sys.float_info.max:  # nor is NaN
            return False
        return bool(self.low <= value <= self.high) and not (self.open_low and value == self.low)

    def checked(self, key: str, value: Any, repair: str = "") -> Any:
        """Return a value in the rule's type.

        Raises
        ------
        UserError
            If the rule does not admit it.
        """
        if not self.admits(value):
            raise UserError(f"{key} = {shown(value)} is not {self.describe()}{repair}")
        return self.kind(value)
