"""Small files to and from Numerai's storage by signed links: whole, or one clear line.

``numerapi`` 3.1 sends a file with ``requests.put`` and looks at no answer: where the storage refuses, it goes on and
registers a submission without a file. Here a file counts as sent only once the storage has accepted it and, where it
gives a checksum, confirmed it.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import TypeVar

import requests

from signal_miner.errors import UserError
from signal_miner.numerai.remote import RemoteObject
from signal_miner.numerai.signed_links import quiet_urllib3, reason_of_request, without_credentials, without_query

RETRY_DELAYS_SECONDS: tuple[float, ...] = (1.0, 2.0, 4.0)
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


class _Refused(Exception):
    """The link was not accepted: expired, or forbidden. A new one may be."""


class _Again(Exception):
    """An attempt that failed; another may not."""


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
            raise _Again("the storage reports another checksum than the file's")

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
            raise _Again(f"{len(body)} of {size} bytes came")
        return body

    return _try(f"{label} could not be read back", find_link, receive)[1]


def _try(what: str, find_link: Callable[[], StorageLink], attempt: Callable[[StorageLink], T]) -> tuple[StorageLink, T]:
    """Make attempts until one succeeds; a refusal twice, or too many failures, end it."""
    refusals = failures = 0
    while True:
        link = find_link()
        try:
            with quiet_urllib3():
                return link, attempt(link)
        except _Refused as error:
            refusals += 1
            problem = f"answered {error}, also with a new link"
        except _Again as error:
            problem = str(error)
        except requests.RequestException as error:
            problem = reason_of_request(error)
        failures += 1
        if refusals > 1 or failures > len(RETRY_DELAYS_SECONDS):
            raise StorageRefused(f"{what} ({without_query(link.url)}: {problem}); try again later")
        time.sleep(RETRY_DELAYS_SECONDS[failures - 1])


def _check_status(answer: requests.Response) -> None:
    """Let 2xx pass and sort every other answer."""
    status = answer.status_code
    if 200 <= status < 300:
        return
    said = f"{status} {answer.reason or ''}".strip()
    passing = status >= 500 or status in (HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_MANY_REQUESTS)
    raise _Again(f"answered {said}") if passing else _Refused(said)
