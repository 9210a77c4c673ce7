"""Signed links, which are secrets: their signature appears in no message and no log."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit

import requests


def without_query(url: str) -> str:
    """Return the parts of a link that may be shown: scheme, host and path, no signature and no password."""
    split = urlsplit(url)
    return f"{split.scheme}://{split.netloc.rpartition('@')[2]}{split.path}"


def without_credentials(request: requests.PreparedRequest) -> requests.PreparedRequest:
    """Replace ``.netrc`` as ``auth``: storage refuses a signed link that comes with a password."""
    return request


@contextmanager
def quiet_urllib3() -> Iterator[None]:
    """Keep links, which are signed, out of urllib3's own log."""
    logger = logging.getLogger("urllib3")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)


def reason_of_request(error: requests.RequestException) -> str:
    """Describe a failed request without any address; the error's own text may contain the signed link."""
    text = str(error)
    if isinstance(error, requests.exceptions.SSLError):
        return "the server's certificate could not be verified"
    if isinstance(error, requests.Timeout) or "timed out" in text:
        return "no answer in time"
    if any(sign in text for sign in ("NameResolution", "Name or service", "getaddrinfo")):
        return "the host name could not be resolved"
    if "refused" in text:
        return "connection refused"
    if isinstance(error, (requests.ConnectionError, requests.exceptions.ChunkedEncodingError)):
        return "connection lost"
    return type(error).__name__
