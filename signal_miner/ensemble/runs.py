"""Ensembles in MLflow: each is a run with a trial's metrics and artifacts, and links to its members."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
from mlflow.entities import Run
from numpy.typing import NDArray

from signal_miner.engine.metrics import RunMetrics
from signal_miner.ensemble.members import Ensemble
from signal_miner.errors import StoreError, UserError, did_you_mean
from signal_miner.tracking.artifact_cache import ArtifactCache
from signal_miner.tracking.artifacts import ERA_SCORES, PREDICTIONS, read_predictions
from signal_miner.tracking.comparison_view import order, run_color
from signal_miner.tracking.notes import markdown_table, scores_note
from signal_miner.tracking.run_store import FAILED, FINISHED, reports_store_errors
from signal_miner.tracking.tags import (
    CONFIG_HASH,
    ENSEMBLE_KIND,
    ENSEMBLE_SHA256,
    KIND,
    MEMBERS,
    NOTE,
    ORDER,
    REFIT_TAG,
    RUN_COLOR,
    STUDY,
    beats_benchmark_of,
    beats_benchmark_tags,
    scoring_tags,
)
from signal_miner.tracking.ui import run_page, runs_page, view_name
from signal_miner.utils.files import temporary_directory
from signal_miner.utils.next_command import next_command
from signal_miner.utils.redaction import reason_of

ENSEMBLE = "ensemble.json"
"""Artifact: members with their runs, parameters, trees and weights, and how they were selected."""

_FORMS_SHOWN = 4  # of the names that a message gives to choose from

REFIT = "refit"
"""Artifact folder: members refitted so far, as LightGBM's model text, so that a stopped refit resumes."""


@dataclass(frozen=True, eq=False)
class TrackedEnsemble:
    """An ensemble read from its run."""

    run_id: str
    experiment_id: str
    name: str
    ensemble: Ensemble
    metrics: Mapping[str, float]
    params: Mapping[str, str]


@dataclass(frozen=True, eq=False)
class EnsembleScores:
    """What an ensemble's run says of it, without its members' configurations."""

    run_id: str
    name: str
    metrics: Mapping[str, float]
    beats_benchmark: Mapping[str, bool]
    members: int


class EnsembleRuns(ArtifactCache):
    """The ensembles of a tracking store."""

    @reports_store_errors
    def log(
        self,
        experiment_id: str,
        config_hash: str,
        ensemble: Ensemble,
        params: Mapping[str, Any],
        metrics: RunMetrics,
        artifacts: Path,
        members_note: str,
    ) -> TrackedEnsemble:
        """Write an ensemble; its run is set to FINISHED last.

        Parameters
        ----------
        experiment_id, config_hash : str
            Of the study.
        params : mapping
            How the members were selected, for the table of runs.
        artifacts : Path
            Directory whose files are logged.
        members_note : str
            Markdown, shown on the run's page.
        """
        earlier = [run.info.run_name for run in self._find([experiment_id], {KIND: ENSEMBLE_KIND})]
        taken = [int(number) for number in re.findall(r"^ensemble (\d+)$", "\n".join(map(str, earlier)), re.MULTILINE)]
        name = f"ensemble {max(taken, default=0) + 1}"
        links = {"All trials against the benchmark": runs_page(experiment_id, view_name(ensemble.study))}
        tags = {
            STUDY: ensemble.study,
            CONFIG_HASH: config_hash,
            KIND: ENSEMBLE_KIND,
            RUN_COLOR: run_color(ENSEMBLE_KIND, {}),
            ORDER: order(ENSEMBLE_KIND, None),
            **scoring_tags(metrics.scoring),
            MEMBERS: ",".join(member.run_id for member in ensemble.members),
            NOTE: f"{scores_note(metrics, links)}\n\nMembers:\n\n{members_note}",
        }
        text = ensemble.to_json()
        tags[ENSEMBLE_SHA256] = sha256(text.encode()).hexdigest()
        run_id = self._create(experiment_id, name, tags | beats_benchmark_tags(metrics.beats_benchmark))
        try:
            self._write(run_id, params, metrics)
            self._log_texts(run_id, {ENSEMBLE: text})
            self._log_directory(run_id, artifacts)
        except BaseException:
            self._client.set_terminated(run_id, FAILED)
            self._client.delete_run(run_id)
            raise
        self._client.set_terminated(run_id, FINISHED)
        self._fold_away(experiment_id, ensemble.study, metrics.values)
        texts = {key: str(value) for key, value in params.items()}
        return TrackedEnsemble(run_id, experiment_id, name, ensemble, metrics.values, texts)

    def predictions(
        self, run_id: str, name: str, column: str, rows: Mapping[int, int]
    ) -> dict[int, NDArray[np.floating[Any]]]:
        """Return a column of a run's ``predictions.parquet``, of shape (n_rows,), by fold.

        Parameters
        ----------
        name : str
            How a message names the run.
        rows : mapping of int to int
            Number of validation rows that each fold must have.

        Raises
        ------
        UserError
            If the file is missing, damaged, or has other rows.
        """
        try:
            with temporary_directory() as directory:
                predictions = read_predictions(self.download(run_id, PREDICTIONS, directory), column)
            if {number: len(values) for number, values in predictions.items()} != rows:
                raise UserError("its rows are not the study's")
        except StoreError:
            raise
        except (UserError, OSError, ValueError, KeyError) as error:
            raise UserError(
                f"{name} (run {run_id}) has no readable {PREDICTIONS} ({reason_of(error)}); delete the run and make it "
                "again"
            ) from error
        return predictions

    @reports_store_errors
    def of_study(self, experiment_id: str, study: str) -> tuple[EnsembleScores, ...]:
        """Return a study's ensembles that are finished, in no order."""
        found = self._find([experiment_id], {KIND: ENSEMBLE_KIND, STUDY: study})
        return tuple(
            EnsembleScores(
                run.info.run_id,
                str(run.info.run_name),
                dict(run.data.metrics),
                beats_benchmark_of(run.data.tags),
                len(run.data.tags.get(MEMBERS, "").split(",")),
            )
            for run in found
            if run.info.status == FINISHED
        )

    def era_scores(self, run_id: str, era_labels: Sequence[str]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return CORR and BMC of an ensemble's eras, each of shape (n_eras,).

        Raises
        ------
        UserError
            If the file is missing, damaged, or of other eras.
        """
        try:
            with temporary_directory() as directory:
                table = pq.read_table(self.download(run_id, ERA_SCORES, directory), columns=["era", "corr", "bmc"])
            if tuple(table.column("era").to_pylist()) != tuple(era_labels):
                raise UserError("its eras are not the study's")
            corr, bmc = (table.column(name).to_numpy().astype(np.float64) for name in ("corr", "bmc"))
        except StoreError:
            raise
        except (UserError, OSError, ValueError, KeyError) as error:
            raise UserError(f"run {run_id} has no readable {ERA_SCORES} ({reason_of(error)})") from error
        return corr, bmc

    @reports_store_errors
    def find(self, which: str | None = None) -> TrackedEnsemble:
        """Return an ensemble.

        Parameters
        ----------
        which : str, optional
            A run id; a name such as ``ensemble 3``; study and name, such as ``demo/ensemble 3``; or a study, for its
            newest ensemble. A study may be given by its beginning. The newest ensemble of all if not given.

        Raises
        ------
        UserError
            If there is none, a name fits several, or the artifacts cannot be read.
        """
        runs = [
            run for run in self._find(self._all_experiment_ids(), {KIND: ENSEMBLE_KIND}) if run.info.status == FINISHED
        ]
        runs.sort(key=lambda run: run.info.start_time, reverse=True)
        if not runs:
            raise UserError(f"the tracking store has no ensemble yet; make one with: {next_command('ensemble')}")
        return self._tracked(_chosen(runs, which or ""))

    def log_refit(self, run_id: str, file: Path) -> None:
        """Keep a refitted member among a run's artifacts."""
        self.keep_file(run_id, file, REFIT, REFIT_TAG)

    @reports_store_errors
    def log_values(self, run_id: str, metrics: Mapping[str, float], tags: Mapping[str, str]) -> None:
        """Add metrics and tags to a run."""
        self._write(run_id, {}, metrics)
        self._set_tags(run_id, tags)
        run = self._client.get_run(run_id)
        self._fold_away(run.info.experiment_id, run.data.tags.get(STUDY, ""), metrics)

    def refit(self, run_id: str, name: str) -> str | None:
        """Return a refitted member's text by its file's name; None where no intact one is kept."""
        body = self.kept_file(run_id, name, REFIT, REFIT_TAG)
        return None if body is None else body.decode("utf-8")

    def _tracked(self, run: Run) -> TrackedEnsemble:
        self._require_artifacts(str(run.info.run_name), run.info.artifact_uri)
        try:
            with temporary_directory() as directory:
                text = self.download(run.info.run_id, ENSEMBLE, directory).read_text(encoding="utf-8")
            digest = run.data.tags.get(ENSEMBLE_SHA256)  # none in runs made before
            if digest and sha256(text.encode()).hexdigest() != digest:
                raise ValueError("it was changed: its SHA-256 is not the tracked one")
            ensemble = Ensemble.from_json(text)
        except StoreError:
            raise
        except (UserError, OSError, ValueError) as error:
            raise UserError(f"{run.info.run_name} has no readable {ENSEMBLE} ({error}); make it again") from error
        return TrackedEnsemble(
            run_id=run.info.run_id,
            experiment_id=run.info.experiment_id,
            name=str(run.info.run_name),
            ensemble=ensemble,
            metrics=dict(run.data.metrics),
            params=dict(run.data.params),
        )


def _chosen(runs: Sequence[Run], which: str) -> Run:
    """Return the run that `which` names, of ensembles with the newest first; the newest if it is empty."""
    by_id = [run for run in runs if run.info.run_id == which]
    named = by_id or [run for run in runs if run.info.run_name == which]
    if not named:
        study, slash, name = which.rpartition("/")
        of_name = [run for run in runs if slash and run.info.run_name == name]
        named = _of_study(of_name, study)
    if len(named) > 1:
        forms = list(dict.fromkeys(_full_name(run) for run in named))
        forms = forms if len(forms) == len(named) else [run.info.run_id for run in named]
        shown = ", ".join(forms[:_FORMS_SHOWN]) + (", …" if len(forms) > _FORMS_SHOWN else "")
        raise UserError(f"ensemble {which!r} fits {len(named)} ensembles; give one of {shown}, or a run id")
    fitting = named or _of_study(runs, which)
    if not fitting:
        names = (str(name) for run in runs for name in (run.info.run_name, run.data.tags[STUDY], _full_name(run)))
        known = [name for name in dict.fromkeys(names) if ("/" in name) == ("/" in which)]
        raise UserError(f"ensemble {which!r} is not tracked{did_you_mean(which, known)}")
    return fitting[0]


def _of_study(runs: Sequence[Run], study: str) -> list[Run]:
    """Return the ensembles of the study of this name, or else of those whose names begin so."""
    return [run for run in runs if run.data.tags[STUDY] == study] or [
        run for run in runs if run.data.tags[STUDY].startswith(study)
    ]


def _full_name(run: Run) -> str:
    return f"{run.data.tags[STUDY]}/{run.info.run_name}"


def members_note(
    ensemble: Ensemble, experiment_ids: Mapping[str, str], trees: Sequence[int], columns: Mapping[str, Sequence[str]]
) -> str:
    """Return a table in Markdown with a row for each member and a link to its run.

    Parameters
    ----------
    experiment_ids : mapping of str to str
        MLflow's, by study.
    trees : sequence of int
        Of each member.
    columns : mapping of str to sequence of str
        Further columns: a cell for each member.
    """
    heads = ["member", "weight", "trees", *columns]
    rows = []
    for place, member in enumerate(ensemble.members):
        page = run_page(experiment_ids[member.study or ensemble.study], member.run_id).removeprefix("/")
        link = f"[{member.name}]({page})"
        further = [values[place] for values in columns.values()]
        rows.append([link, f"{member.weight:.3f}", str(trees[place]), *further])
    return markdown_table(heads, rows)
