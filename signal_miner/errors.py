"""The one error a user's mistake raises, and the words that help to repair it."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches


class UserError(ValueError):
    """A mistake that the person at the keyboard can repair.

    The message is one line: the value, the rule, the repair. The commands print it
    as it is, without a traceback, and end with exit code 2; a notebook shows it alone, too.
    """

    def _render_traceback_(self) -> list[str]:
        """Return what IPython, which asks for it by this name, shows in place of a traceback."""
        return [f"{type(self).__name__}: {' '.join(str(self).split())}"]


class StoreError(UserError):
    """A store that does not answer, or that the disk holds no more of."""


class Stopped(Exception):
    """Raised inside long work that was asked to stop; what it was doing will be done again."""


def did_you_mean(value: str, choices: Iterable[str]) -> str:
    """Return ``"; did you mean 'x'?"`` for the nearest choice, else the choices themselves.

    Parameters
    ----------
    value : str
        What was written.
    choices : iterable of str
        What could have been written.

    Returns
    -------
    str
        A clause that starts with ``"; "``, or ``""`` where there are no choices.
    """
    known = [str(choice) for choice in choices]
    near = get_close_matches(value, known, n=1, cutoff=0.6)
    if near:
        return f"; did you mean {near[0]!r}?"
    if not known:
        return ""
    shown = ", ".join(known[:8]) + (", …" if len(known) > 8 else "")
    return f"; known are {shown}"
