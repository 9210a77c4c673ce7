"""An object in Numerai's storage, as the headers of an answer describe it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from http import HTTPStatus

import requests


@dataclass(frozen=True)
class RemoteObject:
    """An object in the storage, described well enough to distinguish it from its predecessor."""

    size: int | None  # bytes
    etag: str | None  # as sent, quotes included
    last_modified: str | None  # HTTP date as sent
    checksum: str | None = None  # the entity tag if it is `md5` or, for an upload in parts, `md5-parts`

    @classmethod
    def of(cls, response: requests.Response) -> RemoteObject:
        """Read the headers of an answer with status 200 or 206: of the whole object, also if the answer is a range."""
        headers = response.headers
        if response.status_code == HTTPStatus.PARTIAL_CONTENT:
            total = headers.get("Content-Range", "").rpartition("/")[2]
        else:
            total = headers.get("Content-Length", "")
        etag = headers.get("ETag")
        digest = re.fullmatch(r'"([0-9a-f]{32}(?:-\d+)?)"', etag or "")
        # The tag of an object that is encrypted with a customer's or a managed key is not the MD5 of its bytes.
        keyed = "x-amz-server-side-encryption-customer-algorithm" in headers or headers.get(
            "x-amz-server-side-encryption", ""
        ).startswith("aws:kms")
        return cls(
            size=int(total) if total.isdecimal() else None,
            etag=etag,
            last_modified=headers.get("Last-Modified"),
            checksum=digest[1] if digest and not keyed else None,
        )

    @property
    def validator(self) -> str | None:
        """What ``If-Range`` accepts: a strong entity tag, else the date, else None."""
        if self.etag and not self.etag.startswith("W/"):
            return self.etag
        return self.last_modified

    def same_as(self, other: RemoteObject) -> bool:
        """Whether both are one object: by entity tag if both have one, else by date (False without), and by size."""
        if None not in (self.size, other.size) and self.size != other.size:
            return False
        if self.etag and other.etag:
            return self.etag.removeprefix("W/") == other.etag.removeprefix("W/")
        return self.last_modified is not None and self.last_modified == other.last_modified
