"""All figures of a report, with their names, captions and descriptions for readers who cannot see them."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from signal_miner.overfitting.records import INTERVAL_LEVEL, Estimate
from signal_miner.report.contents import ReportContents
from signal_miner.report.curves import corr_by_trees_figure, cumulative_corr_figure
from signal_miner.report.fold_plan import fold_plan_figure
from signal_miner.report.live_figure import live_description, live_figure
from signal_miner.report.luck import expectation_figure, intervals_figure, luck_figure
from signal_miner.report.measures import trial_sharpe
from signal_miner.report.parameters import parameters_figure, varying_dimensions
from signal_miner.report.scatters import contribution_figure, contribution_points, past_vs_future_figure
from signal_miner.report.sentences import interval_text
from signal_miner.report.uniqueness import correlations_figure
from signal_miner.scoring.study_scores import TEST, VALIDATION
from signal_miner.utils.formatting import number_text, percent_text

_MOST_ENSEMBLES = 6  # in the picture of what to expect
_ONE_COLUMN = 4  # most panels of parameters in one figure on the page


@dataclass(frozen=True, eq=False)
class PageFigure:
    """A figure of the report.

    Attributes
    ----------
    name : str
        Of its file, without the ending.
    caption : str
        What to look for in it.
    description : str
        Text alternative.
    on_page, as_file : bool
        Whether the page shows it, and whether it is written as PNG.
    points : tuple of two ndarray of float64, shape (n_models,), optional
        Where each trial, and then each ensemble, is in its first axes; NaN where it is not.
    """

    name: str
    figure: Figure
    caption: str
    description: str
    on_page: bool = True
    as_file: bool = True
    points: tuple[NDArray[np.float64], NDArray[np.float64]] | None = None


def page_figures(contents: ReportContents) -> Iterator[PageFigure]:
    """Draw the figures one after the other, in the page's order; those that would be empty are left out."""
    scores, evaluation, chosen = contents.scores, contents.evaluation, contents.chosen
    compared = scores.objective.compared.label
    relation, deflation, overfitting = evaluation.relation, evaluation.deflation, evaluation.overfitting
    ratio, blends = contents.ratio, contents.ensembles
    shown = [
        (each.metrics.get(f"validation/{ratio}", math.nan), each.metrics.get(f"test/{ratio}", math.nan))
        for each in blends
    ]
    if evaluation.expectations:
        first = evaluation.expectations[0]
        own = Estimate(first.value, first.low, first.high)
        rows = [(chosen.name, first.validation, own, first.test)] + [
            (each.name, past, each.expectation(ratio), future)
            for each, (past, future) in list(zip(blends, shown, strict=True))[:_MOST_ENSEMBLES]
        ]
        yield PageFigure(
            "expectation",
            expectation_figure(rows, ratio.label),
            "Validation is what it was chosen by, so it is too high; the bar is where the next "
            f"{first.eras} eras are to be expected.",
            f"{chosen.name}: {ratio.label} {number_text(first.validation)} in validation, {number_text(first.test)} in "
            f"test, {number_text(first.value)} to expect, {number_text(first.low)} to {number_text(first.high)}.",
        )
    yield PageFigure(
        "past_vs_future",
        past_vs_future_figure(scores, relation, shown),
        "Every dot is a trial. On the dotted line test is as good as validation was; a flat fit means that validation "
        "did not predict test.",
        f"Scatter of test Sharpe against validation Sharpe of {relation.n_trials} trials: rank correlation "
        f"{interval_text(relation.rank_correlation)}, slope of the fit {number_text(relation.slope)}.",
        points=_with_blends((trial_sharpe(scores, VALIDATION), trial_sharpe(scores, TEST)), shown),
    )
    yield PageFigure(
        "luck",
        luck_figure(scores, deflation, overfitting),
        "Above: a best trial left of the dashed line shows no more than luck alone would. "
        + ("" if overfitting is None else "Below: the more is left of 0, the less the best of the past is worth."),
        f"Histogram of validation Sharpe; luck's expected best is {number_text(deflation.expected_best_sharpe)}."
        + ("" if overfitting is None else f" Below, logits: {percent_text(overfitting.probability)} are under 0."),
        points=_with_blends((trial_sharpe(scores, VALIDATION), np.zeros(len(scores.names))), []),
    )
    yield PageFigure(
        "intervals",
        intervals_figure(scores, evaluation.leaders),
        "Where an interval on the right crosses the orange line, the model may be no better than the benchmark.",
        f"Sharpe of the first {len(evaluation.leaders)} trials with {INTERVAL_LEVEL:.0%} intervals, in validation and "
        f"test; the first is {chosen.name}, {interval_text(chosen.corrected)} in validation, corrected for selection "
        "bias.",
        points=_of_leaders(contents),
    )
    if contents.correlations is not None:
        yield PageFigure(
            "correlations",
            correlations_figure(contents.correlations),
            "Correlation of predictions; similar models are side by side, so a block of strong "
            "colour is one idea, found several times.",
            f"Matrix of correlations of {len(contents.correlations.names)} models, clustered.",
        )
    added = [_contribution(each.metrics) for each in blends]
    yield PageFigure(
        "bmc_vs_benchmark_corr",
        contribution_figure(
            scores,
            ensembles=added,
            benchmark=_contribution(contents.benchmark.metrics),
            against=contents.against,
        ),
        f"Right is close to {contents.against}, up adds to it: the most useful trials are at the top, far to the left.",
        f"Scatter of BMC against correlation with {contents.against} in validation, a dot a trial.",
        points=_with_blends(contribution_points(scores), added),
    )
    yield PageFigure(
        "cumulative_corr",
        cumulative_corr_figure(scores, contents.plan),
        "A model with skill climbs in test as it did in validation. Hatched: eras that the fold after them did not "
        "train on, as their targets overlap its own.",
        f"Cumulative {compared} by era of the first five trials and the benchmark, with the folds' borders.",
    )
    yield PageFigure(
        "corr_by_trees",
        corr_by_trees_figure(scores),
        "The marked number of trees is the best in validation; in test it is shown, not chosen.",
        f"Mean {compared} against number of trees of the first five trials, in validation and in test.",
    )
    yield PageFigure(
        "fold_plan",
        fold_plan_figure(contents.plan),
        "For the benchmark's target; targets of another horizon have another purge." + _of_these(contents.plan),
        "Bars of the eras that each fold trains on, purges and predicts.",
    )
    yield from _live(contents)
    yield from _parameters(contents)


def _contribution(metrics: Mapping[str, float]) -> tuple[float, float]:
    return metrics.get("validation/benchmark_corr", math.nan), metrics.get("validation/bmc", math.nan)


def _with_blends(
    points: tuple[NDArray[np.float64], NDArray[np.float64]], blends: Sequence[tuple[float, float]]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    further = np.array(blends, dtype=np.float64).reshape(-1, 2)
    return np.concatenate([points[0], further[:, 0]]), np.concatenate([points[1], further[:, 1]])


def _of_leaders(contents: ReportContents) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return where the leaders' corrected Sharpe ratios are in the figure of intervals."""
    x, y = np.full((2, len(contents.trials)), np.nan)
    for place, leader in enumerate(contents.evaluation.leaders):
        x[place], y[place] = leader.corrected.value, place - 0.14
    return x, y


def _live(contents: ReportContents) -> Iterator[PageFigure]:
    for number, each in enumerate(contents.live, 1):
        yield PageFigure(
            f"live_{number}",
            live_figure(each.slot, each.comparison),
            "The sum of each week's mean payout in live rounds, as a share of the stake, over what was expected.",
            live_description(each.slot, each.comparison),
            as_file=False,
        )


def _of_these(plan: Mapping[str, Any]) -> str:
    """Return what a caption adds where only the newest training eras are used."""
    used = {name for table in ("grid", "benchmark") for name in plan.get("experiment", {}).get(table, {})}
    return " Of the eras to train on, the newest train_last_eras are used." if "train_last_eras" in used else ""


def _parameters(contents: ReportContents) -> Iterator[PageFigure]:
    count = len(varying_dimensions(contents.trials, contents.plan))
    if not count:
        return
    parts = 2 if count > _ONE_COLUMN else 1
    described = f"Medians and quartiles of validation and test Sharpe by {count} parameters."
    caption = "What helps in validation but not in test was fitted to validation."
    scores, trials, plan = contents.scores, contents.trials, contents.plan
    yield PageFigure("parameters", parameters_figure(scores, trials, plan), caption, described, on_page=parts == 1)
    if parts > 1:
        for part in range(1, parts + 1):
            figure = parameters_figure(scores, trials, plan, (part, parts))
            caption = (
                caption
                if part == 1
                else "Numbers of more than eight values are binned; a bin is labelled by its median."
            )
            yield PageFigure(f"parameters_{part}", figure, caption, described, as_file=False)
