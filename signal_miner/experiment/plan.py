"""An experiment over its data: targets, grid, folds for each target, the study's identity; its record, and back."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from signal_miner.data.dataset import BENCHMARK_FILES, Dataset
from signal_miner.data.folds import MONTHLY_PURGE_ERAS, Fold, WalkForward, purge_for, usual_step
from signal_miner.data.payout_file import DEFAULT, PublishedPayout, read_payout
from signal_miner.data.residual_target import Label, ResidualTarget
from signal_miner.data.sources import DATA_DIRECTORY, open_source
from signal_miner.errors import UserError, did_you_mean
from signal_miner.experiment.engines import engine_version
from signal_miner.experiment.grid import Axis, Grid
from signal_miner.experiment.schema import (
    BENCHMARK,
    KEYS,
    OF_DATA,
    PREDICTIONS_KEY,
    Experiment,
    experiment_table,
    parse_experiment,
)
from signal_miner.scoring.objective import Scoring
from signal_miner.scoring.payout import Payout
from signal_miner.utils.next_command import option_text
from signal_miner.utils.validation import Value, shown

STUDY_FORMAT = 2
"""Raised whenever the same configuration would train or score differently."""


@dataclass(frozen=True, eq=False)
class Plan:
    """A study before anything is trained.

    Attributes
    ----------
    study : str
        The experiment's name and the first 8 digits of `config_hash`.
    config_hash : str
        SHA-256 over all that decides what a configuration scores: data, targets, folds, grid, constraint, benchmark,
        seed, engine and its version; not over how many trials are run, or where.
    targets : tuple of str
        Training targets.
    grid : Grid
        With ``target`` as its last axis.
    benchmark : mapping of str to value
        The benchmark configuration with its ``target``, or the column of `benchmark_predictions`.
    folds, purge_eras : mapping of str to tuple of Fold, or to int
        By training target. The validation eras are the same for all.
    published_payout : PublishedPayout or None
        Where `payout` is from; None where the experiment sets it.
    residual_column : str
        Of Numerai's benchmark predictions: what ``target_residual`` takes out of targets; empty where nothing is.
    """

    experiment: Experiment
    dataset: Dataset
    study: str
    config_hash: str
    targets: tuple[str, ...]
    grid: Grid
    benchmark: Mapping[str, Value]
    folds: Mapping[str, tuple[Fold, ...]]
    purge_eras: Mapping[str, int]
    holdout_eras: tuple[int, ...]
    numerai_benchmarks: tuple[str, ...]
    payout: Payout
    published_payout: PublishedPayout | None
    residual_column: str
    warnings: tuple[str, ...]

    @property
    def scoring(self) -> Scoring:
        """How its models are scored."""
        return Scoring(self.experiment.objective, self.payout)

    @property
    def benchmark_predictions(self) -> str | None:
        """Column of Numerai's benchmark predictions that is the benchmark run; None where a benchmark is trained."""
        column = self.benchmark.get(PREDICTIONS_KEY)
        return None if column is None else str(column)

    @property
    def benchmark_target(self) -> str:
        """The benchmark's training target; the scoring target where nothing is trained."""
        return str(self.benchmark.get("target", self.experiment.scoring_target))

    @property
    def labels(self) -> tuple[Label, ...]:
        """All that boosters are trained on: the targets, and what is left of them, the benchmark's last."""
        shares = next((axis.values for axis in self.grid.axes if axis.name == "target_residual"), (0.0,))
        grid = (ResidualTarget(name, float(share)) if share else name for name in self.targets for share in shares)
        own = () if self.benchmark_predictions else (self.benchmark_target,)
        return tuple(dict.fromkeys((*grid, *own)))

    @property
    def scored_folds(self) -> tuple[Fold, ...]:
        """Folds of the benchmark's target; their validation eras hold for every target."""
        return self.folds[self.benchmark_target]

    def span(self, eras: Sequence[int]) -> str:
        """Return the labels of the first and the last of these era numbers, ``0053–0104``."""
        labels = self.dataset.era_labels
        return f"{labels[int(eras[0])]}–{labels[int(eras[-1])]}"


def make_plan(experiment: Experiment, dataset: Dataset) -> Plan:
    """Resolve an experiment over its data, which was opened with its feature set and scoring target.

    Raises
    ------
    UserError
        If a target or benchmark column is not in the data, a horizon is not known, the eras are too few, or the
        constraint allows no configuration.
    """
    targets = experiment.targets or dataset.targets
    benchmark_target = str(experiment.benchmark.get("target", experiment.scoring_target))
    for name in (*targets, benchmark_target):
        if name not in dataset.targets:
            raise UserError(f"target {name!r} is not in {dataset.name}{did_you_mean(name, dataset.targets)}")
    benchmarks = dataset.benchmark_columns if experiment.numerai_benchmarks is None else experiment.numerai_benchmarks
    for name in benchmarks:
        if name not in dataset.benchmark_columns:
            raise UserError(
                f"numerai_benchmarks: {name!r} is not in the benchmark predictions of {dataset.name}"
                f"{did_you_mean(name, dataset.benchmark_columns) or '; it has none'}"
            )
        if name == BENCHMARK or not re.fullmatch(r"[\w.\- ]+", name):
            raise UserError(
                f"benchmark column {name!r} cannot name a metric; rename it, or list others in numerai_benchmarks"
            )
    if experiment.contribution_to == OF_DATA:
        columns = _columns_of_horizon(experiment, dataset)
        experiment = replace(experiment, contribution_to=columns[0] if len(columns) == 1 else BENCHMARK)
    _check_benchmark_columns(experiment, dataset)
    residual_column = _residual_column(experiment, dataset)
    purges, warnings = _purges(experiment, dataset, (*targets, benchmark_target))
    for name in experiment.opened_sets if len(experiment.opened_sets) > 1 else ():
        if name not in dataset.feature_sets:
            raise UserError(f"feature_set = {name!r} was not opened with {dataset.name}; open it with open_data")
    if dataset.sparse_eras:
        first, *others = dataset.sparse_eras
        named = f"era {first}" + (f" and {len(others)} more" if others else "")
        warnings.append(
            f"{experiment.scoring_target} is known in less than half of the rows of {named}; they are left out"
        )
    if experiment.race is not None and experiment.race.patience is not None:
        warnings.append("race.patience has no effect, as race.recovery decides now how long folds train; remove it")
    eras = np.unique(dataset.eras)
    settings = experiment.folds
    folds = {}
    for name, purge in purges.items():
        splitter = WalkForward(
            settings.count,
            purge,
            settings.holdout_eras,
            holdout_purge_eras=max(purges.values()),
            train_era_step=settings.train_era_step,
        )
        folds[name] = splitter.folds(eras)
    _check_windows(experiment, folds)
    beside = {file.parent for file in dataset.files} if experiment.payout is None else ()
    published = next(filter(None, map(read_payout, sorted(beside))), DEFAULT)
    axes = tuple(Axis(name, values) for name, values in experiment.searched.items())
    grid = Grid((*axes, Axis("target", tuple(targets))), experiment.constraint)
    grid.check_feasible()
    benchmark = {name: value for name, value in experiment.benchmark.items() if name != "feature_set"}
    if PREDICTIONS_KEY not in benchmark:
        benchmark["target"] = benchmark_target
        if len(experiment.opened_sets) > 1:  # as the trials have it then
            benchmark["feature_set"] = experiment.benchmark_feature_set
    identity = {
        "format": STUDY_FORMAT,
        experiment.engine: engine_version(experiment.engine),
        "data": dataset.digest,
        "scoring_target": experiment.scoring_target,
        "targets": targets,
        "purge_eras": purges,
        "folds": [settings.count, settings.holdout_eras],
        "grid": {axis.name: axis.values for axis in axes},
        "constraint": experiment.constraint.expression if experiment.constraint else None,
        "benchmark": benchmark,
        "numerai_benchmarks": benchmarks,
        "seed": experiment.seed,
    }
    if settings.train_era_step != 1:  # left out where it changes nothing, so that studies older than it resume
        identity["train_era_step"] = settings.train_era_step
    if experiment.contribution_to != BENCHMARK:
        identity["contribution_to"] = experiment.contribution_to
    config_hash = hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()
    return Plan(
        experiment=experiment,
        dataset=replace(dataset, residual_column=residual_column) if residual_column else dataset,
        study=f"{experiment.name}-{config_hash[:8]}",
        config_hash=config_hash,
        targets=tuple(targets),
        grid=grid,
        benchmark=benchmark,
        folds=folds,
        purge_eras=purges,
        holdout_eras=WalkForward(settings.count, 0, settings.holdout_eras).holdout(eras),
        numerai_benchmarks=tuple(benchmarks),
        payout=experiment.payout or published.payout,
        published_payout=None if experiment.payout else published,
        residual_column=residual_column,
        warnings=tuple(warnings),
    )


def _check_benchmark_columns(experiment: Experiment, dataset: Dataset) -> None:
    """Refuse a column of Numerai's benchmark predictions that the data do not have."""
    columns = dataset.benchmark_columns
    for key, name, others, instead in (
        (f"benchmark.{PREDICTIONS_KEY}", experiment.benchmark.get(PREDICTIONS_KEY), (), "train a benchmark instead"),
        ("contribution_to", experiment.contribution_to, (BENCHMARK,), f"use {BENCHMARK!r}"),
    ):
        if name is None or name in (*others, *columns):
            continue
        files = " and ".join(BENCHMARK_FILES)
        repair = did_you_mean(str(name), columns) if columns else f", which has none; add {files}, or {instead}"
        raise UserError(f"{key} = {shown(name)} is not in the benchmark predictions of {dataset.name}{repair}")


def _check_windows(experiment: Experiment, folds: Mapping[str, tuple[Fold, ...]]) -> None:
    """Refuse to train on the newest eras alone where that is a single one."""
    for where, parameters in (("grid", experiment.axes), ("benchmark", experiment.benchmark)):
        values = parameters.get("train_last_eras", -1)
        several = values if isinstance(values, tuple) else (values,)
        fewest = min((int(eras) for eras in several if eras != -1), default=-1)
        for fold in (fold for each in folds.values() for fold in each):
            if len(fold.trained_on_newest(fewest).train_eras) == 1 < len(fold.train_eras):
                raise UserError(
                    f"{where}.train_last_eras = {fewest} leaves fold {fold.number} 1 of {len(fold.train_eras)} eras to "
                    "train on, as eras are counted by number; raise it"
                )


def _residual_column(experiment: Experiment, dataset: Dataset) -> str:
    """Return the benchmark that ``target_residual`` takes out: the experiment's, or that of the scoring horizon.

    Raises
    ------
    UserError
        If the data have no benchmark predictions, or it is not clear which are meant.
    """
    if not any(experiment.axes.get("target_residual", ())):
        return ""
    columns = dataset.benchmark_columns
    if not columns:
        files = " and ".join(BENCHMARK_FILES)
        raise UserError(
            f"grid.target_residual takes Numerai's benchmark predictions out of the target, and {dataset.name} has "
            f"none; add {files}, or leave it out"
        )
    named = experiment.benchmark.get(PREDICTIONS_KEY, experiment.contribution_to)
    if named != BENCHMARK:
        return str(named)
    fitting = _columns_of_horizon(experiment, dataset) or list(columns)
    if len(fitting) > 1:
        raise UserError(
            f'grid.target_residual can take out {" or ".join(fitting)}; name one with contribution_to = "…"'
        )
    return fitting[0]


def _columns_of_horizon(experiment: Experiment, dataset: Dataset) -> list[str]:
    """Return the benchmark predictions whose names end in the horizon of the scoring target."""
    if not dataset.benchmark_columns:
        return []
    horizon = dataset.horizon_days(experiment.scoring_target, experiment.horizon_days)
    return [name for name in dataset.benchmark_columns if name.endswith(str(horizon))]


def _purges(experiment: Experiment, dataset: Dataset, targets: tuple[str, ...]) -> tuple[dict[str, int], list[str]]:
    """Return the purge of each training target in eras, and warnings where it may be too small.

    Eras are purged by their numbers, which are taken for weeks.
    """
    horizons = {
        name: dataset.horizon_days(name, experiment.horizon_days)
        for name in dict.fromkeys((*targets, experiment.scoring_target))
    }
    scoring = horizons[experiment.scoring_target]
    needed = {name: purge_for(max(scoring, horizons[name])) for name in dict.fromkeys(targets)}
    longest = max(needed, key=lambda name: needed[name])
    step = 1 if dataset.dated else usual_step(np.unique(dataset.eras))
    apart = f"the eras of {dataset.name} are usually {step} apart"
    embargo = experiment.folds.embargo_eras
    if embargo is None:
        if step > needed[longest]:
            raise UserError(
                f"{apart}, so a purge of {needed[longest]} drops none; number them by weeks, or set "
                f"{option_text('embargo_eras', '…')} by their numbers"
            )
        if step > 1:
            unless = f"set {option_text('embargo_eras', '…')} by their numbers if these are not weeks"
            return needed, [f"{apart}, and the purge of {needed[longest]} takes them for weeks; {unless}"]
        return needed, []
    warnings = []
    least = needed[longest]
    # Eras of data whose targets do not name their horizon may be months; who declares it knows which.
    if experiment.horizon_days and not dataset.dated and not all(map(dataset.known_horizon, horizons)):
        least = MONTHLY_PURGE_ERAS[max(horizons.values())]
    if embargo < least:
        warnings.append(
            f"embargo_eras = {embargo} is below the {needed[longest]} that {longest} scored on "
            f"{experiment.scoring_target} needs where eras are a week apart; raise it, unless yours are further apart"
        )
    elif embargo < step:
        warnings.append(f"{apart}, so embargo_eras = {embargo} drops none; raise it")
    return dict.fromkeys(needed, embargo), warnings


_NOT_RECORDED = {
    "targets",
    "study_storage",
    "tracking_uri",
    "cluster",
}  # an axis of the recorded grid; this machine's places


def plan_record(plan: Plan, content: str | None = None) -> dict[str, object]:
    """Return what another program needs to train or evaluate the same, as JSON takes it: ``plan.json``.

    `content` is that of the dataset, so that `restore_plan` can refuse other values; reading it takes a while.
    """
    experiment, dataset = plan.experiment, plan.dataset
    resolved = {
        "grid": {axis.name: axis.values for axis in plan.grid.axes},
        "benchmark": dict(plan.benchmark),
        "numerai_benchmarks": plan.numerai_benchmarks,
        "payout": asdict(plan.payout),
    }
    settings: dict[str, object] = {}
    for key, value in experiment_table(experiment).items():
        if key not in _NOT_RECORDED:
            settings[key] = resolved.get(key, value)
        if key == "horizon_days":
            settings["scoring_horizon_days"] = dataset.horizon_days(experiment.scoring_target, experiment.horizon_days)
    return {
        "study": plan.study,
        "config_hash": plan.config_hash,
        "experiment": settings,
        "data": {
            "digest": dataset.digest,
            **({"content": content} if content else {}),
            "files": [str(path.resolve()) for path in dataset.files],
            "features": dataset.features,
            **({"feature_sets": dict(dataset.feature_sets)} if len(dataset.feature_sets) > 1 else {}),
            "rows": len(dataset),
        },
        "targets": {
            name: {"purge_eras": plan.purge_eras[name], "folds": [asdict(fold) for fold in folds]}
            for name, folds in plan.folds.items()
        },
        "holdout_eras": plan.holdout_eras,
        "era_labels": {str(number): label for number, label in dataset.era_labels.items()},
    }


def restore_plan(record: Mapping[str, Any], data: str | None = None) -> Plan:
    """Return the plan that a study was mined by.

    Parameters
    ----------
    record : mapping
        A ``plan.json``, of this version or an earlier one.
    data : str, optional
        Where the data are now, if they were moved.

    Raises
    ------
    UserError
        If the data are not there, or are not those that the study was mined on.
    """
    experiment, location, tracked = _recorded(record, data)
    dataset = open_data(replace(experiment, data=location))
    if dataset.digest != tracked:
        raise UserError(
            f"the data {experiment.data!r} are not those that study {record['study']} was mined on (digest "
            f"{dataset.digest}, then {tracked}); name those with {option_text('data', '…')}, or mine the new data first"
        )
    content = record["data"].get("content")
    if content is not None and content != dataset.content:
        raise UserError(other_values(experiment.data, str(record["study"])))
    plan = make_plan(experiment, dataset)
    if json.loads(json.dumps(plan_record(plan)))["targets"] != record["targets"]:
        raise UserError(f"the folds are not those of study {record['study']}; mine it again")
    return plan


def renewed_plan(record: Mapping[str, Any], data: str | None = None) -> Plan:
    """Return a study's plan over its data as they are now: with the eras that were resolved since.

    Parameters
    ----------
    record, data
        As of `restore_plan`.

    Raises
    ------
    UserError
        If the data are not there, or the experiment does not fit them any more.
    """
    experiment, location, _ = _recorded(record, data)
    named = replace(experiment, data=str(record["experiment"]["data"]))
    return make_plan(named, open_data(replace(experiment, data=location)))


def _recorded(record: Mapping[str, Any], data: str | None) -> tuple[Experiment, str, str]:
    """Return the experiment of a ``plan.json``, where its data are, and their digest as tracked."""
    try:
        table = {key: value for key, value in record["experiment"].items() if key in KEYS}
        grid = {name: values for name, values in table["grid"].items() if name != "feature_set"}
        table |= {"targets": grid.pop("target"), "grid": grid, "data": data or table["data"]}
        experiment = parse_experiment(table, recorded=True)
        return experiment, data or data_location(record), record["data"]["digest"]
    except (KeyError, TypeError, AttributeError) as error:
        raise UserError(
            f"plan.json of study {shown(record.get('study'))} is damaged ({error!r}); rerun `mine` to write it again"
        ) from error


def other_values(data: str, study: str) -> str:
    """Return the error for data whose values are not those that a study was mined on, though all else is the same."""
    return (
        f"the data {data!r} hold other values than those that study {study} was mined on; bring those back, or mine "
        f"these with {option_text('name', '…')}"
    )


def data_location(record: Mapping[str, Any]) -> str:
    """Return the data as the study named them or, from another working directory, where its files were."""
    named, files = str(record["experiment"]["data"]), [Path(file) for file in record["data"]["files"]]
    found = Path(named).expanduser().exists() or (DATA_DIRECTORY / named).exists()
    if found or not files or not all(file.is_file() for file in files):
        return named
    single = Path(named).suffix.lower() in {".parquet", ".pq", ".csv"}
    return str(files[0] if single else files[0].parent)


def tracked_configuration(plan: Plan, tracked: Mapping[str, str]) -> dict[str, Value]:
    """Return a trial's parameters, without ``seed``, as the grid's own values for the texts that MLflow keeps.

    Raises
    ------
    UserError
        If a parameter is missing, or its value is not in the grid.
    """
    found: dict[str, Value] = {}
    for axis in plan.grid.axes:
        values = {str(value): value for value in axis.values}
        text = tracked.get(axis.name)
        if text not in values:
            raise UserError(f"{axis.name} = {text} is not in the study's grid; the run was changed after mining")
        found[axis.name] = values[text]
    return found


def open_data(experiment: Experiment) -> Dataset:
    """Open an experiment's data.

    Raises
    ------
    UserError
        As `open_source`; or if it is not an `Experiment`.
    """
    if not isinstance(experiment, Experiment):
        raise UserError(
            f"experiment = {shown(experiment)} is not an Experiment; "
            "pass what load_experiment or make_experiment returned"
        )
    return open_source(experiment.data, experiment.opened_sets, experiment.scoring_target, experiment.targets)
