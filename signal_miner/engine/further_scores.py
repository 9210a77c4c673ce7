"""Scores that are shown but not used for selection: FNC, feature exposure, and contribution to Numerai's meta model."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from signal_miner.data.folds import overlap_eras
from signal_miner.data.parquet_rows import forget_large_footers
from signal_miner.engine.column_groups import GROUP_BYTES
from signal_miner.engine.metrics import mean_score
from signal_miner.errors import Stopped
from signal_miner.experiment.plan import Plan
from signal_miner.scoring.blending import gaussianised
from signal_miner.scoring.feature_neutral import feature_neutral, neutral_bytes
from signal_miner.scoring.scorer import Scorer
from signal_miner.scoring.series import era_slices
from signal_miner.scoring.study_scores import TEST, VALIDATION

FNC, EXPOSURE = "fnc", "feature_exposure"
"""Scores of a section: CORR of what no feature explains, and the largest correlation with a feature."""

MMC, CWMM = "meta_model/mmc", "meta_model/cwmm"
"""Metrics over the eras that the meta model covers: contribution to it, and correlation with it."""

FURTHER_SCORES = frozenset({f"{VALIDATION}/{FNC}", f"{TEST}/{FNC}", MMC})
"""Of these, a model that was scored has one at least, where any can be computed."""

META_ERAS, META_BLOCKS = "meta_model/eras", "meta_model/independent_blocks"

FURTHER_METRICS = frozenset(
    {
        MMC,
        CWMM,
        META_ERAS,
        META_BLOCKS,
        *(f"{part}/{score}" for part in (VALIDATION, TEST) for score in (FNC, EXPOSURE)),
    }
)
"""Metrics that `further_scores` returns. NaN: of another checkpoint than the run's, and to be computed again."""

MOST_ERAS, FEW_FEATURES = 60, 100
"""Eras of a fold, evenly spaced, that are made neutral to a set of more than so many features; else all of them."""

_PREDICTION_BYTES = 4
_MODELS_WHILE_READ = 4  # a model's predictions while they are read: with their folds, in Arrow and in NumPy
_META = "meta model"


def further_scores(
    plan: Plan,
    predictions: Mapping[int, NDArray[np.floating[Any]]],
    group_bytes: int = GROUP_BYTES,
    should_stop: Callable[[], bool] = lambda: False,
) -> list[dict[str, float]]:
    """Return the further scores of models as named metrics.

    FNC is ``numerai_tools.scoring.feature_neutral_corr`` with the study's feature set, feature exposure its
    ``max_feature_correlation`` of gaussianised ranks, MMC its ``correlation_contribution``; means over eras.

    Parameters
    ----------
    predictions : mapping of int to ndarray of float, shape (n_rows, n_models)
        By fold number, of its validation rows; NaN in rows of which a model has none.
    group_bytes : int
        Features held at a time, some eras of all of them, and again as much while they are read.

    Returns
    -------
    list of dict of str to float
        A dict a model, without what is not defined.

    Raises
    ------
    Stopped
        If `should_stop`, called before each era, returned true.
    """
    last, n_models = plan.scored_folds[-1].number, next(iter(predictions.values())).shape[1]
    found: list[dict[str, float]] = [{} for _ in range(n_models)]
    parts = {
        fold.number: _feature_scores(plan, fold.number, predictions[fold.number], group_bytes, should_stop)
        for fold in plan.scored_folds
    }
    for section in (VALIDATION, TEST):
        numbers = [number for number in parts if (number == last) == (section == TEST)]
        for place, name in enumerate((FNC, EXPOSURE)):
            if not numbers:
                continue
            eras = np.concatenate([parts[number][place] for number in numbers])
            for model in range(n_models):
                found[model][f"{section}/{name}"] = mean_score(eras[:, model])
    # A model that lacks predictions, as Numerai's may, is scored by itself, so that others lose no era.
    whole = np.logical_and.reduce([np.isfinite(columns).all(axis=0) for columns in predictions.values()])
    for places in (np.flatnonzero(whole), *np.flatnonzero(~whole)[:, np.newaxis]):
        if len(places):
            own = {number: columns[:, places] for number, columns in predictions.items()}
            for model, values in zip(places, meta_model_scores(plan, own), strict=True):
                found[model] |= values
    return [{name: value for name, value in each.items() if np.isfinite(value)} for each in found]


def meta_model_scores(plan: Plan, predictions: Mapping[int, NDArray[np.floating[Any]]]) -> list[dict[str, float]]:
    """Return `MMC`, `CWMM` and the eras and independent blocks that they are of; empty dicts where there are none."""
    dataset, experiment = plan.dataset, plan.experiment
    contributions, correlations, eras = [], [], []
    n_models = next(iter(predictions.values())).shape[1]
    for fold in plan.scored_folds:
        span = dataset.span_of(fold.validation_eras)
        meta = dataset.read_meta_model(span)
        if meta is None or not np.isfinite(meta).any():
            continue
        own = predictions[fold.number]
        known = np.isfinite(own).all(axis=1)
        target = np.where(known, dataset.read_scoring_target(span), np.nan)
        scorer = Scorer(dataset.eras[span], target, {_META: meta})
        scores = scorer.score(np.nan_to_num(own))
        covered = np.isfinite(scores.benchmark_corr[_META]).any(axis=1)
        contributions.append(scores.bmc[_META][covered])
        correlations.append(scores.benchmark_corr[_META][covered])
        eras += scores.eras[covered].tolist()
    if not eras:
        return [{} for _ in range(n_models)]
    horizon = dataset.horizon_days(experiment.scoring_target, experiment.horizon_days)
    overlap = overlap_eras(horizon, eras, experiment.folds.embargo_eras)
    shared = {META_ERAS: float(len(eras)), META_BLOCKS: len(eras) / (overlap + 1)}
    return [
        {
            MMC: mean_score(np.concatenate(contributions)[:, model]),
            CWMM: mean_score(np.concatenate(correlations)[:, model]),
        }
        | shared
        for model in range(n_models)
    ]


def meta_model_text(metrics: Mapping[str, float]) -> str:
    """Return MMC and CWMM with what they are of, as a clause."""
    eras = "one era" if metrics[META_ERAS] == 1 else f"{metrics[META_ERAS]:.0f} eras"
    return (
        f"MMC {metrics[MMC]:.4f} and CWMM {metrics[CWMM]:.2f} in the {eras} that the meta model covers, worth about "
        f"{metrics[META_BLOCKS]:.1f} independent ones"
    )


def scores_bytes(
    n_models: int, n_rows: int, largest_era: int, n_features: int, era_bytes: int, group_bytes: int
) -> int:
    """Return the bytes that `further_scores` needs, with the predictions that it is given, of `n_rows` in all.

    Parameters
    ----------
    largest_era : int
        Rows of the largest era.
    era_bytes : int
        Of the features of such an era, as they are stored.
    """
    predictions = _PREDICTION_BYTES * (n_models + _MODELS_WHILE_READ) * n_rows
    all_bytes = -(-era_bytes * n_rows // largest_era)
    return predictions + 2 * min(max(group_bytes, era_bytes), all_bytes) + neutral_bytes(largest_era, n_features)


def _feature_scores(
    plan: Plan,
    number: int,
    predictions: NDArray[np.floating[Any]],
    group_bytes: int,
    should_stop: Callable[[], bool],
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return FNC and the largest feature exposure of each era and model, NaN in eras without all its predictions."""
    dataset = plan.dataset
    span = dataset.span_of(plan.scored_folds[number - 1].validation_eras)
    target, eras = dataset.read_scoring_target(span), dataset.eras[span]
    chosen = list(era_slices(eras))
    if len(dataset.features) > FEW_FEATURES and len(chosen) > MOST_ERAS:
        chosen = [chosen[place] for place in np.linspace(0, len(chosen) - 1, MOST_ERAS).round().astype(int)]
    neutral_corr, exposure = np.full((2, len(chosen), predictions.shape[1]), np.nan)
    wanted = [np.isfinite(target[rows]).any() and np.isfinite(predictions[rows]).all(axis=0).any() for rows in chosen]
    scored = np.flatnonzero(wanted)
    read = _features_of(plan, span, [chosen[place] for place in scored], group_bytes)
    for place, (rows, features) in zip(scored, read, strict=True):
        if should_stop():
            raise Stopped
        whole = np.isfinite(predictions[rows]).all(axis=0)
        ranked = gaussianised(eras[rows], predictions[rows][:, whole])
        neutral, exposure[place, whole] = feature_neutral(features, ranked)
        neutral_corr[place, whole] = Scorer(eras[rows], target[rows]).corr(neutral)[0]
    return neutral_corr, exposure


def _features_of(
    plan: Plan, span: slice, slices: Sequence[slice], group_bytes: int
) -> Iterator[tuple[slice, NDArray[np.number[Any]]]]:
    """Yield rows of eras within a span, and all features of each, read a group of columns of some eras at a time."""
    dataset = plan.dataset
    most_rows = group_bytes // (dataset.feature_bytes * len(dataset.features))
    left = list(slices)
    while left:
        eras = [left.pop(0)]
        while left and sum(rows.stop - rows.start for rows in (*eras, left[0])) <= most_rows:
            eras.append(left.pop(0))
        positions = np.concatenate([np.arange(span.start + rows.start, span.start + rows.stop) for rows in eras])
        width = max(1, group_bytes // (dataset.feature_bytes * dataset.source.rows_read(positions)))
        held: NDArray[np.number[Any]] | None = None
        for start in range(0, len(dataset.features), width):
            names = dataset.features[start : start + width]
            columns = [column.to_numpy() for column in dataset.read_features(names, positions).columns]
            kind = np.result_type(*columns, *([] if held is None else [held]))
            if held is None:
                held = np.empty((len(positions), len(dataset.features)), kind, order="F")
            held = held.astype(kind, copy=False)
            for place, column in enumerate(columns, start):
                held[:, place] = column
        forget_large_footers()
        first = 0
        for rows in eras:
            last = first + rows.stop - rows.start
            if held is not None:
                yield rows, held[first:last]
            first = last
