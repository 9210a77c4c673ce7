"""From a tracked ensemble to a registered model: members reproduced, refitted, packed, tried and registered."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from rich.console import Console
from rich.filesize import decimal

from signal_miner.artifacts import ERA_SCORES
from signal_miner.champion import compare
from signal_miner.ensemble_runs import ENSEMBLE, EnsembleRuns, TrackedEnsemble, members_note
from signal_miner.errors import Stopped, UserError
from signal_miner.files import temporary_directory
from signal_miner.folds import thinned
from signal_miner.interruption import StopRequest
from signal_miner.live_rows import last_eras, live_like
from signal_miner.members import OWN_BENCHMARK, Ensemble
from signal_miner.plan import Plan
from signal_miner.portable import PortableModel, load_predict, write_predict
from signal_miner.portable.hosted import check_as_hosted
from signal_miner.progress import TreesProgress
from signal_miner.records import trial_name
from signal_miner.registration_options import ALWAYS, IF_BETTER, SCALED, Registration, RegistrationOptions
from signal_miner.registry import CHAMPION, ModelVersion, Registry, check_name
from signal_miner.registry.package import ModelRecord
from signal_miner.reopening import configuration, reopen_plan
from signal_miner.retraining import TOLERANCE, Configuration, Replica, Retraining
from signal_miner.run_store import EXPERIMENT_FILE, PLAN
from signal_miner.run_tags import BENCHMARK_KIND
from signal_miner.studies import Studies, TrackedStudy

_PREDICT = "predict.pkl"
SCORING_TARGET, DIGEST = "signal_miner.scoring_target", "signal_miner.data_digest"
"""Tags of a version: what its ensemble was judged on, and the digest of the data it was mined on."""

_NEARLY_THE_SAME = 0.999
_COMPARED_ERAS = 4
_EXAMPLE_ROWS = 5


def register(options: RegistrationOptions, console: Console) -> Registration:
    """Reproduce, refit and register an ensemble. A stopped registration goes on with the members already refitted.

    Parameters
    ----------
    options : RegistrationOptions
    console : rich.console.Console

    Returns
    -------
    Registration

    Raises
    ------
    UserError
        If a member is not reproduced, the data are gone, ``predict.pkl`` would not run hosted, or a store fails.
    Stopped
        If the user asked for a stop.
    """
    registry = Registry(options.tracking_uri)
    check_name(options.model)
    with StopRequest(lambda: console.print("Stopping; members refitted so far are kept …")) as stop:
        runs = EnsembleRuns(options.tracking_uri)
        tracked = runs.find(options.ensemble)
        study = Studies(options.tracking_uri).find(tracked.ensemble.study)
        plan = reopen_plan(study.plan, options.data)
        count = len(tracked.ensemble.members)
        console.print(f"{tracked.name} of study {study.name}: {count} members; data {plan.experiment.data}")
        if options.jobs is not None:
            plan = replace(plan, experiment=replace(plan.experiment, jobs=options.jobs))
        registrar = _Registrar(tracked, study, plan, runs, stop, console)
        replicas = registrar.replicate()
        models = registrar.refit(options.trees)
        with temporary_directory() as directory:
            return registrar.publish(options, registry, replicas, models, directory)


class _Registrar:
    """One ensemble on its way to the registry."""

    def __init__(
        self,
        tracked: TrackedEnsemble,
        study: TrackedStudy,
        plan: Plan,
        runs: EnsembleRuns,
        stop: StopRequest,
        console: Console,
    ) -> None:
        self._tracked = tracked
        self._study = study
        self._plan = plan
        self._runs = runs
        self._stop = stop
        self._console = console
        self._run_ids = {trial_name(member.number): member.run_id for member in self._ensemble.members}
        self._configurations = [
            Configuration(
                trial_name(member.number),
                configuration(plan, member.params),
                int(member.params["seed"]),
                member.trees,
            )
            for member in self._ensemble.members
        ]
        if self._to_benchmark:
            self._run_ids[BENCHMARK_KIND] = study.benchmark.run_id
            trees = int(plan.benchmark["n_estimators"])
            self._configurations.append(Configuration(BENCHMARK_KIND, plan.benchmark, plan.experiment.seed, trees))

    @property
    def _ensemble(self) -> Ensemble:
        return self._tracked.ensemble

    @property
    def _to_benchmark(self) -> bool:
        neutralization = self._ensemble.neutralization
        return neutralization is not None and neutralization.to == OWN_BENCHMARK

    def replicate(self) -> Mapping[str, Replica]:
        """Reproduce every member on the last fold, and the ensemble's ranks there from the file's own code."""
        last = self._plan.scored_folds[-1].number

        def tracked(each: Configuration) -> NDArray[np.floating[Any]]:
            column = "prediction" if each.name == BENCHMARK_KIND else "best_prediction"
            return self._predictions(self._run_ids[each.name], each.name, column)[last]

        total = sum(each.trees for each in self._configurations)
        with TreesProgress(self._console, "Reproducing members on the last fold", total) as progress:
            replicas = Retraining(self._plan, self._configurations, self._stop, progress.advance).replicate(tracked)
        largest = max(replica.difference for replica in replicas.values())
        self._console.print(f"{len(replicas)} reproduced; the largest difference to what is tracked is {largest:.1g}")
        self._compare_ranks({name: replica.model for name, replica in replicas.items()}, last, largest == 0)
        return replicas

    def _compare_ranks(self, models: Mapping[str, str], last: int, exact: bool) -> None:
        """Hold the file's ranks to the tracked ones; where members differ in the last bits, ties may fall otherwise."""
        rows = last_eras(self._plan, self._column, _COMPARED_ERAS)
        fold = self._plan.scored_folds[-1]
        positions = self._plan.dataset.span_of(fold.validation_eras[-_COMPARED_ERAS:])
        whole = self._plan.dataset.span_of(fold.validation_eras)
        tracked = self._predictions(self._tracked.run_id, self._tracked.name, "prediction")[last]
        expected = tracked[positions.start - whole.start : positions.stop - whole.start]
        with temporary_directory() as directory:
            path = directory / _PREDICT
            write_predict(self._portable(models), path)
            given = load_predict(path)(rows, rows)["prediction"].to_numpy()
        difference = float(np.abs(given - expected).max())
        same = difference <= TOLERANCE if exact else np.corrcoef(given, expected)[0, 1] > _NEARLY_THE_SAME
        if not same:
            raise UserError(
                f"{_PREDICT} gives other ranks than the tracked ensemble on the last fold (by {difference:.2g}); "
                "the ensemble's run was changed: make it again"
            )

    def refit(self, trees: str) -> Mapping[str, str]:
        """Train every member on all resolved eras; those that an earlier call finished are taken as they are."""
        factor = self._factor() if trees == SCALED else 1.0
        wanted = {
            each.name: Configuration(each.name, each.params, each.seed, max(1, round(each.trees * factor)))
            for each in self._configurations
        }
        models = self._refitted(wanted)
        missing = [each for name, each in wanted.items() if name not in models]
        if models:
            self._console.print(f"{len(models)} of {len(wanted)} members were refitted before")
        if not missing:
            return models
        label = f"Refitting on all {len(np.unique(self._plan.dataset.eras))} resolved eras"
        with TreesProgress(self._console, label, sum(each.trees for each in missing)) as progress:

            def keep(each: Configuration, model: str) -> None:
                with temporary_directory() as directory:
                    file = directory / _file_name(each)
                    file.write_text(model, encoding="utf-8")
                    self._runs.log_refit(self._tracked.run_id, file)
                models[each.name] = model

            Retraining(self._plan, missing, self._stop, progress.advance).refit(keep)
        return models

    def _factor(self) -> float:
        """Return how many times the eras of the validation folds' training the refit has."""
        folds = self._plan.scored_folds[:-1]
        trained = np.mean([len(fold.train_eras) for fold in folds])
        eras = tuple(np.unique(self._plan.dataset.eras).tolist())
        return float(len(thinned(eras, self._plan.experiment.folds.train_era_step)) / trained)

    def _refitted(self, wanted: Mapping[str, Configuration]) -> dict[str, str]:
        found = {}
        for name, each in wanted.items():
            text = self._runs.refit(self._tracked.run_id, _file_name(each))
            if text is not None:
                found[name] = text
        return found

    def publish(
        self,
        options: RegistrationOptions,
        registry: Registry,
        replicas: Mapping[str, Replica],
        models: Mapping[str, str],
        directory: Path,
    ) -> Registration:
        """Write ``predict.pkl``, try it as hosted, register it, and make it champion where it is due."""
        path = directory / _PREDICT
        write_predict(self._portable(models), path)
        rows = live_like(self._plan, self._column)
        check = check_as_hosted(path, rows, rows[[self._column]] if self._column else None)
        self._console.print(
            f"{_PREDICT}, {decimal(path.stat().st_size)}, runs as hosted: {check.seconds:.1f} s and "
            f"{decimal(check.peak_memory_bytes)} of memory for {len(rows):,} rows"
        )
        metrics = {
            "predict/seconds": check.seconds,
            "predict/peak_memory_mb": check.peak_memory_bytes / 1e6,
            "replication/largest_difference": max(replica.difference for replica in replicas.values()),
        }
        trees = {f"trees {name}": str(_trees_of(model)) for name, model in models.items()}
        (directory / ENSEMBLE).write_text(self._ensemble.to_json(), encoding="utf-8")
        files = {ENSEMBLE: directory / ENSEMBLE}
        for name in (PLAN, EXPERIMENT_FILE):
            files[name] = self._runs.download(self._study.run_id, name, directory)
        if self._stop.is_set():
            raise Stopped
        self._stop.ignore_signals()  # from here on it is a matter of seconds, and no half of it is of use
        made = registry.register(
            ModelRecord(
                name=options.model,
                run_id=self._tracked.run_id,
                experiment_id=self._tracked.experiment_id,
                data=self._plan.experiment.data,
                features=self._plan.dataset.features,
                nullable_features=self._nullable,
                benchmark_columns=(self._column,) if self._column else (),
                predict_file=path,
                example=rows.head(_EXAMPLE_ROWS),
                files=files,
                params={**self._tracked.params, "refit_trees": options.trees},
                metrics={**self._tracked.metrics, **metrics},
                tags={
                    "study": self._study.name,
                    DIGEST: self._plan.dataset.digest,
                    SCORING_TARGET: self._plan.experiment.scoring_target,
                    "validation_sharpe": f"{self._tracked.metrics.get('validation/sharpe', float('nan')):.4f}",
                    "test_sharpe": f"{self._tracked.metrics.get('test/sharpe', float('nan')):.4f}",
                    **trees,
                },
                description=self._description(options, models),
            )
        )
        self._runs.log_values(self._tracked.run_id, metrics, {"signal_miner.model": f"{made.name}/{made.version}"})
        becomes, reason = self._judge(options, registry.find(options.model, CHAMPION))
        if becomes:
            registry.promote(made.name, made.version, CHAMPION)
        return Registration(made, becomes, reason, self._plan.experiment.data, registry.tracking_uri)

    def _judge(self, options: RegistrationOptions, champion: ModelVersion | None) -> tuple[bool, str]:
        if options.promote != IF_BETTER:
            return options.promote == ALWAYS, f"promote = {options.promote}"
        if champion is None:
            return True, "there was none"
        if options.trees == SCALED:
            return False, "nobody has judged its scaled numbers of trees"
        if champion.run_id == self._tracked.run_id:
            return True, "it is the same ensemble, refitted"
        own = {SCORING_TARGET: self._plan.experiment.scoring_target, DIGEST: self._plan.dataset.digest}
        if any(champion.tags.get(tag) != value for tag, value in own.items()):
            return False, f"version {champion.version} was mined on other data or judged on another target"
        try:
            theirs = self._era_scores(champion.run_id)
        except (UserError, OSError, ValueError) as error:
            return False, f"the scores of version {champion.version} cannot be read ({error})"
        comparison = compare(self._era_scores(self._tracked.run_id), theirs)
        return comparison.beats, comparison.sentence

    def _era_scores(self, run_id: str) -> pd.DataFrame:
        with temporary_directory() as directory:
            return pd.read_parquet(self._runs.download(run_id, ERA_SCORES, directory))

    def _portable(self, models: Mapping[str, str]) -> PortableModel:
        members = self._ensemble.members
        return PortableModel(
            features=self._plan.dataset.features,
            boosters=tuple(models[trial_name(member.number)] for member in members),
            weights=tuple(member.weight for member in members),
            neutralization=self._ensemble.neutralization,
            benchmark_booster=models[BENCHMARK_KIND] if self._to_benchmark else None,
            nullable_features=self._nullable,
        )

    @property
    def _nullable(self) -> tuple[str, ...]:
        return self._plan.dataset.nullable_features

    @property
    def _column(self) -> str | None:
        neutralization = self._ensemble.neutralization
        return neutralization.numerai_column if neutralization else None

    def _predictions(self, run_id: str, name: str, column: str) -> Mapping[int, NDArray[np.floating[Any]]]:
        spans = {fold.number: self._plan.dataset.span_of(fold.validation_eras) for fold in self._plan.scored_folds}
        rows = {number: span.stop - span.start for number, span in spans.items()}
        return self._runs.predictions(run_id, name, column, rows)

    def _description(self, options: RegistrationOptions, models: Mapping[str, str]) -> str:
        dataset = self._plan.dataset
        trees = [_trees_of(models[trial_name(member.number)]) for member in self._ensemble.members]
        note = members_note(self._ensemble, self._tracked.experiment_id, trees, {})
        return (
            f"{self._tracked.name} of study `{self._study.name}`, refitted on all {len(np.unique(dataset.eras))} "
            f"resolved eras of {dataset.name} (digest {dataset.digest}, {len(dataset.features)} features), trees "
            f"{options.trees}. Validation Sharpe {self._tracked.metrics.get('validation/sharpe', float('nan')):.3f}, "
            f"test {self._tracked.metrics.get('test/sharpe', float('nan')):.3f}.\n\n{note}"
        )


def _file_name(each: Configuration) -> str:
    lightgbm = version("lightgbm")
    return f"{each.name.replace(' ', '-')}-{each.trees}-trees-lightgbm-{lightgbm}.txt"


def _trees_of(model: str) -> int:
    return model.count("\nTree=")
