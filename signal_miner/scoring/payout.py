"""What Numerai pays for the scores of an era, with BMC in place of MMC."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray


@dataclass(frozen=True)
class Payout:
    """Numerai's multipliers of a stake: ``clip(corr × CORR + mmc × MMC, ± clip)``.

    MMC needs the meta model, which is published for the newest eras alone. BMC, the contribution to a benchmark, is
    its proxy over all eras.

    Attributes
    ----------
    corr, mmc : float
        Multipliers of CORR and of MMC.
    clip : float
        Largest share of a stake that is won or lost in one era.
    """

    corr: float
    mmc: float
    clip: float

    @property
    def pays(self) -> bool:
        """Whether these are multipliers that anything can be ranked by: finite, not negative, and not all 0."""
        finite = bool(np.isfinite([self.corr, self.mmc, self.clip]).all())
        return finite and min(self.corr, self.mmc) >= 0 < self.clip and self.corr + self.mmc > 0

    def of(self, corr: ArrayLike, bmc: ArrayLike) -> NDArray[np.float64]:
        """Return the payout of each era as a share of the stake; arguments broadcast, NaN where one of them is."""
        paid: NDArray[np.float64] = np.clip(
            self.corr * np.asarray(corr, dtype=np.float64) + self.mmc * np.asarray(bmc, dtype=np.float64),
            -self.clip,
            self.clip,
        )
        return paid

    def __str__(self) -> str:
        return f"{self.corr:g} × CORR + {self.mmc:g} × MMC, clipped to ±{self.clip:g}"


DEFAULT_PAYOUT = Payout(corr=3.0, mmc=15.0, clip=1.0)
DEFAULT_ROUND, DEFAULT_DATE = 1343, "2026-08-28"
"""The round from which Numerai pays by `DEFAULT_PAYOUT`, and the day on which it opened."""
