"""Which trials make an ensemble, and with what weights. Judged on validation alone."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from signal_miner.errors import UserError, did_you_mean
from signal_miner.records import TrackedTrial

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
        ``sharpe``, ``corr`` or ``bmc``, in validation: what trials are ranked by, and of ``greedy`` what the ensemble
        maximises. ``top`` also takes the full name of a validation metric.
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
        for name, value, known in (("select", self.select, RULES), ("weights", self.weights, WEIGHTS)):
            if value not in known:
                raise UserError(f"{name} = {value!r} is not one of {', '.join(known)}{_near(value, known)}")
        for name, number in (("members", self.members), ("pool", self.pool)):
            if number < 1:
                raise UserError(f"{name} = {number} is below 1; use 1 or more")
        caps = {
            "max_correlation": self.max_correlation,
            "max_benchmark_correlation": self.max_benchmark_correlation,
        }
        for name, cap in caps.items():
            if not 0 < cap <= 1:
                raise UserError(f"{name} = {cap} is not in (0, 1]; use one such as 0.9")
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
        if not self.metric.startswith(("validation/", "best/validation_")) and "/validation_" not in self.metric:
            raise UserError(f"metric = {self.metric!r} is no validation metric{_near(self.metric, OBJECTIVES)}")
        if self.select == GREEDY:
            raise UserError(
                f"metric = {self.metric!r} is a trial's own; greedy maximises the ensemble's {', '.join(OBJECTIVES)}: "
                "use one of them, or select=top"
            )

    @property
    def metric_name(self) -> str:
        """Name of the tracked metric that trials are ranked by."""
        return OBJECTIVES.get(self.metric, self.metric)


def _near(value: str, known: Sequence[str] | dict[str, str]) -> str:
    near = did_you_mean(value, known)
    return near if near.startswith("; did") else ""


def ranked_trials(
    rule: SelectionRule, trials: Sequence[TrackedTrial], benchmark: TrackedTrial
) -> tuple[TrackedTrial, ...]:
    """Return the trials that a rule takes, best first; of ``greedy`` its candidates.

    Parameters
    ----------
    rule : SelectionRule
    trials : sequence of TrackedTrial
        Of one study.
    benchmark : TrackedTrial
        Its benchmark.

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
    name = rule.metric_name
    known = sorted({key for trial in finished for key in trial.metrics})
    if not any(name in trial.metrics for trial in finished):
        raise UserError(f"metric = {rule.metric!r} is not tracked for any trial{did_you_mean(name, known)}")
    scored = [trial for trial in finished if name in trial.metrics]
    scored.sort(key=lambda trial: (-trial.metrics[name], trial.number))
    cap = rule.max_benchmark_correlation
    if cap < 1:
        scored = [trial for trial in scored if trial.metrics.get("best/validation_benchmark_corr", 1.0) <= cap]
        if not scored:
            raise UserError(f"every trial's correlation with the benchmark is above {cap}; raise it, or mine more")
    if rule.select == BEATING:
        scored = [trial for trial in scored if _beats(trial, benchmark)]
        if not scored:
            raise UserError(
                "no trial beats the benchmark in validation at its best checkpoint (CORR and Sharpe); mine more "
                "trials, or use select=greedy"
            )
    return tuple(scored[: rule.pool if rule.select == GREEDY else rule.members])


def _beats(trial: TrackedTrial, benchmark: TrackedTrial) -> bool:
    return all(
        trial.metrics.get(f"best/validation_{score}", -math.inf)
        > benchmark.metrics.get(f"validation/{score}", math.inf)
        for score in ("corr", "sharpe")
    )


def _named(names: Sequence[str], trials: Sequence[TrackedTrial]) -> tuple[TrackedTrial, ...]:
    known = {trial.run_id: trial for trial in trials} | {str(trial.number): trial for trial in trials}
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
) -> tuple[int, ...]:
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
    tuple of int
        Places of the chosen among the candidates, in the order they were taken; the first is the best alone.

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
    return tuple(chosen)
