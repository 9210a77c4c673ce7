"""Trains the trials that a study draws: whole trials side by side, or in blocks where memory holds one dataset.

What follows is for this machine's threads; `mining.cluster_training` trains on the workers of a cluster. Where all
binned datasets fit, each thread takes a trial through its folds. Where they do not, a block of consecutive draws is
trained fold by fold, and within a fold grouped by `DatasetKey`, so that one dataset at a time is held and
each is made once a block. A study that is stopped has whole blocks and, of the last one, trials of groups whose order
is drawn anew from the seed for each block: what is finished is no biased sample of what was drawn. Fold results of an
unfinished block are kept on disk, so that they are not trained again.
"""

from __future__ import annotations

import logging
import threading
import time
import traceback
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from itertools import islice
from types import TracebackType
from typing import Any, Self

import joblib
import numpy as np
from numpy.typing import NDArray

from signal_miner.data.folds import Fold
from signal_miner.engine.benchmark_run import BenchmarkScores, score_benchmark
from signal_miner.engine.boosters import FoldSource, fold_data
from signal_miner.engine.fold_sources import fold_source
from signal_miner.engine.memory_needs import WAITING_FOR_EACH_JOB, block_draws
from signal_miner.engine.memory_plan import MemoryPlan
from signal_miner.engine.racing import Race, trains_in_full
from signal_miner.engine.trial import FoldCurve, TrialAssembly, TrialResult, complete, train_curve, train_next
from signal_miner.engine.validation_rows import fold_scorers
from signal_miner.errors import Stopped, UserError, is_out_of_memory
from signal_miner.experiment.parameters import DatasetKey
from signal_miner.experiment.plan import Plan
from signal_miner.mining.fold_store import FoldResultStore, fold_results
from signal_miner.mining.observer import FeaturesBinned, Observer
from signal_miner.mining.search import Draw
from signal_miner.scoring.scorer import Scorer

_LOG = logging.getLogger(__name__)

OnCheckpoint = Callable[[Fold, int], None]


@dataclass(frozen=True)
class Outcome:
    """Outcome of training a draw: a result, an error (a traceback), or neither if a stop was requested.

    `started` is in seconds since the epoch. A `fatal` error is not caused by the configuration (memory, data, a
    store): it ends the mining, and the next process trains the draw again.
    """

    draw: Draw
    started: float
    result: TrialResult | None = None
    error: str | None = None
    fatal: Exception | None = None


@dataclass(eq=False)
class Training:
    """Trains draws on a plan's folds; a context manager, which lets go of what it trains with.

    Attributes
    ----------
    plan : Plan
    should_stop : callable
        Asked before each tree.
    scorers : mapping of int to Scorer
        By fold number; against the benchmark, as soon as there is one.
    race : Race or None
        By which draws after the pilot are stopped, as soon as the pilot is trained.
    """

    plan: Plan
    should_stop: Callable[[], bool]
    scorers: Mapping[int, Scorer]
    race: Race | None = field(init=False, default=None)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        pass

    def outcomes(self, draws: Iterator[Draw]) -> Iterator[Outcome]:
        """Train draws as they arrive and yield each outcome as it completes."""
        raise NotImplementedError

    def benchmark(self, draw: Draw, on_checkpoint: OnCheckpoint) -> Outcome:
        """Train one configuration with all jobs; `on_checkpoint` receives the fold and its number of trees."""
        raise NotImplementedError

    def settled(self, draw: Draw) -> None:
        """Release what is stored for a draw once it is tracked."""

    def compare_with(self, benchmark: Mapping[int, NDArray[np.floating[Any]]]) -> BenchmarkScores:
        """Score against the benchmark's predictions, too, from now on; they are by fold number."""
        scored = score_benchmark(self.plan, self.scorers, benchmark)
        self.scorers = scored.scorers
        return scored

    def _folds(self, draw: Draw) -> tuple[Fold, ...]:
        return self.plan.folds[str(draw.params["target"])]

    def _seed(self, draw: Draw) -> int:
        return self.plan.experiment.seed if draw.seed is None else draw.seed

    def race_of(self, draw: Draw) -> Race | None:
        """Return the race that a draw takes part in; None of those that are trained to the end."""
        experiment = self.plan.experiment
        if draw.seed is not None or trains_in_full(experiment.race, experiment.seed, draw.number):
            return None
        return self.race


@dataclass(eq=False)
class InThreads(Training):
    """Trains in threads of this process; `SideBySide` and `InBlocks` decide the order.

    Attributes
    ----------
    source : FoldSource
    jobs : int
        Trainings at a time.
    kept : FoldResultStore
        Where results of folds are on disk whose trial is not whole.
    """

    source: FoldSource
    jobs: int
    kept: FoldResultStore
    _slots: threading.Semaphore = field(init=False, repr=False)

    def __post_init__(self) -> None:
        # Workers wait where results come faster than they are tracked: their predictions are held until then.
        self._slots = threading.Semaphore(WAITING_FOR_EACH_JOB * self.jobs)
        warnings.filterwarnings("ignore", message=".*tasks which were still being processed.*")

    def _workers(self) -> joblib.Parallel:
        return joblib.Parallel(
            n_jobs=self.jobs, backend="threading", return_as="generator_unordered", pre_dispatch="n_jobs", batch_size=1
        )

    def settled(self, draw: Draw) -> None:
        """Remove a draw's fold results from the disk once it is tracked."""
        self.kept.remove(draw)

    def _assembly(self, draw: Draw) -> TrialAssembly:
        """Return a draw's trial with the folds of it that are on disk, all but the last."""
        assembly = TrialAssembly(draw.params, self._folds(draw), self.plan.scoring, self.race_of(draw))
        while (fold := assembly.next_fold) is not None and fold is not assembly.folds[-1]:
            part = self.kept.load(draw, fold)
            if part is None or not assembly.takes(part):
                break
            assembly.add(part)
        return assembly

    def _await_slot(self) -> bool:
        """Wait until a result may be held; return whether one may, before a stop was asked for."""
        while not self._slots.acquire(timeout=0.2):
            if self.should_stop():
                return False
        return True


class SideBySide(InThreads):
    """Whole trials at a time, each through its folds in one thread: all datasets are held together."""

    def outcomes(self, draws: Iterator[Draw]) -> Iterator[Outcome]:
        """Train draws as they arrive and yield each outcome as it completes."""
        for outcome in self._workers()(joblib.delayed(self._train)(draw) for draw in draws):
            yield outcome
            self._slots.release()

    def benchmark(self, draw: Draw, on_checkpoint: OnCheckpoint) -> Outcome:
        """Train the folds of one configuration side by side."""
        reporting = threading.Lock()

        def report(fold: Fold, trees: int) -> None:
            with reporting:
                on_checkpoint(fold, trees)

        def train() -> TrialResult:
            params = draw.params
            assembly = TrialAssembly(params, self._folds(draw), self.plan.scoring)

            def train_one(fold: Fold) -> FoldCurve:
                data, scorer = fold_data(self.source, fold, params), self.scorers[fold.number]
                return train_curve(data, scorer, params, self._seed(draw), self.should_stop, partial(report, fold))

            folds = joblib.Parallel(n_jobs=self.jobs, backend="threading", batch_size=1)(
                joblib.delayed(train_one)(fold) for fold in assembly.folds
            )
            for part in folds:
                assembly.add(part)
            return assembly.result(self.scorers)

        return attempt(draw, train)

    def _train(self, draw: Draw) -> Outcome:
        if not self._await_slot():
            return Outcome(draw, time.time())

        def train() -> TrialResult:
            return complete(self._assembly(draw), self.source, self.scorers, self._seed(draw), self.should_stop)

        return attempt(draw, train)


@dataclass
class _Entry:
    """A draw of the current block and the folds trained so far."""

    draw: Draw
    assembly: TrialAssembly
    started: float
    over: bool = False


class InBlocks(InThreads):
    """Blocks of draws, fold by fold and grouped by dataset: one dataset is held at a time."""

    def outcomes(self, draws: Iterator[Draw]) -> Iterator[Outcome]:
        """Train draws block by block and yield each outcome as it completes."""
        number = 0
        while block := list(islice(draws, block_draws(self.jobs))):
            yield from self._block(block, np.random.default_rng([self.plan.experiment.seed, number]))
            number += 1

    def benchmark(self, draw: Draw, on_checkpoint: OnCheckpoint) -> Outcome:
        """Train the folds of one configuration one after the other."""
        entry = self._entry(draw)

        def train() -> TrialResult:
            while (fold := entry.assembly.next_fold) is not None:
                self.source.release()
                self._add(entry, fold, on_checkpoint)
            return entry.assembly.result(self.scorers)

        return attempt(draw, train)

    def _block(self, block: list[Draw], generator: np.random.Generator) -> Iterator[Outcome]:
        entries = [self._entry(draw) for draw in block]
        for entry in entries:
            if entry.assembly.next_fold is None:  # stopped by what is on disk of it
                yield Outcome(entry.draw, entry.started, entry.assembly.result(self.scorers))
        keys = sorted({DatasetKey.of(draw.params) for draw in block})
        # Sorted with the target last, so that neighbours share their bins, and rotated by a random offset. A
        # study may be stopped within a block, when only the groups that came first have finished trials. With a fixed
        # start these would always be the same values of these, and the leaderboard a biased sample of
        # the draws. The offset depends on the seed and the block's number alone, so a resumed study repeats it.
        keys = [keys[place] for place in np.roll(np.arange(len(keys)), int(generator.integers(len(keys))))]
        for place in range(len(self.plan.scored_folds)):
            for key in keys:
                group = [entry for entry in entries if DatasetKey.of(entry.draw.params) == key and not entry.over]
                group = [entry for entry in group if entry.assembly.next_fold == entry.assembly.folds[place]]
                if not group:
                    continue
                self.source.release()
                for entry, outcome in self._workers()(joblib.delayed(self._step)(entry) for entry in group):
                    entry.over = outcome is not None
                    if outcome is not None:
                        yield outcome
                    self._slots.release()
                if self.should_stop():
                    return

    def _entry(self, draw: Draw) -> _Entry:
        return _Entry(draw, self._assembly(draw), time.time())

    def _step(self, entry: _Entry) -> tuple[_Entry, Outcome | None]:
        """Train an entry's next fold; return its outcome where that was the last, or failed."""
        if not self._await_slot():
            return entry, Outcome(entry.draw, entry.started)
        fold = entry.assembly.next_fold
        if fold is None:
            raise ValueError("the trial is whole")

        def train() -> TrialResult | None:
            self._add(entry, fold)
            return entry.assembly.result(self.scorers) if entry.assembly.next_fold is None else None

        outcome = attempt(entry.draw, train, entry.started)
        return entry, outcome if outcome.result or outcome.error or self.should_stop() else None

    def _add(self, entry: _Entry, fold: Fold, on_checkpoint: OnCheckpoint = lambda _fold, _trees: None) -> None:
        seed = self._seed(entry.draw)
        part = train_next(entry.assembly, self.source, self.scorers, seed, self.should_stop, on_checkpoint)
        entry.assembly.add(part)
        if fold is not entry.assembly.folds[-1]:
            self.kept.save(entry.draw, fold, part)


def attempt(draw: Draw, train: Callable[[], TrialResult | None], started: float | None = None) -> Outcome:
    """Run a training and return its outcome; an error of one configuration does not stop the others."""
    began = time.time() if started is None else started
    try:
        return Outcome(draw, began, train())
    except Stopped:
        return Outcome(draw, began)
    except Exception as error:  # noqa: BLE001 - reported as the trial's error, or as the mining's
        _LOG.debug("trial %d failed", draw.number, exc_info=True)
        fatal = error if isinstance(error, OSError | UserError) or is_out_of_memory(error) else None
        return Outcome(draw, began, error="".join(traceback.format_exception(error)).strip(), fatal=fatal)


def make_training(
    plan: Plan, memory: MemoryPlan | None, should_stop: Callable[[], bool], observer: Observer = lambda _event: None
) -> Training:
    """Return the training that a memory plan asks for; the one on a cluster where there is no plan."""
    if memory is None:
        from signal_miner.mining.cluster_training import on_cluster  # its packages may not be installed

        return on_cluster(plan, should_stop, observer)
    source = fold_source(plan, memory, plan.labels, should_stop, lambda *features: observer(FeaturesBinned(*features)))
    scorers = fold_scorers(plan)
    kind = SideBySide if memory.together else InBlocks
    return kind(plan, should_stop, scorers, source, memory.jobs, fold_results(plan))
