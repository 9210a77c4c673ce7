"""The miner: asks the study for draws, trains them in joblib's threads, and tracks and reports each as it ends."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from signal_miner.data.folds import Fold, overlap_eras
from signal_miner.engine.benchmark_run import (
    BenchmarkScores,
    contribution_gaps,
    numerai_predictions,
    residual_gaps,
    uncovered_eras,
)
from signal_miner.engine.further_scores import FEW_FEATURES, FURTHER_METRICS, FURTHER_SCORES, further_scores
from signal_miner.engine.memory_plan import GROUP_BYTES
from signal_miner.engine.metrics import score_metrics, stopped_metrics, trial_metrics
from signal_miner.engine.racing import Curve, Race, trains_in_full
from signal_miner.engine.trial import DRAWN, TrialResult, replay, rescore
from signal_miner.engine.validation_rows import fold_rows
from signal_miner.errors import OUT_OF_MEMORY, Stopped, StoreError, UserError, is_out_of_memory
from signal_miner.experiment.engines import engine_text
from signal_miner.experiment.parameters import DatasetKey
from signal_miner.experiment.plan import Plan, tracked_configuration
from signal_miner.experiment.schema import BENCHMARK, LEADERS, RaceSettings
from signal_miner.mining.fold_store import fold_results
from signal_miner.mining.observer import BenchmarkStep, Observer
from signal_miner.mining.search import Draw, Search
from signal_miner.mining.status import TrialCounts
from signal_miner.mining.training import OnCheckpoint, Outcome, Training
from signal_miner.mining.waiting import WaitingTrial, WaitingTrials
from signal_miner.scoring.scorer import EraScores
from signal_miner.scoring.series import sharpe
from signal_miner.tracking.artifacts import (
    PREDICTIONS,
    read_predictions,
    write_artifacts,
    write_ensemble_artifacts,
)
from signal_miner.tracking.ranking import ranked
from signal_miner.tracking.records import NO_RACE, Checkpoint, RaceRecord, TrackedTrial, trial_name
from signal_miner.tracking.store import short_timeouts
from signal_miner.tracking.study_writer import Tracker
from signal_miner.utils.files import temporary_directory
from signal_miner.utils.interruption import StopRequest
from signal_miner.utils.redaction import reason_of, without_passwords


class Miner:
    """One process's work on a study.

    Parameters
    ----------
    plan : Plan
    training : Training
        It scores against the benchmark, as soon as there is one.
    tracker : Tracker
    search : Search
    stop : StopRequest
    observer : Observer
    waiting : WaitingTrials, optional
        Where finished trials wait while the tracking store does not answer; without it that ends the mining.
    group_bytes : int
        Raw bytes of features that are read at a time for the leaders' FNC.

    Attributes
    ----------
    trials : list of TrackedTrial
        The study's finished and failed trials, those of earlier processes first.
    benchmark : TrackedTrial or None
        None until it is trained.
    exhausted : bool
        Whether the grid had fewer configurations than trials were asked for.
    complete : bool
        Whether nothing is left to train.
    last_error : str
        Last line of the error of the last trial that failed here; empty if none did.
    view : str
        Address, after the server's, of the comparison in MLflow's UI.
    """

    def __init__(
        self,
        plan: Plan,
        training: Training,
        tracker: Tracker,
        search: Search,
        stop: StopRequest,
        observer: Observer,
        waiting: WaitingTrials | None = None,
        group_bytes: int = GROUP_BYTES[-1],
    ) -> None:
        self.trials: list[TrackedTrial] = []
        self.benchmark: TrackedTrial | None = None
        self.exhausted = False
        self.complete = False
        self.last_error = ""
        self.view = ""
        self._plan = plan
        self._training = training
        self._tracker = tracker
        self._search = search
        self._stop = stop
        self._observer = observer
        self._waiting = waiting
        self._group_bytes = group_bytes
        self._next_look = 0.0  # for the store that does not answer
        self._counts = TrialCounts(plan.experiment.trials, objective=plan.experiment.objective)
        self._partial: dict[int | None, TrackedTrial] = {}  # that a race cut short, and are trained to the end now
        self._kept = fold_results(plan)
        self._counting = threading.Lock()  # draws are asked for in joblib's threads
        self._fixed = {"seed": plan.experiment.seed, "engine": engine_text(plan.experiment.engine)}
        self._rows = fold_rows(plan)
        self._benchmark_scores: Mapping[int, EraScores] = {}

    def run(self) -> None:
        """Train the benchmark and the trials, until the experiment's number is reached or a stop is asked for.

        Raises
        ------
        UserError
            If the benchmark fails, or something that is no fault of a configuration: memory, data or a store.
        """
        for late in self._waiting or ():
            self._track_late(late, {trial.number: trial for trial in self._tracker.trials()})
        found = self._tracker.trials()
        self.trials = [trial for trial in found if self._is_done(trial)]
        self._partial = {trial.number: trial for trial in found if not self._is_done(trial)}
        self._say_what_residuals_leave_out()
        self._train_benchmark()
        if self.benchmark is None:
            return
        plan = self._plan
        self._rank_anew()
        varying = [axis.name for axis in plan.grid.axes if len(axis.values) > 1]
        self.view = self._tracker.save_view(self.benchmark.metrics, varying, plan.experiment.objective)
        tracked = {self._key(trial.params): trial for trial in self.trials}
        drawn = sorted([*self._search.finished(), *self._search.interrupted()], key=lambda draw: draw.number)
        before, pending = [], list[Draw]()
        for draw in drawn:
            trial = tracked.get(self._key(draw.params))
            if trial is None:
                pending.append(draw)
            else:  # finished in the study too, or killed between tracking and reporting it
                self._tell(draw.number, trial)
                before.append(trial)
        left, race = max(0, plan.experiment.trials - len(before)), plan.experiment.race
        objective = plan.experiment.objective
        self._counts = TrialCounts.at_start(len(before) + left, before, objective, races=race is not None)
        self._observer(self._counts)
        try:
            if race is not None:
                pilot = [draw for draw in pending if draw.number < race.pilot_trials]
                asked_for = max(0, min(race.pilot_trials, plan.experiment.trials) - len(drawn))
                self._train(pilot, min(left, len(pilot) + asked_for), tracked)
                if not self._stop.is_set():
                    self._training.race = self._race(race)
                pending, left = pending[len(pilot) :], left - min(left, len(pilot) + asked_for)
            self._train(pending, left, tracked)
        except BaseException:
            self._stop.set()  # or the trials in training would keep the process alive to their end
            raise
        ended = len(self._search.finished()) - len(self._partial)
        self.complete = (self.exhausted and not self._partial) or ended >= plan.experiment.trials
        if self.complete:
            self.complete = self._confirm_leaders()
        if self.complete:
            self._score_leaders()

    def _train(self, pending: Sequence[Draw], count: int, tracked: Mapping[tuple[str, ...], TrackedTrial]) -> None:
        """Train draws, those pending first, and track each as it ends."""
        for outcome in self._training.outcomes(self._draws(pending, count, tracked)):
            self._track_waiting()
            if outcome.result is not None or outcome.error is not None:
                self._finish(outcome)
        self._await_store()

    def _is_done(self, trial: TrackedTrial) -> bool:
        """Return whether a tracked trial stays as it is: it failed, or is trained as far as the study wants it."""
        experiment, number = self._plan.experiment, trial.number or 0
        return not trial.race.partial or not trains_in_full(experiment.race, experiment.seed, number)

    @property
    def _checkpoint(self) -> Checkpoint:
        """At which the trials of the study are scored: where not all are trained to the end, at their best."""
        return Checkpoint.DRAWN if self._plan.experiment.race is None else Checkpoint.BEST

    def _race(self, settings: RaceSettings) -> Race:
        """Return the race, once its pilot is tracked."""
        plan, folds = self._plan, self._plan.scored_folds[:-1]
        benchmark = [
            Curve(self._benchmark_scores[fold.number].corr, self._benchmark_scores[fold.number].bmc[BENCHMARK])
            for fold in folds
        ]
        numbers = [fold.number for fold in folds]
        pilot = [trial for trial in self.trials if trial.finished and (trial.number or 0) < settings.pilot_trials]
        curves = [self._tracker.curves(trial, numbers) for trial in pilot]
        eras = [era for fold in plan.scored_folds for era in fold.validation_eras]
        horizon = plan.dataset.horizon_days(plan.experiment.scoring_target, plan.experiment.horizon_days)
        overlap = overlap_eras(horizon, eras, plan.experiment.folds.embargo_eras)
        return Race.of(settings, plan.scoring, overlap, benchmark, curves)

    def _race_record(self, number: int, result: TrialResult | None = None) -> RaceRecord:
        """Return what the race made of a trial, or what is known of that before it is trained."""
        experiment, race = self._plan.experiment, self._training.race
        settings = experiment.race
        if settings is None:
            return NO_RACE
        if trains_in_full(settings, experiment.seed, number):
            pilot = number < settings.pilot_trials
            stop = None
            if not pilot and race is not None and result is not None:
                curves = [Curve(part.curve, part.bmc_curve) for part in result.folds if part.bmc_curve is not None]
                stop = replay(result.params, [part.fold for part in result.folds], curves, race).stop
            return RaceRecord("pilot" if pilot else "true", reason="" if stop is None else str(stop.reason))
        if result is None or result.in_full:
            return NO_RACE
        stop = result.stop
        if stop is None:
            return RaceRecord(partial=True)
        return RaceRecord(
            "", f"fold {stop.fold}, {stop.trees} tree{'s' * (stop.trees != 1)}", str(stop.reason), partial=True
        )

    def _confirm_leaders(self) -> bool:
        """Train the leaders by validation again with further seeds; return whether all of that is done."""
        experiment = self._plan.experiment
        leaders = ranked((replace(trial, repeats=()) for trial in self.trials if trial.finished), experiment.objective)
        trials = {trial.number: trial for trial in self.trials}
        seeds = [(experiment.seed + further) % 2**31 for further in range(1, experiment.confirm.seeds)]
        wanted = [
            Draw(number, tracked_configuration(self._plan, leader.params), seed)
            for leader in leaders[: experiment.confirm.leaders]
            for seed in seeds
            if (number := leader.number) is not None and seed not in {repeat.seed for repeat in trials[number].repeats}
        ]
        if wanted:
            self._observer(f"Training the leaders again with further seeds, {len(wanted)} in all …")
        done = 0
        try:
            for outcome in self._training.outcomes(draw for draw in wanted if not self._stop.is_set()):
                draw = outcome.draw
                if outcome.error is not None:
                    raise _fatal_error(outcome, f"trial {draw.number} with seed {draw.seed}") from outcome.fatal
                if outcome.result is None:
                    continue
                params = dict(draw.params) | self._fixed | {"seed": draw.seed}
                trial = trials[draw.number]
                at_best = self._checkpoint is Checkpoint.BEST
                metrics = trial_metrics(outcome.result, self._benchmark_scores, self._plan.scoring, at_best=at_best)
                with temporary_directory() as directory:
                    write_artifacts(directory, outcome.result, self._rows)
                    repeat = self._tracker.log_repeat(trial, params, metrics, directory, outcome.started)
                trials[draw.number] = replace(trial, repeats=(*trial.repeats, repeat))
                self._training.settled(draw)
                done += 1
        except BaseException:
            self._stop.set()
            raise
        self.trials = list(trials.values())
        return done == len(wanted)

    def _rank_anew(self) -> None:
        """Score what was tracked under another objective, or before there were payouts, by the experiment's."""
        scoring, benchmark = self._plan.scoring, self.benchmark
        if benchmark is None:
            raise ValueError("there is no benchmark to compare with")
        checkpoint = self._checkpoint
        others = [
            place
            for place, trial in enumerate(self.trials)
            if trial.finished and not trial.is_scored_by(scoring, checkpoint)
        ]
        if not others and benchmark.is_scored_by(scoring):
            return
        if others:
            moved = any(self.trials[place].checkpoint is not checkpoint for place in others)
            how = f"by {scoring.objective.label}{f' {checkpoint.text}' if moved else ''}"
            self._observer(f"Ranking {len(others)} trials anew {how} …")
        eras = self._tracker.era_scores(benchmark)
        for place in others:
            trial = self.trials[place]
            race = replace(self._race_record(trial.number or 0), partial=trial.race.partial)
            repeats = tuple(
                self._tracker.rank_anew(repeat, benchmark, scoring, eras, checkpoint)
                for repeat in trial.repeats
                if repeat.checkpoint is not checkpoint
            )
            anew = self._tracker.rank_anew(trial, benchmark, scoring, eras, checkpoint, race)
            self.trials[place] = replace(anew, repeats=repeats or trial.repeats)
        self.benchmark = self._tracker.rank_anew(benchmark, benchmark, scoring, eras)

    def _score_leaders(self) -> None:
        """Track what is shown of the benchmark and the leaders, but not used for selection."""
        objective = self._plan.experiment.objective
        finished = ranked((trial for trial in self.trials if trial.finished), objective)
        models = [model for model in (self.benchmark, *finished[:LEADERS]) if model is not None]
        models = [model for model in models if not FURTHER_SCORES & model.metrics.keys()]
        models += [
            model for model in finished if any(math.isnan(model.metrics.get(name, 0)) for name in FURTHER_METRICS)
        ]
        if not models or self._stop.is_set():
            return
        if (n_features := len(self._plan.dataset.features)) > FEW_FEATURES:
            self._observer(f"Scoring the leaders once what {n_features:,} features explain is taken out …")
        try:
            columns: dict[int, NDArray[np.float32]] = {}
            for place, model in enumerate(models):
                with temporary_directory() as directory:
                    path = self._tracker.download(model.run_id, PREDICTIONS, directory)
                    for number, values in read_predictions(path, model.checkpoint.column).items():
                        column = columns.setdefault(number, np.empty((len(values), len(models)), np.float32, order="F"))
                        column[:, place] = values
            scores = further_scores(self._plan, columns, self._group_bytes, self._stop.is_set)
            found = {model.run_id: each for model, each in zip(models, scores, strict=True)}
        except Stopped:
            return
        except StoreError:
            raise
        except (UserError, OSError, ValueError, KeyError) as error:
            self._observer(f"FNC, feature exposure, MMC and CWMM are left out: {reason_of(error)}")
            return
        self._tracker.add_scores(found)

        def with_scores(model: TrackedTrial) -> TrackedTrial:
            return replace(model, metrics={**model.metrics, **found.get(model.run_id, {})})

        self.trials = [with_scores(trial) for trial in self.trials]
        self.benchmark = None if self.benchmark is None else with_scores(self.benchmark)

    def _draws(
        self, pending: Sequence[Draw], count: int, tracked: Mapping[tuple[str, ...], TrackedTrial]
    ) -> Iterator[Draw]:
        """Yield what is to be trained: interrupted draws, then new ones, without those that are tracked already.

        Draws of the study are tracked already where its journal was deleted, but not MLflow's store.
        """
        for position in range(count):
            if self._stop.is_set():
                return
            draw = pending[position] if position < len(pending) else self._search.ask()
            if draw is None:
                self.exhausted = True
                return
            earlier = tracked.get(self._key(draw.params))
            if earlier is None:
                yield draw
            else:
                self._tell(draw.number, earlier)
                self._count(earlier)

    def _count(self, trial: TrackedTrial) -> None:
        with self._counting:
            self._counts = self._counts.after(trial)
            self._observer(self._counts)

    def _finish(self, outcome: Outcome) -> None:
        """Track a trial, then report it to the study; let it wait where the store does not answer."""
        # In this order a kill in between loses nothing: the study still has the draw as running, and the next process
        # finds its trial tracked and only reports it. The other way round, the study would count a trial that
        # MLflow does not have, and it would never be trained again.
        draw = outcome.draw
        params = dict(draw.params) | self._fixed
        if outcome.fatal is not None:
            raise _fatal_error(outcome, f"trial {draw.number}") from outcome.fatal
        if outcome.result is None:
            trial = self._track_failure(draw.number, params, outcome.error or "", outcome.started)
            if not self.last_error:
                self._observer(f"{trial_name(draw.number)} failed: {_last_line(outcome.error)}")
            self.last_error = _last_line(outcome.error)
        else:
            trial = self._track(draw.number, params, outcome.result, outcome.started)
        if trial is not None:
            self._tell(draw.number, trial)
            self._replace_partial(draw.number)
        if outcome.result is not None and not outcome.result.in_full:
            self._kept.keep(draw, outcome.result)
        else:
            self._training.settled(draw)
        if trial is not None:
            self._add(trial)

    def _replace_partial(self, number: int) -> None:
        """Delete the run of a trial that a race had cut short, now that another has all of it."""
        partial = self._partial.pop(number, None)
        if partial is not None:
            self._tracker.delete(partial.run_id)

    def _add(self, trial: TrackedTrial) -> None:
        self.trials.append(trial)
        self._count(trial)

    def _tell(self, number: int, trial: TrackedTrial) -> None:
        if trial.stopped:
            self._search.tell_pruned(number)
        elif trial.finished:
            self._search.tell(number, trial.metrics.get(self._plan.experiment.objective.metric, -math.inf))
        else:
            self._search.tell_failed(number)

    def _track(
        self, number: int | None, params: Mapping[str, object], result: TrialResult, started: float
    ) -> TrackedTrial | None:
        """Track a trial or the benchmark; return None where the trial has to wait for the store."""
        scoring, race = self._plan.scoring, NO_RACE if number is None else self._race_record(number, result)
        at_best = number is not None and self._checkpoint is Checkpoint.BEST
        if result.stop is None:
            metrics = trial_metrics(result, self._benchmark_scores, scoring, at_best=at_best)
        else:
            metrics = stopped_metrics(result, scoring)
        with temporary_directory() as directory:
            write_artifacts(directory, result, self._rows)
            return self._or_wait(
                lambda: self._tracker.log_trial(number, params, metrics, directory, started, race),
                lambda waiting, number: waiting.add(number, params, metrics, "", started, directory, race),
                number,
            )

    def _track_failure(
        self, number: int | None, params: Mapping[str, object], error: str, started: float
    ) -> TrackedTrial | None:
        return self._or_wait(
            lambda: self._tracker.log_failure(number, params, error, started),
            lambda waiting, number: waiting.add(number, params, None, error, started, None),
            number,
        )

    def _or_wait(
        self, track: Callable[[], TrackedTrial], wait: Callable[[WaitingTrials, int], None], number: int | None
    ) -> TrackedTrial | None:
        """Track a trial, or keep it on disk where the store does not answer."""
        if self._waiting is None or number is None:
            return track()
        if not len(self._waiting):
            try:
                self._tracker.require_answer()
                with short_timeouts(_SECONDS_TO_TRACK):
                    return track()
            except StoreError as error:
                if error.answered:
                    raise
                store = without_passwords(self._tracker.tracking_uri)
                place = self._waiting.directory
                self._observer(
                    f"The tracking store {store} does not answer; finished trials wait in {place} until it does."
                )
        wait(self._waiting, number)
        return None

    def _track_waiting(self) -> None:
        """Track what waits, if the store answers again; look every few seconds."""
        if self._waiting is None or not len(self._waiting) or time.monotonic() < self._next_look:
            return
        self._next_look = time.monotonic() + _SECONDS_BETWEEN_LOOKS
        try:
            self._tracker.require_answer()
            with short_timeouts(_SECONDS_TO_TRACK):
                tracked = {trial.number: trial for trial in self._tracker.trials()}
                for late in self._waiting:
                    trial = self._track_late(late, tracked)
                    self._tell(late.number, trial)
                    self._replace_partial(late.number)
                    self._add(trial)
        except StoreError as error:
            if error.answered:
                raise
            return
        self._observer("The tracking store answers again; the trials that waited are tracked.")

    def _track_late(self, late: WaitingTrial, tracked: Mapping[int | None, TrackedTrial]) -> TrackedTrial:
        """Track a trial that waited, unless it was tracked though the answer was lost."""
        trial = tracked.get(late.number)
        if trial is None and late.metrics is None:
            trial = self._tracker.log_failure(late.number, late.params, late.error, late.started)
        elif trial is None and late.metrics is not None:
            trial = self._tracker.log_trial(
                late.number, late.params, late.metrics, late.artifacts, late.started, late.race
            )
        if trial is None:
            raise ValueError("a trial that waited is neither finished nor failed")
        if self._waiting is not None:
            self._waiting.remove(late)
        return trial

    def _await_store(self) -> None:
        """Wait for a store that does not answer, once nothing is left to train.

        Raises
        ------
        StoreError
            If it does not come back.
        """
        if self._waiting is None:
            return
        end = time.monotonic() + _LONGEST_WAIT
        while len(self._waiting) and not self._stop.is_set():
            self._track_waiting()
            if len(self._waiting) and time.monotonic() > end:
                raise StoreError(
                    f"{len(self._waiting)} finished trials wait in {self._waiting.directory}, as the tracking store "
                    "does not answer; once it does, rerun the command to track them"
                )
            time.sleep(_SECONDS_BETWEEN_CHECKS if len(self._waiting) else 0)

    def _train_benchmark(self) -> None:
        """Train the benchmark, or read its predictions back; leave it None if a stop was requested."""
        if self._read_benchmark():
            return
        self._say_what_has_no_contribution()
        if self._plan.benchmark_predictions:
            self._take_benchmark()
            return
        trees = int(self._plan.benchmark["n_estimators"])
        outcome = self._training.benchmark(Draw(-1, self._plan.benchmark), self._benchmark_steps(trees))
        params = dict(self._plan.benchmark) | self._fixed
        if outcome.error is not None:
            if outcome.fatal is not None:
                raise _fatal_error(outcome, "the benchmark") from outcome.fatal
            self._track_failure(None, params, outcome.error, outcome.started)
            raise UserError(f"the benchmark failed: {_last_line(outcome.error)}; fix [benchmark] or the data")
        if outcome.result is None:
            return
        self._compare_with({part.fold.number: part.predictions[:, DRAWN] for part in outcome.result.folds})
        self.benchmark = self._track(None, params, rescore(outcome.result, self._training.scorers), outcome.started)
        self._training.settled(outcome.draw)

    def _say_what_residuals_leave_out(self) -> None:
        left_out = "trials with a target_residual train without them"
        for number, missing in residual_gaps(self._plan).items():
            trained = self._plan.scored_folds[number - 1].train_eras
            self._say_what_is_missing(
                self._plan.residual_column, number, missing, f"{len(trained)} training eras", left_out
            )

    def _say_what_has_no_contribution(self) -> None:
        for number, missing in contribution_gaps(self._plan).items():
            predicted = self._plan.scored_folds[number - 1].validation_eras
            self._say_what_is_missing(
                self._plan.experiment.contribution_to,
                number,
                missing,
                f"{len(predicted)} eras",
                "they have no BMC and no payout",
            )

    def _say_what_is_missing(
        self, column: str | None, number: int, missing: Sequence[int], of_eras: str, consequence: str
    ) -> None:
        self._observer(
            f"{column} has no predictions in {len(missing)} of {of_eras} of fold {number}, "
            f"{self._plan.span(missing)}; {consequence}"
        )

    def _take_benchmark(self) -> None:
        """Take predictions of Numerai's as the benchmark run."""
        plan, started = self._plan, time.time()
        predictions = numerai_predictions(plan)
        folds = self._compare_with(predictions).folds(plan, predictions)
        for fold in plan.scored_folds:
            if missing := uncovered_eras(plan, fold.number, predictions[fold.number]):
                self._say_what_is_missing(
                    plan.benchmark_predictions,
                    fold.number,
                    missing,
                    f"{len(fold.validation_eras)} eras",
                    "they are left out of comparisons with the benchmark",
                )
        metrics = score_metrics(folds, self._benchmark_scores, plan.scoring)
        params = dict(plan.benchmark)
        with temporary_directory() as directory:
            write_ensemble_artifacts(directory, folds, self._rows)
            self.benchmark = self._tracker.log_trial(None, params, metrics, directory, started)

    def _benchmark_steps(self, trees: int) -> OnCheckpoint:
        """Return what reports each checkpoint of the benchmark; the first step is reported here."""
        key = DatasetKey.of(self._plan.benchmark)
        # A fold's time goes with its eras.
        eras = {fold.number: len(key.of_fold(fold).train_eras) for fold in self._plan.scored_folds}
        reached = dict.fromkeys(eras, 0)

        def report(fold: Fold, grown: int) -> None:
            reached[fold.number] = grown
            share = sum(eras[number] * count for number, count in reached.items()) / (sum(eras.values()) * trees)
            self._observer(BenchmarkStep(fold.number, len(eras), grown, trees, share))

        report(self._plan.scored_folds[0], 0)
        return report

    def _read_benchmark(self) -> bool:
        """Read the tracked benchmark; return False where there is none, or its predictions are missing."""
        tracked = self._tracker.benchmark()
        if tracked is None:
            return False
        try:
            with temporary_directory() as directory:
                path = self._tracker.download(tracked.run_id, PREDICTIONS, directory)
                predictions = read_predictions(path)
            self._compare_with({number: predictions[number] for number in self._training.scorers})
        except StoreError:
            raise
        except (UserError, OSError, ValueError, KeyError):
            self._observer("The benchmark's predictions cannot be read back; it is trained again.")
            self._tracker.delete(tracked.run_id)
            return False
        self.benchmark = tracked
        return True

    def _compare_with(self, predictions: Mapping[int, NDArray[np.floating[Any]]]) -> BenchmarkScores:
        """Score everything from now on against the benchmark's predictions, by fold number.

        Raises
        ------
        UserError
            If the benchmark has no Sharpe in a fold.
        """
        scored = self._training.compare_with(predictions)
        if not all(np.isfinite(sharpe(corr)) for corr in scored.corr.values()):
            raise UserError(
                "the benchmark has no Sharpe in some fold: its predictions, or the scoring target, are constant in "
                "each era; fix [benchmark] or the data"
            )
        self._benchmark_scores = scored.scores
        return scored

    def _key(self, params: Mapping[str, object]) -> tuple[str, ...]:
        """Return a configuration as MLflow keeps it."""
        return tuple(str(params[axis.name]) for axis in self._plan.grid.axes)


_SECONDS_BETWEEN_LOOKS = 5.0
_SECONDS_TO_TRACK = 60
_SECONDS_BETWEEN_CHECKS = 0.5
_LONGEST_WAIT = 600.0
"""Seconds that a store may not answer once all is trained."""


def _fatal_error(outcome: Outcome, trial: str) -> UserError:
    if outcome.fatal is not None and is_out_of_memory(outcome.fatal):
        return UserError(f"mining stopped at {trial}: {OUT_OF_MEMORY}")
    return UserError(
        f"mining stopped at {trial}: {_last_line(outcome.error)}; fix this and rerun the command to resume"
    )


def _last_line(error: str | None) -> str:
    last = (error or "").splitlines()[-1]
    return last.partition("UserError: ")[2] or last
