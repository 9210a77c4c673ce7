"""The benchmark run's predictions: Numerai's own where nothing is trained, and scorers against them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from signal_miner.engine.trial import FoldResult
from signal_miner.engine.validation_rows import fold_scorers
from signal_miner.errors import UserError
from signal_miner.experiment.plan import Plan
from signal_miner.experiment.schema import BENCHMARK, PREDICTIONS_KEY
from signal_miner.scoring.scorer import EraScores, Scorer
from signal_miner.scoring.series import era_slices

LEAST_COVERED = 0.5
"""Share of an era's rows that a model must predict to be scored in it, and of a fold's eras to be compared with."""


@dataclass(frozen=True, eq=False)
class BenchmarkScores:
    """The scores of the benchmark run, and what scores others against it, by fold number.

    Attributes
    ----------
    scores : mapping of int to EraScores
        Of its one column of predictions, over the rows that it predicts; NaN in eras of which it predicts none.
    scorers : mapping of int to Scorer
        With `BENCHMARK` among their benchmarks: the predictions that a contribution is taken against.
    """

    scores: Mapping[int, EraScores]
    scorers: Mapping[int, Scorer]

    @property
    def corr(self) -> dict[int, NDArray[np.float64]]:
        """CORR of each era by fold number, shape (n_eras,)."""
        return {number: scores.corr[:, 0] for number, scores in self.scores.items()}

    def folds(self, plan: Plan, predictions: Mapping[int, NDArray[np.floating[Any]]]) -> tuple[FoldResult, ...]:
        """Return the benchmark's folds as those of a model of one column, without a learning curve."""
        return tuple(
            FoldResult(
                fold,
                predictions[fold.number][:, np.newaxis],
                self.scores[fold.number],
                np.empty((len(fold.validation_eras), 0)),
            )
            for fold in plan.scored_folds
        )


def numerai_predictions(plan: Plan) -> dict[int, NDArray[np.float32]]:
    """Return the predictions of Numerai's that are a plan's benchmark run, by fold number.

    Returns
    -------
    dict of int to ndarray of float32, shape (n_rows,)
        Of the validation rows. NaN where there is no prediction, and in eras of which less than `LEAST_COVERED` is
        predicted.

    Raises
    ------
    UserError
        If they cover less than `LEAST_COVERED` of a fold's eras.
    """
    column, dataset = str(plan.benchmark_predictions), plan.dataset
    found = {}
    for fold in plan.scored_folds:
        span = dataset.span_of(fold.validation_eras)
        predictions = dataset.read_benchmarks([column], span)[column]
        for rows in era_slices(dataset.eras[span]):
            if np.isfinite(predictions[rows]).mean() < LEAST_COVERED:
                predictions[rows] = np.nan
        _missing_eras(plan, fold.number, predictions, f"benchmark.{PREDICTIONS_KEY} = {column!r}", "train a benchmark")
        found[fold.number] = predictions
    return found


def contribution_gaps(plan: Plan) -> dict[int, tuple[int, ...]]:
    """Return the eras that have no BMC, as what it is taken against has no predictions there, by fold number.

    Empty where it is taken against the benchmark run.

    Raises
    ------
    UserError
        If that leaves less than `LEAST_COVERED` of a fold's eras.
    """
    column, dataset = plan.experiment.contribution_to, plan.dataset
    if column in (BENCHMARK, plan.benchmark_predictions):
        return {}
    gaps = {}
    for fold in plan.scored_folds:
        predictions = dataset.read_benchmarks([column], dataset.span_of(fold.validation_eras))[column]
        repair = f"take BMC against {BENCHMARK!r}"
        gaps[fold.number] = _missing_eras(plan, fold.number, predictions, f"contribution_to = {column!r}", repair)
    return {number: missing for number, missing in gaps.items() if missing}


def _missing_eras(
    plan: Plan, number: int, predictions: NDArray[np.floating[Any]], setting: str, repair: str
) -> tuple[int, ...]:
    """Return the eras of a fold without predictions; raise a UserError if too few are left."""
    missing, count = uncovered_eras(plan, number, predictions), len(plan.scored_folds[number - 1].validation_eras)
    if count - len(missing) < LEAST_COVERED * count:
        raise UserError(
            f"{setting} covers {count - len(missing)} of the {count} eras that fold {number} predicts, and at least "
            f"half are needed; use fewer folds, or {repair}"
        )
    return missing


def uncovered_eras(plan: Plan, number: int, predictions: NDArray[np.floating[Any]]) -> tuple[int, ...]:
    """Return the era numbers of a fold of which a benchmark predicts no row."""
    eras = plan.dataset.eras[plan.dataset.span_of(plan.scored_folds[number - 1].validation_eras)]
    covered = np.unique(eras[np.isfinite(predictions)])
    return tuple(np.setdiff1d(eras, covered).tolist())


def residual_gaps(plan: Plan) -> dict[int, tuple[int, ...]]:
    """Return the training eras that residual targets leave out, as they lack predictions, by fold number.

    Those of `Plan.scored_folds`; empty where no target is residual.

    Raises
    ------
    UserError
        If that leaves a fold nothing to train on.
    """
    column, dataset = plan.residual_column, plan.dataset
    if not column:
        return {}
    covered = np.unique(dataset.eras[np.isfinite(dataset.benchmark_ranks(column))])
    for folds in (plan.folds[target] for target in plan.targets):
        for fold in folds:
            if not np.isin(fold.train_eras, covered).any():
                raise UserError(
                    f"grid.target_residual: {column} has no predictions in the eras that fold {fold.number} trains "
                    f"on, {plan.span(fold.train_eras)}; use fewer folds, or leave target_residual out"
                )
    gaps = {fold.number: np.setdiff1d(fold.train_eras, covered) for fold in plan.scored_folds}
    return {number: tuple(eras.tolist()) for number, eras in gaps.items() if len(eras)}


def score_benchmark(
    plan: Plan, scorers: Mapping[int, Scorer], predictions: Mapping[int, NDArray[np.floating[Any]]]
) -> BenchmarkScores:
    """Score the benchmark run's predictions, and return what scores others against it.

    Parameters
    ----------
    scorers : mapping of int to Scorer
        By fold number, as of `fold_scorers`.
    predictions : mapping of int to ndarray of float, shape (n_rows,)
        By fold number; NaN where the benchmark has none.
    """
    against = _with_reference(plan, scorers, predictions)
    known = {number: np.isfinite(values) for number, values in predictions.items()}
    own = against
    if not all(each.all() for each in known.values()):
        own = _with_reference(plan, fold_scorers(plan, known), predictions)
    scores = {number: own[number].score(np.nan_to_num(values)) for number, values in predictions.items()}
    return BenchmarkScores(scores, against)


def _with_reference(
    plan: Plan, scorers: Mapping[int, Scorer], predictions: Mapping[int, NDArray[np.floating[Any]]]
) -> dict[int, Scorer]:
    """Return scorers with what contributions are taken against."""
    column, dataset = plan.experiment.contribution_to, plan.dataset
    reference = dict(predictions)
    if column != BENCHMARK:
        spans = {fold.number: dataset.span_of(fold.validation_eras) for fold in plan.scored_folds}
        reference = {number: dataset.read_benchmarks([column], spans[number])[column] for number in predictions}
    return {number: scorer.with_benchmark(BENCHMARK, reference[number]) for number, scorer in scorers.items()}
