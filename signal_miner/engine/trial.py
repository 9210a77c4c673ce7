"""One trial: a configuration trained on each fold and scored at checkpoints. Pure: no files, no tracking."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from signal_miner.data.folds import Fold
from signal_miner.engine.boosters import FoldData, FoldSource, fold_data
from signal_miner.experiment.schema import BENCHMARK
from signal_miner.scoring.best_checkpoint import best_checkpoint
from signal_miner.scoring.objective import DEFAULT_SCORING, Scoring
from signal_miner.scoring.scorer import EraScores, Scorer
from signal_miner.utils.validation import Value

CHECKPOINTS = 20
"""Points of a learning curve."""

DRAWN, BEST = 0, 1
"""Columns of a trial's predictions and scores: at the drawn number of trees, and at the best checkpoint."""


@dataclass(frozen=True, eq=False)
class FoldResult:
    """One fold of a trial, or of an ensemble.

    Attributes
    ----------
    predictions : ndarray of float, shape (n_rows, n_columns)
        Validation predictions. Of a trial: float32, columns `DRAWN` and `BEST`; of an ensemble: float64, one column.
    scores : EraScores
        Of these columns.
    curve : ndarray of float64, shape (n_eras, n_checkpoints)
        CORR of each era at each checkpoint.
    bmc_curve : ndarray of float64, shape (n_eras, n_checkpoints), or None
        BMC; None of the benchmark, which there is nothing to compare with while it is trained.
    """

    fold: Fold
    predictions: NDArray[np.floating[Any]]
    scores: EraScores
    curve: NDArray[np.float64]
    bmc_curve: NDArray[np.float64] | None = None


@dataclass(frozen=True, eq=False)
class TrialResult:
    """A trained and scored configuration.

    Attributes
    ----------
    params : mapping of str to value
        With ``target``.
    checkpoints : tuple of int
        Numbers of trees at which the curve was read; the last is the drawn one.
    best : int
        Index of the checkpoint that is best in validation.
    folds : tuple of FoldResult
        Earliest first; the last is test, all before it are validation.
    train_seconds : float
        Wall-clock seconds of training.
    """

    params: Mapping[str, Value]
    checkpoints: tuple[int, ...]
    best: int
    folds: tuple[FoldResult, ...]
    train_seconds: float


def checkpoints(n_estimators: int) -> tuple[int, ...]:
    """Return about `CHECKPOINTS` evenly spaced numbers of trees, the last `n_estimators`."""
    spaced = np.linspace(0, n_estimators, min(CHECKPOINTS, n_estimators) + 1)[1:]
    return tuple(round(float(trees)) for trees in spaced)


def train_fold(
    data: FoldData,
    params: Mapping[str, Value],
    seed: int,
    should_stop: Callable[[], bool] = lambda: False,
    on_checkpoint: Callable[[int], None] = lambda _trees: None,
) -> NDArray[np.float32]:
    """Train one configuration on one fold and predict its validation rows at every checkpoint.

    Parameters
    ----------
    data : FoldData
        What `fold_data` returns for the configuration.
    on_checkpoint : callable, optional
        Called with the number of trees.

    Returns
    -------
    ndarray of float32, shape (n_rows, n_checkpoints)
        Column-major, so that a checkpoint is contiguous.

    Raises
    ------
    Stopped
        If `should_stop`, called before each tree, returned true.
    lightgbm.basic.LightGBMError
        If LightGBM rejects the configuration.
    ValueError
        If the fold has no validation eras.
    """
    if not data.n_validation_rows:
        raise ValueError("the fold has no validation eras to predict")
    points = checkpoints(int(params["n_estimators"]))
    booster = data.start(params, seed)
    predictions = np.empty((data.n_validation_rows, len(points)), dtype=np.float32, order="F")
    trees = 0
    for column, point in enumerate(points):
        booster.grow(point - trees, should_stop)
        trees = point
        predictions[:, column] = booster.predictions()
        on_checkpoint(point)
    return predictions


def run_trial(
    source: FoldSource,
    folds: Sequence[Fold],
    scorers: Mapping[int, Scorer],
    params: Mapping[str, Value],
    seed: int,
    should_stop: Callable[[], bool] = lambda: False,
    on_checkpoint: Callable[[Fold, int], None] = lambda _fold, _trees: None,
    scoring: Scoring = DEFAULT_SCORING,
) -> TrialResult:
    """Train a configuration on every fold and score it.

    Parameters
    ----------
    folds : sequence of Fold
        For the configuration's target, earliest first.
    scorers : mapping of int to Scorer
        By fold number, over the rows of the fold's validation eras.
    on_checkpoint : callable, optional
        Called with the fold and the number of trees.

    Raises
    ------
    Stopped
        If `should_stop`, called before each tree, returned true.
    """
    assembly = TrialAssembly(params, folds, scoring)
    for fold in folds:
        data = fold_data(source, fold, params)
        started = time.perf_counter()
        predictions = train_fold(data, params, seed, should_stop, partial(on_checkpoint, fold))
        assembly.add(FoldCurve.of(predictions, scorers[fold.number], time.perf_counter() - started))
    return assembly.result(scorers)


@dataclass(frozen=True, eq=False)
class FoldCurve:
    """A trained fold of a trial, before its best checkpoint is known.

    Attributes
    ----------
    predictions : ndarray of float32, shape (n_rows, n_checkpoints)
        Column-major.
    curve : ndarray of float64, shape (n_eras, n_checkpoints)
        CORR of each era at each checkpoint.
    seconds : float
        Wall-clock time of training.
    bmc_curve : ndarray of float64, shape (n_eras, n_checkpoints), or None
        As of `FoldResult`.
    """

    predictions: NDArray[np.float32]
    curve: NDArray[np.float64]
    seconds: float
    bmc_curve: NDArray[np.float64] | None = None

    @classmethod
    def of(cls, predictions: NDArray[np.float32], scorer: Scorer, seconds: float) -> FoldCurve:
        """Score the predictions of a fold at every checkpoint."""
        scores = scorer.score(predictions, (BENCHMARK,))
        return cls(predictions, scores.corr, seconds, scores.bmc.get(BENCHMARK))


class TrialAssembly:
    """A trial that is assembled fold by fold, earliest first.

    Once the last validation fold is added, the best checkpoint is known, and only two columns of each fold's
    predictions are held.
    """

    def __init__(self, params: Mapping[str, Value], folds: Sequence[Fold], scoring: Scoring) -> None:
        self.params = dict(params)
        self.folds = tuple(folds)
        self._scoring = scoring
        self._points = checkpoints(int(params["n_estimators"]))
        self._parts: list[FoldCurve] = []
        self._best: int | None = None

    @property
    def next_fold(self) -> Fold | None:
        """The fold to add next; None once all are added."""
        return self.folds[len(self._parts)] if len(self._parts) < len(self.folds) else None

    def add(self, part: FoldCurve) -> None:
        """Add the next fold."""
        if self._best is not None:
            self._parts.append(_drawn_and_best(part, self._best))
            return
        self._parts.append(part)
        if len(self._parts) == len(self.folds) - 1:  # the best checkpoint is chosen on validation alone
            self._best = self._best_checkpoint()
            self._parts = [_drawn_and_best(each, self._best) for each in self._parts]

    def _best_checkpoint(self) -> int:
        corr = np.concatenate([each.curve for each in self._parts])
        bmc = [each.bmc_curve for each in self._parts if each.bmc_curve is not None]
        if len(bmc) < len(self._parts):  # the benchmark: by Sharpe
            return best_checkpoint(corr)
        return best_checkpoint(self._scoring.era_scores(corr, np.concatenate(bmc)), self._scoring.objective)

    def result(self, scorers: Mapping[int, Scorer]) -> TrialResult:
        """Return the finished trial; `scorers` are by fold number."""
        if self._best is None or self.next_fold is not None:
            raise ValueError("the trial has folds that were not added")
        results = tuple(
            FoldResult(fold, part.predictions, scorers[fold.number].score(part.predictions), part.curve, part.bmc_curve)
            for fold, part in zip(self.folds, self._parts, strict=True)
        )
        seconds = sum(part.seconds for part in self._parts)
        return TrialResult(self.params, self._points, self._best, results, seconds)


def rescore(result: TrialResult, scorers: Mapping[int, Scorer]) -> TrialResult:
    """Return a trial with its predictions scored by other scorers, such as those with further benchmarks."""
    folds = tuple(replace(part, scores=scorers[part.fold.number].score(part.predictions)) for part in result.folds)
    return replace(result, folds=folds)


def _drawn_and_best(part: FoldCurve, best: int) -> FoldCurve:
    return replace(part, predictions=np.asfortranarray(part.predictions[:, [-1, best]]))
