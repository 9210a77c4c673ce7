"""The folds of a study over one store of planes, as trials ask for them."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from signal_miner.data.dataset import Dataset
from signal_miner.data.folds import Fold
from signal_miner.data.residual_target import Label
from signal_miner.engine.bitplane.booster import Booster
from signal_miner.engine.bitplane.fold import PlaneFold
from signal_miner.engine.bitplane.store import PlaneStore, open_store
from signal_miner.engine.column_groups import GROUP_BYTES
from signal_miner.utils.validation import Value


@dataclass(frozen=True, eq=False)
class PlaneFoldData:
    """A fold and target on which boosters start."""

    fold: PlaneFold

    @property
    def n_validation_rows(self) -> int:
        """Validation rows; 0 where the fold has none."""
        return len(self.fold.validation_rows)

    def start(self, params: Mapping[str, Value], seed: int) -> Booster:
        """Return a booster without trees."""
        return Booster(self.fold, params, seed)


class PlaneFolds:
    """Makes folds of one store, which is built or mapped when the first is asked for; thread-safe.

    Parameters
    ----------
    held : int
        Folds, each with its target and feature set, whose rows are held at a time, the least recently used dropped
        first; a booster keeps its own. Each takes some 25 bytes a row.
    should_stop : callable, optional
        Called before each group of columns while the store is built; the build stops with `Stopped` where it returns
        true.
    limit_bytes, group_bytes : int, optional
        See `open_store`.
    on_features : callable, optional
        Called while the store is built: 0, as it serves every fold, features stored so far, and features in all.
    """

    def __init__(
        self,
        dataset: Dataset,
        held: int,
        should_stop: Callable[[], bool] = lambda: False,
        *,
        limit_bytes: int | None = None,
        group_bytes: int = GROUP_BYTES,
        on_features: Callable[[int, int, int], None] = lambda _fold, _done, _total: None,
    ) -> None:
        self._dataset = dataset
        self._most = held
        self._should_stop = should_stop
        self._limit_bytes = limit_bytes
        self._group_bytes = group_bytes
        self._on_features = on_features
        self._store: PlaneStore | None = None
        self._held: OrderedDict[tuple[object, ...], PlaneFoldData] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, fold: Fold, max_bin: int, target: Label, feature_set: str | None = None) -> PlaneFoldData:
        """Return a fold for one target and feature set; every ``max_bin`` is trained on the same planes."""
        key = (fold.train_eras, fold.validation_eras, target, feature_set)
        with self._lock:
            if key not in self._held:
                self._held[key] = self._made(fold, target, feature_set)
            self._held.move_to_end(key)
            while len(self._held) > self._most:
                self._held.popitem(last=False)
            return self._held[key]

    def release(self) -> None:
        """Let go of nothing: the store serves every fold, target, feature set and ``max_bin``."""

    def _made(self, fold: Fold, target: Label, feature_set: str | None) -> PlaneFoldData:
        if self._store is None:
            self._store = open_store(
                self._dataset,
                limit_bytes=self._limit_bytes,
                group_bytes=self._group_bytes,
                should_stop=self._should_stop,
                on_features=lambda done, total: self._on_features(0, done, total),
            )
        store, dataset = self._store, self._dataset

        def mask(eras: tuple[int, ...]) -> NDArray[np.uint64]:
            return store.mask(dataset.rows_of(eras) if eras else slice(0))

        made = PlaneFold(
            store=store,
            columns=store.columns(dataset.features_in(feature_set)),
            target=dataset.read_label(target),
            train=mask(fold.train_eras),
            validation=mask(fold.validation_eras),
            eras=dataset.eras,
        )
        return PlaneFoldData(made)
