"""LightGBM datasets for the folds, binned once for each fold and ``max_bin`` and shared by all trials."""

from __future__ import annotations

import logging
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence
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
from signal_miner.data.residual_target import Label
from signal_miner.engine.available_memory import available_bytes
from signal_miner.engine.boosters import Booster
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
from signal_miner.engine.dataset_size import copy_bytes, dataset_bytes
from signal_miner.engine.lightgbm_booster import LightGBMBooster
from signal_miner.errors import UserError
from signal_miner.experiment.parameters import dataset_params
from signal_miner.utils.validation import Value


class _DebugLogger:
    """Sends LightGBM's messages to `logging`, at a level that is off by default."""

    def info(self, message: str) -> None:
        logging.getLogger("lightgbm").debug(message)

    def warning(self, message: str) -> None:
        logging.getLogger("lightgbm").debug(message)


lgb.register_logger(_DebugLogger())


@dataclass(frozen=True, eq=False)
class BinnedFold:
    """The training rows whose target is known, labelled, and the validation rows, if any, in the same bins."""

    train: lgb.Dataset
    validation: lgb.Dataset | None

    @property
    def n_validation_rows(self) -> int:
        """Validation rows; 0 where the fold has none."""
        return int(self.validation.num_data()) if self.validation else 0

    @property
    def n_rows(self) -> int:
        """Training and validation rows together."""
        return int(self.train.num_data()) + self.n_validation_rows

    def start(self, params: Mapping[str, Value], seed: int) -> Booster:
        """Return a booster without trees, for a configuration of this fold's target and ``max_bin``.

        Raises
        ------
        lightgbm.basic.LightGBMError
            If LightGBM rejects the configuration.
        """
        return LightGBMBooster(self.train, self.validation, params, seed)


@dataclass(frozen=True)
class _Bins:
    """What a dataset's bins depend on; the fold's number is not part of the key."""

    fold: Fold
    max_bin: int
    feature_set: str | None

    @property
    def key(self) -> tuple[Any, ...]:
        return self.fold.train_eras, self.fold.validation_eras, self.max_bin, self.feature_set


@dataclass(eq=False)
class _Held:
    fold: BinnedFold
    label: Label | None = None  # the current target of a dataset that serves several in turn


class BinnedFolds:
    """Builds `BinnedFold` objects and holds them for reuse, the least recently used dropped first; thread-safe.

    Parameters
    ----------
    targets : sequence of Label
        All training targets of the experiment.
    seed : int
        LightGBM's seed, which also samples the rows that bins are found on.
    memory_bytes : int, optional
        Limit for the datasets held and those being built; by default half of the memory that is free now. A dataset
        that is dropped while trials train on it lives until they end.
    should_stop : callable, optional
        Called before each column group; a build stops with `Stopped` where it returns true.
    group_bytes : int, default GROUP_BYTES
        Bytes that are read at a time. A build needs two to three times as many beside its result.
    cache : DatasetCache, optional
        On disk, for datasets that took long to build.
    exclusive : bool, default False
        Whether the caller ensures that trials which train at the same time on one fold train on one target. Targets
        that are known in all rows then share one dataset, relabelled in turn; otherwise each has a copy.
    on_features : callable, optional
        Called from any thread while a dataset is built: fold number, features binned so far, features in all.

    Notes
    -----
    Bins depend on the training rows and ``max_bin`` and on no other parameter of a trial, so one dataset per fold and
    ``max_bin`` serves all trials. A booster reads the label from its dataset while it trains: two targets at the
    same time need two datasets.

    A target with NaN is trained on the rows where it is known. They can be copied out of the fold's dataset, at a
    twentieth of the cost of a build, only if binning them anew would give the same bins, which is sure where every
    feature value has a bin of its own (`_same_bins_on_subset`). Elsewhere their dataset is built from the data.
    """

    def __init__(
        self,
        dataset: Dataset,
        targets: Sequence[Label],
        seed: int,
        memory_bytes: int | None = None,
        should_stop: Callable[[], bool] = lambda: False,
        *,
        group_bytes: int = GROUP_BYTES,
        cache: DatasetCache | None = None,
        exclusive: bool = False,
        on_features: Callable[[int, int, int], None] = lambda _fold, _done, _total: None,
    ) -> None:
        self._dataset = dataset
        self._seed = seed
        self._memory_bytes = available_bytes() // 2 if memory_bytes is None else memory_bytes
        self._should_stop = should_stop
        self._group_bytes = group_bytes
        self._cache = cache
        self._on_features = on_features
        self._several_targets = len(targets) > 1
        self._shared = exclusive or not self._several_targets
        # Keys: those of `_Bins`, and the target too where a dataset is of one target alone.
        self._held: OrderedDict[tuple[Any, ...], _Held] = OrderedDict()
        self._bytes_in_build = 0
        # `_lock` guards the fields here and is held only briefly. A key's own lock is held during its build, so that
        # threads that need the same dataset wait for one build while others build theirs. A thread that holds a
        # target's lock may wait for its fold's, never the reverse: no deadlock.
        self._build_locks: dict[tuple[Any, ...], threading.Lock] = {}
        self._lock = threading.Lock()

    def get(self, fold: Fold, max_bin: int, target: Label, feature_set: str | None = None) -> BinnedFold:
        """Return the binned fold for a training target, with the features of a set of the dataset's; all for None.

        Raises
        ------
        UserError
            If the target is known in no training row of the fold.
        Stopped
            If `should_stop` returned true during a build.
        """
        bins = _Bins(fold, max_bin, feature_set)
        with self._build_lock((*bins.key, target)):
            held = self._find((*bins.key, target))
            if held is None:
                shared = self._find(bins.key)
                held = shared if shared is not None and shared.label == target else None
            return held.fold if held is not None else self._for_target(bins, target)

    def release(self) -> None:
        """Drop all datasets held; those in use live until their trial ends."""
        with self._lock:
            self._held.clear()
        forget_large_footers()
        return_free_memory()

    def _for_target(self, bins: _Bins, target: Label) -> BinnedFold:
        fold = bins.fold
        rows = self._dataset.rows_of(fold.train_eras)
        label = self._dataset.read_label(target, rows)
        known = np.isfinite(label)
        count = int(np.count_nonzero(known))
        if not count:
            raise UserError(
                f"{str(target)!r} is known in no training row of fold {fold.number}; leave it out of targets"
            )
        # Known in all rows, and alone on the fold while it is trained on: the fold's dataset needs only another label.
        if count == len(label) and self._shared:
            with self._build_lock(bins.key):
                held = self._find(bins.key) or self._hold(bins.key, self._load_or_build(bins, None, None))
                if held.label != target:
                    held.fold.train.set_label(label)
                    held.label = target
                return held.fold
        own = self._unlabelled(bins, known)
        own.train.set_label(label[known])
        return self._hold((*bins.key, target), own).fold

    def _unlabelled(self, bins: _Bins, known: NDArray[np.bool_]) -> BinnedFold:
        """Return a dataset of its own for a target that is known in some training rows."""
        count = int(np.count_nonzero(known))
        # LightGBM, given these rows alone, would find other bins than those of the fold's dataset: they are found anew.
        if count < len(known) and not self._same_bins_on_subset(count, bins.max_bin):
            return self._load_or_build(bins, known, None)
        rows = None if count == len(known) else np.flatnonzero(known)
        features = self._dataset.features_in(bins.feature_set)
        copy = copy_bytes(count, len(features), bins.max_bin)
        base = dataset_bytes(len(known) + self._n_rows(bins.fold.validation_eras), len(features), bins.max_bin)
        # The fold's whole dataset is worth holding beside the copy only if a further target is copied from it.
        if not self._several_targets or base + copy > self._memory_bytes:
            return self._load_or_build(bins, None, rows)
        with self._build_lock(bins.key):
            base_fold = (self._find(bins.key) or self._hold(bins.key, self._load_or_build(bins, None, None))).fold
        with self._reserved(copy, bins.key):
            params = dataset_params(bins.max_bin, self._seed)
            return BinnedFold(*of_rows((base_fold.train, base_fold.validation), np.flatnonzero(known), params))

    def _same_bins_on_subset(self, n_rows: int, max_bin: int) -> bool:
        """Return whether bins found on `n_rows` of a fold's rows are sure to be those found on all.

        LightGBM then samples equally many rows of either, and has enough bins for every level.
        """
        return n_rows >= LIGHTGBM_SAMPLE_ROWS and self._levels is not None and self._levels <= max_bin

    @cached_property
    def _levels(self) -> int | None:
        return self._dataset.largest_level_count()

    def _load_or_build(
        self, bins: _Bins, known: NDArray[np.bool_] | None, rows: NDArray[np.int64] | None
    ) -> BinnedFold:
        """Load a fold from the cache or build it, labelled 0.

        `known` masks the training rows that are read and binned, None for all. `rows` are positions in the binned
        training rows, taken as a subset once bins are found.
        """
        fold, features = bins.fold, self._dataset.features_in(bins.feature_set)
        if not features:
            raise UserError("the feature set has no features; name one that has")
        params = dataset_params(bins.max_bin, self._seed)
        train_rows = self._dataset.rows_of(fold.train_eras)
        if known is not None:
            train_rows = np.arange(len(self._dataset))[train_rows][known]
        validation_rows = self._dataset.rows_of(fold.validation_eras) if fold.validation_eras else None
        n_train = self._n_rows(fold.train_eras) if known is None else int(np.count_nonzero(known))
        n_train = n_train if rows is None else len(rows)
        n_rows = n_train + self._n_rows(fold.validation_eras)
        with self._reserved(dataset_bytes(n_rows, len(features), bins.max_bin)):
            key = entry_key(self._dataset, fold, known, params, bins.feature_set) if self._cache else ""
            stored = self._cache.load(key, params, rows) if self._cache else None
            if stored is not None:
                return BinnedFold(*stored)
            read = [train_rows] if validation_rows is None else [train_rows, validation_rows]
            groups = column_groups(self._dataset, read, self._group_bytes, bins.feature_set)
            parts = binned_groups(self._dataset, groups, train_rows, validation_rows, params, self._should_stop)
            parts = self._reporting(fold, groups, parts)
            if self._cache:
                parts = self._cache.storing(key, parts, len(groups))
            return BinnedFold(
                *merged(parts if rows is None else map(partial(of_rows, rows=rows, params=params), parts))
            )

    def _reporting(self, fold: Fold, groups: Sequence[Sequence[str]], parts: Iterator[Part]) -> Iterator[Part]:
        done, total = 0, sum(map(len, groups))
        for group, part in zip(groups, parts, strict=True):
            done += len(group)
            self._on_features(fold.number, done, total)
            yield part

    def _n_rows(self, eras: tuple[int, ...]) -> int:
        return len(self._dataset.eras[self._dataset.rows_of(eras)]) if eras else 0

    def _build_lock(self, key: tuple[Any, ...]) -> threading.Lock:
        with self._lock:
            return self._build_locks.setdefault(key, threading.Lock())

    def _find(self, key: tuple[Any, ...]) -> _Held | None:
        with self._lock:
            if key in self._held:
                self._held.move_to_end(key)
            return self._held.get(key)

    def _hold(self, key: tuple[Any, ...], built: BinnedFold) -> _Held:
        with self._lock:
            self._held[key] = _Held(built)
            self._evict(key)
            return self._held[key]

    @contextmanager
    def _reserved(self, n_bytes: int, needed: tuple[Any, ...] = ()) -> Iterator[None]:
        """Drop what does not fit beside a dataset being built, except the one with key `needed`."""
        with self._lock:
            self._bytes_in_build += n_bytes
            self._evict(needed)
        try:
            yield
        finally:
            with self._lock:
                self._bytes_in_build -= n_bytes

    def _evict(self, needed: tuple[Any, ...]) -> None:
        """Drop datasets, the least recently used first, until the rest fit; `_lock` is held."""
        for key in [key for key in self._held if key != needed]:
            if self._held_bytes() + self._bytes_in_build <= self._memory_bytes:
                return
            del self._held[key]

    def _held_bytes(self) -> int:
        sizes: dict[int, int] = {}  # by identity, as a copy shares its validation rows with its base
        for (_, _, max_bin, *_), held in self._held.items():
            for part in (held.fold.train, held.fold.validation):
                if part is not None:
                    sizes[id(part)] = dataset_bytes(int(part.num_data()), int(part.num_feature()), max_bin)
        return sum(sizes.values())
