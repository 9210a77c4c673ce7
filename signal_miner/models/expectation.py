"""What is expected of a model in live rounds: the scores of eras that it was not trained on, kept with its version."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from signal_miner.errors import UserError
from signal_miner.overfitting.records import EXPECTED
from signal_miner.scoring.objective import Objective
from signal_miner.scoring.payout import Payout
from signal_miner.scoring.sharpe_ratio import effective_observations
from signal_miner.scoring.study_scores import TEST, VALIDATION
from signal_miner.utils.redaction import reason_of

EXPECTED_SCORES = "expected_scores.parquet"
"""Artifact of a registered version, a row an era: ``era``, ``section``, ``corr``, ``bmc``, and ``by_choosing`` alike in
all rows. Versions made before have none; the era scores of their ensembles' runs say the same."""

FEWEST_ERAS = 26
"""Eras of test below which validation, less what choosing adds to it, counts, too."""

_OVERLAP_ERAS = 11  # of a 60-day target


@dataclass(frozen=True, eq=False)
class ExpectedScores:
    """Scores of single eras.

    Attributes
    ----------
    eras : tuple of str
        Labels, oldest first.
    corr, bmc : ndarray of float64, shape (n_eras,)
    in_test : ndarray of bool, shape (n_eras,)
    by_choosing : float
        What choosing the model by validation added to its mean payout there, in standard deviations of an era's payout:
        `ensemble.expectation` repeats the selection on other eras. NaN where it cannot, as for members that were named.
    """

    eras: tuple[str, ...]
    corr: NDArray[np.float64]
    bmc: NDArray[np.float64]
    in_test: NDArray[np.bool_]
    by_choosing: float = np.nan

    @classmethod
    def of_run(cls, era_scores: pd.DataFrame, metrics: Mapping[str, float]) -> ExpectedScores:
        """Make them of an ensemble's ``era_scores.parquet``, whose last fold is test, and of its run's metrics."""
        eras = era_scores.sort_values(["fold", "era"], kind="stable")
        bmc = eras["bmc"] if "bmc" in eras else pd.Series(np.nan, eras.index)
        return cls(
            tuple(map(str, eras["era"])),
            eras["corr"].to_numpy(np.float64),
            np.asarray(bmc, dtype=np.float64),
            np.asarray(eras["fold"] == eras["fold"].max(), dtype=bool),
            _by_choosing(metrics),
        )

    @classmethod
    def read(cls, path: Path) -> ExpectedScores:
        """Read `EXPECTED_SCORES`; raise a `UserError` if it is damaged."""
        try:
            eras = pd.read_parquet(path)
            return cls(
                tuple(map(str, eras["era"])),
                eras["corr"].to_numpy(np.float64),
                eras["bmc"].to_numpy(np.float64),
                np.asarray(eras["section"] == TEST, dtype=bool),
                float(eras["by_choosing"].iloc[0]) if "by_choosing" in eras and len(eras) else np.nan,
            )
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise UserError(f"{path.name} cannot be read ({reason_of(error)}); register the ensemble again") from error

    def write(self, path: Path) -> None:
        """Write `EXPECTED_SCORES`."""
        section = np.where(self.in_test, TEST, VALIDATION)
        columns = {"era": self.eras, "section": section, "corr": self.corr, "bmc": self.bmc}
        pd.DataFrame(columns).assign(by_choosing=self.by_choosing).to_parquet(path, index=False)

    def expected(self, payout: Payout) -> Expectation:
        """Return the distribution of an era's payout, with BMC in place of MMC.

        Its mean is that of test, by which nothing was chosen. Where test is short, validation counts by its eras, less
        what choosing added to it, as in `overfitting.expectation.expectation_from`.

        Raises
        ------
        UserError
            If fewer than two eras have both scores.
        """
        paid = payout.of(self.corr, self.bmc)
        known = np.isfinite(paid)
        if known.sum() < 2:
            raise UserError(
                "the model has no scores to expect anything from; register an ensemble whose eras have CORR and BMC"
            )
        counted = known & self.in_test if (known & self.in_test).sum() >= FEWEST_ERAS else known
        return Expectation(
            payouts=paid[known],
            mean=float(np.mean(paid[counted])) - self._added_by_choosing(paid, counted),
            deviation=_deviation(paid[counted]),
            corr=float(np.mean(self.corr[counted])),
            bmc=float(np.mean(self.bmc[counted])),
            eras=int(counted.sum()),
            section=TEST if counted.sum() < known.sum() or self.in_test[known].all() else "validation and test",
        )

    def _added_by_choosing(self, paid: NDArray[np.float64], counted: NDArray[np.bool_]) -> float:
        validation = counted & ~self.in_test
        if not validation.any() or not np.isfinite(self.by_choosing):
            return 0.0
        return float(self.by_choosing * np.std(paid[validation]) * validation.sum() / counted.sum())


@dataclass(frozen=True, eq=False)
class Expectation:
    """The distribution of an era's payout, as a share of the stake.

    Attributes
    ----------
    payouts : ndarray of float64, shape (n_eras,)
        Of all eras with scores, in their order.
    mean, deviation : float
        Expected payout of an era, and the standard deviation of one era's.
    corr, bmc : float
        Means over the same eras.
    eras : int
        That they are taken from.
    section : str
        ``test``, or ``validation and test``.
    """

    payouts: NDArray[np.float64]
    mean: float
    deviation: float
    corr: float
    bmc: float
    eras: int
    section: str

    def surprises(self, live: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return live payouts less the expected one, in standard deviations."""
        return np.asarray((live - self.mean) / self.deviation, dtype=np.float64)

    @property
    def centred(self) -> NDArray[np.float64]:
        """Payouts of all eras, shifted to the expected mean: what a round, or several in a row, may bring."""
        return np.asarray(self.payouts - self.payouts.mean() + self.mean, dtype=np.float64)


def _by_choosing(metrics: Mapping[str, float]) -> float:
    """Return what choosing added to the mean payout of validation, in standard deviations; NaN if it is not tracked."""
    names = (f"{VALIDATION}/{Objective.PAYOUT}", f"{VALIDATION}/{Objective.PAYOUT_SHARPE}")
    shown, ratio = (metrics.get(name, np.nan) for name in names)
    expected = metrics.get(f"{EXPECTED}/{Objective.PAYOUT}_by_validation", np.nan)
    return (shown - expected) / shown * ratio if shown else np.nan


def _deviation(payouts: NDArray[np.float64]) -> float:
    """Return the standard deviation of an era's payout, corrected for the few independent eras behind it."""
    independent = effective_observations(payouts, _OVERLAP_ERAS)
    spread = float(np.std(payouts)) / np.sqrt(1 - min(0.5, 1 / independent))
    return max(float(spread), 1e-9)
