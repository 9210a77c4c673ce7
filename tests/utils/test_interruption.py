"""Which signal asks for a stop, which interrupts, and which is ignored."""

from __future__ import annotations

import signal
import sys
import time
import weakref

import pytest

from signal_miner.utils.interruption import StopRequest

INT, TERM = signal.SIGINT, signal.SIGTERM

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="Windows has other signals")


def interrupted_by(stop: StopRequest, *numbers: int) -> int | None:
    """Return the place of the signal that interrupts."""
    for place, number in enumerate(numbers, start=1):
        try:
            signal.raise_signal(number)
        except KeyboardInterrupt:
            return place
    return None


@pytest.mark.parametrize(
    ("before", "place", "after", "later"),
    [
        ((INT, INT), 2, (INT,), 1),  # whoever interrupts a second time does not wait at all
        ((INT, TERM), None, (INT, INT), 2),  # `mlflow run` follows a Ctrl-C with a SIGTERM
        ((INT, TERM), None, (TERM, INT, TERM), 3),
        ((INT, TERM, TERM), 3, (INT,), 1),
        ((), None, (INT, TERM), None),
        ((), None, (INT, TERM, TERM), 3),
    ],
)
def test_a_repeated_signal_interrupts_before_and_after_results_are_written(before, place, after, later):
    asked = []
    handler = signal.getsignal(INT)
    with StopRequest(lambda: asked.append(True)) as stop:
        assert interrupted_by(stop, *before) == place
        assert stop.is_set() == bool(before)
        assert len(asked) == bool(before)
        stop.defer_signals()
        assert interrupted_by(stop, *after) == later
        assert len(asked) == bool(before)  # nothing is announced any more
        assert stop.interrupted == (place is not None or later is not None)
    assert signal.getsignal(INT) == handler


def test_an_interruption_that_python_drops_is_repeated(capsys: pytest.CaptureFixture[str]) -> None:
    class Thing:
        pass

    hook = sys.unraisablehook
    with StopRequest() as stop:
        signal.raise_signal(INT)
        thing = Thing()
        watched = weakref.ref(thing, lambda _: signal.raise_signal(INT))
        del thing  # the second signal interrupts within the callback, which cannot pass it on
        assert watched() is None
        assert stop.interrupted
        with pytest.raises(KeyboardInterrupt):
            time.sleep(30)
    assert sys.unraisablehook is hook
    assert not capsys.readouterr().err
