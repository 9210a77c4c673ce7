"""The options of `ensemble`, declared once: Python's call, the command line and MLproject follow from them."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, fields
from typing import Any

from signal_miner.errors import UserError, nearest
from signal_miner.scoring.objective import Objective
from signal_miner.tracking.records import Checkpoint
from signal_miner.utils.option import option
from signal_miner.utils.validation import LARGEST_INTEGER, Rule

GREEDY, TOP, BEATING, RUNS = "greedy", "top", "beating", "runs"
RULES = (GREEDY, TOP, BEATING, RUNS)

OBJECTIVES = tuple(str(each) for each in Objective)
"""Scores by which trials are ranked and an ensemble is grown."""

FEWEST_TREES = 10
"""Members with fewer trees are the luck of a few splits more often than a model."""

EQUAL, BY_RANK = "equal", "rank"
WEIGHTS = (EQUAL, BY_RANK)

OWN, AVERAGE = "own", "average"
SEEDS = (OWN, AVERAGE)

AVERAGED = 10
"""Best trials whose mean is recommended, and scored beside a greedy ensemble."""

_OF_GREEDY = ("max_correlation", "pool")


@dataclass(frozen=True)
class SelectionRule:
    """How members are selected and weighted; a value that is not allowed raises a UserError."""

    select: str = option("greedy (default), top, beating or runs", GREEDY)
    members: int = option("members at most (5)", 5)
    metric: str | None = option(
        f"{', '.join(OBJECTIVES[:-1])} or {OBJECTIVES[-1]}, in validation (the study's objective); with top any "
        "validation metric",
        None,
    )
    max_correlation: float = option("with greedy: highest correlation between two members (0.9)", 0.9)
    max_benchmark_correlation: float = option("excludes trials that correlate more with the benchmark (1)", 1.0)
    weights: str = option("equal (default) or rank", EQUAL)
    pool: int = option("with greedy: number of candidates, the best trials by metric (100)", 100)
    runs: tuple[str, ...] = option(
        "with runs: run ids, numbers or STUDY/number of trials, separated by commas; ids may be of several studies", ()
    )
    checkpoint: Checkpoint = option(
        "best (default): members at their best checkpoint in validation; drawn: with all trees drawn", Checkpoint.BEST
    )
    seeds: str = option(
        "own (default): members as they were drawn; average: each with the seeds that it was trained again with", OWN
    )
    min_trees: int | None = option(f"excludes trials with fewer trees there ({FEWEST_TREES}; with runs: 1)", None)

    def __post_init__(self) -> None:
        for name in ("select", "weights", "metric", "checkpoint", "seeds"):
            if name != "metric" or self.metric is not None:
                Rule(str).checked(name, getattr(self, name))
        for name in ("members", "pool"):
            number = Rule(int, high=LARGEST_INTEGER).checked(name, getattr(self, name), "; use 1 or more")
            if number < 1:
                raise UserError(f"{name} = {number} is below 1; use 1 or more")
            object.__setattr__(self, name, number)
        for name in ("max_correlation", "max_benchmark_correlation"):
            cap = getattr(self, name)
            if not 0 < Rule(float).checked(name, cap, "; use one such as 0.9") <= 1:
                raise UserError(f"{name} = {cap} is not in (0, 1]; use one such as 0.9")
            object.__setattr__(self, name, float(cap))
        if self.min_trees is not None:
            number = Rule(int, 1, LARGEST_INTEGER).checked("min_trees", self.min_trees)
            object.__setattr__(self, "min_trees", number)
        checkpoints = tuple(each.value for each in Checkpoint)
        for name, value, known in (
            ("select", self.select, RULES),
            ("weights", self.weights, WEIGHTS),
            ("checkpoint", self.checkpoint, checkpoints),
            ("seeds", self.seeds, SEEDS),
        ):
            if value not in known:
                raise UserError(f"{name} = {value!r} is not one of {', '.join(known)}{nearest(value, known)}")
        if self.runs and self.select != RUNS:
            raise UserError(f"runs are given, but select = {self.select!r} does not use them; add select=runs")
        if self.select == RUNS and not self.runs:
            raise UserError("select = 'runs' needs runs: MLflow run ids or trial numbers, separated by commas")
        if self.metric is not None and self.metric not in OBJECTIVES:
            self._check_metric_name(self.metric)
        object.__setattr__(self, "checkpoint", Checkpoint(self.checkpoint))

    @property
    def score(self) -> str:
        """What trials are ranked by: `metric`, or Sharpe where it is not given and no study says otherwise."""
        return self.metric or str(Objective.SHARPE)

    @property
    def fewest_trees(self) -> int:
        """Number of trees that a member must have; those that the user names may have any."""
        if self.min_trees is not None:
            return self.min_trees
        return 1 if self.select == RUNS else FEWEST_TREES

    def _check_metric_name(self, metric: str) -> None:
        if metric.startswith(("test/", "whole/", "best/test", "fold_")) or "/test_" in metric:
            raise UserError(
                f"metric = {metric!r} looks at test eras; members are chosen on validation alone: "
                f"use {', '.join(OBJECTIVES)} or a metric such as validation/corr"
            )
        if self.select == GREEDY:
            raise UserError(
                f"metric = {metric!r} is no score of an ensemble{nearest(metric, OBJECTIVES)}; greedy "
                f"maximises {', '.join(OBJECTIVES)}: use one of them, or select=top"
            )

    def metric_name(self, known: Collection[str]) -> str:
        """Return the tracked metric to rank trials by; a UserError if `known` has no such metric of validation."""
        metric = self.score
        column, _, score = metric.rpartition("_")
        at_best = self.checkpoint is Checkpoint.BEST
        candidates = (
            f"best/validation_{metric}" if metric in OBJECTIVES and at_best else None,
            metric,
            f"validation/{metric}",
            f"{column}/validation_{score}",
        )
        of_validation = [name for name in known if "validation" in name]
        for name in candidates:
            if name in of_validation:
                return name
        near = nearest(metric, of_validation) or f"; known are {', '.join(sorted(of_validation))}"
        raise UserError(f"metric = {metric!r} is no tracked validation metric{near}")

    @property
    def record(self) -> dict[str, object]:
        """The rule as ``ensemble.json`` stores it."""
        names = (each.name for each in fields(SelectionRule))
        return {name: getattr(self, name) for name in names} | {"min_trees": self.fewest_trees}


@dataclass(frozen=True)
class EnsembleOptions(SelectionRule):
    """All options of `ensemble`: how members are selected, of which study, and the neutralisation of the blend."""

    study: tuple[str, ...] = option(
        "a study's name or its beginning (the newest); several of the same data, folds and scoring target by commas",
        (),
    )
    neutralize: str | None = option("features, benchmark, or a column of Numerai's benchmark predictions", None)
    proportion: float = option("of the neutralisation, from 0 to 1 (1)", 1.0)
    data: str | None = option("where the study's data are now", None)
    tracking_uri: str | None = option("MLflow tracking store", None)

    def __post_init__(self) -> None:
        if self.neutralize is not None:
            Rule(str).checked("neutralize", self.neutralize)
        proportion = Rule(float, 0, 1).checked("proportion", self.proportion, "; use one such as 0.5")
        object.__setattr__(self, "proportion", proportion)
        super().__post_init__()

    @classmethod
    def given(cls, **options: Any) -> EnsembleOptions:
        """Return the options where None means not given; a UserError if one has no effect beside the others."""
        options = {name: value for name, value in options.items() if value is not None}
        select = options.get("select") or cls.select
        for name in _OF_GREEDY:
            if select != GREEDY and name in options:
                raise UserError(f"{name} belongs to select=greedy, not to select={select}; leave it out")
        if "proportion" in options and not options.get("neutralize"):
            raise UserError("proportion is the share of a neutralisation, and none is set; add neutralize=…")
        return cls(**options)
