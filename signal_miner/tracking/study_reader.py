"""Reads from MLflow what a study's models scored in each era."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from errno import ENOENT
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import ArrayLike, NDArray

from signal_miner.data.eras import recorded_era_numbers
from signal_miner.data.folds import PURGE_ERAS, overlap_eras
from signal_miner.engine.racing import Curve
from signal_miner.errors import StoreError, UserError
from signal_miner.experiment.schema import PREDICTIONS_KEY
from signal_miner.scoring.blending import gaussianised, mean_correlations
from signal_miner.scoring.objective import Objective, Scoring
from signal_miner.scoring.study_scores import Correlations, StudyScores
from signal_miner.tracking.artifacts import CURVE_SCORES, ERA_SCORES, PREDICTIONS
from signal_miner.tracking.ranking import ranked
from signal_miner.tracking.records import Checkpoint, TrackedTrial
from signal_miner.tracking.relocation import here, local_path
from signal_miner.tracking.run_store import RunStore, reports_store_errors
from signal_miner.tracking.studies import TrackedStudy
from signal_miner.utils.files import temporary_directory
from signal_miner.utils.redaction import reason_of

_READERS = 8
_SCORES = ("corr", "bmc", "benchmark_corr")
_ERAS = pa.schema([("era", pa.string()), ("fold", pa.int8())])


@dataclass(frozen=True, eq=False)
class _TrialScores:
    """The artifacts of one trial.

    Scores of each era, (n_eras, 3); what it is compared in, (n_eras,), and that at each checkpoint, (n_eras,
    n_checkpoints), with its trees.
    """

    eras: pa.Table
    scores: NDArray[np.float64]
    compared: NDArray[np.float64]
    curve: NDArray[np.float64]
    trees: tuple[int, ...]

    def where_trained(self, in_validation: NDArray[np.bool_]) -> _TrialScores:
        """Return the same without checkpoints that a race cut off in validation; `in_validation` is by era."""
        known: NDArray[np.bool_] = np.isfinite(self.curve[in_validation]).sum(axis=0) > 0
        if known.all():
            return self
        trees = tuple(count for count, there in zip(self.trees, known, strict=True) if there)
        return replace(self, curve=self.curve[:, known], trees=trees)


class StudyReader(RunStore):
    """The scores of tracked studies."""

    @reports_store_errors
    def scores(self, study: TrackedStudy) -> StudyScores:
        """Read the scores of each era of a study's finished trials and its benchmark.

        Returns
        -------
        StudyScores
            Trials best first, as in the leaderboard.

        Raises
        ------
        UserError
            If the artifacts of a run are missing, damaged, or of other eras than the benchmark's.
        """
        trials = finished_trials(study)
        with temporary_directory() as directory, ThreadPoolExecutor(_READERS) as readers:
            models = (study.benchmark, *trials)
            found = list(readers.map(lambda trial: self._read(trial, directory, study.scoring), models))
        benchmark, parts = found[0], found[1:]
        for trial, part in zip(trials, parts, strict=True):
            if not part.eras.equals(benchmark.eras):
                raise UserError(
                    f"{trial.name} (run {trial.run_id}) was scored on other eras than the benchmark; delete the run "
                    "and rerun `mine`"
                )
        labels = tuple(benchmark.eras.column("era").to_pylist())
        eras = recorded_era_numbers(labels).astype(np.int64)
        n_eras = len(labels)
        folds = benchmark.eras.column("fold").to_numpy().astype(np.int64)
        in_validation = folds < study.plan["experiment"]["folds"]["count"]
        stopped_scores, stopped_bmc = self._of_stopped(study, folds, in_validation)
        parts = [
            part.where_trained(in_validation) if trial.race.partial else part
            for trial, part in zip(trials, parts, strict=True)
        ]
        widths = [part.curve.shape[1] for part in parts]
        candidates = np.empty((n_eras, sum(widths)), dtype=np.float64)
        cuts = np.concatenate([[0], np.cumsum(widths)]).astype(int)
        for place, part in enumerate(parts):
            candidates[:, cuts[place] : cuts[place + 1]] = part.curve
        nothing = np.empty((n_eras, 0))
        columns = {
            name: np.stack([part.scores[:, number] for part in parts], axis=1) if parts else nothing
            for number, name in enumerate(_SCORES)
            if name != "corr"
        }
        return StudyScores(
            study=study.name,
            era_labels=labels,
            eras=eras,
            folds=folds,
            overlap_eras=overlap_of(study, eras),
            names=tuple(trial.name for trial in trials),
            numbers=tuple(int(trial.number or 0) for trial in trials),
            failed=sum(trial.failed for trial in study.trials),
            stopped=sum(trial.stopped for trial in study.trials),
            sampled=np.array([bool(trial.race.control) for trial in trials], dtype=np.bool_),
            unfinished=max((int(trial.number or 0) + 1 for trial in study.trials), default=0) - len(study.trials),
            era_scores=np.stack([part.compared for part in parts], axis=1) if parts else nothing,
            benchmark=benchmark.compared,
            candidates=candidates,
            candidate_trial=np.repeat(np.arange(len(parts)), widths),
            candidate_trees=np.array([trees for part in parts for trees in part.trees], dtype=np.int64),
            objective=study.objective,
            stopped_scores=stopped_scores,
            stopped_bmc=stopped_bmc,
            **columns,
        )

    def _of_stopped(
        self, study: TrackedStudy, folds: NDArray[np.int64], in_validation: NDArray[np.bool_]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return `StudyScores.stopped_scores` and `stopped_bmc`."""
        numbers, scoring = np.unique(folds[in_validation]).tolist(), study.scoring
        stopped = [trial for trial in study.trials if trial.stopped]
        with ThreadPoolExecutor(_READERS) as readers:
            curves = list(readers.map(lambda trial: self.curves(trial, numbers), stopped))
        best = [Curve.joined(parts).at_best(scoring) for parts in curves if all(len(part.corr) for part in parts)]
        compared, bmc = np.full((2, len(folds), len(best)), np.nan)
        for place, each in enumerate(best):
            compared[in_validation, place] = scoring.era_scores(each.corr, each.bmc, scoring.objective.compared)[:, 0]
            bmc[in_validation, place] = each.bmc[:, 0]
        return compared, bmc

    @reports_store_errors
    def era_scores(self, trial: TrackedTrial) -> pa.Table:
        """Return ``era_scores.parquet`` of a finished trial or benchmark.

        Raises
        ------
        UserError
            If it is missing, damaged, or lacks ``fold``, ``corr`` or ``bmc``.
        """
        with temporary_directory() as directory:
            table = self._table(trial, ERA_SCORES, directory)
        if missing := [name for name in ("era", "fold", "corr", "bmc") if name not in table.column_names]:
            raise _damaged(trial, ERA_SCORES, f"column {missing[0]!r} is missing")
        return table

    @reports_store_errors
    def curves(self, trial: TrackedTrial, folds: Sequence[int]) -> list[Curve]:
        """Return the learning curve of a trial that was trained here, for each of these folds.

        Raises
        ------
        UserError
            If ``curve_scores.parquet`` is missing, damaged, or has no BMC.
        """
        with temporary_directory() as directory:
            table = self._table(trial, CURVE_SCORES, directory)
        names = [name for name in table.column_names if name.isdigit()]
        try:
            corr, bmc = _matrix(table, names), _matrix(table, [f"bmc_{name}" for name in names])
            fold = table.column("fold").to_numpy()
        except (KeyError, ValueError, TypeError) as error:
            raise _damaged(trial, CURVE_SCORES, reason_of(error)) from error
        return [Curve(corr[fold == number], bmc[fold == number]) for number in folds]

    @reports_store_errors
    def correlations(self, study: TrackedStudy, leaders: int) -> Correlations:
        """Return the mean correlation, over validation eras, of the ranks of the first trials and the benchmark.

        Ranks are gaussianised, as they are for the correlation with the benchmark.

        Raises
        ------
        UserError
            If predictions are missing or damaged.
        """
        trials = (*finished_trials(study)[:leaders], study.benchmark)
        last = int(study.plan["experiment"]["folds"]["count"])
        first: pa.Table | None = None
        columns = []
        for trial in trials:
            with temporary_directory() as directory:
                column = trial.checkpoint.column
                table = self._table(trial, PREDICTIONS, directory, ["id", "era", "fold", column])
            try:
                rows = table.filter(pa.compute.less(table.column("fold"), last))
                columns.append(rows.column(column).to_numpy().astype(np.float32))
            except (ValueError, TypeError, NotImplementedError) as error:
                raise _damaged(trial, PREDICTIONS, reason_of(error)) from error
            labels = rows.select(["id", "era"])
            first = labels if first is None else first
            if not labels.equals(first):
                raise _damaged(trial, PREDICTIONS, "its rows are not those of the others")
        if first is None:
            raise ValueError("there is always the benchmark")
        eras = _numbers(first.column("era"))
        matrix = mean_correlations(eras, gaussianised(eras, np.stack(columns, axis=1)))
        return Correlations(tuple(trial.name for trial in trials), matrix)

    def _read(self, trial: TrackedTrial, directory: Path, scoring: Scoring) -> _TrialScores:
        own = directory / trial.run_id
        own.mkdir()
        prefix = "best_" if trial.checkpoint is Checkpoint.BEST else ""
        names_scored = tuple(f"{prefix}{name}" for name in _SCORES)
        scores = self._table(trial, ERA_SCORES, own, ["era", "fold", *names_scored])
        curve, names = pa.table({}), list[str]()
        if PREDICTIONS_KEY not in trial.params:  # what was not trained here has no learning curve
            curve = self._table(trial, CURVE_SCORES, own)
            names = [name for name in curve.column_names if name.isdigit()]
            if len(curve) != len(scores) or not names:
                raise _damaged(trial, CURVE_SCORES, "it is not whole")
        if not len(scores):
            raise _damaged(trial, ERA_SCORES, "it is not whole")
        try:
            recorded_era_numbers(scores.column("era").to_pylist())
            matrix, compared = _matrix(scores, names_scored), scoring.objective.compared
            drawn = scoring.era_scores(matrix[:, 0], matrix[:, 1], compared)
            return _TrialScores(
                eras=scores.select(["era", "fold"]).cast(_ERAS),
                scores=matrix,
                compared=drawn,
                curve=_compared_curve(curve, names, scoring, drawn),
                trees=tuple(int(name) for name in names),
            )
        except (UserError, ValueError, TypeError) as error:
            raise _damaged(trial, f"{ERA_SCORES} or {CURVE_SCORES}", reason_of(error)) from error

    def _table(self, trial: TrackedTrial, name: str, directory: Path, columns: Sequence[str] | None = None) -> pa.Table:
        # By its location: a request for the run's record, for each of thousands, would take longer than all else.
        location = local_path(trial.artifact_uri)
        try:
            if location is None:
                path = self._fetch(f"{trial.artifact_uri.rstrip('/')}/{name}", name, directory)
            else:
                path = here(self._path, location) / name
            with pq.ParquetFile(path, memory_map=False) as file:
                table = file.read(columns=list(columns) if columns else None, use_threads=False)
        except StoreError:
            raise
        except (UserError, pa.ArrowException, OSError) as error:
            if isinstance(error, OSError) and error.errno not in (None, ENOENT):  # such as a missing permission
                raise
            raise _damaged(trial, name, reason_of(error)) from error
        for column in columns or ():
            if column not in table.column_names:
                raise _damaged(trial, name, f"column {column!r} is missing")
        return table


def finished_trials(study: TrackedStudy) -> tuple[TrackedTrial, ...]:
    """Return a study's finished trials, best first."""
    return tuple(ranked((trial for trial in study.trials if trial.finished), study.objective))


def overlap_of(study: TrackedStudy, eras: ArrayLike) -> int:
    """Return how many of the eras after an era of a study have scoring targets that share returns with its own."""
    return overlap_eras(_scoring_horizon(study), eras, study.plan["experiment"]["folds"].get("embargo_eras"))


def _scoring_horizon(study: TrackedStudy) -> int:
    """Return the scoring target's horizon in days; of older studies, which do not record it, by their purge."""
    known = study.plan["experiment"].get("scoring_horizon_days")
    least = min(int(target["purge_eras"]) for target in study.plan["targets"].values())
    return int(known or (60 if least >= PURGE_ERAS[60] else 20))


def _damaged(trial: TrackedTrial, name: str, reason: str) -> UserError:
    return UserError(
        f"{trial.name} (run {trial.run_id}) has no readable {name} ({reason}); restore it from a backup, or delete the "
        "run and rerun `mine` to train it again"
    )


def _compared_curve(
    curve: pa.Table, names: Sequence[str], scoring: Scoring, drawn: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return what a trial is compared in at each checkpoint; of old runs payouts are known as drawn alone."""
    if not names:
        return np.empty((len(drawn), 0))
    bmc = [f"bmc_{name}" for name in names]
    if scoring.objective.compared is Objective.PAYOUT and not set(bmc) <= set(curve.column_names):
        unknown = np.full((len(drawn), len(names)), np.nan)
        unknown[:, -1] = drawn
        return unknown
    corr = _matrix(curve, names)
    contribution = _matrix(curve, bmc) if scoring.objective.compared is Objective.PAYOUT else corr
    return scoring.era_scores(corr, contribution, scoring.objective.compared)


def _matrix(table: pa.Table, names: Sequence[str]) -> NDArray[np.float64]:
    return np.stack([table.column(name).to_numpy().astype(np.float64) for name in names], axis=1)


def _numbers(labels: pa.ChunkedArray) -> NDArray[np.int64]:
    encoded = labels.combine_chunks().dictionary_encode()
    numbers: NDArray[np.int64] = recorded_era_numbers(encoded.dictionary.to_pylist()).astype(np.int64)
    rows: NDArray[np.int64] = numbers[encoded.indices.to_numpy()]
    return rows
