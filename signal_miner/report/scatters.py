"""Trials as dots: past against future, and BMC against correlation with the benchmark."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from signal_miner.overfitting.records import Relation
from signal_miner.report.measures import beats_benchmark, benchmark_sharpe, trial_sharpe, wins
from signal_miner.report.sentences import interval_text
from signal_miner.report.style import (
    BENCHMARK,
    BLUE,
    GREEN,
    GREY,
    INK,
    MUTED,
    PURPLE,
    as_picture,
    drawing,
    legend_below,
    new_figure,
)
from signal_miner.scoring.series import mean
from signal_miner.scoring.study_scores import TEST, VALIDATION, StudyScores
from signal_miner.utils.formatting import number_text, shortened

_N_LEADERS = 5
_FEW = 500  # dots that do not hide a line


@drawing()
def past_vs_future_figure(
    scores: StudyScores, relation: Relation, ensembles: Sequence[tuple[float, float]] = ()
) -> Figure:
    """Draw validation Sharpe against test Sharpe: a dot a trial, the benchmark a star, and the fitted line.

    The controls of a race, which are not chosen by what they scored, are encircled.

    Parameters
    ----------
    relation : Relation
        The line, and the rank correlation with its interval.
    ensembles : sequence of tuple of two float, optional
        Validation and test Sharpe of ensembles, diamonds.
    """
    figure = new_figure(5.3, "Did validation predict test?")
    axes = figure.add_subplot()
    past, future = trial_sharpe(scores, VALIDATION), trial_sharpe(scores, TEST)
    reference = benchmark_sharpe(scores, VALIDATION), benchmark_sharpe(scores, TEST)
    blends = np.array(ensembles, dtype=np.float64).reshape(-1, 2)
    ends = (
        _span(np.concatenate([past, [reference[0]], blends[:, 0]])),
        _span(np.concatenate([future, [reference[1]], blends[:, 1]])),
    )
    axes.set(
        xlim=ends[0],
        ylim=ends[1],
        xlabel=f"{scores.objective.ratio_label} in validation",
        ylabel=f"{scores.objective.ratio_label} in test",
    )
    axes.axhline(0, color=MUTED, linewidth=0.8, zorder=1)
    axes.axline((0, 0), slope=1, color=MUTED, linewidth=1, linestyle=":", zorder=1, label="test = validation")
    _dots(axes, scores, past, future)
    if scores.sampled is not None and scores.sampled.any():
        _circles(axes, past[scores.sampled], future[scores.sampled])
    if np.isfinite([relation.slope, relation.intercept]).all():
        known = past[np.isfinite(past) & np.isfinite(future)]
        x = np.array([known.min(), known.max()]) if len(known) else np.array(ends[0])
        line = f"fit, slope {number_text(relation.slope)}"
        axes.plot(
            x,
            relation.intercept + relation.slope * x,
            color=INK,
            linewidth=1.8,
            zorder=2.5 if len(past) <= _FEW else 5,
            label=line,
        )
    if len(past) and np.isfinite([past[0], future[0]]).all():
        _ring(axes, past[:1], future[:1], f"chosen: {scores.names[0]}")
    if len(blends):
        _diamonds(axes, blends)
    if np.isfinite(reference).all():
        _star(axes, *reference)
    axes.set_title(
        f"rank correlation {interval_text(relation.rank_correlation)}" if relation.n_trials > 1 else "", fontsize=10
    )
    legend_below(figure)
    return figure


@drawing()
def contribution_figure(
    scores: StudyScores,
    n_leaders: int = _N_LEADERS,
    ensembles: Sequence[tuple[float, float]] = (),
    benchmark: tuple[float, float] = (1.0, 0.0),
    against: str = "the benchmark",
) -> Figure:
    """Draw BMC against correlation with the benchmark, in validation: a dot a trial, the leaders ringed.

    Parameters
    ----------
    n_leaders : int, default 5
        Trials to mark, from the first.
    ensembles : sequence of tuple of two float, optional
        Correlation with the benchmark and BMC of ensembles, diamonds.
    benchmark : tuple of two float, default (1, 0)
        The same of the study's benchmark, where BMC is against other predictions.
    against : str, default "the benchmark"
        What BMC and the correlation are against.
    """
    figure = new_figure(5.0, f"What trials add to {shortened(against, 24)} (validation)")
    axes = figure.add_subplot()
    alike, added = contribution_points(scores)
    axes.set(xlabel=f"correlation with {shortened(against, 40)}", ylabel="BMC")
    axes.axhline(0, color=MUTED, linewidth=0.8, zorder=1)
    _dots(axes, scores, alike, added)
    known = np.flatnonzero(np.isfinite(alike) & np.isfinite(added))[:n_leaders]
    if len(known):
        label = (
            scores.names[known[0]] if len(known) == 1 else f"first {len(known)} by validation {scores.objective.label}"
        )
        _ring(axes, alike[known], added[known], label)
    if len(ensembles):
        _diamonds(axes, np.array(ensembles, dtype=np.float64))
    if np.isfinite(benchmark).all():
        _star(axes, *benchmark)
    legend_below(figure)
    return figure


def _dots(axes: Axes, scores: StudyScores, x: NDArray[np.float64], y: NDArray[np.float64]) -> None:
    """Draw the trials, a colour and a shape for each relation to the benchmark."""
    past, future = wins(scores, VALIDATION), wins(scores, TEST)
    few = len(x) <= _FEW
    loses = (beats_benchmark(scores, VALIDATION) & ~past).any()
    for label, members, color, marker, size in (
        ("does not beat it, or is below 0" if loses else "does not beat the benchmark", ~past, GREY, "o", 4.0),
        ("beats it in validation only", past & ~future, BLUE, "s", 4.6),
        ("beats it in both", past & future, GREEN, "^", 5.6),
    ):
        if members.any():
            axes.plot(
                x[members],
                y[members],
                marker,
                color=color,
                markersize=size if few else size * 0.7,
                markeredgewidth=0,
                alpha=0.75 if few else 0.5,
                label=label,
                rasterized=as_picture(len(x)),
                zorder=3,
            )


def _ring(axes: Axes, x: NDArray[np.float64], y: NDArray[np.float64], label: str) -> None:
    axes.plot(x, y, "o", markersize=11, markerfacecolor="none", markeredgecolor=INK, mew=1.4, label=label, zorder=6)


def _circles(axes: Axes, x: NDArray[np.float64], y: NDArray[np.float64]) -> None:
    look: dict[str, Any] = {"markersize": 8, "markerfacecolor": "none", "markeredgecolor": INK, "mew": 0.7}
    axes.plot(x, y, "o", **look, label="controls of the race", rasterized=as_picture(len(x)), zorder=4)


def _diamonds(axes: Axes, points: NDArray[np.float64]) -> None:
    look: dict[str, Any] = {"markersize": 8, "color": PURPLE, "markeredgecolor": INK, "markeredgewidth": 0.8}
    axes.plot(points[:, 0], points[:, 1], "D", **look, label="ensembles", zorder=6.5)


def contribution_points(scores: StudyScores) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return each trial's correlation with the benchmark and its BMC in validation."""
    rows = scores.rows(VALIDATION)
    return mean(scores.benchmark_corr[rows]), mean(scores.bmc[rows])


def _star(axes: Axes, x: float, y: float) -> None:
    axes.plot(
        x,
        y,
        "*",
        markersize=16,
        color=BENCHMARK,
        markeredgecolor=INK,
        markeredgewidth=0.8,
        label="benchmark",
        clip_on=False,
        zorder=7,
    )


def _span(values: NDArray[np.float64]) -> tuple[float, float]:
    """Return limits around the defined values, with some air."""
    known = values[np.isfinite(values)]
    if not len(known):
        return -1.0, 1.0
    air = max(0.06 * float(np.ptp(known)), 0.02)
    return float(known.min()) - air, float(known.max()) + air
