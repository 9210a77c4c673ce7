"""Writes a study and its trials to MLflow while it is mined, and reads them back to resume it."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from mlflow.entities import Dataset as DatasetEntity
from mlflow.entities import DatasetInput, InputTag, Run
from mlflow.exceptions import MlflowException
from numpy.typing import NDArray

from signal_miner.engine.further_scores import FURTHER_METRICS
from signal_miner.engine.metrics import ModelEras, RunMetrics, mean_score, rescored
from signal_miner.errors import UserError
from signal_miner.experiment.plan import other_values
from signal_miner.scoring.objective import Objective, Scoring
from signal_miner.scoring.study_scores import TEST, VALIDATION, WHOLE
from signal_miner.tracking.comparison_view import folded_sections, order, run_color, shared_view
from signal_miner.tracking.notes import CONTROL_NOTE, links_text, scores_note, stopped_note
from signal_miner.tracking.records import (
    NO_RACE,
    Checkpoint,
    RaceRecord,
    StudyRecord,
    TrackedTrial,
    repeat_name,
    trial_name,
    wins,
)
from signal_miner.tracking.run_store import (
    EXPERIMENT_FILE,
    FAILED,
    FINISHED,
    PLAN,
    RUNNING,
    STOPPED,
    reports_store_errors,
)
from signal_miner.tracking.store import LONGEST_VALUE
from signal_miner.tracking.study_reader import StudyReader
from signal_miner.tracking.tags import (
    BENCHMARK_KIND,
    CLAIM,
    CONFIG_HASH,
    DATA_CONTENT,
    ERROR,
    EXPERIMENT_KIND,
    KIND,
    NOTE,
    NUMBER,
    ORDER,
    PARENT,
    PAYOUT,
    REPEAT_KIND,
    RUN_COLOR,
    SCORED_AT,
    SHARED_VIEW,
    STUDY,
    STUDY_KIND,
    TRIAL_KIND,
    beats_benchmark_tags,
    scoring_tags,
)
from signal_miner.tracking.ui import REPORT_PAGE, run_page, runs_page, view_name


class Tracker(StudyReader):
    """Writes one study to MLflow, with explicit run ids and no active run.

    Parameters
    ----------
    experiment_name : str
        MLflow experiment, created if it does not exist.

    Raises
    ------
    UserError
        If the store cannot be reached or the experiment was deleted.
    """

    def __init__(self, experiment_name: str, study: str, config_hash: str, tracking_uri: str | None = None) -> None:
        super().__init__(tracking_uri)
        self._study = study
        self._tags = {STUDY: study, CONFIG_HASH: config_hash}
        self._experiment_id = self._find_experiment(experiment_name)
        self._begun: str | None = None  # the study's run, after `begin_study`
        self._links = {"All trials against the benchmark": runs_page(self._experiment_id, view_name(study))}

    @reports_store_errors
    def _find_experiment(self, name: str) -> str:
        experiment = self._client.get_experiment_by_name(name)
        if experiment is None:
            try:
                return str(self._client.create_experiment(name, tags=EXPERIMENT_KIND))
            except MlflowException:  # another process was faster
                experiment = self._client.get_experiment_by_name(name)
                if experiment is None:
                    raise
        if experiment.lifecycle_stage != "active":
            raise UserError(
                f"MLflow experiment {name!r} was deleted; restore it or give the experiment file another name"
            )
        return str(experiment.experiment_id)

    @reports_store_errors
    def open_study(self) -> str:
        """Return the id of the study's run, created where there is none."""
        runs = self._study_runs()
        begun = [run for run in runs if run.data.params]
        if runs:
            return str((begun or runs[::-1])[0].info.run_id)
        return self._create(self._experiment_id, f"study {self._study}", self._tags | {KIND: STUDY_KIND})

    @reports_store_errors
    def begin_study(self, run_id: str, record: StudyRecord) -> None:
        """Write what is known before the first trial, and set the study's run to running.

        MLflow refuses to change a parameter. One that differs from that of an earlier call changed nothing in what
        is mined, as the study's hash is the same: a path spelled otherwise, another name of the same feature set. It
        stays as it was first; ``plan.json`` has the current one.

        Raises
        ------
        UserError
            If the artifacts of an earlier call were moved away, or the study was mined on other values of its data.
        """
        (run,) = (run for run in self._study_runs() if run.info.run_id == run_id)
        try:
            self._write_study(run, record)
        except BaseException:
            if run.info.status == RUNNING:  # it is new, or its miner was killed
                with suppress(MlflowException):
                    self._client.set_terminated(run_id, FAILED)
            raise
        self._client.update_run(run_id, status=RUNNING)
        self._begun = run_id
        for other in self._study_runs():
            if not other.data.params:  # two processes created it at the same time
                for key, value in other.data.tags.items():
                    if key.startswith(CLAIM):
                        self._client.set_tag(run_id, key, value)
                self._client.delete_run(other.info.run_id)

    def _write_study(self, run: Run, record: StudyRecord) -> None:
        run_id = str(run.info.run_id)
        benchmark = self._benchmark(self._experiment_id, self._study)
        if benchmark is not None:
            self._require_artifacts(f"study {self._study}", benchmark.artifact_uri)
        if run.data.tags.get(DATA_CONTENT, record.data_content) != record.data_content:
            raise UserError(other_values(str(record.params["data"]), record.study))
        _refuse_other_payout(record, run.data.tags.get(PAYOUT))
        self._links["Report of the study"] = run_page(self._experiment_id, run_id, REPORT_PAGE)
        # All of it each time: the process that made the run may have been killed before it had written the rest.
        self._write(run_id, {name: value for name, value in record.params.items() if name not in run.data.params}, {})
        self._set_tags(run_id, {DATA_CONTENT: record.data_content} | scoring_tags(record.scoring))
        plan = json.dumps(dict(record.plan), indent=2, default=str)
        self._log_texts(run_id, {EXPERIMENT_FILE: record.experiment_file, PLAN: plan})
        dataset = DatasetEntity(
            name=record.data_name,
            digest=record.data_digest,
            source_type="local",
            source=json.dumps({"uri": record.data_source}),
            profile=json.dumps(record.data_profile),
        )
        self._client.log_inputs(run_id, [DatasetInput(dataset, [InputTag("mlflow.data.context", "mining")])])

    def _study_runs(self) -> list[Run]:
        """Return the study's runs, newest first: two processes that create it at once make two, for a moment."""
        return self._find([self._experiment_id], {KIND: STUDY_KIND, STUDY: self._study})

    def _claimed_runs(self) -> list[Run]:
        """Return the runs that may hold claims; once the study is begun that is one, and quick to find."""
        return self._study_runs() if self._begun is None else [self._client.get_run(self._begun)]

    @reports_store_errors
    def claims(self) -> dict[str, str]:
        """Return the claims of processes to mine the study, by token: see `mining.claim`."""
        tags = (tag for run in self._claimed_runs() for tag in run.data.tags.items())
        return {key.removeprefix(CLAIM): value for key, value in tags if key.startswith(CLAIM) and value}

    @reports_store_errors
    def write_claim(self, token: str, claim: str) -> None:
        """Write a claim, or replace it."""
        key = f"{CLAIM}{token}"
        claimed = [run.info.run_id for run in self._claimed_runs() if key in run.data.tags]
        self._client.set_tag(claimed[0] if claimed else self.open_study(), key, claim)

    @reports_store_errors
    def remove_claim(self, token: str) -> None:
        """Remove a claim; no error if it is not there."""
        runs, key = self._claimed_runs(), f"{CLAIM}{token}"
        for run in runs:
            if key in run.data.tags:
                self._client.delete_tag(run.info.run_id, key)
                claimed = any(other.startswith(CLAIM) and other != key for other in run.data.tags)
                if len(runs) > 1 and not run.data.params and not claimed:  # created at the same time as another
                    self._client.delete_run(run.info.run_id)

    @reports_store_errors
    def end_study(self, run_id: str, status: str, metrics: Mapping[str, float], note: str) -> None:
        """Finish the study's run.

        Parameters
        ----------
        status : str
            ``FINISHED``, ``KILLED`` (stopped by the user) or ``FAILED``.
        metrics : mapping of str to float
            Summary, such as ``trials/finished``.
        note : str
            Markdown shown on the run's page; empty for none.
        """
        self._write(run_id, {}, metrics)
        if note:
            self._set_tags(run_id, {NOTE: note})
        self._client.set_terminated(run_id, status)

    @reports_store_errors
    def log_trial(
        self,
        number: int | None,
        params: Mapping[str, Any],
        metrics: RunMetrics,
        artifacts: Path,
        started: float,
        race: RaceRecord = NO_RACE,
    ) -> TrackedTrial:
        """Write a finished trial, the benchmark, or a trial that a race stopped, whose run is KILLED.

        The run is set to FINISHED last: one that is still RUNNING was cut off, and `delete_cut_off` finds it.

        Parameters
        ----------
        number : int or None
            Trial; None for the benchmark.
        params : mapping
            Configuration, target and seed.
        artifacts : Path
            Directory whose files are logged.
        started : float
            Time at which training started, seconds since the epoch.
        race : RaceRecord, optional
            What a race made of it.
        """
        return self._log(_kind(number), number, {}, params, metrics, artifacts, started, race)

    @reports_store_errors
    def log_repeat(
        self, trial: TrackedTrial, params: Mapping[str, Any], metrics: RunMetrics, artifacts: Path, started: float
    ) -> TrackedTrial:
        """Write a trial that was trained again with another seed, under the trial's run; arguments as `log_trial`."""
        tags = {PARENT: trial.run_id}
        return self._log(REPEAT_KIND, trial.number, tags, params, metrics, artifacts, started)

    def _log(
        self,
        kind: str,
        number: int | None,
        tags: Mapping[str, str],
        params: Mapping[str, Any],
        metrics: RunMetrics,
        artifacts: Path,
        started: float,
        race: RaceRecord = NO_RACE,
    ) -> TrackedTrial:
        texts = {key: str(value) for key, value in params.items()}
        name = repeat_name(int(number or 0), int(params["seed"])) if kind == REPEAT_KIND else None
        own = dict(tags) | self._scored_tags(number, metrics, race) | race.tags
        run_id, status = self._create_trial(kind, number, own, started, name), STOPPED if race.stopped_at else FINISHED
        self._write(run_id, texts, metrics)
        location = self._log_directory(run_id, artifacts)
        self._client.set_terminated(run_id, status)
        return TrackedTrial(
            run_id,
            kind,
            number,
            status,
            texts,
            metrics.values,
            metrics.beats_benchmark,
            objective=metrics.scoring.objective,
            payout=str(metrics.scoring.payout),
            checkpoint=_checkpoint(metrics),
            race=race,
            artifact_uri=location,
        )

    @reports_store_errors
    def add_scores(self, scores: Mapping[str, Mapping[str, float]]) -> None:
        """Add metrics to runs, by run id."""
        for run_id, values in scores.items():
            self._write(run_id, {}, values)
        self._fold_away(self._experiment_id, self._study, {name for values in scores.values() for name in values})

    @reports_store_errors
    def log_failure(self, number: int | None, params: Mapping[str, Any], error: str, started: float) -> TrackedTrial:
        """Write a trial or benchmark that raised an error: a FAILED run with the error in a tag and its note."""
        kind = _kind(number)
        end = error[-LONGEST_VALUE + 10 :]
        tags = {ERROR: end, NOTE: f"```\n{end}\n```"} | _appearance(kind, {}, None)
        run_id = self._create_trial(kind, number, tags, started)
        texts = {key: str(value) for key, value in params.items()}
        self._write(run_id, texts, {})
        self._client.set_terminated(run_id, FAILED)
        return TrackedTrial(run_id, kind, number, FAILED, texts, {}, {"validation": False, "test": False})

    @reports_store_errors
    def rank_anew(
        self,
        trial: TrackedTrial,
        benchmark: TrackedTrial,
        scoring: Scoring,
        eras: pa.Table | None = None,
        checkpoint: Checkpoint = Checkpoint.DRAWN,
        race: RaceRecord | None = None,
    ) -> TrackedTrial:
        """Score a finished run by another objective or checkpoint, from the tracked scores of its eras, and write it.

        Parameters
        ----------
        benchmark : TrackedTrial
            What it is compared with; the run itself where it is the benchmark.
        eras : pyarrow.Table, optional
            Of `era_scores` of the benchmark, so as not to read it for each trial.
        checkpoint : Checkpoint, default `Checkpoint.DRAWN`
            At which it is scored.
        race : RaceRecord, optional
            What a race makes of it now; as it is tracked if not given.
        """
        own, other = self.era_scores(trial), self.era_scores(benchmark) if eras is None else eras
        best = model_eras(own, "best_") if "best_corr" in own.column_names else None
        folds = own.column("fold").to_numpy().astype(np.int64)
        at_best, race = checkpoint is Checkpoint.BEST, trial.race if race is None else race
        metrics = rescored(trial.metrics, folds, model_eras(own), model_eras(other), scoring, best, at_best=at_best)
        if trial.checkpoint is Checkpoint.BEST and not at_best:
            metrics = replace(metrics, values={**metrics.values, **_against_numerai(own, folds)})
        if trial.checkpoint is not checkpoint:
            outdated = dict.fromkeys(FURTHER_METRICS & trial.metrics.keys(), math.nan)
            metrics = replace(metrics, values={**metrics.values, **outdated})
        drawn = trial.trees_at(Checkpoint.DRAWN)
        metrics = replace(metrics, checkpoints=() if drawn is None else (drawn,))
        new = {name: value for name, value in metrics.values.items() if trial.metrics.get(name) != value}
        self._write(trial.run_id, {}, new)
        for key in trial.race.tags.keys() - race.tags.keys():
            self._client.delete_tag(trial.run_id, key)
        tags = self._scored_tags(trial.number, metrics, race) | race.tags
        if trial.number is not None:
            tags[SCORED_AT] = str(checkpoint)
        self._set_tags(trial.run_id, tags)  # last: they say that it is done
        return replace(
            trial,
            metrics=metrics.values,
            beats_benchmark=metrics.beats_benchmark,
            objective=scoring.objective,
            payout=str(scoring.payout),
            checkpoint=checkpoint,
            race=race,
        )

    def _scored_tags(self, number: int | None, metrics: RunMetrics, race: RaceRecord) -> dict[str, str]:
        """Return the tags of a finished run that follow from its scores."""
        kind, objective = _kind(number), metrics.scoring.objective
        won = wins(metrics.values, metrics.beats_benchmark, objective)
        tags = _appearance(kind, won, metrics.values.get(objective.metric))
        tags |= beats_benchmark_tags(metrics.beats_benchmark) | scoring_tags(metrics.scoring)
        if number is not None and (metrics.at_best or race.control):
            tags[SCORED_AT] = str(_checkpoint(metrics))
        if race.stopped_at:
            return tags | {NOTE: stopped_note(race, self._links)}
        note = scores_note(metrics, self._links, is_benchmark=number is None)
        return tags | {NOTE: f"{note}\n\n{CONTROL_NOTE}" if race.control else note}

    @reports_store_errors
    def save_view(self, benchmark: Mapping[str, float], grid_params: Sequence[str], objective: Objective) -> str:
        """Save the view that compares the study's trials with its benchmark, and return its address in the UI.

        The address follows the server's. Metrics are the benchmark's, parameters those that vary between trials.
        """
        try:
            saved = self._client.get_experiment(self._experiment_id).tags.get(SHARED_VIEW + view_name(self._study), "")
            view = shared_view(
                self._experiment_id, self._study, benchmark, grid_params, objective, folded_sections(saved)
            )
            self._client.set_experiment_tag(self._experiment_id, view.key, view.value)
        except (ValueError, MlflowException):  # a server with shorter tags: show the plain runs
            return runs_page(self._experiment_id)
        return view.url_suffix

    @reports_store_errors
    def trials(self) -> tuple[TrackedTrial, ...]:
        """Return the study's finished and failed trials, by number."""
        return self._trials(self._experiment_id, self._study)

    @reports_store_errors
    def benchmark(self) -> TrackedTrial | None:
        """Return the study's benchmark, if it is finished."""
        return self._benchmark(self._experiment_id, self._study)

    @reports_store_errors
    def delete_cut_off(self) -> None:
        """Delete runs that a killed process left unfinished; their trials are trained again."""
        self._delete_cut_off(self._experiment_id, self._study, (TRIAL_KIND, BENCHMARK_KIND, REPEAT_KIND))

    def link_launcher(self, study_run_id: str) -> None:
        """Note on the run that ``mlflow run`` made for this process which study it mines."""
        launcher = os.environ.get("MLFLOW_RUN_ID")
        if not launcher:
            return
        try:
            self._client.update_run(launcher, name=f"mine {self._study}")  # MLflow gives it two words by chance
            self._client.set_tag(launcher, STUDY, self._study)
            study = run_page(self._experiment_id, study_run_id)
            self._client.set_tag(
                launcher, NOTE, f"Started mining. {links_text({f'Study {self._study}': study} | self._links)}"
            )
        except MlflowException:  # the launcher's run is in another store
            return

    def _create_trial(
        self, kind: str, number: int | None, tags: Mapping[str, str], started: float, name: str | None = None
    ) -> str:
        own = self._tags | {KIND: kind}
        if number is not None:
            own[NUMBER] = str(number)
        name = name or (BENCHMARK_KIND if number is None else trial_name(number))
        return self._create(self._experiment_id, name, own | dict(tags), started)


def _refuse_other_payout(record: StudyRecord, tracked: str | None) -> None:
    """Refuse to continue with other multipliers than those that a study began with."""
    if tracked in (None, str(record.scoring.payout)):
        return
    raise UserError(
        f"study {record.study} began with payouts of {tracked}, and they are {record.scoring.payout} now; set the "
        "multipliers that it began with under [payout], or give the experiment another name"
    )


def _checkpoint(metrics: RunMetrics) -> Checkpoint:
    return Checkpoint.BEST if metrics.at_best else Checkpoint.DRAWN


def _kind(number: int | None) -> str:
    return BENCHMARK_KIND if number is None else TRIAL_KIND


def _appearance(kind: str, wins: Mapping[str, bool], score: float | None) -> dict[str, str]:
    return {RUN_COLOR: run_color(kind, wins), ORDER: order(kind, score)}


def _against_numerai(table: pa.Table, folds: NDArray[np.int64]) -> dict[str, float]:
    """Return BMC and correlation with each of Numerai's benchmarks as drawn, from ``era_scores.parquet``."""
    sections = {VALIDATION: folds < folds.max(), TEST: folds == folds.max(), WHOLE: folds > 0}
    values: dict[str, float] = {}
    for column in table.column_names:
        for score in ("bmc", "benchmark_corr"):
            name = column.removesuffix(f"_{score}")
            if name not in (column, "best"):
                eras = table.column(column).to_numpy().astype(np.float64)
                values |= {f"{name}/{section}_{score}": mean_score(eras[rows]) for section, rows in sections.items()}
    return {name: value for name, value in values.items() if math.isfinite(value)}


def model_eras(table: pa.Table, prefix: str = "") -> ModelEras:
    """Return CORR and BMC from ``era_scores.parquet``; with ``best_`` those at the best checkpoint."""
    names = (f"{prefix}{name}" for name in ("corr", "bmc", "benchmark_corr"))
    return ModelEras(*(table.column(name).to_numpy().astype(np.float64) for name in names))
