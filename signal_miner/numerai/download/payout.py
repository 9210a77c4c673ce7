"""The multipliers by which the open round pays, kept beside the data."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from signal_miner.data.payout_file import PublishedPayout, write_payout
from signal_miner.numerai import queries
from signal_miner.numerai.api import NumeraiRefused, NumeraiUnreachable, anonymous_client, ask_numerai
from signal_miner.scoring.payout import DEFAULT_PAYOUT, Payout


def download_payout(directory: Path) -> PublishedPayout | None:
    """Write the multipliers of the open round into a directory of data, and return them.

    Returns
    -------
    PublishedPayout or None
        None where no round is open or Numerai does not publish them: what the directory has stays.

    Raises
    ------
    UserError
        If the disk does not take the file.
    """
    client = anonymous_client()
    try:
        answer = ask_numerai(queries.PAYOUT, {"tournament": client.tournament_id}, client=client, repeatable=False)
        published = _published(answer)
    except (NumeraiRefused, NumeraiUnreachable, LookupError, TypeError, ValueError, AttributeError):
        return None
    if not published.payout.pays:
        return None
    write_payout(directory, published)
    return published


def _published(answer: dict[str, Any]) -> PublishedPayout:
    """Return what an answer to `queries.PAYOUT` says; raise where it is of another form."""
    found = answer["rounds"][0]
    paying = [config for config in found["roundScoreConfigs"] if config["isPayout"]]
    corr, mmc = (_multiplier(paying, name) for name in ("CORR", "MMC"))
    clips = {float(config["clipThreshold"]) for config in paying if config.get("clipThreshold") is not None}
    payout = Payout(corr, mmc, min(clips, default=DEFAULT_PAYOUT.clip))
    return PublishedPayout(payout, int(found["number"]), datetime.now(UTC).date().isoformat())


def _multiplier(configs: list[dict[str, Any]], name: str) -> float:
    """Return the multiplier of a score, such as of ``CORR60``; 0 where a round does not pay on it."""
    return sum(float(config["defaultMultiplier"]) for config in configs if str(config["displayName"]).startswith(name))
