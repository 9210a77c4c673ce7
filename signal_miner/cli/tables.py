"""The tables that commands print: the leaderboard, and an ensemble beside its members and the benchmark."""

from __future__ import annotations

from collections.abc import Container

import numpy as np
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from signal_miner.ensemble.maker import EnsembleSummary
from signal_miner.ensemble.table import LEAST_IMPORTANT_FIRST, SCORES, as_shown, ensemble_frame
from signal_miner.tracking.leaderboard import Leaderboard, print_if_below
from signal_miner.tracking.records import TrackedTrial
from signal_miner.utils.console import fitting, for_a_table

_COLUMNS = {
    "CORR": "validation/corr",
    "Sharpe": "validation/sharpe",
    "max.\ndrawdown": "validation/max_drawdown",
    "BMC": "validation/bmc",
    "corr. with\nbenchmark": "validation/benchmark_corr",
    "test\nCORR": "test/corr",
    "test\nSharpe": "test/sharpe",
    "trees": "n_estimators",
    "best\ntrees": "best/trees",
}


_BEATS = "beats\nbenchmark"


_LEAST_FIRST = (
    "best\ntrees",
    "trees",
    "max.\ndrawdown",
    "test\nCORR",
    "corr. with\nbenchmark",
    "BMC",
    "CORR",
    _BEATS,
    "test\nSharpe",
)


def print_leaderboard(board: Leaderboard, console: Console, top: int = 10) -> None:
    """Print the first places and the benchmark's; fewer columns where the terminal is narrow."""
    console = for_a_table(console)
    benchmark = next(place for place in board.places if place.trial.number is None)
    shown = [*board.places[:top], *([] if benchmark.rank <= top else [benchmark])]

    def table(left_out: Container[str]) -> Table:
        columns = {head: key for head, key in _COLUMNS.items() if head not in left_out}
        title = "Leaderboard by validation Sharpe (test is shown, never ranked by)"
        made = Table(title=title, title_justify="left", box=SIMPLE_HEAD, pad_edge=False)
        for head in ("", "run"):
            made.add_column(head, no_wrap=True)
        for head in columns:
            made.add_column(head, justify="right", no_wrap=True)
        if _BEATS not in left_out:
            made.add_column(_BEATS, no_wrap=True)
        for place in shown:
            trial, is_benchmark = place.trial, place is benchmark
            if is_benchmark and benchmark.rank > top + 1:
                made.add_row("", "…")
            cells = [_cell(trial, key) for key in columns.values()]
            if _BEATS not in left_out:
                cells.append("" if is_benchmark else _beats(trial))
            made.add_row(str(place.rank), trial.name, *cells, style="bold yellow" if is_benchmark else None)
        return made

    console.print(fitting(table, _LEAST_FIRST, console))
    console.print(board.summary, highlight=False)
    first = next((place.trial for place in board.places if place.trial.number is not None), None)
    if first is not None:
        params = ", ".join(f"{name} {value}" for name, value in first.params.items() if name != "seed")
        said = f"First of them, {first.name}: {params}"
        console.print(said, highlight=False, soft_wrap=not console.is_terminal)


def _cell(trial: TrackedTrial, key: str) -> str:
    if key == "n_estimators":
        return trial.params.get(key, "")
    value = trial.metrics.get(key)
    if value is None:
        return "–"
    if key == "best/trees":
        return f"{value:.0f}"
    return f"{value:.2f}" if key.endswith(("sharpe", "benchmark_corr", "drawdown")) else f"{value:.4f}"


def _beats(trial: TrackedTrial) -> str:
    # Test alone is no reason to take a trial, so it is not shown as one.
    if not trial.beats_benchmark["validation"]:
        return "–"
    return "both" if trial.beats_benchmark["test"] else "validation"


def print_ensemble(summary: EnsembleSummary, benchmark: TrackedTrial, console: Console) -> None:
    """Print an ensemble, and whether it is below the benchmark in test; fewer columns where the terminal is narrow."""
    console = for_a_table(console)
    ensemble = summary.tracked.ensemble
    texts = as_shown(ensemble_frame(summary, benchmark)).set_axis(["weight", "trees", *SCORES], axis="columns")

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

    console.print(fitting(table, LEAST_IMPORTANT_FIRST, console))
    print_if_below(summary.tracked.metrics, benchmark.metrics, console)
    if len(summary.members) > 1:
        between = summary.correlations[~np.eye(len(summary.members), dtype=bool)]
        console.print(
            f"Correlation between members in validation: {between.mean():.2f} on average, {between.max():.2f} at most",
            highlight=False,
        )
    if ensemble.neutralization:
        console.print(f"Neutralised to {ensemble.neutralization.to}, proportion {ensemble.neutralization.proportion:g}")
