"""``live``: compare the live scores of your slots at Numerai with what was expected of their models."""

from __future__ import annotations

from collections.abc import Container
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from signal_miner.cli.options import StoreOptions
from signal_miner.cli.terminal import SOME_FAILED
from signal_miner.utils.console import fitting, for_a_table
from signal_miner.utils.option import option

if TYPE_CHECKING:
    from signal_miner.live.review import LiveReview

EXAMPLE = "signal-miner live --slots slots.toml"


@dataclass(frozen=True, kw_only=True)
class Options(StoreOptions):
    """Which slots, and where their rounds are kept."""

    slots: Path = option("file of slots (slots.toml)", Path("slots.toml"))
    slot: tuple[str, ...] = option("names of slots in it, separated by commas (all)", ())
    directory: Path = option("where rounds, page and figures are kept (live)", Path("live"))
    fetch: bool = option("false: compare what is kept, without asking Numerai", True)


def run(options: Options, console: Console) -> int:
    """Review the slots, and return the exit code."""
    from signal_miner.live.review import review_slots
    from signal_miner.live.slots import chosen_slots
    from signal_miner.report.live_page import write_live_page
    from signal_miner.report.live_text import METHOD, review_lines, terms_line

    slots = chosen_slots(options.slots, options.slot)
    review = review_slots(slots, options.tracking_uri, options.directory, fetch=options.fetch)
    page = write_live_page(review, options.directory)
    if review.terms is not None:
        console.print(terms_line(review.terms))
    _print_tables(review, for_a_table(console))
    for line in review_lines(review):
        console.print(line)
    console.print(METHOD)
    console.print(f"The page and its figures: {page}")
    return SOME_FAILED if review.failed else 0


def _print_tables(review: LiveReview, console: Console) -> None:
    from signal_miner.report.live_text import HEADS, LEAST_IMPORTANT, STAKE_HEADS, live_rows, stake_cells

    scores = [(row.slot, row.cells) for row in live_rows(review)]
    stakes = [(each.slot.name, stake_cells(each.stake)) for each in review.slots if each.stake is not None]
    for title, heads, rows, least in (
        ("Live scores, means over resolved rounds", HEADS, scores, LEAST_IMPORTANT),
        ("Stakes", STAKE_HEADS, stakes, STAKE_HEADS[:4]),
    ):
        if rows:
            console.print(fitting(partial(_table, title, heads, rows), least, console))


def _table(
    title: str, heads: tuple[str, ...], rows: list[tuple[str, tuple[str, ...]]], left_out: Container[str]
) -> Table:
    table = Table(title=title, title_justify="left", box=SIMPLE_HEAD, pad_edge=False)
    table.add_column("slot", no_wrap=True)
    for head in heads:
        if head not in left_out:
            table.add_column(head.replace(" ", "\n"), justify="right", no_wrap=True)
    for slot, cells in rows:
        table.add_row(slot, *(cell for head, cell in zip(heads, cells, strict=True) if head not in left_out))
    return table
