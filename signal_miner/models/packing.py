"""From a tracked ensemble to ``predict.pkl``: members reproduced, refitted, packed, and tried as hosted."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from rich.console import Console
from rich.filesize import decimal

from signal_miner.data.folds import thinned
from signal_miner.ensemble.members import OWN_BENCHMARK, Ensemble
from signal_miner.ensemble.runs import EnsembleRuns, TrackedEnsemble
from signal_miner.errors import UserError
from signal_miner.experiment.plan import Plan, restore_plan
from signal_miner.models.options import SCALED, PackingOptions
from signal_miner.models.portable import PortableModel, load_predict, write_predict
from signal_miner.models.portable.hosted import HostedCheck, check_as_hosted
from signal_miner.models.retraining import TOLERANCE, Configuration, Replica, Retraining, configurations_of
from signal_miner.tracking.records import trial_name
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
    """An ensemble in a file that runs as hosted, and what it was made from.

    Attributes
    ----------
    path : Path
        Of ``predict.pkl``.
    plan : Plan
        The study's, over its data.
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
    replicas: Mapping[str, Replica]
    models: Mapping[str, str]
    rows: pd.DataFrame
    check: HostedCheck

    @property
    def largest_difference(self) -> float:
        """Largest absolute difference between a replica's predictions and the tracked ones."""
        return _largest_difference(self.replicas)


def pack(
    options: PackingOptions, runs: EnsembleRuns, path: Path, stop: StopRequest, console: Console
) -> PackedEnsemble:
    """Reproduce an ensemble's members, refit them, write ``predict.pkl`` and try it as hosted.

    Refitted members are kept in the store of `runs`, and not refitted by a later call.

    Raises
    ------
    UserError
        If a member is not reproduced, the data are missing, ``predict.pkl`` would not run hosted, or the store fails.
    Stopped
        If a stop was asked for while members were trained.
    """
    tracked = runs.find(options.ensemble)
    study = Studies(options.tracking_uri).find(tracked.ensemble.study)
    plan = restore_plan(study.plan, options.data)
    count = len(tracked.ensemble.members)
    console.print(f"{tracked.name} of study {study.name}: {count} members; data {plan.experiment.data}")
    if options.jobs is not None:
        plan = replace(plan, experiment=replace(plan.experiment, jobs=options.jobs))
    packer = _Packer(tracked, study, plan, runs, stop, console)
    replicas = packer.replicate()
    models = packer.refit(options.trees)
    rows, check = packer.write(models, path)
    return PackedEnsemble(path, tracked, study, plan, replicas, models, rows, check)


class _Packer:
    """One ensemble on its way into a file."""

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
        self._plan = plan
        self._runs = runs
        self._stop = stop
        self._console = console
        self._run_ids = {trial_name(member.number): member.run_id for member in self._ensemble.members}
        self._configurations = configurations_of(plan, self._ensemble.members, with_benchmark=self._to_benchmark)
        if self._to_benchmark:
            self._run_ids[BENCHMARK_KIND] = study.benchmark.run_id

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
        largest = _largest_difference(replicas)
        self._console.print(f"{len(replicas)} reproduced; the largest difference to what is tracked is {largest:.1g}")
        self._compare_ranks({name: replica.model for name, replica in replicas.items()}, last, largest == 0)
        return replicas

    def _compare_ranks(self, models: Mapping[str, str], last: int, exact: bool) -> None:
        """Hold the file's ranks to the tracked ones; where members differ in the last bits, ties may fall otherwise."""
        fold = self._plan.scored_folds[-1]
        compared = fold.validation_eras[-_COMPARED_ERAS:]
        rows = rows_as_live(self._plan, self._column, compared)
        positions = self._plan.dataset.span_of(compared)
        whole = self._plan.dataset.span_of(fold.validation_eras)
        tracked = self._predictions(self._tracked.run_id, self._tracked.name, "prediction")[last]
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
                    file = directory / each.file_name("txt")
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
            text = self._runs.refit(self._tracked.run_id, each.file_name("txt"))
            if text is not None:
                found[name] = text
        return found

    def write(self, models: Mapping[str, str], path: Path) -> tuple[pd.DataFrame, HostedCheck]:
        """Write the file and try it as hosted, on the rows that are returned."""
        write_predict(self._portable(models), path)
        rows = rows_as_live(self._plan, self._column, [int(self._plan.dataset.eras[-1])])
        check = check_as_hosted(path, rows, rows[[self._column]] if self._column else None)
        self._console.print(
            f"{path.name}, {decimal(path.stat().st_size)}, runs as hosted: {check.seconds:.1f} s and "
            f"{decimal(check.peak_memory_bytes)} of memory for {len(rows):,} rows"
        )
        return rows, check

    def _portable(self, models: Mapping[str, str]) -> PortableModel:
        members = self._ensemble.members
        return PortableModel(
            features=self._plan.dataset.features,
            boosters=tuple(models[trial_name(member.number)] for member in members),
            weights=tuple(member.weight for member in members),
            neutralization=self._ensemble.neutralization,
            benchmark_booster=models[BENCHMARK_KIND] if self._to_benchmark else None,
            nullable_features=self._plan.dataset.nullable_features,
            values=self._plan.dataset.feature_values,
            constant_features=self._constant_features,
        )

    @cached_property
    def _constant_features(self) -> tuple[str, ...]:
        """Features that are constant in the newest resolved era or in those that ranks are compared on."""
        eras = ([int(self._plan.dataset.eras[-1])], self._plan.scored_folds[-1].validation_eras[-_COMPARED_ERAS:])
        features = list(self._plan.dataset.features)
        counts = [rows_as_live(self._plan, None, each)[features].nunique() for each in eras]
        return tuple(name for name in features if any(count[name] < 2 for count in counts))

    @property
    def _column(self) -> str | None:
        neutralization = self._ensemble.neutralization
        return neutralization.numerai_column if neutralization else None

    def _predictions(self, run_id: str, name: str, column: str) -> Mapping[int, NDArray[np.floating[Any]]]:
        spans = {fold.number: self._plan.dataset.span_of(fold.validation_eras) for fold in self._plan.scored_folds}
        rows = {number: span.stop - span.start for number, span in spans.items()}
        return self._runs.predictions(run_id, name, column, rows)


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
    return max(replica.difference for replica in replicas.values())
