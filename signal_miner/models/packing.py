"""From a tracked ensemble to ``predict.pkl``: members reproduced, refitted, packed, and tried as Numerai hosts them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from rich.console import Console
from rich.filesize import decimal

from signal_miner.engine.fold_sources import compilation_reported
from signal_miner.ensemble.members import FEATURES, OWN_BENCHMARK, Ensemble
from signal_miner.ensemble.runs import EnsembleRuns, TrackedEnsemble
from signal_miner.ensemble.sources import open_sources
from signal_miner.errors import UserError
from signal_miner.experiment.engines import COMPILING
from signal_miner.experiment.parameters import DatasetKey
from signal_miner.experiment.plan import Plan, renewed_plan
from signal_miner.models.options import SCALED, PackingOptions
from signal_miner.models.portable import PortableModel, load_predict, write_predict
from signal_miner.models.portable.booster_text import on_features
from signal_miner.models.portable.hosted import HostedCheck, check_as_hosted
from signal_miner.models.retraining import TOLERANCE, Configuration, Replica, Retraining, configurations_of, refit_fold
from signal_miner.tracking.records import Checkpoint
from signal_miner.tracking.studies import Studies, TrackedStudy
from signal_miner.tracking.tags import BENCHMARK_KIND
from signal_miner.utils.console import TreesProgress
from signal_miner.utils.files import temporary_directory
from signal_miner.utils.interruption import StopRequest

PREDICT = "predict.pkl"

_NEARLY_THE_SAME = 0.999
_COMPARED_ERAS = 4


@dataclass(frozen=True, eq=False)
class PackedEnsemble:
    """An ensemble in a file that runs as Numerai hosts it, and what it was made from.

    Attributes
    ----------
    path : Path
        Of ``predict.pkl``.
    plan : Plan
        The study's, over its data; of several, the first one's.
    experiment_ids : mapping of str to str
        MLflow's, by study of the members.
    features, nullable_features : tuple of str
        Of the file.
    replicas : mapping of str to Replica
        Members, and the benchmark if the blend is neutralised to it, trained on the last fold once more.
    models : mapping of str to str
        LightGBM's model texts of the same, refitted on all resolved eras: those in the file.
    rows : pandas.DataFrame
        Live-like rows on which the file was tried.
    """

    path: Path
    tracked: TrackedEnsemble
    study: TrackedStudy
    plan: Plan
    experiment_ids: Mapping[str, str]
    features: tuple[str, ...]
    nullable_features: tuple[str, ...]
    replicas: Mapping[str, Replica]
    models: Mapping[str, str]
    rows: pd.DataFrame
    check: HostedCheck

    @property
    def largest_difference(self) -> float:
        """Largest absolute difference between a replica's predictions and the tracked ones; 0 without replicas."""
        return _largest_difference(self.replicas)


def pack(
    options: PackingOptions, runs: EnsembleRuns, path: Path, stop: StopRequest, console: Console
) -> PackedEnsemble:
    """Reproduce an ensemble's members, refit them, write ``predict.pkl`` and try it as Numerai hosts it.

    Refitted members are kept in the store of `runs`, and not refitted by a later call.

    Raises
    ------
    UserError
        If a member is not reproduced, the data are missing, ``predict.pkl`` would not run hosted, or the store fails.
    Stopped
        If a stop was asked for while members were trained.
    """
    tracked = runs.find(options.ensemble)
    sources = open_sources(_studies_of(tracked, options.tracking_uri), options.data)
    return _packed(
        tracked, {source.study: source.plan for source in sources}, options, runs, path, stop, console, replicate=True
    )


def pack_on_newest(
    options: PackingOptions, runs: EnsembleRuns, path: Path, stop: StopRequest, console: Console
) -> PackedEnsemble:
    """Refit an ensemble's members on all eras that are resolved now, and write and try ``predict.pkl``.

    Members were reproduced when the ensemble was first registered; on data that have changed they cannot be. Raises as
    `pack` does.
    """
    tracked = runs.find(options.ensemble)
    studies = _studies_of(tracked, options.tracking_uri)
    plans = {study: renewed_plan(study.plan, options.data) for study in studies}
    return _packed(tracked, plans, options, runs, path, stop, console, replicate=False)


def _studies_of(tracked: TrackedEnsemble, tracking_uri: str | None) -> list[TrackedStudy]:
    """Return the studies of an ensemble's members, its own first."""
    members = tracked.ensemble.members
    names = dict.fromkeys([tracked.ensemble.study, *(member.study for member in members if member.study)])
    studies = Studies(tracking_uri)
    return [studies.find(name) for name in names]


def _packed(
    tracked: TrackedEnsemble,
    found: Mapping[TrackedStudy, Plan],
    options: PackingOptions,
    runs: EnsembleRuns,
    path: Path,
    stop: StopRequest,
    console: Console,
    *,
    replicate: bool,
) -> PackedEnsemble:
    study, plan = next(iter(found.items()))
    listed = " and ".join(each.name for each in found)
    console.print(
        f"{tracked.name} of study {listed}: {len(tracked.ensemble.members)} members; data {plan.experiment.data}"
    )
    plans = {each.name: plan for each, plan in found.items()}
    if options.jobs is not None:
        plans = {
            name: replace(each, experiment=replace(each.experiment, jobs=options.jobs)) for name, each in plans.items()
        }
    kept = "txt" if replicate else f"{plan.dataset.digest}.txt"
    packer = _Packer(tracked, study, plans, runs, stop, console, kept)
    with compilation_reported(plans.values(), lambda: console.print(COMPILING)):
        replicas = packer.replicate() if replicate else {}
    models = packer.refit(options.trees)
    rows, check = packer.write(models, path)
    return PackedEnsemble(
        path=path,
        tracked=tracked,
        study=study,
        plan=plans[study.name],
        experiment_ids={each.name: each.experiment_id for each in found},
        features=packer.features,
        nullable_features=packer.nullable_features,
        replicas=replicas,
        models=models,
        rows=rows,
        check=check,
    )


class _Packer:
    """One ensemble on its way into a file.

    Parameters
    ----------
    study : TrackedStudy
        The ensemble's.
    plans : mapping of str to Plan
        By study of the members, the ensemble's first.
    kept : str
        Ends the names of the files in which refitted members are kept: other data have others.
    """

    def __init__(
        self,
        tracked: TrackedEnsemble,
        study: TrackedStudy,
        plans: Mapping[str, Plan],
        runs: EnsembleRuns,
        stop: StopRequest,
        console: Console,
        kept: str,
    ) -> None:
        self._tracked = tracked
        self._kept = kept
        self._plan = plans[study.name]
        self._plans = tuple(plans.values())
        self._runs = runs
        self._stop = stop
        self._console = console
        self._members = {member.name: member for member in self._ensemble.members}
        self._benchmark_run_id = study.benchmark.run_id
        self._plan_of: dict[str, Plan] = {}
        self._configurations: list[Configuration] = []
        for name, plan in plans.items():
            members = [member for member in self._ensemble.members if (member.study or study.name) == name]
            to_benchmark = self._to_benchmark and plan is self._plan
            found = configurations_of(plan, members, with_benchmark=to_benchmark)
            self._plan_of |= {each.name: plan for each in found}
            self._configurations += found

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
            member, plan = self._members.get(each.name), self._plan_of[each.name]
            run_id = self._benchmark_run_id if member is None else member.run_id
            column = (Checkpoint.DRAWN if member is None else member.checkpoint).column
            return self._predictions(plan, run_id, each.name, column)[last]

        total = sum(each.trees for each in self._configurations)
        with TreesProgress(self._console, "Reproducing members on the last fold", total) as progress:
            replicas: dict[str, Replica] = {}
            for plan, configurations in self._by_plan(self._configurations):
                replicas |= Retraining(plan, configurations, self._stop, progress.advance).replicate(tracked)
        largest = _largest_difference(replicas)
        self._console.print(f"{len(replicas)} reproduced; the largest difference to what is tracked is {largest:.1g}")
        self._compare_ranks({name: replica.model for name, replica in replicas.items()}, last, largest == 0)
        return replicas

    def _compare_ranks(self, models: Mapping[str, str], last: int, exact: bool) -> None:
        """Hold the file's ranks to the tracked ones; where members differ in the last bits, ties may fall otherwise."""
        fold = self._plan.scored_folds[-1]
        compared = fold.validation_eras[-_COMPARED_ERAS:]
        rows = self._rows_as_live(compared)
        positions = self._plan.dataset.span_of(compared)
        whole = self._plan.dataset.span_of(fold.validation_eras)
        tracked = self._predictions(self._plan, self._tracked.run_id, self._tracked.name, "prediction")[last]
        expected = tracked[positions.start - whole.start : positions.stop - whole.start]
        with temporary_directory() as directory:
            path = directory / PREDICT
            write_predict(self._portable(models), path)
            given = load_predict(path)(rows, rows)["prediction"].to_numpy()
        difference = float(np.abs(given - expected).max())
        same = difference <= TOLERANCE if exact else np.corrcoef(given, expected)[0, 1] > _NEARLY_THE_SAME
        if not same:
            raise UserError(
                f"{PREDICT} gives other ranks than the tracked ensemble on the last fold (by {difference:.2g}); "
                "the ensemble's run was changed: make it again"
            )

    def refit(self, trees: str) -> Mapping[str, str]:
        """Train every member on all resolved eras; those that an earlier call finished are taken as they are."""
        wanted = {}
        for each in self._configurations:
            factor = _refit_factor(self._plan_of[each.name], each) if trees == SCALED else 1.0
            wanted[each.name] = replace(each, trees=max(1, round(each.trees * factor)))
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
                    file = directory / each.file_name(self._kept)
                    file.write_text(model, encoding="utf-8")
                    self._runs.log_refit(self._tracked.run_id, file)
                models[each.name] = model

            for plan, configurations in self._by_plan(missing):
                Retraining(plan, configurations, self._stop, progress.advance).refit(keep)
        return models

    def _by_plan(self, configurations: Sequence[Configuration]) -> Iterator[tuple[Plan, list[Configuration]]]:
        for plan in self._plans:
            if found := [each for each in configurations if self._plan_of[each.name] is plan]:
                yield plan, found

    def _refitted(self, wanted: Mapping[str, Configuration]) -> dict[str, str]:
        found = {}
        for name, each in wanted.items():
            text = self._runs.refit(self._tracked.run_id, each.file_name(self._kept))
            if text is not None:
                found[name] = text
        return found

    def write(self, models: Mapping[str, str], path: Path) -> tuple[pd.DataFrame, HostedCheck]:
        """Write the file and try it as Numerai hosts it, on the rows that are returned."""
        write_predict(self._portable(models), path)
        rows = self._rows_as_live([int(self._plan.dataset.eras[-1])])
        check = check_as_hosted(path, rows, rows[[self._column]] if self._column else None)
        self._console.print(
            f"{path.name}, {decimal(path.stat().st_size)}, ran as Numerai hosts it: {check.seconds:.1f} s and "
            f"{decimal(check.peak_memory_bytes)} of memory for {len(rows):,} rows"
        )
        return rows, check

    def _portable(self, models: Mapping[str, str]) -> PortableModel:
        def on_all_features(name: str) -> str:
            return on_features(models[name], self._features_of[name], self.features)

        values = {
            name: each
            for plan in reversed(self._plans)
            for name, each in zip(plan.dataset.features, plan.dataset.feature_values, strict=True)
        }
        return PortableModel(
            features=self.features,
            boosters=tuple(map(on_all_features, self._members)),
            weights=tuple(member.weight for member in self._members.values()),
            neutralization=self._ensemble.neutralization,
            benchmark_booster=on_all_features(BENCHMARK_KIND) if self._to_benchmark else None,
            nullable_features=self.nullable_features,
            values=tuple(values[name] for name in self.features),
            constant_features=self._constant_features,
        )

    @cached_property
    def _features_of(self) -> Mapping[str, tuple[str, ...]]:
        """Features that each booster was trained on, in this order."""
        return {
            each.name: self._plan_of[each.name].dataset.features_in(DatasetKey.of(each.params).feature_set)
            for each in self._configurations
        }

    @cached_property
    def features(self) -> tuple[str, ...]:
        """Features that the boosters or the neutralisation need, those of the ensemble's own study first."""
        neutralization = self._ensemble.neutralization
        needed = {name for features in self._features_of.values() for name in features}
        if neutralization is not None and neutralization.to == FEATURES:
            needed.update(self._plan.dataset.features)
        every = dict.fromkeys(name for plan in self._plans for name in plan.dataset.features)
        return tuple(name for name in every if name in needed)

    @cached_property
    def nullable_features(self) -> tuple[str, ...]:
        """Those of them that were NaN somewhere in training."""
        found = dict.fromkeys(name for plan in self._plans for name in plan.dataset.nullable_features)
        return tuple(name for name in found if name in set(self.features))

    def _rows_as_live(self, eras: Sequence[int]) -> pd.DataFrame:
        rows = rows_as_live(self._plan, self._column, eras)
        for plan in self._plans[1:]:
            others = rows_as_live(plan, None, eras).drop(columns="era")
            missing = [name for name in others if name not in rows]
            rows = rows.join(others[missing])
        return rows[["era", *self.features, *([self._column] if self._column else [])]]

    @cached_property
    def _constant_features(self) -> tuple[str, ...]:
        """Features that are constant in the newest resolved era or in those that ranks are compared on."""
        eras = ([int(self._plan.dataset.eras[-1])], self._plan.scored_folds[-1].validation_eras[-_COMPARED_ERAS:])
        counts = [self._rows_as_live(each)[list(self.features)].nunique() for each in eras]
        return tuple(name for name in self.features if any(count[name] < 2 for count in counts))

    @property
    def _column(self) -> str | None:
        neutralization = self._ensemble.neutralization
        return neutralization.numerai_column if neutralization else None

    def _predictions(self, plan: Plan, run_id: str, name: str, column: str) -> Mapping[int, NDArray[np.floating[Any]]]:
        spans = {fold.number: plan.dataset.span_of(fold.validation_eras) for fold in plan.scored_folds}
        rows = {number: span.stop - span.start for number, span in spans.items()}
        return self._runs.predictions(run_id, name, column, rows)


def _refit_factor(plan: Plan, configuration: Configuration) -> float:
    """Return how many times the eras of the validation folds' training the refit of a configuration has."""
    key = DatasetKey.of(configuration.params)
    trained = np.mean([len(key.of_fold(fold).train_eras) for fold in plan.scored_folds[:-1]])
    return float(len(key.of_fold(refit_fold(plan)).train_eras) / trained)


def rows_as_live(plan: Plan, benchmark_column: str | None, eras: Sequence[int]) -> pd.DataFrame:
    """Return rows as live data come: indexed by id, ``era``, the features as stored, and the benchmark column."""
    dataset = plan.dataset
    span = dataset.span_of(eras)
    frame = dataset.read_features(dataset.features, span).to_pandas()
    labels = [dataset.era_labels[int(era)] for era in np.unique(dataset.eras[span])]
    places = np.searchsorted(np.unique(dataset.eras[span]), dataset.eras[span])
    columns = {"era": np.array(labels, dtype=object)[places]}
    if benchmark_column:
        columns[benchmark_column] = dataset.read_benchmarks([benchmark_column], span)[benchmark_column]
    ids = pd.Index(dataset.read_ids(span).to_pylist(), name="id")
    added = pd.DataFrame(columns, index=ids)
    rows: pd.DataFrame = pd.concat([added[["era"]], frame.set_index(ids), added.drop(columns="era")], axis=1)
    return rows


def _largest_difference(replicas: Mapping[str, Replica]) -> float:
    return max((replica.difference for replica in replicas.values()), default=0.0)
