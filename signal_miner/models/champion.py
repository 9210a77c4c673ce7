"""Whether a new ensemble beats the champion: on validation eras of the same data that both were judged on."""

from __future__ import annotations

import math
from dataclasses import dataclass

import pandas as pd

from signal_miner.scoring.series import sharpe
from signal_miner.utils.formatting import number_text

FEWEST_ERAS = 4
"""Common eras below which no comparison is made."""


@dataclass(frozen=True)
class Comparison:
    """A challenger against the champion.

    Attributes
    ----------
    eras : int
        Validation eras that both have.
    challenger, champion : float
        Sharpe of CORR over these eras; NaN where there are too few.
    """

    eras: int
    challenger: float
    champion: float

    @property
    def beats(self) -> bool:
        """Whether the challenger's Sharpe is higher."""
        return self.challenger > self.champion

    @property
    def sentence(self) -> str:
        """What was compared, in a few words."""
        if self.eras < FEWEST_ERAS:
            return f"they have {self.eras} validation era{'s' * (self.eras != 1)} in common, too few to compare"
        own, other = number_text(self.challenger, 3), number_text(self.champion, 3)
        return f"validation Sharpe {own} against {other} on {self.eras} common eras"


def compare(challenger: pd.DataFrame, champion: pd.DataFrame) -> Comparison:
    """Compare two ensembles.

    Parameters
    ----------
    challenger, champion : pandas.DataFrame
        Their ``era_scores.parquet``: ``era``, ``fold``, ``corr``. The last fold of each is test and is left out.

    Returns
    -------
    Comparison
    """
    mine, theirs = _validation_corr(challenger), _validation_corr(champion)
    theirs = theirs.dropna()
    common = mine.index.intersection(theirs.index)
    if len(common) < FEWEST_ERAS:
        return Comparison(len(common), float("nan"), float("nan"))
    whole = bool(mine[common].notna().all())  # an era without a score counts against the challenger
    return Comparison(len(common), float(sharpe(mine[common])) if whole else math.nan, float(sharpe(theirs[common])))


def _validation_corr(scores: pd.DataFrame) -> pd.Series[float]:
    validation = scores[scores["fold"] < scores["fold"].max()]
    corr: pd.Series[float] = validation.set_index("era")["corr"].sort_index()
    return corr
