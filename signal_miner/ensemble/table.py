"""An ensemble as a table: its members, and its scores beside theirs and the benchmark's."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd

from signal_miner.ensemble.maker import EnsembleSummary
from signal_miner.scoring.columns import Column
from signal_miner.tracking.records import TrackedTrial

COLUMNS = (
    Column("weight", "weight", 2, priority=7),
    Column("trees", "trees", 0, priority=5),
    Column.of("validation/corr", priority=6),
    Column.of("validation/sharpe"),
    Column.of("validation/bmc", priority=4),
    Column.of("validation/benchmark_corr", priority=2),
    Column.of("test/corr", priority=3, group="test"),
    Column.of("test/sharpe", priority=8, group="test"),
    Column.of("test/bmc", priority=1, group="test"),
)
_SCORES = tuple(column.metric for column in COLUMNS[2:])


def ensemble_frame(summary: EnsembleSummary, benchmark: TrackedTrial) -> pd.DataFrame:
    """Return an ensemble's members at their best checkpoints, itself, and the benchmark.

    Returns
    -------
    pandas.DataFrame
        A row a model by its name; ``weight`` and ``trees``, missing but for members, and scores by their metrics'
        names, missing where they are not tracked.
    """
    models: dict[str, Mapping[str, float]] = {trial.name: _at_best(trial.metrics) for trial in summary.members}
    models[summary.tracked.name] = summary.tracked.metrics
    models[benchmark.name] = benchmark.metrics
    members = summary.tracked.ensemble.members
    names = pd.Index(list(models), name="model")
    frame = pd.DataFrame(index=names)
    frame["weight"] = pd.Series([member.weight for member in members], names[: len(members)], dtype=np.float64)
    frame["trees"] = pd.Series([member.trees for member in members], names[: len(members)], dtype="Int64")
    for score in _SCORES:
        frame[score] = pd.Series([metrics.get(score, np.nan) for metrics in models.values()], names, dtype=np.float64)
    return frame


def as_shown(frame: pd.DataFrame) -> pd.DataFrame:
    """Return the texts of a table of `ensemble_frame`, as a person reads it."""
    missing = {column.metric: "–" if column.metric in _SCORES else "" for column in COLUMNS}
    shown = {
        column.metric: [
            missing[column.metric] if pd.isna(value) else column.text(value) for value in frame[column.metric]
        ]
        for column in COLUMNS
    }
    return pd.DataFrame(shown, index=frame.index)


def _at_best(metrics: Mapping[str, float]) -> dict[str, float]:
    """Return a trial's metrics at its best checkpoint, by the names of those at the drawn number of trees."""
    best = ((name, name.removeprefix("best/")) for name in metrics if name.startswith("best/"))
    return {short.replace("_", "/", 1): metrics[name] for name, short in best}
