"""Ctrl-C and other signals as stop requests: running trials end at their next tree, finished ones are tracked."""

from __future__ import annotations

import _thread
import signal
import sys
import threading
import traceback
from collections.abc import Callable
from types import FrameType, TracebackType


def release_database(interruption: KeyboardInterrupt) -> None:
    """Give up the SQLite transaction that an interruption was raised in, before anything else is written.

    SQLAlchemy drops the connection then without a rollback. The cursor, and with it the lock on the database, would
    live in the local variables of the traceback for as long as the exception is held.
    """
    traceback.clear_frames(interruption.__traceback__)


class StopRequest:
    """Turns the first Ctrl-C, SIGTERM or SIGHUP into a flag; the same one again interrupts at once.

    A different signal does not: ``mlflow run`` answers a Ctrl-C, which also reaches this process, with a SIGTERM.

    After `defer_signals` the count starts again, as the last results are being written.

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
        self._deferred: set[int] | None = None  # numbers of the signals since `defer_signals`
        self._last = int(signal.SIGINT)
        self._hook_before = sys.unraisablehook
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

    def defer_signals(self) -> None:
        """Ignore the next signal of each kind, unless one has interrupted already: the same one again interrupts."""
        self._deferred = set(self._seen) if self.interrupted else set()

    def __enter__(self) -> StopRequest:
        if threading.current_thread() is threading.main_thread():  # only it may handle signals
            for name in ("SIGINT", "SIGTERM", "SIGHUP"):  # the last where a terminal can be closed on us
                if hasattr(signal, name):
                    number = getattr(signal, name)
                    self._before[number] = signal.signal(number, self._handle)
            self._hook_before, sys.unraisablehook = sys.unraisablehook, self._interrupt_again
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)  # type: ignore[arg-type]
        if self._before:
            sys.unraisablehook = self._hook_before

    def _handle(self, number: int, frame: FrameType | None) -> None:
        ignored = self._seen if self._deferred is None else self._deferred
        if number in ignored:
            self.interrupted = True
            self._last = number
            raise KeyboardInterrupt
        ignored.add(number)
        if self._deferred is None:
            self.ask()

    def _interrupt_again(self, lost: sys.UnraisableHookArgs) -> None:
        """Repeat an interruption that Python dropped, as it was raised within a destructor or a weak reference."""
        if isinstance(lost.exc_value, KeyboardInterrupt):
            # Later and from a thread: here it would be dropped once more.
            threading.Timer(_SECONDS_TO_REPEAT, _signal_main_thread, [self._last]).start()
        else:
            self._hook_before(lost)


_SECONDS_TO_REPEAT = 0.05


def _signal_main_thread(number: int) -> None:
    identity = threading.main_thread().ident
    if sys.platform != "win32" and identity is not None:
        signal.pthread_kill(identity, number)  # wakes it where it sleeps
    else:
        _thread.interrupt_main(signal.Signals(number))
