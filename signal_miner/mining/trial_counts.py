"""How far a study's trials are: done and total, rate, time left, the best so far."""

from __future__ import annotations

import math
import time
from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import timedelta

from signal_miner.tracking.records import TrackedTrial

_LONGEST_SECONDS = 1e9  # thirty years are as good as any longer time


@dataclass(frozen=True)
class TrialCounts:
    """What a person waits for, at one moment; times in seconds since the epoch.

    Attributes
    ----------
    total, done : int
        Trials of the study, and those that are finished or failed.
    done_before : int
        Those of them that earlier processes did.
    since : float
        When this process took up its first trial.
    failed, beating : int
        Trials that failed, and that beat the benchmark in validation (CORR and Sharpe).
    best : str
        Name of the trial with the highest validation Sharpe; empty while there is none.
    best_sharpe : float or None
        Its validation Sharpe.
    """

    total: int
    done: int = 0
    done_before: int = 0
    since: float = 0.0
    failed: int = 0
    beating: int = 0
    best: str = ""
    best_sharpe: float | None = None

    @classmethod
    def at_start(cls, total: int, trials: Iterable[TrackedTrial]) -> TrialCounts:
        """Return the counts before the first trial of a process, with the trials that earlier ones did."""
        counts = cls(total)
        for trial in trials:
            counts = counts.after(trial)
        return replace(counts, done_before=counts.done, since=time.time())

    def after(self, trial: TrackedTrial) -> TrialCounts:
        """Return the counts with one more trial, finished or failed."""
        sharpe = trial.metrics.get("validation/sharpe", math.nan)
        # A Sharpe of some eras alone cannot be set beside those of all.
        comparable = math.isfinite(sharpe) and not trial.metrics.get("validation/undefined_eras")
        better = comparable and (self.best_sharpe is None or sharpe > self.best_sharpe)
        return replace(
            self,
            done=self.done + 1,
            failed=self.failed + (not trial.finished),
            beating=self.beating + trial.beats_benchmark["validation"],
            best=trial.name if better else self.best,
            best_sharpe=sharpe if better else self.best_sharpe,
        )

    def rate(self, now: float) -> float | None:
        """Return trials a second of this process; None before its first, and where the clock was set back."""
        done = self.done - self.done_before
        return done / (now - self.since) if done and now > self.since else None

    def time_left(self, now: float) -> timedelta | None:
        """Return how long it takes at this rate; None before the first trial."""
        rate = self.rate(now)
        if rate is None:
            return None
        return timedelta(seconds=min((self.total - self.done) / rate, _LONGEST_SECONDS))


def rate_text(rate: float | None) -> str:
    """Return a rate in words: ``1.5 trials/s``, ``4.0 trials/min``."""
    rate = rate or 0.0
    return f"{rate:.1f} trials/s" if rate >= 1 else f"{rate * 60:.1f} trials/min"


def time_text(left: timedelta | None) -> str:
    """Return a time in words: ``0:01:12 left``."""
    return "time left not known" if left is None else f"{timedelta(seconds=int(left.total_seconds()))} left"


def best_text(counts: TrialCounts) -> str:
    """Return what the best trial is, how many beat the benchmark, and how many failed."""
    best = "no Sharpe yet"
    if counts.best_sharpe is not None:
        best = f"best validation Sharpe {counts.best_sharpe:.2f} ({counts.best})"
    failed = f" · {counts.failed} failed" if counts.failed else ""
    return f"{best} · {counts.beating} beat the benchmark{failed}"
