"""The progress of a study, as a bar in a terminal and as plain lines elsewhere."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Sequence
from types import TracebackType
from typing import Any, Self

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TextColumn,
    TimeRemainingColumn,
)
from rich.table import Table

from signal_miner.folds import Fold
from signal_miner.records import TrackedTrial
from signal_miner.standing import Standing, best_text, rate_text, time_text

_SECONDS_BETWEEN_LINES = 10.0
_UNBOUNDED = 10_000  # columns of a terminal that no bar fills


def plain_console() -> Console:
    """Return a console that prints plain lines wherever Python is: in a notebook, a bar would be printed anew."""
    return Console(force_jupyter=False, force_terminal=False, highlight=False, soft_wrap=True, markup=False)


class _Fitting(Progress):
    """A bar that shows the first of several choices of columns that its terminal is wide enough for.

    Parameters
    ----------
    choices : sequence of sequence of ProgressColumn
        The widest first; the last where none fits.
    console : rich.console.Console
    """

    def __init__(self, choices: Sequence[Sequence[ProgressColumn]], console: Console) -> None:
        self._terminal, self._choices = console, choices  # first: a bar is made at once
        super().__init__(*choices[0], console=console, disable=not console.is_terminal)

    def make_tasks_table(self, tasks: Iterable[Task]) -> Table:
        """Return the bar, as wide as the terminal allows."""
        shown, unbounded = list(tasks), self._terminal.options.update(width=_UNBOUNDED)
        for columns in self._choices:
            self.columns = tuple(columns)
            table = super().make_tasks_table(shown)
            if self._terminal.measure(table, options=unbounded).maximum <= self._terminal.width:
                break
        return table


class _Shown:
    """A bar in a terminal, a line now and then elsewhere; of the bar's columns the widest choice that fits."""

    def __init__(
        self,
        console: Console,
        *choices: Sequence[ProgressColumn],
        on_words: Callable[[str], None] = lambda _: None,
    ) -> None:
        self._console = console
        self._on_words = on_words
        self._bar = _Fitting(choices, console)
        self._started = self._printed = time.monotonic()
        self._fields: tuple[str, ...] = ("at",)  # of the bar, where words stand

    def binning(self, fold: Fold, done: int, total: int) -> None:
        """Show how many features of a fold are binned; safe to call from several threads."""
        at = f"fold {fold.number}: {done:,} of {total:,} features binned"
        self._on_words(at if done < total else "")
        words: dict[str, Any] = dict.fromkeys(self._fields, at)
        for task in self._bar.task_ids:
            self._bar.update(task, **words)
        self._line(f"{at[0].upper()}{at[1:]}, {time.monotonic() - self._started:.0f} s")

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._bar.stop()

    def _line(self, text: str, last: bool = False) -> None:
        """Print a line where there is no bar, unless one was printed just now and this is not the last."""
        now = time.monotonic()
        if not self._console.is_terminal and (last or now - self._printed >= _SECONDS_BETWEEN_LINES):
            self._printed = now
            self._console.print(text, highlight=False)


class BenchmarkProgress(_Shown):
    """Shows how far the benchmark's training is: a bar in a terminal, a line now and then elsewhere.

    Parameters
    ----------
    console : rich.console.Console
    folds : sequence of Fold
    trees : int
        Trees of each fold.
    on_words : callable, optional
        Told in words what is done.
    """

    def __init__(
        self,
        console: Console,
        folds: Sequence[Fold],
        trees: int,
        on_words: Callable[[str], None] = lambda _: None,
    ) -> None:
        at, left = TextColumn("{task.fields[at]}"), TimeRemainingColumn()
        label, short = TextColumn("Training the benchmark"), TextColumn("Benchmark")
        wide, narrow = BarColumn(bar_width=24), BarColumn(bar_width=12)
        choices = [[label, wide, at, left], [label, narrow, at, left], [short, narrow, at, left], [short, narrow, at]]
        super().__init__(console, *choices, [narrow, at], [narrow, left], on_words=on_words)
        self._folds = len(folds)
        self._trees = trees
        # A fold's time goes with its training eras.
        self._weights = {fold.number: len(fold.train_eras) for fold in folds}
        self._reached: dict[int, int] = {}
        self._task = self._bar.add_task("benchmark", total=sum(self._weights.values()) * trees, at="")

    def __enter__(self) -> Self:
        if not self._console.is_terminal:
            self._console.print("Training the benchmark …")
        return super().__enter__()

    def advance(self, fold: Fold, trees: int) -> None:
        """Show that a fold has this many trees."""
        at = f"fold {fold.number} of {self._folds}, {trees:,} of {self._trees:,} trees"
        self._reached[fold.number] = trees
        done = sum(self._weights[number] * reached for number, reached in self._reached.items())
        self._bar.update(self._task, completed=done, at=at)
        self._on_words(at)
        self._line(f"Benchmark: {at}, {time.monotonic() - self._started:.0f} s")


class TreesProgress(_Shown):
    """Shows how many of a number of trees are trained.

    Parameters
    ----------
    console : rich.console.Console
    label : str
        What is done.
    total : int
        Trees in all.
    """

    def __init__(self, console: Console, label: str, total: int) -> None:
        done, left = TextColumn("{task.completed:,.0f} of {task.total:,.0f} trees"), TimeRemainingColumn()
        shown, wide, narrow = TextColumn(label), BarColumn(bar_width=24), BarColumn(bar_width=12)
        choices = [[shown, wide, done, left], [shown, narrow, done, left], [shown, narrow, done]]
        super().__init__(console, *choices, [narrow, done, left], [narrow, done])
        self._label = label
        self._total = total
        self._done = 0
        self._task = self._bar.add_task(label, total=total)

    def __enter__(self) -> Self:
        if not self._console.is_terminal and self._total:
            self._console.print(f"{self._label} …")
        return super().__enter__()

    def advance(self, trees: int) -> None:
        """Show that these trees were added."""
        self._done += trees
        self._bar.update(self._task, completed=self._done)
        self._line(f"{self._done:,} of {self._total:,} trees, {time.monotonic() - self._started:.0f} s")


class MiningProgress(_Shown):
    """Shows done and total, rate, time left, the best validation Sharpe and how many trials beat the benchmark.

    Parameters
    ----------
    console : rich.console.Console
    standing : Standing
        Before the first trial.
    on_standing : callable, optional
        Told the standing after each trial.
    on_words : callable, optional
        Told in words what else is done.
    """

    def __init__(
        self,
        console: Console,
        standing: Standing,
        on_standing: Callable[[Standing], None] = lambda _: None,
        on_words: Callable[[str], None] = lambda _: None,
    ) -> None:
        label, done, left = TextColumn("Mining"), MofNCompleteColumn(), TimeRemainingColumn()
        wide, narrow = BarColumn(bar_width=24), BarColumn(bar_width=12)
        rate, best, short = (TextColumn(f"{{task.fields[{name}]}}") for name in ("rate", "best", "short"))
        super().__init__(
            console,
            [label, wide, done, rate, left, best],
            [label, wide, done, rate, left, short],
            [label, wide, done, left, short],
            [label, narrow, done, left, short],
            [label, narrow, done, short],
            [narrow, done, short],
            [label, narrow, done, left],
            [narrow, done],
            on_words=on_words,
        )
        self._fields = ("best", "short")
        self._lock = threading.Lock()
        self._standing = standing
        self._on_standing = on_standing
        self._task = self._bar.add_task(
            "mining",
            total=standing.total,
            completed=standing.done,
            rate="",
            best=best_text(standing),
            short=_short_text(standing),
        )
        on_standing(standing)

    def advance(self, trial: TrackedTrial) -> None:
        """Count a trial, finished or failed; safe to call from several threads."""
        with self._lock:
            standing = self._standing = self._standing.after(trial)
            now = time.time()
            rate, best = rate_text(standing.rate(now)), best_text(standing)
            short = _short_text(standing)
            self._bar.update(self._task, completed=standing.done, rate=rate, best=best, short=short)
            so_far = f"{standing.done}/{standing.total} trials · {rate} · {time_text(standing.time_left(now))} · {best}"
            self._line(so_far, last=standing.done == standing.total)
            self._on_standing(standing)


def _short_text(standing: Standing) -> str:
    """Return what `best_text` says, in fewer words: ``best Sharpe 1.04 · 10 beat``."""
    best = "no Sharpe yet" if standing.best_sharpe is None else f"best Sharpe {standing.best_sharpe:.2f}"
    failed = f" · {standing.failed} failed" if standing.failed else ""
    return f"{best} · {standing.beating} beat{failed}"
