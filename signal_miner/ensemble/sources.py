"""Studies whose trials can be blended: their predictions are of the same rows, scored on the same target."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from signal_miner.engine.validation_rows import FoldRows, fold_rows
from signal_miner.errors import UserError
from signal_miner.experiment.plan import Plan, restore_plan
from signal_miner.tracking.studies import TrackedStudy


@dataclass(frozen=True, eq=False)
class Source:
    """A study with its data.

    Attributes
    ----------
    orders : mapping of int to ndarray of int64, shape (n_rows,)
        By fold number, the place in this study of each validation row of the first one.
    """

    study: TrackedStudy
    plan: Plan
    orders: Mapping[int, NDArray[np.int64]]


def open_sources(studies: Sequence[TrackedStudy], data: str | None) -> tuple[Source, ...]:
    """Open the data of studies, and check that their trials can be blended.

    Parameters
    ----------
    studies : sequence of TrackedStudy
        The first is the one whose benchmark and data the ensemble has.
    data : str or None
        Where the data are now, if they were moved.

    Raises
    ------
    UserError
        If data are missing, or a study has another scoring target, other folds, rows, targets or values of a feature
        than the first.
    """
    plans = [restore_plan(study.plan, data) for study in studies]
    first = fold_rows(plans[0])
    return tuple(
        Source(study, plan, _orders(plans[0], first, studies[0].name, plan, study.name))
        for study, plan in zip(studies, plans, strict=True)
    )


def _orders(first: Plan, rows: Mapping[int, FoldRows], name: str, plan: Plan, own: str) -> dict[int, NDArray[np.int64]]:
    if plan is first:
        return {number: np.arange(len(labels.ids)) for number, labels in rows.items()}
    refused = f"studies {name} and {own} cannot be blended: they have"
    target, other = first.experiment.scoring_target, plan.experiment.scoring_target
    if target != other:
        raise UserError(f"{refused} the scoring targets {target} and {other}; choose studies scored on the same target")
    own_rows = fold_rows(plan)
    spans = {number: labels.era_labels for number, labels in rows.items()}
    if spans != {number: labels.era_labels for number, labels in own_rows.items()}:
        raise UserError(f"{refused} other validation eras; choose studies with the same data and [folds]")
    orders = {}
    for number, labels in rows.items():
        order = pc.index_in(labels.ids.cast(pa.string()), value_set=own_rows[number].ids.cast(pa.string()))
        if order.null_count or len(labels.ids) != len(own_rows[number].ids):
            raise UserError(f"{refused} other validation rows; choose studies of the same data")
        orders[number] = order.to_numpy().astype(np.int64)
        ours, theirs = (each.dataset.read_scoring_target(_span(each, number)) for each in (first, plan))
        if not np.array_equal(ours, theirs[orders[number]], equal_nan=True):
            raise UserError(f"{refused} other values of {target}; choose studies of the same data")
    _require_same_features(first, plan, orders, refused)
    return orders


def _require_same_features(first: Plan, plan: Plan, orders: Mapping[int, NDArray[np.int64]], refused: str) -> None:
    """Compare the features that both have in the newest scored era: their boosters will predict from one table."""
    shared = [name for name in first.dataset.features if name in set(plan.dataset.features)]
    last = first.scored_folds[-1]
    era, own_era = (each.dataset.span_of(each.scored_folds[-1].validation_eras[-1:]) for each in (first, plan))
    places = orders[last.number][era.start - _span(first, last.number).start :]
    places = places - (own_era.start - _span(plan, last.number).start)
    ours = first.dataset.read_features(shared, era)
    theirs = plan.dataset.read_features(shared, own_era).take(pa.array(places))
    for name in shared:
        values, others = (table.column(name).to_numpy().astype(np.float64) for table in (ours, theirs))
        if not np.array_equal(values, others, equal_nan=True):
            raise UserError(f"{refused} other values of {name}; choose studies of the same version of the data")


def _span(plan: Plan, number: int) -> slice:
    fold = next(fold for fold in plan.scored_folds if fold.number == number)
    return plan.dataset.span_of(fold.validation_eras)
