"""An ensemble as a table: its members, and its scores beside theirs and the benchmark's."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from signal_miner.ensemble.maker import EnsembleSummary
from signal_miner.tracking.records import TrackedTrial

SCORES = {
    "CORR": "validation/corr",
    "Sharpe": "validation/sharpe",
    "BMC": "validation/bmc",
    "corr. with\nbenchmark": "validation/benchmark_corr",
    "test\nCORR": "test/corr",
    "test\nSharpe": "test/sharpe",
    "test\nBMC": "test/bmc",
}
LEAST_IMPORTANT_FIRST = (
    "test\nBMC",
    "corr. with\nbenchmark",
    "test\nCORR",
    "BMC",
    "trees",
    "CORR",
    "weight",
    "test\nSharpe",
)


def ensemble_frame(summary: EnsembleSummary, benchmark: TrackedTrial) -> pd.DataFrame:
    """Return an ensemble's members at their best checkpoints, itself, and the benchmark.

    Parameters
    ----------
    summary : EnsembleSummary
    benchmark : TrackedTrial

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
    for score in SCORES.values():
        frame[score] = pd.Series([metrics.get(score, np.nan) for metrics in models.values()], names, dtype=np.float64)
    return frame


def as_shown(frame: pd.DataFrame) -> pd.DataFrame:
    """Return the texts of a table of `ensemble_frame`, as a person reads it."""
    shown = {name: [_cell(str(name), value) for value in column] for name, column in frame.items()}
    return pd.DataFrame(shown, index=frame.index)


def _at_best(metrics: Mapping[str, float]) -> dict[str, float]:
    """Return a trial's metrics at its best checkpoint, by the names of those at the drawn number of trees."""
    best = ((name, name.removeprefix("best/")) for name in metrics if name.startswith("best/"))
    return {short.replace("_", "/", 1): metrics[name] for name, short in best}


def _cell(name: str, value: Any) -> str:
    if pd.isna(value):
        return "–" if name in SCORES.values() else ""
    if name == "trees":
        return str(value)
    return f"{value:.2f}" if name == "weight" or name.endswith(("sharpe", "_corr")) else f"{value:.4f}"
