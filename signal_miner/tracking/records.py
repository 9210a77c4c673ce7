"""What is written to tracking and read back from it, free of MLflow itself."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from signal_miner.scoring import beats_benchmark as rule
from signal_miner.scoring.objective import DEFAULT_SCORING, Objective, Scoring
from signal_miner.scoring.study_scores import TEST, VALIDATION
from signal_miner.tracking.tags import (
    BENCHMARK_KIND,
    RACE_CONTROL,
    RACE_PARTIAL,
    RACE_REASON,
    RACE_STOPPED_AT,
    REPEAT_KIND,
)

FIXED_PARAMS = {"seed", "engine"}
"""Parameters of runs that are the same in all of a study, and no axes of its grid."""


class Checkpoint(StrEnum):
    """Where a trial is cut: its best number of trees in validation, or the number that was drawn."""

    BEST = "best"
    DRAWN = "drawn"

    @property
    def column(self) -> str:
        """Column of ``predictions.parquet``."""
        return "best_prediction" if self is Checkpoint.BEST else "prediction"

    @property
    def text(self) -> str:
        """How a caption ends, such as ``at their best checkpoints``."""
        return "at their best checkpoints" if self is Checkpoint.BEST else "as drawn"


@dataclass(frozen=True)
class RaceRecord:
    """What a race made of a trial.

    Attributes
    ----------
    control : str
        ``true`` or ``pilot`` of one that is trained to the end whatever it scores; empty of others.
    stopped_at : str
        ``fold 1, 40 trees`` of one that was stopped; empty of others.
    reason : str
        Why it was stopped or, of a control, would have been; empty of others.
    partial : bool
        Whether it was not trained to the drawn number of trees on every fold.
    """

    control: str = ""
    stopped_at: str = ""
    reason: str = ""
    partial: bool = False

    @classmethod
    def of(cls, tags: Mapping[str, str]) -> RaceRecord:
        """Return what a run's tags say."""
        return cls(
            tags.get(RACE_CONTROL, ""),
            tags.get(RACE_STOPPED_AT, ""),
            tags.get(RACE_REASON, ""),
            tags.get(RACE_PARTIAL) == "true",
        )

    @property
    def tags(self) -> dict[str, str]:
        """The tags that say it."""
        texts = {
            RACE_CONTROL: self.control,
            RACE_STOPPED_AT: self.stopped_at,
            RACE_REASON: self.reason,
            RACE_PARTIAL: "true" if self.partial else "",
        }
        return {key: text for key, text in texts.items() if text}


NO_RACE = RaceRecord()
"""Of a trial that was mined without a race."""


@dataclass(frozen=True)
class TrackedTrial:
    """A trial or benchmark as MLflow has it.

    Attributes
    ----------
    kind : str
        ``trial`` or ``benchmark``.
    number : int or None
        In its study; None for the benchmark.
    status : str
        MLflow's run status.
    beats_benchmark : mapping of str to bool
        For ``validation`` and ``test``.
    artifact_uri : str
        Location of its artifacts; empty if unknown.
    objective : Objective
        That `beats_benchmark` was decided by.
    payout : str
        How its payouts were computed, as `Payout` is written; empty where it has none.
    checkpoint : Checkpoint
        At which its scores by section are: `Checkpoint.BEST` in a study that races.
    race : RaceRecord
        What a race made of it.
    repeats : tuple of TrackedTrial
        The same configuration trained with further seeds, by seed; its number is the trial's.
    """

    run_id: str
    kind: str
    number: int | None
    status: str
    params: Mapping[str, str]
    metrics: Mapping[str, float]
    beats_benchmark: Mapping[str, bool]
    artifact_uri: str = ""
    objective: Objective = Objective.SHARPE
    payout: str = ""
    checkpoint: Checkpoint = Checkpoint.DRAWN
    race: RaceRecord = NO_RACE
    repeats: tuple[TrackedTrial, ...] = ()

    def is_scored_by(self, scoring: Scoring, checkpoint: Checkpoint = Checkpoint.DRAWN) -> bool:
        """Return whether its tracked scores are those of a scoring, at a checkpoint."""
        needs_none = not self.payout and scoring.objective.compared is Objective.CORR
        as_scored = self.objective is scoring.objective and (needs_none or self.payout == str(scoring.payout))
        return as_scored and self.checkpoint is checkpoint

    @property
    def name(self) -> str:
        """``trial 0007``, ``trial 0007 seed 8`` of a repeat, or ``benchmark``."""
        if self.number is None:
            return BENCHMARK_KIND
        return repeat_name(self.number, self.seed) if self.kind == REPEAT_KIND else trial_name(self.number)

    @property
    def seed(self) -> int:
        """Seed of its booster."""
        return int(self.params.get("seed", 0))

    def over_seeds(self, metric: str) -> tuple[float, float]:
        """Return the mean and the standard deviation (ddof=1) of a metric over its seeds, its own included.

        NaN where the metric is not tracked of all of them, and for the deviation of a single seed.
        """
        values = [run.metrics.get(metric, math.nan) for run in (self, *self.repeats)]
        return statistics.fmean(values), statistics.stdev(values) if len(values) > 1 else math.nan

    @property
    def wins(self) -> Mapping[str, bool]:
        """Whether it beats the benchmark with a score above 0, in ``validation`` and in ``test``: see `wins`."""
        return wins(self.metrics, self.beats_benchmark, self.objective)

    @property
    def held(self) -> bool:
        """Whether it wins in validation and in test."""
        return all(self.wins.values())

    def trees_at(self, checkpoint: Checkpoint) -> int | None:
        """Return its number of trees there; None if it is not tracked."""
        trees = self.params.get("n_estimators") if checkpoint is Checkpoint.DRAWN else self.metrics.get("best/trees")
        return None if trees is None else int(trees)

    def scores_at(self, checkpoint: Checkpoint) -> Mapping[str, float]:
        """Return its metrics there, by names such as ``validation/sharpe``."""
        if checkpoint is Checkpoint.DRAWN:
            return self.metrics
        best = ((name, name.removeprefix("best/")) for name in self.metrics if name.startswith("best/"))
        return {short.replace("_", "/", 1): self.metrics[name] for name, short in best}

    @property
    def finished(self) -> bool:
        """Whether the run is FINISHED."""
        return self.status == "FINISHED"

    @property
    def stopped(self) -> bool:
        """Whether a race stopped it."""
        return bool(self.race.stopped_at)

    @property
    def failed(self) -> bool:
        """Whether its training raised an error."""
        return not self.finished and not self.stopped


@dataclass(frozen=True)
class StudyRecord:
    """What is written of a study before its first trial.

    Attributes
    ----------
    params : mapping of str to object
        Settings shown on the study's run.
    experiment_file : str
        The file as written.
    plan : mapping of str to object
        All resolved settings: see `experiment.plan.plan_record`.
    data_name, data_digest, data_source : str
        The dataset input.
    data_content : str
        Digest of the data's values: a study is resumed on the same values only.
    data_profile : mapping of str to object
        Numbers of rows, eras and features.
    scoring : Scoring
        By what its models are ranked, and the multipliers of payouts, which stay those that it began with.
    """

    study: str
    config_hash: str
    params: Mapping[str, Any]
    experiment_file: str
    plan: Mapping[str, Any]
    data_name: str
    data_digest: str
    data_content: str
    data_source: str
    data_profile: Mapping[str, Any]
    scoring: Scoring = DEFAULT_SCORING


def wins(metrics: Mapping[str, float], beats_benchmark: Mapping[str, bool], objective: Objective) -> dict[str, bool]:
    """Return in which sections a model wins, by its tracked metrics; see `beats_benchmark.wins`."""
    return {
        part: bool(rule.wins(beats_benchmark.get(part, False), metrics.get(f"{part}/{objective.compared}", 0.0)))
        for part in (VALIDATION, TEST)
    }


def repeat_name(number: int, seed: int) -> str:
    """Return the name in the UI of a trial trained again with another seed."""
    return f"{trial_name(number)} seed {seed}"


def trial_name(number: int) -> str:
    """Return a trial's name in the UI."""
    return f"trial {number:04d}"
