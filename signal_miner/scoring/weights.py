"""What of the scores does not depend on a prediction: the vectors that its ranks are multiplied with."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from signal_miner.scoring.ranking import gaussian_ranks, gaussian_table, sort_columns


@dataclass(frozen=True)
class EraRows:
    """Where one era's rows are."""

    rows: slice  # among all rows
    scored: NDArray[np.int64] | None  # positions within the era of the rows with a target; None where all have one
    prepared: slice  # in arrays that hold the rows with a target alone

    @property
    def n_scored(self) -> int:
        """Rows with a target."""
        return int(self.prepared.stop - self.prepared.start)

    def with_target(self, of_era: NDArray[Any]) -> NDArray[Any]:
        """Return the rows with a target out of all the era's rows."""
        return of_era if self.scored is None else of_era[self.scored]


@dataclass(frozen=True)
class BenchmarkWeights:
    """One benchmark's side of the dot products.

    Attributes
    ----------
    contribution : ndarray of float64, shape (n_scored,)
        BMC is its dot product with a prediction's gaussianised ranks; 0 where the benchmark has none.
    direction : ndarray of float64, shape (n_scored,)
        The benchmark's gaussianised ranks, centred and of norm 1 in each era; 0 where it has none.
    known : tuple of (ndarray of bool, shape (n_scored_in_era,), or None)
        For each era, which rows have a prediction; None where all have one.
    n_known : tuple of int
        For each era, how many rows have one.
    """

    contribution: NDArray[np.float64]
    direction: NDArray[np.float64]
    known: tuple[NDArray[np.bool_] | None, ...]
    n_known: tuple[int, ...]


def split_rows(known: NDArray[np.bool_], bounds: Sequence[int]) -> Iterator[EraRows]:
    """Yield each era's rows, of which `known` have a target; `bounds` are their first rows, and the number of rows."""
    first = 0
    for start, stop in pairwise(bounds):
        of_era = known[start:stop]
        count = int(np.count_nonzero(of_era))
        scored = None if count == stop - start else frozen(np.flatnonzero(of_era))
        yield EraRows(slice(start, stop), scored, slice(first, first + count))
        first += count


def target_directions(target: NDArray[np.float64], eras: Sequence[EraRows]) -> NDArray[np.float64]:
    """Return the target's side of CORR, shape (n_scored,), read-only; `target` holds the rows that have one.

    In each era t = target - mean, sign(t) |t|^1.5, centred once more and of norm 1; NaN in an era with one target
    value only.
    """
    directions = np.empty(target.size)
    for era in eras:
        values = target[era.prepared]
        if values.size:
            centred = values - values.mean()
            constant = values.max() == values.min()  # its mean may be rounded: centred need not be 0
            directions[era.prepared] = np.nan if constant else _direction(centred * np.sqrt(np.abs(centred)))
    return frozen(directions)


def benchmark_weights(
    predictions: NDArray[np.float64],
    target: NDArray[np.float64],
    eras: Sequence[EraRows],
    tables: dict[int, NDArray[np.float64]],
) -> BenchmarkWeights:
    """Return a benchmark's side of BMC and of the correlation with it.

    Parameters
    ----------
    predictions : ndarray of float64, shape (n_rows,)
        Finite, or NaN where the benchmark has none.
    target : ndarray of float64, shape (n_scored,)
        Target of the rows that have one.
    tables : dict of int to ndarray
        `gaussian_table` by number of rows; those that are missing are added.
    """
    contribution, direction = np.zeros(target.size), np.zeros(target.size)
    known: list[NDArray[np.bool_] | None] = []
    n_known: list[int] = []
    for era in eras:
        of_era = era.with_target(predictions[era.rows])
        finite = np.isfinite(of_era)
        count = int(np.count_nonzero(finite))
        known.append(None if count == of_era.size else frozen(finite))
        n_known.append(count)
        if count == 0:
            continue
        if count not in tables:
            tables[count] = gaussian_table(count)
        order, keys = sort_columns(of_era[finite][:, np.newaxis])
        ranks = np.empty(count)
        ranks[order[0]] = gaussian_ranks(keys, tables[count])[0]
        contribution[era.prepared][finite] = _contribution(ranks, target[era.prepared][finite])
        direction[era.prepared][finite] = _direction(ranks)
    return BenchmarkWeights(frozen(contribution), frozen(direction), tuple(known), tuple(n_known))


def frozen(array: NDArray[Any]) -> NDArray[Any]:
    """Return the array itself, read-only from now on."""
    array.flags.writeable = False
    return array


def _contribution(ranks: NDArray[np.float64], target: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return w such that BMC = p . w for a prediction's gaussianised ranks p.

    (p - m (p . m) / (m . m)) . t / n = p . (t - m (t . m) / (m . m)) / n: the target is made orthogonal to
    the benchmark's ranks m once, instead of each prediction. The target is scaled and centred as in
    ``numerai_tools.scoring.contribution_scores``. NaN where the benchmark is constant.
    """
    if target.min() >= 0 and target.max() <= 1:
        target = target * 4
    centred = target - target.mean()
    with np.errstate(divide="ignore", invalid="ignore"):
        projected = ranks * ((centred * ranks).sum() / np.square(ranks).sum())
    weights: NDArray[np.float64] = (centred - projected) / ranks.size
    return weights


def _direction(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the values less their mean, of norm 1; NaN where they are all equal."""
    if values.max() == values.min():
        return np.full(values.size, np.nan)
    centred = values - values.mean()
    unit: NDArray[np.float64] = centred / np.sqrt(np.square(centred).sum())
    return unit
