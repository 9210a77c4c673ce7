"""Live scores of all slots as one self-contained HTML page, and a figure a slot as PNG."""

from __future__ import annotations

import re
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path

from markupsafe import Markup

from signal_miner.live.evidence import Standing
from signal_miner.live.review import LiveReview
from signal_miner.report.live_figure import live_description, live_figure
from signal_miner.report.live_text import (
    HEADS,
    METHOD,
    STAKE_HEADS,
    STANDINGS,
    live_rows,
    review_lines,
    stake_cells,
    terms_line,
)
from signal_miner.report.page import template
from signal_miner.report.style import THEME, page_element, png
from signal_miner.utils.files import write_whole

PAGE = "live.html"

_IN_HEADLINE = {**STANDINGS, Standing.NONE: "without a resolved round"}


def write_live_page(review: LiveReview, directory: Path) -> Path:
    """Write the page and its figures, ``SLOT.png``; raise a `UserError` if the disk does not take them."""
    figures = []
    for number, each in enumerate(review.slots):
        if each.comparison is None or not len(each.comparison.series.rounds):
            continue
        name = each.slot.name
        figure = live_figure(name, each.comparison)
        write_whole(directory / f"{name}.png", png(figure))
        element = page_element(figure, f"live_{number}", live_description(name, each.comparison))
        caption = f"The sum of each week's mean payout, as a share of the stake: {STANDINGS[each.comparison.standing]}."
        figures.append({"element": Markup(element), "caption": caption})
    text = template("live.html.jinja").render(
        theme=THEME,
        terms=terms_line(review.terms) if review.terms else "",
        headline=_headline(review),
        lines=tuple(review_lines(review)),
        method=METHOD,
        heads=HEADS,
        rows=live_rows(review),
        figures=figures,
        stakes=[(each.slot.name, stake_cells(each.stake)) for each in review.slots if each.stake is not None],
        stake_heads=STAKE_HEADS,
        made=datetime.now(UTC),
    )
    write_whole(directory / PAGE, re.sub(r"\n\s*\n", "\n", text).encode())
    return directory / PAGE


def _headline(review: LiveReview) -> str:
    """Return how many slots stand how, worst first."""
    count = Counter(each.comparison.standing for each in review.slots if each.comparison is not None)
    order = (Standing.BELOW, Standing.ABOVE, Standing.WITHIN, Standing.NONE)
    parts = [f"{count[standing]} {_IN_HEADLINE[standing]}" for standing in order if count[standing]]
    n_slots = len(review.slots)
    return f"{n_slots} slot{'s' * (n_slots != 1)}: {', '.join(parts) or 'none compared'}"
