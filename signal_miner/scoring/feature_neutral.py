"""What is left of predictions once features are taken out, computed from groups of columns of thousands of features.

``numerai_tools.scoring.neutralize`` decomposes all features of an era as one matrix of doubles. Here the Gram matrix
of the standardised features is summed up from pairs of column groups and factorised once for all models. A small ridge
makes that possible where features depend on one another, and projecting what is left again and again removes the
ridge's effect, as in iterated Tikhonov regularisation: each time, of a direction in which the features' variance is
``v`` times a feature's, a share of ``RIDGE / (v + RIDGE)`` remains.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import cho_solve, cholesky

RIDGE = 1e-8
"""Added to the diagonal of the Gram matrix, which is 1: well above its rounding errors, well below its eigenvalues."""

GROUP = 512
"""Features of a column group that are held as doubles at a time."""

_MOST_PROJECTIONS = 30
_ACCURACY = 1e-13  # of predictions of unit variance, after which they are not projected again
_CONSTANT = 1e-12  # deviations of a feature, relative to its largest value, that are rounding errors of its mean
_NOTHING_LEFT = 1e-6  # of predictions, relative to their norm: as many features as rows explain anything


def feature_neutral(
    features: NDArray[np.number[Any]], columns: NDArray[np.float64], group: int = GROUP
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return an era's predictions less their projection on its features and a constant, and their feature exposure.

    Beside `features` it holds `neutral_bytes`.

    Parameters
    ----------
    features : ndarray, shape (n_rows, n_features)
        NaN counts as the feature's mean. Column-major is fastest.
    columns : ndarray of float64, shape (n_rows, n_models)
        Such as gaussianised ranks.
    group : int
        Features at a time; the result does not depend on it.

    Returns
    -------
    neutral : ndarray of float64, shape (n_rows, n_models)
        0 where nothing is left.
    exposure : ndarray of float64, shape (n_models,)
        Largest absolute Pearson correlation with a feature; a feature or model that is constant has none, 0.
    """
    neutral = columns - columns.mean(axis=0)
    norms = np.linalg.norm(neutral, axis=0)
    exposure = np.zeros(columns.shape[1])
    if not features.shape[1]:
        return neutral, exposure
    centred = _Centred(features, group)
    scales = centred.scales[:, np.newaxis]
    factor = _factor(centred)
    for projection in range(_MOST_PROJECTIONS):
        products = scales * np.concatenate([centred.of(each).T @ neutral for each in centred.groups])
        if projection == 0:
            np.divide(np.abs(products).max(axis=0), norms, out=exposure, where=norms > 0)
        weights = scales * cho_solve((factor, True), products, overwrite_b=True, check_finite=False)
        explained = np.zeros_like(neutral)
        for each in centred.groups:
            explained += centred.of(each) @ weights[each]
        neutral -= explained
        if np.all(np.linalg.norm(explained, axis=0) <= _ACCURACY * norms):
            break
    neutral[:, np.linalg.norm(neutral, axis=0) <= _NOTHING_LEFT * norms] = 0.0
    return neutral, exposure


def neutral_bytes(n_rows: int, n_features: int) -> int:
    """Return the bytes that `feature_neutral` needs: the Gram matrix, a block of it, and two column groups."""
    width = min(GROUP, n_features)
    return 8 * (n_features**2 + 2 * width**2 + 2 * n_rows * width)


class _Centred:
    """Features less their mean, a column group at a time; 0 for NaN. `scales` would make their norm 1, if not 0."""

    def __init__(self, features: NDArray[np.number[Any]], group: int) -> None:
        n_rows, n_features = features.shape
        self.groups = [slice(start, min(start + group, n_features)) for start in range(0, n_features, group)]
        self._features = features
        self._held = [np.empty((n_rows, min(group, n_features)), order="F") for _ in range(2)]
        self._means, self.scales = np.zeros(n_features), np.zeros(n_features)
        for each in self.groups:
            values = self.of(each)  # the means are still 0
            largest = np.abs(values).max(axis=0, initial=0.0)
            known = np.maximum(n_rows - np.isnan(features[:, each]).sum(axis=0), 1)
            self._means[each] = values.sum(axis=0) / known
            centred = self.of(each)
            norms = np.sqrt(np.einsum("nk,nk->k", centred, centred))
            varies = norms > _CONSTANT * largest * n_rows**0.5
            np.divide(1.0, norms, out=self.scales[each], where=varies)

    def of(self, group: slice, place: int = 0) -> NDArray[np.float64]:
        """Return a column group, shape (n_rows, n_features_of_group), until the next is asked for in this place."""
        values = self._held[place][:, : group.stop - group.start]
        np.subtract(self._features[:, group], self._means[group], out=values)
        return np.nan_to_num(values, copy=False) if self._features.dtype.kind == "f" else values


def _factor(centred: _Centred) -> NDArray[np.float64]:
    """Return the Cholesky factor of the Gram matrix with a ridge; above its diagonal is something else."""
    n_features = len(centred.scales)
    gram = np.empty((n_features, n_features), order="F")
    for place, rows in enumerate(centred.groups):
        own = centred.of(rows)
        for columns in centred.groups[: place + 1]:
            gram[rows, columns] = own.T @ (own if columns is rows else centred.of(columns, 1))
            gram[rows, columns] *= np.outer(centred.scales[rows], centred.scales[columns])
    gram[np.diag_indices(n_features)] += RIDGE
    factor: NDArray[np.float64] = cholesky(gram, lower=True, overwrite_a=True, check_finite=False)
    return factor
