"""A slot's resolved rounds against what was expected of its model, week by week."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

import numpy as np
from numpy.typing import NDArray

from signal_miner.live.evidence import Standing, evidence_below, first_said, standing
from signal_miner.live.history import RoundHistory
from signal_miner.models.expectation import Expectation
from signal_miner.numerai.round_records import RoundScore, RoundTerms

_DAYS_A_WEEK = 7


@dataclass(frozen=True, eq=False)
class RoundSeries:
    """Rounds with all scores that are paid on, oldest first.

    Attributes
    ----------
    rounds : ndarray of int64, shape (n_rounds,)
    resolved : ndarray of bool, shape (n_rounds,)
        Scores of the others may still change.
    corr, mmc, bmc, payouts : ndarray of float64, shape (n_rounds,)
        NaN where Numerai gives no score; payouts by the terms of today, as a share of the stake.
    percentiles : ndarray of float64, shape (n_rounds,)
        Of MMC, or of CORR in rounds that do not pay on MMC; NaN if not known.
    weeks : ndarray of int64, shape (n_rounds,)
        Since the first round.
    missing : tuple of int
        Rounds in between without scores.
    """

    rounds: NDArray[np.int64]
    resolved: NDArray[np.bool_]
    corr: NDArray[np.float64]
    mmc: NDArray[np.float64]
    bmc: NDArray[np.float64]
    payouts: NDArray[np.float64]
    percentiles: NDArray[np.float64]
    weeks: NDArray[np.int64]
    missing: tuple[int, ...]

    @classmethod
    def of(cls, history: RoundHistory, terms: RoundTerms, first_round: int) -> RoundSeries:
        """Select a slot's rounds from one on, and compute what each pays by `terms`."""
        scores = {(score.round, score.name): score for score in history.scores if score.round >= first_round}
        paying = [name for name in (terms.corr, terms.mmc) if name]
        rounds = [
            each
            for each in sorted({number for number, _ in scores})
            if all((each, name) in scores for name in paying) and _closes(scores, each, paying) is not None
        ]

        def values(name: str) -> NDArray[np.float64]:
            found = [scores.get((each, name)) for each in rounds]
            return np.array([np.nan if score is None else score.value for score in found], dtype=np.float64)

        corr, mmc, bmc = values(terms.corr), values(terms.mmc), values(terms.bmc)
        closes = [_closes(scores, each, paying) for each in rounds]
        first = closes[0] if closes else None
        days = [(time - first).days if time and first else 0 for time in closes]
        known = set(rounds)
        return cls(
            rounds=np.array(rounds, dtype=np.int64),
            resolved=np.array([all(scores[each, name].resolved for name in paying) for each in rounds], dtype=bool),
            corr=corr,
            mmc=mmc,
            bmc=bmc,
            payouts=terms.payout.of(np.nan_to_num(corr), np.nan_to_num(mmc)),
            percentiles=np.array([scores[each, paying[-1]].percentile for each in rounds], dtype=np.float64),
            weeks=np.maximum.accumulate(np.array(days, dtype=np.int64).clip(0)) // _DAYS_A_WEEK,
            missing=tuple(each for each in range(rounds[0], rounds[-1]) if each not in known) if rounds else (),
        )

    def weekly(self, *, unresolved: bool = False) -> NDArray[np.float64]:
        """Return the mean payout of the rounds of each week, shape (n_weeks,); NaN in weeks without one.

        Parameters
        ----------
        unresolved : bool, default False
            Count rounds in progress, too.
        """
        counted = self.resolved | unresolved
        weeks, paid = self.weeks[counted], self.payouts[counted]
        if not len(weeks):
            return np.empty(0)
        count = np.bincount(weeks)
        return np.asarray(np.bincount(weeks, paid) / np.where(count, count, np.nan), dtype=np.float64)


@dataclass(frozen=True, eq=False)
class Comparison:
    """What live rounds say of a model.

    Attributes
    ----------
    said_in_round : int or None
        Last round of the week in which it was first said to be below, or above.
    evidence : float
        Against the expectation, in the direction of the live mean; said from 20 on.
    """

    series: RoundSeries
    expectation: Expectation
    standing: Standing
    said_in_round: int | None
    evidence: float

    @property
    def resolved_weeks(self) -> int:
        """Weeks with resolved rounds."""
        return int(np.isfinite(self.series.weekly()).sum())

    @property
    def mean_payout(self) -> float:
        """Mean payout of the resolved rounds, each week counting once; NaN without one."""
        weekly = self.series.weekly()
        return float(np.nanmean(weekly)) if np.isfinite(weekly).any() else float("nan")


def compare_rounds(series: RoundSeries, expectation: Expectation) -> Comparison:
    """Compare resolved rounds with an expectation; rounds of one week count as one, as they hold the same stocks."""
    surprises = expectation.surprises(series.weekly())
    answer = standing(surprises)
    week = first_said(-surprises if answer is Standing.ABOVE else surprises) if len(surprises) else None
    said = series.rounds[series.resolved & (series.weeks <= (-1 if week is None else week))]
    towards = surprises if np.nansum(surprises) <= 0 else -surprises
    evidence = float(evidence_below(towards)[-1]) if len(surprises) else 1.0
    return Comparison(series, expectation, answer, int(said[-1]) if len(said) else None, evidence)


def _closes(scores: dict[tuple[int, str], RoundScore], number: int, names: list[str]) -> datetime | None:
    return next((scores[number, name].closes for name in names if scores[number, name].closes), None)
