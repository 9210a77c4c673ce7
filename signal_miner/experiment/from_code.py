"""Experiments built or changed in code: what a notebook holds made plain, and written as the file it stands for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path, PurePath
from typing import Any

import tomli_w

from signal_miner.errors import UserError
from signal_miner.experiment.experiment import (
    TABLES,
    Experiment,
    parse_experiment,
    read_experiment_file,
    tables_of,
    without_none,
)
from signal_miner.utils.validation import LARGEST_AXIS, as_path, shown

_DEEPEST = 3


def make_experiment(**settings: Any) -> Experiment:
    """Build an experiment in code.

    Parameters
    ----------
    **settings
        The keys of an experiment file: ``name``, ``data``, ``grid``, ``benchmark``, ``folds``, …. Tables are mappings;
        a list may as well be a tuple, a range or an array, a number one of numpy's, a place a `pathlib.Path`. None is
        as if the key were not given.

    Returns
    -------
    Experiment
        Its `text` is the file that says the same.

    Raises
    ------
    UserError
        If a key, type or value is wrong.

    Examples
    --------
    >>> experiment = make_experiment(
    ...     name="mine_my_own",
    ...     data="demo",
    ...     grid={"n_estimators": range(50, 201, 50), "max_depth": {"from": 2, "to": 5}},
    ...     benchmark={"n_estimators": 100},
    ... )
    >>> experiment.axes
    {'n_estimators': (50, 100, 150, 200), 'max_depth': (2, 3, 4, 5)}
    >>> print(experiment.text.partition("[grid]")[2])
    <BLANKLINE>
    n_estimators = [
        50,
        100,
        150,
        200,
    ]
    max_depth = { from = 2, to = 5 }
    <BLANKLINE>
    """
    table = _keywords(settings)
    return replace(parse_experiment(table), text=_as_toml(without_none(table)))


def load_experiment(path: str | Path = "experiments/demo.toml", **changes: Any) -> Experiment:
    """Read an experiment file, and change what is to be another.

    Parameters
    ----------
    path : str or Path, optional
        The file; the invented market's if not given.
    **changes
        Values in place of the file's, as `make_experiment` takes them. Of a table, ``folds={"count": 3}``, the keys
        that are named change and the others stay. None takes a key out, so that its default holds.

    Returns
    -------
    Experiment
        Its `text` is the file as written; where something has changed, what the changed file would say.

    Raises
    ------
    UserError
        If the file is absent or not TOML, or a key, type or value is wrong.
    """
    path = as_path("path", path, "experiments/demo.toml")
    table, text = read_experiment_file(path)
    changed = dict(table)
    for key, value in _keywords(changes).items():
        old = table.get(key)
        inner = key in TABLES and isinstance(value, dict) and isinstance(old, dict)
        changed[key] = old | value if inner else value
    try:
        experiment = parse_experiment(changed, text)
    except UserError as error:
        raise UserError(f"{path}: {error}") from error
    changed = without_none(changed)
    return experiment if changed == table else replace(experiment, text=_as_toml(changed))


def experiment_table(experiment: Experiment) -> dict[str, object]:
    """Return the table that `parse_experiment` makes the same experiment of.

    Parameters
    ----------
    experiment : Experiment

    Returns
    -------
    dict
        As JSON takes it, axes in their order; without `text`.
    """
    constraint = experiment.constraint
    return without_none(
        {
            "name": experiment.name,
            "data": experiment.data,
            "feature_set": experiment.feature_set,
            "targets": _listed(experiment.targets),
            "scoring_target": experiment.scoring_target,
            "horizon_days": experiment.horizon_days,
            "numerai_benchmarks": _listed(experiment.numerai_benchmarks),
            "trials": experiment.trials,
            "jobs": experiment.jobs,
            "seed": experiment.seed,
            "constraint": constraint.expression if constraint else None,
            "memory_gb": experiment.memory_gb,
            "cache_gb": experiment.cache_gb,
            "study_storage": experiment.study_storage,
            "tracking_uri": experiment.tracking_uri,
            "folds": asdict(experiment.folds),
            "grid": {name: list(values) for name, values in experiment.axes.items()},
            "benchmark": dict(experiment.benchmark),
        }
    )


def _listed(names: tuple[str, ...] | None) -> list[str] | None:
    return None if names is None else list(names)


def _as_toml(table: Mapping[str, Any]) -> str:
    """Write a table that was found to be an experiment."""
    # The order of the axes decides what is drawn, and tomli_w writes tables, as ranges are, behind everything else.
    axes = [
        f"{name} = {{ {', '.join(tomli_w.dumps(axis).splitlines())} }}\n"
        if isinstance(axis, Mapping)
        else tomli_w.dumps({name: axis})
        for name, axis in table["grid"].items()
    ]
    rest = {key: value for key, value in table.items() if key != "grid"}
    return "".join([tomli_w.dumps(rest), "\n[grid]\n", *axes])


def _keywords(settings: Mapping[str, Any]) -> dict[str, Any]:
    table = _plain_table(settings)
    for key, value in table.items():
        if tables := tables_of(key):
            raise UserError(
                f"{key} is no setting but a key of {' and '.join(tables)}; "
                f'write {tables[0]}={{"{key}": {shown(value)}}}'
            )
    return table


def _plain_table(table: Mapping[Any, Any], where: str = "", depth: int = 0) -> dict[str, Any]:
    """Return a table as TOML reads it, with None still there for the keys that are not given."""
    plain: dict[str, Any] = {}
    for key, value in table.items():
        if not isinstance(key, str):
            raise UserError(f"{where.rstrip('.')} has the key {shown(key)}, which is not text; write it in quotes")
        plain[key] = None if value is None else _plain(f"{where}{key}", value, depth)
    return plain


def _plain(key: str, value: Any, depth: int) -> Any:
    if isinstance(value, PurePath):
        bare = len(value.parts) == 1 and not value.is_absolute()
        value = f"./{value}" if bare and key == "data" else str(value)  # "demo" would be the invented market
    elif hasattr(value, "tolist") and not isinstance(value, type):  # numpy's and pandas' word for plain values
        value = value.tolist()
    if isinstance(value, Mapping | list | tuple) and depth > _DEEPEST:  # it may hold itself
        raise UserError(
            f"{key} holds lists or tables more than {_DEEPEST} deep, which no experiment does; write it flat"
        )
    if isinstance(value, Mapping):
        return _plain_table(value, f"{key}.", depth + 1)
    if isinstance(value, range) and value[LARGEST_AXIS:]:
        raise UserError(f"{key} has more than {LARGEST_AXIS} values; use a larger step")
    if isinstance(value, list | tuple | range):
        return [_plain(key, item, depth + 1) for item in value]
    if value is None:
        raise UserError(f"{key} holds None, which is no value; leave it out")
    if not isinstance(value, bool | int | float | str):
        kind = type(value).__name__
        raise UserError(
            f"{key} holds a value of type {kind!r}, which no experiment file can; write text, numbers, a list or table"
        )
    if isinstance(value, str):
        try:
            value.encode()
        except UnicodeEncodeError as error:
            raise UserError(f"{key} = {shown(value)} is not Unicode text; write it in other letters") from error
    return value
