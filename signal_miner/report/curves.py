"""The leaders over the eras and over their trees."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from matplotlib.transforms import blended_transform_factory

from signal_miner.report.fold_plan import scored_folds
from signal_miner.report.style import BENCHMARK, GREY, INK, LEADERS, MUTED, PURPLE, drawing, legend_below, new_figure
from signal_miner.scoring.best_checkpoint import best_checkpoint
from signal_miner.scoring.objective import Objective
from signal_miner.scoring.series import mean
from signal_miner.scoring.study_scores import TEST, VALIDATION, StudyScores
from signal_miner.utils.formatting import shortened

_CHARACTERS = 48  # that fit side by side over the axis


@drawing()
def cumulative_corr_figure(scores: StudyScores, plan: Mapping[str, Any]) -> Figure:
    """Draw the cumulative CORR, or payout, of the first five trials and the benchmark, with folds and purges.

    Parameters
    ----------
    plan : mapping of str to object
        As `signal_miner.plan.plan_record` writes it, for the purges.
    """
    figure = new_figure(4.7, f"Cumulative {scores.objective.compared.label}, era by era")
    axes = figure.add_subplot()
    for place, (color, style) in enumerate(LEADERS[: len(scores.names)]):
        path = np.nancumsum(scores.era_scores[:, place])
        axes.plot(scores.eras, path, color=color, linestyle=style, label=shortened(scores.names[place], 16), zorder=4)
    if np.isfinite(scores.benchmark).any():
        path = np.nancumsum(scores.benchmark)
        axes.plot(scores.eras, path, color=BENCHMARK, linewidth=2.6, label="benchmark", zorder=3)
    axes.axhline(0, color=MUTED, linewidth=0.8)
    axes.set(xlabel="era", ylabel=f"sum of {scores.objective.compared.label}")
    axes.margins(y=0.1)
    axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
    _shade_folds(axes, scores, plan)
    legend_below(figure, 3, handlelength=2.6)
    return figure


@drawing()
def corr_by_trees_figure(scores: StudyScores) -> Figure:
    """Draw mean CORR, or payout, against number of trees for the first five trials, their best in validation marked."""
    objective = scores.objective if scores.objective.era_score == scores.objective.compared else Objective.PAYOUT
    label_of = objective.compared.label
    figure = new_figure(4.2, f"{label_of[:1].upper()}{label_of[1:]} by number of trees")
    panels = dict(zip((VALIDATION, TEST), figure.subplots(1, 2, sharey=True), strict=True))
    for place, (color, style) in enumerate(LEADERS[: len(scores.names)]):
        members = np.flatnonzero(scores.candidate_trial == place)
        members = members[np.argsort(scores.candidate_trees[members])]
        trees = scores.candidate_trees[members]
        best = best_checkpoint(scores.candidates[np.ix_(scores.rows(VALIDATION), members)], objective)
        for section, axes in panels.items():
            curve = mean(scores.candidates[scores.rows(section)][:, members])
            label = shortened(scores.names[place], 16) if section == VALIDATION else None
            axes.plot(trees, curve, color=color, linestyle=style, label=label)
            axes.plot(trees[best], curve[best], "o", color=color, markersize=7, markeredgecolor=INK, zorder=5)
    first = panels[VALIDATION]
    for section, axes in panels.items():
        axes.set_title(section)
        axes.set_xlabel("trees")
        axes.xaxis.set_major_locator(MaxNLocator(4, integer=True))
        axes.set_xlim(left=0)
    first.set_ylabel(f"mean {label_of}")
    first.plot([], [], "o", color=GREY, markeredgecolor=INK, markersize=7, label=f"best validation {objective.label}")
    legend_below(figure, 3, handlelength=2.6)
    return figure


def _shade_folds(axes: Axes, scores: StudyScores, plan: Mapping[str, Any]) -> None:
    """Mark each fold's eras along the top, its purge along the bottom, and shade test."""
    top = blended_transform_factory(axes.transData, axes.transAxes)
    numbers = [int(number) for number in np.unique(scores.folds)]
    purges = {int(fold["number"]): fold for fold in scored_folds(plan)}
    labelled = False
    for number in numbers:
        eras = scores.eras[scores.folds == number]
        start, end = float(eras.min()) - 0.5, float(eras.max()) + 0.5
        is_test = number == numbers[-1]
        if is_test:
            axes.axvspan(start, end, color=PURPLE, alpha=0.13, linewidth=0, zorder=0)
        if number != numbers[0]:
            axes.axvline(start, color=GREY, linewidth=0.9, zorder=1)
        trained = purges.get(number, {}).get("train_eras") or []
        if trained and start - trained[-1] > 1:
            axes.axvspan(
                trained[-1] + 0.5,
                start,
                ymax=0.045,
                facecolor="none",
                edgecolor=MUTED,
                hatch="//////",
                linewidth=0.6,
                label=None if labelled else "purged before a fold",
                zorder=2,
            )
            labelled = True
    # The space for labels is known only now, as the purges widened the axis.
    low, high = axes.get_xlim()
    for number in numbers:
        eras = scores.eras[scores.folds == number]
        part = TEST if number == numbers[-1] else VALIDATION
        space = _CHARACTERS * float(np.ptp(eras) + 1) / (high - low)
        short = part if part == TEST else "val."
        fitting = [text for text in (f"fold {number}, {part}", part, short) if len(text) < space]
        if fitting:
            middle = float(eras.min() + eras.max()) / 2
            axes.text(middle, 0.985, fitting[0], transform=top, ha="center", va="top", color=MUTED, fontsize=9.5)
