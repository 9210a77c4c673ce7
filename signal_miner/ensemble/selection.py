"""Which trials make an ensemble, and with what weights. Judged on validation alone."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from signal_miner.errors import UserError, did_you_mean
from signal_miner.tracking.records import TrackedTrial
from signal_miner.utils.validation import LARGEST_INTEGER, Rule

GREEDY, TOP, BEATING, RUNS = "greedy", "top", "beating", "runs"
RULES = (GREEDY, TOP, BEATING, RUNS)

OBJECTIVES = {
    "sharpe": "best/validation_sharpe",
    "corr": "best/validation_corr",
    "bmc": "best/validation_bmc",
}
"""Scores by which trials are ranked and an ensemble is grown, and the metric of a trial at its best checkpoint."""

EQUAL, BY_RANK = "equal", "rank"
WEIGHTS = (EQUAL, BY_RANK)

_LESS_IS_BETTER = ("max_drawdown", "benchmark_corr", "undefined_eras")

_LEAST_GAIN = 1e-6  # below it a step is rounding


@dataclass(frozen=True)
class SelectionRule:
    """How members are chosen.

    Attributes
    ----------
    select : str
        ``greedy``, ``top``, ``beating`` (the benchmark) or ``runs``.
    members : int
        Members at most.
    metric : str
        ``sharpe``, ``corr`` or ``bmc``, in validation at the best checkpoint: what trials are ranked by, and of
        ``greedy`` what the ensemble maximises. ``top`` also takes any other validation metric, such as
        ``max_drawdown`` or ``validation/max_drawdown``; of drawdown and correlation with a benchmark less is better.
    max_correlation : float
        Of ``greedy``: highest correlation between two members.
    max_benchmark_correlation : float
        Trials whose correlation with the benchmark is higher, in validation, take no part; not looked at for ``runs``.
    weights : str
        ``equal``; or ``rank``: the best of k members by `metric` gets the weight k, the next k - 1, and so on.
    pool : int
        Of ``greedy``: how many trials, best first by `metric`, are candidates.
    runs : tuple of str
        Of ``runs``: MLflow run ids, or numbers of trials.

    Raises
    ------
    UserError
        If a value is not one of these.
    """

    select: str = GREEDY
    members: int = 5
    metric: str = "sharpe"
    max_correlation: float = 0.9
    max_benchmark_correlation: float = 1.0
    weights: str = EQUAL
    pool: int = 100
    runs: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for name in ("select", "weights", "metric"):
            Rule(str).checked(name, getattr(self, name))
        for name in ("members", "pool"):
            number = Rule(int, high=LARGEST_INTEGER).checked(name, getattr(self, name), "; use 1 or more")
            if number < 1:
                raise UserError(f"{name} = {number} is below 1; use 1 or more")
            object.__setattr__(self, name, number)
        for name in ("max_correlation", "max_benchmark_correlation"):
            cap = getattr(self, name)
            if not 0 < Rule(float).checked(name, cap, "; use one such as 0.9") <= 1:
                raise UserError(f"{name} = {cap} is not in (0, 1]; use one such as 0.9")
            object.__setattr__(self, name, float(cap))
        for name, value, known in (("select", self.select, RULES), ("weights", self.weights, WEIGHTS)):
            if value not in known:
                raise UserError(f"{name} = {value!r} is not one of {', '.join(known)}{_near(value, known)}")
        if self.runs and self.select != RUNS:
            raise UserError(f"runs are given, but select = {self.select!r} chooses by itself; add select=runs")
        if self.select == RUNS and not self.runs:
            raise UserError("select = 'runs' needs runs: MLflow run ids or trial numbers, separated by commas")
        if self.metric not in OBJECTIVES:
            self._check_metric_name()

    def _check_metric_name(self) -> None:
        if self.metric.startswith(("test/", "whole/", "best/test", "fold_")) or "/test_" in self.metric:
            raise UserError(
                f"metric = {self.metric!r} looks at test eras; members are chosen on validation alone: "
                f"use {', '.join(OBJECTIVES)} or a metric such as validation/corr"
            )
        if self.select == GREEDY:
            raise UserError(
                f"metric = {self.metric!r} is no score of an ensemble{_near(self.metric, OBJECTIVES)}; greedy "
                f"maximises {', '.join(OBJECTIVES)}: use one of them, or select=top"
            )

    def metric_name(self, known: Collection[str]) -> str:
        """Return the name of the tracked metric that trials are ranked by.

        Parameters
        ----------
        known : collection of str
            The names that are tracked.

        Raises
        ------
        UserError
            If it is not among them, or not of validation.
        """
        column, _, score = self.metric.rpartition("_")
        candidates = (
            OBJECTIVES.get(self.metric),
            self.metric,
            f"validation/{self.metric}",
            f"{column}/validation_{score}",
        )
        of_validation = [name for name in known if "validation" in name]
        for name in candidates:
            if name in of_validation:
                return name
        near = did_you_mean(self.metric, of_validation)
        near = near if near.startswith("; did") else f"; known are {', '.join(sorted(of_validation))}"
        raise UserError(f"metric = {self.metric!r} is no tracked validation metric{near}")


def _near(value: str, known: Sequence[str] | dict[str, str]) -> str:
    near = did_you_mean(value, known)
    return near if near.startswith("; did") else ""


def ranked_trials(rule: SelectionRule, trials: Sequence[TrackedTrial]) -> tuple[TrackedTrial, ...]:
    """Return the trials that a rule takes, best first; of ``greedy`` its candidates.

    Parameters
    ----------
    rule : SelectionRule
    trials : sequence of TrackedTrial
        Of one study.

    Returns
    -------
    tuple of TrackedTrial

    Raises
    ------
    UserError
        If no trial fits the rule.
    """
    finished = [trial for trial in trials if trial.finished]
    if not finished:
        raise UserError("the study has no finished trial; mine it first")
    if rule.select == RUNS:
        return _named(rule.runs, trials)
    scores = {trial.run_id: score for trial, score in zip(finished, scores_of(rule, finished), strict=True)}
    scored = [trial for trial in finished if math.isfinite(scores[trial.run_id])]
    if not scored:
        raise UserError(
            "no trial has a whole validation score: their predictions are constant in some eras; mine other "
            "configurations, or choose with select=runs"
        )
    scored.sort(key=lambda trial: (-scores[trial.run_id], trial.number))
    cap = rule.max_benchmark_correlation
    if cap < 1:
        scored = [trial for trial in scored if trial.metrics.get("best/validation_benchmark_corr", 1.0) <= cap]
        if not scored:
            raise UserError(f"every trial's correlation with the benchmark is above {cap}; raise it, or mine more")
    if rule.select == BEATING:
        scored = [trial for trial in scored if trial.beats_benchmark["validation"]]
        if not scored:
            raise UserError(
                "no trial beats the benchmark in validation (CORR and Sharpe); mine more trials, or use select=greedy"
            )
    return tuple(scored[: rule.pool if rule.select == GREEDY else rule.members])


def scores_of(rule: SelectionRule, trials: Sequence[TrackedTrial]) -> list[float]:
    """Return the trials' validation scores by a rule's metric, higher for better.

    -inf for a trial that has none, or whose CORR is not defined in an era in which the benchmark's is.

    Raises
    ------
    UserError
        If the metric is not tracked for any of them.
    """
    name = rule.metric_name({key for trial in trials for key in trial.metrics})
    sign = -1 if name.endswith(_LESS_IS_BETTER) else 1
    # A trial that is constant in some eras has its score from the others alone: it cannot be set beside whole ones.
    scored = [name in trial.metrics and not trial.metrics.get("validation/undefined_eras") for trial in trials]
    return [sign * trial.metrics[name] if known else -math.inf for trial, known in zip(trials, scored, strict=True)]


def _named(names: Sequence[str], trials: Sequence[TrackedTrial]) -> tuple[TrackedTrial, ...]:
    known = {
        name: trial
        for trial in trials
        for name in (trial.run_id, str(trial.number), trial.name)
        if trial.number is not None
    }
    chosen = []
    for name in names:
        trial = known.get(name.strip())
        if trial is None:
            raise UserError(f"run {name!r} is no trial of the study{_near(name, [t.run_id for t in trials])}")
        if not trial.finished:
            raise UserError(f"{trial.name} did not finish; leave it out")
        if trial in chosen:
            raise UserError(f"{trial.name} is named twice; name it once")
        chosen.append(trial)
    return tuple(chosen)


def weights_of(rule: SelectionRule, scores: Sequence[float]) -> tuple[float, ...]:
    """Return the weights of members with these validation scores; they add up to 1."""
    if rule.weights == EQUAL:
        return (1 / len(scores),) * len(scores)
    ordered = sorted(range(len(scores)), key=lambda place: (scores[place], -place))
    total = len(scores) * (len(scores) + 1) / 2
    weights = [0.0] * len(scores)
    for rank, place in enumerate(ordered, start=1):
        weights[place] = rank / total
    return tuple(weights)


def grow(
    rule: SelectionRule,
    columns: Sequence[NDArray[np.float32]],
    judge: Callable[[Sequence[NDArray[np.float32]]], NDArray[np.float64]],
    correlations: NDArray[np.float64],
) -> tuple[tuple[int, ...], tuple[float, ...]]:
    """Choose candidates one at a time, each the one that helps the ensemble most; stop where none does.

    Forward selection after Caruana, Niculescu-Mizil, Crew and Ksikes (2004), without replacement and under a cap on
    the correlation between members.

    Parameters
    ----------
    rule : SelectionRule
    columns : sequence of ndarray of float32, shape (n_rows, n_candidates)
        For each validation fold the gaussianised ranks of the candidates.
    judge : callable
        Given for each fold blends of shape (n_rows, n_blends), returns each blend's score; NaN where it has none.
    correlations : ndarray of float64, shape (n_candidates, n_candidates)

    Returns
    -------
    chosen : tuple of int
        Places among the candidates, in the order they were taken; the first is the best alone.
    weights : tuple of float
        Theirs, with which the ensemble was judged.

    Raises
    ------
    UserError
        If no candidate has a score.
    """
    alone = judge(columns)
    if not np.isfinite(alone).any():
        raise UserError("no candidate has a score in validation; mine other configurations")
    chosen = [int(np.nanargmax(alone))]
    reached = alone[chosen[0]]
    while len(chosen) < rule.members:
        near = (correlations[:, chosen] > rule.max_correlation).any(axis=1)
        allowed = [place for place in np.flatnonzero(~near & np.isfinite(alone)).tolist() if place not in chosen]
        if not allowed:
            break
        weights = [np.array(weights_of(rule, alone[[*chosen, place]].tolist()), np.float32) for place in allowed]
        scores = judge(
            [
                np.column_stack(
                    [fold[:, [*chosen, place]] @ weight for place, weight in zip(allowed, weights, strict=True)]
                )
                for fold in columns
            ]
        )
        best = int(np.nanargmax(scores)) if np.isfinite(scores).any() else 0
        if not scores[best] > reached + _LEAST_GAIN:
            break
        chosen.append(allowed[best])
        reached = scores[best]
    return tuple(chosen), weights_of(rule, alone[chosen].tolist())
