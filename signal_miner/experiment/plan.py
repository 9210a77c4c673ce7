"""An experiment laid over its data: targets, grid, folds for each target, and the identity of the study."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version

import numpy as np

from signal_miner.data.dataset import Dataset
from signal_miner.data.folds import Fold, WalkForward, purge_for
from signal_miner.data.sources import open_source
from signal_miner.errors import UserError, did_you_mean
from signal_miner.experiment.experiment import Experiment
from signal_miner.experiment.grid import Axis, Grid
from signal_miner.utils.validation import Value, shown

BENCHMARK = "benchmark"
"""Name of our own benchmark run among a scorer's benchmarks."""

STUDY_FORMAT = 2
"""Raised whenever the same configuration would train or score differently."""


@dataclass(frozen=True, eq=False)
class Plan:
    """All that a study is, before anything is trained.

    Attributes
    ----------
    experiment : Experiment
    dataset : Dataset
    study : str
        The experiment's name and the first 8 digits of `config_hash`.
    config_hash : str
        SHA-256 over all that decides what a configuration scores: data, targets, folds, grid, constraint, benchmark,
        seed and LightGBM's version; not over how many trials are run, or where.
    targets : tuple of str
        Training targets.
    grid : Grid
        With ``target`` as its last axis.
    benchmark : mapping of str to value
        The benchmark configuration with its ``target``.
    folds : mapping of str to tuple of Fold
        By training target. The validation eras are the same for all.
    purge_eras : mapping of str to int
        By training target.
    holdout_eras : tuple of int
    numerai_benchmarks : tuple of str
    warnings : tuple of str
        What a person should know before it starts.
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
    warnings: tuple[str, ...]

    @property
    def scored_folds(self) -> tuple[Fold, ...]:
        """Folds of the benchmark's target; their validation eras hold for every target."""
        return self.folds[str(self.benchmark["target"])]

    def span(self, eras: Sequence[int]) -> str:
        """Return the labels of the first and the last of these era numbers, ``0053–0104``."""
        labels = self.dataset.era_labels
        return f"{labels[int(eras[0])]}–{labels[int(eras[-1])]}"


def make_plan(experiment: Experiment, dataset: Dataset) -> Plan:
    """Lay an experiment over its data.

    Parameters
    ----------
    experiment : Experiment
    dataset : Dataset
        Opened with the experiment's feature set and scoring target.

    Returns
    -------
    Plan

    Raises
    ------
    UserError
        If a target or benchmark column is not in the data, a horizon is not known, or the eras are too few.
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
    purges, warnings = _purges(experiment, dataset, (*targets, benchmark_target))
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
    axes = tuple(Axis(name, values) for name, values in experiment.axes.items())
    benchmark = dict(experiment.benchmark) | {"target": benchmark_target}
    identity = {
        "format": STUDY_FORMAT,
        "lightgbm": version("lightgbm"),
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
    if settings.train_era_step != 1:  # not named where it changes nothing: studies of before the option go on
        identity["train_era_step"] = settings.train_era_step
    config_hash = hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()
    return Plan(
        experiment=experiment,
        dataset=dataset,
        study=f"{experiment.name}-{config_hash[:8]}",
        config_hash=config_hash,
        targets=tuple(targets),
        grid=Grid((*axes, Axis("target", tuple(targets))), experiment.constraint),
        benchmark=benchmark,
        folds=folds,
        purge_eras=purges,
        holdout_eras=WalkForward(settings.count, 0, settings.holdout_eras).holdout(eras),
        numerai_benchmarks=tuple(benchmarks),
        warnings=warnings,
    )


def _purges(
    experiment: Experiment, dataset: Dataset, targets: tuple[str, ...]
) -> tuple[dict[str, int], tuple[str, ...]]:
    """Return the purge of each training target in eras, and a warning for one that is too small."""
    scoring = dataset.horizon_days(experiment.scoring_target, experiment.horizon_days)
    needed = {
        name: purge_for(max(scoring, dataset.horizon_days(name, experiment.horizon_days)))
        for name in dict.fromkeys(targets)
    }
    embargo = experiment.folds.embargo_eras
    if embargo is None:
        return needed, ()
    longest = max(needed, key=lambda name: needed[name])
    warnings: tuple[str, ...] = ()
    if embargo < needed[longest]:
        warning = (
            f"embargo_eras = {embargo} is below the {needed[longest]} that {longest} scored on "
            f"{experiment.scoring_target} needs where eras are a week apart; raise it, unless yours lie further apart"
        )
        warnings = (warning,)
    return dict.fromkeys(needed, embargo), warnings


def plan_record(plan: Plan) -> dict[str, object]:
    """Return all of a plan that another program needs to train or judge the same, as JSON takes it."""
    experiment, dataset = plan.experiment, plan.dataset
    constraint = experiment.constraint
    return {
        "study": plan.study,
        "config_hash": plan.config_hash,
        "experiment": {
            "name": experiment.name,
            "data": experiment.data,
            "feature_set": experiment.feature_set,
            "scoring_target": experiment.scoring_target,
            "horizon_days": experiment.horizon_days,
            "scoring_horizon_days": dataset.horizon_days(experiment.scoring_target, experiment.horizon_days),
            "trials": experiment.trials,
            "jobs": experiment.jobs,
            "memory_gb": experiment.memory_gb,
            "cache_gb": experiment.cache_gb,
            "seed": experiment.seed,
            "constraint": constraint.expression if constraint else None,
            "folds": asdict(experiment.folds),
            "grid": {axis.name: axis.values for axis in plan.grid.axes},
            "benchmark": dict(plan.benchmark),
            "numerai_benchmarks": plan.numerai_benchmarks,
        },
        "data": {
            "digest": dataset.digest,
            "files": [str(path.resolve()) for path in dataset.source.paths],
            "features": dataset.features,
            "rows": len(dataset),
        },
        "targets": {
            name: {"purge_eras": plan.purge_eras[name], "folds": [asdict(fold) for fold in folds]}
            for name, folds in plan.folds.items()
        },
        "holdout_eras": plan.holdout_eras,
        "era_labels": {str(number): label for number, label in dataset.era_labels.items()},
    }


def describe(plan: Plan) -> tuple[str, ...]:
    """Return what will be mined, in lines for a person to read before it starts."""
    dataset, experiment = plan.dataset, plan.experiment
    eras = np.unique(dataset.eras)
    plural = "s" * (len(plan.targets) > 1)
    study = f"{experiment.trials} trials of {plan.grid.size:,} configurations, seed {experiment.seed}"
    rows = f"{len(dataset):,} rows, eras {plan.span(eras.tolist())}, {len(dataset.features)} features"
    targets = f"{len(plan.targets)} training target{plural}, scored on {experiment.scoring_target}"
    lines = [f"Study {plan.study}: {study}", f"Data {dataset.name}: {rows}, {targets}"]
    folds = plan.scored_folds
    purge = plan.purge_eras[str(plan.benchmark["target"])]
    step = experiment.folds.train_era_step
    thinning = f", 1 era in {step}" if step > 1 else ""
    for fold in folds:
        part = "test" if fold is folds[-1] else "validation"
        train, predict = plan.span(fold.train_eras), plan.span(fold.validation_eras)
        gap = f"purge {purge} era{'s' * (purge != 1)}"
        lines.append(f"Fold {fold.number} ({part}): train {train}{thinning}, {gap}, predict {predict}")
    if plan.holdout_eras:
        before = max(plan.purge_eras.values())
        gap = f"a purge of {before} era{'s' * (before != 1)} before it"
        lines.append(f"Holdout: {plan.span(plan.holdout_eras)}, not touched, with {gap}")
    return tuple(lines)


def open_data(experiment: Experiment) -> Dataset:
    """Open an experiment's data.

    Parameters
    ----------
    experiment : Experiment

    Returns
    -------
    Dataset

    Raises
    ------
    UserError
        As `open_source`; or if it is no experiment.
    """
    if not isinstance(experiment, Experiment):
        raise UserError(
            f"experiment = {shown(experiment)} is no Experiment; give what load_experiment or make_experiment returned"
        )
    return open_source(experiment.data, experiment.feature_set, experiment.scoring_target, experiment.targets)
