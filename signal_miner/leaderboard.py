"""The leaderboard of a study: trials by validation Sharpe, with the benchmark in its place."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from rich.console import Console
from rich.table import Table

from signal_miner.tracking import TrackedTrial

_NARROWEST = 118


@dataclass(frozen=True)
class Place:
    """One line of a leaderboard.

    Attributes
    ----------
    rank : int
        1 for the highest validation Sharpe.
    trial : TrackedTrial
    """

    rank: int
    trial: TrackedTrial


@dataclass(frozen=True)
class Leaderboard:
    """Finished trials and the benchmark, ranked by validation alone.

    Attributes
    ----------
    places : tuple of Place
        All of them, best first.
    failed : int
        Trials that failed.
    """

    places: tuple[Place, ...]
    failed: int

    @property
    def beating(self) -> tuple[Place, ...]:
        """Trials that beat the benchmark in validation."""
        return tuple(place for place in self.places if place.trial.beats_benchmark["validation"])

    @property
    def summary(self) -> str:
        """Counts, in one sentence."""
        finished = sum(place.trial.number is not None for place in self.places)
        held = sum(place.trial.beats_benchmark["test"] for place in self.beating)
        failed = f", {self.failed} failed" if self.failed else ""
        return (
            f"{finished} trials finished{failed}; {len(self.beating)} beat the benchmark in validation "
            f"(CORR and Sharpe), of which {held} held in test."
        )


def make_leaderboard(trials: Sequence[TrackedTrial], benchmark: TrackedTrial) -> Leaderboard:
    """Rank trials and the benchmark by validation Sharpe.

    Parameters
    ----------
    trials : sequence of TrackedTrial
    benchmark : TrackedTrial

    Returns
    -------
    Leaderboard
    """
    finished = [benchmark, *(trial for trial in trials if trial.finished)]
    ordered = sorted(finished, key=lambda trial: trial.metrics.get("validation/sharpe", -math.inf), reverse=True)
    places = tuple(Place(rank, trial) for rank, trial in enumerate(ordered, start=1))
    return Leaderboard(places, failed=sum(not trial.finished for trial in trials))


def print_leaderboard(board: Leaderboard, console: Console, top: int = 10) -> None:
    """Print the first places and the benchmark's."""
    table = Table(title="Leaderboard by validation Sharpe; test is shown, not ranked by", title_justify="left")
    for name in ("", "run"):
        table.add_column(name, no_wrap=True)
    columns = {
        "CORR": "validation/corr",
        "Sharpe": "validation/sharpe",
        "drawdown": "validation/max_drawdown",
        "BMC": "validation/bmc",
        "corr. with\nbenchmark": "validation/benchmark_corr",
        "test\nCORR": "test/corr",
        "test\nSharpe": "test/sharpe",
        "trees": "",
        "best\ntrees": "best/trees",
    }
    for name in columns:
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("beats benchmark", no_wrap=True)
    shown = list(board.places[:top])
    benchmark = next(place for place in board.places if place.trial.number is None)
    if benchmark not in shown:
        shown.append(benchmark)
    for place in shown:
        trial = place.trial
        if place is benchmark and place.rank > top + 1:
            table.add_section()
        cells = [_cell(trial, name, key) for name, key in columns.items()]
        style = "bold yellow" if place is benchmark else None
        beats = "" if place is benchmark else _beats(trial)
        table.add_row(str(place.rank), trial.name, *cells, beats, style=style)
    wide = (
        console if console.width >= _NARROWEST or console.is_terminal else Console(width=_NARROWEST, file=console.file)
    )
    wide.print(table)
    wide.print(board.summary, highlight=False)


def _cell(trial: TrackedTrial, name: str, key: str) -> str:
    if name == "trees":
        return trial.params.get("n_estimators", "")
    value = trial.metrics.get(key)
    if value is None:
        return "–"
    if "trees" in key:
        return f"{value:.0f}"
    return f"{value:.2f}" if "sharpe" in key or "benchmark_corr" in key else f"{value:.4f}"


def _beats(trial: TrackedTrial) -> str:
    parts = [part for part in ("validation", "test") if trial.beats_benchmark[part]]
    return " and ".join(parts) if parts else "–"
