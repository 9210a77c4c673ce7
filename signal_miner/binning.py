"""LightGBM datasets for the folds, binned once for each fold and ``max_bin`` and shared by all trials."""

from __future__ import annotations

import logging
import threading
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import lightgbm as lgb
import numpy as np
import psutil
from numpy.typing import NDArray

from signal_miner.data import Dataset
from signal_miner.errors import Stopped, UserError
from signal_miner.folds import Fold

GROUP_BYTES = 256 * 2**20
"""Raw bytes of the column group that is read and binned at a time."""

BYTES_A_VALUE = 0.6
"""Resident bytes of a binned value that is packed in half a byte, with what surrounds it."""

PACKED_BINS = 16
"""LightGBM packs a feature with fewer bins than this in half a byte a value."""

LIGHTGBM_SAMPLE_ROWS = 200_000
"""Rows that LightGBM samples to find its bins (``bin_construct_sample_cnt``)."""


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
    is global to the process and trials run beside the build.
    """
    return {
        "max_bin": max_bin,
        "random_state": seed,
        "feature_pre_filter": False,
        "force_col_wise": True,
        "num_threads": 1,
        "verbosity": -1,
    }


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
        What may be kept for reuse; half of the memory that is free now, if not given. Datasets in use beyond it
        live until their trial ends.
    should_stop : callable, optional
        Asked before each column group; a build that is told to stop raises `Stopped`.

    Notes
    -----
    A target with NaN is trained on the rows where it is known. Where every feature value has a bin of its own,
    those rows are taken as a subset of the fold's dataset, which costs a twentieth of a build; elsewhere
    the bins depend on the rows, and the dataset is built from them.
    """

    def __init__(
        self,
        dataset: Dataset,
        targets: tuple[str, ...],
        seed: int,
        memory_bytes: int | None = None,
        should_stop: Callable[[], bool] = lambda: False,
    ) -> None:
        self._dataset = dataset
        self._targets = targets
        self._seed = seed
        self._memory_bytes = psutil.virtual_memory().available // 2 if memory_bytes is None else memory_bytes
        self._should_stop = should_stop
        self._kept: OrderedDict[tuple[Any, ...], tuple[BinnedFold, int]] = OrderedDict()
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
        key = (fold.train_eras, fold.validation_eras, max_bin, target)
        return self._kept_or_built(key, lambda: self._labelled(fold, max_bin, target))

    def _kept_or_built(self, key: tuple[Any, ...], build: Callable[[], BinnedFold]) -> BinnedFold:
        """Return what is kept under a key; build it where nothing is, while other threads wait for this key alone."""
        with self._lock:
            building = self._building.setdefault(key, threading.Lock())
        with building:
            with self._lock:
                if key in self._kept:
                    self._kept.move_to_end(key)
                    return self._kept[key][0]
            built = build()
            with self._lock:
                self._keep(key, built, int(key[2]))
            return built

    def _labelled(self, fold: Fold, max_bin: int, target: str) -> BinnedFold:
        train = self._dataset.rows_of(fold.train_eras)
        label = self._dataset.read_target(target, train)
        known = np.flatnonzero(np.isfinite(label))
        if not len(known):
            raise UserError(f"{target!r} is known in no training row of fold {fold.number}; leave it out of targets")
        whole = len(known) == len(label)
        if whole and len(self._targets) == 1:
            return self._build(fold, max_bin, None, label)
        if not whole and not self._bins_hold_for_subsets(len(known), max_bin):
            return self._build(fold, max_bin, known, label)
        # One dataset carries one label, and changing it would change the boosters in training on it.
        base = self._kept_or_built(
            (fold.train_eras, fold.validation_eras, max_bin),
            lambda: self._build(fold, max_bin, None, np.zeros(len(label), np.float32)),
        )
        params = dataset_params(max_bin, self._seed)
        part = base.train.subset(known.astype(np.int32), params).construct()  # type: ignore[arg-type]
        part.set_label(label[known])
        part.reference = None  # or the base would live as long as the subset, kept or not
        return BinnedFold(part, base.validation)

    def _bins_hold_for_subsets(self, n_rows: int, max_bin: int) -> bool:
        """Say whether the bins found on fewer rows are sure to be the same."""
        return n_rows >= LIGHTGBM_SAMPLE_ROWS and self._levels is not None and self._levels <= max_bin

    @cached_property
    def _levels(self) -> int | None:
        return self._dataset.largest_level_count()

    def _build(
        self, fold: Fold, max_bin: int, known: NDArray[np.intp] | None, label: NDArray[np.float32]
    ) -> BinnedFold:
        """Bin a fold column group by column group; `known` are the training rows to keep, None for all."""
        params = dataset_params(max_bin, self._seed)
        train_rows = self._dataset.rows_of(fold.train_eras)
        validation_rows = self._dataset.rows_of(fold.validation_eras) if fold.validation_eras else slice(0, 0)
        features = self._dataset.features
        n_rows = max(train_rows.stop - train_rows.start, validation_rows.stop - validation_rows.start)
        width = max(1, GROUP_BYTES // max(1, n_rows * self._dataset.feature_bytes))
        train: lgb.Dataset | None = None
        validation: lgb.Dataset | None = None
        for start in range(0, len(features), width):
            if self._should_stop():
                raise Stopped
            group = features[start : start + width]
            table = self._dataset.read_features(group, train_rows)
            if known is not None:
                table = table.take(known)
            part = lgb.Dataset(table, label=np.zeros(table.num_rows, np.float32), params=params).construct()
            if fold.validation_eras:
                table = self._dataset.read_features(group, validation_rows)
                aligned = lgb.Dataset(table, reference=part, params=params).construct()
                validation = aligned if validation is None else validation.add_features_from(aligned)
            train = part if train is None else train.add_features_from(part)
        if train is None:
            raise UserError("the feature set has no features; name one that has")
        train.set_label(label if known is None else label[known])
        if validation is not None:
            validation.reference = None  # it is aligned by now, and would keep a training set that is no longer used
        return BinnedFold(train, validation)

    def _keep(self, key: tuple[Any, ...], built: BinnedFold, max_bin: int) -> None:
        values = built.n_rows * len(self._dataset.features)
        self._kept[key] = (built, int(values * (BYTES_A_VALUE if max_bin < PACKED_BINS else 2 * BYTES_A_VALUE)))
        self._kept.move_to_end(key)
        while len(self._kept) > 1 and sum(size for _, size in self._kept.values()) > self._memory_bytes:
            self._kept.popitem(last=False)
