"""The scores and stakes of a slot's rounds, kept in the workspace: a file a slot, to which fetched ones are added."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any

from signal_miner.errors import UserError
from signal_miner.numerai.records import read_time
from signal_miner.numerai.round_records import RoundScore, RoundStake, number
from signal_miner.utils.files import file_exists, write_whole
from signal_miner.utils.redaction import reason_of
from signal_miner.utils.validation import parsed_json

DIRECTORY = Path("live")
"""Directory of the histories, below the working directory."""


@dataclass(frozen=True)
class Revision:
    """A resolved score that Numerai changed later."""

    before: RoundScore
    after: RoundScore


@dataclass(frozen=True)
class RoundHistory:
    """All that is known of a slot's rounds: one score a round and name, and one stake a round, oldest first."""

    scores: tuple[RoundScore, ...] = ()
    stakes: tuple[RoundStake, ...] = ()

    def updated(
        self, scores: Iterable[RoundScore], stakes: Iterable[RoundStake] = ()
    ) -> tuple[RoundHistory, tuple[Revision, ...]]:
        """Return this history with newer records, and the resolved scores that changed.

        What an answer lacks stays, and what is resolved is not replaced by what is not.
        """
        kept = {(score.round, score.name): score for score in self.scores}
        revisions = []
        for score in scores:
            key = (score.round, score.name)
            known = kept.get(key)
            if known is not None and (known.resolved, known.day) > (score.resolved, score.day):
                continue
            if known is not None and known.resolved and known.value != score.value:
                revisions.append(Revision(known, score))
            kept[key] = score if known is None else _completed(score, known)
        at_stake = {stake.round: stake for stake in self.stakes}
        for stake in stakes:
            known_stake = at_stake.get(stake.round)
            if known_stake is None or stake.resolved or not known_stake.resolved:
                at_stake[stake.round] = stake
        history = RoundHistory(
            tuple(kept[key] for key in sorted(kept)), tuple(at_stake[key] for key in sorted(at_stake))
        )
        return history, tuple(revisions)

    def to_table(self) -> dict[str, Any]:
        """Return it in JSON's types."""
        return {
            "scores": [_plain(asdict(score)) for score in self.scores],
            "stakes": [_plain(asdict(stake)) for stake in self.stakes],
        }

    @classmethod
    def of_table(cls, table: Mapping[str, Any]) -> RoundHistory:
        """Return the history of a table as of `to_table`; raise an error of Python's where it is another one."""
        return cls(tuple(map(_score, table["scores"])), tuple(map(_stake, table["stakes"])))

    def write(self, path: Path) -> None:
        """Write it, whole or not at all; raise a `UserError` if it cannot be written."""
        write_whole(path, (json.dumps(self.to_table(), indent=1) + "\n").encode())

    @classmethod
    def read(cls, path: Path) -> RoundHistory:
        """Read it; empty if there is no such file.

        Raises
        ------
        UserError
            If the file is damaged.
        """
        if not file_exists(path):
            return cls()
        try:
            return cls.of_table(parsed_json(path.read_text(encoding="utf-8")))
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise UserError(
                f"{path} is not a history of rounds ({reason_of(error)}); move it away to fetch its rounds again"
            ) from error


def history_file(directory: Path, slot: str) -> Path:
    """Return where the history of a slot is kept."""
    return directory / f"{slot}.json"


def _completed(score: RoundScore, known: RoundScore) -> RoundScore:
    """Fill in the times that an answer lacks."""
    return replace(score, closes=score.closes or known.closes, resolves=score.resolves or known.resolves)


def _plain(record: dict[str, Any]) -> dict[str, Any]:
    def plain(value: Any) -> Any:
        return value.isoformat() if isinstance(value, datetime) else None if value != value else value

    return {name: plain(value) for name, value in record.items()}


def _score(record: Mapping[str, Any]) -> RoundScore:
    return RoundScore(
        round=int(record["round"]),
        name=str(record["name"]),
        value=_finite(record["value"]),
        percentile=number(record["percentile"]),
        day=int(record["day"]),
        resolved=bool(record["resolved"]),
        closes=read_time(record["closes"]),
        resolves=read_time(record["resolves"]),
    )


def _stake(record: Mapping[str, Any]) -> RoundStake:
    return RoundStake(
        int(record["round"]), _finite(record["at_risk"]), number(record["payout"]), bool(record["resolved"])
    )


def _finite(value: object) -> float:
    read = number(value)
    if not math.isfinite(read):
        raise ValueError(f"{value} is not a finite number")
    return read
