"""Progress bars and tables that fit the terminal."""

from __future__ import annotations

import time
from collections.abc import Callable, Container, Iterable, Sequence
from types import TracebackType
from typing import Any, Self

from rich.console import Console
from rich.progress import (
    BarColumn,
    Progress,
    ProgressColumn,
    Task,
    TextColumn,
    TimeRemainingColumn,
)
from rich.table import Table

_SECONDS_BETWEEN_LINES = 10.0


_UNBOUNDED = 10_000  # columns of a terminal that no bar fills


def plain_console() -> Console:
    """Return a console that prints plain lines wherever Python is: in a notebook, a bar would be printed anew."""
    return Console(force_jupyter=False, force_terminal=False, highlight=False, soft_wrap=True, markup=False)


class FittingProgress(Progress):
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
        self._bar = FittingProgress(choices, console)
        self._started = self._printed = time.monotonic()
        self._fields: tuple[str, ...] = ("at",)  # of the bar, where words stand

    def binning(self, fold: int, done: int, total: int) -> None:
        """Show how many features of a fold are binned; safe to call from several threads."""
        at = f"fold {fold}: {done:,} of {total:,} features binned"
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


_WIDE = 120


_UNBOUNDED = 10_000  # columns of a terminal that no table fills


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
