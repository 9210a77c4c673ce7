"""Small files to and from Numerai's storage by signed links: whole, or one clear line.

``numerapi`` 3.1 sends a file with ``requests.put`` and looks at no answer: where the storage refuses, it goes on and
registers a submission without a file. Here a file counts as sent only once the storage has accepted it and, where it
gives a checksum, confirmed it.
"""

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
    """Where a file may be put, or fetched from.

    Attributes
    ----------
    filename : str
        The name that Numerai gave it.
    url : str
        Signed: a key to the file, kept out of the object's repr.
    """

    filename: str
    url: str = field(repr=False)


class StorageRefused(UserError):
    """The storage did not take or give a file, also with a new link."""


def put_file(label: str, body: bytes, find_link: Callable[[], StorageLink]) -> StorageLink:
    """Send a file; after a failure that may pass, send it again by a new link.

    Parameters
    ----------
    label : str
        How messages name the file.
    body : bytes
        All of it.
    find_link : callable
        Asks for a link that is valid now; once an attempt.

    Returns
    -------
    StorageLink
        The one that worked.

    Raises
    ------
    StorageRefused
        The storage did not accept it.
    UserError
        What `find_link` raises.
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
    """Fetch a small file, whole.

    Parameters
    ----------
    label : str
        How messages name the file.
    find_link : callable
        Asks for a link that is valid now; once an attempt.

    Returns
    -------
    bytes

    Raises
    ------
    StorageRefused
        The storage did not give it, or broke off each time.
    UserError
        What `find_link` raises.
    """

    def receive(link: StorageLink) -> bytes:
        headers = {"Accept-Encoding": "identity"}  # else the announced length counts compressed bytes
        answer = requests.get(link.url, headers=headers, timeout=TIMEOUT_SECONDS, auth=without_credentials)
        with answer:
            _check_status(answer)
            size, body = RemoteObject.of(answer).size, answer.content
        if size is not None and size != len(body):
            raise Interrupted(f"{len(body)} of {size} bytes came")
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
    """Let 2xx pass and sort every other answer."""
    status = answer.status_code
    if 200 <= status < 300:
        return
    said = f"{status} {answer.reason or ''}".strip()
    passing = status >= 500 or status in (HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_MANY_REQUESTS)
    raise Interrupted(f"answered {said}") if passing else LinkRefused(f"answered {said}, also with a new link")
