"""Selects members and their weights, by validation alone."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from signal_miner.ensemble.options import BEATING, EQUAL, GREEDY, RUNS, SelectionRule
from signal_miner.errors import UserError, nearest
from signal_miner.tracking.records import Checkpoint, TrackedTrial

_LESS_IS_BETTER = ("max_drawdown", "benchmark_corr", "undefined_eras")

_LEAST_GAIN = 1e-6  # below it a step is rounding


def ranked_trials(
    rule: SelectionRule, trials: Sequence[TrackedTrial], studies: Mapping[str, str] | None = None
) -> tuple[TrackedTrial, ...]:
    """Return the trials that a rule selects, best first; for ``greedy``, its candidates.

    Parameters
    ----------
    trials : sequence of TrackedTrial
        Of one study, or of several that are scored on the same rows and target.
    studies : mapping of str to str, optional
        Name of each trial's study by its run id, where there are several.

    Raises
    ------
    UserError
        If no trial fits the rule.
    """
    finished = [trial for trial in trials if trial.finished]
    if not finished:
        raise UserError("the study has no finished trial; mine it first")
    if rule.select == RUNS:
        return _named(rule, trials, studies or {})
    raced = next((trial for trial in finished if trial.checkpoint is Checkpoint.BEST), None)
    if raced is not None and rule.checkpoint is Checkpoint.DRAWN:
        raise UserError(
            f"checkpoint = drawn: {raced.name} was raced, so that it is scored at its best checkpoint; use "
            "checkpoint=best, or complete the study with race=false"
        )
    place = "at its best checkpoint" if rule.checkpoint is Checkpoint.BEST else "as drawn"
    grown = [trial for trial in finished if (trial.trees_at(rule.checkpoint) or 0) >= rule.fewest_trees]
    if not grown:
        raise UserError(
            f"no trial has {rule.fewest_trees} trees {place}; lower min_trees, lower the grid's learning rates, or "
            "choose with select=runs"
        )
    scores = {trial.run_id: score for trial, score in zip(grown, scores_of(rule, grown), strict=True)}
    scored = [trial for trial in grown if math.isfinite(scores[trial.run_id])]
    if not scored:
        raise UserError(
            "no trial has a whole validation score: their predictions are constant in some eras; mine other "
            "configurations, or choose with select=runs"
        )
    scored.sort(key=lambda trial: (-scores[trial.run_id], trial.number))
    cap = rule.max_benchmark_correlation
    if cap < 1:
        key = "validation/benchmark_corr"
        scored = [trial for trial in scored if trial.scores_at(rule.checkpoint).get(key, 1.0) <= cap]
        if not scored:
            raise UserError(f"every trial's correlation with the benchmark is above {cap}; raise it, or mine more")
    if rule.select == BEATING:
        scored = [trial for trial in scored if trial.beats_benchmark["validation"]]
        if not scored:
            raise UserError("no trial beats the benchmark in validation; mine more trials, or use select=greedy")
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
    # The score of a trial that is constant in some eras is of the others alone, so it is not comparable.
    scored = [name in trial.metrics and not trial.metrics.get("validation/undefined_eras") for trial in trials]
    return [sign * trial.metrics[name] if known else -math.inf for trial, known in zip(trials, scored, strict=True)]


def _named(rule: SelectionRule, trials: Sequence[TrackedTrial], studies: Mapping[str, str]) -> tuple[TrackedTrial, ...]:
    chosen: list[TrackedTrial] = []
    for name in (text.strip() for text in rule.runs):
        study, slash, short = name.rpartition("/")
        of_study = [trial for trial in trials if not slash or studies.get(trial.run_id, "").startswith(study)]
        found = [trial for trial in of_study if short in (trial.run_id, str(trial.number), trial.name)]
        if len(found) > 1:
            forms = ", ".join(f"{studies.get(trial.run_id, '')}/{trial.number}" for trial in found[:4])
            raise UserError(f"run {name!r} is a trial of {len(found)} studies; give one of {forms}, or a run id")
        if not found:
            raise UserError(f"run {name!r} is no trial of the study{nearest(name, [t.run_id for t in trials])}")
        (trial,) = found
        if not trial.finished:
            raise UserError(f"{trial.name} did not finish; leave it out")
        if trial in chosen:
            raise UserError(f"{trial.name} is named twice; name it once")
        if (trial.trees_at(rule.checkpoint) or 0) < rule.fewest_trees:
            raise UserError(f"{trial.name} has fewer than min_trees = {rule.fewest_trees} trees; leave it out")
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
    score: Callable[[Sequence[NDArray[np.float32]]], NDArray[np.float64]],
    correlations: NDArray[np.float64],
) -> tuple[tuple[int, ...], tuple[float, ...]]:
    """Add candidates one at a time, each the one that improves the ensemble most; stop when none does.

    Forward selection after Caruana, Niculescu-Mizil, Crew and Ksikes (2004), without replacement and under a cap on
    the correlation between members.

    Parameters
    ----------
    columns : sequence of ndarray of float32, shape (n_rows, n_candidates)
        For each validation fold, the gaussianised ranks of the candidates.
    score : callable
        Maps blends, of shape (n_rows, n_blends) for each fold, to their scores; NaN for a blend without one.
    correlations : ndarray of float64, shape (n_candidates, n_candidates)

    Returns
    -------
    chosen : tuple of int
        Indices of candidates in the order of selection; the first is the best alone.
    weights : tuple of float
        Those with which the ensemble was scored.

    Raises
    ------
    UserError
        If no candidate has a score.
    """
    alone = score(columns)
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
        scores = score(
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
