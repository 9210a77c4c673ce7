"""What mining a study takes of memory, counted before anything is read: formulas, each with what it was measured at."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from signal_miner.data.folds import Fold
from signal_miner.engine.binning import PACKED_BINS, dataset_bytes
from signal_miner.engine.column_groups import LIGHTGBM_SAMPLE_ROWS, SAMPLE_BYTES
from signal_miner.engine.trial import CHECKPOINTS, max_bin_of
from signal_miner.experiment.plan import Plan
from signal_miner.utils.validation import Value

WAITING_FOR_EACH_JOB = 2
"""Results that may wait to be tracked, for each trial in training."""

PROCESS_BYTES = 650_000_000
"""The process with its libraries, tracking and a study at work: 545 to 615 MB."""

FOOTER_FACTOR = 10
"""Bytes of a parsed parquet footer for each byte in the file: 8.8 to 9.6."""

BUILD_FACTOR = 3
"""Bytes that binning a column group takes for each byte of it: read, sampled, binned and put to the others."""

_ROW_BYTES = 12  # era 4, position in the files 8
_PREDICTED_ROW_BYTES = 64  # id of 20 characters with its offset 24, era label 8; scorer 16, its quantiles 16
_BENCHMARK_ROW_BYTES = 16
_LABEL_BYTES = 8  # LightGBM's and its Python object's
_TRAINED_ROW_BYTES = 36  # scores, gradients, hessians and row indices
_SAMPLED_ROW_BYTES = 12  # more, where rows are drawn
_VALIDATED_ROW_BYTES = 20  # running scores 8, their copy in Python 8, a checkpoint on its way 4
_PREDICTION_BYTES = 4
_SPLIT_BYTES, _BIN_BYTES = 96, 16  # of a feature's histogram in a leaf, and of each bin in it
_TREE_BYTES, _LEAF_BYTES = 800, 84
_SUBSET_FEATURES = 100  # LightGBM copies the drawn rows of fewer features than this, where it draws at most half


def block_draws(jobs: int) -> int:
    """Return how many draws a block holds where trials are grouped by dataset."""
    return max(8, 4 * jobs)


@dataclass(frozen=True)
class BoosterShape:
    """The largest booster of a grid, or of the benchmark.

    Attributes
    ----------
    trees, leaves : int
        Trees of a booster, and leaves that a tree may have.
    leaf_rows : int
        Training rows that a leaf has at least.
    draws_rows : bool
        Whether trees are grown on rows that are drawn anew.
    """

    trees: int
    leaves: int
    leaf_rows: int
    draws_rows: bool

    @classmethod
    def of(cls, axes: Mapping[str, tuple[Value, ...]]) -> BoosterShape:
        """Return the largest that these values of parameters allow."""
        leaves = max(int(value) for value in axes.get("num_leaves", (31,)))
        depth = max(int(value) for value in axes.get("max_depth", (-1,)))
        unlimited = any(int(value) <= 0 for value in axes.get("max_depth", (-1,)))
        return cls(
            trees=max(int(value) for value in axes["n_estimators"]),
            leaves=leaves if unlimited else min(leaves, 2 ** min(depth, 30)),
            leaf_rows=max(1, min(int(value) for value in axes.get("min_child_samples", (20,)))),
            draws_rows="subsample" in axes or "goss" in axes.get("data_sample_strategy", ()),
        )


@dataclass(frozen=True)
class DatasetNeed:
    """One binned dataset: a fold, a ``max_bin`` and a training target.

    Attributes
    ----------
    fold, max_bin : int
        Number of the fold.
    target : str
    train_rows, validation_rows : int
        Rows that are binned, whether or not their target is known.
    bytes : int
        Resident, with its label.
    copy_bytes : int
        Of the training rows alone: what a further target, or one that is not known in all rows, takes beside it where
        datasets are held together.
    whole : bool
        Whether the target is known in all training rows.
    """

    fold: int
    max_bin: int
    target: str
    train_rows: int
    validation_rows: int
    bytes: int
    copy_bytes: int
    whole: bool


@dataclass(frozen=True, eq=False)
class StudyShape:
    """What the memory that a study takes depends on.

    Attributes
    ----------
    n_features, feature_bytes : int
        Columns, and bytes of a stored value.
    n_levels : int or None
        Values that a feature takes at most; None if not known.
    n_benchmarks : int
        Benchmarks that a scorer holds, our own among them.
    footer_bytes : int
        Of the parquet files.
    rows_of_era : mapping of int to int
    unknown_eras : mapping of str to frozenset of int
        By training target: eras in which it is not known in all rows.
    folds : mapping of str to tuple of Fold
        By training target, the benchmark's among them.
    targets : tuple of str
        Training targets of the grid.
    benchmark_target : str
    max_bins : tuple of int
        Of the grid.
    benchmark_max_bin : int
    trial, benchmark : BoosterShape
    """

    n_features: int
    feature_bytes: int
    n_levels: int | None
    n_benchmarks: int
    footer_bytes: int
    rows_of_era: Mapping[int, int]
    unknown_eras: Mapping[str, frozenset[int]]
    folds: Mapping[str, tuple[Fold, ...]]
    targets: tuple[str, ...]
    benchmark_target: str
    max_bins: tuple[int, ...]
    benchmark_max_bin: int
    trial: BoosterShape
    benchmark: BoosterShape

    @cached_property
    def datasets(self) -> tuple[DatasetNeed, ...]:
        """All datasets of the study, the benchmark's first."""
        wanted = [(self.benchmark_max_bin, self.benchmark_target)]
        wanted += [(max_bin, target) for max_bin in self.max_bins for target in self.targets]
        return tuple(
            self._need(fold, max_bin, target)
            for max_bin, target in dict.fromkeys(wanted)
            for fold in self.folds[target]
        )

    @property
    def largest_bytes(self) -> int:
        """Bytes of the largest dataset."""
        return max(need.bytes for need in self.datasets)

    @property
    def together_bytes(self) -> int:
        """Bytes of all datasets at once.

        Targets with the same purge share the bins of a fold and ``max_bin``, which are held once without a target; each
        target takes a copy of the training rows beside them, and of the validation rows, too, where it is not known
        in all rows and may have bins of its own. A single target that is known in all rows takes no copy.
        """
        if len({*self.targets, self.benchmark_target}) == 1:
            return sum(need.bytes + (0 if need.whole else need.copy_bytes) for need in self.datasets)
        shared: dict[tuple[object, ...], int] = {}
        own = 0
        for need in self.datasets:
            train_eras = self.folds[need.target][need.fold - 1].train_eras
            shared[need.fold, need.max_bin, train_eras] = need.bytes
            own += need.copy_bytes if need.whole else max(need.bytes, need.copy_bytes)
        return own + sum(shared.values())

    @property
    def standing_bytes(self) -> int:
        """Bytes of all that is neither a dataset nor a trial: the process, footers, eras, ids and scorers."""
        predicted = _PREDICTED_ROW_BYTES + _BENCHMARK_ROW_BYTES * self.n_benchmarks
        rows = _ROW_BYTES * sum(self.rows_of_era.values()) + predicted * sum(self._validation_rows)
        return PROCESS_BYTES + FOOTER_FACTOR * self.footer_bytes + rows

    def build_bytes(self, group_bytes: int) -> int:
        """Return the bytes that a dataset in the making takes beyond its own.

        Parameters
        ----------
        group_bytes : int
            Bytes that are read at a time, with LightGBM's sample; at least one column, and no more than there are.
        """
        rows = max(max(need.train_rows, need.validation_rows) for need in self.datasets)
        column = self.feature_bytes * rows + SAMPLE_BYTES * min(rows, LIGHTGBM_SAMPLE_ROWS)
        return BUILD_FACTOR * min(max(group_bytes, column), column * self.n_features)

    def trial_bytes(self, booster: BoosterShape) -> int:
        """Return the bytes of one trial in training, in its largest fold.

        36 a training row (48 where rows are drawn), 20 a validation row, ``leaves × features × (96 + 16 × bins)`` of
        histograms, ``trees × (800 + 84 × leaves)`` of the model, of as many leaves as the rows allow, and predictions
        at 4 bytes: all checkpoints of the fold in training and of the validation folds before it, two columns of
        these once the last is judged.
        """
        rows = self._validation_rows
        columns = min(CHECKPOINTS, booster.trees)
        largest = 0
        for need in self.datasets:
            earlier = sum(rows[: need.fold - 1]) * (2 if need.fold == len(rows) else columns)
            predictions = _PREDICTION_BYTES * (earlier + columns * need.validation_rows)
            scores = _TRAINED_ROW_BYTES * need.train_rows + _VALIDATED_ROW_BYTES * need.validation_rows
            histograms = booster.leaves * self.n_features * (_SPLIT_BYTES + _BIN_BYTES * self._bins(need.max_bin))
            if booster.draws_rows:
                scores += _SAMPLED_ROW_BYTES * need.train_rows
                scores += need.copy_bytes // 2 if self.n_features < _SUBSET_FEATURES else 0
            grown = max(1, min(booster.leaves, need.train_rows // booster.leaf_rows))
            model = booster.trees * (_TREE_BYTES + _LEAF_BYTES * grown)
            largest = max(largest, predictions + scores + histograms + model)
        return largest

    def waiting_bytes(self, jobs: int, together: bool) -> int:
        """Return the bytes of results that wait: to be tracked, and where trials are grouped, for their next fold."""
        rows = self._validation_rows
        tracked = WAITING_FOR_EACH_JOB * jobs * 2 * sum(rows)
        columns = min(CHECKPOINTS, self.trial.trees)
        block = 0 if together else block_draws(jobs) * max(columns * sum(rows[:-2]), 2 * sum(rows[:-1]))
        return _PREDICTION_BYTES * (tracked + block)

    def needed_bytes(self, jobs: int, group_bytes: int, together: bool) -> int:
        """Return the bytes of everything.

        Parameters
        ----------
        jobs : int
            Trials in training at a time.
        group_bytes : int
            Raw bytes of a column group.
        together : bool
            Whether all datasets are held, or one at a time.
        """
        side_by_side = min(jobs, len(self._validation_rows)) if together else 1
        training = max(jobs * self.trial_bytes(self.trial), side_by_side * self.trial_bytes(self.benchmark))
        datasets = self.together_bytes if together else self.largest_bytes
        return (
            self.standing_bytes
            + datasets
            + self.build_bytes(group_bytes)
            + training
            + self.waiting_bytes(jobs, together)
        )

    @cached_property
    def _validation_rows(self) -> tuple[int, ...]:
        """Rows that each fold predicts, the same for every target."""
        return tuple(self._count(fold.validation_eras) for fold in self.folds[self.benchmark_target])

    def _count(self, eras: tuple[int, ...]) -> int:
        return sum(self.rows_of_era[era] for era in eras)

    def _bins(self, max_bin: int) -> int:
        return max_bin if self.n_levels is None else min(max_bin, self.n_levels + 1)  # one for what is missing

    def _need(self, fold: Fold, max_bin: int, target: str) -> DatasetNeed:
        train, validation = self._count(fold.train_eras), self._count(fold.validation_eras)
        bins = self._bins(max_bin)

        def size(rows: int, n_bins: int = bins) -> int:
            return dataset_bytes(rows * self.n_features, n_bins) + _LABEL_BYTES * rows

        return DatasetNeed(
            fold=fold.number,
            max_bin=max_bin,
            target=target,
            train_rows=train,
            validation_rows=validation,
            bytes=size(train) + size(validation),
            copy_bytes=size(train, max(bins, PACKED_BINS)),  # 1.0 a value was measured: not merged, it keeps its slack
            whole=self.unknown_eras[target].isdisjoint(fold.train_eras),
        )


def shape_of(plan: Plan) -> StudyShape:
    """Return a plan's shape; of the data, eras and, of the training targets, where they are known are read."""
    dataset, axes = plan.dataset, {axis.name: axis.values for axis in plan.grid.axes}
    eras, starts, counts = np.unique(dataset.eras, return_index=True, return_counts=True)
    benchmark_target = str(plan.benchmark["target"])
    newest = max(fold.train_eras[-1] for folds in plan.folds.values() for fold in folds)
    trained = slice(0, int(np.searchsorted(dataset.eras, newest, side="right")))
    n_trained = int(np.searchsorted(eras, newest, side="right"))
    unknown = {}
    for target in dict.fromkeys([benchmark_target, *plan.targets]):
        known = np.logical_and.reduceat(np.isfinite(dataset.read_target(target, trained)), starts[:n_trained])
        unknown[target] = frozenset(eras[:n_trained][~known].tolist())
    benchmark_max_bin = max_bin_of(plan.benchmark)
    max_bins = tuple(int(value) for value in axes.get("max_bin", (max_bin_of({}),)))
    levels = dataset.largest_level_count() if max(*max_bins, benchmark_max_bin) >= PACKED_BINS else None
    return StudyShape(
        n_features=len(dataset.features),
        feature_bytes=dataset.feature_bytes,
        n_levels=levels,
        n_benchmarks=len(plan.numerai_benchmarks) + 1,
        footer_bytes=sum(_footer_bytes(path) for path in dataset.source.paths),
        rows_of_era=dict(zip(eras.tolist(), counts.tolist(), strict=True)),
        unknown_eras=unknown,
        folds=plan.folds,
        targets=plan.targets,
        benchmark_target=benchmark_target,
        max_bins=max_bins,
        benchmark_max_bin=benchmark_max_bin,
        trial=BoosterShape.of(axes),
        benchmark=BoosterShape.of({name: (value,) for name, value in plan.benchmark.items()}),
    )


def _footer_bytes(path: Path) -> int:
    with path.open("rb") as file:
        file.seek(-8, 2)
        return int.from_bytes(file.read(4), "little")
