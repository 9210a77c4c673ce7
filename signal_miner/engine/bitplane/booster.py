"""Gradient boosting of a squared error on bit planes, with LightGBM's parameters and model text."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import NDArray

from signal_miner.engine.bitplane.era_growth import grow_era_tree
from signal_miner.engine.bitplane.fold import PlaneFold
from signal_miner.engine.bitplane.growth import Columns, Rows, Tree, grow_tree, refit, some_columns
from signal_miner.engine.bitplane.model_text import FinishedTree, constant_tree, model_text
from signal_miner.engine.bitplane.parameters import TreeParameters
from signal_miner.engine.bitplane.random_numbers import draw_bag, stream
from signal_miner.engine.bitplane.residuals import BAG, residuals, round_residuals
from signal_miner.engine.bitplane.tuning import DEFAULT_TUNING, Tuning
from signal_miner.engine.boosters import add_trees
from signal_miner.utils.validation import Value

_LARGEST_ROUNDED = 7
_COLUMNS, _ROWS, _ROUNDING, _NODES = range(4)
"""What a tree's random numbers are for."""


class Booster:
    """Trees grown on a fold; its validation rows are predicted while they grow.

    Parameters
    ----------
    fold : PlaneFold
        Any number of boosters may share it, in several threads.
    params : mapping of str to value
        A configuration, by LightGBM's scikit-learn names.
    seed : int
    tuning : Tuning, optional

    Notes
    -----
    Results depend on the fold, the parameters and `seed` alone. A booster belongs to one thread at a time.
    """

    def __init__(
        self, fold: PlaneFold, params: Mapping[str, Value], seed: int, tuning: Tuning = DEFAULT_TUNING
    ) -> None:
        self._fold = fold
        self._parameters = TreeParameters.of(params)
        self._rules = self._parameters.rules()
        self._criterion = self._parameters.criterion()
        self._columns = fold.thresholds(self._parameters.max_bin, seed)
        self._tuning = tuning
        n_words, n_rows = len(fold.trained), 64 * len(fold.trained)
        self._bag = fold.trained
        self._score = np.full(n_rows, fold.mean)
        self._residual = np.zeros(n_rows)
        self._values = np.zeros(n_rows, np.int8)
        self._rounded = np.zeros((BAG + 1, n_words), np.uint64)
        self._leaf = np.zeros(n_rows, np.int32)
        self._bits = np.empty(0, np.uint64)
        self._seed = seed
        self._rounds = 0
        self._trees: list[FinishedTree] = []

    @property
    def num_trees(self) -> int:
        """Trees so far; fewer than were asked for where no split was found."""
        return len(self._trees)

    def grow(self, trees: int, should_stop: Callable[[], bool] = lambda: False) -> None:
        """Add trees; where no split is found, none is added.

        Raises
        ------
        Stopped
            If `should_stop`, called before each tree, returned true.
        """
        add_trees(self._grow_one, trees, should_stop)

    def predictions(self) -> NDArray[np.float32]:
        """Return predictions of the validation rows, shape (n_rows,)."""
        return self._score[self._fold.validation_rows].astype(np.float32)

    def model_text(self) -> str:
        """Return the model as LightGBM's text."""
        constant = constant_tree(self._fold.mean, int(np.bitwise_count(self._fold.trained).sum()))
        return model_text(self._trees or [constant], self._fold.names, self._fold.ranges)

    def _grow_one(self) -> None:
        number = self._rounds
        self._rounds += 1
        fold, parameters = self._fold, self._parameters
        if parameters.subsample < 1 and parameters.subsample_freq > 0 and number % parameters.subsample_freq == 0:
            self._bag = np.empty_like(fold.trained)
            draw_bag(self._key(_ROWS, number), fold.first, parameters.subsample, fold.trained, self._bag)
        largest = residuals(fold.labels, self._score, fold.trained, self._residual)
        columns = some_columns(self._columns, parameters.colsample_bytree, self._key(_COLUMNS, number))
        if not largest > 0 or not len(columns.ids):
            return
        scale = largest / _LARGEST_ROUNDED
        round_residuals(
            self._residual, self._bag, fold.first, scale, self._key(_ROUNDING, number), self._rounded, self._values
        )
        rows = Rows(fold.first, fold.routed, fold.spans, self._rounded, self._values, scale)
        key = self._key(_NODES, number)
        tree = self._pooled(rows, columns, key) if self._criterion is None else self._by_era(rows, columns, key)
        if len(tree.gains):
            self._trees.append(self._finished(tree, columns))

    def _pooled(self, rows: Rows, columns: Columns, key: np.uint64) -> Tree:
        sizes = len(self._bag), len(columns.ids), self._rules.num_leaves
        room = self._tuning.copied_words(*sizes)
        if len(self._bits) < room:
            self._bits = np.empty(room, np.uint64)
        tree: Tree = grow_tree(
            self._fold.planes,
            rows,
            columns,
            self._rules,
            key,
            room > 0,
            self._bits[:room],
            self._tuning.batch_for(*sizes),
            self._tuning.list_share,
            self._leaf,
        )
        return tree

    def _by_era(self, rows: Rows, columns: Columns, key: np.uint64) -> Tree:
        environments = self._fold.environments(self._parameters.era_block)
        tree: Tree = grow_era_tree(
            self._fold.planes, rows, environments, columns, self._rules, self._criterion, key, self._leaf
        )
        return tree

    def _finished(self, tree: Tree, columns: Columns) -> FinishedTree:
        rate = float(self._parameters.learning_rate)
        leaf_values, leaf_counts, split_values, split_counts = refit(
            tree, self._fold.routed, self._bag, self._residual, self._leaf, self._rules, rate, self._score
        )
        bias = 0.0 if self._trees else self._fold.mean
        places = np.searchsorted(columns.starts, tree.thresholds, side="right") - 1
        return FinishedTree(
            columns.features[places],
            self._fold.store.thresholds[columns.ids[tree.thresholds]],
            tree.gains + self._parameters.min_split_gain,  # LightGBM subtracts it to compare and adds it to show
            tree.left,
            tree.right,
            split_values + bias,
            split_counts,
            leaf_values + bias,
            leaf_counts,
            rate if self._trees else 1.0,
        )

    def _key(self, purpose: int, number: int) -> np.uint64:
        return np.uint64(stream(np.uint64(self._seed), purpose, number))
