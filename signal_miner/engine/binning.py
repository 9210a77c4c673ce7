"""LightGBM datasets for the folds, binned once for each fold and ``max_bin`` and shared by all trials."""

from __future__ import annotations

import logging
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any

import lightgbm as lgb
import numpy as np
from numpy.typing import NDArray

from signal_miner.data.dataset import Dataset
from signal_miner.data.folds import Fold
from signal_miner.data.parquet_rows import forget_large_footers
from signal_miner.engine.available_memory import available_bytes
from signal_miner.engine.column_groups import (
    GROUP_BYTES,
    LIGHTGBM_SAMPLE_ROWS,
    Part,
    binned_groups,
    column_groups,
    merged,
    of_rows,
    return_free_memory,
)
from signal_miner.engine.dataset_cache import DatasetCache, entry_key
from signal_miner.errors import UserError

PACKED_BINS = 16
"""LightGBM packs a feature with fewer bins than this in half a byte a value."""

_SURROUNDINGS = 1.1
"""Resident bytes of a dataset over those of its bins: labels, bin boundaries, what the allocator cannot give back."""


class _DebugLogger:
    """Sends what LightGBM says to `logging`, where nobody listens unless asked to."""

    def info(self, message: str) -> None:
        logging.getLogger("lightgbm").debug(message)

    def warning(self, message: str) -> None:
        logging.getLogger("lightgbm").debug(message)


lgb.register_logger(_DebugLogger())


def dataset_params(max_bin: int, seed: int) -> dict[str, Any]:
    """Return LightGBM's parameters for a dataset.

    ``feature_pre_filter`` is off, as one dataset serves every ``min_child_samples``; one thread, as the setting
    is global to the process and trials run beside the build. ``enable_bundle`` is off, as LightGBM reorders the
    features of training rows where two parts that are merged both have bundles of sparse ones, such as features that
    did not exist yet in early eras, but not those of the validation rows: predictions would be of other features.
    """
    return {
        "max_bin": max_bin,
        "random_state": seed,
        "feature_pre_filter": False,
        "enable_bundle": False,
        "force_col_wise": True,
        "num_threads": 1,
        "verbosity": -1,
    }


def dataset_bytes(n_values: int, max_bin: int) -> int:
    """Estimate what a binned dataset takes in memory.

    Parameters
    ----------
    n_values : int
        Rows × features.
    max_bin : int
        Where no feature has as many values, their number tells more.

    Returns
    -------
    int
        Bytes. LightGBM packs a feature of fewer than 16 bins in half a byte a value, one of fewer than 256 in a byte.
    """
    value = 0.5 if max_bin < PACKED_BINS else 1 if max_bin < 256 else 2
    return int(n_values * value * _SURROUNDINGS)


@dataclass(frozen=True, eq=False)
class BinnedFold:
    """What a booster needs of one fold.

    Attributes
    ----------
    train : lightgbm.Dataset
        Rows of the training eras whose target is known, with that target as label.
    validation : lightgbm.Dataset or None
        Rows of the validation eras, binned as `train`; None for a fold that has none.
    """

    train: lgb.Dataset
    validation: lgb.Dataset | None

    @property
    def n_rows(self) -> int:
        """Rows of both."""
        return int(self.train.num_data()) + (int(self.validation.num_data()) if self.validation else 0)


@dataclass(eq=False)
class _Kept:
    """A binned fold that is kept, and the target that a shared one carries as label."""

    fold: BinnedFold
    label: str | None = None


class BinnedFolds:
    """Builds and keeps `BinnedFold` objects; several threads may ask at once.

    Parameters
    ----------
    dataset : Dataset
    targets : tuple of str
        All training targets of the experiment.
    seed : int
        LightGBM's seed, which also samples rows for the bins.
    memory_bytes : int, optional
        What may be kept for reuse, those in building included; half of the memory that is free now, if not given.
        Datasets in use beyond it live until their trial ends.
    should_stop : callable, optional
        Asked before each column group; a build that is told to stop raises `Stopped`.
    group_bytes : int, default GROUP_BYTES
        Bytes that are read at a time. A build needs two to three times as many beside its result.
    cache : DatasetCache, optional
        Where datasets that took long to build are kept on disk.
    exclusive : bool, default False
        Whether the caller sees to it that all who train on one fold's dataset at one time train on one target. It
        then serves each target that is known in all rows in turn; else each has a copy.

    Attributes
    ----------
    on_features : callable
        Called from any thread while a dataset is built: the fold's number, features binned so far, features in all.

    Notes
    -----
    A target with NaN is trained on the rows where it is known. Where every feature value has a bin of its own and
    memory holds both, those rows are taken as a subset of the fold's dataset, which costs a twentieth of a build;
    elsewhere the dataset is built from them.
    """

    def __init__(
        self,
        dataset: Dataset,
        targets: tuple[str, ...],
        seed: int,
        memory_bytes: int | None = None,
        should_stop: Callable[[], bool] = lambda: False,
        *,
        group_bytes: int = GROUP_BYTES,
        cache: DatasetCache | None = None,
        exclusive: bool = False,
    ) -> None:
        self.on_features: Callable[[int, int, int], None] = lambda _fold, _done, _total: None
        self._dataset = dataset
        self._seed = seed
        self._memory_bytes = available_bytes() // 2 if memory_bytes is None else memory_bytes
        self._should_stop = should_stop
        self._group_bytes = group_bytes
        self._cache = cache
        self._several_targets = len(targets) > 1
        self._shared = exclusive or not self._several_targets
        self._kept: OrderedDict[tuple[Any, ...], _Kept] = OrderedDict()
        self._in_building = 0  # bytes
        self._building: dict[tuple[Any, ...], threading.Lock] = {}
        self._lock = threading.Lock()

    def get(self, fold: Fold, max_bin: int, target: str) -> BinnedFold:
        """Return the binned fold for a training target.

        Raises
        ------
        UserError
            If the target is known in no training row of the fold.
        Stopped
            If `should_stop` said so during a build.
        """
        whole = (fold.train_eras, fold.validation_eras, max_bin)
        with self._alone((*whole, target)):
            kept = self._find((*whole, target))
            if kept is None:
                shared = self._find(whole)
                kept = shared if shared is not None and shared.label == target else None
            return kept.fold if kept is not None else self._labelled(fold, max_bin, target)

    def release(self) -> None:
        """Let go of all that is kept; what is in use lives until its trial ends."""
        with self._lock:
            self._kept.clear()
        forget_large_footers()
        return_free_memory()

    def _labelled(self, fold: Fold, max_bin: int, target: str) -> BinnedFold:
        rows = self._dataset.rows_of(fold.train_eras)
        label = self._dataset.read_target(target, rows)
        known = np.isfinite(label)
        count = int(np.count_nonzero(known))
        if not count:
            raise UserError(f"{target!r} is known in no training row of fold {fold.number}; leave it out of targets")
        whole = (fold.train_eras, fold.validation_eras, max_bin)
        if count == len(label) and self._shared:
            with self._alone(whole):
                kept = self._find(whole) or self._keep(whole, self._built(fold, max_bin, None, None))
                if kept.label != target:
                    kept.fold.train.set_label(label)
                    kept.label = target
                return kept.fold
        built = self._copied(fold, max_bin, known)
        built.train.set_label(label[known])
        return self._keep((*whole, target), built).fold

    def _copied(self, fold: Fold, max_bin: int, known: NDArray[np.bool_]) -> BinnedFold:
        """Return a fold with a label of its own: another on one dataset would change the boosters in training on it."""
        whole = (fold.train_eras, fold.validation_eras, max_bin)
        count = int(np.count_nonzero(known))
        if count < len(known) and not self._bins_hold_for_subsets(count, max_bin):
            return self._built(fold, max_bin, known, None)
        rows = None if count == len(known) else np.flatnonzero(known)
        copy = self._bytes(count, max(max_bin, PACKED_BINS))  # not merged, it keeps its slack
        base = self._bytes(len(known) + self._n_rows(fold.validation_eras), max_bin)
        if not self._several_targets or base + copy > self._memory_bytes:
            return self._built(fold, max_bin, None, rows)
        with self._alone(whole):
            kept = (self._find(whole) or self._keep(whole, self._built(fold, max_bin, None, None))).fold
        with self._room_for(copy, whole):
            params = dataset_params(max_bin, self._seed)
            return BinnedFold(*of_rows((kept.train, kept.validation), np.flatnonzero(known), params))

    def _bins_hold_for_subsets(self, n_rows: int, max_bin: int) -> bool:
        """Say whether the bins found on fewer rows are sure to be the same."""
        return n_rows >= LIGHTGBM_SAMPLE_ROWS and self._levels is not None and self._levels <= max_bin

    @cached_property
    def _levels(self) -> int | None:
        return self._dataset.largest_level_count()

    def _built(
        self, fold: Fold, max_bin: int, known: NDArray[np.bool_] | None, rows: NDArray[np.int64] | None
    ) -> BinnedFold:
        """Load or build a fold with labels of 0.

        `known` says on which training rows the bins are found, None for all; `rows` are positions of those to take.
        """
        if not self._dataset.features:
            raise UserError("the feature set has no features; name one that has")
        params = dataset_params(max_bin, self._seed)
        train_rows = self._dataset.rows_of(fold.train_eras)
        if known is not None:
            train_rows = np.arange(len(self._dataset))[train_rows][known]
        validation_rows = self._dataset.rows_of(fold.validation_eras) if fold.validation_eras else None
        taken = self._n_rows(fold.train_eras) if known is None else int(np.count_nonzero(known))
        taken = taken if rows is None else len(rows)
        with self._room_for(self._bytes(taken + self._n_rows(fold.validation_eras), max_bin)):
            key = entry_key(self._dataset, fold, known, params) if self._cache else ""
            stored = self._cache.load(key, params, rows) if self._cache else None
            if stored is not None:
                return BinnedFold(*stored)
            read = [train_rows] if validation_rows is None else [train_rows, validation_rows]
            groups = column_groups(self._dataset, read, self._group_bytes)
            parts = binned_groups(self._dataset, groups, train_rows, validation_rows, params, self._should_stop)
            parts = self._told(fold, groups, parts)
            if self._cache:
                parts = self._cache.storing(key, parts, len(groups))
            return BinnedFold(
                *merged(parts if rows is None else map(partial(of_rows, rows=rows, params=params), parts))
            )

    def _told(self, fold: Fold, groups: Sequence[Sequence[str]], parts: Iterator[Part]) -> Iterator[Part]:
        done, total = 0, sum(map(len, groups))
        for group, part in zip(groups, parts, strict=True):
            done += len(group)
            self.on_features(fold.number, done, total)
            yield part

    def _n_rows(self, eras: tuple[int, ...]) -> int:
        return len(self._dataset.eras[self._dataset.rows_of(eras)]) if eras else 0

    def _bytes(self, n_rows: int, max_bin: int) -> int:
        return dataset_bytes(n_rows * len(self._dataset.features), max_bin)

    def _alone(self, key: tuple[Any, ...]) -> threading.Lock:
        """Return the lock under which one thread makes what a key stands for, while others go on with other keys."""
        with self._lock:
            return self._building.setdefault(key, threading.Lock())

    def _find(self, key: tuple[Any, ...]) -> _Kept | None:
        with self._lock:
            if key in self._kept:
                self._kept.move_to_end(key)
            return self._kept.get(key)

    def _keep(self, key: tuple[Any, ...], built: BinnedFold) -> _Kept:
        with self._lock:
            self._kept[key] = _Kept(built)
            self._make_room(key)
            return self._kept[key]

    @contextmanager
    def _room_for(self, n_bytes: int, needed: tuple[Any, ...] = ()) -> Iterator[None]:
        """Let go of what would not fit beside a dataset in building, but for the one that it is made from."""
        with self._lock:
            self._in_building += n_bytes
            self._make_room(needed)
        try:
            yield
        finally:
            with self._lock:
                self._in_building -= n_bytes

    def _make_room(self, needed: tuple[Any, ...]) -> None:
        for key in [key for key in self._kept if key != needed]:
            if self._kept_bytes() + self._in_building <= self._memory_bytes:
                return
            del self._kept[key]

    def _kept_bytes(self) -> int:
        """Bytes of the datasets that are kept; a copy shares its validation rows with the dataset it is from."""
        sizes: dict[int, int] = {}
        for (_, _, max_bin, *_), kept in self._kept.items():
            for part in (kept.fold.train, kept.fold.validation):
                if part is not None:
                    sizes[id(part)] = self._bytes(int(part.num_data()), max_bin)
        return sum(sizes.values())
