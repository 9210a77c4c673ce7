"""``slots.toml``: which registered model each model slot at Numerai has, and how its predictions get there."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from enum import StrEnum
from pathlib import Path
from typing import Any

from signal_miner.data.sources import is_data_version
from signal_miner.errors import UserError, did_you_mean
from signal_miner.models.registry import CHAMPION
from signal_miner.utils.redaction import reason_of, reason_of_system
from signal_miner.utils.validation import LARGEST_INTEGER, Rule, shown

SLOTS_FILE = Path("slots.toml")

_EXAMPLE = '[slots.my_model]\nmodel = "signal-miner"'


class Delivery(StrEnum):
    """How a slot's predictions get to Numerai."""

    SUBMIT = "submit"
    DEPLOY = "deploy"


@dataclass(frozen=True)
class Slot:
    """A model slot at Numerai, and what is in it.

    Attributes
    ----------
    name : str
        Of the model at Numerai.
    model, alias : str
        Registered model, and its alias or version.
    from_round : int or None
        First round whose scores are this model's; None: found from submissions and the day of registration.
    version : str or None
        Of Numerai's data; None: the one that the model was mined on.
    """

    name: str
    model: str = "signal-miner"
    alias: str = CHAMPION
    delivery: Delivery = Delivery.SUBMIT
    from_round: int | None = None
    version: str | None = None


def read_slots(path: Path = SLOTS_FILE) -> tuple[Slot, ...]:
    """Read a file of slots.

    Raises
    ------
    UserError
        If there is no such file, it names no slot, or a key or value is wrong.
    """
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"there is no {path}; write one, such as {' '.join(_EXAMPLE.splitlines())}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UserError(f"{path} is not TOML ({reason_of(error)}); correct it") from None
    except OSError as error:
        raise UserError(f"{path} cannot be read ({reason_of_system(error)}); permit it or name another") from None
    for key in content:
        if key != "slots":
            raise UserError(f"{path}: {key} is not known; write a table [slots.NAME] for each slot")
    tables = content.get("slots")
    if not isinstance(tables, dict) or not tables:
        raise UserError(f"{path} names no slot; write a table [slots.NAME], NAME being the model's at Numerai")
    return tuple(_slot(path, name, table) for name, table in tables.items())


def chosen_slots(path: Path, names: tuple[str, ...]) -> tuple[Slot, ...]:
    """Read a file of slots, and keep those with these names; all if none is given."""
    slots = read_slots(path)
    known = [slot.name for slot in slots]
    for name in names:
        if name not in known:
            raise UserError(f"slot {name!r} is not in {path}{did_you_mean(name, known)}")
    return tuple(slot for slot in slots if not names or slot.name in names)


def _slot(path: Path, name: str, table: Any) -> Slot:
    if not re.fullmatch(r"\w[\w-]*", name, re.ASCII):
        raise UserError(f"{path}: slot {shown(name)} is no name of a model at Numerai: letters, digits and _")
    where = f"{path}: slots.{name}"
    if not isinstance(table, Mapping):
        raise UserError(f"{where} = {shown(table)} is not a table; write [slots.{name}]")
    for key in table:
        if key not in _CHECKS:
            raise UserError(f"{where}.{key} is not known{did_you_mean(key, _CHECKS)}")
    return Slot(name, **{key: _CHECKS[key](f"{where}.{key}", value) for key, value in table.items()})


def _text(key: str, value: object) -> str:
    if not isinstance(value, str) or not value.strip():
        raise UserError(f"{key} = {shown(value)} is not text; write it in quotes")
    return value.strip()


def _alias(key: str, value: object) -> str:
    return str(value) if Rule(int, 1, LARGEST_INTEGER).admits(value) else _text(key, value)


def _delivery(key: str, value: object) -> Delivery:
    try:
        return Delivery(str(value))
    except ValueError:
        raise UserError(
            f"{key} = {shown(value)} is neither submit nor deploy{did_you_mean(str(value), Delivery)}"
        ) from None


def _version(key: str, value: object) -> str:
    text = _text(key, value)
    if not is_data_version(text):
        raise UserError(f"{key} = {shown(text)} is not a version of Numerai's data; use one such as v5.3")
    return text


_CHECKS: Mapping[str, Callable[[str, Any], Any]] = {
    "model": _text,
    "alias": _alias,
    "delivery": _delivery,
    "from_round": Rule(int, 1, LARGEST_INTEGER).checked,
    "version": _version,
}
if set(_CHECKS) != {each.name for each in fields(Slot)} - {"name"}:
    raise TypeError("a key of a slot has no check")
