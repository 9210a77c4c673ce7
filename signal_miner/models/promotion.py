"""Whether a new version becomes champion: compared on validation eras of the same data, or as the user chose."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum, auto
from typing import TYPE_CHECKING

import pandas as pd

from signal_miner.errors import UserError
from signal_miner.models.options import ALWAYS, IF_BETTER, SCALED, RegistrationOptions
from signal_miner.scoring.beats_benchmark import is_above, is_positive, scores_above
from signal_miner.scoring.objective import DEFAULT_SCORING, Objective, Scoring
from signal_miner.utils.redaction import reason_of

if TYPE_CHECKING:  # it imports MLflow, which sentences on a promotion do not need
    from signal_miner.models.registry import ModelVersion

FEWEST_ERAS = 4
"""Common eras below which no comparison is made."""


class Reason(Enum):
    """Why a version became champion, or did not; `report.sentences.promotion_reason` words it."""

    CHOSEN = auto()
    BELOW_BENCHMARK = auto()
    NOT_POSITIVE = auto()
    FIRST = auto()
    SCALED_TREES = auto()
    SAME_ENSEMBLE = auto()
    OTHER_DATA = auto()
    OTHER_BENCHMARK = auto()
    UNREADABLE = auto()
    COMPARED = auto()


@dataclass(frozen=True)
class Comparison:
    """A challenger against the champion: an objective over their common validation eras, NaN below `FEWEST_ERAS`."""

    eras: int
    challenger: float
    champion: float
    objective: Objective = Objective.SHARPE

    @property
    def beats(self) -> bool:
        """Whether the challenger's score is higher."""
        return self.challenger > self.champion


@dataclass(frozen=True)
class SectionScores:
    """Scores of an ensemble and of its study's benchmark in a section; NaN for what is not tracked.

    Attributes
    ----------
    undefined_eras : int
        Eras in which the benchmark has a CORR and the ensemble has none.
    payout, benchmark_payout, payout_lead : float
        Mean payouts of both, and how far the ensemble's is above in the half of the eras in which it is less so.
    objective : Objective
        Of the study.
    """

    section: str
    corr: float
    sharpe: float
    benchmark_corr: float
    benchmark_sharpe: float
    undefined_eras: int
    payout: float = math.nan
    benchmark_payout: float = math.nan
    payout_lead: float = math.nan
    objective: Objective = Objective.SHARPE

    @property
    def pays(self) -> bool:
        """Whether payouts are compared, and not CORR."""
        return self.objective.compared is Objective.PAYOUT

    @property
    def beats_benchmark(self) -> bool:
        """Whether it beats the benchmark by the objective, with CORR defined in every era that the benchmark has."""
        if self.pays:
            return bool(scores_above(self.payout_lead, 0.0, self.undefined_eras))
        return bool(is_above(self.corr, self.sharpe, self.benchmark_corr, self.benchmark_sharpe, self.undefined_eras))

    @property
    def positive(self) -> bool:
        """Whether CORR, and with it Sharpe, is positive; or the payout."""
        return bool(is_positive(self.payout if self.pays else self.corr))

    @classmethod
    def of(
        cls, section: str, metrics: Mapping[str, float], benchmark: Mapping[str, float], objective: Objective
    ) -> SectionScores:
        """Read the scores from the tracked metrics of both runs."""
        names = (f"{section}/corr", f"{section}/sharpe")
        corr, sharpe = (metrics.get(name, math.nan) for name in names)
        benchmark_corr, benchmark_sharpe = (benchmark.get(name, math.nan) for name in names)
        undefined = int(metrics.get(f"{section}/undefined_eras", 0))
        payout, lead = (metrics.get(f"{section}/{name}", math.nan) for name in ("payout", "payout_lead"))
        paid = benchmark.get(f"{section}/payout", math.nan)
        return cls(section, corr, sharpe, benchmark_corr, benchmark_sharpe, undefined, payout, paid, lead, objective)


@dataclass(frozen=True)
class Promotion:
    """Whether a version becomes champion, and why.

    Attributes
    ----------
    section : SectionScores or None
        The first that speaks against it, with `Reason.BELOW_BENCHMARK` and `Reason.NOT_POSITIVE`.
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
    section: SectionScores | None = None


def decide_promotion(
    options: RegistrationOptions,
    run_id: str,
    sections: Sequence[SectionScores],
    scored_on: Mapping[str, str],
    champion: ModelVersion | None,
    era_scores: Callable[[str], pd.DataFrame],
    scoring: Scoring = DEFAULT_SCORING,
    contribution: Mapping[str, str] | None = None,
) -> Promotion:
    """Decide whether the ensemble of a run becomes champion.

    Unless the user chose, it has to beat the benchmark and have a positive score in each of the sections, and to beat
    the champion, if there is one.

    Parameters
    ----------
    sections : sequence of SectionScores
        Validation and test.
    scored_on : mapping of str to str
        Tags that a comparable champion has with the same values.
    era_scores : callable
        Returns ``era_scores.parquet`` of a run; raises UserError, OSError or ValueError where it cannot.
    scoring : Scoring
        Of the study: what champion and challenger are compared by.
    contribution : mapping of str to str, optional
        Tags of which a champion has one with the same value if its BMC was taken against the same benchmark. It has to
        have one where BMC is a part of what is compared.
    """
    if options.promote != IF_BETTER:
        return Promotion(options.promote == ALWAYS, Reason.CHOSEN)
    refit_of_champion = champion is not None and champion.run_id == run_id and options.trees != SCALED
    if not refit_of_champion:  # which was accepted as champion before
        for section in sections:
            if not section.beats_benchmark:
                return Promotion(False, Reason.BELOW_BENCHMARK, section=section)
            if not section.positive:
                return Promotion(False, Reason.NOT_POSITIVE, section=section)
    if champion is None:
        return Promotion(True, Reason.FIRST)
    if options.trees == SCALED:
        return Promotion(False, Reason.SCALED_TREES)
    if refit_of_champion:
        return Promotion(True, Reason.SAME_ENSEMBLE)
    if any(champion.tags.get(tag) != value for tag, value in scored_on.items()):
        return Promotion(False, Reason.OTHER_DATA, champion.version)
    against = contribution or {}
    alike = not against or any(champion.tags.get(tag) == value for tag, value in against.items())
    if scoring.objective.compared is Objective.PAYOUT and not alike:
        return Promotion(False, Reason.OTHER_BENCHMARK, champion.version)
    try:
        theirs = era_scores(champion.run_id)
    except (UserError, OSError, ValueError) as error:
        return Promotion(False, Reason.UNREADABLE, champion.version, error=reason_of(error))
    comparison = compare(era_scores(run_id), theirs, scoring)
    return Promotion(comparison.beats, Reason.COMPARED, champion.version, comparison)


def compare(challenger: pd.DataFrame, champion: pd.DataFrame, scoring: Scoring = DEFAULT_SCORING) -> Comparison:
    """Compare two ensembles by their ``era_scores.parquet``, without the last fold of each, which is test."""
    mine, theirs = _validation_scores(challenger, scoring), _validation_scores(champion, scoring)
    objective = scoring.objective
    theirs = theirs.dropna()
    common = mine.index.intersection(theirs.index)
    if len(common) < FEWEST_ERAS:
        return Comparison(len(common), math.nan, math.nan, objective)
    whole = bool(mine[common].notna().all())  # an era without a score counts against the challenger
    own, other = (float(objective.summary(each[common])) for each in (mine, theirs))
    return Comparison(len(common), own if whole else math.nan, other, objective)


def _validation_scores(scores: pd.DataFrame, scoring: Scoring) -> pd.Series[float]:
    validation = scores[scores["fold"] < scores["fold"].max()].set_index("era").sort_index()
    bmc = validation.get("bmc", math.nan)
    return pd.Series(scoring.era_scores(validation["corr"], bmc), validation.index)
