"""The error for a user's mistake, and the hint that helps to repair it."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches


class UserError(ValueError):
    """A mistake that the user can repair.

    The message is one line: the value, the rule, the repair. Commands print it without a traceback and exit with code
    2; notebooks show it alone, too.
    """

    def _render_traceback_(self) -> list[str]:
        """Return what IPython, which asks for it by this name, shows in place of a traceback."""
        return [f"{type(self).__name__}: {' '.join(str(self).split())}"]


class StoreError(UserError):
    """A store that does not answer, or whose disk is full."""


class Stopped(Exception):
    """Raised inside long work that was asked to stop; the interrupted part is repeated later."""


def nearest(value: str, choices: Iterable[str]) -> str:
    """Return ``"; did you mean 'x'?"`` for the nearest choice, ``""`` where none is near."""
    near = get_close_matches(value, [str(choice) for choice in choices], n=1, cutoff=0.6)
    return f"; did you mean {near[0]!r}?" if near else ""


def did_you_mean(value: str, choices: Iterable[str]) -> str:
    """Return ``"; did you mean 'x'?"`` for the nearest choice, else ``"; known are …"``, or ``""`` without choices."""
    known = [str(choice) for choice in choices]
    near = nearest(value, known)
    if near or not known:
        return near
    shown = ", ".join(known[:8]) + (", …" if len(known) > 8 else "")
    return f"; known are {shown}"
