"""A miner's status in the study's own database, for machines that share no folder with it; and requests to stop it.

The status file is on the miner's machine alone; whoever reaches the study's storage reads this copy of it.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from types import TracebackType
from typing import Self

from signal_miner.errors import UserError
from signal_miner.experiment.study_files import study_directory
from signal_miner.mining.search import Search, request_shared_stop, shared_statuses
from signal_miner.mining.status import MinerStatus, all_statuses, parsed_status, status_text
from signal_miner.mining.status_writer import StatusWriter

_SECONDS_BETWEEN_LOOKS = 2.0
_HEARTBEAT = 10.0


class SharedStatus:
    """Copies a miner's status to the study's storage while it mines, and passes on requests to stop it.

    Parameters
    ----------
    search : Search
    status_writer : StatusWriter
    on_stop : callable
        Called once, in a thread.
    """

    def __init__(self, search: Search, status_writer: StatusWriter, on_stop: Callable[[], None]) -> None:
        self._search = search
        self._status_writer = status_writer
        self._on_stop = on_stop
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="shared status", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._over.set()
        self._thread.join(_HEARTBEAT)
        status = replace(self._status_writer.status, **self._status_writer.ending(error), updated=time.time())
        with suppress(UserError):
            self._search.share_status(status_text(status))

    def _run(self) -> None:
        written, shared, asked = 0.0, "", False
        while True:
            text = status_text(self._status_writer.status)
            if text != shared or time.monotonic() - written > _HEARTBEAT:
                with suppress(UserError):  # it may answer the next time
                    self._search.share_status(text)
                    written, shared = time.monotonic(), text
            if not asked:
                with suppress(UserError):
                    asked = self._search.stop_requested() == self._status_writer.token
                if asked:
                    self._on_stop()
            if self._over.wait(_SECONDS_BETWEEN_LOOKS):
                return


def known_statuses(storage: str) -> tuple[MinerStatus, ...]:
    """Return the newest status of each study of a storage, on whatever machine it is mined, the latest update first.

    Raises
    ------
    UserError
        If the storage is a database that cannot be read.
    """
    found = {status.study: status for status in all_statuses(study_directory(storage))}
    for text in shared_statuses(storage) if "://" in storage else ():
        with suppress(ValueError):  # of another version
            status = parsed_status(text)
            own = found.get(status.study)
            if own is None or (own.token != status.token and own.updated < status.updated):
                found[status.study] = status
    return tuple(sorted(found.values(), key=lambda status: status.updated, reverse=True))


def stop_elsewhere(storage: str, status: MinerStatus) -> MinerStatus:
    """Ask a miner that has no files here to stop, through the study's database; wait until it has and return how."""
    request_shared_stop(storage, status.study, status.token)
    while status.alive:
        time.sleep(_SECONDS_BETWEEN_LOOKS)
        status = next(each for each in known_statuses(storage) if each.study == status.study)
    return status
