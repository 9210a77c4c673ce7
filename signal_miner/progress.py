"""The progress of a study, as a bar in a terminal and as plain lines elsewhere."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Sequence
from types import TracebackType
from typing import Any, Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, TextColumn, TimeRemainingColumn

from signal_miner.folds import Fold
from signal_miner.records import TrackedTrial

_SECONDS_BETWEEN_LINES = 10.0


class _Shown:
    """A bar in a terminal, a line now and then elsewhere."""

    def __init__(self, console: Console, *columns: ProgressColumn) -> None:
        self._console = console
        self._bar = Progress(*columns, console=console, disable=not console.is_terminal)
        self._started = self._printed = time.monotonic()
        self._field = "at"  # of the bar, where words stand

    def binning(self, fold: Fold, done: int, total: int) -> None:
        """Show how many features of a fold are binned; safe to call from several threads."""
        at = f"fold {fold.number}: {done:,} of {total:,} features binned"
        words: dict[str, Any] = {self._field: at}
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
    """

    def __init__(self, console: Console, folds: Sequence[Fold], trees: int) -> None:
        at = TextColumn("{task.fields[at]}")
        super().__init__(
            console, TextColumn("Training the benchmark"), BarColumn(bar_width=24), at, TimeRemainingColumn()
        )
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
        shown = TextColumn("{task.completed:,.0f} of {task.total:,.0f} trees")
        super().__init__(console, TextColumn(label), BarColumn(bar_width=24), shown, TimeRemainingColumn())
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
    total : int
        Trials of the study.
    done : int
        Trials that earlier runs of the command finished.
    trials : tuple of TrackedTrial
        Those trials.
    """

    def __init__(self, console: Console, total: int, done: int, trials: tuple[TrackedTrial, ...]) -> None:
        super().__init__(
            console,
            TextColumn("Mining"),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TextColumn("{task.fields[rate]}"),
            TimeRemainingColumn(),
            TextColumn("{task.fields[best]}"),
        )
        self._field = "best"
        self._lock = threading.Lock()
        self._total = total
        self._at_start = self._done = done
        self._best = max((_sharpe(trial) for trial in trials), default=-math.inf)
        self._beating = sum(trial.beats_benchmark["validation"] for trial in trials)
        self._failed = sum(not trial.finished for trial in trials)
        self._task = self._bar.add_task("mining", total=total, completed=done, rate="", best=self._standing())

    def advance(self, trial: TrackedTrial) -> None:
        """Count a trial, finished or failed; safe to call from several threads."""
        with self._lock:
            self._done += 1
            self._failed += not trial.finished
            self._best = max(self._best, _sharpe(trial))
            self._beating += trial.beats_benchmark["validation"]
            self._bar.update(self._task, completed=self._done, rate=self._rate(), best=self._standing())
            so_far = f"{self._done}/{self._total} trials · {self._rate()} · {self._time_left()} · {self._standing()}"
            self._line(so_far, last=self._done == self._total)

    def _rate(self) -> str:
        rate = self._done_here() / max(time.monotonic() - self._started, 1e-9)
        return f"{rate:.1f} trials/s" if rate >= 1 else f"{rate * 60:.1f} trials/min"

    def _time_left(self) -> str:
        if not self._done_here():
            return "time left not known"
        seconds = (self._total - self._done) * (time.monotonic() - self._started) / self._done_here()
        return f"{int(seconds // 3600)}:{int(seconds // 60 % 60):02d}:{int(seconds % 60):02d} left"

    def _done_here(self) -> int:
        return self._done - self._at_start

    def _standing(self) -> str:
        best = f"best validation Sharpe {self._best:.2f}" if math.isfinite(self._best) else "no Sharpe yet"
        failed = f" · {self._failed} failed" if self._failed else ""
        return f"{best} · {self._beating} beat the benchmark{failed}"


def _sharpe(trial: TrackedTrial) -> float:
    return trial.metrics.get("validation/sharpe", -math.inf)
