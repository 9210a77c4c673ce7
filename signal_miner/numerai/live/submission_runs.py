"""Submissions as runs of MLflow, each with its file."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from mlflow.entities import Run

from signal_miner.models.registry import RegisteredModel
from signal_miner.tracking.run_store import FAILED, FINISHED, RUNNING, RunStore, reports_store_errors
from signal_miner.tracking.tags import (
    ERROR,
    KIND,
    LIVE_SHA256,
    NOTE,
    NUMERAI_MODEL,
    ROUND,
    SUBMISSION_ID,
    SUBMISSION_KIND,
    UPLOADED_FILE,
)
from signal_miner.utils.redaction import reason_of


@dataclass(frozen=True)
class TrackedSubmission:
    """A submission as MLflow records it; ``""`` for what it did not reach."""

    run_id: str
    round: int
    numerai_model: str
    status: str  # MLflow's run status
    live_sha256: str
    uploaded_file: str
    submission_id: str

    @property
    def running(self) -> bool:
        """Whether it is in progress or was interrupted."""
        return self.status == RUNNING

    @property
    def finished(self) -> bool:
        """Whether its run ended successfully."""
        return self.status == FINISHED


class SubmissionRuns(RunStore):
    """The submissions of a tracking store.

    Parameters
    ----------
    tracking_uri : str or None
        MLflow's default if None.
    experiment_id : str
        Where new runs go; earlier ones are found in every experiment.

    Raises
    ------
    UserError
        If the store cannot be opened; every method raises it if the store stops answering.
    """

    def __init__(self, tracking_uri: str | None, experiment_id: str) -> None:
        super().__init__(tracking_uri)
        self._experiment_id = experiment_id

    @reports_store_errors
    def begin(self, round_number: int, numerai_model: str, model: RegisteredModel, data_version: str) -> str:
        """Create a run and return its id; `data_version` is that of the live data."""
        params = {
            "round": round_number,
            "numerai_model": numerai_model,
            "model": model.name,
            "model_version": model.version,
            "ensemble_run_id": model.run_id,
            "data_version": data_version,
        }
        tags = {KIND: SUBMISSION_KIND, ROUND: str(round_number), NUMERAI_MODEL: numerai_model}
        run_id = self._create(self._experiment_id, f"submission {numerai_model} round {round_number}", tags)
        self._write(run_id, params, {})
        return run_id

    @reports_store_errors
    def log_live(self, run_id: str, sha256: str, era: str, rows: int) -> None:
        """Record which live data the predictions are computed from."""
        self._write(run_id, {"live_sha256": sha256, "live_era": era, "rows": rows}, {})
        self._set_tags(run_id, {LIVE_SHA256: sha256})

    @reports_store_errors
    def log_file(self, run_id: str, path: Path) -> None:
        """Log the file of predictions as an artifact."""
        self._log_files(run_id, [path])

    @reports_store_errors
    def note_upload(self, run_id: str, uploaded_file: str) -> None:
        """Record the name of the file at Numerai, before the submission is created from it."""
        self._set_tags(run_id, {UPLOADED_FILE: uploaded_file})

    @reports_store_errors
    def note_submission(self, run_id: str, submission_id: str) -> None:
        """Record the id that Numerai gave, before it is confirmed."""
        self._set_tags(run_id, {SUBMISSION_ID: submission_id})

    @reports_store_errors
    def finish(self, run_id: str, submission_id: str, note: str) -> None:
        """End a run successfully; `note` is Markdown for the run's page."""
        self._set_tags(run_id, {SUBMISSION_ID: submission_id, NOTE: note})
        self._client.set_terminated(run_id, FINISHED)

    @reports_store_errors
    def fail(self, run_id: str, error: BaseException | str) -> None:
        """End a run as failed, with the error in one line without passwords."""
        line = error if isinstance(error, str) else reason_of(error)
        self._set_tags(run_id, {ERROR: line, NOTE: line})
        self._client.set_terminated(run_id, FAILED)

    @reports_store_errors
    def first_round(self, numerai_model: str, ensemble_run_id: str) -> int | None:
        """Return the first round to which an ensemble was submitted for a model slot; None if none is tracked."""
        found = self._find(self._all_experiment_ids(), {KIND: SUBMISSION_KIND, NUMERAI_MODEL: numerai_model})
        rounds = [
            _tracked(run).round
            for run in found
            if run.info.status == FINISHED and run.data.params.get("ensemble_run_id") == ensemble_run_id
        ]
        return min(rounds, default=None)

    @reports_store_errors
    def submissions(self) -> tuple[TrackedSubmission, ...]:
        """Return all tracked submissions of the store, newest first."""
        found = self._find(self._all_experiment_ids(), {KIND: SUBMISSION_KIND})
        newest_first = sorted(found, key=lambda run: int(run.info.start_time or 0), reverse=True)
        return tuple(_tracked(run) for run in newest_first)


def _tracked(run: Run) -> TrackedSubmission:
    tags = run.data.tags
    number = tags.get(ROUND, "")
    return TrackedSubmission(
        run_id=str(run.info.run_id),
        round=int(number) if number.isdecimal() else -1,
        numerai_model=tags.get(NUMERAI_MODEL, ""),
        status=str(run.info.status),
        live_sha256=tags.get(LIVE_SHA256, ""),
        uploaded_file=tags.get(UPLOADED_FILE, ""),
        submission_id=tags.get(SUBMISSION_ID, ""),
    )
