"""Each grid dimension against validation and test Sharpe."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from signal_miner.report.measures import trial_sharpe
from signal_miner.report.style import SECTION, drawing, new_figure
from signal_miner.scoring.study_scores import TEST, VALIDATION, StudyScores
from signal_miner.tracking.records import FIXED_PARAMS, TrackedTrial
from signal_miner.utils.formatting import shortened

_MOST_BINS = 8
_TITLE, _ROW = 0.45, 1.7  # inches
_MOST_CATEGORIES = 24
_MOST_DOTS = 400
_NARROW_LABELS = 30  # characters, all labels together, that fit in a panel of half the width
_LEVEL_LABELS = 20  # characters, all labels as long as the longest, that do not touch side by side


@dataclass(frozen=True, eq=False)
class Dimension:
    """A parameter that varies, its values gathered into at most a few groups.

    Attributes
    ----------
    labels : tuple of str
        Of the groups: a value, or the median of a bin's values.
    group : ndarray of int64, shape (n_trials,)
        Of each trial; -1 where it is in none.
    numeric, binned : bool
        Whether the values are numbers, and whether a group holds several.
    """

    name: str
    labels: tuple[str, ...]
    group: NDArray[np.int64]
    numeric: bool
    binned: bool


def varying_dimensions(trials: Sequence[TrackedTrial], plan: Mapping[str, Any]) -> tuple[Dimension, ...]:
    """Return the grid's dimensions in which the trials differ, in the grid's order.

    Parameters
    ----------
    plan : mapping of str to object
        As `signal_miner.experiment.plan.plan_record` writes it; without a grid, all parameters but the seed are used.

    Returns
    -------
    tuple of Dimension
        Numbers of more than eight values are cut into eight bins of about as many trials each; of more than 24
        categories the most frequent are kept.
    """
    grid = plan.get("experiment", {}).get("grid") or {}
    names = list(grid) or sorted({name for trial in trials for name in trial.params} - FIXED_PARAMS)
    found = []
    for name in names:
        values = [trial.params.get(name) for trial in trials]
        if len(set(values) - {None}) > 1:
            found.append(_dimension(str(name), values))
    return tuple(found)


@drawing()
def parameters_figure(
    scores: StudyScores, trials: Sequence[TrackedTrial], plan: Mapping[str, Any], part: tuple[int, int] = (1, 1)
) -> Figure:
    """Draw the median and the quartiles of validation and test Sharpe by each parameter that varies.

    Parameters
    ----------
    trials : sequence of TrackedTrial
        In the order of `scores.names`.
    plan : mapping of str to object
        As `signal_miner.experiment.plan.plan_record` writes it.
    part : tuple of int, default (1, 1)
        Which of how many figures, of about the same height: (1, 2) and (2, 2) draw all panels, side by side.

    Returns
    -------
    Figure
        A panel a parameter; a sentence where none varies.
    """
    upright, wide = _part(varying_dimensions(trials, plan), *part)
    n_rows = math.ceil(len(upright) / 2)
    heights = [_TITLE + _ROW * n_rows] * bool(upright) + [_height(each) for each in wide]
    ratio = scores.objective.ratio_label
    title = f"Parameters and {ratio}" + (f" ({part[0]} of {part[1]})" if part[1] > 1 else "")
    figure = new_figure(0.4 + sum(heights) if heights else 1.2, title)
    if not heights:
        figure.text(0.015, 0.3, "No parameter varies between the trials.")
        return figure
    sharpe = {section: trial_sharpe(scores, section) for section in (VALIDATION, TEST)}
    limits = _limits(list(sharpe.values()))
    # Long labels of one panel would else push all others aside.
    parts = list(figure.subfigures(len(heights), 1, squeeze=False, height_ratios=heights)[:, 0])
    first = parts[0]
    if upright:
        panels = parts.pop(0).subplots(n_rows, 2, squeeze=False)
        for axes, dimension in zip(panels.flat, upright, strict=False):
            _draw(axes, dimension, sharpe, limits, upright=True)
        for axes in panels[:, 0]:
            axes.set_ylabel(ratio)
        if len(upright) % 2:
            panels[-1, 1].set_axis_off()
    for row, dimension in zip(parts, wide, strict=True):
        axes = row.add_subplot()
        _draw(axes, dimension, sharpe, limits, upright=False)
        axes.set_xlabel(ratio)
    handles, labels = first.axes[0].get_legend_handles_labels()
    first.legend(handles, [f"{label}: median, quartiles" for label in labels], loc="outside upper left", ncols=2)
    return figure


def _part(dimensions: Sequence[Dimension], number: int, of: int) -> tuple[Sequence[Dimension], Sequence[Dimension]]:
    """Return the panels of half the width and those of all of it that one of so many figures draws."""
    upright = [each for each in dimensions if _is_narrow(each)]
    wide = [each for each in dimensions if not _is_narrow(each)]
    rows: list[tuple[float, list[Dimension]]] = [(_ROW, upright[at : at + 2]) for at in range(0, len(upright), 2)]
    rows += [(_height(each), [each]) for each in wide]
    ends = np.cumsum([height for height, _ in rows])
    kept = {
        id(each)
        for (height, row), end in zip(rows, ends, strict=True)
        if math.floor((end - height / 2) / ends[-1] * of) == number - 1
        for each in row
    }
    return [each for each in upright if id(each) in kept], [each for each in wide if id(each) in kept]


def _height(wide: Dimension) -> float:
    return 1.2 + 0.25 * len(wide.labels)


def _dimension(name: str, values: Sequence[str | None]) -> Dimension:
    numbers = np.array([_number(value) for value in values])
    given = np.array([value is not None for value in values])
    if np.isfinite(numbers[given]).all():
        distinct = np.unique(numbers[given])
        if len(distinct) <= _MOST_BINS:
            labels = tuple(f"{value:.6g}" for value in distinct)
            return Dimension(name, labels, _place(numbers, distinct, given), numeric=True, binned=False)
        edges = np.unique(np.quantile(numbers[given], np.linspace(0, 1, _MOST_BINS + 1)[1:-1]))
        group = np.where(given, np.searchsorted(edges, numbers, side="left"), -1)
        kept = np.unique(group[given])
        labels = tuple(f"{np.median(numbers[group == one]):.3g}" for one in kept)
        return Dimension(name, labels, _place(group, kept, given), numeric=True, binned=True)
    texts = np.array([value or "" for value in values])
    kinds, counts = np.unique(texts[given], return_counts=True)
    kinds = np.sort(kinds[np.argsort(-counts, kind="stable")][:_MOST_CATEGORIES])
    group = _place(texts, kinds, given & np.isin(texts, kinds))
    return Dimension(name, tuple(shortened(str(kind), 24) for kind in kinds), group, numeric=False, binned=False)


def _number(value: str | None) -> float:
    try:
        return float(value) if value is not None else math.nan
    except ValueError:
        return math.nan


def _place(values: NDArray[Any], distinct: NDArray[Any], known: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Return the place of each value among the distinct ones; -1 where it is not known."""
    return np.where(known, np.searchsorted(distinct, values), -1).astype(np.int64)


def _is_narrow(dimension: Dimension) -> bool:
    few = len(dimension.labels) <= _MOST_BINS
    return dimension.numeric or (few and sum(len(label) + 1 for label in dimension.labels) <= _NARROW_LABELS)


def _limits(sharpes: Sequence[NDArray[np.float64]]) -> tuple[float, float]:
    known = np.concatenate([values[np.isfinite(values)] for values in sharpes])
    if not len(known):
        return -1.0, 1.0
    # A few outliers must not flatten all panels.
    low, high = np.quantile(known, [0.01, 0.99])
    air = max(0.08 * float(high - low), 0.02)
    return float(low) - air, float(high) + air


def _draw(
    axes: Axes,
    dimension: Dimension,
    sharpe: Mapping[str, NDArray[np.float64]],
    limits: tuple[float, float],
    *,
    upright: bool,
) -> None:
    """Draw one dimension's panel: groups along the bottom, or along the side where their labels are long."""
    for section, shift in ((VALIDATION, -0.17), (TEST, 0.17)):
        color, marker, _ = SECTION[section]
        values = sharpe[section]
        known = np.isfinite(values) & (dimension.group >= 0)
        if len(values) <= _MOST_DOTS:
            spread = np.random.default_rng(0).uniform(-0.11, 0.11, len(values))
            places = (dimension.group + shift + spread)[known]
            pair = (places, values[known]) if upright else (values[known], places)
            axes.plot(*pair, ".", color=color, alpha=0.22, markersize=4.5, markeredgewidth=0, zorder=2)
        for number in range(len(dimension.labels)):
            members = values[known & (dimension.group == number)]
            if not len(members):
                continue
            low, median, high = np.quantile(members, [0.25, 0.5, 0.75])
            place = number + shift
            ends = ([place, place], [low, high]) if upright else ([low, high], [place, place])
            axes.plot(*ends, color=color, linewidth=2.4, solid_capstyle="butt", zorder=3)
            point = (place, median) if upright else (median, place)
            axes.plot(*point, marker, color=color, markersize=5.5, linestyle="none", zorder=4)
        axes.plot([], [], marker, color=color, linestyle="-", linewidth=2.4, markersize=5.5, label=section)
    axes.set_title(shortened(dimension.name, 18 if upright else 40) + (", binned" if dimension.binned else ""))
    count = len(dimension.labels)
    if upright:
        steep = count * max(len(label) for label in dimension.labels) > _LEVEL_LABELS
        axes.set_xticks(range(count), dimension.labels, rotation=90 if steep else 0)
        axes.set(xlim=(-0.5, count - 0.5), ylim=limits)
        axes.grid(visible=False, axis="x")
        axes.yaxis.set_major_locator(MaxNLocator(4))
    else:
        axes.set_yticks(range(count), dimension.labels)
        axes.set(ylim=(count - 0.5, -0.5), xlim=limits)
        axes.grid(visible=False, axis="y")
