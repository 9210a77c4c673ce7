"""A slot's live payouts, cumulated, over the band that was expected of them."""

from __future__ import annotations

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from scipy.special import ndtri

from signal_miner.live.comparison import Comparison
from signal_miner.live.evidence import cumulated_variance
from signal_miner.overfitting.records import INTERVAL_LEVEL
from signal_miner.report.style import BLUE, GREY, MUTED, PURPLE, drawing, legend_below, new_figure
from signal_miner.utils.formatting import shortened

_LONGEST = 30  # characters of a slot's name in the title
_BAND = f"{INTERVAL_LEVEL:.0%} of models as expected"


@drawing()
def live_figure(slot: str, comparison: Comparison) -> Figure:
    """Draw the sum of a slot's weekly payouts, resolved and in progress, over the expected one and its 90% band."""
    series, expectation = comparison.series, comparison.expectation
    figure = new_figure(3.9, f"Live payout of {shortened(slot, _LONGEST)}")
    axes = figure.add_subplot()
    paid = series.weekly(unresolved=True)
    known = np.flatnonzero(np.isfinite(paid))
    rounds = np.array([series.rounds[series.weeks == week][-1] for week in known])
    resolved = series.weekly()
    n_resolved = int(np.isfinite(resolved).sum())
    count = np.arange(1, len(known) + 1)
    middle = expectation.mean * count
    surprises = np.where(np.isfinite(paid), 0.0, np.nan)
    spread = expectation.deviation * np.sqrt(cumulated_variance(surprises)[known])
    half = float(ndtri((1 + INTERVAL_LEVEL) / 2)) * spread
    axes.fill_between(rounds, middle - half, middle + half, color=GREY, alpha=0.28, linewidth=0)
    axes.fill_between(
        [], [], [], color=GREY, alpha=0.28, linewidth=0, label=f"{INTERVAL_LEVEL:.0%} of models as expected"
    )
    axes.plot(rounds, middle, color=MUTED, linestyle="--", linewidth=1.3, label="expected")
    total = np.cumsum(paid[known])
    axes.plot(rounds[:n_resolved], total[:n_resolved], color=BLUE, linewidth=2.2, label="resolved rounds")
    if n_resolved < len(known):
        start = max(0, n_resolved - 1)
        axes.plot(rounds[start:], total[start:], color=BLUE, linestyle=":", linewidth=1.8, label="in progress")
    if comparison.said_in_round is not None:
        word = f"{comparison.standing} from here"
        axes.axvline(comparison.said_in_round, color=PURPLE, linestyle="-.", linewidth=1.4, label=word)
    axes.axhline(0, color=MUTED, linewidth=0.8)
    axes.set(xlabel="round", ylabel="sum of payouts")
    axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
    legend_below(figure, 2, handlelength=2.6)
    return figure


def live_description(slot: str, comparison: Comparison) -> str:
    """Return the figure in words, for readers who cannot see it."""
    series = comparison.series
    return (
        f"Sum of the weekly payouts of {slot} over {comparison.resolved_weeks} weeks of resolved rounds, "
        f"{len(series.rounds)} rounds in all, against the expected one and its band: {comparison.standing}."
    )
