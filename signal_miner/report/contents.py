"""What a study's report is made of: frozen, independent of where it was read."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from signal_miner.experiment.schema import BENCHMARK
from signal_miner.overfitting.records import Estimate, ModelEvaluation, StudyEvaluation
from signal_miner.scoring.objective import Objective, Scoring
from signal_miner.scoring.study_scores import Correlations, StudyScores
from signal_miner.tracking.ranking import Leaderboard, make_leaderboard
from signal_miner.tracking.records import TrackedTrial
from signal_miner.tracking.studies import scoring_of

if TYPE_CHECKING:  # it imports numerapi and MLflow
    from signal_miner.live.review import LiveModel


@dataclass(frozen=True, eq=False)
class ReportedEnsemble:
    """An ensemble of the study, beside its trials.

    Attributes
    ----------
    evaluation : ModelEvaluation
        Verdicts on it.
    """

    name: str
    run_id: str
    metrics: Mapping[str, float]
    beats_benchmark: Mapping[str, bool]
    members: int
    evaluation: ModelEvaluation

    def expectation(self, objective: Objective) -> Estimate:
        """Return the score to expect of it and the interval; NaN where it was not estimated."""
        value, low, high = (
            self.metrics.get(f"expected/{objective}{ending}", math.nan) for ending in ("", "_low", "_high")
        )
        return Estimate(value, low, high)


@dataclass(frozen=True, eq=False)
class ReportContents:
    """All that a report shows.

    Attributes
    ----------
    study, experiment : str
        Names of both.
    made : datetime
        When the report was made.
    plan : mapping of str to object
        As `signal_miner.experiment.plan.plan_record` writes it.
    trials : tuple of TrackedTrial
        The finished trials in the order of `scores.names`: best first.
    correlations : Correlations or None
        Of the leaders and the benchmark; None where their predictions are not at hand.
    holdout : str or None
        A sentence on the holdout, when it has been opened.
    ensembles : tuple of ReportedEnsemble
        Made of the study's trials, best in validation first.
    experiment_id : str
        MLflow's, for links to runs; empty where there are none.
    live : tuple of LiveModel
        The slots at Numerai that the study's ensembles are in.

    Raises
    ------
    ValueError
        If there is no trial or no leader, or trials and scores are not of the same models.
    """

    study: str
    experiment: str
    made: datetime
    plan: Mapping[str, Any]
    scores: StudyScores
    evaluation: StudyEvaluation
    trials: tuple[TrackedTrial, ...]
    benchmark: TrackedTrial
    correlations: Correlations | None
    holdout: str | None
    ensembles: tuple[ReportedEnsemble, ...] = ()
    experiment_id: str = ""
    live: tuple[LiveModel, ...] = ()

    def __post_init__(self) -> None:
        if tuple(trial.number for trial in self.trials) != self.scores.numbers:
            raise ValueError("trials and scores are not of the same models in the same order")
        if not self.trials or not self.evaluation.leaders:
            raise ValueError("a report needs at least one finished trial with a verdict")

    @property
    def against(self) -> str:
        """What BMC and the correlation with it are against, in words: the study's benchmark or a column of the data."""
        column = str(self.plan.get("experiment", {}).get("contribution_to", BENCHMARK))
        return "the benchmark" if column == BENCHMARK else column

    @property
    def scoring(self) -> Scoring:
        """How the study's models are scored."""
        return scoring_of(self.plan)

    @property
    def metrics(self) -> tuple[Mapping[str, float], ...]:
        """The metrics of the trials, the ensembles and the benchmark."""
        own = (each.metrics for each in self.ensembles)
        return (*(trial.metrics for trial in self.trials), *own, self.benchmark.metrics)

    @property
    def objective(self) -> Objective:
        """What the study's models are ranked by."""
        return self.scores.objective

    @property
    def ratio(self) -> Objective:
        """The Sharpe ratio of what trials are compared in."""
        return Objective.PAYOUT_SHARPE if self.objective.compared is Objective.PAYOUT else Objective.SHARPE

    @property
    def leaderboard(self) -> Leaderboard:
        """The trials and the benchmark in the order of the objective."""
        return make_leaderboard(self.trials, self.benchmark, self.objective)

    @property
    def chosen(self) -> ModelEvaluation:
        """The first leader: the model that validation chooses."""
        return self.evaluation.leaders[0]

    @property
    def chosen_trial(self) -> TrackedTrial:
        """The first leader as tracked."""
        return next(trial for trial in self.trials if trial.number == self.chosen.number)
