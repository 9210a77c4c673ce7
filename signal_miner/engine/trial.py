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
from signal_miner.engine.racing import Curve, Race, Stop
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
    seconds : float
        Wall-clock time of training.

    Notes
    -----
    Of a trial that is raced, predictions and scores `DRAWN` are NaN in folds that were not trained that far, and so
    are curves at checkpoints that were not reached.
    """

    fold: Fold
    predictions: NDArray[np.floating[Any]]
    scores: EraScores
    curve: NDArray[np.float64]
    bmc_curve: NDArray[np.float64] | None = None
    seconds: float = 0.0


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
        Earliest first; the last is test, all before it are validation. Of a trial that was stopped, those before.
    train_seconds : float
        Wall-clock seconds of training.
    stop : Stop or None
        Where a race stopped it.
    in_full : bool
        Whether every fold was trained to the drawn number of trees.
    """

    params: Mapping[str, Value]
    checkpoints: tuple[int, ...]
    best: int
    folds: tuple[FoldResult, ...]
    train_seconds: float
    stop: Stop | None = None
    in_full: bool = True


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
    most: int | None = None,
    is_last: Callable[[NDArray[np.float32]], bool] = lambda _predictions: False,
) -> NDArray[np.float32]:
    """Train one configuration on one fold and predict its validation rows at every checkpoint.

    Parameters
    ----------
    data : FoldData
        What `fold_data` returns for the configuration.
    on_checkpoint : callable, optional
        Called with the number of trees.
    most : int, optional
        Checkpoints to train to; all of them if not given.
    is_last : callable, optional
        Called with the predictions at each checkpoint, shape (n_rows,); the training ends where it returns true.

    Returns
    -------
    ndarray of float32, shape (n_rows, n_checkpoints)
        Column-major, so that a checkpoint is contiguous; as many as were reached.

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
    points = checkpoints(int(params["n_estimators"]))[:most]
    booster = data.start(params, seed)
    predictions = np.empty((data.n_validation_rows, len(points)), dtype=np.float32, order="F")
    trees = 0
    for column, point in enumerate(points):
        booster.grow(point - trees, should_stop)
        trees = point
        predictions[:, column] = booster.predictions()
        on_checkpoint(point)
        if is_last(predictions[:, column]):
            return predictions[:, : column + 1]
    return predictions


def train_curve(
    data: FoldData,
    scorer: Scorer,
    params: Mapping[str, Value],
    seed: int,
    should_stop: Callable[[], bool] = lambda: False,
    on_checkpoint: Callable[[int], None] = lambda _trees: None,
    most: int | None = None,
    race: Race | None = None,
) -> FoldCurve:
    """Train one configuration on one fold and score it at every checkpoint; see `train_fold`.

    Parameters
    ----------
    scorer : Scorer
        Over the rows of the fold's validation eras.
    race : Race, optional
        By which the training ends once the curve is unlikely to reach a new best.
    """
    started = time.perf_counter()
    if race is None:
        predictions = train_fold(data, params, seed, should_stop, on_checkpoint, most)
        return FoldCurve.of(predictions, scorer, time.perf_counter() - started)
    watch = _Watch(race, scorer, len(checkpoints(int(params["n_estimators"]))[:most]))
    predictions = train_fold(data, params, seed, should_stop, on_checkpoint, most, watch)
    return FoldCurve(predictions, watch.curve.corr, time.perf_counter() - started, watch.curve.bmc)


def train_next(
    assembly: TrialAssembly,
    source: FoldSource,
    scorers: Mapping[int, Scorer],
    seed: int,
    should_stop: Callable[[], bool] = lambda: False,
    on_checkpoint: Callable[[Fold, int], None] = lambda _fold, _trees: None,
) -> FoldCurve:
    """Train and score the next fold of a trial, as far as its race lets it; it is not added yet.

    Parameters
    ----------
    scorers : mapping of int to Scorer
        By fold number, over the rows of the fold's validation eras.
    on_checkpoint : callable, optional
        Called with the fold and the number of trees.

    Raises
    ------
    Stopped
        If `should_stop`, called before each tree, returned true.
    """
    fold, params = assembly.next_fold, assembly.params
    if fold is None:
        raise ValueError("the trial is whole")
    return train_curve(
        fold_data(source, fold, params),
        scorers[fold.number],
        params,
        seed,
        should_stop,
        partial(on_checkpoint, fold),
        assembly.most_checkpoints,
        None if fold is assembly.folds[-1] else assembly.race,
    )


class _Watch:
    """Scores a fold while it is trained, and says when its curve has turned down."""

    def __init__(self, race: Race, scorer: Scorer, most: int) -> None:
        self._race, self._scorer, self._remaining = race, scorer, most
        nothing = np.empty((len(scorer.eras), 0))
        self.curve = Curve(nothing, nothing)

    def __call__(self, predictions: NDArray[np.float32]) -> bool:
        scores = self._scorer.score(predictions, (BENCHMARK,))
        self.curve = Curve(
            np.hstack([self.curve.corr, scores.corr]), np.hstack([self.curve.bmc, scores.bmc[BENCHMARK]])
        )
        self._remaining -= 1
        return self._race.has_turned_down(self.curve, self._remaining)


def run_trial(
    source: FoldSource,
    folds: Sequence[Fold],
    scorers: Mapping[int, Scorer],
    params: Mapping[str, Value],
    seed: int,
    should_stop: Callable[[], bool] = lambda: False,
    on_checkpoint: Callable[[Fold, int], None] = lambda _fold, _trees: None,
    scoring: Scoring = DEFAULT_SCORING,
    race: Race | None = None,
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
    race : Race, optional
        By which it may be stopped; it is trained to the end if not given.

    Raises
    ------
    Stopped
        If `should_stop`, called before each tree, returned true.
    """
    return complete(TrialAssembly(params, folds, scoring, race), source, scorers, seed, should_stop, on_checkpoint)


def complete(
    assembly: TrialAssembly,
    source: FoldSource,
    scorers: Mapping[int, Scorer],
    seed: int,
    should_stop: Callable[[], bool] = lambda: False,
    on_checkpoint: Callable[[Fold, int], None] = lambda _fold, _trees: None,
) -> TrialResult:
    """Train what a trial lacks and return it; arguments are those of `train_next`."""
    while assembly.next_fold is not None:
        assembly.add(train_next(assembly, source, scorers, seed, should_stop, on_checkpoint))
    return assembly.result(scorers)


@dataclass(frozen=True, eq=False)
class FoldCurve:
    """A trained fold of a trial, before its best checkpoint is known.

    Attributes
    ----------
    predictions : ndarray of float32, shape (n_rows, n_checkpoints)
        Column-major; of those that were reached.
    curve : ndarray of float64, shape (n_eras, n_checkpoints)
        CORR of each era at each of them.
    seconds : float
        Wall-clock time of training.
    bmc_curve : ndarray of float64, shape (n_eras, n_checkpoints), or None
        As of `FoldResult`.
    best : int or None
        Index of the only checkpoint whose predictions are kept beside the last one's, in columns `DRAWN` and `BEST`;
        None where all are.
    """

    predictions: NDArray[np.float32]
    curve: NDArray[np.float64]
    seconds: float
    bmc_curve: NDArray[np.float64] | None = None
    best: int | None = None

    @classmethod
    def of(cls, predictions: NDArray[np.float32], scorer: Scorer, seconds: float) -> FoldCurve:
        """Score the predictions of a fold at every checkpoint."""
        scores = scorer.score(predictions, (BENCHMARK,))
        return cls(predictions, scores.corr, seconds, scores.bmc.get(BENCHMARK))

    @property
    def race_curve(self) -> Curve:
        """The scores by which it is raced."""
        return Curve(self.curve, np.full_like(self.curve, np.nan) if self.bmc_curve is None else self.bmc_curve)


class TrialAssembly:
    """A trial that is assembled fold by fold, earliest first.

    Once the last validation fold is added, the best checkpoint is known, and only two columns of each fold's
    predictions are held. With a race, the trial may be stopped after each validation fold; later ones are trained no
    further than all earlier ones, and the last fold no further than the best checkpoint.
    """

    def __init__(
        self, params: Mapping[str, Value], folds: Sequence[Fold], scoring: Scoring, race: Race | None = None
    ) -> None:
        self.params = dict(params)
        self.folds = tuple(folds)
        self.race = race
        self._scoring = scoring
        self._points = checkpoints(int(params["n_estimators"]))
        self._parts: list[FoldCurve] = []
        self._best: int | None = None
        self.stop: Stop | None = None

    @property
    def best(self) -> int:
        """Index of the best checkpoint."""
        if self._best is None:
            raise ValueError("the trial has folds that were not added")
        return self._best

    @property
    def next_fold(self) -> Fold | None:
        """The fold to add next; None once all are added, or the race stopped the trial."""
        return self.folds[len(self._parts)] if self.stop is None and len(self._parts) < len(self.folds) else None

    @property
    def most_checkpoints(self) -> int:
        """How many checkpoints the next fold is trained to."""
        if self.race is not None and self._best is not None:
            return self._best + 1
        return min((each.curve.shape[1] for each in self._parts), default=len(self._points))

    def takes(self, part: FoldCurve) -> bool:
        """Return whether a fold's result that was stored can be added: it was trained as far as it is now to be."""
        reached = part.curve.shape[1]
        last_validation = len(self._parts) == len(self.folds) - 2
        as_far = reached == self.most_checkpoints or (self.race is not None and reached < self.most_checkpoints)
        return as_far and (part.best is None or (last_validation and part.best == self._best_checkpoint(part)))

    def add(self, part: FoldCurve) -> None:
        """Add the next fold."""
        if self._best is not None:
            self._parts.append(self._drawn_and_best(part, self._best))
            return
        best = self._best_checkpoint(part)
        self._parts.append(part)
        if self.race is not None:
            reason = self.race.reason_to_stop([each.race_curve for each in self._parts])
            if reason is not None:
                trees = self._points[part.curve.shape[1] - 1]
                self.stop = Stop(self.folds[len(self._parts) - 1].number, trees, reason)
        if self.stop is not None or len(self._parts) == len(self.folds) - 1:
            self._best = best  # chosen on validation alone
            self._parts = [self._drawn_and_best(each, best) for each in self._parts]

    def _best_checkpoint(self, newest: FoldCurve) -> int:
        parts = [*self._parts, newest]
        reached = min(each.curve.shape[1] for each in parts)
        corr = np.concatenate([each.curve[:, :reached] for each in parts])
        bmc = [each.bmc_curve[:, :reached] for each in parts if each.bmc_curve is not None]
        if len(bmc) < len(parts):  # the benchmark: by Sharpe
            return best_checkpoint(corr)
        return best_checkpoint(self._scoring.era_scores(corr, np.concatenate(bmc)), self._scoring.objective)

    def result(self, scorers: Mapping[int, Scorer]) -> TrialResult:
        """Return the finished or stopped trial; `scorers` are by fold number."""
        if self.next_fold is not None:
            raise ValueError("the trial has folds that were not added")
        results = tuple(
            FoldResult(
                fold,
                part.predictions,
                _scores(part.predictions, scorers[fold.number]),
                self._padded(part.curve),
                None if part.bmc_curve is None else self._padded(part.bmc_curve),
                part.seconds,
            )
            for fold, part in zip(self.folds, self._parts, strict=False)
        )
        seconds = sum(part.seconds for part in self._parts)
        in_full = self.stop is None and all(self._is_whole(part) for part in self._parts)
        return TrialResult(self.params, self._points, self.best, results, seconds, self.stop, in_full)

    def _drawn_and_best(self, part: FoldCurve, best: int) -> FoldCurve:
        if part.best is not None:
            return part
        predictions = np.asfortranarray(part.predictions[:, [-1, best]])
        if not self._is_whole(part):
            predictions[:, DRAWN] = np.nan
        return replace(part, predictions=predictions, best=best)

    def _is_whole(self, part: FoldCurve) -> bool:
        return int(part.curve.shape[1]) == len(self._points)

    def _padded(self, curve: NDArray[np.float64]) -> NDArray[np.float64]:
        missing = len(self._points) - curve.shape[1]
        return np.pad(curve, ((0, 0), (0, missing)), constant_values=np.nan) if missing else curve


@dataclass(frozen=True)
class Replay:
    """What a race would have made of a trial that was trained to the end.

    Attributes
    ----------
    stop : Stop or None
    reached : tuple of int
        Checkpoints that it would have been trained to, for each fold.
    best : int
        Index of its best checkpoint.
    """

    stop: Stop | None
    reached: tuple[int, ...]
    best: int


def replay(params: Mapping[str, Value], folds: Sequence[Fold], curves: Sequence[Curve], race: Race) -> Replay:
    """Race a trial on its learning curves.

    Parameters
    ----------
    curves : sequence of Curve
        Of each fold, at all of its checkpoints.
    """
    assembly, reached = TrialAssembly(params, folds, race.scoring, race), list[int]()
    for fold, curve in zip(folds, curves, strict=True):
        if assembly.next_fold is None:
            break
        count = most = assembly.most_checkpoints
        if fold is not folds[-1]:
            turned = (number for number in range(1, most) if race.has_turned_down(curve.until(number), most - number))
            count = next(turned, most)
        part = curve.until(count)
        assembly.add(FoldCurve(np.zeros((1, count), np.float32), part.corr, 0.0, part.bmc))
        reached.append(count)
    return Replay(assembly.stop, tuple(reached), assembly.best)


def _scores(predictions: NDArray[np.float32], scorer: Scorer) -> EraScores:
    """Return the scores of predictions; NaN where a column is."""
    known = ~np.isnan(predictions[0])
    if known.all():
        return scorer.score(predictions)
    scores = scorer.score(np.ascontiguousarray(predictions[:, known]))

    def spread(values: NDArray[np.float64]) -> NDArray[np.float64]:
        wide = np.full((len(values), len(known)), np.nan)
        wide[:, known] = values
        return wide

    return EraScores(
        scores.eras,
        spread(scores.corr),
        {name: spread(values) for name, values in scores.bmc.items()},
        {name: spread(values) for name, values in scores.benchmark_corr.items()},
    )


def rescore(result: TrialResult, scorers: Mapping[int, Scorer]) -> TrialResult:
    """Return a trial with its predictions scored by other scorers, such as those with further benchmarks."""
    folds = tuple(replace(part, scores=_scores(part.predictions, scorers[part.fold.number])) for part in result.folds)
    return replace(result, folds=folds)
