"""Scores that are shown and never chosen by: FNC and feature exposure, and contribution to Numerai's meta model."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from signal_miner.data.folds import overlap_eras
from signal_miner.engine.metrics import mean_score
from signal_miner.experiment.plan import Plan
from signal_miner.scoring.blending import filled_features, gaussianised, neutralized
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

MOST_FEATURES = 1000
"""Of a feature set that predictions are made neutral to: an era's least squares grow with their square."""

MOST_ERAS, FEW_FEATURES = 60, 100
"""Eras of a fold, evenly spaced, that are made neutral to a set of more than so many features; else all of them."""

_CHUNK_BYTES = 2**28
_META = "meta model"


def further_scores(
    plan: Plan, predictions: Mapping[int, NDArray[np.floating[Any]]], *, features: bool = True
) -> list[dict[str, float]]:
    """Return the further scores of models as named metrics.

    FNC is ``numerai_tools.scoring.feature_neutral_corr`` with the study's feature set, feature exposure its
    ``max_feature_correlation`` of gaussianised ranks, MMC its ``correlation_contribution``; means over eras.

    Parameters
    ----------
    predictions : mapping of int to ndarray of float, shape (n_rows, n_models)
        By fold number, of its validation rows; NaN in rows of which a model has none.
    features : bool, default True
        Whether features are read, a few eras at a time; never where there are more than `MOST_FEATURES`.

    Returns
    -------
    list of dict of str to float
        A dict a model, without what is not defined.
    """
    last, n_models = plan.scored_folds[-1].number, next(iter(predictions.values())).shape[1]
    found: list[dict[str, float]] = [{} for _ in range(n_models)]
    if features and len(plan.dataset.features) <= MOST_FEATURES:
        parts = {
            fold.number: _feature_scores(plan, fold.number, predictions[fold.number]) for fold in plan.scored_folds
        }
        for section in (VALIDATION, TEST):
            numbers = [number for number in parts if (number == last) == (section == TEST)]
            for place, name in enumerate((FNC, EXPOSURE)):
                if not numbers:
                    continue
                eras = np.concatenate([parts[number][place] for number in numbers])
                for model in range(n_models):
                    found[model][f"{section}/{name}"] = mean_score(eras[:, model])
    for model, values in enumerate(meta_model_scores(plan, predictions)):
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
    return (
        f"MMC {metrics[MMC]:.4f} and CWMM {metrics[CWMM]:.2f} in the {metrics[META_ERAS]:.0f} eras that the meta model "
        f"covers, worth about {metrics[META_BLOCKS]:.1f} independent ones"
    )


def _feature_scores(
    plan: Plan, number: int, predictions: NDArray[np.floating[Any]]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return FNC and the largest feature exposure of each era and model, NaN in eras without all predictions."""
    dataset = plan.dataset
    span = dataset.span_of(plan.scored_folds[number - 1].validation_eras)
    target, eras = dataset.read_scoring_target(span), dataset.eras[span]
    neutral_corr, exposure = [], []
    chosen = list(era_slices(eras))
    if len(dataset.features) > FEW_FEATURES and len(chosen) > MOST_ERAS:
        chosen = [chosen[place] for place in np.linspace(0, len(chosen) - 1, MOST_ERAS).round().astype(int)]
    for rows, features in _features_of(plan, span, chosen):
        own = predictions[rows]
        scored = np.isfinite(target[rows]).any() and np.isfinite(own).all()
        if not scored:
            neutral_corr.append(np.full(own.shape[1], np.nan))
            exposure.append(np.full(own.shape[1], np.nan))
            continue
        ranked = gaussianised(eras[rows], own)
        neutral = neutralized(eras[rows], ranked, partial(_same, features), 1.0)
        neutral_corr.append(Scorer(eras[rows], target[rows]).corr(neutral)[0])
        exposure.append(np.abs(_correlations(features, ranked)).max(axis=0, initial=0.0))
    return np.stack(neutral_corr), np.stack(exposure)


def _same(features: NDArray[np.float64], _rows: slice) -> NDArray[np.float64]:
    return features


def _features_of(plan: Plan, span: slice, slices: list[slice]) -> Iterator[tuple[slice, NDArray[np.float64]]]:
    """Yield rows of eras within a span, and their features; neighbouring eras are read together, a few at a time."""
    dataset = plan.dataset
    most_rows = max(1, _CHUNK_BYTES // (dataset.feature_bytes * len(dataset.features)))
    left = list(slices)
    while left:
        chunk = [left.pop(0)]
        while left and left[0].start == chunk[-1].stop and left[0].stop - chunk[0].start <= most_rows:
            chunk.append(left.pop(0))
        first = chunk[0].start
        table = dataset.read_features(dataset.features, slice(span.start + first, span.start + chunk[-1].stop))
        for rows in chunk:
            part = table.slice(rows.start - first, rows.stop - rows.start)
            columns = [column.to_numpy().astype(np.float64) for column in part.columns]
            yield rows, filled_features(np.column_stack(columns))


def _correlations(features: NDArray[np.float64], columns: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return Pearson correlations, shape (n_features, n_models); 0 where one of the two is constant."""
    first, second = features - features.mean(axis=0), columns - columns.mean(axis=0)
    norms = np.outer(np.linalg.norm(first, axis=0), np.linalg.norm(second, axis=0))
    products: NDArray[np.float64] = np.divide(first.T @ second, norms, out=np.zeros_like(norms), where=norms > 0)
    return products
