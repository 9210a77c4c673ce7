"""MLflow runs through a client: found, created and written with explicit ids, never through an active run."""

from __future__ import annotations

import functools
import re
import shutil
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

from mlflow.artifacts import download_artifacts
from mlflow.entities import Metric, Param, Run, RunStatus, RunTag
from mlflow.exceptions import MlflowException
from mlflow.store.artifact.artifact_repo import ArtifactRepository
from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

from signal_miner.engine.metrics import RunMetrics
from signal_miner.errors import StoreError, UserError
from signal_miner.scoring.objective import Objective
from signal_miner.tracking.comparison_view import sections_of, with_folded
from signal_miner.tracking.records import Checkpoint, RaceRecord, TrackedTrial
from signal_miner.tracking.relocation import as_written, beside, here, local_path, relocate
from signal_miner.tracking.store import LONGEST_VALUE, WEB_PAGE, Store, require_server, short_timeouts, store_errors
from signal_miner.tracking.tags import (
    BENCHMARK_KIND,
    KIND,
    NUMBER,
    OBJECTIVE,
    PAYOUT,
    REPEAT_KIND,
    SCORED_AT,
    SHARED_VIEW,
    STUDY,
    TRIAL_KIND,
    beats_benchmark_of,
)
from signal_miner.tracking.ui import view_name
from signal_miner.utils.files import temporary_directory
from signal_miner.utils.redaction import without_passwords
from signal_miner.utils.store_address import sqlite_path
from signal_miner.utils.validation import parsed_json

PLAN = "plan.json"
"""Artifact of the study's run: settings, features, targets, eras of each fold, as they were mined."""

EXPERIMENT_FILE = "experiment.toml"
"""Artifact of the study's run: the experiment as it was written."""

RUNNING = RunStatus.to_string(RunStatus.RUNNING)
FINISHED = RunStatus.to_string(RunStatus.FINISHED)
FAILED = RunStatus.to_string(RunStatus.FAILED)
STOPPED = RunStatus.to_string(RunStatus.KILLED)

P = ParamSpec("P")
T = TypeVar("T")
_NOT_THERE = re.compile(r"No such artifact|RESOURCE_DOES_NOT_EXIST|\b404 Client Error|error code 404|No such file")
_BATCH_METRICS, _BATCH_PARAMS = 900, 100


def reports_store_errors(method: Callable[P, T]) -> Callable[P, T]:
    """Raise `StoreError`, of one line, where the store fails inside a method of a `RunStore`."""

    @functools.wraps(method)
    def reporting(*arguments: P.args, **options: P.kwargs) -> T:
        store: Any = arguments[0]
        with store_errors(store.tracking_uri):
            return method(*arguments, **options)

    return reporting


@contextmanager
def artifact_errors(artifact: str, tracking_uri: str) -> Iterator[None]:
    """Distinguish an artifact that is not there, a plain `UserError`, from a store that fails, a `StoreError`."""
    with store_errors(tracking_uri):
        try:
            yield
        except (MlflowException, OSError) as error:
            if isinstance(error, FileNotFoundError) or _NOT_THERE.search(str(error)):
                raise UserError(f"there is no {artifact}") from error
            raise


def genuine(path: Path, tracking_uri: str) -> Path:
    """Return a downloaded file, once it is not a web page that a proxy sent in its place."""
    with path.open("rb") as file:
        start = file.read(256).decode("latin-1")
    if path.suffix != ".html" and WEB_PAGE.search(start):
        raise StoreError(
            f"the tracking store {without_passwords(tracking_uri)} sent a web page in place of {path.name}; check its "
            "address and any proxy in between"
        )
    return path


class RunStore(Store):
    """The runs of a tracking store."""

    @reports_store_errors
    def download(self, run_id: str, artifact: str, directory: Path) -> Path:
        """Download an artifact into a directory and return its path.

        Raises
        ------
        UserError
            If the run has no such artifact.
        StoreError
            If the store fails, refuses access, or sends a web page.
        """
        # By its location: given a run's id, MLflow hides why it failed, and a missing file looks like a failing store.
        location = self._location(run_id)
        path = local_path(location)
        if path is None:
            return self._fetch(f"{location.rstrip('/')}/{artifact}", artifact, directory)
        with artifact_errors(artifact, self.tracking_uri):
            return Path(shutil.copy(path / artifact, directory))

    @reports_store_errors
    def read_plan(self, run_id: str) -> dict[str, Any]:
        """Return the ``plan.json`` of a study's run.

        Raises
        ------
        UserError
            If the run has none, or it is damaged.
        StoreError
            If the store fails.
        """
        with temporary_directory() as directory:
            try:
                plan = parsed_json(self.download(run_id, PLAN, directory).read_text(encoding="utf-8"))
            except (OSError, ValueError) as error:
                raise UserError(str(error)) from error
        if not isinstance(plan, dict) or not {"experiment", "data", "targets", "study"} <= plan.keys():
            raise UserError("it is not whole")
        return plan

    @reports_store_errors
    def metrics(self, run_id: str) -> dict[str, float]:
        """Return the newest value of each of a run's metrics; raise a `StoreError` if the store fails."""
        return dict(self._client.get_run(run_id).data.metrics)

    def _location(self, run_id: str) -> str:
        """Return where a run's artifacts are now."""
        location = str(self._client.get_run(run_id).info.artifact_uri)
        path = local_path(location)
        return location if path is None else as_written(here(self._path, path), location)

    def _log_directory(self, run_id: str, directory: Path) -> str:
        """Log the files of a directory, and return where a run's artifacts are."""
        location = self._location(run_id)
        self._artifacts(location).log_artifacts(str(directory))  # type: ignore[no-untyped-call]
        return location

    def _log_files(self, run_id: str, files: Iterable[Path], folder: str | None = None) -> None:
        artifacts = self._artifacts(self._location(run_id))
        for file in files:
            artifacts.log_artifact(str(file), folder)  # type: ignore[no-untyped-call]

    def _log_texts(self, run_id: str, texts: Mapping[str, str]) -> None:
        """Log texts as artifacts, by their files' names."""
        with temporary_directory() as directory:
            for name, text in texts.items():
                (directory / name).write_bytes(text.encode())
            self._log_files(run_id, (directory / name for name in texts))

    def _artifacts(self, location: str) -> ArtifactRepository:
        """Return what writes artifacts to a location; MLflow's client would write them where the store says."""
        return get_artifact_repository(location, tracking_uri=self.tracking_uri)

    def _fetch(self, uri: str, name: str, directory: Path) -> Path:
        with artifact_errors(name, self.tracking_uri):
            path = download_artifacts(artifact_uri=uri, dst_path=str(directory), tracking_uri=self.tracking_uri)
        return genuine(Path(path), self.tracking_uri)

    @reports_store_errors
    def require_answer(self) -> None:
        """Raise `StoreError` where the store does not answer within seconds."""
        require_server(self.tracking_uri)
        with short_timeouts():
            self._client.search_experiments(max_results=1)

    @reports_store_errors
    def delete(self, run_id: str) -> None:
        """Mark a run as deleted; MLflow can restore it."""
        self._client.delete_run(run_id)

    @property
    def _path(self) -> Path | None:
        """The database of a local store."""
        return sqlite_path(self.tracking_uri)

    def _require_artifacts(self, of: str, artifact_uri: str) -> None:
        """Raise `UserError` where a finished run's artifacts are in a folder that this machine does not have."""
        location = local_path(artifact_uri)
        if location is None or location.parents[1].is_dir():
            return
        folder, store = location.parents[1], self._path
        if store is None:
            raise UserError(
                f"the artifacts of {of} are in {folder}, which this machine does not have; run the command where that "
                f"folder is, or start the server {without_passwords(self.tracking_uri)} with --serve-artifacts"
            )
        moved = beside(store, folder)
        if not (moved / location.parent.name).is_dir():
            raise UserError(
                f"the artifacts of {of} are neither in {folder} nor, moved with the store, in {moved}; move the folder "
                "to either place and rerun the command"
            )
        if not relocate(store):  # again: another mount of the folder may have corrected it the other way
            raise UserError(
                f"the artifacts of {of} are in {moved}, but {store} names {folder} and cannot be written; make it "
                "writable and rerun the command"
            )

    def _create(self, experiment_id: str, name: str, tags: Mapping[str, str], started: float | None = None) -> str:
        """Create a run that is RUNNING; `started` in seconds since the epoch."""
        milliseconds = int((time.time() if started is None else started) * 1000)
        run = self._client.create_run(
            experiment_id, start_time=milliseconds, tags=dict(self._context) | dict(tags), run_name=name
        )
        location, store = local_path(run.info.artifact_uri), self._path
        if store is not None and location is not None and here(store, location) != location:
            relocate(store)  # a container and its host use the store in turn, under different paths
        return str(run.info.run_id)

    def _write(self, run_id: str, params: Mapping[str, Any], metrics: RunMetrics | Mapping[str, float]) -> None:
        """Write parameters, metrics and learning curves in few requests."""
        now = int(time.time() * 1000)
        scored = metrics if isinstance(metrics, RunMetrics) else RunMetrics(metrics, {})
        logged = [Metric(key, value, now, 0) for key, value in scored.values.items()]
        for key, curve in scored.curves.items():
            points = zip(scored.checkpoints, curve, strict=True)
            logged += [Metric(key, value, now, trees) for trees, value in points if value == value]
        listed = [Param(key, str(value)[:LONGEST_VALUE]) for key, value in params.items()]
        for start in range(0, max(1, len(logged)), _BATCH_METRICS):
            block = listed[:_BATCH_PARAMS] if start == 0 else []
            self._client.log_batch(run_id, metrics=logged[start : start + _BATCH_METRICS], params=block)

    def _set_tags(self, run_id: str, tags: Mapping[str, str]) -> None:
        self._client.log_batch(run_id, tags=[RunTag(key, value[:LONGEST_VALUE]) for key, value in tags.items()])

    def _find(self, experiment_ids: Sequence[str], tags: Mapping[str, str], further: str = "") -> list[Run]:
        """Return the runs that carry these tags, newest first."""
        query = " and ".join(f"tags.`{key}` = '{value}'" for key, value in tags.items())
        pages: list[Run] = []
        token = None
        while True:
            page = self._client.search_runs(
                list(experiment_ids), f"{query} {further}", max_results=1000, page_token=token
            )
            pages += list(page)
            token = page.token
            if not token:
                break
        if any(run.data.tags.get(key) != value for run in pages for key, value in tags.items()):
            store = without_passwords(self.tracking_uri)
            raise StoreError(f"the tracking store {store} answers with runs that were not asked for; check its address")
        return pages

    def _fold_away(self, experiment_id: str, study: str, metric_names: Iterable[str]) -> None:
        """Fold away, in the study's saved view, the charts that MLflow makes of further metrics."""
        with suppress(MlflowException):
            experiment = self._client.get_experiment(experiment_id)
            key = SHARED_VIEW + view_name(study)
            changed = with_folded(experiment.tags.get(key, ""), sections_of(metric_names))
            if changed:
                self._client.set_experiment_tag(experiment_id, key, changed)

    def _trials(self, experiment_id: str, study: str) -> tuple[TrackedTrial, ...]:
        """Return a study's finished and failed trials, by number, with what is trained again of them.

        Of two with one number, which processes of two folders tracked before studies were claimed, the first counts,
        and a finished one before a failed one; one that was trained to the end before one that a race cut short.
        """
        kept: dict[int, TrackedTrial] = {}
        for trial in map(_tracked, self._find([experiment_id], {KIND: TRIAL_KIND, STUDY: study})):  # newest first
            number = trial.number or 0
            counts = trial.finished or trial.stopped or trial.status == FAILED
            if counts and (number not in kept or _standing(trial) >= _standing(kept[number])):
                kept[number] = trial
        repeats: dict[int, dict[int, TrackedTrial]] = {}
        for repeat in map(_tracked, self._find([experiment_id], {KIND: REPEAT_KIND, STUDY: study})):
            if repeat.finished:
                repeats.setdefault(repeat.number or 0, {})[repeat.seed] = repeat
        return tuple(
            replace(trial, repeats=tuple(each for _, each in sorted(repeats.get(number, {}).items())))
            for number, trial in sorted(kept.items())
        )

    def _benchmark(self, experiment_id: str, study: str) -> TrackedTrial | None:
        """Return a study's benchmark, if it is finished."""
        found = map(_tracked, self._find([experiment_id], {KIND: BENCHMARK_KIND, STUDY: study}))
        return next((trial for trial in found if trial.finished), None)

    def _delete_cut_off(self, experiment_id: str, study: str, kinds: Sequence[str]) -> None:
        """Delete a study's runs of these kinds that a killed process left half-written, and their local artifacts."""
        for kind in kinds:
            cut_off = f"and attributes.status = '{RUNNING}'"
            for run in self._find([experiment_id], {KIND: kind, STUDY: study}, cut_off):
                self._client.set_terminated(run.info.run_id, FAILED)  # MLflow changes no deleted run
                self._client.delete_run(run.info.run_id)
                location = local_path(run.info.artifact_uri)
                if location is not None and location.parts[-2:] == (run.info.run_id, "artifacts"):
                    shutil.rmtree(location.parent, ignore_errors=True)

    def _all_experiment_ids(self) -> list[str]:
        return [str(experiment.experiment_id) for experiment in self._client.search_experiments(max_results=1000)]


def _standing(trial: TrackedTrial) -> tuple[bool, bool]:
    return trial.finished, not trial.race.partial


def _tracked(run: Run) -> TrackedTrial:
    tags = run.data.tags
    return TrackedTrial(
        run_id=run.info.run_id,
        kind=tags[KIND],
        number=int(tags[NUMBER]) if NUMBER in tags else None,
        status=run.info.status,
        params=dict(run.data.params),
        metrics=dict(run.data.metrics),
        beats_benchmark=beats_benchmark_of(tags),
        artifact_uri=run.info.artifact_uri,
        objective=Objective(tags.get(OBJECTIVE, Objective.SHARPE)),
        payout=tags.get(PAYOUT, ""),
        checkpoint=Checkpoint(tags.get(SCORED_AT, Checkpoint.DRAWN)),
        race=RaceRecord.of(tags),
    )
