"""Rounds, scores and stakes as Numerai lists them: what is not understood is left out, never guessed."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from signal_miner.numerai.records import read_time
from signal_miner.scoring.payout import DEFAULT_PAYOUT, Payout


@dataclass(frozen=True)
class RoundTerms:
    """What a round pays on.

    Attributes
    ----------
    corr, mmc : str
        Numerai's names of the scores that it pays on, such as ``CORR60``; empty if it does not pay on one.
    bmc : str
        Name of its BMC score; empty if there is none.
    payout_factor : float
        What a payout is multiplied by; NaN if Numerai does not say.
    """

    number: int
    payout: Payout
    corr: str
    mmc: str
    bmc: str
    payout_factor: float


@dataclass(frozen=True)
class RoundScore:
    """A score of a submission in a round.

    Attributes
    ----------
    name : str
        Numerai's, such as ``MMC60``.
    percentile : float
        From 0 to 1; NaN if Numerai does not say.
    day : int
        Of the round's scoring, the last one when `resolved`.
    closes, resolves : datetime or None
        Of the round.
    """

    round: int
    name: str
    value: float
    percentile: float
    day: int
    resolved: bool
    closes: datetime | None
    resolves: datetime | None


@dataclass(frozen=True)
class RoundStake:
    """What a model has at stake in a round, in NMR: `payout` is settled if `resolved`, else as of today."""

    round: int
    at_risk: float
    payout: float
    resolved: bool


def read_terms(listed: Iterable[Mapping[str, Any]]) -> tuple[RoundTerms, ...]:
    """Parse Numerai's list of rounds, without those that pay on neither CORR nor MMC."""
    return tuple(terms for terms in map(_terms, _records(listed)) if terms is not None)


def read_scores(listed: Iterable[Mapping[str, Any]]) -> tuple[RoundScore, ...]:
    """Parse Numerai's list of scores, without those that have no value yet."""
    found = []
    for each in _records(listed):
        round_number, value = _integer(each.get("roundNumber")), number(each.get("value"))
        if round_number is None or not each.get("displayName") or not math.isfinite(value):
            continue
        score = RoundScore(
            round=round_number,
            name=str(each["displayName"]),
            value=value,
            percentile=number(each.get("percentile")),
            day=_integer(each.get("day")) or 0,
            resolved=bool(each.get("resolved")),
            closes=read_time(each.get("roundCloseStakingTime")),
            resolves=read_time(each.get("roundResolveTime")),
        )
        found.append(score)
    return tuple(found)


def read_stakes(listed: Iterable[Mapping[str, Any]]) -> tuple[RoundStake, ...]:
    """Parse Numerai's list of a model's rounds, without those in which nothing is at stake."""
    found = []
    for each in _records(listed):
        at_risk, round_number = number(each.get("atRisk")), _integer(each.get("roundNumber"))
        if round_number is None or not at_risk > 0:
            continue
        resolved = bool(each.get("roundResolved"))
        paid = [
            number(score.get("payoutSettled" if resolved else "payoutPending"))
            for score in _records(each.get("submissionScores"))
        ]
        known = [payout for payout in paid if math.isfinite(payout)]
        found.append(RoundStake(round_number, at_risk, sum(known) if known else math.nan, resolved))
    return tuple(found)


def number(value: object) -> float:
    """Return a number of Numerai's, which may be a text; NaN for anything else."""
    try:
        read = float(str(value))
    except ValueError:
        return math.nan
    return read if math.isfinite(read) else math.nan


def _terms(listed: Mapping[str, Any]) -> RoundTerms | None:
    configs = [each for each in _records(listed.get("roundScoreConfigs")) if isinstance(each.get("displayName"), str)]
    paying = [each for each in configs if each.get("isPayout") and math.isfinite(number(each.get("defaultMultiplier")))]
    corr, mmc = (_starting(paying, word) for word in ("CORR", "MMC"))
    paid = {each["displayName"]: number(each["defaultMultiplier"]) for each in paying}
    clips = [number(each.get("clipThreshold")) for each in paying]
    clip = min((each for each in clips if math.isfinite(each)), default=DEFAULT_PAYOUT.clip)
    payout = Payout(paid.get(corr, 0.0), paid.get(mmc, 0.0), clip)
    round_number = _integer(listed.get("number"))
    if round_number is None or not payout.pays:
        return None
    horizon = corr.upper().removeprefix("CORR") or mmc.upper().removeprefix("MMC")
    bmc = next((each["displayName"] for each in configs if each["displayName"].upper() == f"BMC{horizon}"), "")
    factor = number(listed.get("payoutFactor"))
    return RoundTerms(round_number, payout, corr, mmc, bmc or _starting(configs, "BMC"), factor)


def _integer(value: object) -> int | None:
    read = number(value)
    return int(read) if read.is_integer() else None


def _records(listed: object) -> Iterator[Mapping[str, Any]]:
    """Yield the items of a list of Numerai's that are records."""
    if isinstance(listed, Iterable):
        yield from (each for each in listed if isinstance(each, Mapping))


def _starting(configs: Iterable[Mapping[str, Any]], word: str) -> str:
    return next((str(each["displayName"]) for each in configs if str(each["displayName"]).upper().startswith(word)), "")
