"""Rounds, submissions and uploaded models as Numerai lists them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import PurePosixPath
from typing import Any


@dataclass(frozen=True)
class Round:
    """A round of the tournament that accepts submissions; its times have a time zone."""

    number: int
    opened: datetime
    closes: datetime


@dataclass(frozen=True)
class PayoutScore:
    """A score that a round pays on."""

    name: str  # such as MMC60
    multiplier: float  # the default one


@dataclass(frozen=True)
class Submission:
    """A submission as Numerai lists it; its time has a time zone."""

    id: str
    filename: str
    inserted_at: datetime | None


@dataclass(frozen=True)
class UploadedPickle:
    """An uploaded model as Numerai lists it.

    Attributes
    ----------
    status : str
        Of its validation, in lower case: ``pending``, ``validating``, ``validated``, ``failed`` or others of Numerai's.
    image, data_version : str
        Names; ``""`` if Numerai gives none.
    assigned : tuple of str or None
        Models it submits for; None if Numerai does not list them.
    """

    id: str
    filename: str
    status: str
    image: str
    data_version: str
    assigned: tuple[str, ...] | None
    inserted_at: datetime | None


def same_file(name: str, other: str) -> bool:
    """Whether two names at Numerai, with or without folders, are those of one file."""
    return bool(name) and PurePosixPath(name).name == PurePosixPath(other).name


def clock(time_: datetime) -> str:
    """Return a time as ``14:00 UTC on Tuesday, 1 September``."""
    utc = time_.astimezone(UTC)
    return f"{utc:%H:%M} UTC on {utc:%A}, {utc.day} {utc:%B}"


def read_time(text: object) -> datetime | None:
    """Parse a time of Numerai's: UTC if it has no time zone."""
    try:
        read = datetime.fromisoformat(str(text))
    except ValueError:
        return None
    return read if read.tzinfo else read.replace(tzinfo=UTC)


def read_submission(listed: Mapping[str, Any]) -> Submission:
    """Parse an item of Numerai's list of submissions."""
    return Submission(str(listed["id"]), str(listed.get("filename") or ""), read_time(listed.get("insertedAt")))


def read_pickle(listed: Mapping[str, Any]) -> UploadedPickle:
    """Parse an item of Numerai's list of uploaded models."""
    slots = listed.get("assignedModelSlots")
    assigned = (
        None
        if not isinstance(slots, list)
        else tuple(str(slot.get("name") or slot.get("id")) if isinstance(slot, dict) else str(slot) for slot in slots)
    )
    return UploadedPickle(
        id=str(listed["id"]),
        filename=str(listed.get("filename") or ""),
        status=str(listed.get("validationStatus") or "pending").lower(),
        image=str(listed.get("dockerImageName") or ""),
        data_version=str(listed.get("dataVersion") or ""),
        assigned=assigned,
        inserted_at=read_time(listed.get("insertedAt")),
    )
