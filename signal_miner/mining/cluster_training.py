"""Trains draws on the workers of a Dask cluster: as many at a time as its ready workers take, and no more."""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from types import TracebackType
from typing import Any, Self

import joblib
import numpy as np
from numpy.typing import NDArray

from signal_miner.cluster.files import ArraysFile
from signal_miner.cluster.job import StudyJob
from signal_miner.cluster.pool import Ended, WorkerPool
from signal_miner.engine.benchmark_run import BenchmarkScores
from signal_miner.engine.trial import TrialResult
from signal_miner.engine.validation_rows import fold_scorers
from signal_miner.errors import Stopped, UserError
from signal_miner.experiment.plan import Plan
from signal_miner.mining.observer import ClusterWorkers, Observer
from signal_miner.mining.search import Draw
from signal_miner.mining.training import OnCheckpoint, Outcome, Training
from signal_miner.tracking.records import trial_name

_ATTEMPTS = 2
"""How often a draw is tried that takes its worker along, or fails for a reason that is the worker's."""

_SECONDS_BETWEEN_LOOKS = 0.2
_SECONDS_WITHOUT_WORKER = 15.0
"""After which that is worth a line: a worker reads the data before it is ready."""


@dataclass(eq=False)
class _Attempt:
    """A draw in training, or to be trained again."""

    draw: Draw
    failed: int = 0
    alone: bool = False
    started: float = field(default_factory=time.time)

    @property
    def name(self) -> str:
        return trial_name(self.draw.number) if self.draw.number >= 0 else "the benchmark"


@dataclass(eq=False)
class OnCluster(Training):
    """Whole trials at a time, each on one worker; what its worker's death interrupts is trained on another.

    Attributes
    ----------
    pool : WorkerPool
    observer : Observer
    """

    pool: WorkerPool
    observer: Observer
    _attempts: dict[int, _Attempt] = field(init=False, default_factory=dict)
    _again: deque[_Attempt] = field(init=False, default_factory=deque)
    _shown: ClusterWorkers | None = field(init=False, default=None)
    _changed: float = field(init=False, default=math.inf)

    def __enter__(self) -> Self:
        self.pool.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.pool.__exit__(kind, error, traceback)

    def outcomes(self, draws: Iterator[Draw]) -> Iterator[Outcome]:
        """Train draws as they arrive and yield each outcome as it completes."""
        with suppress(Stopped):
            while not self.should_stop():
                self._fill(draws)
                if not (self.pool.in_training or self.pool.ready or self._again):
                    if (draw := next(draws, None)) is None:
                        return
                    self._again.append(_Attempt(draw))  # no worker is ready
                for outcome in self._ended():
                    self._fill(draws)  # first, as to track a trial takes a while
                    yield outcome

    def benchmark(self, draw: Draw, on_checkpoint: OnCheckpoint) -> Outcome:
        """Train one configuration on one worker."""
        folds = {fold.number: fold for fold in self._folds(draw)}
        self.pool.on_checkpoint = lambda fold, trees: on_checkpoint(folds[fold], trees)
        try:
            return next(self.outcomes(iter([draw])), Outcome(draw, time.time()))
        finally:
            self.pool.on_checkpoint = lambda _fold, _trees: None

    def compare_with(self, benchmark: Mapping[int, NDArray[np.floating[Any]]]) -> BenchmarkScores:
        """Score against the benchmark's predictions, too, from now on; they are by fold number."""
        self.pool.compare_with(benchmark)
        return super().compare_with(benchmark)

    def _fill(self, draws: Iterator[Draw]) -> None:
        """Submit draws until each worker has as many as it takes, unless results wait to be tracked."""
        slots = self._slots()
        while self.pool.in_training < slots and self.pool.ready <= slots and not self.should_stop():
            if self._again:
                attempt = self._again.popleft()
            elif (draw := next(draws, None)) is not None:
                attempt = _Attempt(draw)
            else:
                return
            attempt.started = time.time()
            draw = attempt.draw
            task = draw.number if draw.seed is None else draw.number + 2**32 * (draw.seed + 1)  # one of each seed
            self._attempts[task] = attempt
            race = self.race_of(draw)
            self.pool.submit(
                task, draw.params, alone=attempt.alone, report_steps=draw.number < 0, seed=draw.seed, race=race
            )

    def _slots(self) -> int:
        workers = self.pool.workers
        shown = ClusterWorkers(workers.ready, workers.slots)
        if shown != self._shown:
            self._shown = shown
            self._changed = time.monotonic()
            self.observer(shown)
        if not shown.ready and time.monotonic() - self._changed > _SECONDS_WITHOUT_WORKER:
            self._changed = math.inf
            self.observer(f"No worker is ready for this study; to start one: {self.pool.start_command}")
        return workers.slots

    def _ended(self) -> Iterator[Outcome]:
        for ended in self.pool.ended(_SECONDS_BETWEEN_LOOKS):
            attempt = self._attempts.pop(ended.number)
            outcome = self._outcome(attempt, ended)
            if outcome is None:
                self._again.append(attempt)
            else:
                yield outcome

    def _outcome(self, attempt: _Attempt, ended: Ended) -> Outcome | None:
        """Return the outcome of an attempt; None where the draw is to be trained again."""
        trained, draw = ended.trained, attempt.draw
        if ended.lost or (trained is None and not ended.killed):
            return None
        if trained is not None and trained.result is not None:
            return Outcome(draw, attempt.started, _with_predictions(trained.result, trained.predictions))
        of_memory = ended.killed or (trained is not None and trained.of_memory)
        error = trained.error if trained is not None else f"the workers that trained {attempt.name} were killed"
        worker = trained.worker if trained is not None else "its worker"
        of_worker = trained is not None and trained.of_worker
        if not of_memory and not of_worker:
            return Outcome(draw, attempt.started, error=error)
        attempt.failed += 1
        if attempt.failed < _ATTEMPTS:
            reason = error.splitlines()[-1]
            attempt.alone = of_memory
            self.observer(f"{attempt.name} failed on {worker} ({reason}); it is tried again{', alone' * of_memory}.")
            return None
        fatal = UserError(error.splitlines()[-1]) if of_worker and not of_memory else None
        return Outcome(draw, attempt.started, error=error, fatal=fatal)


def on_cluster(plan: Plan, should_stop: Callable[[], bool], observer: Observer) -> OnCluster:
    """Return the training on the cluster that a plan's experiment names; entering it connects."""
    settings, jobs = plan.experiment.cluster, plan.experiment.jobs
    threads = -(-(joblib.cpu_count() if jobs == -1 else jobs) // (settings.workers or 1))
    pool = WorkerPool(settings, StudyJob.of(plan), threads, should_stop, observer)
    return OnCluster(plan, should_stop, fold_scorers(plan), pool, observer)


def _with_predictions(result: TrialResult, file: ArraysFile | None) -> TrialResult:
    """Return a result with the predictions that came as a file."""
    if file is None:
        return result
    parts = zip(result.folds, file.take(), strict=True)
    return replace(result, folds=tuple(replace(part, predictions=predictions) for part, predictions in parts))
