"""Mining: asks the study, trains in joblib's threads, tells the study and tracks each trial as it ends."""

from __future__ import annotations

import logging
import math
import time
import traceback
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import joblib
import numpy as np
from filelock import FileLock, Timeout
from numpy.typing import NDArray
from rich.console import Console

from signal_miner.artifacts import PREDICTIONS, read_predictions, write_artifacts
from signal_miner.binning import BinnedFolds
from signal_miner.errors import Stopped, UserError
from signal_miner.interruption import StopRequest
from signal_miner.leaderboard import Leaderboard, make_leaderboard
from signal_miner.metrics import BENCHMARK, trial_metrics
from signal_miner.plan import Plan
from signal_miner.progress import MiningProgress
from signal_miner.search import Draw, Search
from signal_miner.tracking import StudyRecord, TrackedTrial, Tracker, temporary_artifacts
from signal_miner.trial import DRAWN, TrialResult, rescore, run_trial
from signal_miner.validation_rows import fold_rows, fold_scorers

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class MiningSummary:
    """How a call of `mine` ended.

    Attributes
    ----------
    study, study_run_id, tracking_uri : str
    view : str
        Address, after the server's, of the trials against the benchmark in MLflow's UI.
    leaderboard : Leaderboard
    stopped : bool
        Whether the user asked to stop before the last trial.
    exhausted : bool
        Whether the grid had fewer configurations than trials were asked for.
    """

    study: str
    study_run_id: str
    tracking_uri: str
    view: str
    leaderboard: Leaderboard
    stopped: bool
    exhausted: bool


@dataclass(frozen=True)
class _Outcome:
    """What a worker hands back: a result, an error, or neither if it was told to stop."""

    draw: Draw
    started: float
    result: TrialResult | None = None
    error: str | None = None


def mine(plan: Plan, console: Console) -> MiningSummary:
    """Mine a study: the benchmark, then trials until the experiment's number is reached.

    A study that was stopped or killed goes on: nothing that is tracked as finished is trained again.

    Parameters
    ----------
    plan : Plan
    console : rich.console.Console
        Where progress is shown.

    Returns
    -------
    MiningSummary

    Raises
    ------
    UserError
        If another process mines this study, a store cannot be opened, or the benchmark fails.
    """
    experiment = plan.experiment
    with _study_lock(plan), StopRequest(lambda: console.print("Stopping; finished trials are kept …")) as stop:
        search = Search(plan.study, plan.grid, experiment.seed, experiment.study_storage)
        tracker = Tracker(experiment.name, plan.study, plan.config_hash, experiment.tracking_uri)
        run_id = tracker.begin_study(_record(plan))
        status = "FAILED"
        try:
            tracker.link_launcher(run_id)
            tracker.delete_cut_off()
            miner = _Miner(plan, tracker, search, stop, console)
            exhausted = miner.run()
            status = "KILLED" if stop.is_set() else "FINISHED"
            benchmark = tracker.benchmark()
            if benchmark is None:
                raise UserError("stopped before the benchmark was finished; the same command starts again")
            board = make_leaderboard(tracker.trials(), benchmark)
        finally:
            _end_study(tracker, run_id, status)
    return MiningSummary(plan.study, run_id, tracker.tracking_uri, miner.view, board, status == "KILLED", exhausted)


class _Miner:
    """One process's work on a study."""

    def __init__(self, plan: Plan, tracker: Tracker, search: Search, stop: StopRequest, console: Console) -> None:
        self._plan = plan
        self._tracker = tracker
        self._search = search
        self._stop = stop
        self._console = console
        self._seed = plan.experiment.seed
        self._binned = BinnedFolds(
            plan.dataset,
            tuple({*plan.targets, str(plan.benchmark["target"])}),
            self._seed,
            should_stop=stop.is_set,
        )
        self._rows = fold_rows(plan)
        self._scorers = fold_scorers(plan)
        self._benchmark_scores: Mapping[int, NDArray[np.float64]] = {}
        self._exhausted = False
        self.view = ""

    def run(self) -> bool:
        """Train the benchmark and the trials; return whether the grid was exhausted."""
        if not self._benchmark():
            return False
        self.view = self._tracker.save_view([axis.name for axis in self._plan.grid.axes if len(axis.values) > 1])
        tracked = {_key(trial.params, self._plan): trial for trial in self._tracker.trials()}
        settled = [draw for draw in self._search.finished() if self._key(draw) in tracked]
        pending = sorted(
            {*self._search.finished(), *self._search.interrupted()} - {*settled}, key=lambda draw: draw.number
        )
        total = self._plan.experiment.trials
        jobs = self._plan.experiment.jobs
        workers = joblib.Parallel(
            n_jobs=joblib.cpu_count() if jobs == -1 else jobs,
            backend="threading",
            return_as="generator_unordered",
            pre_dispatch="n_jobs",
            batch_size=1,
        )
        before = tuple(tracked[self._key(draw)] for draw in settled)
        with MiningProgress(self._console, total, len(settled), before) as progress:
            draws = self._draws(pending, total - len(settled), tracked, progress)
            try:
                for outcome in workers(joblib.delayed(self._train)(draw) for draw in draws):
                    if outcome.result is not None or outcome.error is not None:
                        progress.advance(self._finish(outcome))
            except BaseException:
                self._stop.set()  # or the trials in training would keep the process alive to their end
                raise
        return self._exhausted

    def _draws(
        self,
        pending: Sequence[Draw],
        count: int,
        tracked: Mapping[tuple[str, ...], TrackedTrial],
        progress: MiningProgress,
    ) -> Iterator[Draw]:
        """Yield what is to be trained: what was cut off, then what the study draws, less what is tracked already.

        A trial is tracked before the study is told, so a kill in between leaves one that only has to be told; and
        so it is with a study whose journal was deleted.
        """
        for position in range(count):
            if self._stop.is_set():
                return
            draw = pending[position] if position < len(pending) else self._search.ask()
            if draw is None:
                self._exhausted = True
                return
            earlier = tracked.get(self._key(draw))
            if earlier is None:
                yield draw
            else:
                self._tell(draw.number, earlier if earlier.finished else None)
                progress.advance(earlier if earlier.finished else None)

    def _key(self, draw: Draw) -> tuple[str, ...]:
        return _key(draw.params, self._plan)

    def _train(self, draw: Draw) -> _Outcome:
        """Run one trial in a worker's thread."""
        started = time.time()
        folds = self._plan.folds[str(draw.params["target"])]
        try:
            result = run_trial(self._binned, folds, self._scorers, draw.params, self._seed, self._stop.is_set)
        except Stopped:
            return _Outcome(draw, started)
        except Exception as error:  # noqa: BLE001 - whatever a configuration does, the other trials go on
            _LOG.debug("trial %d failed", draw.number, exc_info=True)
            return _Outcome(draw, started, error="".join(traceback.format_exception(error)).strip())
        return _Outcome(draw, started, result)

    def _finish(self, outcome: _Outcome) -> TrackedTrial | None:
        """Track a trial, then tell the study: in this order, a kill in between loses nothing."""
        draw = outcome.draw
        params = dict(draw.params) | {"seed": self._seed}
        if outcome.result is None:
            self._tracker.log_failure(draw.number, params, outcome.error or "", outcome.started)
            self._tell(draw.number, None)
            return None
        tracked = self._track(draw.number, params, outcome.result, outcome.started)
        self._tell(draw.number, tracked)
        return tracked

    def _tell(self, number: int, trial: TrackedTrial | None) -> None:
        if trial is None:
            self._search.tell_failed(number)
        else:
            self._search.tell(number, trial.metrics.get("validation/sharpe", -math.inf))

    def _track(
        self, number: int | None, params: Mapping[str, object], result: TrialResult, started: float
    ) -> TrackedTrial:
        metrics = trial_metrics(result, self._benchmark_scores)
        with temporary_artifacts() as directory:
            write_artifacts(Path(directory), result, self._rows)
            return self._tracker.log_trial(number, params, metrics, Path(directory), started)

    def _benchmark(self) -> bool:
        """Train the benchmark, or read its predictions back; return False if told to stop."""
        tracked = self._tracker.benchmark()
        if tracked is not None:
            with temporary_artifacts() as directory:
                path = self._tracker.download(tracked.run_id, PREDICTIONS, Path(directory))
                predictions = {number: columns[:, DRAWN] for number, columns in read_predictions(path).items()}
            self._compare_with(predictions)
            return True
        self._console.print("Training the benchmark …", highlight=False)
        draw = Draw(-1, self._plan.benchmark)
        outcome = self._train(draw)
        params = dict(self._plan.benchmark) | {"seed": self._seed}
        if outcome.error is not None:
            self._tracker.log_failure(None, params, outcome.error, outcome.started)
            raise UserError(f"the benchmark failed: {outcome.error.splitlines()[-1]}; mend [benchmark]")
        if outcome.result is None:
            return False
        self._compare_with({part.fold.number: part.predictions[:, DRAWN] for part in outcome.result.folds})
        self._track(None, params, rescore(outcome.result, self._scorers), outcome.started)
        return True

    def _compare_with(self, predictions: Mapping[int, NDArray[np.float32]]) -> None:
        """Score everything from now on against the benchmark's predictions, by fold number."""
        self._benchmark_scores = {
            number: self._scorers[number].corr(columns)[:, 0] for number, columns in predictions.items()
        }
        self._scorers = {
            number: scorer.with_benchmark(BENCHMARK, predictions[number]) for number, scorer in self._scorers.items()
        }


@contextmanager
def _study_lock(plan: Plan) -> Iterator[None]:
    """Keep a second process off this study; the system frees the lock of a killed process."""
    storage = plan.experiment.study_storage
    directory = Path("studies") if "://" in storage else Path(storage)
    try:
        directory.mkdir(parents=True, exist_ok=True)
        lock = FileLock(directory / f"{plan.study}.lock", timeout=0)
        held = lock.acquire()
    except Timeout as error:
        raise UserError(f"study {plan.study} is being mined by another process; wait for it, or stop it") from error
    except OSError as error:
        raise UserError(f"study_storage = {storage!r} cannot be written ({error.strerror}); name another") from error
    with held:
        yield


def _key(params: Mapping[str, object], plan: Plan) -> tuple[str, ...]:
    """Return a configuration as MLflow keeps it."""
    return tuple(str(params[axis.name]) for axis in plan.grid.axes)


def _record(plan: Plan) -> StudyRecord:
    experiment, dataset = plan.experiment, plan.dataset
    folds = plan.scored_folds
    spans = {
        f"fold_{fold.number}": f"train {_span(dataset.era_labels, fold.train_eras)}, "
        f"predict {_span(dataset.era_labels, fold.validation_eras)}"
        for fold in folds
    }
    return StudyRecord(
        study=plan.study,
        config_hash=plan.config_hash,
        params={
            "data": experiment.data,
            "feature_set": experiment.feature_set,
            "scoring_target": experiment.scoring_target,
            "training_targets": ", ".join(plan.targets),
            "purge_eras": ", ".join(f"{name}: {purge}" for name, purge in plan.purge_eras.items()),
            "holdout_eras": len(plan.holdout_eras),
            "configurations_in_grid": plan.grid.size,
            "seed": experiment.seed,
            **spans,
        },
        experiment_file=experiment.text,
        data_name=dataset.name,
        data_digest=dataset.digest,
        data_source=", ".join(str(path) for path in dataset.source.paths),
        data_profile={
            "num_rows": len(dataset),
            "num_eras": len(np.unique(dataset.eras)),
            "num_features": len(dataset.features),
        },
    )


def _span(labels: Mapping[int, str], eras: tuple[int, ...]) -> str:
    return f"{labels[eras[0]]}–{labels[eras[-1]]}"


def _end_study(tracker: Tracker, run_id: str, status: str) -> None:
    trials = tracker.trials()
    benchmark = tracker.benchmark()
    finished = [trial for trial in trials if trial.finished]
    metrics = {
        "trials/finished": float(len(finished)),
        "trials/failed": float(len(trials) - len(finished)),
        "trials/beat_benchmark_in_validation": float(sum(trial.beats_benchmark["validation"] for trial in finished)),
    }
    note = make_leaderboard(trials, benchmark).summary if benchmark else "The benchmark is not finished."
    tracker.end_study(run_id, status, metrics, note)
