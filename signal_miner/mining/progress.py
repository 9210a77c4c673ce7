"""The progress of a study, as a bar in a terminal and as plain lines elsewhere."""

from __future__ import annotations

import threading
import time
from datetime import timedelta
from types import TracebackType
from typing import Self, TypeVar

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn

from signal_miner.mining.observer import BenchmarkStep, ClusterWorkers, Compiling, Event, FeaturesBinned
from signal_miner.mining.status import TrialCounts
from signal_miner.utils.console import ProgressDisplay

Bar = TypeVar("Bar", bound=ProgressDisplay)


class BenchmarkBar(ProgressDisplay):
    """Shows how far the benchmark's training is."""

    def __init__(self, console: Console) -> None:
        at, left = TextColumn("{task.fields[at]}"), TimeRemainingColumn()
        label, short = TextColumn("Training the benchmark"), TextColumn("Benchmark")
        wide, narrow = BarColumn(bar_width=24), BarColumn(bar_width=12)
        choices = [[label, wide, at, left], [label, narrow, at, left], [short, narrow, at, left], [short, narrow, at]]
        super().__init__(console, *choices, [narrow, at], [narrow, left])
        self._task = self._bar.add_task("benchmark", total=1.0, at="")

    def __enter__(self) -> Self:
        if not self._console.is_terminal:
            self._console.print("Training the benchmark …")
        return super().__enter__()

    def show(self, step: BenchmarkStep) -> None:
        """Show a step."""
        self._bar.update(self._task, completed=step.share, at=str(step))
        self._line(f"Benchmark: {step}, {time.monotonic() - self._started:.0f} s")


class TrialsBar(ProgressDisplay):
    """Shows done and total, rate, time left, the best score in validation and how many trials beat the benchmark."""

    def __init__(self, console: Console, counts: TrialCounts) -> None:
        label, done, left = TextColumn("Mining"), MofNCompleteColumn(), TimeRemainingColumn()
        wide, narrow = BarColumn(bar_width=24), BarColumn(bar_width=12)
        rate, long, short = (TextColumn(f"{{task.fields[{name}]}}") for name in ("rate", "best", "short"))
        super().__init__(
            console,
            [label, wide, done, rate, left, long],
            [label, wide, done, rate, left, short],
            [label, wide, done, left, short],
            [label, narrow, done, left, short],
            [label, narrow, done, short],
            [narrow, done, short],
            [label, narrow, done, left],
            [narrow, done],
        )
        self._fields = ("best", "short")
        self._task = self._bar.add_task(
            "mining",
            total=counts.total,
            completed=counts.done,
            rate="",
            best=best_text(counts),
            short=best_text(counts, short=True),
        )

    def show(self, counts: TrialCounts, workers: int | None = None) -> None:
        """Show the counts after a trial, and how many workers of a cluster train."""
        now = time.time()
        rate, best = rate_text(counts.rate(now), races=counts.races), best_text(counts)
        if workers is not None:
            rate += f" on {workers} worker{'s' * (workers != 1)}"
        self._bar.update(self._task, completed=counts.done, rate=rate, best=best, short=best_text(counts, short=True))
        so_far = f"{counts.done}/{counts.total} trials · {rate} · {time_text(counts.time_left(now))} · {best}"
        self._line(so_far, last=counts.done == counts.total)


class MiningProgress:
    """An observer that shows the benchmark's bar and then the trials'; a context manager that closes them.

    Parameters
    ----------
    console : rich.console.Console
    """

    def __init__(self, console: Console) -> None:
        self._console = console
        self._lock = threading.Lock()
        self._shown: ProgressDisplay | None = None
        self._workers: int | None = None  # of a cluster
        self._counts: TrialCounts | None = None

    def __call__(self, event: Event) -> None:
        """Show what happened; safe to call from several threads."""
        with self._lock:
            shown = self._shown
            match event:
                case BenchmarkStep():
                    if not isinstance(shown, BenchmarkBar):
                        shown = self._show(BenchmarkBar(self._console))
                    shown.show(event)
                case TrialCounts():
                    self._counts = event
                    if isinstance(shown, TrialsBar):
                        shown.show(event, self._workers)
                    else:
                        self._show(TrialsBar(self._console, event))
                case ClusterWorkers():
                    self._workers = event.ready
                    if isinstance(shown, TrialsBar) and self._counts is not None:
                        shown.show(self._counts, self._workers)
                case FeaturesBinned() if shown is not None:
                    shown.show_binning(str(event))
                case Compiling():
                    self._console.print(str(event))
                case str():
                    self._console.print(event)

    def _show(self, bar: Bar) -> Bar:
        if self._shown is not None:
            self._shown.__exit__(None, None, None)
        self._shown = bar
        return bar.__enter__()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._shown is not None:
            self._shown.__exit__(kind, error, traceback)


def rate_text(rate: float | None, *, races: bool = False) -> str:
    """Return a rate in words: ``1.5 trials/s``, ``4.0 trials/min``; ``240 models judged/h`` of a race."""
    rate = rate or 0.0
    if races:
        return f"{rate * 3600:,.0f} models judged/h"
    return f"{rate:.1f} trials/s" if rate >= 1 else f"{rate * 60:.1f} trials/min"


def time_text(left: timedelta | None) -> str:
    """Return a time in words: ``0:01:12 left``."""
    return "time left not known" if left is None else f"{timedelta(seconds=int(left.total_seconds()))} left"


def best_text(counts: TrialCounts, *, short: bool = False) -> str:
    """Return what the best trial is, how many beat the benchmark, how a race goes, and how many failed."""
    objective, beating = counts.objective, f"{counts.beating} beat{'' if short else ' the benchmark'}"
    best = f"no {objective.label} yet"
    if counts.best_score is not None:
        score = f"{counts.best_score:.{objective.digits}f}"
        best = f"best{'' if short else ' validation'} {objective.label} {score}"
        best += "" if short else f" ({counts.best})"
    race = f" · {counts.stopped} stopped, {counts.controls} controls" if counts.races else ""
    return f"{best} · {beating}{race}{f' · {counts.failed} failed' if counts.failed else ''}"
