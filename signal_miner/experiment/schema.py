"""The schema of an experiment: each setting is declared once, with its default and its check. Reads no data.

Experiment files, notebooks, ``plan.json`` and the background miner all pass through `parse_experiment` on the way in
and `experiment_table` on the way out.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import MISSING, asdict, dataclass, field, fields, replace
from functools import partial
from typing import Any, TypeVar

from signal_miner.errors import UserError, did_you_mean, nearest
from signal_miner.experiment.constraint import Constraint, parse_constraint
from signal_miner.experiment.engines import BITPLANE, ENGINES, LIGHTGBM
from signal_miner.experiment.parameters import (
    DIRECTIONAL,
    ERA_PARAMETERS,
    POOLED,
    RULES,
    check_name,
    check_value,
    parse_axis,
)
from signal_miner.experiment.study_files import STUDY_STORAGE
from signal_miner.scoring.objective import Objective
from signal_miner.scoring.payout import Payout
from signal_miner.utils.redaction import KeptWithoutPasswords, without_passwords
from signal_miner.utils.validation import LARGEST_INTEGER, Rule, Value, shown

T = TypeVar("T")

LEADERS = 10
"""Trials that a ``[confirm]`` table trains again where it does not say how many."""

ALL_TARGETS = "all"
"""Value of ``targets`` that trains on every target of the data."""

TABLES = ("folds", "cluster", "grid", "benchmark", "payout", "confirm", "race")
"""Keys of an experiment that hold tables."""

PREDICTIONS_KEY = "predictions"
"""Key of ``[benchmark]``, in place of a configuration: a column of Numerai's benchmark predictions."""

BENCHMARK = "benchmark"
"""The benchmark run, as the model that a contribution is taken against; also its name among a scorer's benchmarks."""

OF_DATA = "data"
"""Value of ``contribution_to``: the data's predictions for the scoring horizon, or `BENCHMARK` where it has none."""

PAYOUT_KEYS = tuple(each.name for each in fields(Payout))

LARGEST_MULTIPLIER = 1000.0

_LONGEST_NAME = 100


def _by(check: Callable[[str, Any], Any], key: str | None = None) -> dict[str, Any]:
    """Return a field's metadata; where the field has no default, `check` also refuses the None of a missing key."""
    return {"check": check, "key": key}


class Mistakes(UserError):
    """Several mistakes of an experiment; the message numbers those after the first."""

    def __init__(self, messages: Iterable[str]) -> None:
        self.messages = tuple(dict.fromkeys(messages))
        first, *others = self.messages
        super().__init__(" ".join([first, *(f"({number}) {text}" for number, text in enumerate(others, 2))]))


def _all_of(steps: Iterable[Callable[[], T]]) -> list[T]:
    """Return what each step returns; raise the mistakes of all of them together."""
    results: list[T] = []
    mistakes: list[str] = []
    for step in steps:
        try:
            results.append(step())
        except Mistakes as error:
            mistakes += error.messages
        except UserError as error:
            mistakes.append(str(error))
    if mistakes:
        raise Mistakes(mistakes)
    return results


def _text(key: str, value: Any) -> str:
    if value is None:
        raise UserError(f'{key} is missing; add the line {key} = "…"')
    if isinstance(value, list | Mapping):
        raise UserError(f"{key} = {shown(value)} is not text but a {_kind(value)}; write one text in quotes")
    if not isinstance(value, str) or not value.strip():
        raise UserError(f"{key} = {shown(value)} is not text; write it in quotes")
    if "\0" in value:
        raise UserError(f"{key} = {shown(value)} holds a null byte, which no name or path can; remove it")
    return value.strip()


def _name(key: str, value: Any) -> str:
    name = _text(key, value)
    if not re.fullmatch(r"[A-Za-z0-9][\w .-]*", name):
        raise UserError(f"{key} = {shown(name)} is not a name; use letters, digits, spaces, '_', '-' and '.'")
    if len(name.encode()) > _LONGEST_NAME:  # files are named after it
        raise UserError(
            f"{key} = {shown(name)} is too long; use at most {_LONGEST_NAME} letters, fewer with accents such as é"
        )
    return name


def _kind(value: object) -> str:
    return "table" if isinstance(value, Mapping) else "list"


def _names(key: str, value: Any) -> tuple[str, ...] | None:
    if value == ALL_TARGETS:
        return None
    names = [value] if isinstance(value, str) else value
    if not isinstance(names, list) or not all(isinstance(name, str) and name for name in names):
        raise UserError(f'{key} = {shown(value)} is neither "all" nor a list of names')
    if len(set(names)) < len(names):
        raise UserError(f"{key} = {shown(value)} holds a name twice; list each once")
    return tuple(names)


def _targets(key: str, value: Any) -> tuple[str, ...] | None:
    names = _names(key, value)
    if names == ():
        raise UserError(f'{key} = [] leaves nothing to train on; list one or more, or write "all"')
    return names


def _feature_set(key: str, value: Any) -> str | tuple[str, ...]:
    if not isinstance(value, list):
        return _text(key, value)
    names = tuple(_text(key, name) for name in value)
    if not names:
        raise UserError(f'{key} = [] leaves nothing to train on; list one or more sets, or write "all"')
    if len(set(names)) < len(names):
        raise UserError(f"{key} = {shown(value)} holds a name twice; list each once")
    return names if len(names) > 1 else names[0]


def _horizon(key: str, value: Any) -> int:
    if value not in (20, 60) or isinstance(value, bool):
        raise UserError(f"{key} = {shown(value)} is not a horizon of Numerai's targets; use 20 or 60")
    return int(value)


def _engine(key: str, value: Any) -> str:
    if value not in ENGINES:
        raise UserError(f"{key} = {shown(value)} is not one of {', '.join(ENGINES)}{nearest(str(value), ENGINES)}")
    return str(value)


def _objective(key: str, value: Any) -> Objective:
    known = [str(each) for each in Objective]
    if value not in known:
        raise UserError(f"{key} = {shown(value)} is not one of {', '.join(known)}{nearest(str(value), known)}")
    return Objective(value)


def _payout(key: str, value: Any) -> Payout:
    if not isinstance(value, Mapping):
        raise UserError(
            f"{key} = {shown(value)} is not a table; write [{key}] and below it corr = 3, mmc = 15, clip = 1"
        )
    for name in PAYOUT_KEYS:
        if name not in value:
            raise UserError(f"{key}.{name} is missing; give all of {', '.join(PAYOUT_KEYS)}, or leave [{key}] out")
    payout = Payout(**dict(_all_of(partial(_multiplier, key, name, value[name]) for name in PAYOUT_KEYS)))
    if not payout.pays:
        raise UserError(f"{key}.corr and {key}.mmc are both 0, which pays nothing; set one above 0")
    return payout


def _multiplier(table: str, name: str, value: Any) -> tuple[str, float]:
    checked: float = Rule(float, 0, LARGEST_MULTIPLIER, open_low=name == "clip").checked(f"{table}.{name}", value)
    return name, checked


def _jobs(key: str, value: Any) -> int:
    if value != -1 and not Rule(int, 1, 1024).admits(value):
        raise UserError(f"{key} = {shown(value)} is not an integer from 1 to 1024, nor -1 (one a core)")
    return int(value)


def _expression(key: str, value: Any) -> str:
    if not isinstance(value, str):
        raise UserError(f"{key} = {shown(value)} is not text; write one such as 'num_leaves <= 2**max_depth'")
    return value


def _folds(key: str, value: Any) -> FoldSettings:
    if not isinstance(value, Mapping):
        raise UserError(f"{key} = {shown(value)} is not a table; write [{key}] and below it count = 2")
    return FoldSettings(**_checked(FoldSettings, value, f"{key}."))


def _cluster(key: str, value: Any) -> ClusterSettings:
    if not isinstance(value, Mapping):
        raise UserError(f"{key} = {shown(value)} is not a table; write [{key}] and below it workers = 2")
    settings = ClusterSettings(**_checked(ClusterSettings, value, f"{key}."))
    if settings.scheduler is not None and settings.workers is not None:
        raise UserError(
            f"{key}.workers = {settings.workers} starts workers on this machine, and {key}.scheduler names a cluster "
            "that has its own; leave one out"
        )
    return settings


def _scheduler(key: str, value: Any) -> str:
    address = _place(key, value)
    if not re.fullmatch(r"(tcp|tls|ws|wss|ucx)://\S+", address):
        raise UserError(
            f"{key} = {shown(address)} is not the address of a Dask scheduler; write one such as tcp://10.0.0.1:8786"
        )
    return address


def _place(key: str, value: Any) -> str:
    address = _text(key, value)
    if without_passwords(address) != address:  # workers are sent it, and others see what they are sent
        raise UserError(
            f"{key} = {shown(without_passwords(address))} contains a password, which every user of the cluster could "
            "read; leave it out, and set what the file system reads in each worker's environment"
        )
    return address


def _confirm(key: str, value: Any) -> ConfirmSettings:
    if not isinstance(value, Mapping):
        raise UserError(f"{key} = {shown(value)} is not a table; write [{key}] and below it leaders = 10")
    return ConfirmSettings(**{"leaders": LEADERS} | _checked(ConfirmSettings, value, f"{key}."))


def _race(key: str, value: Any) -> RaceSettings | None:
    if isinstance(value, bool):
        return RaceSettings() if value else None
    if not isinstance(value, Mapping):
        raise UserError(f"{key} = {shown(value)} is neither true, false nor a table; write {key} = true, or [{key}]")
    found = _checked(RaceSettings, value, f"{key}.")
    if found.get("significance") == 0:  # which trained all folds to the end before there was `recovery`
        found.setdefault("recovery", 0.0)
    return RaceSettings(**found)


def _grid(key: str, value: Any) -> dict[str, tuple[Value, ...]]:
    if not isinstance(value, Mapping) or not value:
        raise UserError(
            f"[{key}] is missing or empty; add it with at least one parameter, such as learning_rate = [0.01]"
        )
    for name, top, listed in (("target", "targets", "target"), ("feature_set", "feature_set", "small")):
        if name in value:
            raise UserError(
                f'grid.{name} is set by {top}, at the top of the file: {top} = ["{listed}", …]; move it there'
            )

    def axis(name: str) -> tuple[str, tuple[Value, ...]]:
        if name not in value:
            raise UserError("grid.n_estimators is missing; add the number of trees, such as n_estimators = [500, 1000]")
        return name, parse_axis(name, value[name])

    axes = dict(_all_of(partial(axis, name) for name in dict.fromkeys([*value, "n_estimators"])))
    if "subsample" in axes and "subsample_freq" not in axes:
        raise UserError("grid.subsample does nothing without subsample_freq; add subsample_freq = 1")
    return axes


def _benchmark(key: str, value: Any) -> dict[str, Value]:
    if not isinstance(value, Mapping) or not value:
        raise UserError(f"[{key}] is missing; add it with the configuration that every trial is compared with")
    if PREDICTIONS_KEY in value:
        column = _text(f"{key}.{PREDICTIONS_KEY}", value[PREDICTIONS_KEY])
        if others := [name for name in value if name != PREDICTIONS_KEY]:
            raise UserError(
                f"{key}.{PREDICTIONS_KEY} = {shown(column)} is not trained here; leave out {', '.join(others)}"
            )
        return {PREDICTIONS_KEY: column}

    def parameter(name: str) -> tuple[str, Value]:
        return name, check_value(name, value[name], key)

    benchmark = dict(_all_of(partial(parameter, name) for name in value))
    if "target_residual" in benchmark:
        raise UserError(f"{key}.target_residual takes a benchmark out of the target, not out of itself; leave it out")
    if "n_estimators" not in benchmark:
        raise UserError("benchmark.n_estimators is missing; add the number of trees")
    if _bags_in_goss({name: (each,) for name, each in benchmark.items()}):
        raise UserError(
            "benchmark.data_sample_strategy = 'goss' goes with subsample = 1 only, as LightGBM refuses both; leave "
            "one out"
        )
    return benchmark


def _bags_in_goss(axes: Mapping[str, tuple[Value, ...]]) -> bool:
    """Return whether some configuration would draw rows both by bagging and by GOSS."""
    return (
        "goss" in axes.get("data_sample_strategy", ())
        and any(float(value) < 1 for value in axes.get("subsample", ()))
        and any(float(value) > 0 for value in axes.get("subsample_freq", ()))
    )


def _integer(low: int, high: int = LARGEST_INTEGER) -> Callable[[str, Any], Any]:
    return Rule(int, low, high).checked


def _number(low: float, high: float = math.inf, *, open_low: bool = False) -> Callable[[str, Any], Any]:
    return Rule(float, low, high, open_low=open_low).checked


def _gigabytes(*, open_low: bool) -> Callable[[str, Any], Any]:
    return partial(Rule(float, 0, LARGEST_INTEGER, open_low=open_low).checked, repair=", in GB")


@dataclass(frozen=True, kw_only=True)
class FoldSettings:
    """The ``[folds]`` table.

    Attributes
    ----------
    count : int
        Walk-forward folds, at least 2: all but the last are validation, the last is test.
    embargo_eras : int or None
        Purge in eras; None for the one that the targets' horizons ask for.
    holdout_eras : int
        Newest eras that neither mining nor selection touches.
    train_era_step : int
        Train on one era in so many, as weekly eras overlap; 1 for all of them.
    """

    count: int = field(default=2, metadata=_by(_integer(2)))
    embargo_eras: int | None = field(default=None, metadata=_by(_integer(0)))
    holdout_eras: int = field(default=0, metadata=_by(_integer(0)))
    train_era_step: int = field(default=1, metadata=_by(_integer(1)))


@dataclass(frozen=True, kw_only=True)
class ClusterSettings:
    """The ``[cluster]`` table: where trials are trained, which changes nothing in what they score.

    Attributes
    ----------
    scheduler : str or None
        Address of a Dask scheduler whose workers train.
    workers : int or None
        Processes to start on this machine instead.
    data : str or None
        Where workers find the data: a path, or an address that fsspec can read; None for where this machine has them,
        else what the experiment names, in a worker's own working directory.
    exchange : str or None
        Directory, or an fsspec address, that this process and all workers reach and through which predictions
        come back; None to send them through the scheduler's connections.
    """

    scheduler: str | None = field(default=None, metadata=_by(_scheduler))
    workers: int | None = field(default=None, metadata=_by(_integer(1, 1024)))
    data: str | None = field(default=None, metadata=_by(_place))
    exchange: str | None = field(default=None, metadata=_by(_place))

    def __bool__(self) -> bool:
        return self.scheduler is not None or self.workers is not None


@dataclass(frozen=True, kw_only=True)
class ConfirmSettings:
    """The ``[confirm]`` table: leaders that are trained again with further seeds once all trials are finished.

    Attributes
    ----------
    leaders : int
        Best trials in validation; 0 for none, as without the table. In a table without it: `LEADERS`.
    seeds : int
        Seeds of each, its own included, at least 2.
    """

    leaders: int = field(default=0, metadata=_by(_integer(0)))
    seeds: int = field(default=3, metadata=_by(_integer(2, 1000)))


@dataclass(frozen=True, kw_only=True)
class RaceSettings:
    """The ``[race]`` table: how training is stopped early where a trial cannot win; see `engine.racing`.

    Attributes
    ----------
    controls : float
        Share of all draws, chosen by the seed, that are trained to the end whatever they score; 0 to 1.
    recovery : float
        Least probability of a new best, by the curve's own movement, for a validation fold to be trained further; 0 to
        train each fold to its last tree.
    significance : float
        Level at which a trial counts as below the benchmark after a validation fold that is not the last.
    patience : int or None
        Has no effect; accepted so that files and studies from before `recovery` open.
    margin : float
        CORR or payout of an era that the best checkpoint may be below the benchmark.
    quantile : float
        Of the pilot's scores in validation, which the best checkpoint has to reach as well; 0 for no pilot.
    pilot : int
        The first draws, which are trained to the end before any other is begun, where there is a quantile.
    """

    controls: float = field(default=0.1, metadata=_by(_number(0, 1)))
    recovery: float = field(default=0.25, metadata=_by(_number(0, 1)))
    significance: float = field(default=0.1, metadata=_by(_number(0, 0.5)))
    patience: int | None = field(default=None, metadata=_by(_integer(1)))
    margin: float = field(default=0.0, metadata=_by(_number(0)))
    quantile: float = field(default=0.0, metadata=_by(_number(0, 1)))
    pilot: int = field(default=20, metadata=_by(_integer(1)))

    @property
    def pilot_trials(self) -> int:
        """How many draws are the pilot."""
        return self.pilot if self.quantile else 0


@dataclass(frozen=True, kw_only=True)
class Experiment(KeptWithoutPasswords):
    """One experiment. Neither its repr nor a pickle of it holds a store's password.

    Attributes
    ----------
    name : str
        Name of the MLflow experiment.
    data : str
        ``demo``, a Numerai data version such as ``v5.3``, a directory, or a parquet or CSV file.
    feature_set : str or tuple of str
        Key of ``feature_sets`` in ``features.json``; ``all`` for every feature of a single file. Several are a
        dimension of the grid.
    targets : tuple of str or None
        Targets trained on; None for every target of the data.
    scoring_target : str
        The one target that every model is scored on.
    horizon_days : int or None
        Horizon of the targets whose names do not end in it.
    engine : str
        ``lightgbm``, or ``bitplane``, which is faster on features of few levels.
    trials, jobs, seed : int
        Trials in all, threads that train (-1 for one a core), seed of draws and boosters.
    memory_gb : float or None
        Memory for the miner in GB of 10^9 bytes; None for what the machine has free, less a margin.
    cache_gb : float
        Limit of the disk cache of binned datasets in GB, 0 for none; and of all stores of bit planes, but for the one
        that is trained on.
    constraint : Constraint or None
    folds : FoldSettings
    confirm : ConfirmSettings
    race : RaceSettings or None
        How trials that cannot win are stopped early; None where all are trained to the end.
    axes : mapping of str to tuple of value
        The grid without its targets.
    benchmark : mapping of str to value
        The benchmark configuration, trained first; or `PREDICTIONS_KEY` alone, of which nothing is trained.
    contribution_to : str
        What BMC is a contribution to: `BENCHMARK`, a column of Numerai's benchmark predictions, or `OF_DATA`, which a
        plan replaces by one of them.
    objective : Objective
        The score that ranks models, chooses checkpoints and grows ensembles; it changes nothing that is trained.
    payout : Payout or None
        Multipliers of CORR and MMC; None for those in the data's directory, or else the defaults.
    numerai_benchmarks : tuple of str or None
        Columns of Numerai's benchmark predictions to compare with; None for all that the data has.
    cluster : ClusterSettings
        False where trials are trained in this process.
    study_storage : str
        Directory of the study's journal, or an Optuna storage URL.
    tracking_uri : str or None
        MLflow tracking store; None for MLflow's own default.
    text : str
        The experiment as a TOML file, for the study's run.
    """

    # In the order of plan.json.
    name: str = field(metadata=_by(_name))
    data: str = field(metadata=_by(_text))
    feature_set: str | tuple[str, ...] = field(default="all", metadata=_by(_feature_set))
    targets: tuple[str, ...] | None = field(default=None, metadata=_by(_targets))
    scoring_target: str = field(default="target", metadata=_by(_text))
    horizon_days: int | None = field(default=None, metadata=_by(_horizon))
    trials: int = field(default=100, metadata=_by(_integer(1)))
    jobs: int = field(default=-1, metadata=_by(_jobs))
    memory_gb: float | None = field(default=None, metadata=_by(_gigabytes(open_low=True)))
    cache_gb: float = field(default=20.0, metadata=_by(_gigabytes(open_low=False)))
    seed: int = field(default=0, metadata=_by(_integer(0, 2**31 - 1)))
    engine: str = field(default=LIGHTGBM, metadata=_by(_engine))
    constraint: Constraint | None = field(default=None, metadata=_by(_expression))
    folds: FoldSettings = field(default=FoldSettings(), metadata=_by(_folds))
    confirm: ConfirmSettings = field(default=ConfirmSettings(), metadata=_by(_confirm))
    race: RaceSettings | None = field(default=None, metadata=_by(_race))
    axes: Mapping[str, tuple[Value, ...]] = field(metadata=_by(_grid, "grid"))
    benchmark: Mapping[str, Value] = field(metadata=_by(_benchmark))
    contribution_to: str = field(default=BENCHMARK, metadata=_by(_text))
    objective: Objective = field(default=Objective.SHARPE, metadata=_by(_objective))
    payout: Payout | None = field(default=None, metadata=_by(_payout))
    numerai_benchmarks: tuple[str, ...] | None = field(default=None, metadata=_by(_names))
    cluster: ClusterSettings = field(default=ClusterSettings(), metadata=_by(_cluster))
    study_storage: str = field(default=STUDY_STORAGE, metadata=_by(_text))
    tracking_uri: str | None = field(default=None, metadata=_by(_text))
    text: str = field(repr=False, default="")

    @property
    def feature_sets(self) -> tuple[str, ...]:
        """The sets that the trials are trained on."""
        return (self.feature_set,) if isinstance(self.feature_set, str) else self.feature_set

    @property
    def benchmark_feature_set(self) -> str:
        """The set that the benchmark is trained on: its own, or else the first."""
        return str(self.benchmark.get("feature_set", self.feature_sets[0]))

    @property
    def opened_sets(self) -> tuple[str, ...]:
        """Every feature set that the trials or the benchmark are trained on."""
        of_benchmark = () if PREDICTIONS_KEY in self.benchmark else (self.benchmark_feature_set,)
        return tuple(dict.fromkeys((*self.feature_sets, *of_benchmark)))

    @property
    def searched(self) -> Mapping[str, tuple[Value, ...]]:
        """The grid without its targets; with ``feature_set`` where there is more than one."""
        several = len(self.opened_sets) > 1
        return {**self.axes, **({"feature_set": self.feature_sets} if several else {})}

    def __repr__(self) -> str:
        values = {each.name: getattr(self, each.name) for each in fields(self) if each.repr}
        plain = {key: without_passwords(value) if isinstance(value, str) else value for key, value in values.items()}
        return f"Experiment({', '.join(f'{key}={value!r}' for key, value in plain.items())})"


def _declared(kind: type) -> dict[str, Any]:
    """Return a schema's fields by the keys that a file uses."""
    return {each.metadata["key"] or each.name: each for each in fields(kind) if each.metadata}


KEYS = tuple(_declared(Experiment))
"""Keys of an experiment file, in the order of ``plan.json``."""

_TABLE_KEYS = {
    "folds": tuple(_declared(FoldSettings)),
    "cluster": tuple(_declared(ClusterSettings)),
    "payout": PAYOUT_KEYS,
    "confirm": tuple(_declared(ConfirmSettings)),
    "race": tuple(_declared(RaceSettings)),
}


def parse_experiment(table: Mapping[str, Any], text: str = "", *, recorded: bool = False) -> Experiment:
    """Validate an experiment given as a table.

    Parameters
    ----------
    table : mapping
        As TOML or JSON reads it. A key whose value is None counts as missing.
    text : str, optional
        The file as written.
    recorded : bool, default False
        Whether it was mined already: what LightGBM refuses of its grid has failed then, and the rest can be used.

    Raises
    ------
    Mistakes
        If keys, types or values are wrong, with all of them.
    """

    def checked() -> dict[str, Any]:
        return _checked(Experiment, without_none(table))

    def known_keys() -> dict[str, Any]:
        _all_of(partial(_check_key, key, table[key]) for key in table)
        return {}

    settings = _all_of([known_keys, checked])[1]
    expression = settings.pop("constraint", None)
    experiment = Experiment(**settings, text=text)
    constraint = None if expression is None else _constraint(expression, experiment.searched)
    separated = constraint is not None and "data_sample_strategy" in constraint.names
    if _bags_in_goss(experiment.axes) and not separated and not recorded:
        raise UserError(
            "grid.data_sample_strategy holds 'goss', which goes with subsample = 1 only, as LightGBM refuses both; "
            "leave one out, or write it into the constraint: \"data_sample_strategy == 'bagging' or subsample == 1\""
        )
    if experiment.confirm.leaders > experiment.trials:
        raise UserError(
            f"confirm.leaders = {experiment.confirm.leaders} is more than trials = {experiment.trials}; lower it"
        )
    benchmark = {name: (value,) for name, value in experiment.benchmark.items()}
    for where, axes in (("grid", experiment.axes), ("benchmark", benchmark)):
        _check_engine(experiment.engine, where, axes)
        _check_eras(where, axes)
    return replace(experiment, constraint=constraint)


def _constraint(expression: str, axes: Mapping[str, tuple[Value, ...]]) -> Constraint:
    constraint = parse_constraint(expression, axes)
    for name, all_of_it, repair in (
        ("max_depth", "no limit", "use depths of 1 and more"),
        ("train_last_eras", "all eras", "use a number that all folds have"),
    ):
        if name in constraint.names and -1 in axes[name]:
            raise UserError(f"constraint = {expression!r} cannot compare {name} = -1 ({all_of_it}); {repair}")
    return constraint


_ONLY = {
    BITPLANE: {"data_sample_strategy": "bagging", "device_type": "cpu"},
    LIGHTGBM: {"split_criterion": POOLED},
}
"""By engine, the only value of parameters that have others in the other engine."""


def _check_engine(engine: str, where: str, axes: Mapping[str, tuple[Value, ...]]) -> None:
    """Refuse what only the other engine does."""
    (other,) = set(ENGINES) - {engine}
    for name, only in _ONLY[engine].items():
        for value in axes.get(name, ()):
            if value != only:
                raise UserError(
                    f"{where}.{name} = {value!r} is not possible with engine = {engine!r}; leave it out, or set "
                    f"engine = {other!r}"
                )


def _check_eras(where: str, axes: Mapping[str, tuple[Value, ...]]) -> None:
    """Refuse parameters of splits chosen by era where there are none."""
    if set(axes.get("split_criterion", ())) <= {POOLED}:
        for name in ERA_PARAMETERS:
            if name in axes:
                raise UserError(
                    f"{where}.{name} does nothing without splits chosen by era; add split_criterion = {DIRECTIONAL!r} "
                    f"with engine = {BITPLANE!r}, or leave it out"
                )


def experiment_table(experiment: Experiment) -> dict[str, Any]:
    """Return the table that `parse_experiment` makes the same experiment of, as JSON takes it; without `text`."""
    return {key: _plain(getattr(experiment, each.name)) for key, each in _declared(Experiment).items()}


def without_none(table: Mapping[str, Any]) -> dict[str, Any]:
    """Return a table, and the tables in it, without the keys whose value is None."""
    return {
        key: without_none(value) if isinstance(value, Mapping) else value
        for key, value in table.items()
        if value is not None
    }


def tables_of(key: str) -> tuple[str, ...]:
    """Return the tables that a key belongs in, rather than at the top of the file."""
    if key == PREDICTIONS_KEY:
        return ("benchmark",)
    if key in KEYS:
        return ()
    return ("grid", "benchmark") if key in RULES else tuple(table for table, keys in _TABLE_KEYS.items() if key in keys)


def _check_key(key: str, value: Any) -> None:
    """Refuse a key that is not known, or keys of the table that is its value."""
    if key not in KEYS:
        if tables := tables_of(key):
            tables_named = " or ".join(f"[{name}]" for name in tables)
            raise UserError(f"{key!r} is at the top of the file but belongs in {tables_named}; move it there")
        raise UserError(f"unknown key {shown(key)}{did_you_mean(key, KEYS, len(KEYS))}")
    if key in TABLES and isinstance(value, Mapping):
        _all_of(partial(_check_key_of_table, key, name) for name in value)


def _check_key_of_table(table: str, key: str) -> None:
    keys = _TABLE_KEYS.get(table)
    if keys is None:
        if (table, key) != ("benchmark", PREDICTIONS_KEY):
            check_name(key, table)
    elif key in RULES:
        raise UserError(f"{table}.{key} is not a setting of [{table}]; move it to [grid] or [benchmark]")
    elif key not in keys:
        raise UserError(f"unknown key {shown(f'{table}.{key}')}{did_you_mean(key, keys)}")


def _checked(kind: type, table: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return the settings of a schema that a table has, or has to have, checked."""

    def setting(key: str, name: str, check: Callable[[str, Any], Any]) -> tuple[str, Any]:
        return name, check(f"{prefix}{key}", table.get(key))

    return dict(
        _all_of(
            partial(setting, key, each.name, each.metadata["check"])
            for key, each in _declared(kind).items()
            if key in table or each.default is MISSING
        )
    )


def _plain(value: Any) -> Any:
    match value:
        case Constraint():
            return value.expression
        case FoldSettings() | ClusterSettings() | Payout() | ConfirmSettings() | RaceSettings():
            return asdict(value)
        case Objective():
            return str(value)
        case Mapping():
            return {key: _plain(each) for key, each in value.items()}
        case tuple():
            return list(value)
    return value
