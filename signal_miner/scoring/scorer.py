"""Numerai's scores for each era, of many prediction columns at once.

Equal to ``numerai_corr`` and ``correlation_contribution`` of ``numerai_tools.scoring``, called era by era.
What does not depend on a prediction (the target's side, the benchmarks' ranks) is prepared once, so that all
that is left for a prediction is to sort it and to take dot products.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from copy import copy
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from signal_miner.errors import UserError
from signal_miner.scoring.ranking import gaussian_ranks, gaussian_table, sort_columns
from signal_miner.scoring.weights import BenchmarkWeights, benchmark_weights, frozen, split_rows, target_directions

_BLOCK_VALUES = (
    32_768  # values ranked together: so many that calls cost little, so few that they fit into the processor's cache
)


@dataclass(frozen=True)
class EraScores:
    """Scores of every era and model.

    Attributes
    ----------
    eras : ndarray of int64, shape (n_eras,)
        Ascending.
    corr : ndarray of float64, shape (n_eras, n_models)
        CORR.
    bmc : mapping of str to ndarray of float64, shape (n_eras, n_models)
        Benchmark model contribution, by benchmark name.
    benchmark_corr : mapping of str to ndarray of float64, shape (n_eras, n_models)
        Correlation with the benchmark's predictions, by benchmark name.
    """

    eras: NDArray[np.int64]
    corr: NDArray[np.float64]
    bmc: Mapping[str, NDArray[np.float64]]
    benchmark_corr: Mapping[str, NDArray[np.float64]]


class Scorer:
    """Scores predictions for fixed rows.

    CORR (``numerai_corr``): tie-kept ranks of the prediction, gaussianised, sign(x) |x|^1.5; target less the
    era's mean, sign(t) |t|^1.5; Pearson correlation of the two.

    BMC (``correlation_contribution``, with the benchmark as meta model): gaussianised tie-kept ranks p of the
    prediction and m of the benchmark; p less its projection on m; its covariance with the target, times 4 if
    the era's targets all lie in [0, 1].

    Correlation with the benchmark: the Pearson correlation of p and m.

    Rows without a target are left out before ranking; rows without a benchmark prediction too, for the two
    scores of that benchmark. An era without a row left scores NaN, so does a constant prediction or target
    in CORR; a constant prediction's BMC is 0.

    A scorer never changes: several threads may use one at once. A call needs scratch memory for a few tens
    of thousands of values, or one era. Between calls a scorer holds 16 bytes a row, 16 more for each
    benchmark, and at most 16 for the quantiles of the era sizes.

    Parameters
    ----------
    eras : ndarray of int, shape (n_rows,)
        Era number of each row, ascending.
    target : ndarray of float, shape (n_rows,)
        Scoring target; NaN where it is not known.
    benchmarks : mapping of str to ndarray of float, shape (n_rows,), optional
        Benchmark predictions by name; NaN where there are none.

    Attributes
    ----------
    eras : ndarray of int64, shape (n_eras,)
        The different eras, ascending.

    Raises
    ------
    UserError
        If the eras are not ascending integers, lengths differ, or a target or benchmark is infinite.
    """

    def __init__(
        self,
        eras: NDArray[np.integer[Any]],
        target: NDArray[np.floating[Any]],
        benchmarks: Mapping[str, NDArray[np.floating[Any]]] | None = None,
    ) -> None:
        labels = _era_labels(eras)
        values = _column("target", target, labels.size)
        starts = np.flatnonzero(np.diff(labels, prepend=labels[0] - 1))
        known = np.isfinite(values)
        self._n_rows = labels.size
        self._labels = frozen(labels[starts])
        self._eras = tuple(split_rows(known, [*starts.tolist(), labels.size]))
        self._target = frozen(values[known])
        self._direction = target_directions(self._target, self._eras)
        sizes = {era.n_scored for era in self._eras} - {0}
        self._tables = {size: gaussian_table(size) for size in sizes}
        self._benchmarks: dict[str, BenchmarkWeights] = {}
        for name, predictions in (benchmarks or {}).items():
            self._add_benchmark(name, predictions)

    @property
    def eras(self) -> NDArray[np.int64]:
        """The different eras, ascending; shape (n_eras,)."""
        return self._labels

    def with_benchmark(self, name: str, predictions: NDArray[np.floating[Any]]) -> Scorer:
        """Return a scorer with one more benchmark, which shares all that is prepared here.

        Parameters
        ----------
        name : str
            A name that is not in use yet.
        predictions : ndarray of float, shape (n_rows,)
            The benchmark's predictions; NaN where there are none.

        Raises
        ------
        UserError
            If the name is in use, the length differs or a prediction is infinite.
        """
        further = copy(self)
        further._tables, further._benchmarks = dict(self._tables), dict(self._benchmarks)
        further._add_benchmark(name, predictions)
        return further

    def corr(self, predictions: NDArray[np.floating[Any]]) -> NDArray[np.float64]:
        """Return the CORR of each era and model.

        Parameters
        ----------
        predictions : ndarray of float32 or float64, shape (n_rows,) or (n_rows, n_models)
            Ranked as they are: rounding to float32 can make ties, which count.

        Returns
        -------
        ndarray of float64, shape (n_eras, n_models)
            With one model for a prediction of one dimension.

        Raises
        ------
        UserError
            If the shape is wrong or a prediction is NaN or infinite.
        """
        return self._evaluate(predictions, {}).corr

    def score(self, predictions: NDArray[np.floating[Any]], only: Collection[str] | None = None) -> EraScores:
        """Return CORR, and BMC and correlation for every benchmark, or for those of `only` that there are.

        Predictions and errors are those of `corr`.
        """
        chosen = {name: each for name, each in self._benchmarks.items() if only is None or name in only}
        return self._evaluate(predictions, chosen)

    def _evaluate(
        self, predictions: NDArray[np.floating[Any]], benchmarks: Mapping[str, BenchmarkWeights]
    ) -> EraScores:
        columns = _prediction_columns(predictions, self._n_rows)
        n_models = columns.shape[1]
        corr = np.full((self._labels.size, n_models), np.nan)
        bmc = {name: corr.copy() for name in benchmarks}
        benchmark_corr = {name: corr.copy() for name in benchmarks}
        for number, era in enumerate(self._eras):
            of_era = columns[era.rows]
            if not np.isfinite(of_era).all():
                raise _not_finite(columns, era.rows, int(self._labels[number]))
            n_rows = era.n_scored
            if n_rows == 0:
                continue
            width = max(1, _BLOCK_VALUES // n_rows)
            for first in range(0, n_models, width):
                models = slice(first, first + width)
                order, keys = sort_columns(era.with_target(of_era[:, models]))
                ranks = gaussian_ranks(keys, self._tables[n_rows])
                powered = ranks * np.sqrt(np.abs(ranks))
                corr[number, models] = _correlations(self._direction[era.prepared], order, powered)
                for name, benchmark in benchmarks.items():
                    kept = benchmark.known[number]
                    if kept is None:
                        own_order, own_ranks = order, ranks
                    elif benchmark.n_known[number] == 0:
                        continue
                    else:  # what is left of a sorted column is sorted
                        in_order = kept.take(order)
                        own_order = order[in_order].reshape(len(order), -1)
                        own_keys = keys[in_order].reshape(len(order), -1)
                        own_ranks = gaussian_ranks(own_keys, self._tables[benchmark.n_known[number]])
                    part = benchmark.contribution[era.prepared]
                    bmc[name][number, models] = _dots(part, own_order, own_ranks)
                    part = benchmark.direction[era.prepared]
                    benchmark_corr[name][number, models] = _correlations(part, own_order, own_ranks)
        return EraScores(self._labels, corr, bmc, benchmark_corr)

    def _add_benchmark(self, name: str, predictions: NDArray[np.floating[Any]]) -> None:
        """Prepare a benchmark; only for a scorer that is not shared yet."""
        if name in self._benchmarks:
            raise UserError(f"benchmark {name!r} is there already; give each benchmark its own name")
        values = _column(f"benchmark {name!r}", predictions, self._n_rows)
        self._benchmarks[name] = benchmark_weights(values, self._target, self._eras, self._tables)


def _dots(weights: NDArray[np.float64], order: NDArray[np.int64], ranks: NDArray[np.float64]) -> NDArray[np.float64]:
    # No matrix product: BLAS would start threads of its own beside those of the caller.
    products: NDArray[np.float64] = np.einsum("kn,kn->k", weights.take(order), np.broadcast_to(ranks, order.shape))
    return products


def _correlations(
    direction: NDArray[np.float64], order: NDArray[np.int64], ranks: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return the Pearson correlation of each column's ranks with a centred vector of norm 1."""
    spread = np.einsum("kn,kn->k", ranks, ranks) - ranks.sum(axis=1) ** 2 / ranks.shape[1]
    with np.errstate(divide="ignore", invalid="ignore"):
        correlations: NDArray[np.float64] = _dots(direction, order, ranks) / np.sqrt(spread)
    return correlations


def _era_labels(eras: ArrayLike) -> NDArray[np.int64]:
    labels = np.asarray(eras)
    if labels.ndim != 1 or labels.size == 0 or labels.dtype.kind not in "iu":
        raise UserError(
            f"eras is {labels.dtype} of shape {labels.shape}; it must be a column of integers, one a row; "
            "convert labels such as '0575' with int"
        )
    labels = labels.astype(np.int64)
    falls = np.flatnonzero(labels[1:] < labels[:-1])
    if falls.size:
        row = int(falls[0]) + 1
        raise UserError(
            f"eras has {labels[row]} after {labels[row - 1]} in row {row}; they must ascend; sort the rows by era first"
        )
    return labels


def _column(name: str, values: ArrayLike, n_rows: int) -> NDArray[np.float64]:
    """Return a column as float64, NaN allowed."""
    column = np.asarray(values, dtype=np.float64)
    if column.shape != (n_rows,):
        raise UserError(f"{name} has shape {column.shape}; it must be ({n_rows},), one value for each row")
    infinite = np.flatnonzero(np.isinf(column))
    if infinite.size:
        raise UserError(f"{name} is infinite in row {infinite[0]}; it must be finite, or NaN where unknown")
    return column


def _prediction_columns(predictions: ArrayLike, n_rows: int) -> NDArray[np.floating[Any]]:
    columns = np.asarray(predictions)
    if columns.dtype not in (np.float32, np.float64):
        columns = columns.astype(np.float64)
    if columns.ndim == 1:
        columns = columns[:, np.newaxis]
    if columns.ndim != 2 or len(columns) != n_rows:
        raise UserError(
            f"predictions has shape {np.shape(predictions)}; it must be ({n_rows},) or ({n_rows}, n_models), "
            "one prediction for each row"
        )
    return columns


def _not_finite(columns: NDArray[np.floating[Any]], rows: slice, era: int) -> UserError:
    row, model = np.argwhere(~np.isfinite(columns[rows]))[0]
    return UserError(
        f"predictions is {columns[rows][row, model]} in row {rows.start + row} (era {era}), column {model}; "
        "every row needs a finite prediction; fill or drop what is missing"
    )
