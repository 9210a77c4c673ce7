"""The progress of a study, as a bar in a terminal and as plain lines elsewhere."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from typing import Self

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    TextColumn,
    TimeRemainingColumn,
)

from signal_miner.data.folds import Fold
from signal_miner.mining.trial_counts import TrialCounts, best_text, rate_text, time_text
from signal_miner.tracking.records import TrackedTrial
from signal_miner.utils.console import ProgressDisplay


class BenchmarkProgress(ProgressDisplay):
    """Shows how far the benchmark's training is: a bar in a terminal, a line now and then elsewhere.

    Parameters
    ----------
    console : rich.console.Console
    folds : sequence of Fold
    trees : int
        Trees of each fold.
    on_text : callable, optional
        Called with a description of the work.
    """

    def __init__(
        self,
        console: Console,
        folds: Sequence[Fold],
        trees: int,
        on_text: Callable[[str], None] = lambda _: None,
    ) -> None:
        at, left = TextColumn("{task.fields[at]}"), TimeRemainingColumn()
        label, short = TextColumn("Training the benchmark"), TextColumn("Benchmark")
        wide, narrow = BarColumn(bar_width=24), BarColumn(bar_width=12)
        choices = [[label, wide, at, left], [label, narrow, at, left], [short, narrow, at, left], [short, narrow, at]]
        super().__init__(console, *choices, [narrow, at], [narrow, left], on_text=on_text)
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
        self._on_text(at)
        self._line(f"Benchmark: {at}, {time.monotonic() - self._started:.0f} s")


class MiningProgress(ProgressDisplay):
    """Shows done and total, rate, time left, the best validation Sharpe and how many trials beat the benchmark.

    Parameters
    ----------
    console : rich.console.Console
    counts : TrialCounts
        Before the first trial.
    on_counts : callable, optional
        Told the counts after each trial.
    on_text : callable, optional
        Called with a description of any other work.
    """

    def __init__(
        self,
        console: Console,
        counts: TrialCounts,
        on_counts: Callable[[TrialCounts], None] = lambda _: None,
        on_text: Callable[[str], None] = lambda _: None,
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
            on_text=on_text,
        )
        self._fields = ("best", "short")
        self._lock = threading.Lock()
        self._counts = counts
        self._on_counts = on_counts
        self._task = self._bar.add_task(
            "mining",
            total=counts.total,
            completed=counts.done,
            rate="",
            best=best_text(counts),
            short=_short_text(counts),
        )
        on_counts(counts)

    def advance(self, trial: TrackedTrial) -> None:
        """Count a trial, finished or failed; safe to call from several threads."""
        with self._lock:
            counts = self._counts = self._counts.after(trial)
            now = time.time()
            rate, best = rate_text(counts.rate(now)), best_text(counts)
            short = _short_text(counts)
            self._bar.update(self._task, completed=counts.done, rate=rate, best=best, short=short)
            so_far = f"{counts.done}/{counts.total} trials · {rate} · {time_text(counts.time_left(now))} · {best}"
            self._line(so_far, last=counts.done == counts.total)
            self._on_counts(counts)


def _short_text(counts: TrialCounts) -> str:
    """Return what `best_text` says, in fewer words: ``best Sharpe 1.04 · 10 beat``."""
    best = "no Sharpe yet" if counts.best_sharpe is None else f"best Sharpe {counts.best_sharpe:.2f}"
    failed = f" · {counts.failed} failed" if counts.failed else ""
    return f"{best} · {counts.beating} beat{failed}"
