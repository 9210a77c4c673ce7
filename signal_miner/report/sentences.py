"""Every sentence that the command line and the report say about results: numbers and enums in, English out.

The packages below return numbers; a message is reworded here and nowhere else.
"""

from __future__ import annotations

import numpy as np

from signal_miner.experiment.plan import Plan
from signal_miner.overfitting.cross_validation import FEW_SPLITS
from signal_miner.overfitting.records import INTERVAL_LEVEL, Estimate, Overfitting, Superiority
from signal_miner.overfitting.superiority import SIGNIFICANT
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


def overfitting_sentence(found: Overfitting) -> str:
    """Return how often the best trial of one half of the eras failed in the other, and what that means."""
    share = (
        f"In {found.probability:.0%} of {found.n_splits:,} ways to halve the {found.n_eras} validation and test eras"
    )
    few = found.n_splits < FEW_SPLITS
    if found.probability < 0.25:
        meaning = "choosing the best trial mostly paid off on eras it had not seen"
    elif found.probability < 0.4:
        meaning = "choosing the best trial paid off more often than not"
    elif found.probability <= 0.6:
        meaning = "choosing the best trial was about as good as choosing any"
    elif few:
        meaning = "choosing the best trial did not pay off more often than not"
    else:
        meaning = "choosing the best trial was worse than choosing any"
    meaning += ", but so few splits tell little" * few
    return f"{share} the best trial of one half was below the median of the other: {meaning}."


def superiority_sentence(found: Superiority) -> str:
    """Return whether validation shows a trial that beats the benchmark's CORR by more than luck."""
    none = "the trial does not beat" if found.n_trials == 1 else f"none of the {found.n_trials:,} trials beats"
    luck = f"if {none} the benchmark, the best would look as good in {found.p_consistent:.1%} of the cases"
    if found.p_consistent <= SIGNIFICANT:
        return f"Validation shows a trial that beats the benchmark's CORR by more than luck: {luck}."
    return f"Validation does not show that any trial beats the benchmark's CORR: {luck}."
