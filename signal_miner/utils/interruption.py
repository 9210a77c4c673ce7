"""Ctrl-C and other signals as stop requests: running trials end at their next tree, finished ones are tracked."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable
from types import FrameType, TracebackType


class StopRequest:
    """Turns the first Ctrl-C, SIGTERM or SIGHUP into a flag; the same one again interrupts at once.

    A different signal does not: ``mlflow run`` answers a Ctrl-C, which also reaches this process, with a SIGTERM.

    Parameters
    ----------
    on_request : callable, optional
        Called once, when the first signal arrives or `ask` is called.

    Attributes
    ----------
    interrupted : bool
        Whether a second signal interrupted the work.
    """

    def __init__(self, on_request: Callable[[], None] = lambda: None) -> None:
        self._event = threading.Event()
        self._on_request = on_request
        self._before: dict[int, object] = {}
        self._seen: set[int] = set()
        self.interrupted = False

    def is_set(self) -> bool:
        """Return whether a stop was requested."""
        return self._event.is_set()

    def set(self) -> None:
        """Request a stop without calling `on_request`."""
        self._event.set()

    def ask(self) -> None:
        """Request a stop as the first signal does."""
        if not self._event.is_set():
            self._event.set()
            self._on_request()

    def ignore_signals(self) -> None:
        """Ignore signals from now on, while the last results are written to the stores."""
        for number in self._before:
            signal.signal(number, signal.SIG_IGN)

    def __enter__(self) -> StopRequest:
        if threading.current_thread() is threading.main_thread():  # only it may handle signals
            for name in ("SIGINT", "SIGTERM", "SIGHUP"):  # the last where a terminal can be closed on us
                if hasattr(signal, name):
                    number = getattr(signal, name)
                    self._before[number] = signal.signal(number, self._handle)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)  # type: ignore[arg-type]

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if number in self._seen:
            self.interrupted = True
            raise KeyboardInterrupt
        self._seen.add(number)
        self.ask()
