"""A study's holdout, opened once: a model trained on all eras before it, judged on eras that mining never touched."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray
from rich.console import Console

from signal_miner.data.folds import overlap_eras
from signal_miner.engine.validation_rows import FoldRows, fold_rows, fold_scorers
from signal_miner.errors import Stopped, UserError
from signal_miner.experiment.plan import BENCHMARK, Plan, tracked_configuration
from signal_miner.experiment.study_files import sole_process
from signal_miner.holdout.model import EvaluatedModel, blended, holdout_plan
from signal_miner.holdout.record import TWICE, HoldoutScores, Opening, span
from signal_miner.holdout.runs import HOLDOUT_PREDICTIONS, HOLDOUT_SCORES, HoldoutRuns
from signal_miner.models.retraining import Configuration, Retraining
from signal_miner.tracking.records import trial_name
from signal_miner.tracking.studies import TrackedStudy
from signal_miner.tracking.tags import BENCHMARK_KIND
from signal_miner.utils.console import TreesProgress
from signal_miner.utils.files import temporary_directory
from signal_miner.utils.interruption import StopRequest


@dataclass(frozen=True, eq=False)
class HoldoutResult:
    """What a model came to on the holdout.

    Attributes
    ----------
    opening : Opening
        With its result.
    scores : HoldoutScores
    """

    opening: Opening
    scores: HoldoutScores


class Holdout:
    """A study's holdout, for one model.

    Parameters
    ----------
    study : TrackedStudy
    model : EvaluatedModel
    runs : HoldoutRuns
        The store that the study is in.

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
                f"{opening.run_id}): {opening.outcome}; {TWICE}: judge {self._model.name} on eras that come after it"
            )
        if opening.digest != self._model.digest:
            raise UserError(
                f"{opening.model} (run {opening.run_id}) was changed since the holdout of study {self._study.name} was "
                f"opened for it on {opening.when}, and is another model now; {TWICE}"
            )
        return opening

    def stored(self) -> HoldoutResult | None:
        """Return what the model came to when the holdout was opened for it; None where that was not finished.

        Raises
        ------
        UserError
            As `opening`, or if the scores cannot be read.
        """
        opening = self.opening()
        if opening is None or not opening.result:
            return None
        return HoldoutResult(opening, self._runs.scores(self._study.run_id, opening))

    def describe(self, plan: Plan) -> tuple[str, ...]:
        """Return what would be done, in lines for a person to read before it is."""
        opening, fold_plan = self.opening(), holdout_plan(plan)
        state = f"was opened on {opening.when} for this model and not finished" if opening else "was not opened yet"
        count = f"{len(self._labels)} era{'s' * (len(self._labels) > 1)}"
        targets = {str(each.params["target"]) for each in self._configurations(plan)}
        trained = {
            f"{plan.span(fold.train_eras)} (purge {purge} era{'s' * (purge != 1)})"
            for target, (fold,) in fold_plan.folds.items()
            for purge in (plan.purge_eras[target],)
            if target in targets
        }
        step = plan.experiment.folds.train_era_step
        thinning = f", 1 era in {step}," if step > 1 else ""
        eras, target = " and ".join(sorted(trained)), plan.experiment.scoring_target
        members = self._model.ensemble.members
        given = "it" if self._model.single else f"its {len(members)} member{'s' * (len(members) > 1)}"
        made_of = ", ".join(f"{trial_name(member.number)} of {member.trees} trees" for member in members)
        if self._model.single:
            made_of = f"{members[0].trees} of its {members[0].params.get('n_estimators', '?')} trees, by validation"
        return (
            f"Study {self._study.name}: its holdout, {count} {span(self._labels)}, {state}",
            f"Model: {self._model.name} (run {self._model.run_id}): {made_of}",
            f"On opening, {given} and the benchmark are trained on eras {eras}{thinning} and scored on {target}",
            f"This can be done once for the study, for one model: {TWICE}",
            *self._earlier(),
        )

    def _earlier(self) -> list[str]:
        return [
            f"Eras of it were looked at before: study {name} opened its holdout {other.eras} on {other.when}"
            for name, other in self._runs.earlier(self._study.run_id, self._claim)
        ]

    def open(self, plan: Plan, stop: StopRequest, console: Console) -> HoldoutResult:
        """Open the holdout for the model and judge it; one that was stopped goes on with the models already trained.

        The fact is written before anything is predicted.

        Parameters
        ----------
        plan : Plan
            The study's, over its data.
        stop : StopRequest
        console : rich.console.Console

        Returns
        -------
        HoldoutResult

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
            files = {each.name: _file_name(each) for each in configurations}
            predictions = self._kept(fold_plan, files)
            missing = [each for each in configurations if each.name not in predictions]
            if predictions:
                console.print(f"{len(predictions)} of {len(configurations)} models were trained before")
            opening = self.opening() or self._claim
            if stop.is_set():
                raise Stopped
            with TreesProgress(console, "Training on the eras before", sum(each.trees for each in missing)) as progress:
                retraining = Retraining(fold_plan, missing, stop, progress.advance) if missing else None
                self._runs.open(self._study.run_id, opening)  # the last moment at which nothing is known
                if retraining is not None:

                    def keep(each: Configuration, predicted: NDArray[np.float32]) -> None:
                        self._keep(rows, files[each.name], predicted)
                        predictions[each.name] = predicted

                    retraining.predict(keep)
            return self._evaluate(fold_plan, rows, opening, predictions, earlier, stop)

    def _configurations(self, plan: Plan) -> list[Configuration]:
        """Return what is to be trained, the benchmark last; raise where it is not what the study tracked."""
        tracked = {trial.run_id: trial for trial in self._study.trials}
        found = []
        for member in self._model.ensemble.members:
            trial = tracked.get(member.run_id)
            if trial is not None and (trial.params, trial.metrics.get("best/trees")) != (member.params, member.trees):
                raise UserError(
                    f"{trial.name} in {self._model.name} is not as the study tracked it; the run was changed: make the "
                    "ensemble again"
                )
            params = tracked_configuration(plan, member.params)
            found.append(Configuration(trial_name(member.number), params, int(member.params["seed"]), member.trees))
        neutralization = self._model.ensemble.neutralization
        column = neutralization.numerai_column if neutralization else None
        if column is not None and column not in plan.dataset.benchmark_columns:
            raise UserError(f"{self._model.name} is neutralised to {column!r}, which is not in {plan.dataset.name}")
        trees = int(plan.benchmark["n_estimators"])
        return [*found, Configuration(BENCHMARK_KIND, plan.benchmark, plan.experiment.seed, trees)]

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
        earlier: list[str],
        stop: StopRequest,
    ) -> HoldoutResult:
        benchmark = predictions[BENCHMARK_KIND]
        blend = blended(self._model.ensemble, fold_plan, predictions)
        (scorer,) = fold_scorers(fold_plan).values()
        own = scorer.with_benchmark(BENCHMARK, benchmark).score(blend)
        scores = HoldoutScores(
            self._labels,
            own.corr[:, 0],
            own.bmc[BENCHMARK][:, 0],
            own.benchmark_corr[BENCHMARK][:, 0],
            scorer.corr(benchmark)[:, 0],
        )
        result = "; ".join([scores.result(_overlap_eras(fold_plan)), *map(_uncapitalised, earlier)])
        if stop.is_set():
            raise Stopped
        stop.ignore_signals()  # the last words to the store
        with temporary_directory() as directory:
            scores.to_frame().to_parquet(directory / HOLDOUT_SCORES, index=False)
            columns = {"era": rows.eras, "prediction": pa.array(blend), "benchmark": pa.array(benchmark)}
            table = pa.table(columns).to_pandas().set_index(rows.ids.to_pandas().rename("id"))
            table.to_parquet(directory / HOLDOUT_PREDICTIONS)
            ensemble = None if self._model.single else self._model.run_id
            self._runs.finish(self._study.run_id, ensemble, scores.metrics, directory, result)
        return HoldoutResult(replace(opening, result=result), scores)


def _overlap_eras(plan: Plan) -> int:
    experiment = plan.experiment
    horizon = plan.dataset.horizon_days(experiment.scoring_target, experiment.horizon_days)
    return overlap_eras(horizon, plan.holdout_eras, experiment.folds.embargo_eras)


def _file_name(each: Configuration) -> str:
    return f"{each.name.replace(' ', '-')}-{each.trees}-trees-lightgbm-{version('lightgbm')}.parquet"


def _write(path: Path, columns: Mapping[str, pa.Array]) -> None:
    pq.write_table(pa.table(dict(columns)), path, compression="zstd")


def _uncapitalised(sentence: str) -> str:
    return sentence[:1].lower() + sentence[1:]
