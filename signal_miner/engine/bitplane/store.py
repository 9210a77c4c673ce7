"""The features of all resolved rows as planes of bits: one file for every fold, target and trial.

A file holds one selection of rows and features, and is never changed: any number of processes can map it while others
build or remove theirs. Features are not added to a file that is there. That would save little, as the smaller sets of
some data together take a fraction of what all features take, and readers would have to follow the file.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import pyarrow as pa
from filelock import FileLock, Timeout
from numpy.typing import NDArray

from signal_miner.data.dataset import Dataset
from signal_miner.data.parquet_rows import Rows, forget_large_footers
from signal_miner.data.sources import DATA_DIRECTORY
from signal_miner.engine.bitplane.planes import (
    MOST_LEVELS,
    MissingValues,
    NotLevels,
    level_counts,
    row_mask,
    to_planes,
)
from signal_miner.engine.bitplane.store_file import FORMAT, Identity, PlaneFile, open_planes, write_planes
from signal_miner.engine.column_groups import GROUP_BYTES, return_free_memory
from signal_miner.engine.dataset_cache import DISK_RESERVE_BYTES
from signal_miner.errors import Stopped, UserError
from signal_miner.utils.files import UNFINISHED
from signal_miner.utils.redaction import reason_of
from signal_miner.utils.validation import shown

PLANES_DIRECTORY = DATA_DIRECTORY / "planes"
"""Where stores are kept between runs, below the working directory."""

OTHER_ENGINE = 'engine = "lightgbm"'
"""The setting that trains on features which this engine refuses."""

SUFFIX = ".planes"

_LOCK = ".lock"
_TURN_SECONDS = 0.5
_UNUSABLE = (OSError, ValueError, TypeError)
_Encoded = tuple[NDArray[np.uint64], tuple[float, ...]]  # a feature's planes and levels
_LOG = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class PlaneStore:
    """A data set's features as planes of bits, mapped from a file.

    Attributes
    ----------
    path : Path
    n_rows : int
        The data set's rows, in its order: by era.
    features : tuple of str
    levels : tuple of tuple of float
        Of each feature: its distinct values, ascending, at most `MOST_LEVELS`.
    planes : ndarray of uint64, shape (n_planes, n_words), read-only
        A feature with L levels has L - 1 planes. Bit b of word w of its plane k says whether row 64 w + b has a value
        above level k. Bits beyond the rows are 0, and `n_words` is a multiple of 8.
    offsets : ndarray of int64, shape (n_features + 1,)
        Feature f has the planes ``offsets[f]`` to ``offsets[f + 1]``.
    """

    path: Path
    n_rows: int
    features: tuple[str, ...]
    levels: tuple[tuple[float, ...], ...]
    planes: NDArray[np.uint64]
    offsets: NDArray[np.int64]

    @cached_property
    def thresholds(self) -> NDArray[np.float64]:
        """Each plane's split value, halfway between two levels as in LightGBM's models, shape (n_planes,)."""
        halves = [(np.asarray(each[1:]) + np.asarray(each[:-1])) / 2 for each in self.levels]
        return np.concatenate([np.zeros(0), *halves])

    def columns(self, features: Sequence[str]) -> NDArray[np.int64]:
        """Return the positions of features, such as those of a set; raise a KeyError if the store lacks one."""
        return np.array([self._positions[name] for name in features], dtype=np.int64)

    def mask(self, rows: Rows | NDArray[np.bool_]) -> NDArray[np.uint64]:
        """Return the words in which the bits of some rows are set, shape (n_words,).

        `rows` are a range, positions in any order, or a boolean for each row.
        """
        return row_mask(self.n_rows, rows)

    def level_counts(self, mask: NDArray[np.uint64], columns: NDArray[np.int64] | None = None) -> NDArray[np.int64]:
        """Count the rows of a mask at each level of each feature, or of those at some positions.

        Returns an array of shape (n_columns, `MOST_LEVELS`), 0 beyond a feature's levels.
        """
        used = np.flatnonzero(mask)
        words = slice(int(used[0]), int(used[-1]) + 1) if len(used) else slice(0)
        chosen = np.arange(len(self.features)) if columns is None else columns
        counts = np.zeros((len(chosen), MOST_LEVELS), dtype=np.int64)
        for place, column in enumerate(chosen):
            planes = self.planes[self.offsets[column] : self.offsets[column + 1], words]
            counts[place, : len(planes) + 1] = level_counts(planes, mask[words])
        return counts

    @cached_property
    def _positions(self) -> dict[str, int]:
        return {name: place for place, name in enumerate(self.features)}


def level_counts_in_files(dataset: Dataset) -> tuple[int, ...]:
    """Return the number of levels of each feature in the files, at least those of the resolved rows.

    Of integers the files' statistics are asked, which give their range. Other features are read, and integers of a
    larger range than `MOST_LEVELS`.

    Raises
    ------
    UserError
        If a feature cannot be stored as planes: it is missing or NaN in a row of the files, or has more than
        `MOST_LEVELS` values.
    """
    if dataset.nullable_features:
        raise _missing(dataset, dataset.nullable_features[0])
    counts = [len(values.levels) for values in dataset.feature_values]
    for place, name in enumerate(dataset.features):
        if not 0 < counts[place] <= MOST_LEVELS:
            column = dataset.read_features([name], slice(0, len(dataset))).column(0)
            counts[place] = len(_encoded(dataset, name, column)[1])
    return tuple(counts)


def open_store(
    dataset: Dataset,
    directory: Path = PLANES_DIRECTORY,
    *,
    limit_bytes: int | None = None,
    group_bytes: int = GROUP_BYTES,
    should_stop: Callable[[], bool] = lambda: False,
    on_features: Callable[[int, int], None] = lambda _done, _total: None,
) -> PlaneStore:
    """Map the store of a data set's features and resolved rows; build it where there is no intact one.

    Processes and threads that need a store while another is built wait for it.

    Parameters
    ----------
    dataset : Dataset
        With every feature that will be trained on.
    directory : Path, optional
        Created when the first store is built.
    limit_bytes : int, optional
        Of all stores in the directory; no limit if not given. Where a new store would exceed it together with those of
        other data, these are removed, the least recently used first. One that is removed while it is mapped lives
        until it no longer is.
    group_bytes : int, optional
        Bytes of features that are read at a time.
    should_stop : callable, optional
        Called before each group of columns is read, before each feature is checked, and while another store is built.
    on_features : callable, optional
        Called while a store is built, with the number of features done and in all.

    Raises
    ------
    UserError
        If a feature cannot be stored as planes, the data change meanwhile, or the store cannot be written.
    Stopped
        If `should_stop` returned true.
    """
    states = _states(dataset)
    identity = Identity(store_key(dataset), len(dataset), dataset.features)
    path = directory / f"{identity.key}{SUFFIX}"
    with suppress(*_UNUSABLE):
        return _intact(path, identity, should_stop)
    with _turn(directory, should_stop):
        try:
            return _intact(path, identity, should_stop)  # of another process, which built it meanwhile
        except FileNotFoundError:
            pass
        except _UNUSABLE as error:
            _LOG.warning("plane store %s is unusable and built again: %s", path, error)
        _remove_unusable(path)

        def encoded() -> Iterator[_Encoded]:
            done = written = 0
            for group in _encoded_groups(dataset, group_bytes, should_stop):
                done += len(group)
                size = sum(planes.nbytes for planes, _ in group)
                expected = (written + size) * len(dataset.features) // done
                _make_room(directory, expected, expected - written, limit_bytes)
                yield from group
                written += size
                on_features(done, len(dataset.features))
                del group  # or it would be held while the next is read
            if _states(dataset) != states:
                raise UserError(f"the files of {dataset.name} changed while they were read; start again")

        write_planes(path, identity, encoded())
        forget_large_footers()
        return_free_memory()
        return _store(path, identity, open_planes(path, identity))


def store_key(dataset: Dataset) -> str:
    """Return a store's name: a SHA-256 over the format, the data's content, the rows and the features."""
    rows = hashlib.sha256(dataset.source.positions.tobytes()).hexdigest()
    parts = [FORMAT, dataset.content, len(dataset), rows, dataset.features]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


def _encoded_groups(dataset: Dataset, group_bytes: int, should_stop: Callable[[], bool]) -> Iterator[list[_Encoded]]:
    """Yield the planes and levels of features, reading as many features at a time as fit."""
    everything = slice(0, len(dataset))
    width = max(1, group_bytes // (dataset.source.rows_held(everything) * dataset.feature_bytes))
    for start in range(0, len(dataset.features), width):
        if should_stop():
            raise Stopped
        table = dataset.read_features(dataset.features[start : start + width], everything)
        names = table.column_names
        yield [_encoded(dataset, name, column) for name, column in zip(names, table.columns, strict=True)]
        del table  # or it would be held while the next is read


def _encoded(dataset: Dataset, name: str, column: pa.ChunkedArray) -> _Encoded:
    try:
        return to_planes(column)
    except MissingValues:
        raise _missing(dataset, name) from None
    except NotLevels:
        raise UserError(
            f"{dataset.name}: feature {shown(name)} has more than {MOST_LEVELS} values, the most that bit planes hold; "
            f"cut it into fewer, or set {OTHER_ENGINE}"
        ) from None


def _intact(path: Path, identity: Identity, should_stop: Callable[[], bool]) -> PlaneStore:
    """Return the store in a file, every bit of which is as it was written; raise a ValueError otherwise."""
    file = open_planes(path, identity)
    for place, name in enumerate(identity.features):
        if should_stop():
            raise Stopped
        if not file.is_intact(place):
            raise ValueError(f"the planes of {name} are not as they were written")
    with suppress(OSError):  # a directory that may only be read
        os.utime(path)
    return _store(path, identity, file)


def _store(path: Path, identity: Identity, file: PlaneFile) -> PlaneStore:
    return PlaneStore(path, identity.n_rows, identity.features, file.levels, file.planes, file.offsets)


@contextmanager
def _turn(directory: Path, should_stop: Callable[[], bool]) -> Iterator[None]:
    """Hold the directory's lock: stores are built one at a time, as each may take the planned memory."""
    lock = FileLock(directory / _LOCK)
    try:
        directory.mkdir(parents=True, exist_ok=True)
        while not lock.is_locked:
            if should_stop():
                raise Stopped
            with suppress(Timeout):
                lock.acquire(timeout=_TURN_SECONDS, poll_interval=_TURN_SECONDS / 4)
    except (OSError, NotImplementedError) as error:  # the latter from file systems without locks
        raise UserError(
            f"{directory} cannot be written or locked ({reason_of(error)}); permit it, or work on a local disk"
        ) from None
    try:
        yield
    finally:
        lock.release()


def _remove_unusable(path: Path) -> None:
    """Remove a store that is damaged and what killed processes left; the lock is held."""
    for unusable in (path, *path.parent.glob(f"*{SUFFIX}.*{UNFINISHED}")):
        with suppress(OSError):
            unusable.unlink()


def _make_room(directory: Path, size: int, to_write: int, limit_bytes: int | None) -> None:
    """Remove stores, the least recently used first, until one of `size` bytes fits, of which some are not written yet.

    Raises
    ------
    UserError
        If it does not fit even then.
    """
    limit = float("inf") if limit_bytes is None else limit_bytes
    others = sorted(directory.glob(f"*{SUFFIX}"), key=_last_used)
    while others and (sum(map(_size, others)) + size > limit or to_write > _free(directory)):
        with suppress(OSError):
            others.pop(0).unlink()
    free = _free(directory)
    if to_write > free:
        raise UserError(
            f"{directory} needs {to_write / 1e9:.1f} GB more for the features as bit planes, and the disk has "
            f"{max(0, free) / 1e9:.1f} GB to spare; free disk space, name a smaller feature_set, or set {OTHER_ENGINE}"
        )


def _free(directory: Path) -> int:
    return shutil.disk_usage(directory).free - DISK_RESERVE_BYTES


def _size(path: Path) -> int:
    with suppress(OSError):
        return path.stat().st_size
    return 0  # removed by its user


def _last_used(path: Path) -> float:
    with suppress(OSError):
        return path.stat().st_mtime
    return 0.0


def _states(dataset: Dataset) -> list[tuple[int, int, int]]:
    """Return what differs once a file of the data is written again."""
    found = [path.stat() for path in dataset.source.paths]
    return [(each.st_size, each.st_mtime_ns, each.st_ino) for each in found]


def _missing(dataset: Dataset, name: str) -> UserError:
    return UserError(
        f"{dataset.name}: feature {shown(name)} is missing in some rows, which bit planes cannot hold; fill it, or set "
        f"{OTHER_ENGINE}"
    )
