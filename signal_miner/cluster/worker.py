"""What runs on a Dask worker: it opens a study's data, checks that it trains as all others do, and trains trials.

A worker reads the data where it is itself, so that no data pass through the scheduler. Only then it offers the
resource that the study's trials ask for: one that differs is never given any. Neither MLflow nor Optuna is imported.
"""

from __future__ import annotations

import asyncio
import threading
import traceback
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any
from uuid import uuid4

import numpy as np
from distributed import Status, Worker, WorkerPlugin, get_worker
from distributed.worker import thread_state
from numpy.typing import NDArray

from signal_miner.cluster.files import ArraysFile, local_data
from signal_miner.cluster.job import StudyJob, Trained, installed_versions
from signal_miner.data.folds import Fold
from signal_miner.engine.available_memory import available_bytes
from signal_miner.engine.benchmark_run import score_benchmark
from signal_miner.engine.boosters import FoldSource
from signal_miner.engine.fold_sources import fold_source
from signal_miner.engine.memory_plan import plan_memory
from signal_miner.engine.racing import Race
from signal_miner.engine.trial import FoldResult, TrialResult, run_trial
from signal_miner.engine.validation_rows import fold_scorers
from signal_miner.errors import Stopped, UserError, is_out_of_memory
from signal_miner.experiment.plan import Plan, make_plan, open_data
from signal_miner.scoring.scorer import Scorer
from signal_miner.utils.redaction import reason_of
from signal_miner.utils.validation import Value

READY, REFUSED, CHECKPOINT = "ready", "refused", "checkpoint"
"""Kinds of the events that a worker reports."""

_PAUSED_SHARE = 0.8
"""Part of its memory limit at which Dask gives a worker no further tasks: datasets that stay there would end it."""


@dataclass(eq=False)
class _Study:
    """A study that this worker is ready to train for."""

    plan: Plan
    source: FoldSource
    slots: int
    plain_scorers: Mapping[int, Scorer]
    benchmark: Mapping[int, NDArray[np.float32]] | None = None
    _against: tuple[object, Mapping[int, Scorer]] | None = None
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def scorers(self) -> Mapping[int, Scorer]:
        """Return the scorers, against the benchmark as soon as that is known."""
        benchmark = self.benchmark
        if benchmark is None:
            return self.plain_scorers
        with self._lock:
            if self._against is None or self._against[0] is not benchmark:
                self._against = benchmark, score_benchmark(self.plan, self.plain_scorers, benchmark).scorers
            return self._against[1]


_STUDIES: dict[StudyJob, _Study] = {}  # kept when a scheduler that was lost registers a study again
_PREPARING = threading.Lock()


class StudyPlugin(WorkerPlugin):  # type: ignore[misc]  # distributed's types are skipped
    """Prepares each worker of a cluster, and those that join later, for a study.

    Parameters
    ----------
    job : StudyJob
    benchmark : mapping of int to ndarray of float32, shape (n_rows,), optional
        The benchmark's predictions by fold number, as soon as they are known.
    """

    def __init__(self, job: StudyJob, benchmark: Mapping[int, NDArray[np.float32]] | None = None) -> None:
        self.name = job.resource
        self.job = job
        self.benchmark = benchmark
        self._task: asyncio.Task[None] | None = None

    async def setup(self, worker: Worker) -> None:
        """Start to prepare the worker; the scheduler does not wait, as reading data takes minutes."""
        self._task = asyncio.create_task(self._prepare(worker))

    async def teardown(self, worker: Worker) -> None:
        """Take no further trials: a plugin that replaces this one offers the resource once it is ready itself."""
        if self._task is not None:
            self._task.cancel()
        if worker.status == Status.running:
            with suppress(OSError):  # a scheduler that is lost gives no trials
                await worker.set_resources(**{self.job.resource: 0})

    async def _prepare(self, worker: Worker) -> None:
        try:
            study = await asyncio.to_thread(prepare, self.job, int(worker.state.nthreads), _memory_of(worker))
        except Exception as error:  # noqa: BLE001 - the worker's own faults, which the process that mines reports
            reason = reason_of(error)
            kind = "" if isinstance(error, UserError) else f"{type(error).__name__}: "
            worker.log_event(self.job.topic, {"kind": REFUSED, "reason": f"{kind}{reason}"})
            return
        study.benchmark = self.benchmark
        await worker.set_resources(**{self.job.resource: study.slots})
        if worker.status == Status.running:
            # A trial that was submitted while no worker had the resource waits: Dask's scheduler does not look at it
            # again when a worker gets the resource, only when one joins, or runs after a pause.
            worker.status = Status.paused
            worker.status = Status.running
        worker.log_event(self.job.topic, {"kind": READY, "slots": study.slots})


def release_study(resource: str) -> None:
    """Forget a study and free its memory: run on each worker once it is mined."""
    for job in [job for job in _STUDIES if job.resource == resource]:
        _STUDIES.pop(job).source.release()


def prepare(job: StudyJob, threads: int, memory_bytes: int) -> _Study:
    """Open a study's data on this worker, compare them, and plan how many trials it trains at a time.

    Raises
    ------
    UserError
        If this worker has other versions or other data, or too little memory.
    """
    with _PREPARING:
        if job not in _STUDIES:
            _STUDIES[job] = _prepared(job, threads, memory_bytes)
        return _STUDIES[job]


def _prepared(job: StudyJob, threads: int, memory_bytes: int) -> _Study:
    own = installed_versions()
    for package, wanted in job.versions:
        if own.get(package) != wanted:
            raise UserError(f"it has {package} {own.get(package)}, and the study is mined with {wanted}")
    experiment = job.parsed()
    place = local_data(job.data)
    dataset = open_data(replace(experiment, data=place))
    for what, found, mined in (("digest", dataset.digest, job.digest), ("content", dataset.content, job.content)):
        if found != mined:
            raise UserError(f"its data in {place} differ from those that are mined ({what} {found}, not {mined})")
    plan = make_plan(replace(experiment, data=place), dataset)
    if plan.study != job.study:
        raise UserError(f"it plans the study as {plan.study}, not {job.study}")
    memory = plan_memory(plan, threads, memory_bytes)
    if not memory.together:  # trials that come in any order take turns with the datasets
        memory = plan_memory(plan, 1, memory_bytes)
    source = fold_source(plan, memory, plan.labels, _is_given_up)
    return _Study(plan, source, memory.jobs if memory.together else 1, fold_scorers(plan))


def train(
    job: StudyJob,
    number: int,
    params: Mapping[str, Value],
    report_steps: bool,
    own_seed: int | None = None,
    race: Race | None = None,
) -> Trained | None:
    """Train a configuration on this worker, within a Dask task; None if the task was given up meanwhile.

    Parameters
    ----------
    number : int
        Of the draw; -1 for the benchmark.
    report_steps : bool
        Whether each checkpoint is reported as an event.
    own_seed : int, optional
        Of the booster, in place of the study's.
    race : Race, optional
        By which it may be stopped.
    """
    worker, study = get_worker(), _STUDIES[job]

    def on_checkpoint(fold: Fold, trees: int) -> None:
        if report_steps:
            worker.log_event(job.topic, {"kind": CHECKPOINT, "fold": fold.number, "trees": trees})

    try:
        folds = study.plan.folds[str(params["target"])]
        result = run_trial(
            study.source,
            folds,
            study.scorers(),
            params,
            study.plan.experiment.seed if own_seed is None else own_seed,
            _is_given_up,
            on_checkpoint,
            study.plan.scoring,
            race,
        )
        if job.exchange is None:
            return Trained(worker.address, result)
        name = f"{job.study}-{number}-{uuid4().hex[:8]}"
        file = ArraysFile.write(job.exchange, name, [part.predictions for part in result.folds])
        return Trained(worker.address, _without_predictions(result), file)
    except Stopped:
        return None
    except Exception as error:  # noqa: BLE001 - reported as the trial's error, or as the worker's
        return Trained(
            worker.address,
            error="".join(traceback.format_exception(error)).strip(),
            of_memory=is_out_of_memory(error),
            of_worker=isinstance(error, OSError | UserError),
        )


def _without_predictions(result: TrialResult) -> TrialResult:
    def bare(part: FoldResult) -> FoldResult:
        return replace(part, predictions=part.predictions[:0])

    return replace(result, folds=tuple(map(bare, result.folds)))


def _memory_of(worker: Worker) -> int:
    """Return the bytes that this worker may hold: what is free, and no more than Dask lets it have."""
    limit = worker.memory_manager.memory_limit
    return min(available_bytes(), int(_PAUSED_SHARE * limit)) if limit else available_bytes()


def _is_given_up() -> bool:
    """Return whether the task of this thread is no longer wanted: it was cancelled, or the process that mines ended."""
    key: Any = getattr(thread_state, "key", None)
    if key is None:
        return False
    task = get_worker().state.tasks.get(key)
    return task is None or task.state != "executing"
