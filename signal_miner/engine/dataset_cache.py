"""A disk cache of binned datasets, so that a fold is binned once for all studies on the same data."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import re
import shutil
import time
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeVar
from uuid import uuid4

import lightgbm as lgb
import numpy as np
from filelock import FileLock, Timeout
from numpy.typing import NDArray

from signal_miner.data.dataset import Dataset
from signal_miner.data.folds import Fold
from signal_miner.data.sources import DATA_DIRECTORY
from signal_miner.engine.column_groups import Part, merged, of_rows
from signal_miner.experiment.plan import Plan
from signal_miner.utils.validation import parsed_json

T = TypeVar("T")

FORMAT = 1
"""Version of an entry's format; part of its key."""

RECORD = "entry.json"
"""File of an entry that lists its other files with their checksums."""

DISK_RESERVE_BYTES = 2**30
"""Free bytes of the disk that the cache leaves."""

LOCK_SECONDS = 60.0
"""How long to wait while another process moves an entry into place."""

_ENTRY = re.compile("[0-9a-f]{64}")
_ASIDE = ".aside-"
_LOCK = ".lock"
_CHUNK_BYTES = 2**24
_FIRST_SECTION = 40  # after the token at the start of LightGBM's binary files
_LOG = logging.getLogger(__name__)


def entry_key(
    dataset: Dataset,
    fold: Fold,
    known: NDArray[np.bool_] | None,
    params: dict[str, Any],
    feature_set: str | None = None,
) -> str:
    """Return the key of a binned fold: a SHA-256 over all that its bytes depend on, in hexadecimal digits.

    `known` masks the rows of the training eras that are binned, shape (n_rows,); None for all, as are the features of
    `feature_set`. The fold's number is
    not part of the key.
    """
    rows = None if known is None else [len(known), hashlib.sha256(np.packbits(known).tobytes()).hexdigest()]
    parts = {
        "format": FORMAT,
        "lightgbm": lgb.__version__,
        "data": [dataset.digest, dataset.content],
        "rows": len(dataset),
        "features": dataset.features_in(feature_set),
        "train_eras": fold.train_eras,
        "validation_eras": fold.validation_eras,
        "known": rows,
        "params": params,
    }
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


@dataclass(frozen=True)
class DatasetCache:
    """A directory of binned datasets, which several processes may share.

    Attributes
    ----------
    directory : Path
        Created when the first entry is stored.
    limit_bytes : int
        Of all entries; beyond it, the least recently used are removed.
    worth_seconds : float, default 5
        Datasets that are built faster are not stored.

    Notes
    -----
    An entry is a directory that is written under a temporary name and renamed once complete. It holds column groups,
    not whole datasets: a loaded dataset needs twice the memory until it is merged. Each file's checksum is compared
    with the entry's record before LightGBM reads it, as damaged files can crash LightGBM. Failing to store, read or
    remove an entry is logged and never an error: the dataset is built again.
    """

    directory: Path
    limit_bytes: int
    worth_seconds: float = 5.0

    def load(self, key: str, params: dict[str, Any], rows: NDArray[np.int64] | None = None) -> Part | None:
        """Return a stored dataset, labelled 0; None where no intact one is stored.

        `params` are those it was stored with; `rows` are the positions of the training rows to load, None for all.
        """
        entry = self.directory / key
        if not entry.is_dir():
            return None
        try:
            found = merged(_parts(entry, key, params, rows))
        except (OSError, ValueError, KeyError, TypeError, lgb.basic.LightGBMError) as error:
            _LOG.warning("binned dataset %s is unusable and removed: %s", entry, error)
            self._remove(entry)
            return None
        with suppress(OSError):
            os.utime(entry / RECORD)
        return found

    def storing(self, key: str, parts: Iterable[Part], count: int) -> Iterator[Part]:
        """Yield the `count` parts unchanged while storing them; failing to store them is logged.

        The entry is complete once the iteration is exhausted; an error in `parts` discards it.
        """
        source = iter(parts)
        started = time.perf_counter()
        entry: _Entry | None = None
        try:
            for number in range(count):
                part = next(source)
                if not number and (time.perf_counter() - started) * count > self.worth_seconds:
                    entry = self._attempted(lambda: _Entry(self, key))
                if entry is not None and not self._attempted(partial(entry.write, number, part, count)):
                    entry.close()
                    entry = None
                yield part
                del part  # or it would be held while the next is built
            next(source, None)  # runs the code after the source's last yield
            if entry is not None:
                self._attempted(entry.put_in_place)
        finally:
            if entry is not None:
                entry.close()

    def _attempted(self, work: Callable[[], T]) -> T | None:
        try:
            return work()
        except (OSError, NotImplementedError, Timeout, lgb.basic.LightGBMError) as error:
            _LOG.warning("a binned dataset is not stored in %s: %s", self.directory, error)
            return None

    def lock(self) -> FileLock:
        """Return the lock for moving entries into place and removing leftovers."""
        return FileLock(self.directory / _LOCK, timeout=LOCK_SECONDS)

    def make_room(self, size: int) -> None:
        """Remove entries, the least recently used first, until one of `size` bytes fits."""
        entries = [each for each in self.directory.iterdir() if _ENTRY.fullmatch(each.name)]  # no other files
        sizes = {entry: _size(entry) for entry in sorted(entries, key=_last_used)}
        for entry in tuple(sizes):
            if sum(sizes.values()) + size <= self.limit_bytes:
                return
            self._remove(entry)
            del sizes[entry]

    def _remove(self, entry: Path) -> None:
        """Remove an entry, renamed first so that no other process finds it half removed."""
        aside = self.directory / f"{_ASIDE}{uuid4().hex}"
        with suppress(OSError):
            entry.rename(aside)
        shutil.rmtree(aside, ignore_errors=True)


class _Entry:
    """An entry being written, in a directory with a lock that shows others that this process is alive."""

    def __init__(self, cache: DatasetCache, key: str) -> None:
        self._cache = cache
        self._key = key
        self._files: dict[str, dict[str, int]] = {}
        cache.directory.mkdir(parents=True, exist_ok=True)
        self._aside = cache.directory / f"{_ASIDE}{uuid4().hex}"
        self._lock = FileLock(self._aside / _LOCK, timeout=0, thread_local=False)
        with cache.lock():
            _remove_leftovers(cache.directory)
            self._aside.mkdir()
            self._lock.acquire()

    def write(self, number: int, part: Part, count: int) -> bool:
        """Write a part; raise OSError if all `count` of them would not fit."""
        for name, dataset in zip(_names(number), part, strict=True):
            if dataset is not None:
                dataset.save_binary(self._aside / name)
                _check_whole(self._aside / name)
                self._files[name] = _sums(self._aside / name)
        expected = self._size() * count // (number + 1)
        if expected > self._cache.limit_bytes:
            raise OSError(f"it takes about {expected} bytes, and the limit is {self._cache.limit_bytes}")
        free = shutil.disk_usage(self._aside).free - DISK_RESERVE_BYTES
        if expected - self._size() > free:
            raise OSError(f"it takes about {expected - self._size()} bytes more, and the disk has {free} to spare")
        return True

    def put_in_place(self) -> None:
        """Move it into place, unless another process has stored the same entry meanwhile."""
        record = {"format": FORMAT, "lightgbm": lgb.__version__, "key": self._key, "files": self._files}
        (self._aside / RECORD).write_text(json.dumps(record), encoding="utf-8")
        with self._cache.lock():
            self._lock.release()
            (self._aside / _LOCK).unlink(missing_ok=True)
            if not (self._cache.directory / self._key).exists():
                self._cache.make_room(self._size())
                self._aside.rename(self._cache.directory / self._key)

    def close(self) -> None:
        """Remove what was not moved into place."""
        self._lock.release()
        shutil.rmtree(self._aside, ignore_errors=True)

    def _size(self) -> int:
        return sum(file["bytes"] for file in self._files.values())


def _parts(entry: Path, key: str, params: dict[str, Any], rows: NDArray[np.int64] | None) -> Iterator[Part]:
    """Yield an entry's parts, each checked; raise ValueError for files that differ from its record."""
    record = parsed_json((entry / RECORD).read_text(encoding="utf-8"))
    files = record["files"]
    if record != {"format": FORMAT, "lightgbm": lgb.__version__, "key": key, "files": files}:
        raise ValueError("its record is another's")
    if {file.name for file in entry.iterdir()} != {RECORD, *files}:
        raise ValueError("its files are not those of its record")
    pairs = [_names(number) for number in range(sum(name.startswith("train") for name in files))]
    if set(files) not in ({train for train, _ in pairs}, {name for pair in pairs for name in pair}):
        raise ValueError("its record does not name column groups")
    for train, validation in pairs:
        for name in (train, validation):
            if name in files and files[name] != _sums(entry / name):
                raise ValueError(f"{name} is not as it was written")
        yield _loaded(entry / train, entry / validation if validation in files else None, params, rows)


def _loaded(train: Path, validation: Path | None, params: dict[str, Any], rows: NDArray[np.int64] | None) -> Part:
    whole = lgb.Dataset(train, params=params).construct()
    aligned = None
    if validation is not None:
        aligned = lgb.Dataset(validation, reference=whole, params=params).construct()
        aligned.reference = None
    return (whole, aligned) if rows is None else of_rows((whole, aligned), rows, params)


def _names(number: int) -> tuple[str, str]:
    return f"train-{number:04d}.bin", f"validation-{number:04d}.bin"


def _remove_leftovers(directory: Path) -> None:
    """Remove what processes that were killed left behind; the directory's lock is held."""
    for left in directory.glob(f"{_ASIDE}*"):
        lock = FileLock(left / _LOCK, timeout=0)
        with suppress(OSError):
            try:
                lock.acquire()
            except Timeout:
                continue  # its process is alive
            lock.release()
        shutil.rmtree(left, ignore_errors=True)


def _sums(path: Path) -> dict[str, int]:
    checksum = 0
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK_BYTES):
            checksum = zlib.crc32(chunk, checksum)
        return {"bytes": file.tell(), "crc32": checksum}


def _check_whole(path: Path) -> None:
    """Raise OSError for a truncated file: LightGBM does not notice when the disk is full for the last bytes.

    Its binary files are sections, each preceded by its length.
    """
    size, position = path.stat().st_size, _FIRST_SECTION
    with path.open("rb") as file:
        while position < size:
            file.seek(position)
            position += 8 + int.from_bytes(file.read(8), "little")
    if position != size:
        raise OSError(f"{path.name} was cut short")


def _size(entry: Path) -> int:
    with suppress(OSError):
        return sum(file.stat().st_size for file in entry.iterdir())
    return 0  # removed by another process


def _last_used(entry: Path) -> float:
    with suppress(OSError):
        return (entry / RECORD).stat().st_mtime
    return 0.0


CACHE_DIRECTORY = DATA_DIRECTORY / "binned"
"""Where binned datasets are cached between runs, below the working directory."""


def dataset_cache(plan: Plan) -> DatasetCache | None:
    """Return the disk cache of binned datasets that a plan's experiment allows, if any."""
    limit = plan.experiment.cache_gb
    return DatasetCache(CACHE_DIRECTORY, int(limit * 1e9)) if limit else None
