"""Blends a study's trials from their tracked predictions, and tracks the blend as a run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.console import Console

from signal_miner.engine.available_memory import available_bytes
from signal_miner.engine.metrics import score_metrics
from signal_miner.engine.trial import FoldResult
from signal_miner.engine.validation_rows import fold_rows, fold_scorers
from signal_miner.ensemble.members import FEATURES, OWN_BENCHMARK, Ensemble, Member, Neutralization, neutralizers_of
from signal_miner.ensemble.options import GREEDY, SelectionRule
from signal_miner.ensemble.runs import EnsembleRuns, TrackedEnsemble, members_note
from signal_miner.ensemble.selection import grow, ranked_trials, scores_of, weights_of
from signal_miner.errors import UserError, did_you_mean
from signal_miner.experiment.plan import BENCHMARK, Plan
from signal_miner.scoring.blending import gaussianised, mean_correlations, neutralized, uniform_ranks
from signal_miner.scoring.scorer import Scorer
from signal_miner.scoring.series import sharpe
from signal_miner.tracking.artifacts import write_ensemble_artifacts
from signal_miner.tracking.records import TrackedTrial
from signal_miner.tracking.studies import TrackedStudy
from signal_miner.utils.files import temporary_directory

_NEWEST_ERAS = 4
_BYTES_A_PREDICTION = 12  # float32, and twice as much while candidates are scored
_BYTES_WHILE_NEUTRALIZING = 28


@dataclass(frozen=True, eq=False)
class EnsembleSummary:
    """A tracked ensemble and its members.

    Attributes
    ----------
    members : tuple of TrackedTrial
        In the order of the ensemble's members.
    correlations : ndarray of float64, shape (n_members, n_members)
        Of the members' gaussianised ranks in validation, mean over eras.
    """

    tracked: TrackedEnsemble
    members: tuple[TrackedTrial, ...]
    correlations: NDArray[np.float64]


def make_neutralization(to: str, proportion: float, plan: Plan) -> Neutralization | None:
    """Return the neutralisation of a blend, checked against the data; None if `to` is empty or the proportion 0.

    Raises
    ------
    UserError
        If `to` is neither ``features``, ``benchmark`` nor a benchmark column of the data.
    """
    known = [FEATURES, OWN_BENCHMARK, *plan.dataset.benchmark_columns]
    if to and to not in known:
        raise UserError(f"neutralize = {to!r} is not one of the study's neutralizers{did_you_mean(to, known)}")
    if to in plan.dataset.benchmark_columns:
        for era in (*plan.scored_folds[-1].validation_eras[-_NEWEST_ERAS:], int(plan.dataset.eras[-1])):
            if np.isnan(plan.dataset.read_benchmarks([to], plan.dataset.span_of([era]))[to]).all():
                raise UserError(
                    f"neutralize = {to!r} has no predictions in era {plan.dataset.era_labels[era]}; "
                    "download the newest benchmark predictions, or choose another"
                )
    return Neutralization(to, proportion) if to and proportion else None


class EnsembleMaker:
    """Blends the tracked predictions of one study.

    Parameters
    ----------
    plan : Plan
        The study's, with its data.
    runs : EnsembleRuns
        The store that the study is in.
    """

    def __init__(self, study: TrackedStudy, plan: Plan, runs: EnsembleRuns, console: Console) -> None:
        self._study = study
        self._plan = plan
        self._runs = runs
        self._console = console
        self._rows = fold_rows(plan)
        benchmark = self._read(study.benchmark, "prediction")
        plain = fold_scorers(plan)
        self._benchmark = benchmark
        self._benchmark_scores = {number: plain[number].corr(benchmark[number])[:, 0] for number in plain}
        self._scorers = {
            number: scorer.with_benchmark(BENCHMARK, benchmark[number]) for number, scorer in plain.items()
        }

    def make(self, rule: SelectionRule, neutralization: Neutralization | None) -> EnsembleSummary:
        """Select members, blend them, score the blend and track it.

        Raises
        ------
        UserError
            If no trial fits the rule, or predictions cannot be read.
        """
        trials = ranked_trials(rule, self._study.trials)
        if rule.select == GREEDY:
            trials, weights = self._greedy(rule, neutralization, trials)
        else:
            weights = weights_of(rule, scores_of(rule, trials))
        members = tuple(
            Member(trial.run_id, int(trial.number or 0), dict(trial.params), _trees(trial), weight)
            for trial, weight in zip(trials, weights, strict=True)
        )
        ensemble = Ensemble(self._study.name, members, neutralization, rule.record)
        blends, correlations = self._blend(trials, weights, neutralization)
        folds = tuple(
            FoldResult(fold, blend, self._scorers[fold.number].score(blend), np.empty((len(fold.validation_eras), 0)))
            for fold, blend in zip(self._plan.scored_folds, blends, strict=True)
        )
        metrics = score_metrics(folds, self._benchmark_scores)
        closest = float(np.max(correlations[~np.eye(len(trials), dtype=bool)])) if len(trials) > 1 else np.nan
        if np.isfinite(closest):
            metrics = replace(metrics, values={**metrics.values, "members/highest_correlation": closest})
        with temporary_directory() as directory:
            write_ensemble_artifacts(directory, folds, self._rows)
            tracked = self._runs.log(
                self._study.experiment_id,
                self._study.config_hash,
                ensemble,
                _params(ensemble, rule),
                metrics,
                directory,
                members_note(
                    ensemble,
                    self._study.experiment_id,
                    [member.trees for member in members],
                    _member_columns(trials),
                ),
            )
        return EnsembleSummary(tracked, trials, correlations)

    def _greedy(
        self, rule: SelectionRule, neutralization: Neutralization | None, trials: Sequence[TrackedTrial]
    ) -> tuple[tuple[TrackedTrial, ...], tuple[float, ...]]:
        folds = [fold.number for fold in self._plan.scored_folds[:-1]]
        n_rows = sum(len(self._rows[number].ids) for number in folds)
        size = _BYTES_WHILE_NEUTRALIZING if neutralization else _BYTES_A_PREDICTION
        fitting = int(available_bytes() // 2 // max(1, n_rows * size))
        if fitting < len(trials):
            self._console.print(
                f"Only the best {fitting} of {len(trials)} candidates fit in memory; the others are left out."
            )
            trials = trials[: max(1, fitting)]
        columns = [
            np.empty((len(self._rows[number].ids), len(trials)), dtype=np.float32, order="F") for number in folds
        ]
        for place, trial in enumerate(trials):
            predictions = self._read(trial, "best_prediction")
            for fold, number in zip(columns, folds, strict=True):
                fold[:, place] = gaussianised(self._eras(number), predictions[number][:, np.newaxis])[:, 0]
        if neutralization:
            columns = [
                self._neutralized(number, fold, neutralization).astype(np.float32)
                for number, fold in zip(folds, columns, strict=True)
            ]
        eras = np.concatenate([self._eras(number) for number in folds])
        correlations = mean_correlations(eras, np.concatenate(columns))
        scorers = [self._scorers[number] for number in folds]
        chosen, weights = grow(rule, columns, lambda blends: _scores(rule.metric, scorers, blends), correlations)
        return tuple(trials[place] for place in chosen), weights

    def _blend(
        self, trials: Sequence[TrackedTrial], weights: Sequence[float], neutralization: Neutralization | None
    ) -> tuple[list[NDArray[np.float64]], NDArray[np.float64]]:
        """Return each fold's blend, shape (n_rows, 1), and the members' correlations in validation.

        Members are neutralised one by one, as candidates are: their correlations are those that a cap is held to.
        """
        predictions = [self._read(trial, "best_prediction") for trial in trials]
        blends, eras, ranked = [], [], []
        for fold in self._plan.scored_folds:
            number = fold.number
            columns = gaussianised(self._eras(number), np.column_stack([each[number] for each in predictions]))
            if neutralization:
                columns = self._neutralized(number, columns, neutralization)
            if fold is not self._plan.scored_folds[-1]:
                eras.append(self._eras(number))
                ranked.append(columns)
            blends.append(uniform_ranks(self._eras(number), columns @ np.array(weights))[:, np.newaxis])
        return blends, mean_correlations(np.concatenate(eras), np.concatenate(ranked))

    def _neutralized(
        self, number: int, columns: NDArray[np.floating[Any]], neutralization: Neutralization
    ) -> NDArray[np.float64]:
        dataset = self._plan.dataset
        taken_out = neutralizers_of(neutralization.to, dataset, self._span(number), self._benchmark[number])
        return neutralized(self._eras(number), columns.astype(np.float64), taken_out, neutralization.proportion)

    def _read(self, trial: TrackedTrial, column: str) -> Mapping[int, NDArray[np.floating[Any]]]:
        rows = {number: len(labels.ids) for number, labels in self._rows.items()}
        return self._runs.predictions(trial.run_id, trial.name, column, rows)

    def _span(self, number: int) -> slice:
        fold = next(fold for fold in self._plan.scored_folds if fold.number == number)
        return self._plan.dataset.span_of(fold.validation_eras)

    def _eras(self, number: int) -> NDArray[np.int32]:
        return self._plan.dataset.eras[self._span(number)]


def _scores(metric: str, scorers: Sequence[Scorer], blends: Sequence[NDArray[np.float32]]) -> NDArray[np.float64]:
    if metric == "bmc":
        eras = np.concatenate([s.score(blend).bmc[BENCHMARK] for s, blend in zip(scorers, blends, strict=True)])
    else:
        eras = np.concatenate([scorer.corr(blend) for scorer, blend in zip(scorers, blends, strict=True)])
    scorable = eras[np.isfinite(eras).any(axis=1)]  # an era of one row has no score
    if not len(scorable):
        return np.full(eras.shape[1], np.nan)
    whole = np.isfinite(scorable).all(axis=0)
    scores = sharpe(scorable, axis=0) if metric == "sharpe" else scorable.mean(axis=0)
    whole_scores: NDArray[np.float64] = np.where(whole, scores, np.nan)
    return whole_scores


def _trees(trial: TrackedTrial) -> int:
    if "best/trees" not in trial.metrics:
        raise UserError(f"{trial.name} has no best checkpoint; delete its run and mine on")
    return int(trial.metrics["best/trees"])


def _params(ensemble: Ensemble, rule: SelectionRule) -> dict[str, Any]:
    chosen = {
        "select": rule.select,
        "metric": rule.metric,
        "members": ", ".join(str(member.number) for member in ensemble.members),
        "weights": rule.weights,
    }
    if rule.max_benchmark_correlation < 1:
        chosen["max_benchmark_correlation"] = str(rule.max_benchmark_correlation)
    if rule.select == GREEDY:
        chosen |= {"max_correlation": str(rule.max_correlation), "pool": str(rule.pool)}
    if ensemble.neutralization:
        chosen["neutralize"] = ensemble.neutralization.to
        chosen["proportion"] = str(ensemble.neutralization.proportion)
    return chosen


def _member_columns(trials: Sequence[TrackedTrial]) -> dict[str, list[str]]:
    metrics = {
        "validation Sharpe": "best/validation_sharpe",
        "validation CORR": "best/validation_corr",
        "corr. with benchmark": "best/validation_benchmark_corr",
    }
    columns = {
        head: [f"{trial.metrics[key]:.4g}" if key in trial.metrics else "–" for trial in trials]
        for head, key in metrics.items()
    }
    return {"target": [trial.params.get("target", "–") for trial in trials], **columns}
