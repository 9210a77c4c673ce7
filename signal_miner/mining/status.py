"""A miner's status in a small file beside its study's lock, for other processes to read; and requests to stop it.

A file, as it outlives a notebook's kernel and a miner that was killed, and is the same on every system.
"""

from __future__ import annotations

import json
import math
import os
import secrets
import socket
import time
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import psutil

from signal_miner.scoring.objective import Objective
from signal_miner.tracking.records import TrackedTrial
from signal_miner.utils.files import write_whole
from signal_miner.utils.validation import parsed_json

STARTING, BENCHMARK, MINING, REPORT = "starting", "benchmark", "mining", "report"
FINISHED, STOPPED, FAILED = "finished", "stopped", "failed"
ENDED = (FINISHED, STOPPED, FAILED)
"""States after which a status does not change."""

STATES = (STARTING, BENCHMARK, MINING, REPORT, *ENDED)

_STATUS, _STOP_REQUEST = ".status.json", ".stop"
_FILE_KEYS = {"trial_counts": "standing"}
"""Attributes whose key in the status file is an older name: miners of other versions read and write the same files."""

_HEARTBEAT_LOST = 60.0
"""Seconds without an update after which a miner of another machine counts as dead; see `status_writer`."""

_READS, _SECONDS_BETWEEN_READS = 5, 0.05

_LONGEST_SECONDS = 1e9  # thirty years are as good as any longer time


@dataclass(frozen=True)
class TrialCounts:
    """How far a study's trials are, at one moment; times in seconds since the epoch.

    Attributes
    ----------
    total, done : int
        Trials of the study, and those that are finished or failed.
    done_before : int
        Those of them that earlier processes did.
    since : float
        When this process started its first trial.
    failed, beating : int
        Trials that failed, and that beat the benchmark in validation.
    best : str
        Name of the trial that is best in validation; empty while there is none.
    best_score : float or None
        Its score there.
    objective : Objective
        Which score that is.
    stopped, controls : int
        Trials that a race stopped, and those of its controls and pilot that are finished.
    races : bool
        Whether there is a race.
    """

    total: int
    done: int = 0
    done_before: int = 0
    since: float = 0.0
    failed: int = 0
    beating: int = 0
    best: str = ""
    best_score: float | None = None
    objective: Objective = Objective.SHARPE
    stopped: int = 0
    controls: int = 0
    races: bool = False

    @classmethod
    def at_start(
        cls,
        total: int,
        trials: Iterable[TrackedTrial],
        objective: Objective = Objective.SHARPE,
        *,
        races: bool = False,
    ) -> TrialCounts:
        """Return the counts before the first trial of a process, with the trials of earlier ones."""
        counts = cls(total, objective=objective, races=races)
        for trial in trials:
            counts = counts.after(trial)
        return replace(counts, done_before=counts.done, since=time.time())

    def after(self, trial: TrackedTrial) -> TrialCounts:
        """Return the counts with one more trial, finished or failed."""
        score = trial.metrics.get(self.objective.metric, math.nan)
        # A score of some eras alone cannot be set beside those of all.
        comparable = math.isfinite(score) and not trial.metrics.get("validation/undefined_eras")
        better = comparable and (self.best_score is None or score > self.best_score)
        return replace(
            self,
            done=self.done + 1,
            failed=self.failed + trial.failed,
            stopped=self.stopped + trial.stopped,
            controls=self.controls + bool(trial.race.control),
            beating=self.beating + trial.beats_benchmark["validation"],
            best=trial.name if better else self.best,
            best_score=score if better else self.best_score,
        )

    def rate(self, now: float) -> float | None:
        """Return trials a second of this process; None before its first, and where the clock was set back."""
        done = self.done - self.done_before
        return done / (now - self.since) if done and now > self.since else None

    def time_left(self, now: float) -> timedelta | None:
        """Return how long the rest takes at this rate; None before the first trial."""
        rate = self.rate(now)
        return None if rate is None else timedelta(seconds=min((self.total - self.done) / rate, _LONGEST_SECONDS))


@dataclass(frozen=True)
class Process:
    """A process that no later one is mistaken for.

    Attributes
    ----------
    pid : int
    created : float
        When it was started, seconds since the epoch.
    host : str
        Name of its machine.
    """

    pid: int
    created: float
    host: str

    @classmethod
    def of(cls, pid: int) -> Process:
        """Return a process of this machine; one that has ended already has no start time."""
        created = 0.0
        with suppress(psutil.Error):
            created = psutil.Process(pid).create_time()
        return cls(pid, created, socket.gethostname())


def new_token() -> str:
    """Return a name for one start of a miner."""
    return secrets.token_hex(8)


@dataclass(frozen=True)
class MinerStatus:
    """One miner of a study, at one moment; times in seconds since the epoch.

    Attributes
    ----------
    study : str
    token : str
        Identifies this start of a miner; its status and requests to stop it carry it.
    process : Process
    state : str
        `STARTING`, `BENCHMARK`, `MINING`, `REPORT`, or one of `ENDED`.
    trial_counts : TrialCounts
        ``standing`` in the status file.
    started, updated : float
    at : str
        What it is doing besides trials: ``fold 1: 1,240 of 3,555 features binned``.
    message : str
        Why it failed, in one line.
    stopping : bool
        Whether it was asked to stop.
    starter : bool
        Whether `process` is the one that starts the miner, which has not written a status itself yet.
    tracking_uri : str
        MLflow store, without a password; empty where it is not known yet.
    log : str
        File that it prints to; empty where that is a terminal.
    """

    study: str
    token: str
    process: Process
    state: str = STARTING
    trial_counts: TrialCounts = field(default_factory=lambda: TrialCounts(0))
    started: float = field(default_factory=time.time)
    updated: float = field(default_factory=time.time)
    at: str = ""
    message: str = ""
    stopping: bool = False
    starter: bool = False
    tracking_uri: str = ""
    log: str = ""

    @property
    def ended(self) -> bool:
        """Whether it ended, by its last status."""
        return self.state in ENDED

    @property
    def alive(self) -> bool:
        """Whether it has not ended and its process exists."""
        return not self.ended and self._process_is_there()

    def _process_is_there(self) -> bool:
        fresh = 0 <= time.time() - self.updated < _HEARTBEAT_LOST
        if self.starter or self.process.host != socket.gethostname():  # a starter may give up
            return fresh
        try:
            process = psutil.Process(self.process.pid)
            created = process.create_time()
            # The clock may have been set since it was started: then a fresh status is as good as its start time.
            same = abs(created - self.process.created) < 1 or (fresh and created < self.updated)
            return same and process.status() != psutil.STATUS_ZOMBIE
        except psutil.NoSuchProcess:
            return False
        except psutil.AccessDenied:
            return True


def write_status(directory: Path, status: MinerStatus) -> None:
    """Write a miner's status beside its study's lock; raise `UserError` where the disk does not take it."""
    write_whole(directory / f"{status.study}{_STATUS}", status_text(status).encode())


def status_text(status: MinerStatus) -> str:
    """Return a status as `parsed_status` reads it."""
    return json.dumps({_FILE_KEYS.get(key, key): value for key, value in asdict(status).items()}, indent=1)


def read_status(directory: Path, study: str) -> MinerStatus | None:
    """Return the status of a study's newest miner; None where none is readable."""
    path = directory / f"{study}{_STATUS}"
    for _ in range(_READS):  # Windows refuses a file that is being replaced
        try:
            return parsed_status(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return None
        except (OSError, ValueError):
            time.sleep(_SECONDS_BETWEEN_READS)
    return None


def parsed_status(text: str) -> MinerStatus:
    """Return the status in a text; raise a ValueError where it is not one."""
    table = parsed_json(text)
    try:
        process, counts = Process(**table.pop("process")), _counts(table.pop(_FILE_KEYS["trial_counts"]))
        status = MinerStatus(**table, process=process, trial_counts=counts)
        numbers = [status.started, status.updated, process.created, counts.since, counts.total, counts.done]
        sound = status.state in STATES and process.pid >= 1 and all(map(math.isfinite, numbers))
    except (TypeError, KeyError, AttributeError) as error:
        raise ValueError("not a status") from error
    if not sound:
        raise ValueError("not a status")
    return status


def _counts(table: dict[str, Any]) -> TrialCounts:
    if "best_sharpe" in table:  # written before there were other objectives
        table["best_score"] = table.pop("best_sharpe")
    return TrialCounts(**table | {"objective": Objective(table.get("objective", Objective.SHARPE))})


def all_statuses(directory: Path) -> tuple[MinerStatus, ...]:
    """Return the newest miner of each study that has its files in a directory, the latest update first."""
    names = [path.name.removesuffix(_STATUS) for path in directory.glob(f"*{_STATUS}")]
    found = [status for name in names if (status := read_status(directory, name))]
    return tuple(sorted(found, key=lambda status: status.updated, reverse=True))


def request_stop(directory: Path, status: MinerStatus) -> None:
    """Ask a miner to stop; raise `UserError` where the disk does not take it."""
    write_whole(directory / f"{status.study}{_STOP_REQUEST}", status.token.encode())


def is_stop_requested(directory: Path, status: MinerStatus) -> bool:
    """Return whether this miner was asked to stop."""
    try:
        return (directory / f"{status.study}{_STOP_REQUEST}").read_text(encoding="utf-8") == status.token
    except (OSError, ValueError):
        return False


def clear_stop_request(directory: Path, study: str) -> None:
    """Remove a request that was acted on."""
    with suppress(OSError):
        (directory / f"{study}{_STOP_REQUEST}").unlink(missing_ok=True)


def own_process() -> Process:
    """Return this process."""
    return Process.of(os.getpid())


def studies_of(statuses: Sequence[MinerStatus], name: str | None) -> list[MinerStatus]:
    """Return the statuses of a study, or of those whose name begins so; all where no name is given."""
    exact = [status for status in statuses if status.study == name]
    return exact or [status for status in statuses if status.study.startswith(name or "")]
