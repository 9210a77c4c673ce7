"""What a slot has at stake, and what its payouts may be: read only, nothing here moves a stake."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from signal_miner.models.expectation import Expectation
from signal_miner.numerai.round_records import RoundStake, RoundTerms
from signal_miner.overfitting.records import INTERVAL_LEVEL, Estimate

_WEEKS_A_MONTH = 4


@dataclass(frozen=True)
class StakeView:
    """A slot's stake in NMR, and the payouts that are expected of it.

    Attributes
    ----------
    at_risk : float
        Locked in rounds that are not resolved, together.
    rounds_at_risk : int
    pending, settled : float
        Payouts of unresolved rounds as of today, and of all resolved ones.
    payout : Estimate
        Of a round of the newest stake, in NMR, with the interval that holds 90% of rounds; as a share of the stake if
        nothing is at stake.
    losing_month : float
        Probability that the rounds of four weeks in a row lose together.
    staked : bool
        Whether `payout` is in NMR.
    """

    at_risk: float
    rounds_at_risk: int
    pending: float
    settled: float
    payout: Estimate
    losing_month: float
    staked: bool


def stake_view(stakes: Sequence[RoundStake], expectation: Expectation, terms: RoundTerms) -> StakeView:
    """Return what is at stake, and what the distribution that was expected makes of it."""
    open_ = [stake for stake in stakes if not stake.resolved]
    newest = stakes[-1].at_risk if stakes else 0.0
    factor = terms.payout_factor if math.isfinite(terms.payout_factor) else 1.0
    unit = newest * factor if newest > 0 else factor
    centred = expectation.centred
    low, high = np.quantile(centred, [(1 - INTERVAL_LEVEL) / 2, (1 + INTERVAL_LEVEL) / 2])
    return StakeView(
        at_risk=sum(stake.at_risk for stake in open_),
        rounds_at_risk=len(open_),
        pending=_total(stake.payout for stake in open_),
        settled=_total(stake.payout for stake in stakes if stake.resolved),
        payout=Estimate(expectation.mean * unit, float(low) * unit, float(high) * unit),
        losing_month=_share_of_losses(centred, _WEEKS_A_MONTH),
        staked=newest > 0,
    )


def _share_of_losses(payouts: NDArray[np.float64], weeks: int) -> float:
    """Return the share of runs of so many eras in a row, in the order of the eras, that lose together."""
    if len(payouts) < weeks:
        return math.nan
    sums = np.convolve(payouts, np.ones(weeks), "valid")
    return float((sums < 0).mean())


def _total(payouts: Iterable[float]) -> float:
    return sum(payout for payout in payouts if math.isfinite(payout))
