"""Fetches one object from Numerai's storage into one ``.part`` file: resumable, never a mixture of two objects."""

# Why this is not left to numerapi: `download_file` of numerapi 3.1 keeps any file of the right size, prepends whatever
# a `.temp` file contains, does not check whether a range was granted, and turns off the verification of TLS
# certificates when it resumes.
#
# Links are signed and expire, so every attempt asks for a new one, and no message shows more of it than host and path.
# Numerai replaces objects (live.parquet every day) while a part of the old one may be on disk. Hence
# - a part is continued only with `If-Range` on the object that it was fetched from: a changed object comes whole;
# - a 206 must start where the part ends and name the same object, else the part is discarded;
# - bytes go to the `.part` only. A checksum or, without one, decoding every value comes before the file's own name
#   (`versions._put_in_place`), because a connection that is lost without an announced length looks like a file's end.

from __future__ import annotations

import errno
import os
import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path

import requests
from rich.filesize import decimal

from signal_miner.errors import UserError
from signal_miner.numerai import retries
from signal_miner.numerai.api import NumeraiUnreachable
from signal_miner.numerai.remote import RemoteObject
from signal_miner.numerai.retries import Attempts, Interrupted, LinkRefused
from signal_miner.numerai.signed_links import reason_of_request, without_credentials, without_query

TIMEOUT_SECONDS = (15.0, 60.0)  # to connect, between two bytes
CHUNK_BYTES = 64 * 1024  # what a broken connection may cost: requests drops the chunk it was filling
SPARE_DISK_BYTES = 16 * 1024 * 1024


@dataclass(frozen=True)
class Transfer:
    """One file to fetch.

    Attributes
    ----------
    label : str
        Its name in messages.
    part : Path
        The file that receives the bytes.
    find_url : callable
        Asks for a new link.
    partial : RemoteObject or None
        What the bytes in `part` were fetched from; None if they are of no use.
    here : RemoteObject or None
        What a good local copy was fetched from.
    is_here : callable
        Whether the local copy is the same as a remote object.
    on_start : callable
        Called with the object once `part` is empty and before the first byte.
    on_bytes : callable
        Called with the bytes so far and in all (or None).
    """

    label: str
    part: Path
    find_url: Callable[[], str]
    partial: RemoteObject | None
    here: RemoteObject | None
    is_here: Callable[[RemoteObject], bool]
    on_start: Callable[[RemoteObject], None]
    on_bytes: Callable[[int, int | None], None]


def run_transfer(transfer: Transfer) -> RemoteObject | None:
    """Fetch all bytes of an object into ``transfer.part`` and return it; None if the local copy is the same.

    Raises
    ------
    UserError
        The storage refuses, has no such object, or broke off too often without a new byte.
    OSError
        The disk is too small.
    """
    known, url = transfer.partial, ""
    furthest = _resume_point(transfer.part, known)
    attempts = Attempts(retries.DOWNLOAD_DELAYS_SECONDS)

    def fetch() -> RemoteObject | None:
        nonlocal known, url
        url, start = "", _resume_point(transfer.part, known)
        url = transfer.find_url()
        with _answer(url, _conditions(start, known, transfer.here), transfer) as response:
            attempts.link_accepted()
            if response.status_code == HTTPStatus.NOT_MODIFIED:
                return None
            remote = RemoteObject.of(response)
            if response.status_code == HTTPStatus.OK:
                if transfer.is_here(remote):
                    return None
                start = 0
                transfer.part.write_bytes(b"")
                transfer.on_start(remote)
            elif not _continues(response, remote, start, known):
                raise _discarding(transfer.part, "the object changed on the way")
            known = remote
            _receive(response, remote, start, transfer)
            return remote

    def attempt() -> RemoteObject | None:
        nonlocal furthest
        try:
            return fetch()
        except (Interrupted, NumeraiUnreachable) as problem:
            gathered = _resume_point(transfer.part, known)
            if gathered > furthest:
                furthest = gathered
                attempts.progressed()
            if isinstance(problem, NumeraiUnreachable):
                raise Interrupted(str(problem)) from None
            raise

    try:
        return attempts.run(attempt)
    except Interrupted as problem:
        raise UserError(_failure(transfer, url, problem, _resume_point(transfer.part, known))) from None


def _failure(transfer: Transfer, url: str, problem: Exception, gathered: int) -> str:
    if isinstance(problem, LinkRefused):
        return f"{transfer.label}: {without_query(url)} {problem}, also with a new link; try again later"
    where = f" from {without_query(url)}" if url else ""
    return (
        f"{transfer.label}: the transfer{where} broke off ({problem}); "
        f"{decimal(gathered)} are kept, run the same command again to resume there"
    )


def _resume_point(part: Path, known: RemoteObject | None) -> int:
    """Count the bytes to keep; at least one is left to ask for, since an empty range is an error."""
    if known is None or known.validator is None or not part.is_file():
        return 0
    gathered = part.stat().st_size
    if known.size is None:
        return gathered
    return 0 if gathered > known.size else max(0, min(gathered, known.size - 1))


def _conditions(start: int, known: RemoteObject | None, here: RemoteObject | None) -> dict[str, str]:
    """Choose the headers: the rest of the part, or all if it changed, or all."""
    headers = {"Accept-Encoding": "identity"}  # else length and range would count compressed bytes
    if start and known is not None and known.validator is not None:
        headers |= {"Range": f"bytes={start}-", "If-Range": known.validator}
    elif here is not None and here.etag:
        headers["If-None-Match"] = here.etag
    elif here is not None and here.last_modified:
        headers["If-Modified-Since"] = here.last_modified
    return headers


@contextmanager
def _answer(url: str, headers: dict[str, str], transfer: Transfer) -> Iterator[requests.Response]:
    """Open the link; yield an answer of status 200, 206 or 304, and raise for every other one."""
    try:
        with requests.get(
            url, headers=headers, stream=True, timeout=TIMEOUT_SECONDS, auth=without_credentials
        ) as response:
            status = response.status_code
            if status in _expected(headers):
                yield response
                return
            answer = f"answered {status} {response.reason or ''}".strip()
    except requests.RequestException as error:
        raise Interrupted(reason_of_request(error)) from None
    if status in (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN):
        raise LinkRefused(answer)
    if status == HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
        raise _discarding(transfer.part, answer)
    if status in (HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_MANY_REQUESTS) or status >= 500 or status < 400:
        raise Interrupted(answer)
    raise UserError(f"{transfer.label}: {without_query(url)} {answer}; Numerai lists this file but does not serve it")


def _expected(headers: dict[str, str]) -> set[int]:
    """Return the statuses that fit the request: 206 only for a range, 304 only for a condition."""
    expected: set[int] = {HTTPStatus.OK}
    if "Range" in headers:
        expected.add(HTTPStatus.PARTIAL_CONTENT)
    if "If-None-Match" in headers or "If-Modified-Since" in headers:
        expected.add(HTTPStatus.NOT_MODIFIED)
    return expected


def _continues(response: requests.Response, remote: RemoteObject, start: int, known: RemoteObject | None) -> bool:
    """Whether a 206 starts where the part ends and belongs to the same object."""
    place = re.fullmatch(r"bytes (\d+)-\d+/(?:\d+|\*)", response.headers.get("Content-Range", ""))
    if known is None or place is None or int(place[1]) != start:
        return False
    named = remote.etag is not None or remote.last_modified is not None
    return remote.same_as(known) if named else remote.size == known.size


def _discarding(part: Path, reason: str) -> Interrupted:
    part.unlink(missing_ok=True)
    return Interrupted(reason)


def _receive(response: requests.Response, remote: RemoteObject, start: int, transfer: Transfer) -> None:
    """Write the answer's bytes at `start` and check their number."""
    if remote.size is not None:
        _check_disk_space(transfer, remote.size - start)
    done = start
    with transfer.part.open("r+b") as file:
        file.truncate(start)
        file.seek(start)
        transfer.on_bytes(done, remote.size)
        for chunk in response.iter_content(CHUNK_BYTES):
            file.write(chunk)
            done += len(chunk)
            transfer.on_bytes(done, remote.size)
        file.flush()
        os.fsync(file.fileno())
    if remote.size is not None and done < remote.size:
        raise Interrupted(f"{done} of {remote.size} bytes arrived")
    if remote.size is not None and done > remote.size:
        raise _discarding(transfer.part, f"{done} bytes arrived where {remote.size} were announced")


def _check_disk_space(transfer: Transfer, needed: int) -> None:
    free = shutil.disk_usage(transfer.part.parent).free
    if needed + SPARE_DISK_BYTES > free:
        raise OSError(errno.ENOSPC, f"{transfer.label} needs {decimal(needed)} more, {decimal(free)} are free")
