"""Over a thousand odd values in every place of an experiment: accepted whole, or refused in one short line."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from signal_miner.errors import UserError
from signal_miner.experiment.files import load_experiment, make_experiment
from signal_miner.experiment.parameters import RULES
from signal_miner.experiment.schema import KEYS, Experiment, experiment_table, parse_experiment

GOOD: dict[str, Any] = {
    "name": "a",
    "data": "b",
    "targets": ["target"],
    "trials": 3,
    "grid": {"n_estimators": [5, 6], "max_depth": {"from": 2, "to": 4}, "num_leaves": [3]},
    "benchmark": {"n_estimators": 5},
    "folds": {"count": 2},
    "constraint": "num_leaves <= 2**max_depth",
}
NUMBERS = [0, -1, 1, 2**31, 2**63, 10**400, -(10**400), 1.5, float("nan"), float("inf"), -0.0, 1e308, 1j]
TEXTS = ["", " ", "a", "x" * 5000, "\0", "\x1b[2J", "\ud800", "é" * 300, "a\nb", "1", "true", b"x"]
LISTS = [[], [[]], [None], [1, [2]], ["a", "a"], (1, 2), set(), range(3), range(10**12), np.array([1, 2]), np.eye(2)]
TABLES = [
    {},
    {"": 1},
    {"from": 1},
    {"from": 1, "to": 2, "count": 10**9},
    {"from": "a", "to": "b"},
    {"from": 1, "to": 3, "step": 0},
    {"from": 3, "to": 1},
    {"a": {"b": {"c": {"d": 1}}}},
]
ODD = [None, True, False, ..., object(), Path(), np.float32(1), np.int8(3), *NUMBERS, *TEXTS, *LISTS, *TABLES]
PLACES = [
    *((key,) for key in (*KEYS, "zzz", "max_depth", "embargo_eras", "")),
    *(("grid", name) for name in (*RULES, "zzz", "eta", "model")),
    *(("benchmark", name) for name in (*RULES, "zzz")),
    *(("folds", name) for name in ("count", "embargo_eras", "holdout_eras", "train_era_step", "zzz")),
]


def made(place: tuple[str, ...], value: Any) -> Experiment:
    table = copy.deepcopy(GOOD)
    within = table[place[0]] if len(place) > 1 else table
    within[place[-1]] = value
    return make_experiment(**table)


def changed(place: tuple[str, ...], value: Any) -> Experiment:
    return load_experiment("demo", **{place[0]: {place[1]: value} if len(place) > 1 else value})


@pytest.mark.parametrize("build", [made, changed])
def test_odd_values_are_accepted_whole_or_refused_in_one_short_line(build):
    accepted, refused, wrong = 0, 0, []
    for number, place in enumerate(PLACES):
        for value in ODD[number % 4 :: 4]:
            case = f"{build.__name__} {'.'.join(place)} = {value!r:.60}"
            try:
                experiment = build(place, value)
                sent = json.loads(json.dumps(experiment_table(experiment)))
                if parse_experiment(sent, experiment.text) != experiment:
                    wrong.append(f"{case} is sent as another experiment")
                accepted += 1
            except UserError as error:
                refused += 1
                if "\n" in str(error) or "\x1b" in str(error) or len(str(error)) > 1200:
                    wrong.append(f"{case}: {error}")
            except Exception as error:  # noqa: BLE001
                wrong.append(f"{case}: {error!r}")
    assert not wrong, "\n".join(wrong)
    assert accepted > 20
    assert refused > 500
