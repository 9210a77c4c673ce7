"""Queries to Numerai's API through ``numerapi``: an answer, or one clear error."""

# numerapi 3.1 logs a failed request and returns an empty answer, on which its own methods raise `KeyError: 'data'`; it
# sets no time limit; creating a client configures logging for the whole process and reads `.env`. Here its messages
# become the cause in a `UserError`, and nothing else in the process changes.

from __future__ import annotations

import logging
import re
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numerapi
import numerapi.base_api

from signal_miner.errors import UserError
from signal_miner.numerai import retries

ANSWER_SECONDS = 90.0

_ASKING = threading.Lock()  # `_quiet` changes loggers that the whole process shares


class NumeraiUnreachable(UserError):
    """Numerai's API gave no usable answer: it is down, unreachable or too slow."""


class NumeraiRefused(UserError):
    """Numerai's API answered with an error of its own: `reason`, on one line."""

    def __init__(self, reason: str) -> None:
        super().__init__(f"Numerai's API refused the question: {reason}")
        self.reason = reason


class _Messages(logging.Handler):
    """Collects what ``numerapi`` logs instead of showing it."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Collect a message, on one line."""
        self.lines.append(" ".join(record.getMessage().split()))


@contextmanager
def _quiet() -> Iterator[list[str]]:
    """Collect numerapi's messages and undo what it does to logging."""
    root, logger, messages = logging.getLogger(), logging.getLogger("numerapi"), _Messages()
    placeholder = logging.NullHandler()
    propagate = logger.propagate
    root.addHandler(placeholder)  # logging.basicConfig, which numerapi calls, does nothing where a handler is
    logger.addHandler(messages)
    logger.propagate = False
    try:
        yield messages.lines
    finally:
        logger.propagate = propagate
        logger.removeHandler(messages)
        root.removeHandler(placeholder)


def anonymous_client() -> numerapi.NumerAPI:
    """Create a client without a key, for public queries."""
    with _ASKING, _quiet():
        # Given any key, numerapi does not read one from the environment; public queries are sent without it.
        return numerapi.NumerAPI("anonymous", "anonymous", "ERROR", False)  # type: ignore[no-untyped-call]


def authorized_client(public_id: str, secret_key: str) -> numerapi.NumerAPI:
    """Create a client for an account; it reads neither the environment nor ``.env``.

    Neither part of the key may be empty. The client keeps it as its ``token``: never show or pickle it.
    """
    with _ASKING, _quiet():
        return numerapi.NumerAPI(public_id, secret_key, "ERROR", False)  # type: ignore[no-untyped-call]


def ask_numerai(
    query: str,
    variables: Mapping[str, Any] | None = None,
    *,
    client: numerapi.NumerAPI | None = None,
    authorization: bool = False,
    repeatable: bool = True,
) -> dict[str, Any]:
    """Send one GraphQL query and return the answer's ``data``.

    Parameters
    ----------
    client : numerapi.NumerAPI, optional
        An anonymous client by default.
    authorization : bool, default False
        Send the client's key along.
    repeatable : bool, default True
        Ask again after an answer of 5xx; False for what changes something at Numerai.

    Raises
    ------
    NumeraiUnreachable
        There was no usable answer within `ANSWER_SECONDS`.
    NumeraiRefused
        Numerai answered with an error of its own.
    """
    asking = client if client is not None else anonymous_client()
    with _ASKING, _quiet() as messages:
        answer = _answer(asking, query, dict(variables or {}), authorization, repeatable, messages)
    data = answer.get("data") if isinstance(answer, dict) else None
    if not isinstance(data, dict):
        raise NumeraiUnreachable(
            f"Numerai's API at {numerapi.base_api.API_TOURNAMENT_URL} gave no answer ({_cause(messages)}); "
            "check the network and try again later"
        )
    return data


def _answer(
    client: numerapi.NumerAPI,
    query: str,
    variables: dict[str, Any],
    authorization: bool,
    repeatable: bool,
    messages: list[str],
) -> Any:
    """Call ``raw_query`` in a thread of its own, since numerapi has no time limit."""
    outcome: list[Any] = []
    attempts = retries.API_ATTEMPTS if repeatable else 1

    def call() -> None:
        try:
            outcome.append(
                client.raw_query(
                    query, variables, authorization, retries=attempts, delay=retries.API_DELAY_SECONDS, backoff=2
                )
            )
        except Exception as error:  # noqa: BLE001 - raised again in the caller's thread
            outcome.append(error)

    thread = threading.Thread(target=call, name="numerai-api", daemon=True)
    thread.start()
    thread.join(ANSWER_SECONDS)
    if not outcome:
        messages.append(f"no answer within {ANSWER_SECONDS:g} s")
        return {}
    answer = outcome[0]
    if isinstance(answer, ValueError):
        detail = " ".join(str(answer).split()) or "no reason given"
        raise NumeraiRefused(detail) from None
    if isinstance(answer, Exception):
        raise answer
    return answer


def _cause(messages: list[str]) -> str:
    """Describe briefly why there was no answer."""
    text = messages[-1] if messages else "an empty answer"
    status = re.search(r"Http Error: (\d{3} )(?:Client|Server) Error: (.*?) for url", text)
    if status:
        return f"it answered {status[1]}{status[2]}".strip()
    if any(sign in text for sign in ("NameResolution", "Name or service", "getaddrinfo", "name resolution")):
        return "its host name could not be resolved"
    if "refused" in text:
        return "connection refused"
    return text if len(text) <= 160 else f"{text[:160]}…"
