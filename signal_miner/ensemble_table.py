"""An ensemble as a table: its members, and its scores beside theirs and the benchmark's."""

from __future__ import annotations

from collections.abc import Container, Mapping
from typing import Any

import numpy as np
import pandas as pd
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from signal_miner.ensemble import EnsembleSummary
from signal_miner.leaderboard_table import fitting, for_a_table, print_if_below
from signal_miner.records import TrackedTrial

_SCORES = {
    "CORR": "validation/corr",
    "Sharpe": "validation/sharpe",
    "BMC": "validation/bmc",
    "corr. with\nbenchmark": "validation/benchmark_corr",
    "test\nCORR": "test/corr",
    "test\nSharpe": "test/sharpe",
    "test\nBMC": "test/bmc",
}
_LEAST_FIRST = (
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
    for score in _SCORES.values():
        frame[score] = pd.Series([metrics.get(score, np.nan) for metrics in models.values()], names, dtype=np.float64)
    return frame


def as_shown(frame: pd.DataFrame) -> pd.DataFrame:
    """Return the texts of a table of `ensemble_frame`, as a person reads it."""
    shown = {name: [_cell(str(name), value) for value in column] for name, column in frame.items()}
    return pd.DataFrame(shown, index=frame.index)


def print_ensemble(summary: EnsembleSummary, benchmark: TrackedTrial, console: Console) -> None:
    """Print an ensemble, and whether it is below the benchmark in test; fewer columns where the terminal is narrow."""
    console = for_a_table(console)
    ensemble = summary.tracked.ensemble
    texts = as_shown(ensemble_frame(summary, benchmark)).set_axis(["weight", "trees", *_SCORES], axis="columns")

    def table(left_out: Container[str]) -> Table:
        shown = texts[[head for head in texts if head not in left_out]]
        title = f"{summary.tracked.name.capitalize()}, chosen on validation (test is shown, never chosen by)"
        made = Table(title=title, title_justify="left", box=SIMPLE_HEAD, pad_edge=False)
        made.add_column("", no_wrap=True)
        for head in shown:
            made.add_column(str(head), justify="right", no_wrap=True)
        *members, itself, other = shown.itertuples(name=None)
        for cells in members:
            made.add_row(*cells)
        made.add_section()
        made.add_row(*itself, style="bold")
        made.add_row(*other, style="yellow")
        return made

    console.print(fitting(table, _LEAST_FIRST, console))
    print_if_below(summary.tracked.metrics, benchmark.metrics, console)
    if len(summary.members) > 1:
        between = summary.correlations[~np.eye(len(summary.members), dtype=bool)]
        console.print(
            f"Correlation between members in validation: {between.mean():.2f} on average, {between.max():.2f} at most",
            highlight=False,
        )
    if ensemble.neutralization:
        console.print(f"Neutralised to {ensemble.neutralization.to}, proportion {ensemble.neutralization.proportion:g}")


def _at_best(metrics: Mapping[str, float]) -> dict[str, float]:
    """Return a trial's metrics at its best checkpoint, by the names of those at the drawn number of trees."""
    best = ((name, name.removeprefix("best/")) for name in metrics if name.startswith("best/"))
    return {short.replace("_", "/", 1): metrics[name] for name, short in best}


def _cell(name: str, value: Any) -> str:
    if pd.isna(value):
        return "–" if name in _SCORES.values() else ""
    if name == "trees":
        return str(value)
    return f"{value:.2f}" if name == "weight" or name.endswith(("sharpe", "_corr")) else f"{value:.4f}"
