"""What a trial needs of an engine: data of a fold, and a booster that grows on it; the same for every engine."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from signal_miner.data.folds import Fold
from signal_miner.data.residual_target import Label, ResidualTarget
from signal_miner.errors import Stopped
from signal_miner.experiment.parameters import DatasetKey
from signal_miner.utils.validation import Value


class Booster(Protocol):
    """Trees of one configuration on one fold, which may be grown further."""

    def grow(self, trees: int, should_stop: Callable[[], bool] = ...) -> None:
        """Add trees; where no split is found, none is added.

        Raises
        ------
        Stopped
            If `should_stop`, called before each tree, returned true.
        """

    def predictions(self) -> NDArray[np.float32]:
        """Return the predictions of the fold's validation rows, rounded as they are tracked, shape (n_rows,)."""

    def model_text(self) -> str:
        """Return the model as LightGBM's text."""


def add_trees(add_one: Callable[[], object], trees: int, should_stop: Callable[[], bool]) -> None:
    """Add trees one by one; raise `Stopped` if `should_stop`, called before each, returned true."""
    for _ in range(trees):
        if should_stop():
            raise Stopped
        add_one()


class FoldData(Protocol):
    """Training rows whose target is known, and the validation rows, of one fold and target."""

    @property
    def n_validation_rows(self) -> int:
        """Validation rows; 0 where the fold has none."""

    def start(self, params: Mapping[str, Value], seed: int) -> Booster:
        """Return a booster without trees."""


class FoldSource(Protocol):
    """Makes the data of folds, and holds them for all trials; thread-safe."""

    def get(self, fold: Fold, max_bin: int, target: Label, feature_set: str | None = None) -> FoldData:
        """Return the data of a fold for configurations with this ``max_bin``, target and set; all features for None."""

    def release(self) -> None:
        """Let go of what is held, before data of another kind are asked for."""


def fold_data(source: FoldSource, fold: Fold, params: Mapping[str, Value]) -> FoldData:
    """Return what a configuration is trained on in a fold."""
    key = DatasetKey.of(params)
    return source.get(key.of_fold(fold), key.max_bin, label_of(key), key.feature_set)


def label_of(key: DatasetKey) -> Label:
    """Return what boosters of configurations with a key are trained on."""
    return ResidualTarget(key.target, key.residual) if key.residual else key.target
