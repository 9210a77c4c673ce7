"""A fold as the trainer has it: ranges and masks over the store of planes, nothing copied."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from signal_miner.engine.bitplane.environments import Environments, environments_of
from signal_miner.engine.bitplane.growth import Columns
from signal_miner.engine.bitplane.kernels import spans_of
from signal_miner.engine.bitplane.level_groups import kept_thresholds, sampled_rows
from signal_miner.engine.bitplane.store import PlaneStore


@dataclass(frozen=True, eq=False)
class PlaneFold:
    """The rows and features of a store on which boosters train and predict one target.

    Parameters
    ----------
    store : PlaneStore
    columns : ndarray of int64, shape (n_features,)
        Positions of the features in the store, in the order in which a model is to have them.
    target : ndarray of float32, shape (n_rows,)
        Of all rows of the store; rows where it is NaN are not trained on.
    train, validation : ndarray of uint64, shape (n_words,)
        Masks of rows, see `PlaneStore.mask`.
    eras : ndarray of int, shape (n_rows,), optional
        Era number of each row of the store, ascending; by default all rows are of one era.
    """

    store: PlaneStore
    columns: NDArray[np.int64]
    target: NDArray[np.float32]
    train: NDArray[np.uint64]
    validation: NDArray[np.uint64]
    eras: NDArray[np.integer[Any]] | None = field(default=None, repr=False)
    _thresholds: dict[tuple[int, int], Columns] = field(default_factory=dict, init=False, repr=False)
    _environments: dict[int, Environments] = field(default_factory=dict, init=False, repr=False)

    @cached_property
    def planes(self) -> NDArray[np.uint64]:
        """All planes as an array that cannot be written, the only type for which kernels are compiled."""
        view = np.asarray(self.store.planes).view()
        view.flags.writeable = False
        return view

    @cached_property
    def names(self) -> tuple[str, ...]:
        """Names of the features."""
        return tuple(self.store.features[column] for column in self.columns)

    @cached_property
    def ranges(self) -> tuple[tuple[float, float], ...]:
        """Least and largest level of each feature."""
        levels = [self.store.levels[column] for column in self.columns]
        return tuple((each[0], each[-1]) for each in levels)

    @cached_property
    def words(self) -> slice:
        """The words of the planes that have a row of the fold; all masks and arrays below begin with the first."""
        used = np.flatnonzero(self.train | self.validation)
        return slice(int(used[0]), int(used[-1]) + 1) if len(used) else slice(0, 0)

    @cached_property
    def first(self) -> int:
        """The first of these words."""
        return int(self.words.start)

    @cached_property
    def trained(self) -> NDArray[np.uint64]:
        """Mask of the training rows whose target is known."""
        return self.train[self.words] & self.store.mask(np.isfinite(self.target))[self.words]

    @cached_property
    def routed(self) -> NDArray[np.uint64]:
        """Mask of the rows that are sent to a leaf: those trained on and the validation rows."""
        return self.trained | self.validation[self.words]

    @cached_property
    def spans(self) -> NDArray[np.int64]:
        """First and last words of runs that have training rows, shape (n_spans, 2)."""
        spans = np.empty((len(self.trained) + 1, 2), np.int64)
        return spans[: spans_of(self.trained, spans)].copy()

    @cached_property
    def validation_rows(self) -> NDArray[np.int64]:
        """Positions of the validation rows in arrays by row."""
        return _positions(self.validation[self.words])

    @cached_property
    def labels(self) -> NDArray[np.float64]:
        """The target by row, 0 where unknown."""
        labels = np.zeros(64 * len(self.trained))
        known = self.target[64 * self.words.start : 64 * self.words.stop]
        labels[: len(known)] = np.nan_to_num(known, nan=0.0)
        return labels

    @cached_property
    def mean(self) -> float:
        """Of the target in the training rows: what a model of no trees predicts."""
        rows = _positions(self.trained)
        return float(np.mean(self.labels[rows])) if len(rows) else 0.0

    def thresholds(self, max_bin: int, seed: int) -> Columns:
        """Return the planes that LightGBM would split features at, with so many bins each.

        `seed` samples the rows on which LightGBM finds bins, where there are more than it looks at.
        """
        if (max_bin, seed) not in self._thresholds:
            self._thresholds[max_bin, seed] = self._kept(max_bin, self._level_counts(seed))
        return self._thresholds[max_bin, seed]

    def environments(self, era_block: int) -> Environments:
        """Return where the training rows of each block of so many eras are."""
        if era_block not in self._environments:
            rows = 64 * self.first + _positions(self.trained)
            eras = np.zeros(len(rows), np.int64) if self.eras is None else self.eras[rows].astype(np.int64)
            self._environments[era_block] = environments_of(rows, eras, era_block, self.planes.shape[1])
        return self._environments[era_block]

    def _kept(self, max_bin: int, level_counts: NDArray[np.int64]) -> Columns:
        ids, starts, features = list[int](), [0], list[int]()
        for place, (column, counts) in enumerate(zip(self.columns, level_counts, strict=True)):
            levels = self.store.levels[column]
            kept = kept_thresholds(levels, counts[: len(levels)].tolist(), max_bin)
            if kept:
                ids.extend(int(self.store.offsets[column]) + level for level in reversed(kept))
                starts.append(len(ids))
                features.append(place)
        return Columns(np.array(ids, np.int64), np.array(starts, np.int64), np.array(features, np.int64))

    def _level_counts(self, seed: int) -> NDArray[np.int64]:
        rows = 64 * self.first + _positions(self.trained)
        return self.store.level_counts(self.store.mask(rows[sampled_rows(len(rows), seed)]), self.columns)


def _positions(mask: NDArray[np.uint64]) -> NDArray[np.int64]:
    octets = np.ascontiguousarray(mask, "<u8").view(np.uint8)
    return np.flatnonzero(np.unpackbits(octets, bitorder="little"))
