"""Opened holdouts in MLflow: the fact, the models' predictions, the scores and the result, on the study's run."""

from __future__ import annotations

import json
from collections.abc import Mapping
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
from mlflow.entities import Run
from mlflow.exceptions import MlflowException
from numpy.typing import NDArray

from signal_miner.errors import StoreError, UserError
from signal_miner.holdout.record import TWICE, HoldoutScores, Opening, span
from signal_miner.scoring.objective import Scoring
from signal_miner.tracking.artifact_cache import ArtifactCache
from signal_miner.tracking.run_store import reports_store_errors
from signal_miner.tracking.tags import HOLDOUT_KEPT, HOLDOUT_RESULT, KIND, STUDY, STUDY_KIND
from signal_miner.utils.files import temporary_directory
from signal_miner.utils.redaction import reason_of
from signal_miner.utils.validation import parsed_json

HOLDOUT_SCORES = "holdout_scores.parquet"
"""Artifact of the study's run, a row an era: ``era``, the model's ``corr``, ``bmc`` and ``benchmark_corr``, and
``benchmark``, the benchmark's CORR."""

HOLDOUT_PREDICTIONS = "holdout_predictions.parquet"
"""Artifact of the study's run: index ``id``; ``era``, ``prediction`` (the model's, ranked within its era, in (0, 1)),
``benchmark`` (float32, as predicted)."""

KEPT = "holdout"
"""Artifact folder: predictions of each model that is trained already, so that a stopped evaluation resumes."""

_CLAIM = "holdout_opened_for"  # a parameter: no store lets it be changed, so one process alone can be the first


class HoldoutRuns(ArtifactCache):
    """The opened holdouts of a tracking store."""

    @reports_store_errors
    def opening(self, study_run_id: str) -> Opening | None:
        """Return the opening of a study's holdout; None where it is closed."""
        run = self._client.get_run(study_run_id).data
        return Opening.of(run.tags) or _claimed(run.params)  # tags can be deleted, and come after the claim

    @reports_store_errors
    def earlier(self, study_run_id: str, eras: Opening) -> tuple[tuple[str, Opening], ...]:
        """Return other studies over the same data whose opened holdouts have eras in common with this one, by name."""
        data = _data_digests(self._client.get_run(study_run_id))
        found = {}
        for run in self._find(self._all_experiment_ids(), {KIND: STUDY_KIND}):
            other = Opening.of(run.data.tags)
            same_data = bool(_data_digests(run) & data)
            if run.info.run_id != study_run_id and same_data and other is not None and other.overlaps(eras):
                found[run.data.tags[STUDY]] = other
        return tuple(sorted(found.items()))

    @reports_store_errors
    def open(self, study_run_id: str, opening: Opening) -> None:
        """Write the fact that a study's holdout is opened.

        Raises
        ------
        UserError
            If another process opened it for another model.
        """
        try:
            self._client.log_param(study_run_id, _CLAIM, json.dumps(opening.tags))
        except MlflowException:
            holder = _claimed(self._client.get_run(study_run_id).data.params)
            if holder is None:
                raise
            if (holder.run_id, holder.digest) != (opening.run_id, opening.digest):
                raise UserError(
                    f"the holdout was opened for run {holder.run_id}, not for {opening.run_id} as it is now; {TWICE}"
                ) from None
            opening = holder
        self._set_tags(study_run_id, opening.tags)

    def keep(self, study_run_id: str, file: Path) -> None:
        """Keep a model's predictions among the study's artifacts."""
        self.keep_file(study_run_id, file, KEPT, HOLDOUT_KEPT)

    def kept(self, study_run_id: str, name: str) -> NDArray[np.floating[Any]] | None:
        """Return a model's predictions by their file's name, shape (n_rows,); None where no intact ones are kept."""
        body = self.kept_file(study_run_id, name, KEPT, HOLDOUT_KEPT)
        if body is None:
            return None
        try:
            predictions: NDArray[np.floating[Any]] = pq.read_table(BytesIO(body)).column("prediction").to_numpy()
        except OSError:
            return None
        return predictions

    @reports_store_errors
    def finish(
        self,
        study_run_id: str,
        ensemble_run_id: str | None,
        metrics: Mapping[str, float],
        artifacts: Path,
        result: str,
    ) -> None:
        """Write the scores of a model; the result last, as it marks that everything else is there.

        Parameters
        ----------
        ensemble_run_id : str or None
            Run of the evaluated ensemble, if it is one: the metrics are written there, too.
        artifacts : Path
            Directory whose files are logged to the study's run.
        """
        self._log_directory(study_run_id, artifacts)
        for run_id in filter(None, (ensemble_run_id, study_run_id)):
            self._write(run_id, {}, metrics)
        study = self._client.get_run(study_run_id)
        self._fold_away(study.info.experiment_id, study.data.tags[STUDY], metrics)
        self._set_tags(study_run_id, {HOLDOUT_RESULT: result})

    @reports_store_errors
    def scores(self, study_run_id: str, opening: Opening, scoring: Scoring) -> HoldoutScores:
        """Return the tracked scores of an opened holdout.

        Raises
        ------
        UserError
            If they are not there, or damaged.
        """
        try:
            with temporary_directory() as directory:
                path = self.download(study_run_id, HOLDOUT_SCORES, directory)
                scores = HoldoutScores.of_frame(pd.read_parquet(path), scoring)
            if not scores.era_labels or span(scores.era_labels) != opening.eras:
                raise UserError("its eras are not those of the holdout")
        except StoreError:
            raise
        except (UserError, OSError, ValueError, KeyError) as error:
            raise UserError(
                f"run {study_run_id} has no readable {HOLDOUT_SCORES} ({reason_of(error)}); its tags say of "
                f"{opening.model}: {opening.result}"
            ) from error
        return scores


def _claimed(params: Mapping[str, str]) -> Opening | None:
    """Return the opening that the claim records, if there is one."""
    claim = params.get(_CLAIM)
    if claim is None:
        return None
    try:
        return Opening.of(parsed_json(claim))
    except (ValueError, TypeError):
        return Opening("", "", claim, "", "")


def _data_digests(run: Run) -> set[str]:
    """Return digests of the data that a study's run was mined on: the same by whatever name they are called."""
    return {each.dataset.digest for each in run.inputs.dataset_inputs} if run.inputs else set()
