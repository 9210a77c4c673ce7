"""The leaderboard of a study: trials by validation Sharpe, with the benchmark in its place."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from signal_miner.scoring.study_scores import TEST, VALIDATION
from signal_miner.tracking.records import TrackedTrial


@dataclass(frozen=True)
class RankedTrial:
    """One line of a leaderboard.

    Attributes
    ----------
    rank : int
        1 for the highest validation Sharpe.
    trial : TrackedTrial
    """

    rank: int
    trial: TrackedTrial


@dataclass(frozen=True)
class Leaderboard:
    """Finished trials and the benchmark, ranked by validation alone.

    Attributes
    ----------
    places : tuple of RankedTrial
        All of them, best first.
    failed : int
        Trials that failed.
    """

    places: tuple[RankedTrial, ...]
    failed: int

    @property
    def beating(self) -> tuple[RankedTrial, ...]:
        """Trials that beat the benchmark in validation."""
        return tuple(place for place in self.places if place.trial.beats_benchmark["validation"])

    @property
    def held(self) -> tuple[RankedTrial, ...]:
        """Trials that beat the benchmark in validation and in test, with a CORR above 0 in both."""
        return tuple(place for place in self.beating if place.trial.held)

    @property
    def benchmark_losses(self) -> Mapping[str, float]:
        """The benchmark's CORR in those of validation and test in which it is not above 0: beating it means little."""
        benchmark = next(place.trial for place in self.places if place.trial.number is None)
        return losses(benchmark.metrics)

    @property
    def finished(self) -> int:
        """Number of finished trials; the benchmark is none."""
        return sum(place.trial.number is not None for place in self.places)


def losses(metrics: Mapping[str, float]) -> dict[str, float]:
    """Return a model's mean CORR in those of validation and test in which it is not above 0."""
    known = {section: metrics[f"{section}/corr"] for section in (VALIDATION, TEST) if f"{section}/corr" in metrics}
    return {section: corr for section, corr in known.items() if corr <= 0}


@dataclass(frozen=True)
class Shortfall:
    """A score in test that is below the benchmark's: ``sharpe``, or ``corr`` where Sharpe is not below."""

    metric: str
    model: float
    benchmark: float


def ranked(trials: Iterable[TrackedTrial]) -> list[TrackedTrial]:
    """Return trials by validation Sharpe, the highest first; those without one, or not whole in validation, last.

    A trial whose CORR is not defined in some eras has its Sharpe from the others alone, and cannot be set beside whole
    ones.
    """

    def score(trial: TrackedTrial) -> tuple[bool, float, int]:
        value = trial.metrics.get("validation/sharpe", -math.inf)
        return not trial.metrics.get("validation/undefined_eras"), value, -(trial.number or 0)

    return sorted(trials, key=score, reverse=True)


def make_leaderboard(trials: Sequence[TrackedTrial], benchmark: TrackedTrial) -> Leaderboard:
    """Rank trials and the benchmark by validation Sharpe."""
    finished = [benchmark, *(trial for trial in trials if trial.finished)]
    places = tuple(RankedTrial(rank, trial) for rank, trial in enumerate(ranked(finished), start=1))
    return Leaderboard(places, failed=sum(not trial.finished for trial in trials))


def below_benchmark(metrics: Mapping[str, float], benchmark: Mapping[str, float]) -> Shortfall | None:
    """Return by what a model is below the benchmark in test, from the tracked metrics of both; None if it is not."""
    for metric in ("sharpe", "corr"):
        own, other = (scores.get(f"test/{metric}", math.nan) for scores in (metrics, benchmark))
        if own < other:
            return Shortfall(metric, own, other)
    return None
