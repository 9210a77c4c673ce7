"""Predictions of several models blended into one, era by era, as Numerai blends them.

Each model's tie-kept ranks are gaussianised, the weighted mean is taken, neutralised where asked for, and ranked
again. Neutralising is linear: the neutralised blend is the blend of the neutralised models, so a selection neutralises
each candidate once. `signal_miner.portable.predict_source` does the same for live rows, without this package.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from signal_miner.scoring.ranking import gaussian_ranks, gaussian_table, sort_columns
from signal_miner.scoring.series import era_slices

BLEND_DECIMALS = 10
"""A blend is rounded to these before it is ranked: equal blends stay equal whatever the order of their sums."""

SMALLEST_SINGULAR_VALUE = 1e-6
"""Relative to the largest: neutralizers below it are no direction of their own (``numerai_tools``)."""


def gaussianised(eras: NDArray[np.integer[Any]], predictions: NDArray[np.floating[Any]]) -> NDArray[np.float64]:
    """Return the gaussianised tie-kept ranks of each model within each era.

    ``numerai_tools.scoring``: ``gaussian(tie_kept_rank(predictions))``.

    Parameters
    ----------
    eras : ndarray of int, shape (n_rows,)
        Ascending.
    predictions : ndarray of float32 or float64, shape (n_rows, n_models)
        NaN where a model has none: such rows are left out of its ranks and get 0, the middle.

    Returns
    -------
    ndarray of float64, shape (n_rows, n_models)
        Column-major.
    """
    ranked = np.zeros(predictions.shape, order="F")
    for rows in era_slices(eras):
        part = predictions[rows]
        if np.isfinite(part).all():
            ranked[rows] = _in_row_order(part, gaussian_table(len(part)))
        else:
            for model in range(part.shape[1]):
                known = np.flatnonzero(np.isfinite(part[:, model]))
                if len(known):
                    values = part[known, model : model + 1]
                    ranked[rows.start + known, model] = _in_row_order(values, gaussian_table(len(known)))[:, 0]
    return ranked


def uniform_ranks(eras: NDArray[np.integer[Any]], blend: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the tie-kept ranks of a blend within each era: (rank - .5) / n, so between 0 and 1, shape (n_rows,).

    Parameters
    ----------
    eras : ndarray of int, shape (n_rows,)
        Ascending.
    blend : ndarray of float64, shape (n_rows,)
    """
    ranked = np.empty(len(blend))
    for rows in era_slices(eras):
        count = rows.stop - rows.start
        positions = np.arange(count, dtype=np.float64)
        table = np.concatenate((positions + 0.5, positions[1:])) / count
        ranked[rows] = _in_row_order(blend[rows, np.newaxis].round(BLEND_DECIMALS), table)[:, 0]
    return ranked


def neutralized(
    eras: NDArray[np.integer[Any]],
    columns: NDArray[np.float64],
    neutralizers: Callable[[slice], NDArray[np.float64]],
    proportion: float,
) -> NDArray[np.float64]:
    """Return columns less a proportion of their projection on neutralizers and a constant, era by era.

    ``numerai_tools.scoring.neutralize``.

    Parameters
    ----------
    eras : ndarray of int, shape (n_rows,)
        Ascending.
    columns : ndarray of float64, shape (n_rows, n_models)
    neutralizers : callable
        Given the rows of an era, returns its neutralizers, shape (n_rows_of_era, n_neutralizers).

    Returns
    -------
    ndarray of float64, shape (n_rows, n_models)
        Column-major.
    """
    neutral = np.array(columns, order="F")
    for rows in era_slices(eras):
        exposures = neutralizers(rows)
        exposures = np.column_stack([exposures, np.ones(len(exposures))])
        fitted = np.linalg.lstsq(exposures, columns[rows], rcond=SMALLEST_SINGULAR_VALUE)[0]
        neutral[rows] -= proportion * (exposures @ fitted)
    return neutral


def mean_correlations(eras: NDArray[np.integer[Any]], columns: NDArray[np.floating[Any]]) -> NDArray[np.float64]:
    """Return the Pearson correlation of each pair of columns, as the mean over eras, shape (n_models, n_models).

    An era in which a column is constant does not count for that column's pairs.
    """
    total = np.zeros((columns.shape[1], columns.shape[1]))
    counted = np.zeros_like(total)
    for rows in era_slices(eras):
        centred = columns[rows] - columns[rows].mean(axis=0, dtype=np.float64)
        norms = np.sqrt(np.einsum("nk,nk->k", centred, centred))
        varies = norms > 0
        scaled = np.divide(centred, norms, out=np.zeros_like(centred), where=varies)
        total += scaled.T @ scaled
        counted += np.outer(varies, varies)
    with np.errstate(invalid="ignore"):
        correlations: NDArray[np.float64] = total / counted
    return correlations


def filled_features(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return features as neutralizers: NaN becomes the era's mean of the feature, 0 where all are NaN."""
    unknown = np.isnan(values)
    if not unknown.any():
        return values
    known = (~unknown).sum(axis=0)
    means = np.where(unknown, 0.0, values).sum(axis=0) / np.maximum(known, 1)
    return np.where(unknown, means, values)


def _in_row_order(values: NDArray[np.floating[Any]], table: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return for each value the table's entry for its rank, shape of `values`."""
    order, keys = sort_columns(values)
    ranks = gaussian_ranks(keys, table)
    placed = np.empty((values.shape[1], values.shape[0]))
    np.put_along_axis(placed, order, np.broadcast_to(ranks, order.shape), axis=1)
    return placed.T
