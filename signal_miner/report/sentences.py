"""Every sentence that the command line and the report say about results: numbers and enums in, English out.

The packages below return numbers; a message is reworded here and nowhere else.
"""

from __future__ import annotations

import numpy as np

from signal_miner.experiment.plan import Plan
from signal_miner.overfitting.records import INTERVAL_LEVEL, Estimate
from signal_miner.utils.formatting import UNKNOWN, number_text


def describe_plan(plan: Plan) -> tuple[str, ...]:
    """Return the lines that `mine` prints before it starts: study, data, each fold, the holdout."""
    dataset, experiment = plan.dataset, plan.experiment
    eras = np.unique(dataset.eras)
    plural = "s" * (len(plan.targets) > 1)
    study = f"{experiment.trials} trials of {plan.grid.size:,} configurations, seed {experiment.seed}"
    rows = f"{len(dataset):,} rows, eras {plan.span(eras.tolist())}, {len(dataset.features)} features"
    targets = f"{len(plan.targets)} training target{plural}, scored on {experiment.scoring_target}"
    lines = [f"Study {plan.study}: {study}", f"Data {dataset.name}: {rows}, {targets}"]
    folds = plan.scored_folds
    purge = plan.purge_eras[str(plan.benchmark["target"])]
    step = experiment.folds.train_era_step
    thinning = f", 1 era in {step}" if step > 1 else ""
    for fold in folds:
        part = "test" if fold is folds[-1] else "validation"
        train, predict = plan.span(fold.train_eras), plan.span(fold.validation_eras)
        gap = f"purge {purge} era{'s' * (purge != 1)}"
        lines.append(f"Fold {fold.number} ({part}): train {train}{thinning}, {gap}, predict {predict}")
    if plan.holdout_eras:
        before = max(plan.purge_eras.values())
        gap = f"a purge of {before} era{'s' * (before != 1)} before it"
        lines.append(f"Holdout: {plan.span(plan.holdout_eras)}, not touched, with {gap}")
    return tuple(lines)


def interval_text(estimate: Estimate, digits: int = 2) -> str:
    """Return an estimate with its interval, such as ``0.31 (90% interval 0.02 to 0.55)``."""
    value, low, high = (number_text(part, digits) for part in (estimate.value, estimate.low, estimate.high))
    if UNKNOWN in (low, high):
        return value
    return f"{value} ({INTERVAL_LEVEL:.0%} interval {low} to {high})"
