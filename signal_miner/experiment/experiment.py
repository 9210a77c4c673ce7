"""An experiment file, parsed once into frozen types. Reads no data."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from signal_miner.errors import UserError, did_you_mean
from signal_miner.experiment.constraint import Constraint, parse_constraint
from signal_miner.experiment.parameters import RULES, check_name, check_value, parse_axis
from signal_miner.utils.redaction import KeptWithoutPasswords, reason_of_system, without_passwords
from signal_miner.utils.validation import LARGEST_INTEGER, Rule, Value, shown

ALL_TARGETS = "all"
"""What ``targets`` says where every target of the data is trained on."""

TABLES = frozenset({"folds", "grid", "benchmark"})
"""Keys of an experiment that hold tables."""


@dataclass(frozen=True)
class FoldSettings:
    """The ``[folds]`` table.

    Attributes
    ----------
    count : int
        Walk-forward folds, at least 2: all but the last are validation, the last is test.
    embargo_eras : int or None
        Purge in eras, in place of what the targets' horizons ask for.
    holdout_eras : int
        Newest eras that neither mining nor selection touches.
    train_era_step : int
        Train on every so many eras alone, as weekly eras overlap; 1 for all of them.
    """

    count: int = 2
    embargo_eras: int | None = None
    holdout_eras: int = 0
    train_era_step: int = 1


@dataclass(frozen=True)
class Experiment(KeptWithoutPasswords):
    """One experiment file. Neither its repr nor a pickle of it holds a store's password.

    Attributes
    ----------
    name : str
        Name of the MLflow experiment.
    data : str
        ``demo``, a Numerai data version such as ``v5.3``, a directory, or a parquet or CSV file.
    feature_set : str
        Key of ``feature_sets`` in ``features.json``; ``all`` for every feature of a single file.
    targets : tuple of str or None
        Targets trained on; None for every target of the data.
    scoring_target : str
        The one target that every model is scored on.
    horizon_days : int or None
        Horizon of the targets whose names do not say it.
    numerai_benchmarks : tuple of str or None
        Columns of Numerai's benchmark predictions to compare with; None for all that the data has.
    folds : FoldSettings
    axes : mapping of str to tuple of value
        The grid without its targets.
    constraint : Constraint or None
    benchmark : mapping of str to value
        The benchmark configuration, trained first.
    trials, jobs, seed : int
        Trials in all, threads that train (-1 for one a core), seed of draws and boosters.
    memory_gb : float or None
        What the miner may use in all, in GB of 10^9 bytes; None for what the machine has free, less a margin.
    cache_gb : float
        Limit of the disk cache of binned datasets in GB; 0 for none.
    study_storage : str
        Directory of the study's journal, or an Optuna storage URL.
    tracking_uri : str or None
        MLflow tracking store; None for MLflow's own default.
    text : str
        The file as written, for the study's run.
    """

    name: str
    data: str
    feature_set: str
    targets: tuple[str, ...] | None
    scoring_target: str
    horizon_days: int | None
    numerai_benchmarks: tuple[str, ...] | None
    folds: FoldSettings
    axes: Mapping[str, tuple[Value, ...]]
    constraint: Constraint | None
    benchmark: Mapping[str, Value]
    trials: int
    jobs: int
    seed: int
    memory_gb: float | None
    cache_gb: float
    study_storage: str
    tracking_uri: str | None
    text: str = field(repr=False, default="")

    def __repr__(self) -> str:
        values = {each.name: getattr(self, each.name) for each in fields(self) if each.repr}
        plain = {key: without_passwords(value) if isinstance(value, str) else value for key, value in values.items()}
        return f"Experiment({', '.join(f'{key}={value!r}' for key, value in plain.items())})"


_KEYS = {each.name for each in fields(Experiment)} - {"axes", "text"} - TABLES
_FOLD_KEYS = {each.name for each in fields(FoldSettings)}
_DEFAULT_CACHE_GB = 20.0
_LONGEST_NAME = 100


def load_experiment(path: Path, overrides: Mapping[str, Any] | None = None) -> Experiment:
    """Read and validate an experiment file.

    Parameters
    ----------
    path : Path
        A TOML file.
    overrides : mapping, optional
        Values in place of the file's, by key; ``"folds.embargo_eras"`` reaches into a table.

    Returns
    -------
    Experiment

    Raises
    ------
    UserError
        If the file is absent or not TOML, or a key, type or value is wrong.
    """
    table, text = read_experiment_file(path)
    for key, value in (overrides or {}).items():
        outer, _, inner = key.rpartition(".")
        if outer and not isinstance(table.setdefault(outer, {}), dict):
            raise UserError(f"{outer} is not a table; write [{outer}]")
        (table[outer] if outer else table)[inner] = value
    try:
        return parse_experiment(table, text)
    except UserError as error:
        raise UserError(f"{path}: {error}") from error


def read_experiment_file(path: Path) -> tuple[dict[str, Any], str]:
    """Read an experiment file without judging what it says.

    Parameters
    ----------
    path : Path
        A TOML file.

    Returns
    -------
    tuple of dict and str
        The file as TOML reads it, and as written.

    Raises
    ------
    UserError
        If the file is absent or not TOML.
    """
    try:
        text = path.read_text(encoding="utf-8") if path.is_file() else None
        table = tomllib.loads(text or "")
    except OSError as error:
        raise UserError(
            f"experiment file {shown(str(path))} cannot be read ({reason_of_system(error)}); name another"
        ) from error
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path} is not a TOML file: {error}") from error
    if text is None:
        places = [folder for folder in (path.parent, Path("experiments")) if folder.is_dir()]
        near = sorted({str(other) for folder in places for other in folder.glob("*.toml")} - {"pyproject.toml"})
        raise UserError(f"experiment file {str(path)!r} does not exist{did_you_mean(str(path), near)}")
    return table, text


def parse_experiment(table: Mapping[str, Any], text: str = "") -> Experiment:
    """Validate an experiment given as a table.

    Parameters
    ----------
    table : mapping
        As TOML reads it. None, which TOML does not know, is as if the key were not there.
    text : str, optional
        The file as written.

    Returns
    -------
    Experiment

    Raises
    ------
    UserError
        If a key, type or value is wrong.
    """
    _check_keys(table)
    table = without_none(table)
    name = _string(table, "name")
    if not re.fullmatch(r"[A-Za-z0-9][\w .-]*", name):
        raise UserError(f"name = {shown(name)} is not a name; use letters, digits, spaces, '_', '-' and '.'")
    if len(name.encode()) > _LONGEST_NAME:  # files are named after it
        raise UserError(
            f"name = {shown(name)} is too long; use {_LONGEST_NAME} letters at most, fewer of é and the like"
        )
    axes = _axes(table)
    written = table.get("constraint")
    if written is not None and not isinstance(written, str):
        raise UserError(f"constraint = {shown(written)} is not text; write one such as 'num_leaves <= 2**max_depth'")
    constraint = parse_constraint(written, axes) if written is not None else None
    if constraint and "max_depth" in constraint.names and -1 in axes["max_depth"]:
        raise UserError(f"constraint = {written!r} cannot judge max_depth = -1 (no limit); use depths of 1 and more")
    tracking = table.get("tracking_uri")
    return Experiment(
        name=name,
        data=_string(table, "data"),
        feature_set=_string(table, "feature_set", "all"),
        targets=_targets(table),
        scoring_target=_string(table, "scoring_target", "target"),
        horizon_days=_horizon(table),
        numerai_benchmarks=_names(table, "numerai_benchmarks"),
        folds=_folds(table.get("folds", {})),
        axes=axes,
        constraint=constraint,
        benchmark=_benchmark(table),
        trials=_integer(table, "trials", 100, low=1),
        jobs=_jobs(table),
        seed=_integer(table, "seed", 0, low=0, high=2**31 - 1),
        memory_gb=None if table.get("memory_gb") is None else _gigabytes(table, "memory_gb", positive=True),
        cache_gb=_DEFAULT_CACHE_GB if table.get("cache_gb") is None else _gigabytes(table, "cache_gb", positive=False),
        study_storage=_string(table, "study_storage", "studies"),
        tracking_uri=None if tracking is None else _string(table, "tracking_uri"),
        text=text,
    )


def without_none(table: Mapping[str, Any]) -> dict[str, Any]:
    """Return a table without the keys that hold None, in the tables within it, too."""
    return {
        key: without_none(value) if isinstance(value, Mapping) else value
        for key, value in table.items()
        if value is not None
    }


def _check_keys(table: Mapping[str, Any]) -> None:
    for key in table:
        if key not in _KEYS | TABLES:
            raise UserError(_unknown_key(key))
    for where in sorted(TABLES):
        for key in table[where] if isinstance(table.get(where), Mapping) else ():
            if where != "folds":
                check_name(key, where)
            elif key not in _FOLD_KEYS:
                raise UserError(f"unknown key {'folds.' + key!r}{did_you_mean(key, _FOLD_KEYS)}")


def tables_of(key: str) -> tuple[str, ...]:
    """Return the tables that a key belongs in, rather than at the top of the file."""
    return ("grid", "benchmark") if key in RULES else ("folds",) if key in _FOLD_KEYS else ()


def _unknown_key(key: str) -> str:
    if tables := tables_of(key):
        places = " or ".join(f"[{table}]" for table in tables)
        return f"{key!r} stands at the top of the file, but belongs in {places}; move it there"
    return f"unknown key {key!r}{did_you_mean(key, _KEYS | TABLES)}"


def _string(table: Mapping[str, Any], key: str, default: str | None = None) -> str:
    value = table.get(key, default)
    if value is None:
        raise UserError(f'{key} is missing; add the line {key} = "…"')
    if not isinstance(value, str) or not value.strip():
        raise UserError(f"{key} = {shown(value)} is not text; write it in quotes")
    if "\0" in value:
        raise UserError(f"{key} = {shown(value)} holds a null byte, which no name or place does; leave it out")
    return value.strip()


def _integer(table: Mapping[str, Any], key: str, default: int, low: int, high: int = LARGEST_INTEGER) -> int:
    return int(Rule(int, low, high).checked(key, table.get(key, default)))


def _gigabytes(table: Mapping[str, Any], key: str, *, positive: bool) -> float:
    return float(Rule(float, 0, LARGEST_INTEGER, open_low=positive).checked(key, table[key], ", in GB"))


def _jobs(table: Mapping[str, Any]) -> int:
    if table.get("jobs", -1) == -1:
        return -1
    jobs = table["jobs"]
    if not Rule(int, 1, 1024).admits(jobs):
        raise UserError(f"jobs = {shown(jobs)} is not an integer from 1 to 1024, nor -1 (one a core)")
    return int(jobs)


def _names(table: Mapping[str, Any], key: str) -> tuple[str, ...] | None:
    value = table.get(key, ALL_TARGETS)
    if value == ALL_TARGETS:
        return None
    names = [value] if isinstance(value, str) else value
    if not isinstance(names, list) or not all(isinstance(name, str) and name for name in names):
        raise UserError(f'{key} = {shown(value)} is neither "all" nor a list of names')
    if len(set(names)) < len(names):
        raise UserError(f"{key} = {shown(value)} holds a name twice; each may stand once")
    return tuple(names)


def _targets(table: Mapping[str, Any]) -> tuple[str, ...] | None:
    if isinstance(table.get("grid"), Mapping) and "target" in table["grid"]:
        raise UserError('grid.target is set by targets, at the top of the file: targets = ["target", …]; move it there')
    names = _names(table, "targets")
    if names == ():
        raise UserError('targets = [] leaves nothing to train on; list one or more, or write "all"')
    return names


def _horizon(table: Mapping[str, Any]) -> int | None:
    value = table.get("horizon_days")
    if value is None:
        return None
    if value not in (20, 60) or isinstance(value, bool):
        raise UserError(f"horizon_days = {shown(value)} is not a horizon of Numerai's targets; use 20 or 60")
    return int(value)


def _folds(table: Any) -> FoldSettings:
    if not isinstance(table, Mapping):
        raise UserError(f"folds = {shown(table)} is not a table; write [folds] and below it count = 2")
    try:
        embargo = None if "embargo_eras" not in table else _integer(table, "embargo_eras", 0, low=0)
        return FoldSettings(
            count=_integer(table, "count", 2, low=2),
            embargo_eras=embargo,
            holdout_eras=_integer(table, "holdout_eras", 0, low=0),
            train_era_step=_integer(table, "train_era_step", 1, low=1),
        )
    except UserError as error:
        raise UserError(f"folds.{error}") from error


def _axes(table: Mapping[str, Any]) -> dict[str, tuple[Value, ...]]:
    grid = table.get("grid")
    if not isinstance(grid, Mapping) or not grid:
        raise UserError(
            "[grid] is missing or empty; add it with at least one parameter, such as learning_rate = [0.01]"
        )
    axes = {key: parse_axis(key, value) for key, value in grid.items()}
    if "n_estimators" not in axes:
        raise UserError("grid.n_estimators is missing; add the number of trees, such as n_estimators = [500, 1000]")
    if "subsample" in axes and "subsample_freq" not in axes:
        raise UserError("grid.subsample does nothing without subsample_freq; add subsample_freq = 1")
    return axes


def _benchmark(table: Mapping[str, Any]) -> dict[str, Value]:
    written = table.get("benchmark")
    if not isinstance(written, Mapping) or not written:
        raise UserError("[benchmark] is missing; add it with the configuration that every trial is compared with")
    benchmark = {key: check_value(key, value, "benchmark") for key, value in written.items()}
    if "n_estimators" not in benchmark:
        raise UserError("benchmark.n_estimators is missing; add the number of trees")
    return benchmark
