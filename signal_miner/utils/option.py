"""Declares an option of a command as a field of a frozen dataclass, so that the command line is made from it."""

from __future__ import annotations

from dataclasses import MISSING, field
from typing import Any


def option(help: str, default: Any = MISSING, **metadata: Any) -> Any:  # noqa: A002 (argparse's own name)
    """Return a dataclass field with a help text.

    Parameters
    ----------
    help : str
        What the option means, with its default in parentheses.
    default : optional
        Required on the command line if not given.
    **metadata
        See `signal_miner.cli.options`: ``positional``.
    """
    return field(default=default, metadata={"help": help, **metadata})
