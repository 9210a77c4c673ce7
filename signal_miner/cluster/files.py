"""Files at addresses that several machines reach: paths, and all that fsspec can read and write."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
from filelock import FileLock
from fsspec.implementations.local import LocalFileSystem
from numpy.typing import NDArray

from signal_miner.data.dataset import BENCHMARK_FILES
from signal_miner.data.sources import DATA_DIRECTORY
from signal_miner.errors import UserError
from signal_miner.utils.redaction import reason_of, without_passwords

_DATA_FILES = ("train.parquet", "validation.parquet", "features.json", *BENCHMARK_FILES)
_FETCHED = DATA_DIRECTORY / "fetched"


def local_data(places: Sequence[str]) -> str:
    """Return the first of several places that is here; an address is copied into the working directory first.

    Raises
    ------
    UserError
        If an address cannot be read.
    """
    for place in places:
        if "://" in place:
            return str(_fetched(place))
        if Path(place).expanduser().exists():
            return place
    return places[-1]


@dataclass(frozen=True)
class ArraysFile:
    """Arrays of as many columns, one below the other in a file.

    Attributes
    ----------
    address : str
        A path, or an address for fsspec.
    lengths : tuple of int
        Rows of each array.
    """

    address: str
    lengths: tuple[int, ...]

    @classmethod
    def write(cls, directory: str, name: str, arrays: Sequence[NDArray[np.floating[Any]]]) -> ArraysFile:
        """Write arrays to a new file in a directory."""
        address = f"{directory.rstrip('/')}/{name}.npy"
        filesystem, path = fsspec.core.url_to_fs(address)
        if isinstance(filesystem, LocalFileSystem):  # others make directories as they are needed
            filesystem.makedirs(filesystem._parent(path), exist_ok=True)
        with filesystem.open(path, "wb") as file:
            np.save(file, np.concatenate(arrays))
        return cls(address, tuple(map(len, arrays)))

    def take(self) -> list[NDArray[np.floating[Any]]]:
        """Read the arrays, column-major, and delete the file."""
        filesystem, path = fsspec.core.url_to_fs(self.address)
        with filesystem.open(path, "rb") as file:
            rows = np.load(file)
        with suppress(OSError):
            filesystem.rm_file(path)
        return [np.asfortranarray(part) for part in np.split(rows, np.cumsum(self.lengths)[:-1])]


def _fetched(address: str) -> Path:
    """Copy the data at an address into the working directory, where they are not there yet, and return their path."""
    place = _FETCHED / hashlib.sha256(address.encode()).hexdigest()[:16]
    place.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(place / ".lock"):  # the workers of one machine share a copy
            filesystem, root = fsspec.core.url_to_fs(address)
            if filesystem.isfile(root):
                names, roots = [Path(root).name], [root]
            else:
                found = [(name, f"{root.rstrip('/')}/{name}") for name in _DATA_FILES]
                names, roots = map(list, zip(*[each for each in found if filesystem.exists(each[1])], strict=True))
            for name, source in zip(names, roots, strict=True):
                target, part = place / name, place / f".{name}.part"
                if not target.is_file() or target.stat().st_size != filesystem.size(source):
                    filesystem.get_file(source, str(part))
                    part.replace(target)
    except Exception as error:  # each file system raises errors of its own
        raise UserError(
            f"cluster.data = {without_passwords(address)!r} cannot be read ({reason_of(error)}); check the address, "
            "and that each worker may read it"
        ) from error
    return place / names[0] if filesystem.isfile(root) else place
