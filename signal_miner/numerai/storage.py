"""Sends small files to Numerai's storage, and fetches them, by signed links."""

# numerapi 3.1 sends a file with `requests.put` and ignores the answer: if the storage refuses, it still registers a
# submission, without a file. Here a file counts as sent only once the storage has accepted it and confirmed its
# checksum, if it gives one.

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import TypeVar

import requests

from signal_miner.errors import UserError
from signal_miner.numerai import retries
from signal_miner.numerai.remote import RemoteObject
from signal_miner.numerai.retries import Attempts, Interrupted, LinkRefused
from signal_miner.numerai.signed_links import quiet_urllib3, reason_of_request, without_credentials, without_query

TIMEOUT_SECONDS = (15.0, 300.0)  # to connect, between two bytes
T = TypeVar("T")


@dataclass(frozen=True)
class StorageLink:
    """Address to send a file to, or to fetch it from."""

    filename: str  # at Numerai
    url: str = field(repr=False)  # signed, so it is a secret


class StorageRefused(UserError):
    """The storage did not accept or deliver a file, also with a new link."""


def put_file(label: str, body: bytes, find_link: Callable[[], StorageLink]) -> StorageLink:
    """Send a file and return the link that worked; a temporary failure is retried by a new link from `find_link`.

    Raises
    ------
    StorageRefused
        The storage did not accept it.
    """

    def send(link: StorageLink) -> None:
        answer = requests.put(
            link.url, data=body, timeout=TIMEOUT_SECONDS, auth=without_credentials, allow_redirects=False
        )
        with answer:
            _check_status(answer)
            checksum = RemoteObject.of(answer).checksum
        if checksum and "-" not in checksum and checksum != hashlib.md5(body, usedforsecurity=False).hexdigest():
            raise Interrupted("the storage reports another checksum than the file's")

    link, _ = _try(f"{label} could not be uploaded", find_link, send)
    return link


def get_file(label: str, find_link: Callable[[], StorageLink]) -> bytes:
    """Fetch a small, complete file; a temporary failure is retried by a new link from `find_link`.

    Raises
    ------
    StorageRefused
        The storage did not deliver it, or the connection broke each time.
    """

    def receive(link: StorageLink) -> bytes:
        headers = {"Accept-Encoding": "identity"}  # else the announced length counts compressed bytes
        answer = requests.get(link.url, headers=headers, timeout=TIMEOUT_SECONDS, auth=without_credentials)
        with answer:
            _check_status(answer)
            size, body = RemoteObject.of(answer).size, answer.content
        if size is not None and size != len(body):
            raise Interrupted(f"{len(body)} of {size} bytes arrived")
        return body

    return _try(f"{label} could not be read back", find_link, receive)[1]


def _try(what: str, find_link: Callable[[], StorageLink], attempt: Callable[[StorageLink], T]) -> tuple[StorageLink, T]:
    """Make attempts, each by a new link, until one succeeds."""
    link = StorageLink("", "")

    def once() -> T:
        nonlocal link
        link = find_link()
        try:
            with quiet_urllib3():
                return attempt(link)
        except requests.RequestException as error:
            raise Interrupted(reason_of_request(error)) from None

    try:
        result = Attempts(retries.STORAGE_DELAYS_SECONDS).run(once)
    except Interrupted as problem:
        raise StorageRefused(f"{what} ({without_query(link.url)}: {problem}); try again later") from None
    return link, result


def _check_status(answer: requests.Response) -> None:
    """Raise `Interrupted` for an answer that may change and `LinkRefused` for any other but 2xx."""
    status = answer.status_code
    if 200 <= status < 300:
        return
    reason = f"{status} {answer.reason or ''}".strip()
    temporary = status >= 500 or status in (HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_MANY_REQUESTS)
    raise Interrupted(f"answered {reason}") if temporary else LinkRefused(f"answered {reason}, also with a new link")
