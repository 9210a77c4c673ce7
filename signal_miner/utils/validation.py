"""Rules for values given by a user, and how a value is quoted in an error."""

from __future__ import annotations

import json
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
"""Maximum number of values of one axis."""

LARGEST_INTEGER = 10**9
"""Bound of integer settings without a nearer one, as counters have 32 bits."""


class _Shown(reprlib.Repr):
    def __init__(self) -> None:
        super().__init__()
        self.maxstring = self.maxother = 200

    def repr_int(self, x: int, level: int) -> str:
        # Python refuses to write an integer of more than 4300 digits, and more than 40 are unreadable.
        return repr(x) if abs(x) < 10**40 else f"about {'-' * (x < 0)}1e{math.log10(abs(x)):.0f}"

    def repr_str(self, x: str, level: int) -> str:
        return super().repr_str(without_passwords(x), level)


_SHOWN = _Shown()


def shown(value: object) -> str:
    """Return a value of any type as an error shows it: in one short line, without passwords."""
    return " ".join(_SHOWN.repr(value).split())


def parsed_json(text: str) -> Any:
    """Return the value of a JSON text from elsewhere; raise a ValueError, also where it is nested without end."""
    try:
        return json.loads(text)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def as_path(key: str, value: object, example: str) -> Path:
    """Return a path from the user, with ``~`` expanded; raise a UserError if it is not a path."""
    if not isinstance(value, str | os.PathLike) or "\0" in str(value):
        raise UserError(f"{key} = {shown(value)} is not a path; write one such as {example!r}")
    try:
        return Path(value).expanduser()
    except RuntimeError:
        raise UserError(f"{key} = {shown(value)} names no user's home directory; write the absolute path") from None


@dataclass(frozen=True)
class Rule:
    """Type (`bool`, `int`, `float` or `str`) and range of a value; `open_low` excludes `low` itself.

    `choices` are the allowed texts, all if empty.
    """

    kind: type
    low: float = -math.inf
    high: float = math.inf
    open_low: bool = False
    choices: tuple[str, ...] = ()

    def describe(self) -> str:
        """Return the rule in English, such as ``an integer of at least 1``."""
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
        """Return a value in the rule's type; raise a UserError, with `repair`, if the rule does not admit it."""
        if not self.admits(value):
            raise UserError(f"{key} = {shown(value)} is not {self.describe()}{repair}")
        return self.kind(value)
