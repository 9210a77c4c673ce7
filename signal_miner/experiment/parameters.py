"""LightGBM's parameters: which can be mined, how a file writes an axis of them, and what reaches the booster."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from signal_miner.data.folds import Fold
from signal_miner.errors import UserError, did_you_mean
from signal_miner.utils.validation import LARGEST_AXIS, LARGEST_INTEGER, Rule, Value, shown

_LARGEST_NUMBER = 1e30
_DEFAULT_MAX_BIN = 255  # LightGBM's own

POOLED, ERA, DIRECTIONAL = "pooled", "era", "directional"
"""Values of ``split_criterion``."""

RULES: dict[str, Rule] = {
    "colsample_bytree": Rule(float, 0, 1, open_low=True),
    "colsample_bynode": Rule(float, 0, 1, open_low=True),
    "subsample": Rule(float, 0, 1, open_low=True),
    "subsample_freq": Rule(int, 0, LARGEST_INTEGER),
    "learning_rate": Rule(float, 0, 10, open_low=True),
    "n_estimators": Rule(int, 1, 1_000_000),
    "max_bin": Rule(int, 2, 65_535),
    "max_depth": Rule(int, -1, 1_000),
    "num_leaves": Rule(int, 2, 131_072),
    "min_child_samples": Rule(int, 0, LARGEST_INTEGER),
    "min_child_weight": Rule(float, 0, _LARGEST_NUMBER),
    "min_split_gain": Rule(float, 0, _LARGEST_NUMBER),
    "reg_lambda": Rule(float, 0, _LARGEST_NUMBER),
    "reg_alpha": Rule(float, 0, _LARGEST_NUMBER),
    "max_delta_step": Rule(float, 0, _LARGEST_NUMBER),
    "path_smooth": Rule(float, 0, _LARGEST_NUMBER),
    "extra_trees": Rule(bool),
    "data_sample_strategy": Rule(str, choices=("bagging", "goss")),
    "device_type": Rule(str, choices=("cpu", "gpu", "cuda")),
    "split_criterion": Rule(str, choices=(POOLED, ERA, DIRECTIONAL)),
    "era_block": Rule(int, 1, LARGEST_INTEGER),
    "boltzmann_alpha": Rule(float, -_LARGEST_NUMBER, _LARGEST_NUMBER),
    "min_direction_agreement": Rule(float, 0, 1),
    "allow_degenerate_splits": Rule(bool),
    "train_last_eras": Rule(int, -1, LARGEST_INTEGER),
    "feature_set": Rule(str),
    "target": Rule(str),
    "target_residual": Rule(float, 0, 1),
}
"""Parameters of a grid and a benchmark: LightGBM's by scikit-learn names, splits chosen by era, what is trained on."""

ERA_PARAMETERS = ("era_block", "boltzmann_alpha", "min_direction_agreement", "allow_degenerate_splits")
"""Of these, what has a meaning only for splits chosen by era, which one engine makes."""

_NOT_BOOSTED = {
    "target", "target_residual", "feature_set", "train_last_eras", "n_estimators", "max_bin", "split_criterion",
    *ERA_PARAMETERS,
}  # fmt: skip
"""What decides a dataset, the number of updates and what is not LightGBM's; `booster_params` passes on all others."""

_ALIASES = {
    "feature_fraction": "colsample_bytree",
    "feature_fraction_bynode": "colsample_bynode",
    "bagging_fraction": "subsample",
    "bagging_freq": "subsample_freq",
    "lambda_l1": "reg_alpha",
    "lambda_l2": "reg_lambda",
    "eta": "learning_rate",
    "device": "device_type",
    "num_iterations": "n_estimators",
    "num_trees": "n_estimators",
    "num_boost_round": "n_estimators",
    "min_data_in_leaf": "min_child_samples",
    "min_sum_hessian_in_leaf": "min_child_weight",
    "min_gain_to_split": "min_split_gain",
    "n_jobs": "jobs, at the top of the file",
    "num_threads": "jobs, at the top of the file",
    "random_state": "seed, at the top of the file",
    "seed": "seed, at the top of the file",
}


_OF_THE_MODEL = {"model", "model_type", "algorithm", "estimator", "objective", "application", "loss", "metric"}


def check_name(name: str, where: str) -> Rule:
    """Return the rule of a parameter; raise a UserError if it cannot be mined."""
    if name in RULES:
        return RULES[name]
    if name in _ALIASES:
        raise UserError(f"{where}.{name} is LightGBM's other name; use {_ALIASES[name]}")
    if name in {"boosting", "boosting_type"}:
        raise UserError(
            f"{where}.{name} is not a dimension: the learning curve is read from gbdt boosters; leave it out"
        )
    if name in _OF_THE_MODEL:
        raise UserError(f"{where}.{name} is not a parameter: every model is a LightGBM regression; leave it out")
    raise UserError(f"{where}.{shown(name)[1:-1]} is not a parameter that can be mined{did_you_mean(name, RULES)}")


def check_value(name: str, value: Any, where: str) -> Value:
    """Return a value in its parameter's type; raise a UserError if it has another type or is out of range."""
    rule = check_name(name, where)
    if rule.kind is int and isinstance(value, float) and value.is_integer():
        value = int(value)
    if name == "train_last_eras" and value != -1 and not Rule(int, 2, LARGEST_INTEGER).admits(value):
        raise UserError(f"{where}.train_last_eras = {shown(value)} is not an integer of at least 2, nor -1 (all eras)")
    checked: Value = rule.checked(f"{where}.{name}", value)
    if name == "max_depth" and checked == 0:
        raise UserError(f"{where}.max_depth = 0 is not a depth; use -1 for no limit, or 1 and more")
    return checked


def parse_axis(name: str, written: Any, where: str = "grid") -> tuple[Value, ...]:
    """Return the values of one axis.

    It is written as a list of values; a single value; or a table ``{from, to, count}`` (evenly spaced, both ends
    included, integers truncated as by ``numpy.linspace(..., dtype=int)``) or, for integers, ``{from, to, step}``.

    Raises
    ------
    UserError
        If it is none of these, a value breaks its parameter's rule, or a value occurs twice.
    """
    rule = check_name(name, where)
    if isinstance(written, Mapping):
        values = _spaced(name, rule, written, where)
    elif isinstance(written, list):
        values = [check_value(name, value, where) for value in written]
    else:
        values = [check_value(name, written, where)]
    if not values:
        raise UserError(f"{where}.{name} = [] has no values; list one or more, or leave the key out")
    if len(set(values)) < len(values):
        twice = next(value for value in values if values.count(value) > 1)
        raise UserError(f"{where}.{name} holds {twice!r} twice; list each value once")
    return tuple(values)


def _spaced(name: str, rule: Rule, table: Mapping[str, Any], where: str) -> list[Value]:
    usage = "write { from = 1, to = 9, count = 5 }" + (" or { from = 1, to = 9, step = 2 }" if rule.kind is int else "")
    if rule.kind not in (int, float):
        raise UserError(f"{where}.{name} cannot be a range; list its values")
    for key in table:
        if key not in {"from", "to", "count", "step"}:
            raise UserError(
                f"{where}.{name} has the unknown key {key!r}{did_you_mean(key, ['from', 'to', 'count', 'step'])}"
            )
    if not {"from", "to"} <= table.keys() or {"count", "step"} <= table.keys():
        raise UserError(f"{where}.{name} is not a range; {usage}")
    low, high = (check_value(name, table[end], where) for end in ("from", "to"))
    if isinstance(low, str) or isinstance(high, str) or low > high:
        raise UserError(f"{where}.{name}: from = {low!r} is above to = {high!r}; swap them")
    if "count" in table:
        count = table["count"]
        if not Rule(int, 1, LARGEST_AXIS).admits(count):
            raise UserError(f"{where}.{name}: count = {shown(count)} is not an integer from 1 to {LARGEST_AXIS}")
        if rule.kind is int and count > high - low + 1:
            raise UserError(
                f"{where}.{name}: count = {count} is more than the {high - low + 1} integers from {low} to {high}"
            )
        return [check_value(name, value, where) for value in np.linspace(low, high, count, dtype=rule.kind).tolist()]
    if rule.kind is float:
        raise UserError(f"{where}.{name} needs a count, as its values are not integers; {usage}")
    step = Rule(int, 1, LARGEST_INTEGER).checked(f"{where}.{name}: step", table.get("step", 1))
    if (high - low) // step >= LARGEST_AXIS:
        raise UserError(f"{where}.{name} has more than {LARGEST_AXIS} values; use a larger step")
    return [check_value(name, value, where) for value in range(int(low), int(high) + 1, step)]


def max_bin_of(params: Mapping[str, Value]) -> int:
    """Return a configuration's ``max_bin``, by default LightGBM's own."""
    return int(params.get("max_bin", _DEFAULT_MAX_BIN))


@dataclass(frozen=True, order=True)
class DatasetKey:
    """What of a fold a configuration is trained on: those alike in it share a dataset.

    Attributes
    ----------
    feature_set : str or None
        None where the study has one set alone.
    train_last_eras : int
        The newest eras before the purge, by number; -1 for all.
    residual : float
        Share of what a benchmark explains that is taken out of the target.
    """

    PARAMETERS: ClassVar = frozenset({"feature_set", "train_last_eras", "max_bin", "target", "target_residual"})

    feature_set: str | None
    train_last_eras: int
    max_bin: int
    target: str
    residual: float = 0.0

    @classmethod
    def of(cls, params: Mapping[str, Value]) -> DatasetKey:
        """Return a configuration's."""
        named = params.get("feature_set")
        last = int(params.get("train_last_eras", -1))
        share = float(params.get("target_residual", 0.0))
        return cls(None if named is None else str(named), last, max_bin_of(params), str(params["target"]), share)

    def of_fold(self, fold: Fold) -> Fold:
        """Return a fold with the training eras that are used of it."""
        return fold.trained_on_newest(self.train_last_eras)


def dataset_params(max_bin: int, seed: int) -> dict[str, Any]:
    """Return LightGBM's parameters for a dataset."""
    return {
        "max_bin": max_bin,
        "random_state": seed,
        # One dataset serves every min_child_samples; the filter would drop features by the first trial's.
        "feature_pre_filter": False,
        # Where two merged parts both have bundles of sparse features, such as those that did not exist in early eras,
        # LightGBM reorders the features of the training rows but not of the validation rows: predictions would read
        # other features' values.
        "enable_bundle": False,
        "force_col_wise": True,
        # The setting is global to the process, and other trials train while a dataset is built.
        "num_threads": 1,
        "verbosity": -1,
    }


def booster_params(params: Mapping[str, Value], seed: int) -> dict[str, Any]:
    """Return LightGBM's parameters to train a configuration: those of its dataset, one thread, deterministic."""
    own = {name: value for name, value in params.items() if name not in _NOT_BOOSTED}
    shared = dataset_params(max_bin_of(params), seed)
    return own | shared | {"objective": "regression", "metric": "None", "deterministic": True}
