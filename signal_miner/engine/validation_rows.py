"""The rows that a plan's folds predict: their labels, and the scorers over them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from signal_miner.experiment.plan import Plan
from signal_miner.scoring.scorer import Scorer


def fold_rows(plan: Plan) -> dict[int, FoldRows]:
    """Return ids and eras of each fold's validation rows, by fold number."""
    dataset = plan.dataset
    rows = {}
    for fold in plan.scored_folds:
        span = dataset.span_of(fold.validation_eras)
        labels = np.array([dataset.era_labels[era] for era in fold.validation_eras], dtype=object)
        places = np.searchsorted(fold.validation_eras, dataset.eras[span])
        rows[fold.number] = FoldRows(dataset.read_ids(span), pa.array(labels[places]), tuple(labels))
    return rows


def fold_scorers(plan: Plan, known: Mapping[int, NDArray[np.bool_]] | None = None) -> dict[int, Scorer]:
    """Return scorers against the scoring target and Numerai's benchmarks, by fold number.

    `known` masks the rows of each fold that are scored, shape (n_rows,); all where it is not given.
    """
    dataset = plan.dataset
    scorers = {}
    for fold in plan.scored_folds:
        span = dataset.span_of(fold.validation_eras)
        target = dataset.read_scoring_target(span)
        if known is not None:
            target = np.where(known[fold.number], target, np.nan)
        scorers[fold.number] = Scorer(
            dataset.eras[span],
            target,
            dataset.read_benchmarks(plan.numerai_benchmarks, span),
        )
    return scorers


@dataclass(frozen=True, eq=False)
class FoldRows:
    """Id and era label of each of a fold's validation rows."""

    ids: pa.Array
    eras: pa.Array
    era_labels: tuple[str, ...]  # distinct, ascending
