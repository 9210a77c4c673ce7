"""The error for a user's mistake, and the hint that helps to repair it."""

from __future__ import annotations

import errno
import re
from collections.abc import Iterable
from difflib import get_close_matches

# Control characters except tab and newline, line separators, marks that reverse the direction of text, and surrogates.
_UNPRINTABLE = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")

_LONGEST_CHOICE = 100  # characters of a name that is suggested

OUT_OF_MEMORY = "memory ran out; set jobs=1 or free memory, then rerun the command to resume"

_MEMORY_ERRORS = (
    "bad allocation",
    "bad_alloc",
    "out of memory",
    "Cannot allocate memory",
    "failed to map segment from shared object",
    "can't start new thread",
)


def printable(text: str) -> str:
    r"""Return a text in which characters that a terminal obeys are escaped, such as ``\x1b``.

    Names of columns, files and studies come from others, and could clear the screen or imitate a message.
    """
    return _UNPRINTABLE.sub(lambda match: match[0].encode("unicode_escape").decode("ascii"), text)


def one_line(text: str) -> str:
    """Return a printable text with its lines joined by blanks, and the middle of names without end left out."""
    words = " ".join(filter(None, (line.strip() for line in text.splitlines()))).split(" ")
    # An address stays whole, as its password could no longer be recognised.
    shortened = (f"{word[:100]}…{word[-100:]}" if len(word) > 500 and "://" not in word else word for word in words)
    return printable(" ".join(shortened))


class UserError(ValueError):
    """A mistake that the user can repair.

    The message is one printable line: the value, the rule, the repair. Commands print it without a traceback and exit
    with code 2; notebooks show it alone, too.
    """

    def __str__(self) -> str:
        return one_line(super().__str__())

    def _render_traceback_(self) -> list[str]:
        """Return what IPython, which asks for it by this name, shows in place of a traceback."""
        return [f"{type(self).__name__}: {self}"]


class StoreError(UserError):
    """A store that does not answer, refuses what it is asked, or whose disk is full.

    Attributes
    ----------
    answered : bool
        Whether the store itself refused, so that further requests are worth a try.
    """

    answered = False


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether an error, or one that caused it, says that memory ran out: libraries say it in many ways."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, MemoryError) or (isinstance(cause, OSError) and cause.errno == errno.ENOMEM):
            return True
        if any(words in str(cause) for words in _MEMORY_ERRORS):
            return True
        cause = cause.__cause__ or cause.__context__
    return False


class Stopped(Exception):
    """Raised inside long work that was asked to stop; the interrupted part is repeated later."""


def nearest(value: str, choices: Iterable[str]) -> str:
    """Return ``"; did you mean 'x'?"`` for the nearest choice, ``""`` where none is near."""
    texts = [str(choice) for choice in choices if len(str(choice)) <= _LONGEST_CHOICE]  # matching takes quadratic time
    near = get_close_matches(value[:_LONGEST_CHOICE], texts, n=1, cutoff=0.6)
    return f"; did you mean {near[0]!r}?" if near else ""


def did_you_mean(value: str, choices: Iterable[str], most: int = 8) -> str:
    """Return ``"; did you mean 'x'?"`` for the nearest choice, else ``"; known are …"``, or ``""`` without choices.

    At most `most` choices are listed, in the order given.
    """
    known = [str(choice) for choice in choices]
    near = nearest(value, known)
    if near or not known:
        return near
    listed = [choice if len(choice) <= _LONGEST_CHOICE else f"{choice[:_LONGEST_CHOICE]}…" for choice in known[:most]]
    return f"; known are {', '.join(listed)}{', …' * (len(known) > most)}"
