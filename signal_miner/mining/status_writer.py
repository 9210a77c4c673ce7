"""Writes a miner's status for other processes, and watches for their requests to stop it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from signal_miner.errors import Stopped, UserError
from signal_miner.mining.observer import BenchmarkStep, ClusterWorkers, Compiling, Event, FeaturesBinned
from signal_miner.mining.status import (
    BENCHMARK,
    FAILED,
    FINISHED,
    MINING,
    STOPPED,
    MinerStatus,
    TrialCounts,
    clear_stop_request,
    is_stop_requested,
    new_token,
    own_process,
    read_status,
    write_status,
)
from signal_miner.utils.redaction import reason_of, without_passwords

_SECONDS_BETWEEN_LOOKS = 0.2
_SECONDS_BETWEEN_WRITES = 0.5
_HEARTBEAT = 10.0


class StatusWriter:
    """Writes a miner's status from a thread of its own, and watches for stop requests.

    The status of a study has one writer: the process that holds the study's lock, between `claim` and `release`;
    before and after that, the one whose token is in it. Where the disk is full, mining continues without it.

    Parameters
    ----------
    directory : Path
        Of the study's files on this machine.
    study : str, optional
        Where it is known before `claim`: whoever started this process waits for its status.
    token : str, optional
        Of this start of a miner.
    log : str, optional
        File that this process prints to.
    """

    def __init__(self, directory: Path, study: str = "", token: str = "", log: str = "") -> None:
        self._directory = directory
        self._status = MinerStatus(study, token or new_token(), own_process(), log=log)
        self._lock = threading.Lock()
        self._writing = threading.Lock()  # separate, so that `update` never waits for the disk
        self._claimed = self._stopping = False
        self._workers = ""  # of a cluster
        self._changed = bool(study)
        self._written = 0.0
        self._on_stop: Callable[[], None] | None = None
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="status writer", daemon=True)

    @property
    def token(self) -> str:
        """Name of this start of a miner."""
        return self._status.token

    @property
    def status(self) -> MinerStatus:
        """The status now."""
        with self._lock:
            return replace(self._status, stopping=self._stopping)

    def claim(self, study: str, on_stop: Callable[[], None]) -> None:
        """Write a study's status from now on, as this process holds its lock; `on_stop` is called once, in a thread."""
        with self._lock:
            self._claimed = True
        self.listen(on_stop)
        self.update(study=study)

    def listen(self, on_stop: Callable[[], None] | None) -> None:
        """Call `on_stop`, once, when a stop is requested from now on; None: ignore requests."""
        with self._lock:
            self._on_stop = on_stop

    def release(self) -> None:
        """Stop writing as the holder of the study's lock, and ignore stop requests."""
        self._write()
        self.listen(None)
        with self._lock:
            self._claimed = False

    def update(self, **changes: Any) -> None:
        """Change some attributes of the status; safe to call from several threads, and quick."""
        if "tracking_uri" in changes:
            changes["tracking_uri"] = without_passwords(changes["tracking_uri"])
        with self._lock:
            self._status = replace(self._status, **changes)
            self._changed = True

    def observe(self, event: Event) -> None:
        """Take what a miner reports into the status: an `Observer`."""
        match event:
            case BenchmarkStep():
                self.update(state=BENCHMARK, at=str(event))
            case TrialCounts():
                self.update(state=MINING, trial_counts=event, at=self._workers)
            case ClusterWorkers():
                self._workers = str(event)
                self.update(at=self._workers)
            case Compiling():
                self.update(at=str(event))
            case FeaturesBinned():
                self.update(at=str(event) if event.done < event.total else "")

    def set_stopping(self) -> None:
        """Record that a stop was requested; takes no lock, as a signal may have interrupted its holder."""
        self._stopping = self._changed = True

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._over.set()
        self._thread.join()
        self.update(**self.ending(error))
        self._write()
        if is_stop_requested(self._directory, self._status):  # it came too late
            clear_stop_request(self._directory, self._status.study)

    def ending(self, error: BaseException | None) -> dict[str, Any]:
        """Return what changes in the status as the miner ends, with an error or without."""
        if error is None:
            last = {} if self._status.ended else {"state": FINISHED}
        elif isinstance(error, KeyboardInterrupt | Stopped):
            last = {"state": STOPPED}
        else:
            expected = isinstance(error, UserError | OSError)
            reason = " ".join(reason_of(error).split())
            last = {"state": FAILED, "message": reason if expected else f"{type(error).__name__}: {reason}"}
        return {**last, "at": ""}

    def _run(self) -> None:
        while not self._over.wait(_SECONDS_BETWEEN_LOOKS):
            since = time.monotonic() - self._written
            if since >= (_SECONDS_BETWEEN_WRITES if self._changed else _HEARTBEAT):
                self._write()
            self._listen()

    def _listen(self) -> None:
        with self._lock:
            on_stop, status = self._on_stop, self._status
        if on_stop is not None and is_stop_requested(self._directory, status):
            with self._lock:
                self._on_stop = None
            self.set_stopping()
            self._write()  # before the request is removed: `start_mining` looks for one of the two
            clear_stop_request(self._directory, status.study)
            on_stop()

    def _write(self) -> None:
        with self._writing:
            with self._lock:
                status = self._status = replace(self._status, updated=time.time(), stopping=self._stopping)
                claimed, self._changed = self._claimed, False
            self._written = time.monotonic()
            if status.study and (claimed or self._is_named(status)):
                try:
                    write_status(self._directory, status)
                except UserError:
                    self._changed = True  # there may be disk space again in a moment

    def _is_named(self, status: MinerStatus) -> bool:
        written = read_status(self._directory, status.study)
        return written is not None and written.token == status.token
