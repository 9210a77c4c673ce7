"""Estimates of the memory that mining a study needs, before features are read: formulas with measured constants."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import product
from pathlib import Path

import numpy as np

from signal_miner.data.folds import Fold
from signal_miner.engine.bitplane import memory
from signal_miner.engine.bitplane.planes import MOST_LEVELS, planes_bytes
from signal_miner.engine.bitplane.store import level_counts_in_files
from signal_miner.engine.column_groups import LIGHTGBM_SAMPLE_ROWS, SAMPLE_BYTES
from signal_miner.engine.dataset_size import PACKED_BINS, copy_bytes, dataset_bytes
from signal_miner.engine.further_scores import scores_bytes
from signal_miner.engine.trial import CHECKPOINTS
from signal_miner.experiment.engines import BITPLANE
from signal_miner.experiment.parameters import POOLED, DatasetKey
from signal_miner.experiment.plan import Plan
from signal_miner.experiment.schema import LEADERS
from signal_miner.utils.validation import Value

WAITING_FOR_EACH_JOB = 2
"""Results that may wait to be tracked, per trial in training."""

PROCESS_BYTES = 650_000_000
"""The process with its libraries and tracking while it mines; measured: 545 to 615 MB."""

FOOTER_FACTOR = 10
"""Bytes of a parsed parquet footer per byte in the file; measured: 8.8 to 9.6."""

FOLDS_HELD = 2
"""Folds of bit planes, each with its target, whose rows are held, per trial in training."""

BUILD_FACTOR = 3
"""Bytes needed to bin a column group, per byte of it: read, sampled, binned and merged with the others."""

_ROW_BYTES = 12  # era 4, position in the files 8
_PREDICTED_ROW_BYTES = 64  # id of 20 characters with its offset 24, era label 8; scorer 16, its quantiles 16
_BENCHMARK_ROW_BYTES = 16
_RESIDUAL_ROW_BYTES = 80  # ranks of the benchmark 8; while they are read, ids of two tables and their index
_TRAINED_ROW_BYTES = 36  # scores, gradients, hessians and row indices
_SAMPLED_ROW_BYTES = 12  # more, where rows are drawn
_VALIDATED_ROW_BYTES = 20  # running scores 8, their copy in Python 8, a checkpoint on its way 4
_PREDICTION_BYTES = 4
_SPLIT_BYTES, _BIN_BYTES = 96, 16  # of a feature's histogram in a leaf, and of each bin in it
_TREE_BYTES, _LEAF_BYTES = 800, 84
_SUBSET_FEATURES = 100  # LightGBM copies the drawn rows of fewer features than this, where it draws at most half


def block_draws(jobs: int) -> int:
    """Return the number of draws in a block, where trials are grouped by dataset."""
    return max(8, 4 * jobs)


@dataclass(frozen=True)
class BoosterShape:
    """The largest booster of a grid, or of the benchmark."""

    trees: int
    leaves: int  # at most, of a tree
    leaf_rows: int  # training rows in a leaf, at least
    draws_rows: bool  # bagging or GOSS
    feature_share: float  # at most, of the features that a tree samples
    era_block: int | None  # at least, of splits chosen by era; None where there are none

    @classmethod
    def of(cls, axes: Mapping[str, tuple[Value, ...]]) -> BoosterShape:
        """Return the largest booster among these parameters' values."""
        leaves = max(int(value) for value in axes.get("num_leaves", (31,)))
        depth = max(int(value) for value in axes.get("max_depth", (-1,)))
        unlimited = any(int(value) <= 0 for value in axes.get("max_depth", (-1,)))
        by_era = not set(axes.get("split_criterion", ())) <= {POOLED}
        return cls(
            trees=max(int(value) for value in axes["n_estimators"]),
            leaves=leaves if unlimited else min(leaves, 2 ** min(depth, 30)),
            leaf_rows=max(1, min(int(value) for value in axes.get("min_child_samples", (20,)))),
            draws_rows="subsample" in axes or "goss" in axes.get("data_sample_strategy", ()),
            feature_share=max(float(value) for value in axes.get("colsample_bytree", (1.0,))),
            era_block=min(int(value) for value in axes.get("era_block", (1,))) if by_era else None,
        )


@dataclass(frozen=True)
class DatasetNeed:
    """The memory of one binned dataset: of a fold, and what a configuration is trained on of it.

    Attributes
    ----------
    fold : Fold
        With the training eras that are used of it.
    train_rows, validation_rows : int
        Rows that are binned, whether or not their target is known.
    bytes : int
        Resident, with its label.
    copy_bytes : int
        Of a copy of the training rows, which a further target, or one that is not known in all rows, needs where
        datasets are held together.
    whole : bool
        Whether the target is known in all training rows.
    """

    fold: Fold
    key: DatasetKey
    n_features: int
    train_rows: int
    validation_rows: int
    bytes: int
    copy_bytes: int
    whole: bool


@dataclass(frozen=True, eq=False)
class StudyShape:
    """The sizes that a study's memory depends on.

    Attributes
    ----------
    feature_bytes : int
        Bytes of a stored value.
    n_levels : int or None
        The most distinct values of a feature; None if not known.
    n_benchmarks : int
        Benchmarks that a scorer holds, our own included.
    footer_bytes : int
        Of all parquet files.
    unknown_eras : mapping of str to frozenset of int
        By training target: eras in which it is missing in some row.
    folds : mapping of str to tuple of Fold
        By training target, the benchmark's included.
    set_sizes : mapping of str or None to int
        Features of each feature set, by its name in `keys`.
    keys : tuple of DatasetKey
        What configurations are trained on, the benchmark first.
    """

    n_features: int
    feature_bytes: int
    n_levels: int | None
    n_benchmarks: int
    footer_bytes: int
    rows_of_era: Mapping[int, int]
    unknown_eras: Mapping[str, frozenset[int]]
    folds: Mapping[str, tuple[Fold, ...]]
    set_sizes: Mapping[str | None, int]
    keys: tuple[DatasetKey, ...]
    trial: BoosterShape
    benchmark: BoosterShape
    residual_targets: bool = False

    @cached_property
    def datasets(self) -> tuple[DatasetNeed, ...]:
        """All datasets of the study, the benchmark's first; one where the newest eras alone are all of a fold's."""
        needs: dict[tuple[int, int, DatasetKey], DatasetNeed] = {}
        for key in self.keys:
            for whole in self.folds[key.target]:
                fold = key.of_fold(whole)
                alike = fold.number, len(fold.train_eras), replace(key, train_last_eras=-1)
                if alike not in needs:
                    needs[alike] = self._need(fold, key)
        return tuple(needs.values())

    grouped = True
    """Whether trials can be grouped by dataset, so that one is held at a time."""

    @property
    def largest_bytes(self) -> int:
        """Bytes of the largest dataset."""
        return max(need.bytes for need in self.datasets)

    @property
    def together_bytes(self) -> int:
        """Bytes of all datasets at once.

        Targets with the same purge share a fold's dataset for each ``max_bin``, feature set and number of training
        eras; each target also needs a copy of the training rows, and of the validation rows too if it is not known in
        all rows, as its bins may differ. A single target that is known in all rows needs no copy.
        """
        if len({key.target for key in self.keys}) == 1:
            return sum(need.bytes + (0 if need.whole else need.copy_bytes) for need in self.datasets)
        shared: dict[tuple[object, ...], int] = {}
        own = 0
        for need in self.datasets:
            shared[need.fold, need.key.max_bin, need.key.feature_set] = need.bytes
            own += need.copy_bytes if need.whole else max(need.bytes, need.copy_bytes)
        return own + sum(shared.values())

    @property
    def fixed_bytes(self) -> int:
        """Bytes that do not depend on datasets or trials: the process, footers, eras, ids and scorers."""
        predicted = _PREDICTED_ROW_BYTES + _BENCHMARK_ROW_BYTES * self.n_benchmarks
        row = _ROW_BYTES + (_RESIDUAL_ROW_BYTES if self.residual_targets else 0)
        rows = row * sum(self.rows_of_era.values()) + predicted * sum(self._validation_rows)
        return PROCESS_BYTES + FOOTER_FACTOR * self.footer_bytes + rows

    def build_bytes(self, group_bytes: int) -> int:
        """Return the bytes that building a dataset needs beyond its own, in groups of at least one column."""
        rows = max(max(need.train_rows, need.validation_rows) for need in self.datasets)
        column = self.feature_bytes * rows + SAMPLE_BYTES * min(rows, LIGHTGBM_SAMPLE_ROWS)
        return BUILD_FACTOR * min(max(group_bytes, column), column * max(self.set_sizes.values()))

    def trial_bytes(self, booster: BoosterShape) -> int:
        """Return the bytes of one trial in training, in its largest fold.

        36 a training row (48 where rows are drawn), 20 a validation row, ``leaves × features × (96 + 16 × bins)`` of
        histograms, ``trees × (800 + 84 × leaves)`` of the model, of as many leaves as the rows allow, and predictions
        at 4 bytes: all checkpoints of the fold in training and of the validation folds before it, or two columns of
        those once the best checkpoint is known.
        """
        rows = self._validation_rows
        columns = min(CHECKPOINTS, booster.trees)
        largest = 0
        for need in self.datasets:
            number = need.fold.number
            earlier = sum(rows[: number - 1]) * (2 if number == len(rows) else columns)
            predictions = _PREDICTION_BYTES * (earlier + columns * need.validation_rows)
            grown = max(1, min(booster.leaves, need.train_rows // booster.leaf_rows))
            model = booster.trees * (_TREE_BYTES + _LEAF_BYTES * grown)
            largest = max(largest, predictions + self._working_bytes(need, booster) + model)
        return largest

    def _working_bytes(self, need: DatasetNeed, booster: BoosterShape) -> int:
        """Return the bytes of a booster's scores and histograms."""
        scores = _TRAINED_ROW_BYTES * need.train_rows + _VALIDATED_ROW_BYTES * need.validation_rows
        bins = self._bins(need.key.max_bin)
        histograms = booster.leaves * need.n_features * (_SPLIT_BYTES + _BIN_BYTES * bins)
        if booster.draws_rows:
            scores += _SAMPLED_ROW_BYTES * need.train_rows
            scores += need.copy_bytes // 2 if need.n_features < _SUBSET_FEATURES else 0
        return scores + histograms

    def waiting_bytes(self, jobs: int, together: bool) -> int:
        """Return the bytes of results that wait to be tracked or, where trials are grouped, for their next fold."""
        rows = self._validation_rows
        tracked = WAITING_FOR_EACH_JOB * jobs * 2 * sum(rows)
        columns = min(CHECKPOINTS, self.trial.trees)
        block = 0 if together else block_draws(jobs) * max(columns * sum(rows[:-2]), 2 * sum(rows[:-1]))
        return _PREDICTION_BYTES * (tracked + block)

    def needed_bytes(self, jobs: int, group_bytes: int, together: bool) -> int:
        """Return the peak bytes of mining, with all datasets held together or one at a time."""
        side_by_side = min(jobs, len(self._validation_rows)) if together else 1
        training = max(jobs * self.trial_bytes(self.trial), side_by_side * self.trial_bytes(self.benchmark))
        datasets = self.together_bytes if together else self.largest_bytes
        passing = self.build_bytes(group_bytes) + training + self.waiting_bytes(jobs, together)
        return self.fixed_bytes + datasets + max(passing, self._leaders_bytes(group_bytes))

    def _leaders_bytes(self, group_bytes: int) -> int:
        """Return the bytes that scoring the leaders needs, once nothing is left to train."""
        largest = max(self._count((era,)) for fold in self.folds[self.keys[0].target] for era in fold.validation_eras)
        era_bytes = self.feature_bytes * largest * self.n_features
        n_rows = sum(self._validation_rows)
        return scores_bytes(LEADERS + 1, n_rows, largest, self.n_features, era_bytes, group_bytes)

    @cached_property
    def _validation_rows(self) -> tuple[int, ...]:
        """Rows that each fold predicts, the same for every target."""
        return tuple(self._count(fold.validation_eras) for fold in self.folds[self.keys[0].target])

    def _count(self, eras: tuple[int, ...]) -> int:
        return sum(self.rows_of_era[era] for era in eras)

    def _bins(self, max_bin: int) -> int:
        return max_bin if self.n_levels is None else min(max_bin, self.n_levels + 1)  # one for missing values

    def _need(self, fold: Fold, key: DatasetKey) -> DatasetNeed:
        train, validation = self._count(fold.train_eras), self._count(fold.validation_eras)
        n_features, bins = self.set_sizes[key.feature_set], self._bins(key.max_bin)
        return DatasetNeed(
            fold=fold,
            key=key,
            n_features=n_features,
            train_rows=train,
            validation_rows=validation,
            bytes=dataset_bytes(train + validation, n_features, bins),
            copy_bytes=copy_bytes(train, n_features, bins),
            # A residual is known where there are predictions, which are not read for this: nowhere, to be sure.
            whole=not key.residual and self.unknown_eras[key.target].isdisjoint(fold.train_eras),
        )


class PlaneShape(StudyShape):
    """The same where features are bit planes: one store of all rows serves every fold, target and ``max_bin``."""

    grouped = False

    @property
    def largest_bytes(self) -> int:
        """Bytes of the store."""
        return planes_bytes(self._n_rows, [self._levels] * self.n_features)

    @property
    def together_bytes(self) -> int:
        """Bytes of the store, too."""
        return self.largest_bytes

    def build_bytes(self, group_bytes: int) -> int:
        """Return the bytes that building the store needs, in groups of at least one column; it goes to a file."""
        return memory.build_bytes(self._n_rows, self.n_features, self.feature_bytes, group_bytes)

    def _working_bytes(self, need: DatasetNeed, booster: BoosterShape) -> int:
        """Return the bytes of a booster while it grows, and of the folds held for it.

        Arrays by row begin with the first training row and end with the last validation row, the purge included.
        """
        folds = FOLDS_HELD * memory.fold_bytes(self._n_rows, need.validation_rows)
        per_feature = self._levels - 1
        own = memory.booster_bytes(self._n_rows, need.n_features * per_feature, booster.leaves)
        if booster.era_block is not None:
            eras = np.array(need.fold.train_eras)
            n_environments = len(np.unique((eras - eras[0]) // booster.era_block))
            sampled = max(int(need.n_features * booster.feature_share + 0.5), min(2, need.n_features))
            by_era = memory.era_booster_bytes(self._n_rows, sampled * per_feature, booster.leaves, n_environments)
            own = max(own, by_era)
        return folds + own

    @property
    def _n_rows(self) -> int:
        return sum(self.rows_of_era.values())

    @property
    def _levels(self) -> int:
        return MOST_LEVELS if self.n_levels is None else self.n_levels


def shape_of(plan: Plan) -> StudyShape:
    """Return a plan's shape; of the data, only eras and training targets are read.

    Raises
    ------
    UserError
        If the engine is ``bitplane`` and a feature cannot be stored as planes; features of fractions are read for this.
    """
    dataset, axes = plan.dataset, {axis.name: axis.values for axis in plan.grid.axes}
    eras, starts, counts = np.unique(dataset.eras, return_index=True, return_counts=True)
    # Where no benchmark is trained, some configuration of the grid stands for it, which needs no more than others.
    benchmark = {axis.name: axis.values[0] for axis in plan.grid.axes} if plan.benchmark_predictions else plan.benchmark
    keys = _dataset_keys(plan, benchmark)
    newest = max(fold.train_eras[-1] for folds in plan.folds.values() for fold in folds)
    trained = slice(0, int(np.searchsorted(dataset.eras, newest, side="right")))
    n_trained = int(np.searchsorted(eras, newest, side="right"))
    unknown = {}
    for target in dict.fromkeys(key.target for key in keys):
        known = np.logical_and.reduceat(np.isfinite(dataset.read_target(target, trained)), starts[:n_trained])
        unknown[target] = frozenset(eras[:n_trained][~known].tolist())
    planes = plan.experiment.engine == BITPLANE
    levels = None  # where their number changes no size
    if planes:
        levels = max(level_counts_in_files(dataset), default=1)
    elif max(key.max_bin for key in keys) >= PACKED_BINS:
        levels = dataset.largest_level_count()
    return (PlaneShape if planes else StudyShape)(
        n_features=len(dataset.features),
        feature_bytes=dataset.feature_bytes,
        n_levels=levels,
        n_benchmarks=len(plan.numerai_benchmarks) + 1,
        footer_bytes=sum(_footer_bytes(path) for path in dataset.source.paths),
        rows_of_era=dict(zip(eras.tolist(), counts.tolist(), strict=True)),
        unknown_eras=unknown,
        folds=plan.folds,
        set_sizes={key.feature_set: len(dataset.features_in(key.feature_set)) for key in keys},
        keys=keys,
        residual_targets=any(key.residual for key in keys),
        trial=BoosterShape.of(axes),
        benchmark=BoosterShape.of({name: (value,) for name, value in benchmark.items()}),
    )


def _dataset_keys(plan: Plan, benchmark: Mapping[str, Value]) -> tuple[DatasetKey, ...]:
    """Return what the benchmark and then the grid's configurations are trained on, those that it forbids included."""
    axes = {axis.name: axis.values for axis in plan.grid.axes if axis.name in DatasetKey.PARAMETERS}
    if "train_last_eras" in axes:  # any that are all eras are alike
        trained = [fold.train_eras for folds in plan.folds.values() for fold in folds]
        most = max(eras[-1] - eras[0] + 1 for eras in trained)
        axes["train_last_eras"] = tuple(dict.fromkeys(-1 if int(n) >= most else n for n in axes["train_last_eras"]))
    drawn = (dict(zip(axes, cell, strict=True)) for cell in product(*axes.values()))
    return tuple(dict.fromkeys(DatasetKey.of(params) for params in (benchmark, *drawn)))


def _footer_bytes(path: Path) -> int:
    with path.open("rb") as file:
        file.seek(-8, 2)
        return int.from_bytes(file.read(4), "little")
