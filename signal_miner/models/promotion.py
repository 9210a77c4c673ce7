"""Whether a new version becomes champion: compared on validation eras of the same data, or as the user chose."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING

import pandas as pd

from signal_miner.errors import UserError
from signal_miner.models.options import ALWAYS, IF_BETTER, SCALED, RegistrationOptions
from signal_miner.scoring.series import sharpe
from signal_miner.utils.redaction import reason_of

if TYPE_CHECKING:  # it imports MLflow, which sentences on a promotion do not need
    from signal_miner.models.registry import ModelVersion

FEWEST_ERAS = 4
"""Common eras below which no comparison is made."""


class Reason(Enum):
    """Why a version became champion, or did not."""

    CHOSEN = "the user's choice of promote"
    FIRST = "there was no champion"
    SCALED_TREES = "its numbers of trees were never validated"
    SAME_ENSEMBLE = "the champion is the same ensemble"
    OTHER_DATA = "the champion was mined on other data or scored on another target"
    UNREADABLE = "the champion's scores cannot be read"
    COMPARED = "both were compared"


@dataclass(frozen=True)
class Comparison:
    """A challenger against the champion: Sharpe of CORR over their common validation eras, NaN below `FEWEST_ERAS`."""

    eras: int
    challenger: float
    champion: float

    @property
    def beats(self) -> bool:
        """Whether the challenger's Sharpe is higher."""
        return self.challenger > self.champion


@dataclass(frozen=True)
class Promotion:
    """Whether a version becomes champion, and why.

    Attributes
    ----------
    champion_version : str
        Of the champion until then; empty where there was none or it does not matter.
    comparison : Comparison or None
        With `Reason.COMPARED`.
    error : str
        With `Reason.UNREADABLE`.
    """

    promoted: bool
    reason: Reason
    champion_version: str = ""
    comparison: Comparison | None = None
    error: str = ""


def decide_promotion(
    options: RegistrationOptions,
    run_id: str,
    scored_on: Mapping[str, str],
    champion: ModelVersion | None,
    era_scores: Callable[[str], pd.DataFrame],
) -> Promotion:
    """Decide whether the ensemble of a run becomes champion.

    Parameters
    ----------
    scored_on : mapping of str to str
        Tags that a comparable champion has with the same values.
    era_scores : callable
        Returns ``era_scores.parquet`` of a run; raises UserError, OSError or ValueError where it cannot.
    """
    if options.promote != IF_BETTER:
        return Promotion(options.promote == ALWAYS, Reason.CHOSEN)
    if champion is None:
        return Promotion(True, Reason.FIRST)
    if options.trees == SCALED:
        return Promotion(False, Reason.SCALED_TREES)
    if champion.run_id == run_id:
        return Promotion(True, Reason.SAME_ENSEMBLE)
    if any(champion.tags.get(tag) != value for tag, value in scored_on.items()):
        return Promotion(False, Reason.OTHER_DATA, champion.version)
    try:
        theirs = era_scores(champion.run_id)
    except (UserError, OSError, ValueError) as error:
        return Promotion(False, Reason.UNREADABLE, champion.version, error=reason_of(error))
    comparison = compare(era_scores(run_id), theirs)
    return Promotion(comparison.beats, Reason.COMPARED, champion.version, comparison)


def compare(challenger: pd.DataFrame, champion: pd.DataFrame) -> Comparison:
    """Compare two ensembles by their ``era_scores.parquet``, without the last fold of each, which is test."""
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
