"""How much of the best is luck: what luck alone would give, overfitting, and intervals of the leaders."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

from signal_miner.overfitting.records import INTERVAL_LEVEL, Deflation, Estimate, ModelEvaluation, Overfitting, Verdict
from signal_miner.report.measures import benchmark_sharpe, trial_sharpe
from signal_miner.report.style import (
    BENCHMARK,
    BLUE,
    GREEN,
    GREY,
    INK,
    SECTION,
    drawing,
    legend_above,
    legend_below,
    new_figure,
)
from signal_miner.scoring.study_scores import TEST, VALIDATION, StudyScores
from signal_miner.utils.formatting import number_text, percent_text, shortened

_SECTIONS = (VALIDATION, TEST)


@drawing()
def luck_figure(scores: StudyScores, deflation: Deflation, overfitting: Overfitting | None) -> Figure:
    """Draw the trials' validation Sharpe beside the best that luck alone would give, and how the halves' best fared.

    Parameters
    ----------
    overfitting : Overfitting or None
        Without it the lower panel is left out.
    """
    figure = new_figure(5.0 if overfitting is None else 7.0, "Luck: what so many tries give without skill")
    panels = figure.subplots(1 if overfitting is None else 2, squeeze=False)[:, 0]
    _draw_best(panels[0], scores, deflation)
    if overfitting is not None:
        _draw_overfitting(panels[1], overfitting)
    return figure


@drawing()
def expectation_figure(rows: Sequence[tuple[str, float, Estimate, float]], label: str) -> Figure:
    """Draw what models showed in validation and in test, and what to expect of them, with prediction intervals.

    Parameters
    ----------
    rows : sequence of tuple
        Name, validation score, expectation and test score of each model.
    label : str
        Of the score.
    """
    figure = new_figure(1.75 + 0.5 * len(rows), f"What to expect: {label}")
    axes = figure.add_subplot()
    for row, (_, shown, expected, tested) in enumerate(rows):
        named = row == 0
        if np.isfinite([shown, expected.value]).all():
            axes.plot([shown, expected.value], [row, row], color=GREY, linewidth=1, linestyle=":", zorder=1)
        if np.isfinite([expected.low, expected.high]).all():
            axes.plot(
                [expected.low, expected.high],
                [row, row],
                color=GREEN,
                linewidth=5,
                alpha=0.45,
                zorder=2,
                solid_capstyle="butt",
            )
        for value, color, marker, size, name in (
            (shown, *SECTION[VALIDATION][:2], 7, "validation, which it was chosen by"),
            (tested, *SECTION[TEST][:2], 7, "test"),
            (expected.value, GREEN, "D", 9, "to expect, with interval"),
        ):
            if np.isfinite(value):
                edge: dict[str, Any] = {"markeredgecolor": INK, "markeredgewidth": 0.8} if marker == "D" else {}
                axes.plot(
                    value, row, marker, color=color, markersize=size, label=name if named else None, zorder=4, **edge
                )
    axes.axvline(0, color=GREY, linewidth=0.8, zorder=0)
    axes.set_yticks(range(len(rows)), [shortened(name, 14) for name, *_ in rows])
    axes.set_ylim(len(rows) - 0.4, -0.6)
    axes.set_xlabel(label)
    axes.grid(visible=False, axis="y")
    axes.tick_params(axis="y", length=0)
    axes.margins(x=0.08)
    legend_below(figure)
    return figure


@drawing()
def intervals_figure(scores: StudyScores, leaders: Sequence[ModelEvaluation]) -> Figure:
    """Draw the leaders' Sharpe, and its difference to the benchmark's, with intervals and verdicts.

    Validation is corrected for selection bias.

    Parameters
    ----------
    scores : StudyScores
        For the benchmark's Sharpe.
    leaders : sequence of ModelEvaluation
        Best first.
    """
    figure = new_figure(
        1.8 + 0.46 * len(leaders), f"Leaders' {scores.objective.ratio_label}, with {INTERVAL_LEVEL:.0%} intervals"
    )
    own, over = figure.subplots(1, 2, sharey=True)
    for axes, estimates in (
        (own, [{**leader.sharpe, VALIDATION: leader.corrected} for leader in leaders]),
        (over, [{**leader.sharpe_over_benchmark, VALIDATION: leader.corrected_over_benchmark} for leader in leaders]),
    ):
        for section, shift in zip(_SECTIONS, (-0.14, 0.14), strict=True):
            color, marker, _ = SECTION[section]
            for row, estimate in enumerate(estimates):
                text = "validation, corrected" if section == VALIDATION else section
                label = text if axes is own and row == 0 else None
                _draw_estimate(axes, row + shift, estimate[section], color, marker, label)
        axes.xaxis.set_major_locator(MaxNLocator(4))
        axes.grid(visible=False, axis="y")
        axes.margins(x=0.08)
    own.set_xlabel(scores.objective.ratio_label)
    over.set_xlabel("less the benchmark's")
    over.axvline(0, color=BENCHMARK, linewidth=1.6, zorder=1)
    for section in _SECTIONS:
        reference = benchmark_sharpe(scores, section)
        if np.isfinite(reference):
            style = SECTION[section][2]
            own.axvline(
                reference, color=BENCHMARK, linewidth=1.6, linestyle=style, zorder=1, label=f"benchmark, {section}"
            )
    own.set_yticks(range(len(leaders)), [f"{shortened(leader.name, 14)}\n{leader.verdict}" for leader in leaders])
    for label, leader in zip(own.get_yticklabels(), leaders, strict=True):
        label.set_fontweight("bold" if leader.verdict is Verdict.SKILL else "normal")
    own.set_ylim(len(leaders) - 0.5, -0.5)
    for axes in (own, over):
        axes.tick_params(axis="y", length=0)
        for row in range(1, len(leaders)):
            axes.axhline(row - 0.5, color=GREY, linewidth=0.4)
    legend_below(figure)
    return figure


def _draw_best(axes: Axes, scores: StudyScores, deflation: Deflation) -> None:
    past = trial_sharpe(scores, VALIDATION)
    known = past[np.isfinite(past)]
    marks: tuple[tuple[str, float, str, str], ...] = (
        ("luck's expected best", deflation.expected_best_sharpe, INK, "--"),
        ("benchmark", benchmark_sharpe(scores, VALIDATION), BENCHMARK, "-"),
    )
    if len(known):
        marks = (*marks, (f"chosen, {shortened(scores.names[0], 14)}", float(past[0]), BLUE, "-."))
    if len(known):
        axes.hist(known, bins=_bins(known), color=GREY, alpha=0.65, label=f"{len(known):,} trials")
    for label, value, color, style in marks:
        if np.isfinite(value):
            text = f"{label}: {number_text(value)}"
            axes.axvline(value, color=color, linestyle=style, linewidth=2.2, label=text)
    axes.set(xlabel=f"{scores.objective.ratio_label} in validation", ylabel="trials")
    axes.yaxis.set_major_locator(MaxNLocator(5, integer=True))
    axes.grid(visible=False, axis="x")
    legend_above(axes)


def _draw_overfitting(axes: Axes, overfitting: Overfitting) -> None:
    logits = overfitting.logits[np.isfinite(overfitting.logits)]
    edges = _edges_at_zero(logits)
    parts = (
        (logits < 0, GREY, "////", f"below the median: {percent_text(overfitting.probability)} (PBO)"),
        (logits >= 0, BLUE, "", "not below it"),
    )
    for members, color, hatch, label in parts:
        weights = np.full(int(members.sum()), 1 / max(len(logits), 1))
        axes.hist(logits[members], bins=edges, weights=weights, color=color, alpha=0.65, hatch=hatch, label=label)
    axes.axvline(0, color=INK, linewidth=1.2)
    axes.set(xlabel="logit of its rank in the other half", ylabel="splits")
    axes.set_title("The best trial of one half of the eras, in the other half", pad=27)
    axes.yaxis.set_major_formatter(FuncFormatter(lambda share, _: f"{round(100 * share, 6):g}%"))  # 2.5%, not 2%
    axes.yaxis.set_major_locator(MaxNLocator(4))
    axes.grid(visible=False, axis="x")
    legend_above(axes)


def _draw_estimate(axes: Axes, height: float, estimate: Estimate, color: str, marker: str, label: str | None) -> None:
    if np.isfinite([estimate.low, estimate.high]).all():
        axes.plot([estimate.low, estimate.high], [height, height], color=color, linewidth=2, solid_capstyle="butt")
    if np.isfinite(estimate.value):
        axes.plot(estimate.value, height, marker, color=color, markersize=6.5, linestyle="none", label=label)


def _bins(values: np.ndarray[tuple[int], np.dtype[np.float64]]) -> int:
    return int(np.clip(np.sqrt(len(values)) * 1.6, 5, 50)) if np.ptp(values) > 0 else 1


def _edges_at_zero(logits: np.ndarray[tuple[int], np.dtype[np.float64]]) -> list[float]:
    """Return edges of equal bins, one of them 0, so that no bar holds both sides."""
    reach = float(np.abs(logits).max()) if len(logits) else 1.0
    width = max(reach, 0.1) / 12
    low = -np.ceil(max(-float(logits.min(initial=0)), 0) / width + 1e-9)
    high = np.ceil(max(float(logits.max(initial=0)), 0) / width + 1e-9)
    return [float(step * width) for step in np.arange(low, high + 1)]
