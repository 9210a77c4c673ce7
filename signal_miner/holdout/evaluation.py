"""A study's holdout, opened once: a model trained on all eras before it, scored on eras that mining never touched."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray
from rich.console import Console

from signal_miner.data.folds import overlap_eras
from signal_miner.engine.benchmark_run import numerai_predictions, score_benchmark
from signal_miner.engine.fold_sources import compilation_reported
from signal_miner.engine.further_scores import meta_model_scores, meta_model_text
from signal_miner.engine.validation_rows import FoldRows, fold_rows, fold_scorers
from signal_miner.errors import Stopped, UserError
from signal_miner.experiment.engines import COMPILING
from signal_miner.experiment.parameters import DatasetKey
from signal_miner.experiment.plan import Plan
from signal_miner.experiment.schema import BENCHMARK
from signal_miner.experiment.study_files import sole_process
from signal_miner.holdout.model import EvaluatedModel, blended, holdout_plan
from signal_miner.holdout.record import TWICE, HoldoutScores, Opening, earlier_opening_text
from signal_miner.holdout.runs import HOLDOUT_PREDICTIONS, HOLDOUT_SCORES, HoldoutRuns
from signal_miner.models.retraining import Configuration, Retraining, configurations_of
from signal_miner.tracking.studies import TrackedStudy
from signal_miner.tracking.tags import BENCHMARK_KIND
from signal_miner.utils.console import TreesProgress
from signal_miner.utils.files import temporary_directory
from signal_miner.utils.interruption import StopRequest


@dataclass(frozen=True, eq=False)
class HoldoutResult:
    """An opened holdout with its result, and the scores of the model there."""

    opening: Opening
    scores: HoldoutScores


@dataclass(frozen=True, eq=False)
class HoldoutPreview:
    """What opening a holdout would do.

    Attributes
    ----------
    opening : Opening or None
        For this model, where it was not finished.
    training : tuple of (str, int)
        Training eras as ``0001–0980``, and the purge after them in eras; several where members differ in them.
    train_era_step : int
        One training era in so many is used.
    earlier : tuple of str
        Clauses on other studies that opened a holdout with eras of this one.
    """

    study: str
    era_labels: tuple[str, ...]
    opening: Opening | None
    model: EvaluatedModel
    training: tuple[tuple[str, int], ...]
    train_era_step: int
    scoring_target: str
    earlier: tuple[str, ...]


class Holdout:
    """A study's holdout, for one model.

    Raises
    ------
    UserError
        If the study has no holdout.
    """

    def __init__(self, study: TrackedStudy, model: EvaluatedModel, runs: HoldoutRuns) -> None:
        eras = study.plan.get("holdout_eras")
        if not eras:
            raise UserError(
                f"study {study.name} has no holdout, as folds.holdout_eras is 0; give the experiment file one, such as "
                "holdout_eras = 104 under [folds], and mine the study that it then is"
            )
        self._study = study
        self._model = model
        self._runs = runs
        labels = study.plan.get("era_labels", {})
        self._labels = tuple(str(labels.get(str(era), era)) for era in eras)
        self._claim = Opening.now(model.name, model.run_id, model.digest, self._labels)

    def opening(self) -> Opening | None:
        """Return the opening for this model; None where the holdout is closed.

        Raises
        ------
        UserError
            If it was opened for another model, or the model was changed since.
        """
        opening = self._runs.opening(self._study.run_id)
        if opening is None:
            return None
        if opening.run_id != self._model.run_id:
            raise UserError(
                f"the holdout of study {self._study.name} was opened on {opening.when} for {opening.model} (run "
                f"{opening.run_id}): {opening.outcome}; {TWICE}: evaluate {self._model.name} on eras that come after it"
            )
        if opening.digest != self._model.digest:
            raise UserError(
                f"{opening.model} (run {opening.run_id}) was changed since the holdout of study {self._study.name} was "
                f"opened for it on {opening.when}, and is another model now; {TWICE}"
            )
        return opening

    def stored(self) -> HoldoutResult | None:
        """Return the result for the model; None where the holdout was not opened for it, or that was not finished.

        Raises
        ------
        UserError
            As `opening`, or if the scores cannot be read.
        """
        opening = self.opening()
        if opening is None or not opening.result:
            return None
        return HoldoutResult(opening, self._runs.scores(self._study.run_id, opening, self._study.scoring))

    def preview(self, plan: Plan) -> HoldoutPreview:
        """Return what `open` would do."""
        configurations, fold_plan = self._configurations(plan), holdout_plan(plan)
        keys = {DatasetKey.of(each.params) for each in configurations}
        training = {
            (plan.span(key.of_fold(fold).train_eras), plan.purge_eras[key.target])
            for key in keys
            for fold in fold_plan.folds[key.target]
        }
        return HoldoutPreview(
            study=self._study.name,
            era_labels=self._labels,
            opening=self.opening(),
            model=self._model,
            training=tuple(sorted(training)),
            train_era_step=plan.experiment.folds.train_era_step,
            scoring_target=plan.experiment.scoring_target,
            earlier=self._earlier(),
        )

    def _earlier(self) -> tuple[str, ...]:
        return tuple(
            earlier_opening_text(name, other) for name, other in self._runs.earlier(self._study.run_id, self._claim)
        )

    def open(self, plan: Plan, stop: StopRequest, console: Console) -> HoldoutResult:
        """Open the holdout for the model and evaluate it; models that a stopped call trained are not trained again.

        The fact is written before anything is predicted. `plan` is the study's, over its data.

        Raises
        ------
        UserError
            If another process opens it, it was opened for another model, or the model's run was changed.
        Stopped
            If a stop was asked for; models trained by then are kept.
        """
        taken = f"the holdout of study {self._study.name} is being opened by another process; wait for it, or stop it"
        with sole_process(plan.experiment.study_storage, f"{self._study.name}.holdout.lock", taken):
            stored = self.stored()
            if stored is not None:
                return stored
            configurations = self._configurations(plan)
            earlier = self._earlier()
            fold_plan = holdout_plan(plan)
            (rows,) = fold_rows(fold_plan).values()
            files = {each.name: each.file_name("parquet") for each in configurations}
            predictions = self._kept(fold_plan, files)
            missing = [each for each in configurations if each.name not in predictions]
            if predictions:
                console.print(f"{len(predictions)} of {len(configurations)} models were trained before")
            opening = self.opening() or self._claim
            if plan.benchmark_predictions:
                predictions[BENCHMARK_KIND] = numerai_predictions(fold_plan)[1]
            if stop.is_set():
                raise Stopped
            with TreesProgress(console, "Training on the eras before", sum(each.trees for each in missing)) as progress:
                retraining = Retraining(fold_plan, missing, stop, progress.advance) if missing else None
                self._runs.open(self._study.run_id, opening)  # the last moment at which nothing is known
                if retraining is not None:

                    def keep(each: Configuration, predicted: NDArray[np.float32]) -> None:
                        self._keep(rows, files[each.name], predicted)
                        predictions[each.name] = predicted

                    with compilation_reported([plan], lambda: console.print(COMPILING)):
                        retraining.predict(keep)
            return self._evaluate(fold_plan, rows, opening, predictions, earlier, stop)

    def _configurations(self, plan: Plan) -> list[Configuration]:
        """Return what is to be trained, the benchmark last if it is; raise where it is not what the study tracked."""
        tracked = {trial.run_id: trial for trial in self._study.trials}
        members = self._model.ensemble.members
        for member in members:
            trial = tracked.get(member.run_id)
            tracked_as = None if trial is None else (trial.params, trial.trees_at(member.checkpoint))
            if trial is not None and tracked_as != (member.params, member.trees):
                raise UserError(
                    f"{trial.name} in {self._model.name} is not as the study tracked it; the run was changed: make the "
                    "ensemble again"
                )
        neutralization = self._model.ensemble.neutralization
        column = neutralization.numerai_column if neutralization else None
        if column is not None and column not in plan.dataset.benchmark_columns:
            raise UserError(f"{self._model.name} is neutralised to {column!r}, which is not in {plan.dataset.name}")
        return configurations_of(plan, members, with_benchmark=plan.benchmark_predictions is None)

    def _kept(self, fold_plan: Plan, files: Mapping[str, str]) -> dict[str, NDArray[np.floating[Any]]]:
        span_of = fold_plan.dataset.span_of(fold_plan.holdout_eras)
        found = {name: self._runs.kept(self._study.run_id, file) for name, file in files.items()}
        rows = span_of.stop - span_of.start
        return {name: values for name, values in found.items() if values is not None and len(values) == rows}

    def _keep(self, rows: FoldRows, file: str, predicted: NDArray[np.float32]) -> None:
        with temporary_directory() as directory:
            _write(directory / file, {"id": rows.ids, "era": rows.eras, "prediction": pa.array(predicted)})
            self._runs.keep(self._study.run_id, directory / file)

    def _evaluate(
        self,
        fold_plan: Plan,
        rows: FoldRows,
        opening: Opening,
        predictions: Mapping[str, NDArray[np.floating[Any]]],
        earlier: Sequence[str],
        stop: StopRequest,
    ) -> HoldoutResult:
        benchmark = predictions[BENCHMARK_KIND]
        blend = blended(self._model.ensemble, fold_plan, predictions)
        scored = score_benchmark(fold_plan, fold_scorers(fold_plan), {1: benchmark})
        own = scored.scorers[1].score(blend)
        scores = HoldoutScores(
            self._labels,
            own.corr[:, 0],
            own.bmc[BENCHMARK][:, 0],
            own.benchmark_corr[BENCHMARK][:, 0],
            scored.corr[1],
            scored.scores[1].bmc[BENCHMARK][:, 0],
            fold_plan.scoring,
        )
        (meta,) = meta_model_scores(fold_plan, {1: blend[:, np.newaxis]})
        of_meta_model = [meta_model_text(meta)] if meta else []
        result = "; ".join([scores.result(_overlap_eras(fold_plan)), *of_meta_model, *earlier])
        if stop.is_set():
            raise Stopped
        stop.defer_signals()  # the last words to the store
        with temporary_directory() as directory:
            scores.to_frame().to_parquet(directory / HOLDOUT_SCORES, index=False)
            columns = {"era": rows.eras, "prediction": pa.array(blend), "benchmark": pa.array(benchmark)}
            table = pa.table(columns).to_pandas().set_index(rows.ids.to_pandas().rename("id"))
            table.to_parquet(directory / HOLDOUT_PREDICTIONS)
            ensemble = None if self._model.single else self._model.run_id
            metrics = scores.metrics | {f"holdout/{name}": value for name, value in meta.items()}
            self._runs.finish(self._study.run_id, ensemble, metrics, directory, result)
        return HoldoutResult(replace(opening, result=result), scores)


def _overlap_eras(plan: Plan) -> int:
    experiment = plan.experiment
    horizon = plan.dataset.horizon_days(experiment.scoring_target, experiment.horizon_days)
    return overlap_eras(horizon, plan.holdout_eras, experiment.folds.embargo_eras)


def _write(path: Path, columns: Mapping[str, pa.Array]) -> None:
    pq.write_table(pa.table(dict(columns)), path, compression="zstd")
