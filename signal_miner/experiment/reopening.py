"""A study's plan laid over its data once more, from what tracking keeps of it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from signal_miner.data.sources import DATA_DIRECTORY
from signal_miner.errors import UserError
from signal_miner.experiment.experiment import parse_experiment
from signal_miner.experiment.plan import Plan, make_plan, open_data, plan_record
from signal_miner.utils.validation import Value

_TARGET = "target"


def reopen_plan(record: Mapping[str, Any], data: str | None = None) -> Plan:
    """Return the plan that a study was mined by.

    Parameters
    ----------
    record : mapping
        What `plan.plan_record` returned.
    data : str, optional
        Where the data lie now, if not where they lay.

    Returns
    -------
    Plan

    Raises
    ------
    UserError
        If the data are not there, or are not those that the study was mined on.
    """
    given = record["experiment"]
    grid = {name: list(values) for name, values in given["grid"].items() if name != _TARGET}
    table: dict[str, Any] = {
        "name": given["name"],
        "data": data or given["data"],
        "feature_set": given["feature_set"],
        "targets": list(given["grid"][_TARGET]),
        "scoring_target": given["scoring_target"],
        "folds": {key: value for key, value in given["folds"].items() if value is not None},
        "grid": grid,
        "benchmark": given["benchmark"],
        "numerai_benchmarks": list(given["numerai_benchmarks"]),
        "trials": given["trials"],
        "jobs": given.get("jobs", -1),
        "seed": given["seed"],
    }
    for key in ("horizon_days", "constraint", "memory_gb", "cache_gb"):
        if given.get(key) is not None:  # studies of before the last two have neither
            table[key] = given[key]
    experiment = parse_experiment(table)
    dataset = open_data(replace(experiment, data=data or _where_they_lie(record)))
    tracked = record["data"]["digest"]
    if dataset.digest != tracked:
        raise UserError(
            f"the data {experiment.data!r} are not those that study {record['study']} was mined on (digest "
            f"{dataset.digest}, then {tracked}); say where those lie with -P data=…, or mine the new data first"
        )
    plan = make_plan(experiment, dataset)
    if json.loads(json.dumps(plan_record(plan)))["targets"] != record["targets"]:
        raise UserError(f"the folds are not those of study {record['study']}; mine it again")
    return plan


def _where_they_lie(record: Mapping[str, Any]) -> str:
    """Return where a study's data are: as it named them, or where they lay, should this be another directory."""
    named, files = str(record["experiment"]["data"]), [Path(file) for file in record["data"]["files"]]
    at_hand = Path(named).expanduser().exists() or (DATA_DIRECTORY / named).exists()
    if at_hand or not files or not all(file.is_file() for file in files):
        return named
    single = Path(named).suffix.lower() in {".parquet", ".pq", ".csv"}
    return str(files[0] if single else files[0].parent)


def configuration(plan: Plan, tracked: Mapping[str, str]) -> dict[str, Value]:
    """Return a tracked configuration with the grid's own values for the texts that MLflow keeps.

    Parameters
    ----------
    plan : Plan
    tracked : mapping of str to str
        A trial's parameters.

    Returns
    -------
    dict
        Without ``seed``.

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
