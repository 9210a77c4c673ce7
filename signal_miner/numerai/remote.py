"""What Numerai's storage says of an object, in the headers of its answers."""

from __future__ import annotations

import re
from dataclasses import dataclass
from http import HTTPStatus

import requests


@dataclass(frozen=True)
class RemoteObject:
    """What the storage says of an object, enough to tell it from its predecessor.

    Attributes
    ----------
    size : int or None
        Bytes.
    etag : str or None
        Entity tag as sent, quotes included.
    last_modified : str or None
        HTTP date as sent.
    checksum : str or None
        The entity tag where it is made from MD5 (``md5`` or ``md5-parts``), else None.
    """

    size: int | None
    etag: str | None
    last_modified: str | None
    checksum: str | None = None

    @classmethod
    def of(cls, response: requests.Response) -> RemoteObject:
        """Read the headers of an answer with status 200 or 206.

        Parameters
        ----------
        response : requests.Response
            The answer.

        Returns
        -------
        RemoteObject
            Of the whole object, also where the answer is a range of it.
        """
        headers = response.headers
        if response.status_code == HTTPStatus.PARTIAL_CONTENT:
            total = headers.get("Content-Range", "").rpartition("/")[2]
        else:
            total = headers.get("Content-Length", "")
        etag = headers.get("ETag")
        digest = re.fullmatch(r'"([0-9a-f]{32}(?:-\d+)?)"', etag or "")
        # The tag of an object under a customer's or a managed key is not an MD5 of what is sent.
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
        """Tell whether both are one object: by entity tag, where both have one, else by date; and by size.

        Parameters
        ----------
        other : RemoteObject
            What was seen before.

        Returns
        -------
        bool
            False where neither tag nor date can tell.
        """
        if None not in (self.size, other.size) and self.size != other.size:
            return False
        if self.etag and other.etag:
            return self.etag.removeprefix("W/") == other.etag.removeprefix("W/")
        return self.last_modified is not None and self.last_modified == other.last_modified
