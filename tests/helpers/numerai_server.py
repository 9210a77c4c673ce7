"""A small Numerai on loopback: its GraphQL endpoint and its object storage, with faults on demand.

It answers as Numerai's servers do for what ``numerapi`` uses: a POST to ``/`` holds a GraphQL query, some of which
need an API key; links to the storage carry a signature; the storage answers GET with ``Content-Length``, ``ETag``,
``Last-Modified``, ranges (206, 416, ``If-Range``) and conditions (304), and takes PUT by a link made for it.
"""

from __future__ import annotations

import hashlib
import json
import re
import socket
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

SIGNATURE = "X-Amz-Signature"
_BLOCK = 16 * 1024


class GraphQLError(Exception):
    """Raised by an answer to reply with a GraphQL error as Numerai does."""


@dataclass(frozen=True)
class StoredObject:
    """An object of the storage: its bytes, and the headers that identify its version."""

    body: bytes
    etag: str | None
    last_modified: str | None
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass
class Served:
    """One request and how it was answered."""

    method: str
    path: str
    headers: dict[str, str]
    status: int = 0
    body_bytes: int = 0
    field: str = ""


@dataclass
class Faults:
    """Injected faults. Lists are consumed from the front, one item per request."""

    api_status: list[int] = field(default_factory=list)
    object_status: list[int] = field(default_factory=list)
    cut_after: list[int] = field(default_factory=list)  # body bytes until the connection is dropped
    flip_byte: list[bool] = field(default_factory=list)
    ignore_range: bool = False
    ignore_conditions: bool = False
    ignore_if_range: bool = False
    bytes_per_second: float | None = None
    expired_links: bool = False  # only the newest link of a file is good
    api_delay_seconds: float = 0.0
    put_status: list[int] = field(default_factory=list)
    put_delay_seconds: float = 0.0
    put_loses_byte: list[bool] = field(default_factory=list)  # the storage drops a byte and answers 200
    lose_answer: list[str] = field(default_factory=list)  # root fields that are executed without an answer


class NumeraiServer:
    """The server; a context manager that listens on a free port of 127.0.0.1.

    `answers` maps a root field of GraphQL (``listDatasets``, ``dataset``; ``rounds`` or others where a test
    adds them) to a function of the query's variables; `uploads` holds what was PUT, by path. A query for a
    field in `private` must carry `key`.
    """

    def __init__(self) -> None:
        self.objects: dict[str, StoredObject] = {}
        self.uploads: dict[str, bytes] = {}
        self.key = ""
        self.private: set[str] = set()
        self.faults = Faults()
        self.served: list[Served] = []
        self.answers: dict[str, Callable[[dict[str, Any]], Any]] = {
            "listDatasets": lambda _variables: sorted(self.objects),
            "dataset": self._dataset,
        }
        self._links: dict[str, int] = {}
        self._http = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self._http.daemon_threads = True
        self._thread = threading.Thread(target=self._http.serve_forever, args=(0.01,), daemon=True)

    def __enter__(self) -> NumeraiServer:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._http.shutdown()
        self._http.server_close()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._http.server_address[1]}"

    def put(
        self,
        name: str,
        body: bytes,
        *,
        etag: str | None = None,
        last_modified: str | None = "Fri, 28 Aug 2026 12:00:00 GMT",
        headers: Mapping[str, str] | None = None,
    ) -> StoredObject:
        """Store an object; its tag is its MD5, as storage does it, unless another is given ("" for none)."""
        tag = f'"{hashlib.md5(body).hexdigest()}"' if etag is None else etag or None
        self.objects[name] = StoredObject(body, tag, last_modified, headers or {})
        return self.objects[name]

    def gets(self, name: str = "") -> list[Served]:
        """The storage requests so far, of one object or of all."""
        return [each for each in self.served if each.method == "GET" and each.path.endswith(name)]

    def body_bytes(self, name: str = "") -> int:
        """How many bytes of objects were sent so far."""
        return sum(each.body_bytes for each in self.gets(name))

    def _dataset(self, variables: dict[str, Any]) -> str:
        name = variables["filename"]
        if name not in self.objects:
            raise GraphQLError("Dataset not found")
        return self.link(f"datasets/{name}")

    def link(self, path: str) -> str:
        """Sign a link to an object of the storage, for GET or for PUT."""
        self._links[path] = self._links.get(path, 0) + 1
        return f"{self.url}/{path}?X-Amz-Expires=3600&{SIGNATURE}=secret{self._links[path]}"

    def _link_is_good(self, path: str, query: str) -> bool:
        signature = parse_qs(query).get(SIGNATURE, [""])[0]
        newest = self._links.get(path.removeprefix("/"), 0)
        good = {f"secret{newest}"} if self.faults.expired_links else {f"secret{n + 1}" for n in range(newest)}
        return signature in good


def _handler(server: NumeraiServer) -> type[BaseHTTPRequestHandler]:
    """Make the handler class of one server."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class names it
            """Log nothing."""

        def do_POST(self) -> None:
            request = self._note()
            question = json.loads(self._body())
            found = re.search(r"\{\s*(\w+)", question["query"])
            request.field = found[1] if found else ""
            time.sleep(server.faults.api_delay_seconds)
            if server.faults.api_status:
                self._say(request, server.faults.api_status.pop(0), b"<html>an error page</html>")
                return
            answer: dict[str, Any]
            try:
                if request.field in server.private and self.headers.get("Authorization") != server.key:
                    raise GraphQLError("Your session is invalid or has expired.")
                resolve = server.answers[request.field]
                answer = {"data": {request.field: resolve(question.get("variables") or {})}}
            except KeyError as error:
                answer = {"errors": [{"message": f"Cannot query {error}"}]}
            except GraphQLError as error:
                answer = {"data": None, "errors": [{"message": str(error)}]}
            if request.field in server.faults.lose_answer:
                server.faults.lose_answer.remove(request.field)
                self.connection.shutdown(socket.SHUT_RDWR)
                self.close_connection = True
                return
            self._say(request, 200, json.dumps(answer).encode(), {"Content-Type": "application/json"})

        def do_PUT(self) -> None:
            request, body = self._note(), self._body()
            time.sleep(server.faults.put_delay_seconds)
            status = server.faults.put_status.pop(0) if server.faults.put_status else 200
            if status == 200 and not server._link_is_good(request.path, urlsplit(self.path).query):
                status = 403
            if status != 200:
                self._say(request, status, b"<Error>on demand</Error>")
                return
            if server.faults.put_loses_byte and server.faults.put_loses_byte.pop(0):
                body = body[:-1]
            server.uploads[request.path] = body
            self._say(request, 200, b"", {"ETag": f'"{hashlib.md5(body).hexdigest()}"'})

        def do_GET(self) -> None:
            request, query = self._note(), urlsplit(self.path).query
            name = request.path.removeprefix("/datasets/")
            stored = server.objects.get(name)
            if server.faults.object_status:
                self._say(request, server.faults.object_status.pop(0), b"<Error>on demand</Error>")
            elif not server._link_is_good(request.path, query):
                self._say(request, 403, b"<Error>Request has expired</Error>")
            elif stored is None:
                self._say(request, 404, b"<Error>NoSuchKey</Error>")
            else:
                self._serve(request, stored)

        def _serve(self, request: Served, stored: StoredObject) -> None:
            headers = dict(stored.headers) | {"Accept-Ranges": "bytes"}
            headers |= {"ETag": stored.etag} if stored.etag else {}
            headers |= {"Last-Modified": stored.last_modified} if stored.last_modified else {}
            if not server.faults.ignore_conditions and self._unchanged(stored):
                self._say(request, 304, b"", headers)
                return
            start = self._range_start(stored)
            if start is None:
                self._say(request, 200, stored.body, headers)
            elif start >= len(stored.body):
                self._say(request, 416, b"", headers | {"Content-Range": f"bytes */{len(stored.body)}"})
            else:
                last = len(stored.body) - 1
                headers["Content-Range"] = f"bytes {start}-{last}/{len(stored.body)}"
                self._say(request, 206, stored.body[start:], headers)

        def _unchanged(self, stored: StoredObject) -> bool:
            tags = self.headers.get("If-None-Match")
            if tags is not None:
                return stored.etag is not None and stored.etag in [tag.strip() for tag in tags.split(",")]
            since = self.headers.get("If-Modified-Since")
            return since is not None and since == stored.last_modified

        def _range_start(self, stored: StoredObject) -> int | None:
            asked = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
            condition = self.headers.get("If-Range")
            if asked is None or server.faults.ignore_range:
                return None
            if condition not in (None, stored.etag, stored.last_modified) and not server.faults.ignore_if_range:
                return None
            return int(asked[1])

        def _note(self) -> Served:
            path = urlsplit(self.path).path
            server.served.append(Served(self.command, path, dict(self.headers.items())))
            return server.served[-1]

        def _body(self) -> bytes:
            return self.rfile.read(int(self.headers.get("Content-Length", 0)))

        def _say(self, request: Served, status: int, body: bytes, headers: Mapping[str, str] | None = None) -> None:
            request.status = status
            self.send_response(status)
            for key, value in (headers or {}).items():
                self.send_header(key, value)
            if status != 304:
                self.send_header("Content-Length", str(len(body)))
            try:
                self.end_headers()
                if request.method == "GET" and status in (200, 206):
                    self._stream(request, body)
                elif status != 304:
                    self.wfile.write(body)
            except ConnectionError:
                self.close_connection = True

        def _stream(self, request: Served, body: bytes) -> None:
            faults = server.faults
            if faults.flip_byte and faults.flip_byte.pop(0):
                middle = len(body) // 2
                body = body[:middle] + bytes([body[middle] ^ 0xFF]) + body[middle + 1 :]
            cut = faults.cut_after.pop(0) if faults.cut_after else None
            sent = body if cut is None else body[:cut]
            for start in range(0, len(sent), _BLOCK):
                block = sent[start : start + _BLOCK]
                self.wfile.write(block)
                request.body_bytes += len(block)
                if faults.bytes_per_second is not None:
                    time.sleep(len(block) / faults.bytes_per_second)
            if cut is not None:
                self.connection.shutdown(socket.SHUT_RDWR)
                self.close_connection = True

    return Handler
