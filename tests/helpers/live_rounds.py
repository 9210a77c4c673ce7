"""Rounds of an account on the local server: their scores as Numerai lists them, and a version to compare them with."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from mlflow import MlflowClient
from numpy.typing import NDArray

from benchmarks.live import histories
from signal_miner.models.registry import CHAMPION, Registry
from tests.helpers.registry import make_record
from tests.helpers.tournament import Tournament

FIRST_ROUND, ROUNDS = 1343, 60
MEAN, DEVIATION = 0.06, 0.05  # of an era's payout, 3 × CORR + 15 × MMC
SLOTS = ("miner_one", "miner_two", "miner_three")


def scores_of(payouts: NDArray[np.float64]) -> dict[str, NDArray[np.float64]]:
    """CORR and MMC that pay 3 × CORR + 15 × MMC = payout, half by each."""
    return {"CORR60": payouts / 6, "MMC60": payouts / 30, "BMC60": payouts / 30}


def era_scores(eras: int = 104, seed: int = 0) -> pd.DataFrame:
    """An ensemble's era scores whose payouts have exactly the expected mean and deviation in test."""
    drawn = histories(np.random.default_rng(seed), 1, 2 * eras)[0]
    drawn[:eras] += 0.5  # validation, by which it was chosen
    drawn[eras:] = (drawn[eras:] - drawn[eras:].mean()) / drawn[eras:].std()
    payouts = MEAN + DEVIATION * drawn
    return pd.DataFrame(
        {
            "era": [f"{900 + number:04d}" for number in range(2 * eras)],
            "fold": np.repeat([1, 2], eras).astype("int8"),
            "corr": payouts / 6,
            "bmc": payouts / 30,
        }
    )


@dataclass
class LiveAccount:
    """Slots with weekly rounds, of which the last twelve are in progress."""

    tournament: Tournament
    payouts: dict[str, NDArray[np.float64]]
    start: datetime = datetime(2026, 8, 28, 14, tzinfo=UTC)
    unresolved: int = 12
    left_out: set[tuple[str, int]] = field(default_factory=set)  # slot and round
    without_value: set[tuple[str, int, str]] = field(default_factory=set)
    stake: float = 10.0

    def __post_init__(self) -> None:
        server = self.tournament.server
        rounds = server.answers["rounds"]
        server.private |= {"v2RoundModelPerformances"}
        server.answers |= {
            "account": lambda _: {
                "models": [{"id": f"id {name}", "name": name, "tournament": 8} for name in self.payouts]
            },
            "rounds": lambda given: self.rounds() if "limit" in given else rounds(given),
            "submissionScores": self.scores,
            "v2RoundModelPerformances": self.stakes,
        }

    def rounds(self) -> list[dict[str, Any]]:
        scores = [("CORR60", True, "3"), ("MMC60", True, "15"), ("BMC60", False, None), ("FNC", False, None)]
        configs = [
            {"displayName": name, "isPayout": pays, "defaultMultiplier": multiplier, "clipThreshold": "1"}
            for name, pays, multiplier in scores
        ]
        newest = FIRST_ROUND + len(next(iter(self.payouts.values()))) - 1
        old = {"number": 1342, "payoutFactor": "0.5", "roundScoreConfigs": []}
        return [old, {"number": newest, "payoutFactor": "0.1", "roundScoreConfigs": configs}]

    def scores(self, given: dict[str, Any]) -> list[dict[str, Any]]:
        slot, name = given["modelId"].removeprefix("id "), given["displayName"]
        values = scores_of(self.payouts[slot])[name]
        return [
            {
                "roundNumber": FIRST_ROUND + week,
                "roundCloseStakingTime": (self.start + timedelta(weeks=week)).isoformat(),
                "roundResolveTime": (self.start + timedelta(weeks=week + 12)).isoformat(),
                "value": None if (slot, FIRST_ROUND + week, name) in self.without_value else float(value),
                "percentile": 0.5,
                "displayName": name,
                "day": 60 if week < len(values) - self.unresolved else 5 * (len(values) - week) - 4,
                "resolved": week < len(values) - self.unresolved,
            }
            for week, value in enumerate(values)
            if (slot, FIRST_ROUND + week) not in self.left_out
        ]

    def stakes(self, given: dict[str, Any]) -> list[dict[str, Any]]:
        payouts = self.payouts[given["modelId"].removeprefix("id ")]
        resolved = len(payouts) - self.unresolved
        return [
            {
                "atRisk": str(self.stake),
                "roundPayoutFactor": "0.1",
                "roundNumber": FIRST_ROUND + week,
                "roundResolved": week < resolved,
                "submissionScores": [
                    {"payoutPending": f"{payout}", "payoutSettled": f"{payout}" if week < resolved else None}
                ],
            }
            for week, payout in enumerate(payouts)
        ]


def rounds_of(tournament: Tournament, slot: str) -> LiveAccount:
    """60 rounds of a slot as expected, the only one of its account."""
    return LiveAccount(tournament, {slot: MEAN + DEVIATION * histories(np.random.default_rng(1), 1, ROUNDS + 12)[0]})


def three_slots(tournament: Tournament, seed: int = 3) -> LiveAccount:
    """60 rounds of a slot as expected, of one broken from round 30 on, and of a lucky one."""
    drawn = MEAN + DEVIATION * histories(np.random.default_rng(seed), 3, ROUNDS + 12)
    drawn[0] += MEAN - drawn[0].mean()
    drawn[1, 30:] -= 3.2 * MEAN
    drawn[2] += 1.5 * MEAN
    return LiveAccount(tournament, dict(zip(SLOTS, drawn, strict=True)))


def register_version(store: str, directory: Path, expected: bool = True, **changes: Any) -> str:
    """Register a champion whose run has era scores; return the run's id. Without `expected`, as older versions."""
    directory.mkdir(parents=True, exist_ok=True)
    from signal_miner.models.expectation import EXPECTED_SCORES, ExpectedScores

    record = make_record(directory, store, **changes)
    files = dict(record.files)
    scores = era_scores()
    scores.to_parquet(directory / "era_scores.parquet", index=False)
    MlflowClient(store).log_artifact(record.run_id, str(directory / "era_scores.parquet"))
    if expected:
        files[EXPECTED_SCORES] = directory / EXPECTED_SCORES
        ExpectedScores.of_run(scores, {}).write(files[EXPECTED_SCORES])
    from dataclasses import replace

    registry = Registry(store)
    made = registry.register(replace(record, files=files))
    registry.promote(made.name, made.version, CHAMPION)
    return record.run_id


def write_slots(path: Path, names: Iterable[str] = SLOTS, more: str = "") -> Path:
    path.write_text("".join(f"[slots.{name}]\nfrom_round = {FIRST_ROUND}\n{more}\n" for name in names))
    return path
