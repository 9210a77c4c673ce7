"""The leaderboard of a study: trials by its objective in validation, with the benchmark in its place."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from signal_miner.scoring.objective import Objective
from signal_miner.scoring.study_scores import TEST, VALIDATION
from signal_miner.tracking.records import Checkpoint, TrackedTrial


@dataclass(frozen=True)
class RankedTrial:
    """One line of a leaderboard.

    Attributes
    ----------
    rank : int
        1 for the best in validation.
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
    objective : Objective
        What they are ranked by.
    stopped : int
        Trials that a race stopped.
    checkpoint : Checkpoint
        At which their scores are.
    """

    places: tuple[RankedTrial, ...]
    failed: int
    objective: Objective
    stopped: int = 0
    checkpoint: Checkpoint = Checkpoint.DRAWN

    @property
    def beating(self) -> tuple[RankedTrial, ...]:
        """Trials that beat the benchmark in validation."""
        return tuple(place for place in self.places if place.trial.beats_benchmark["validation"])

    @property
    def held(self) -> tuple[RankedTrial, ...]:
        """Trials that beat the benchmark in validation and in test, with a CORR, or payout, above 0 in both."""
        return tuple(place for place in self.beating if place.trial.held)

    @property
    def benchmark_losses(self) -> Mapping[str, float]:
        """The benchmark's CORR, or payout, where it is not above 0 in validation or test: beating it means little."""
        benchmark = next(place.trial for place in self.places if place.trial.number is None)
        return losses(benchmark.metrics, self.objective)

    @property
    def finished(self) -> int:
        """Number of finished trials; the benchmark is none."""
        return sum(place.trial.number is not None for place in self.places)


def losses(metrics: Mapping[str, float], objective: Objective) -> dict[str, float]:
    """Return what a model is compared in, mean CORR or payout, in validation and test where it is not above 0."""
    scores = {section: metrics.get(f"{section}/{objective.compared}", math.nan) for section in (VALIDATION, TEST)}
    return {section: score for section, score in scores.items() if score <= 0}


@dataclass(frozen=True)
class Shortfall:
    """A score in test that is below the benchmark's: payout; or Sharpe, or CORR where Sharpe is not below."""

    metric: Objective
    model: float
    benchmark: float


def ranked(trials: Iterable[TrackedTrial], objective: Objective) -> list[TrackedTrial]:
    """Return trials by an objective, the best first; those without a score, or not whole in validation, last.

    Those trained with several seeds come first, by the mean: a single seed's score of the best of many is too high to
    be set beside it. The benchmark has the place before the first trial that is below it. A trial whose CORR is not
    defined in some eras has its score from the others alone, and cannot be set beside whole ones.
    """

    def key(trial: TrackedTrial) -> tuple[bool, bool, float, int]:
        return (
            not trial.metrics.get("validation/undefined_eras"),
            bool(trial.repeats),
            score(trial),
            -(trial.number or 0),
        )

    def score(trial: TrackedTrial) -> float:
        value = trial.over_seeds(objective.metric)[0]
        return value if math.isfinite(value) else -math.inf

    found = list(trials)
    if not any(trial.repeats for trial in found):
        return sorted(found, key=key, reverse=True)
    order = sorted((trial for trial in found if trial.number is not None), key=key, reverse=True)
    for benchmark in (trial for trial in found if trial.number is None):
        place = next((place for place, trial in enumerate(order) if score(trial) < score(benchmark)), len(order))
        order.insert(place, benchmark)
    return order


@dataclass(frozen=True)
class SeedNoise:
    """What seeds alone do to the scores of leaders that were trained with several.

    Attributes
    ----------
    objective : Objective
        The score.
    leaders, seeds : int
        How many there are, and the fewest seeds of one of them.
    spread : float
        Standard deviation of a score between seeds, pooled over the leaders.
    lead : float
        Mean score of the first less that of the second; NaN where there is no second.
    """

    objective: Objective
    leaders: int
    seeds: int
    spread: float
    lead: float

    @property
    def of_lead(self) -> float:
        """Standard deviation of the lead by seeds alone."""
        return self.spread * math.sqrt(2 / self.seeds)


def seed_noise(trials: Iterable[TrackedTrial], objective: Objective) -> SeedNoise | None:
    """Return what seeds do to the scores of trials in their order; None where none was trained with several."""
    leaders = [trial for trial in trials if trial.repeats]
    found = [trial.over_seeds(objective.metric) for trial in leaders]
    if not all(math.isfinite(value) for each in found for value in each) or not found:
        return None
    spread = math.sqrt(sum(deviation**2 for _, deviation in found) / len(found))
    lead = found[0][0] - found[1][0] if len(found) > 1 else math.nan
    return SeedNoise(objective, len(found), min(len(trial.repeats) + 1 for trial in leaders), spread, lead)


def make_leaderboard(trials: Sequence[TrackedTrial], benchmark: TrackedTrial, objective: Objective) -> Leaderboard:
    """Rank trials and the benchmark by an objective."""
    finished = [benchmark, *(trial for trial in trials if trial.finished)]
    places = tuple(RankedTrial(rank, trial) for rank, trial in enumerate(ranked(finished, objective), start=1))
    return Leaderboard(
        places,
        failed=sum(trial.failed for trial in trials),
        objective=objective,
        stopped=sum(trial.stopped for trial in trials),
        checkpoint=finished[-1].checkpoint,
    )


def below_benchmark(
    metrics: Mapping[str, float], benchmark: Mapping[str, float], objective: Objective
) -> Shortfall | None:
    """Return by what a model is below the benchmark in test, from the tracked metrics of both; None if it is not."""
    paying = objective.compared is Objective.PAYOUT
    for metric in (Objective.PAYOUT,) if paying else (Objective.SHARPE, Objective.CORR):
        own, other = (scores.get(f"test/{metric}", math.nan) for scores in (metrics, benchmark))
        if own < other:
            return Shortfall(metric, own, other)
    return None
