"""The leaderboard of a study: trials by validation Sharpe, with the benchmark in its place."""

from __future__ import annotations

import math
from collections.abc import Callable, Container, Iterable, Mapping, Sequence
from dataclasses import dataclass

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from signal_miner.overfitting.wording import number_text
from signal_miner.records import TrackedTrial

_WIDE = 120
_UNBOUNDED = 10_000  # columns of a terminal that no table fills
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
        counted = f"{finished} trial{'s' * (finished != 1)} finished{failed}"
        if not self.beating:
            return f"{counted}; none beats the benchmark in validation (CORR and Sharpe)."
        beat = f"{len(self.beating)} beat{'s' * (len(self.beating) == 1)} the benchmark in validation"
        return f"{counted}; {beat} (CORR and Sharpe), of which {held} held in test."


def ranked(trials: Iterable[TrackedTrial]) -> list[TrackedTrial]:
    """Return trials by validation Sharpe, the highest first; those without one, or not whole in validation, last.

    A trial whose CORR is not defined in some eras has its Sharpe from the others alone, and cannot be set beside whole
    ones.
    """

    def score(trial: TrackedTrial) -> tuple[bool, float, int]:
        value = trial.metrics.get("validation/sharpe", -math.inf)
        return not trial.metrics.get("validation/undefined_eras"), value, -(trial.number or 0)

    return sorted(trials, key=score, reverse=True)


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
    places = tuple(Place(rank, trial) for rank, trial in enumerate(ranked(finished), start=1))
    return Leaderboard(places, failed=sum(not trial.finished for trial in trials))


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


def for_a_table(console: Console) -> Console:
    """Return a console that is wide enough for a table where there is no terminal to say how wide it is."""
    return console if console.is_terminal else Console(width=_WIDE, file=console.file, highlight=False, markup=False)


def fitting(make: Callable[[Container[str]], Table], least_first: Sequence[str], console: Console) -> Table:
    """Return a table that a console is wide enough for: whole columns are left out, no name or number is cut.

    Parameters
    ----------
    make : callable
        Returns the table without the columns of these heads.
    least_first : sequence of str
        Heads of the columns that may be left out, the least important first.
    console : rich.console.Console

    Returns
    -------
    Table
        Without all of these columns where even that is too wide.
    """
    unbounded = console.options.update(width=_UNBOUNDED)
    for count in range(len(least_first)):
        table = make(least_first[:count])
        if console.measure(table, options=unbounded).maximum <= console.width:
            return table
    return make(least_first)


def below_benchmark(metrics: Mapping[str, float], benchmark: Mapping[str, float]) -> str:
    """Return by what a model is below the benchmark in test, such as ``Sharpe 0.41 against 0.67``; empty if it is not.

    Parameters
    ----------
    metrics, benchmark : mapping of str to float
        Tracked metrics of both, by name.
    """
    for name, score, least in (("Sharpe", "test/sharpe", 2), ("CORR", "test/corr", 4)):
        own, other = metrics.get(score, math.nan), benchmark.get(score, math.nan)
        if own < other:
            told = ((number_text(own, digits), number_text(other, digits)) for digits in range(least, 10))
            first, second = next((pair for pair in told if len(set(pair)) == 2), (f"{own}", f"{other}"))
            return f"{name} {first} against {second}"
    return ""


def print_if_below(metrics: Mapping[str, float], benchmark: Mapping[str, float], console: Console) -> None:
    """Print a line where a model is below the benchmark in test."""
    below = below_benchmark(metrics, benchmark)
    if below:
        console.print(f"Below the benchmark in test: {below}", highlight=False)


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
