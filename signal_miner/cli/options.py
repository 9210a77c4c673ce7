"""A command's options, declared once: the fields of a frozen dataclass that have a help text.

From them come the parser and the parsed object; a test compares them with the entry points of ``MLproject``.
"""

from __future__ import annotations

import argparse
import re
import types
from collections.abc import Iterator
from dataclasses import MISSING, Field, dataclass, fields
from pathlib import Path
from typing import Any, TypeVar, cast, get_args, get_origin, get_type_hints

from signal_miner.errors import UserError
from signal_miner.utils.next_command import Form, current_form
from signal_miner.utils.option import option
from signal_miner.utils.redaction import without_passwords

T = TypeVar("T")
HELP = "help"
_USER_ALONE = re.compile(r"(://)[^\s:/@]+@")  # of an address whose password is given elsewhere
POSITIONAL = "positional"
"""Metadata: whether the value may also be given without the option's name."""


class Parser(argparse.ArgumentParser):
    """A parser that raises our error, one line with exit code 2; options cannot be abbreviated."""

    def __init__(self, **settings: object) -> None:
        super().__init__(**settings, allow_abbrev=False)  # type: ignore[arg-type]

    def error(self, message: str) -> None:  # type: ignore[override]
        """Raise a `UserError`."""
        raise UserError(message)


@dataclass(frozen=True, kw_only=True)
class StoreOptions:
    """The option of every command that reads or writes runs."""

    tracking_uri: str | None = option("MLflow tracking store", None)


@dataclass(frozen=True, kw_only=True)
class ModelOptions(StoreOptions):
    """The options that name a registered model."""

    model: str = option("name of the registered model (signal-miner)", "signal-miner")
    alias: str = option("its alias or version (champion)", "champion")


def options_of(declared: type) -> Iterator[Field[Any]]:
    """Return the fields that are options: those with a help text."""
    return (each for each in fields(declared) if HELP in each.metadata)


def add_options(parser: argparse.ArgumentParser, declared: type) -> None:
    """Add an option for each declared field; all are texts, as `mlflow run` passes an empty one for "not given"."""
    for each in options_of(declared):
        flag = f"--{each.name.replace('_', '-')}"
        parser.add_argument(flag, help=each.metadata[HELP], required=each.default is MISSING)
        if each.metadata.get(POSITIONAL):
            parser.add_argument(f"{each.name}_", nargs="?", metavar=each.name.upper(), help=f"the same as {flag}")


def parse_options(declared: type[T], given: argparse.Namespace) -> T:
    """Return the declared object with the options given on the command line.

    Raises
    ------
    UserError
        If a text is not of its option's type.
    """
    hints = get_type_hints(declared)
    values = {
        each.name: _parsed(each.name, text, hints[each.name])
        for each in options_of(declared)
        if (text := _text(each.name, given))
    }
    for each in options_of(declared):
        if each.default is MISSING and each.name not in values:
            raise UserError(f"{each.name} is empty; give one {each.metadata[HELP]}")
    make: Any = getattr(declared, "given", declared)  # which options go together may depend on which are given
    return cast("T", make(**values))


def password_warnings(declared: type, given: argparse.Namespace) -> Iterator[str]:
    """Yield a warning for each option given on the command line with a password in it."""
    for each in options_of(declared):
        text = _text(each.name, given)
        bare = _USER_ALONE.sub(r"\1", text) if text else ""
        if not text or without_passwords(bare) == bare:
            continue
        seen = "other users of this machine see in its list of processes"
        if current_form() is Form.MLFLOW:
            seen += " and MLflow records as a parameter of the launching run"
        repair = "leave it out of the address and set PGPASSWORD, or what your database's client reads"
        if each.name == "tracking_uri":
            repair = "set MLFLOW_TRACKING_URI instead"
            if text.startswith(("http://", "https://")):
                repair = "leave it out and set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD"
        yield f"{each.name} contains a password, which {seen}; {repair}"


def _text(name: str, given: argparse.Namespace) -> str | None:
    """Return what was given for an option; an empty text, which `mlflow run` passes, counts as not given."""
    named, bare = getattr(given, name, None), getattr(given, f"{name}_", None)
    if named and bare and named != bare:
        raise UserError(f"{name} is given twice, as {bare!r} and as {named!r}; leave one out")
    return named or bare


def _parsed(name: str, text: str, hint: Any) -> Any:
    kind = get_args(hint)[0] if isinstance(hint, types.UnionType) else hint  # X of X | None
    if get_origin(kind) is tuple:
        return tuple(item.strip() for item in text.split(",") if item.strip())
    if kind is bool:
        return _truth(name, text)
    if kind in (int, float):
        try:
            return kind(text)
        except ValueError as error:
            article, example = ("an integer", 100) if kind is int else ("a number", 0.5)
            raise UserError(f"{name} = {text!r} is not {article}; write one such as {name}={example}") from error
    return Path(text) if kind is Path else text


def _truth(name: str, text: str) -> bool:
    word = text.strip().lower()
    if word in {"true", "yes", "1"}:
        return True
    if word in {"false", "no", "0"}:
        return False
    raise UserError(f"{name} = {text!r} is neither true nor false; write {name}=true")
