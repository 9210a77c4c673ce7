"""When a request to Numerai is repeated, and after which pauses: all waiting of this package."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

from tenacity import (
    RetryCallState,
    Retrying,
    retry_if_exception_type,
    retry_if_result,
    stop_after_attempt,
    stop_before_delay,
    wait_chain,
    wait_fixed,
)

API_ATTEMPTS = 3
API_DELAY_SECONDS = 1  # numerapi itself repeats questions, and doubles this pause each time
DOWNLOAD_DELAYS_SECONDS: tuple[float, ...] = (1.0, 2.0, 4.0, 8.0)  # large data files
STORAGE_DELAYS_SECONDS: tuple[float, ...] = (1.0, 2.0, 4.0)  # submissions and uploaded models
LISTING_DELAYS_SECONDS: tuple[float, ...] = (2.0, 4.0, 8.0)  # Numerai lists a new upload a little late
POLL_SECONDS = 15.0  # validation of an uploaded model

T = TypeVar("T")


class Interrupted(Exception):
    """An attempt that ended early; another may succeed."""


class LinkRefused(Interrupted):
    """The storage did not accept the signed link: expired or forbidden. A new link may work."""


class Attempts:
    """Repeats an attempt that raises `Interrupted`, one pause of `delays` after each failure.

    The last `Interrupted` is raised once a failure has no pause left, or once a second link was refused: a first
    refusal may mean that the link expired, a second one does not.
    """

    def __init__(self, delays: Sequence[float]) -> None:
        self._delays = delays
        self._failures = self._refusals = 0

    def run(self, attempt: Callable[[], T]) -> T:
        """Return the result of the first attempt that succeeds."""
        policy = Retrying(
            retry=retry_if_exception_type(Interrupted),
            after=self._count,  # tenacity calls it before `wait` and `stop`
            wait=lambda _: self._delays[min(self._failures, len(self._delays)) - 1],
            stop=lambda _: self._refusals > 1 or self._failures > len(self._delays),
            reraise=True,
        )
        return policy(attempt)

    def link_accepted(self) -> None:
        """Forget refusals: a later one means that this link expired."""
        self._refusals = 0

    def progressed(self) -> None:
        """Forget failures: a slow, often broken connection may take as long as it needs while bytes arrive."""
        self._failures = 0

    def _count(self, state: RetryCallState) -> None:
        self._failures += 1
        self._refusals += state.outcome is not None and isinstance(state.outcome.exception(), LinkRefused)


def look_until_listed(look: Callable[[], T | None]) -> T | None:
    """Repeat `look` until it finds something; None if Numerai never lists it."""
    return Retrying(
        retry=retry_if_result(lambda found: found is None),
        wait=wait_chain(*map(wait_fixed, LISTING_DELAYS_SECONDS)),
        stop=stop_after_attempt(len(LISTING_DELAYS_SECONDS) + 1),
        retry_error_callback=_nothing,
    )(look)


def poll(look: Callable[[], T | None], timeout_seconds: float) -> T | None:
    """Repeat `look` every `POLL_SECONDS` until it returns something; None if that would exceed the timeout."""
    return Retrying(
        retry=retry_if_result(lambda found: found is None),
        wait=wait_fixed(POLL_SECONDS),
        stop=stop_before_delay(timeout_seconds),
        retry_error_callback=_nothing,
    )(look)


def _nothing(state: RetryCallState) -> None:
    """Return None where tenacity would raise `RetryError`."""
