"""The multipliers by which Numerai pays, as ``download`` keeps them beside the data."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from signal_miner.errors import UserError
from signal_miner.scoring.payout import DEFAULT_DATE, DEFAULT_PAYOUT, DEFAULT_ROUND, Payout
from signal_miner.utils.files import file_exists, write_whole
from signal_miner.utils.validation import parsed_json

PAYOUT_FILE = "payout.json"


@dataclass(frozen=True)
class PublishedPayout:
    """The multipliers of a round.

    Attributes
    ----------
    date : str
        On which they were read, ISO 8601.
    """

    payout: Payout
    round: int
    date: str


DEFAULT = PublishedPayout(DEFAULT_PAYOUT, DEFAULT_ROUND, DEFAULT_DATE)


def write_payout(directory: Path, published: PublishedPayout) -> None:
    """Write the multipliers into a directory of data."""
    write_whole(directory / PAYOUT_FILE, (json.dumps(asdict(published), indent=1) + "\n").encode())


def read_payout(directory: Path) -> PublishedPayout | None:
    """Return the multipliers in a directory of data; None where it has no such file.

    Raises
    ------
    UserError
        If the file is damaged, is a directory or a link to nothing, or its multipliers pay nothing.
    """
    path = directory / PAYOUT_FILE
    if not file_exists(path):
        return None
    try:
        content = parsed_json(path.read_text(encoding="utf-8"))
        payout = Payout(**{name: float(value) for name, value in content["payout"].items()})
        published = PublishedPayout(payout, int(content["round"]), str(content["date"]))
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise _damaged(path) from error
    if not payout.pays:
        raise _damaged(path)
    return published


def _damaged(path: Path) -> UserError:
    return UserError(f"{path} is not a record of payouts; download the data again, or set [payout] in the experiment")
