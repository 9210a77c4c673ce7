"""The terms of the newest round, kept beside the histories for a look while Numerai does not answer."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from signal_miner.numerai.round_records import RoundTerms, number
from signal_miner.scoring.payout import Payout
from signal_miner.utils.files import write_whole
from signal_miner.utils.validation import parsed_json

_FILE = "terms.json"


def write_terms(directory: Path, terms: RoundTerms) -> None:
    """Keep the terms; raise a `UserError` if the file cannot be written."""
    write_whole(directory / _FILE, (json.dumps(asdict(terms), indent=1) + "\n").encode())


def read_kept_terms(directory: Path) -> RoundTerms | None:
    """Return the terms that were kept last; None if there are none that can be read."""
    try:
        return terms_of(parsed_json((directory / _FILE).read_text(encoding="utf-8")))
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def terms_of(content: Mapping[str, Any]) -> RoundTerms:
    """Return terms from a table as `dataclasses.asdict` writes it."""
    payout = Payout(**{name: float(value) for name, value in content["payout"].items()})
    names = {name: str(content[name]) for name in ("corr", "mmc", "bmc")}
    return RoundTerms(int(content["number"]), payout, **names, payout_factor=number(content["payout_factor"]))
