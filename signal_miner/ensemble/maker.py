"""Blends a study's trials from their tracked predictions, and tracks the blend as a run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pyarrow.compute as pc
from numpy.typing import NDArray
from rich.console import Console

from signal_miner.engine.available_memory import available_bytes
from signal_miner.engine.benchmark_run import score_benchmark
from signal_miner.engine.further_scores import FEW_FEATURES, further_scores
from signal_miner.engine.metrics import score_metrics
from signal_miner.engine.racing import Curve
from signal_miner.engine.trial import FoldResult
from signal_miner.engine.validation_rows import fold_rows, fold_scorers
from signal_miner.ensemble.expectation import (
    Candidates,
    OwnScores,
    can_be_repeated,
    era_correlations,
    expected_of_ensemble,
)
from signal_miner.ensemble.members import FEATURES, OWN_BENCHMARK, Ensemble, Member, Neutralization, neutralizers_of
from signal_miner.ensemble.options import AVERAGE, AVERAGED, GREEDY, TOP, SelectionRule
from signal_miner.ensemble.runs import EnsembleRuns, TrackedEnsemble, members_note
from signal_miner.ensemble.selection import grow, ranked_trials, scores_of, weights_of
from signal_miner.ensemble.sources import Source
from signal_miner.errors import UserError, did_you_mean
from signal_miner.experiment.plan import Plan
from signal_miner.experiment.schema import BENCHMARK
from signal_miner.overfitting.choice import summary_of_known
from signal_miner.overfitting.expectation import pool_of
from signal_miner.overfitting.records import EXPECTED, Expectation
from signal_miner.scoring.blending import gaussianised, mean_correlations, neutralized, uniform_ranks
from signal_miner.scoring.objective import Objective, Scoring
from signal_miner.scoring.scorer import Scorer
from signal_miner.tracking.artifacts import write_ensemble_artifacts
from signal_miner.tracking.records import Checkpoint, TrackedTrial
from signal_miner.tracking.study_reader import StudyReader, overlap_of
from signal_miner.tracking.tags import REPEAT_KIND
from signal_miner.utils.files import temporary_directory
from signal_miner.utils.validation import LARGEST_INTEGER

_NEWEST_ERAS = 4
_READERS = 8
_MOST_CURVES = 200  # of the best trials, which alone have a chance of being chosen on nearly the same eras
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
    expectations : tuple of Expectation
        What to expect of it in eras to come; empty where its selection cannot be repeated on other eras.
    mean_of_best : mapping of str to float
        Scores of the equal blend of the `AVERAGED` best trials, which is not tracked; empty where there are fewer,
        or the ensemble is not greedy.
    """

    tracked: TrackedEnsemble
    members: tuple[TrackedTrial, ...]
    correlations: NDArray[np.float64]
    expectations: tuple[Expectation, ...] = ()
    mean_of_best: Mapping[str, float] = field(default_factory=dict)


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
    if to == OWN_BENCHMARK and plan.benchmark_predictions:
        to = plan.benchmark_predictions  # as live data have it too
    if to in plan.dataset.benchmark_columns:
        for era in (*plan.scored_folds[-1].validation_eras[-_NEWEST_ERAS:], int(plan.dataset.eras[-1])):
            if np.isnan(plan.dataset.read_benchmarks([to], plan.dataset.span_of([era]))[to]).all():
                raise UserError(
                    f"neutralize = {to!r} has no predictions in era {plan.dataset.era_labels[era]}; "
                    "download the newest benchmark predictions, or choose another"
                )
    return Neutralization(to, proportion) if to and proportion else None


class EnsembleMaker:
    """Blends the tracked predictions of one study, or of several.

    Parameters
    ----------
    sources : sequence of Source
        What `open_sources` returned; the ensemble is scored against the first one's benchmark.
    runs : EnsembleRuns
        The store that the studies are in.
    """

    def __init__(self, sources: Sequence[Source], runs: EnsembleRuns, console: Console) -> None:
        self._sources = sources
        self._study, self._plan = sources[0].study, sources[0].plan
        self._of_run = {
            run.run_id: source for source in sources for trial in source.study.trials for run in (trial, *trial.repeats)
        }
        self._of_run[self._study.benchmark.run_id] = sources[0]
        self._runs = runs
        self._console = console
        self._rows = fold_rows(self._plan)
        eras = [era for fold in self._plan.scored_folds for era in fold.validation_eras]
        self._overlap = overlap_of(self._study, eras)
        benchmark = self._read(self._study.benchmark, Checkpoint.DRAWN)
        scored = score_benchmark(self._plan, fold_scorers(self._plan), benchmark)
        self._benchmark = benchmark
        self._benchmark_scores, self._scorers = scored.scores, scored.scorers

    def make(self, rule: SelectionRule, neutralization: Neutralization | None) -> EnsembleSummary:
        """Select members, blend them, score the blend and track it.

        Raises
        ------
        UserError
            If no trial fits the rule, or predictions cannot be read.
        """
        names = {run_id: source.study.name for run_id, source in self._of_run.items()}
        every = [trial for source in self._sources for trial in source.study.trials]
        trials = ranked_trials(rule, every, names)
        among: _Among | None = None
        if rule.select == GREEDY:
            trials, weights, among = self._greedy(rule, neutralization, trials)
        else:
            weights = weights_of(rule, scores_of(rule, trials))
        if rule.seeds == AVERAGE:
            trials, weights = _with_seeds(trials, weights)
        members = tuple(
            Member(
                trial.run_id,
                int(trial.number or 0),
                dict(trial.params),
                _trees(trial, rule.checkpoint),
                weight,
                rule.checkpoint,
                "" if names[trial.run_id] == self._study.name else names[trial.run_id],
                trial.kind == REPEAT_KIND,
            )
            for trial, weight in zip(trials, weights, strict=True)
        )
        ensemble = Ensemble(self._study.name, members, neutralization, rule.record)
        folds, correlations = self._blended(trials, weights, rule.checkpoint, neutralization)
        metrics = score_metrics(folds, self._benchmark_scores, self._plan.scoring)
        configurations = np.unique(
            [(names[trial.run_id], str(trial.number)) for trial in trials], axis=0, return_inverse=True
        )[1]
        others = configurations[:, np.newaxis] != configurations  # seeds of one configuration are alike by design
        closest = float(np.max(correlations[others])) if others.any() else np.nan
        if (n_features := len(self._plan.dataset.features)) > FEW_FEATURES:
            self._console.print(f"Scoring the blend once what {n_features:,} features explain is taken out …")
        further = further_scores(self._plan, {part.fold.number: part.predictions for part in folds})[0]
        expectations = self._expectations(rule, neutralization, every, among, folds, correlations)
        metrics = replace(metrics, values={**metrics.values, **further, **expected_metrics(expectations)})
        if np.isfinite(closest):
            metrics = replace(metrics, values={**metrics.values, "members/highest_correlation": closest})
        with temporary_directory() as directory:
            write_ensemble_artifacts(directory, folds, self._rows)
            table = members_note(
                ensemble,
                {source.study.name: source.study.experiment_id for source in self._sources},
                [member.trees for member in members],
                _member_columns(trials, rule.checkpoint, self._plan.experiment.objective),
            )
            tracked = self._runs.log(
                self._study.experiment_id,
                self._study.config_hash,
                ensemble,
                _params(ensemble, rule),
                metrics,
                directory,
                f"{table}\n\nMembers are shown {rule.checkpoint.text}.",
            )
        mean_of_best = self._mean_of_best(rule, neutralization, every, names)
        return EnsembleSummary(tracked, trials, correlations, expectations, mean_of_best)

    def _mean_of_best(
        self,
        rule: SelectionRule,
        neutralization: Neutralization | None,
        every: Sequence[TrackedTrial],
        names: Mapping[str, str],
    ) -> Mapping[str, float]:
        """Return the scores of `EnsembleSummary.mean_of_best`."""
        if rule.select != GREEDY:
            return {}
        best = ranked_trials(replace(rule, select=TOP, members=AVERAGED), every, names)
        if len(best) < AVERAGED:
            return {}
        folds, _ = self._blended(best, [1 / len(best)] * len(best), rule.checkpoint, neutralization)
        return score_metrics(folds, self._benchmark_scores, self._plan.scoring).values

    def _blended(
        self,
        trials: Sequence[TrackedTrial],
        weights: Sequence[float],
        checkpoint: Checkpoint,
        neutralization: Neutralization | None,
    ) -> tuple[tuple[FoldResult, ...], NDArray[np.float64]]:
        """Return each fold of a blend with its scores, and the members' correlations in validation."""
        blends, correlations = self._blend(trials, weights, checkpoint, neutralization)
        folds = tuple(
            FoldResult(fold, blend, self._scorers[fold.number].score(blend), np.empty((len(fold.validation_eras), 0)))
            for fold, blend in zip(self._plan.scored_folds, blends, strict=True)
        )
        return folds, correlations

    def _greedy(
        self, rule: SelectionRule, neutralization: Neutralization | None, trials: Sequence[TrackedTrial]
    ) -> tuple[tuple[TrackedTrial, ...], tuple[float, ...], _Among | None]:
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
            predictions = self._read(trial, rule.checkpoint)
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
        scoring = Scoring(Objective(rule.score), self._plan.payout)
        chosen, weights = grow(rule, columns, lambda blends: _scores(scoring, scorers, blends), correlations)
        among = None
        if can_be_repeated(rule):
            scored = [scorer.score(fold, (BENCHMARK,)) for scorer, fold in zip(scorers, columns, strict=True)]
            corr, bmc = (
                np.concatenate(parts)
                for parts in ([each.corr for each in scored], [each.bmc[BENCHMARK] for each in scored])
            )
            among = _Among(Candidates(corr, bmc, era_correlations(eras, columns)), correlations, tuple(trials))
        return tuple(trials[place] for place in chosen), weights, among

    def _expectations(
        self,
        rule: SelectionRule,
        neutralization: Neutralization | None,
        every: Sequence[TrackedTrial],
        among: _Among | None,
        folds: Sequence[FoldResult],
        correlations: NDArray[np.float64],
    ) -> tuple[Expectation, ...]:
        """Return what to expect of an ensemble of scored folds; nothing where its selection cannot be repeated."""
        if not can_be_repeated(rule) or (neutralization and among is None):
            return ()
        eligible = ranked_trials(replace(rule, select=TOP, members=LARGEST_INTEGER), every)
        scores = self._candidates(eligible, rule.checkpoint) if among is None or len(eligible) > rule.pool else None
        scoring, overlap = self._plan.scoring, self._overlap
        added = 0.0
        if among is None:
            if scores is None:
                return ()
            scores = replace(scores, curves=self._curves(eligible[:_MOST_CURVES], rule.checkpoint))
            candidates, cap = _diluted(scores, correlations), None
        else:
            candidates, cap = among.candidates, among.correlations
            if neutralization is None:
                candidates = replace(candidates, curves=self._curves(among.trials, rule.checkpoint))
            if scores is not None:
                stopped = self._curves([trial for trial in every if trial.stopped], Checkpoint.BEST)
                tried = _with_stopped(scores, tuple(stopped.values()), scoring)
                added = _by_preselection(tried, [eligible.index(trial) for trial in among.trials], scoring, overlap)
        corr, bmc = (
            (np.concatenate(parts[:-1]), parts[-1])
            for parts in (
                [part.scores.corr[:, 0] for part in folds],
                [part.scores.bmc[BENCHMARK][:, 0] for part in folds],
            )
        )
        return expected_of_ensemble(rule, candidates, OwnScores(corr, bmc), scoring, overlap, cap, added)

    def _candidates(self, trials: Sequence[TrackedTrial], checkpoint: Checkpoint) -> Candidates | None:
        """Return the tracked validation scores of trials; None where one cannot be read or is of other eras."""
        last = self._plan.scored_folds[-1].number
        prefix = "best_" if checkpoint is Checkpoint.BEST else ""
        reader = StudyReader(self._runs.tracking_uri)
        try:
            with ThreadPoolExecutor(_READERS) as readers:
                tables = list(readers.map(reader.era_scores, trials))
            corr, bmc = (
                np.stack(
                    [
                        table.filter(pc.less(table.column("fold"), last)).column(prefix + name).to_numpy()
                        for table in tables
                    ],
                    axis=1,
                ).astype(np.float64)
                for name in ("corr", "bmc")
            )
        except (UserError, KeyError, ValueError):
            return None
        return Candidates(corr, bmc)

    def _curves(self, trials: Sequence[TrackedTrial], checkpoint: Checkpoint) -> dict[int, Curve]:
        """Return validation curves of trials whose checkpoint was chosen, by place; without those of other eras."""
        if checkpoint is not Checkpoint.BEST:
            return {}
        folds = self._plan.scored_folds[:-1]
        reader = StudyReader(self._runs.tracking_uri)

        def joined(trial: TrackedTrial) -> Curve | None:
            try:
                return Curve.joined(reader.curves(trial, [fold.number for fold in folds]))
            except UserError:  # older runs have no BMC there
                return None

        with ThreadPoolExecutor(_READERS) as readers:
            found = list(readers.map(joined, trials))
        n_eras = sum(len(fold.validation_eras) for fold in folds)
        return {place: curve for place, curve in enumerate(found) if curve and len(curve.corr) == n_eras}

    def _blend(
        self,
        trials: Sequence[TrackedTrial],
        weights: Sequence[float],
        checkpoint: Checkpoint,
        neutralization: Neutralization | None,
    ) -> tuple[list[NDArray[np.float64]], NDArray[np.float64]]:
        """Return each fold's blend, shape (n_rows, 1), and the members' correlations in validation.

        Members are neutralised one by one, as candidates are: their correlations are those that a cap is held to.
        """
        predictions = [self._read(trial, checkpoint) for trial in trials]
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

    def _read(self, trial: TrackedTrial, checkpoint: Checkpoint) -> Mapping[int, NDArray[np.floating[Any]]]:
        """Return a trial's predictions of the first study's rows, by fold."""
        orders = self._of_run[trial.run_id].orders
        rows = {number: len(order) for number, order in orders.items()}
        predictions = self._runs.predictions(trial.run_id, trial.name, checkpoint.column, rows)
        return {number: values[orders[number]] for number, values in predictions.items()}

    def _span(self, number: int) -> slice:
        fold = next(fold for fold in self._plan.scored_folds if fold.number == number)
        return self._plan.dataset.span_of(fold.validation_eras)

    def _eras(self, number: int) -> NDArray[np.int32]:
        return self._plan.dataset.eras[self._span(number)]


@dataclass(frozen=True, eq=False)
class _Among:
    """What ``greedy`` chose among: its candidates, their mean correlations, and their trials."""

    candidates: Candidates
    correlations: NDArray[np.float64]
    trials: tuple[TrackedTrial, ...]


def expected_metrics(expectations: Sequence[Expectation]) -> dict[str, float]:
    """Return expectations as metrics: ``expected/sharpe``, its interval, and what validation alone let expect."""
    return {
        f"{EXPECTED}/{each.objective}{ending}": value
        for each in expectations
        for ending, value in (
            ("", each.value), ("_low", each.low), ("_high", each.high), ("_by_validation", each.by_validation)
        )
        if np.isfinite(value)
    }  # fmt: skip


def _diluted(candidates: Candidates, correlations: NDArray[np.float64]) -> Candidates:
    """Return candidates whose mean scores as a blend of members with these correlations does."""
    deviation = float(np.sqrt(np.nanmean(correlations)))
    curves = {place: Curve(each.corr / deviation, each.bmc / deviation) for place, each in candidates.curves.items()}
    return Candidates(candidates.corr / deviation, candidates.bmc / deviation, curves=curves)


def _with_stopped(candidates: Candidates, curves: Sequence[Curve], scoring: Scoring) -> Candidates:
    """Return candidates and, after them, trials that a race stopped, at their best checkpoints."""
    best = [curve.at_best(scoring) for curve in curves]
    return Candidates(
        np.hstack([candidates.corr, *(each.corr for each in best)]),
        np.hstack([candidates.bmc, *(each.bmc for each in best)]),
    )


def _by_preselection(candidates: Candidates, kept: Sequence[int], scoring: Scoring, overlap_eras: int) -> float:
    """Return what taking the best of all trials as candidates adds to their mean Sharpe ratio by chance."""
    ratio = Objective.PAYOUT_SHARPE if scoring.objective.compared is Objective.PAYOUT else Objective.SHARPE
    scores = scoring.era_scores(candidates.corr, candidates.bmc, ratio)
    pool = pool_of(scores, overlap_eras, ratio)
    excess = float(np.nanmean(ratio.summary(scores[:, list(kept)]))) - pool.mean
    return (1 - pool.kept) * max(excess, 0.0) if np.isfinite(excess) else 0.0


def _scores(scoring: Scoring, scorers: Sequence[Scorer], blends: Sequence[NDArray[np.float32]]) -> NDArray[np.float64]:
    needed = () if scoring.objective.era_score == "corr" else (BENCHMARK,)
    scored = [scorer.score(blend, needed) for scorer, blend in zip(scorers, blends, strict=True)]
    eras = np.concatenate([scoring.era_scores(each.corr, each.bmc.get(BENCHMARK, np.nan)) for each in scored])
    scorable = eras[np.isfinite(eras).any(axis=1)]  # an era of one row has no score
    if not len(scorable):
        return np.full(eras.shape[1], np.nan)
    return summary_of_known(scorable, scoring.objective)


def _with_seeds(
    trials: Sequence[TrackedTrial], weights: Sequence[float]
) -> tuple[tuple[TrackedTrial, ...], tuple[float, ...]]:
    """Return each trial with the runs of its further seeds, which share its weight.

    Raises
    ------
    UserError
        If none of the trials was trained with several seeds.
    """
    if not any(trial.repeats for trial in trials):
        raise UserError(
            "seeds = 'average', but none of the members was trained with several seeds; add a table [confirm] to the "
            "experiment file and mine on, or leave it out"
        )
    runs = [(trial, *trial.repeats) for trial in trials]
    shares = [weight / len(each) for each, weight in zip(runs, weights, strict=True) for _ in each]
    return tuple(run for each in runs for run in each), tuple(shares)


def _trees(trial: TrackedTrial, checkpoint: Checkpoint) -> int:
    trees = trial.trees_at(checkpoint)
    if trees is None:
        raise UserError(f"{trial.name} has no {checkpoint} checkpoint; delete its run and mine on")
    return trees


def _params(ensemble: Ensemble, rule: SelectionRule) -> dict[str, Any]:
    chosen = {
        "select": rule.select,
        "metric": rule.score,
        "members": ", ".join(f"{m.study}/{m.number}" if m.study else str(m.number) for m in ensemble.members),
        "weights": rule.weights,
        "checkpoint": str(rule.checkpoint),
        "min_trees": str(rule.fewest_trees),
    }
    if rule.max_benchmark_correlation < 1:
        chosen["max_benchmark_correlation"] = str(rule.max_benchmark_correlation)
    if rule.seeds == AVERAGE:
        chosen["seeds"] = rule.seeds
    if rule.select == GREEDY:
        chosen |= {"max_correlation": str(rule.max_correlation), "pool": str(rule.pool)}
    if ensemble.neutralization:
        chosen["neutralize"] = ensemble.neutralization.to
        chosen["proportion"] = str(ensemble.neutralization.proportion)
    return chosen


def _member_columns(
    trials: Sequence[TrackedTrial], checkpoint: Checkpoint, objective: Objective
) -> dict[str, list[str]]:
    shown = dict.fromkeys([objective, Objective.CORR])
    heads = {f"validation {each.label}": each.metric for each in shown}
    heads["corr. with benchmark"] = "validation/benchmark_corr"
    scores = [trial.scores_at(checkpoint) for trial in trials]
    columns = {
        head: [f"{values[key]:.4g}" if key in values else "–" for values in scores] for head, key in heads.items()
    }
    return {"target": [trial.params.get("target", "–") for trial in trials], **columns}
