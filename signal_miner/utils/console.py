"""Consoles that any text can be printed on; progress bars and tables that fit the terminal."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Container, Iterable, Sequence
from types import TracebackType
from typing import Any, Self

from rich.console import Console, ConsoleOptions, RenderableType
from rich.progress import (
    BarColumn,
    Progress,
    ProgressColumn,
    Task,
    TextColumn,
    TimeRemainingColumn,
)
from rich.segment import Segment
from rich.table import Table

from signal_miner.errors import printable

_SECONDS_BETWEEN_LINES = 10.0
_TABLE_WIDTH = 120  # columns, where there is no terminal
_UNBOUNDED = 10_000  # columns, more than any bar or table fills


_TYPEWRITER = str.maketrans({"−": "-", "–": "-", "—": "-", "…": "...", "’": "'", "×": "x", "·": "."})


def encodable(text: str, encoding: str) -> str:
    """Return a text that an encoding can express: typographic characters as plain ones, others escaped."""
    try:
        text.encode(encoding)
    except UnicodeEncodeError:
        return text.translate(_TYPEWRITER).encode(encoding, "backslashreplace").decode(encoding)
    return text


class AnyTextConsole(Console):
    """A console on which any text can be printed, also where its output is redirected to a pipe or a legacy encoding.

    Terminal escapes within texts are shown, not obeyed. A reader that ends early, such as ``head``, ends the output and
    not the command.
    """

    def __init__(self, **settings: Any) -> None:
        super().__init__(**{"highlight": False, "markup": False} | settings)

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        """Render as rich does; its own control codes are segments of their own and stay."""
        for segment in super().render(renderable, options):
            if segment.control:
                yield segment
            else:
                yield segment._replace(text=encodable(printable(segment.text), self.encoding))

    def on_broken_pipe(self) -> None:
        """Discard further output; rich would exit."""
        self.quiet = True
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # the interpreter flushes it at exit


def plain_console() -> Console:
    """Return a console that prints plain lines everywhere: a notebook would repeat a bar at each update."""
    return AnyTextConsole(force_jupyter=False, force_terminal=False, soft_wrap=True)


class FittingProgress(Progress):
    """A bar with the first of `choices`, ordered widest first, that fits its terminal, or else the last."""

    def __init__(self, choices: Sequence[Sequence[ProgressColumn]], console: Console) -> None:
        self._terminal, self._choices = console, choices  # set first, as the base class renders a bar at once
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


class ProgressDisplay:
    """A bar in a terminal, with the widest choice of columns that fits; elsewhere a line every ten seconds."""

    def __init__(self, console: Console, *choices: Sequence[ProgressColumn]) -> None:
        self._console = console
        self._bar = FittingProgress(choices, console)
        self._started = self._printed = time.monotonic()
        self._fields: tuple[str, ...] = ("at",)  # of the bar's columns, that show text

    def show_binning(self, at: str) -> None:
        """Show how many features are binned, in place of other text."""
        fields: dict[str, Any] = dict.fromkeys(self._fields, at)
        for task in self._bar.task_ids:
            self._bar.update(task, **fields)
        self._line(f"{at[0].upper()}{at[1:]}, {time.monotonic() - self._started:.0f} s")

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._bar.stop()

    def _line(self, text: str, last: bool = False) -> None:
        """Print a line where there is no bar: the last, and others at most every ten seconds."""
        now = time.monotonic()
        if not self._console.is_terminal and (last or now - self._printed >= _SECONDS_BETWEEN_LINES):
            self._printed = now
            self._console.print(text, highlight=False)


class TreesProgress(ProgressDisplay):
    """Shows how many of `total` trees are trained."""

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
        """Count further trees."""
        self._done += trees
        self._bar.update(self._task, completed=self._done)
        self._line(f"{self._done:,} of {self._total:,} trees, {time.monotonic() - self._started:.0f} s")


def for_a_table(console: Console) -> Console:
    """Return the console itself or, where it is no terminal, one that is wide enough for a table."""
    if console.is_terminal:
        return console
    return AnyTextConsole(width=_TABLE_WIDTH, file=console.file)


def fitting(make: Callable[[Container[str]], Table], least_first: Sequence[str], console: Console) -> Table:
    """Return a table that fits a console: whole columns are left out, and no name or number is cut.

    Parameters
    ----------
    make : callable
        Returns the table without the columns with these headings.
    least_first : sequence of str
        Headings of the columns that may be left out, the least important first.
    """
    unbounded = console.options.update(width=_UNBOUNDED)
    for count in range(len(least_first)):
        table = make(least_first[:count])
        if console.measure(table, options=unbounded).maximum <= console.width:
            return table
    return make(least_first)
