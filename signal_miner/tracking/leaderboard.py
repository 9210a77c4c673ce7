"""The leaderboard of a study: trials by validation Sharpe, with the benchmark in its place."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from rich.console import Console

from signal_miner.tracking.records import TrackedTrial
from signal_miner.utils.formatting import number_text


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
    def against_benchmark(self) -> str:
        """How many trials beat the benchmark in validation, and how many of them in test too."""
        if not self.beating:
            return "none beats the benchmark in validation (CORR and Sharpe)."
        held = sum(place.trial.beats_benchmark["test"] for place in self.beating)
        beat = f"{len(self.beating)} beat{'s' * (len(self.beating) == 1)} the benchmark in validation"
        return f"{beat} (CORR and Sharpe), of which {held} held in test."

    @property
    def summary(self) -> str:
        """Counts, in one sentence."""
        finished = sum(place.trial.number is not None for place in self.places)
        failed = f", {self.failed} failed" if self.failed else ""
        return f"{finished} trial{'s' * (finished != 1)} finished{failed}; {self.against_benchmark}"


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
    """Rank trials and the benchmark by validation Sharpe.

    Parameters
    ----------
    trials : sequence of TrackedTrial
    benchmark : TrackedTrial

    Returns
    -------
    Leaderboard
    """
    finished = [benchmark, *(trial for trial in trials if trial.finished)]
    places = tuple(RankedTrial(rank, trial) for rank, trial in enumerate(ranked(finished), start=1))
    return Leaderboard(places, failed=sum(not trial.finished for trial in trials))


def below_benchmark(metrics: Mapping[str, float], benchmark: Mapping[str, float]) -> str:
    """Return by what a model is below the benchmark in test, such as ``Sharpe 0.41 against 0.67``; empty if it is not.

    Parameters
    ----------
    metrics, benchmark : mapping of str to float
        Tracked metrics of both, by name.
    """
    for name, score, least in (("Sharpe", "test/sharpe", 2), ("CORR", "test/corr", 4)):
        own, other = metrics.get(score, math.nan), benchmark.get(score, math.nan)
        if own < other:
            told = ((number_text(own, digits), number_text(other, digits)) for digits in range(least, 10))
            first, second = next((pair for pair in told if len(set(pair)) == 2), (f"{own}", f"{other}"))
            return f"{name} {first} against {second}"
    return ""


def print_if_below(metrics: Mapping[str, float], benchmark: Mapping[str, float], console: Console) -> None:
    """Print a line where a model is below the benchmark in test."""
    below = below_benchmark(metrics, benchmark)
    if below:
        console.print(f"Below the benchmark in test: {below}", highlight=False)
