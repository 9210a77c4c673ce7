"""The commands, a module each: its options, and what it does with them."""

from __future__ import annotations

import argparse

from signal_miner.errors import UserError

USER_ERROR, ALL_FAILED, INTERRUPTED = 2, 1, 130


def integer(option: str, text: str) -> int:
    """Return an option's integer; raise `UserError` where it is none."""
    try:
        return int(text)
    except ValueError as error:
        raise UserError(f"{option} = {text!r} is not an integer; write one such as {option}=100") from error


def number(option: str, text: str) -> float:
    """Return an option's number; raise `UserError` where it is none."""
    try:
        return float(text)
    except ValueError as error:
        raise UserError(f"{option} = {text!r} is not a number; write one such as {option}=0.5") from error


def truth(option: str, text: str | None) -> bool:
    """Return an option's yes or no; no where it is not given. Raise `UserError` where it is neither."""
    said = (text or "false").strip().lower()
    if said in {"true", "yes", "1"}:
        return True
    if said in {"false", "no", "0"}:
        return False
    raise UserError(f"{option} = {text!r} is neither true nor false; write {option}=true")


def listed(text: str | None) -> tuple[str, ...]:
    """Return the items of a list that commas separate."""
    return tuple(item.strip() for item in (text or "").split(",") if item.strip())


class Parser(argparse.ArgumentParser):
    """A parser whose errors are ours: one line, exit code 2; options are written out."""

    def __init__(self, **settings: object) -> None:
        super().__init__(**settings, allow_abbrev=False)  # type: ignore[arg-type]

    def error(self, message: str) -> None:  # type: ignore[override]
        """Raise the mistake as ours."""
        raise UserError(message)


def add_model_options(parser: argparse.ArgumentParser) -> None:
    """Add the options that name a registered model."""
    parser.add_argument("--model", help="name of the registered model (signal-miner)")
    parser.add_argument("--alias", help="alias or version of it (champion)")
    parser.add_argument("--tracking-uri", help="MLflow tracking store")
