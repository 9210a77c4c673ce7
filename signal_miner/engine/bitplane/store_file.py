"""The file format of plane stores: planes, then a record of what they are, its length and its checksum."""

from __future__ import annotations

import json
import os
import struct
import zlib
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from signal_miner.engine.bitplane.planes import words_of
from signal_miner.utils.files import writing_whole

FORMAT = 1
"""Version of the format."""

_MAGIC = b"signal-miner planes\n".ljust(64, b"\0")  # of a cache line's length, so that planes are aligned
_END = b"planes\r\n"
_TAIL = struct.Struct("<QQ8s")  # length and checksum of the record before it


@dataclass(frozen=True)
class Identity:
    """What the planes of a file are of.

    Attributes
    ----------
    key : str
        Digest of the data, the rows and the features.
    n_rows : int
    features : tuple of str
    """

    key: str
    n_rows: int
    features: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class PlaneFile:
    """An open file of planes, mapped into memory.

    Attributes
    ----------
    levels : tuple of tuple of float
        Of each feature.
    planes : ndarray of uint64, shape (n_planes, n_words), read-only
    offsets : ndarray of int64, shape (n_features + 1,)
        Feature f has the planes ``offsets[f]`` to ``offsets[f + 1]``.
    checksums : tuple of int
        CRC-32 of each feature's planes.
    """

    levels: tuple[tuple[float, ...], ...]
    planes: NDArray[np.uint64]
    offsets: NDArray[np.int64]
    checksums: tuple[int, ...]

    def is_intact(self, feature: int) -> bool:
        """Return whether the planes of a feature are as they were written; this reads them."""
        planes = self.planes[self.offsets[feature] : self.offsets[feature + 1]]
        return zlib.crc32(planes.data) == self.checksums[feature]


def write_planes(
    path: Path, identity: Identity, features: Iterable[tuple[NDArray[np.uint64], tuple[float, ...]]]
) -> None:
    """Write the planes and levels of each feature; the file is there once all of it is written.

    Raises
    ------
    UserError
        If the file cannot be written.
    """
    levels: list[tuple[float, ...]] = []
    checksums: list[int] = []
    with writing_whole(path) as file:
        file.write(_MAGIC)
        for planes, values in features:
            file.write(planes.data)
            levels.append(values)
            checksums.append(zlib.crc32(planes.data))
        record = json.dumps(_record(identity) | {"levels": levels, "crc32": checksums}).encode()
        file.write(record + _TAIL.pack(len(record), zlib.crc32(record), _END))


def open_planes(path: Path, identity: Identity) -> PlaneFile:
    """Map a file's planes; their checksums are not compared here.

    Raises
    ------
    OSError
        If there is no such file or it cannot be read.
    ValueError, TypeError
        If it is not whole, or of another identity or format.
    """
    with path.open("rb") as file:
        record, n_bytes = _read_record(file)
        levels, checksums = record.pop("levels", None), record.pop("crc32", None)
        if record != _record(identity):
            raise ValueError("it is of other data, or another format")
        offsets = np.cumsum([0, *(len(each) - 1 for each in levels)], dtype=np.int64)
        shape = int(offsets[-1]), words_of(identity.n_rows)
        if n_bytes != 8 * shape[0] * shape[1] or not len(levels) == len(checksums) == len(identity.features):
            raise ValueError("its planes are not those that its record names")
        mapped = np.memmap(file, dtype=np.uint64, mode="r", offset=len(_MAGIC), shape=shape)
    # A plain array over the same memory: numba is slow to pass a memmap, which is a class of its own.
    return PlaneFile(tuple(map(tuple, levels)), np.asarray(mapped), offsets, tuple(checksums))


def _record(identity: Identity) -> dict[str, Any]:
    return {"format": FORMAT, **asdict(identity), "features": list(identity.features)}


def _read_record(file: BinaryIO) -> tuple[dict[str, Any], int]:
    """Return a file's record, and the bytes of planes before it."""
    size = file.seek(0, os.SEEK_END)
    if size < len(_MAGIC) + _TAIL.size:
        raise ValueError("it is cut short")
    file.seek(0)
    magic = file.read(len(_MAGIC))
    file.seek(size - _TAIL.size)
    length, checksum, end = _TAIL.unpack(file.read())
    start = size - _TAIL.size - length
    if magic != _MAGIC or end != _END or start < len(_MAGIC):
        raise ValueError("it is no store of planes, or cut short")
    file.seek(start)
    body = file.read(length)
    if zlib.crc32(body) != checksum:
        raise ValueError("its record is not as it was written")
    record = json.loads(body)
    if not isinstance(record, dict):
        raise TypeError("its record is no table")
    return record, start - len(_MAGIC)
