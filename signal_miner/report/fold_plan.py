"""Which eras each fold trains on, purges and predicts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.figure import Figure
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator

from signal_miner.report.style import BLUE, GREEN, GREY, INK, MUTED, PURPLE, drawing, new_figure

_LOOKS: dict[str, dict[str, Any]] = {
    "train": {"facecolor": GREY, "alpha": 0.55},
    "purge": {"facecolor": "none", "edgecolor": MUTED, "hatch": "//////", "linewidth": 0.8},
    "validation": {"facecolor": BLUE},
    "test": {"facecolor": PURPLE},
    "holdout": {"facecolor": "none", "edgecolor": GREEN, "linewidth": 1.8},
}


def scored_folds(plan: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
    """Return the folds of the benchmark's target, or of the first that there is; empty where the plan has none."""
    targets: Mapping[str, Any] = plan.get("targets", {})
    named = str(plan.get("experiment", {}).get("benchmark", {}).get("target", ""))
    target: Mapping[str, Any] = targets.get(named) or next(iter(targets.values()), {})
    folds: Sequence[Mapping[str, Any]] = target.get("folds", ())
    return folds


@drawing()
def fold_plan_figure(plan: Mapping[str, Any]) -> Figure:
    """Draw the eras that each fold trains on, purges and predicts, and the holdout.

    Parameters
    ----------
    plan : mapping of str to object
        As `signal_miner.experiment.plan.plan_record` writes it.

    Returns
    -------
    Figure
        Of the benchmark's target: targets of another horizon have another purge.
    """
    folds = scored_folds(plan)
    holdout = list(plan.get("holdout_eras", ()))
    rows = [f"fold {fold['number']}" for fold in folds] + (["holdout"] if holdout else [])
    figure = new_figure(1.9 + 0.36 * max(len(rows), 1), "The folds")
    axes = figure.add_subplot()
    shown = set()
    for row, fold in enumerate(folds):
        train, predicted = fold["train_eras"], fold["validation_eras"]
        part = "test" if row == len(folds) - 1 else "validation"
        bars = [(part, predicted[0], predicted[-1])]
        if train:
            bars = [("train", train[0], train[-1]), ("purge", train[-1] + 1, predicted[0] - 1), *bars]
        for kind, first, last in bars:
            if last >= first:
                axes.barh(row, last - first + 1, left=first - 0.5, height=0.6, **_LOOKS[kind])
                shown.add(kind)
    if holdout:
        last_predicted = folds[-1]["validation_eras"][-1] if folds else holdout[0] - 1
        if holdout[0] > last_predicted + 1:
            width = holdout[0] - last_predicted - 1
            axes.barh(len(folds), width, left=last_predicted + 0.5, height=0.6, **_LOOKS["purge"])
            shown.add("purge")
        width = holdout[-1] - holdout[0] + 1
        axes.barh(len(folds), width, left=holdout[0] - 0.5, height=0.6, **_LOOKS["holdout"])
        shown.add("holdout")
    axes.set_yticks(range(len(rows)), rows)
    axes.set_ylim(max(len(rows), 1) - 0.5, -0.5)
    axes.tick_params(axis="y", length=0)
    axes.set_xlabel("era", color=INK)
    axes.xaxis.set_major_locator(MaxNLocator(7, integer=True))
    axes.grid(visible=False, axis="y")
    kinds = [kind for kind in _LOOKS if kind in shown]
    if kinds:
        handles = [Patch(**_LOOKS[kind], label=kind) for kind in kinds]
        figure.legend(handles=handles, loc="outside lower left", ncols=5)
    return figure
