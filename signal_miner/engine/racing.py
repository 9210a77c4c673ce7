"""Racing: whether a trial is trained further, by the scores of its eras.

Decisions are pure functions of the trial's own scores, the benchmark's and the pilot's, so that they are the same
whatever the order of work, the number of jobs or the machine, and after a restart.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtr, stdtrit

from signal_miner.experiment.schema import RaceSettings
from signal_miner.scoring.beats_benchmark import beats_benchmark
from signal_miner.scoring.best_checkpoint import best_checkpoint
from signal_miner.scoring.objective import Scoring
from signal_miner.scoring.sharpe_ratio import effective_observations

_CONTROLS = 0x5AC3
"""Distinguishes the choice of controls from what else is drawn by a seed."""

_LEAST_FREEDOM = 2.0

_HALF_LIFE = 2
"""Checkpoints after which a step of a learning curve counts half."""


class Reason(StrEnum):
    """Why a trial was stopped."""

    BENCHMARK = "below the benchmark"
    PILOT = "below the pilot"
    UNDEFINED = "no score"


@dataclass(frozen=True)
class Stop:
    """Where a trial was stopped: after which fold, with how many trees in it, and why."""

    fold: int
    trees: int
    reason: Reason


@dataclass(frozen=True, eq=False)
class Curve:
    """Scores of a model's validation eras at each of its checkpoints.

    Attributes
    ----------
    corr, bmc : ndarray of float64, shape (n_eras, n_checkpoints)
    """

    corr: NDArray[np.float64]
    bmc: NDArray[np.float64]

    def until(self, count: int) -> Curve:
        """Return its first checkpoints."""
        return Curve(self.corr[:, :count], self.bmc[:, :count])

    def at(self, place: int) -> Curve:
        """Return one of its checkpoints."""
        return Curve(self.corr[:, [place]], self.bmc[:, [place]])

    @classmethod
    def joined(cls, parts: Sequence[Curve]) -> Curve:
        """Return the curve over the eras of several folds, at the checkpoints that all of them reached."""
        cut = [part.until(min(each.corr.shape[1] for each in parts)) for part in parts]
        return cls(np.concatenate([part.corr for part in cut]), np.concatenate([part.bmc for part in cut]))

    def best(self, scoring: Scoring) -> tuple[int, float]:
        """Return the index of the best checkpoint and the objective there; NaN where it has none."""
        scores = scoring.era_scores(self.corr, self.bmc)
        place = best_checkpoint(scores, scoring.objective)
        return place, float(scoring.objective.summary(scores[:, place]))

    def at_best(self, scoring: Scoring) -> Curve:
        """Return its best checkpoint."""
        return self.at(self.best(scoring)[0])


@dataclass(frozen=True, eq=False)
class Race:
    """The rules of a study's race, and what its trials have to pass.

    A fold's training ends once its curve is unlikely to reach a new best. After a validation fold the best
    checkpoint over the folds so far decides. After the last of them it has to beat the benchmark as a winner does, so
    that nothing is lost by that; after an earlier one it must not be significantly below it. It has to reach the
    quantile of the pilot after each, where there is one.

    Attributes
    ----------
    settings : RaceSettings
    scoring : Scoring
    overlap_eras : int
        Eras after an era whose scoring targets still share returns with its own.
    benchmark : tuple of Curve
        Of the benchmark, at one checkpoint, by validation fold.
    pilot : tuple of float
        The quantile of the pilot's objectives at their best checkpoints, over the validation folds up to each.
    """

    settings: RaceSettings
    scoring: Scoring
    overlap_eras: int
    benchmark: tuple[Curve, ...]
    pilot: tuple[float, ...]

    @classmethod
    def of(
        cls,
        settings: RaceSettings,
        scoring: Scoring,
        overlap_eras: int,
        benchmark: Sequence[Curve],
        pilot: Sequence[Sequence[Curve]] = (),
    ) -> Race:
        """Return the race after its pilot.

        Parameters
        ----------
        benchmark : sequence of Curve
            Of one checkpoint, by validation fold.
        pilot : sequence of sequence of Curve
            Of each finished trial of the pilot, by validation fold.
        """
        bars = []
        for count in range(1, len(benchmark) + 1):
            scores = [Curve.joined(trial[:count]).best(scoring)[1] for trial in pilot]
            finite = [score for score in scores if math.isfinite(score)]
            bars.append(float(np.quantile(finite, settings.quantile)) if finite else -math.inf)
        return cls(settings, scoring, overlap_eras, tuple(benchmark), tuple(bars))

    def has_turned_down(self, curve: Curve, remaining: int) -> bool:
        """Return whether a fold's curve is unlikely to reach a new best in the checkpoints that remain.

        Which checkpoint is chosen depends on these same eras, so that no sampling error of theirs matters, only how
        far the curve has fallen, how much it moves from one checkpoint to the next, and how many are left. A random
        walk reaches its best again within r steps with twice the probability of being above it after r (reflection
        principle). Its steps are taken to be as large as the curve's recent ones, of which each counts half as much as
        one `_HALF_LIFE` later, as later trees move a curve less; the distribution is Student's, as few are known.

        Parameters
        ----------
        remaining : int
            Checkpoints that the fold has left.
        """
        if not self.settings.recovery or not remaining:
            return False
        scores = self.scoring.era_scores(curve.corr, curve.bmc)
        objective = self.scoring.objective
        values = objective.summary(scores)
        steps = np.diff(values)[::-1]
        weights = 0.5 ** (np.arange(len(steps)) / _HALF_LIFE) * np.isfinite(steps)
        largest = float(np.max(np.abs(steps), where=np.isfinite(steps), initial=0.0))
        fallen = float(values[best_checkpoint(scores, objective)] - values[-1])
        if not largest or not fallen > 0:
            return False
        step = math.sqrt(float(np.nansum(weights * (steps / largest) ** 2) / weights.sum()))
        freedom = float(weights.sum() ** 2 / (weights**2).sum())
        return 2 * float(stdtr(freedom, -fallen / largest / (step * math.sqrt(remaining)))) < self.settings.recovery

    def reason_to_stop(self, folds: Sequence[Curve]) -> Reason | None:
        """Return why a trial is stopped after these validation folds; None if it proceeds to the next."""
        own, other, scoring = Curve.joined(folds), Curve.joined(self.benchmark[: len(folds)]), self.scoring
        place, score = own.best(scoring)
        if not math.isfinite(score):
            return Reason.UNDEFINED
        if not self._may_win(own.at(place), other, is_last=len(folds) == len(self.benchmark)):
            return Reason.BENCHMARK
        return None if not self.settings.quantile or score >= self.pilot[len(folds) - 1] else Reason.PILOT

    def _may_win(self, own: Curve, benchmark: Curve, *, is_last: bool) -> bool:
        compared, margin = self.scoring.objective.compared, self.settings.margin
        scores, reference = (self.scoring.era_scores(each.corr, each.bmc, compared)[:, 0] for each in (own, benchmark))
        if is_last:
            return bool(beats_benchmark(scores + margin, reference, compared))
        return not self._is_below(scores + margin, reference)

    def _is_below(self, scores: NDArray[np.float64], reference: NDArray[np.float64]) -> bool:
        """Return whether the objective of era scores is significantly below that of others, era by era.

        Of a Sharpe ratio S an era's part is its influence, ``z - S/2 (z² - 1)`` of the standardised score z (Lo 2002);
        the standard error counts the independent eras of the difference, see `effective_observations`, and the level is
        Student's.
        """
        pair = np.stack([scores, reference], axis=1)
        pair = pair[np.isfinite(pair).all(axis=1)]
        objective = self.scoring.objective
        values = objective.summary(pair)
        if len(pair) < 2 or not np.isfinite(values).all() or not values[0] < values[1]:
            return False
        parts = pair - pair.mean(axis=0)
        if objective.is_ratio:
            standard = parts / pair.std(axis=0)
            parts = standard - values / 2 * (standard**2 - 1)
        difference = parts[:, 0] - parts[:, 1]
        independent = effective_observations(difference, self.overlap_eras)
        error = float(difference.std()) / math.sqrt(max(independent - 1, 1.0))
        level = -float(stdtrit(max(independent - 1, _LEAST_FREEDOM), self.settings.significance))
        return float(values[1] - values[0]) > level * error


def is_control(settings: RaceSettings, seed: int, number: int) -> bool:
    """Return whether a draw is one of those that are trained to the end whatever they score.

    Every so many draws one is, from a start that the seed draws, so that of any number of draws about the share is.
    """
    start = np.random.default_rng([seed, _CONTROLS]).random()
    before, after = (math.floor(start + count * settings.controls) for count in (number, number + 1))
    return after > before


def trains_in_full(settings: RaceSettings | None, seed: int, number: int) -> bool:
    """Return whether a draw of a study is trained to the end on every fold: pilot, controls, or all without a race."""
    return settings is None or number < settings.pilot_trials or is_control(settings, seed, number)
