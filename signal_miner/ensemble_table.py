"""An ensemble on the terminal: its members, and its scores beside its best member's and the benchmark's."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from signal_miner.ensemble import EnsembleSummary
from signal_miner.leaderboard_table import for_a_table
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


def print_ensemble(summary: EnsembleSummary, benchmark: TrackedTrial, console: Console) -> None:
    """Print an ensemble."""
    console = for_a_table(console)
    ensemble = summary.tracked.ensemble
    table = Table(
        title=f"{summary.tracked.name.capitalize()}, chosen on validation (test is shown, never chosen by)",
        title_justify="left",
        box=SIMPLE_HEAD,
        pad_edge=False,
    )
    table.add_column("", no_wrap=True)
    for head in ("weight", "trees", *_SCORES):
        table.add_column(head, justify="right", no_wrap=True)
    for member, trial in zip(ensemble.members, summary.members, strict=True):
        table.add_row(trial.name, f"{member.weight:.2f}", str(member.trees), *_cells(_at_best(trial.metrics)))
    table.add_section()
    table.add_row(summary.tracked.name, "", "", *_cells(summary.tracked.metrics), style="bold")
    table.add_row("benchmark", "", "", *_cells(benchmark.metrics), style="yellow")
    console.print(table)
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


def _cells(metrics: Mapping[str, float]) -> list[str]:
    cells = []
    for name in _SCORES.values():
        value = metrics.get(name)
        shown = "–" if value is None else f"{value:.2f}" if name.endswith(("sharpe", "_corr")) else f"{value:.4f}"
        cells.append(shown)
    return cells
