"""The code that travels inside ``predict.pkl``, as this file's own text.

It imports nothing of this package and runs on Python 3.10 to 3.13 with the packages that Numerai hosts there. A line
changed here changes every ``predict.pkl`` written from then on, and none written before.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable
from typing import Any

import lightgbm as lgb
import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.special import ndtri

BLEND_DECIMALS = 10
"""Decimals that a blend is rounded to before it is ranked. Values that are equal but for the noise of floating point
(some 1e-14, another in each build of NumPy, SciPy and BLAS) would be ranked by that noise; rounded, they tie."""

SMALLEST_SINGULAR_VALUE = 1e-6
"""Relative to the largest: neutralizers below it are no direction of their own (``numerai_tools``)."""


FEWEST_ROWS_THAT_VARY = 100
"""In fewer rows, features may be constant by chance."""

MOST_CONSTANT_FEATURES = 0.1
"""Share of the features: in Numerai's data one that does not exist (yet) has the same value in a whole era."""


def build_predict(
    features: list[str],
    boosters: list[bytes],
    weights: list[float],
    neutralize_to: str | None,
    proportion: float,
    benchmark_booster: bytes | None,
    benchmark_column: str | None,
    nullable_features: list[str],
    levels: list[list[list[Any]]],
    ranges: list[list[Any]],
    constant_features: list[str],
) -> Callable[[pd.DataFrame, pd.DataFrame | None], pd.DataFrame]:
    """Return the function that Numerai's hosted runner calls.

    Parameters
    ----------
    features : list of str
        In the order the boosters were trained in.
    boosters : list of bytes
        Each member's LightGBM model text, compressed with zlib; parsed here and not kept.
    weights : list of float
        Each member's share of the blend.
    neutralize_to : {"features", "benchmark", "column"} or None
        What is taken out of the blend.
    proportion : float
        How much of it, from 0 to 1.
    benchmark_booster : bytes or None
        Model text of our own benchmark, compressed, for ``"benchmark"``.
    benchmark_column : str or None
        Column of Numerai's live benchmark predictions, for ``"column"``.
    nullable_features : list of str
        Features that were NaN somewhere in training; in any other one a NaN is refused.
    levels : list of [list of float, list of int]
        Values, and the positions of the features that had no others in training: other ones are refused.
    ranges : list of [int, float, float]
        Position, lowest and highest value in training of each feature with too many values to list: refused where
        more than half of its values are outside.
    constant_features : list of str
        Features that may be constant. Of the others a tenth may, and one always: more are a fault of the data.

    Returns
    -------
    callable
        ``predict(live_features, live_benchmark_models)``, the latter None if not given. Numerai's runner, which counts
        parameters, gives both.
    """
    members = [_parse(booster) for booster in boosters]
    own_benchmark = None if benchmark_booster is None else _parse(benchmark_booster)
    shares = np.array(weights, dtype=np.float64)
    nullable, may_be_constant = frozenset(nullable_features), frozenset(constant_features)

    def predict(live_features: pd.DataFrame, live_benchmark_models: pd.DataFrame | None = None) -> pd.DataFrame:
        """Return the column ``prediction``, between 0 and 1, indexed by ``id`` like `live_features`."""
        frame = _indexed_by_id(live_features, "live_features")
        inputs = _checked_features(frame, features, nullable)
        _check_values(inputs, levels, ranges)
        _check_variation(inputs, may_be_constant)
        benchmark = None
        if benchmark_column is not None:
            benchmark = _benchmark_values(frame.index, live_benchmark_models, benchmark_column)
        ranks = np.empty(len(frame))
        for rows in _era_rows(frame):
            matrix = inputs.iloc[rows].to_numpy(dtype=np.float32, na_value=np.nan)
            predictions = np.column_stack([_predictions(member, matrix) for member in members])
            neutralizers = None
            if neutralize_to == "features":
                neutralizers = filled_features(matrix.astype(np.float64))
            elif own_benchmark is not None:
                neutralizers = gaussianised(_predictions(own_benchmark, matrix))[:, np.newaxis]
            elif benchmark is not None:
                neutralizers = gaussianised_where_known(benchmark[rows])[:, np.newaxis]
            ranks[rows] = blend_era(predictions, shares, neutralizers, proportion)
        return pd.DataFrame({"prediction": ranks}, index=frame.index.rename("id"))

    return predict


def blend_era(
    predictions: NDArray[np.float32],
    weights: NDArray[np.float64],
    neutralizers: NDArray[np.float64] | None,
    proportion: float,
) -> NDArray[np.float64]:
    """Blend the predictions of one era as Numerai does.

    Tie-kept ranks of each member, gaussianised (``numerai_tools.scoring``: ``tie_kept_rank``, ``gaussian``); their
    weighted sum; less `proportion` of its projection on the neutralizers and a constant (``neutralize``); rounded to
    `BLEND_DECIMALS`; tie-kept ranks again. An era of which nothing is left but noise gets 0.5 everywhere.

    Parameters
    ----------
    predictions : ndarray of float32, shape (n_rows, n_members)
        Finite.
    weights : ndarray of float64, shape (n_members,)
        Each member's share.
    neutralizers : ndarray of float64, shape (n_rows, n_neutralizers), or None
        Finite; None leaves the blend as it is.
    proportion : float
        From 0 (nothing) to 1 (all).

    Returns
    -------
    ndarray of float64, shape (n_rows,)
        (rank - .5) / n_rows.
    """
    blend = np.zeros(len(predictions))
    for member, weight in enumerate(weights):
        blend += weight * gaussianised(predictions[:, member])
    if neutralizers is not None:
        exposures = np.column_stack([neutralizers, np.ones(len(neutralizers))])
        fitted = np.linalg.lstsq(exposures, blend, rcond=SMALLEST_SINGULAR_VALUE)[0]
        blend = blend - proportion * (exposures @ fitted)
    return tie_kept_rank(np.round(blend, BLEND_DECIMALS))


def tie_kept_rank(values: NDArray[np.floating[Any]]) -> NDArray[np.float64]:
    """Return (rank - .5) / n of finite values; equal values share their average rank. Shape (n,)."""
    _, place, counts = np.unique(values, return_inverse=True, return_counts=True)
    ranks: NDArray[np.float64] = ((np.cumsum(counts) - counts / 2) / len(values))[place]
    return ranks


def gaussianised(values: NDArray[np.floating[Any]]) -> NDArray[np.float64]:
    """Return the normal quantile of each value's tie-kept rank. Shape (n,)."""
    quantiles: NDArray[np.float64] = ndtri(tie_kept_rank(values))
    return quantiles


def gaussianised_where_known(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the gaussianised ranks among the values that are not NaN, and 0, the middle, for the others."""
    known = ~np.isnan(values)
    ranks = np.zeros(len(values))
    ranks[known] = gaussianised(values[known])
    return ranks


def filled_features(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return an era's features as neutralizers: NaN becomes the feature's mean, 0 where all are NaN.

    Parameters
    ----------
    values : ndarray of float64, shape (n_rows, n_features)

    Returns
    -------
    ndarray of float64, shape (n_rows, n_features)
    """
    unknown = np.isnan(values)
    if not unknown.any():
        return values
    known = np.maximum((~unknown).sum(axis=0), 1)
    means = np.where(unknown, 0.0, values).sum(axis=0) / known
    return np.where(unknown, means, values)


def _parse(compressed: bytes) -> lgb.Booster:
    return lgb.Booster(model_str=zlib.decompress(compressed).decode())


def _predictions(booster: lgb.Booster, matrix: NDArray[np.float32]) -> NDArray[np.float32]:
    # Rounded as tracked predictions are: the same ties, so the same ranks.
    return np.asarray(booster.predict(matrix, num_threads=1), dtype=np.float32)


def _indexed_by_id(frame: pd.DataFrame, name: str) -> pd.DataFrame:
    """Return the frame with its ids as index; the caller's frame stays as it is."""
    if not isinstance(frame, pd.DataFrame):
        raise TypeError(f"{name} is a {type(frame).__name__}; give a pandas.DataFrame indexed by id")
    if "id" in frame.columns:
        frame = frame.set_index("id")
    if frame.index.nlevels > 1:
        raise ValueError(f"{name} has an index of {frame.index.nlevels} levels; index it by id alone")
    if len(frame) == 0:
        raise ValueError(f"{name} has no rows; give the rows to predict")
    if frame.index.hasnans:
        raise ValueError(f"{name} has {np.count_nonzero(frame.index.isna())} rows without an id; leave them out")
    twice = frame.index[frame.index.duplicated()]
    if len(twice):
        raise ValueError(f"{name} has {len(twice)} ids twice, such as {twice[0]!r}; give each id once")
    return frame


def _checked_features(frame: pd.DataFrame, features: list[str], nullable: frozenset[str]) -> pd.DataFrame:
    """Return the features in the order of training."""
    present = frozenset(frame.columns)
    missing = [feature for feature in features if feature not in present]
    if missing:
        raise ValueError(
            f"{len(missing)} of {len(features)} features are missing, such as {', '.join(missing[:3])} "
            "(a data version change?); give live data of the version that the model was trained on"
        )
    part = frame[features]
    if len(part.columns) != len(features):
        twice = part.columns[part.columns.duplicated()][0]
        raise ValueError(f"feature {twice!r} is there twice; give each column once")
    for feature, dtype in part.dtypes.items():
        if not pd.api.types.is_numeric_dtype(dtype):
            raise ValueError(f"feature {feature!r} is {dtype}, which are no numbers; give it as Numerai publishes it")
        if isinstance(dtype, np.dtype) and dtype.kind in "iub":
            continue
        with np.errstate(over="ignore"):
            values = part[feature].to_numpy(dtype=np.float32, na_value=np.nan)
        infinite = int(np.isinf(values).sum())
        if infinite:
            raise ValueError(f"feature {feature!r} is infinite in {infinite} rows; download the live data again")
        unknown = int(np.isnan(values).sum())
        if unknown and feature not in nullable:
            raise ValueError(
                f"feature {feature!r} is NaN in {unknown} of {len(values)} rows and never was in training; "
                "download the live data again, or train on data in which it is"
            )
    return part


def _check_values(part: pd.DataFrame, levels: list[list[list[Any]]], ranges: list[list[Any]]) -> None:
    """Refuse features on another scale than in training, which would be ranked without any other sign of it."""
    foreign = []
    for known, positions in levels:
        for position in positions:
            values = _known_values(part, position)
            others = values[~np.isin(values, np.array(known, dtype=np.float32))]
            if len(others):
                foreign.append((position, others[0], _listed(known)))
    for position, low, high in ranges:
        values = _known_values(part, position)
        outside = values[(values < np.float32(low)) | (values > np.float32(high))]
        if len(outside) > len(values) / 2:
            foreign.append((position, outside[0], f"{low:g} to {high:g}"))
    if foreign:
        position, value, had = min(foreign, key=lambda found: found[0])
        raise ValueError(
            f"{len(foreign)} of {len(part.columns)} features have values that they never had in training, such as "
            f"{value:g} in {part.columns[position]!r}, which had {had}; give live data of the version, and on the "
            "scale, that the model was trained on"
        )


def _check_variation(part: pd.DataFrame, may_be_constant: frozenset[str]) -> None:
    """Refuse rows in which many features are constant or missing, unless the rows are few."""
    if len(part) < FEWEST_ROWS_THAT_VARY:
        return
    constant = []
    for position, feature in enumerate(part.columns):
        values = _known_values(part, position)
        if feature not in may_be_constant and (len(values) == 0 or values.min() == values.max()):
            constant.append(feature)
    if len(constant) > max(1.0, MOST_CONSTANT_FEATURES * len(part.columns)):
        raise ValueError(
            f"{len(constant)} of {len(part.columns)} features have the same value, or none, in all {len(part)} rows, "
            f"such as {', '.join(constant[:3])}; download the live data again"
        )


def _known_values(part: pd.DataFrame, position: int) -> NDArray[np.float32]:
    values: NDArray[np.float32] = part.iloc[:, position].to_numpy(dtype=np.float32, na_value=np.nan)
    known: NDArray[np.float32] = values[~np.isnan(values)]
    return known


def _listed(levels: list[float]) -> str:
    shown = ", ".join(f"{level:g}" for level in levels[:8])
    return f"{shown}, … {levels[-1]:g}" if len(levels) > 8 else shown


def _benchmark_values(
    index: pd.Index[Any], live_benchmark_models: pd.DataFrame | None, column: str
) -> NDArray[np.float64]:
    """Return a benchmark's predictions for the rows of `index`, NaN where there are none, shape (n_rows,)."""
    if live_benchmark_models is None:
        raise ValueError(
            f"live_benchmark_models is None and the model is neutralised to its column {column!r}; "
            "give Numerai's live benchmark predictions"
        )
    frame = _indexed_by_id(live_benchmark_models, "live_benchmark_models")
    found = list(frame.columns).count(column)
    if found != 1:
        raise ValueError(
            f"live_benchmark_models has {found or 'no'} columns {column!r}, which the model is neutralised to "
            "(a data version change?); give the benchmark predictions of the version that the model was trained on"
        )
    if not pd.api.types.is_numeric_dtype(frame[column].dtype):
        raise ValueError(
            f"benchmark {column!r} is {frame[column].dtype}; give its predictions as Numerai publishes them"
        )
    values: NDArray[np.float64] = frame[column].reindex(index).to_numpy(dtype=np.float64, na_value=np.nan)
    values = values.astype(np.float32).astype(np.float64)  # ties as in the tracked ensemble, which reads float32
    if np.isinf(values).any():
        raise ValueError(f"benchmark {column!r} is infinite in {int(np.isinf(values).sum())} rows; download it again")
    if np.isnan(values).all():
        raise ValueError(
            f"benchmark {column!r} is known for none of the {len(values)} rows; "
            "give the benchmark predictions of the same round"
        )
    if len(values) >= FEWEST_ROWS_THAT_VARY and np.nanmin(values) == np.nanmax(values):
        raise ValueError(
            f"benchmark {column!r} is {np.nanmax(values):g} wherever it is known in the {len(values)} rows, so there "
            "is nothing to neutralise to; download it again"
        )
    return values


def _era_rows(frame: pd.DataFrame) -> list[NDArray[np.intp]]:
    """Return the row numbers of each era; rows without an era are one of their own."""
    if "era" not in frame.columns:
        return [np.arange(len(frame))]
    codes, eras = pd.factorize(frame["era"], use_na_sentinel=False)
    order = np.argsort(codes, kind="stable")
    return np.split(order, np.searchsorted(codes[order], np.arange(1, len(eras))))
