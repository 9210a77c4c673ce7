"""The notes on runs' pages in MLflow: numbers in, Markdown out."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from signal_miner.engine.metrics import RunMetrics
from signal_miner.scoring.columns import Column
from signal_miner.scoring.objective import Objective
from signal_miner.scoring.study_scores import TEST, VALIDATION
from signal_miner.tracking.records import RaceRecord, wins
from signal_miner.utils.formatting import number_text

_GAP = "&emsp;"  # MLflow draws table cells side by side, and strips blanks, even wide ones, from their ends
_COMPARED = ("payout", "sharpe", "corr")  # scores whose difference to the benchmark's is a metric, too
_COLUMNS = tuple(Column.of(score) for score in ("sharpe", "corr", "max_drawdown", "bmc", "benchmark_corr"))
_PAID = tuple(Column.of(score) for score in ("payout", "payout_sharpe"))


CONTROL_NOTE = "A control: the race trained it to the end whatever it scored."


def scores_note(metrics: RunMetrics, links: Mapping[str, str] | None = None, *, is_benchmark: bool = False) -> str:
    """Return in which sections a model beats the benchmark, links, and its scores beside the benchmark's as a table.

    That is as much as MLflow shows of a note without a click.

    Parameters
    ----------
    links : mapping of str to str, optional
        Pages in MLflow's UI, as of `tracking.ui`, by what they show.
    """
    heads, rows = [""], [[VALIDATION], [TEST]]
    # Over other eras than the model, the benchmark's scores do not follow from the differences.
    left_out = any(f"{section}/eras_without_benchmark" in metrics.values for section in (VALIDATION, TEST))
    compared = not is_benchmark and not left_out
    paying = metrics.scoring.objective.compared is Objective.PAYOUT
    for column in (*_PAID, *_COLUMNS) if paying else _COLUMNS:
        score = column.metric
        own = [metrics.values.get(f"{section}/{score}", math.nan) for section in (VALIDATION, TEST)]
        columns = [(column.head.replace("\n", " "), own)]
        if compared and score in _COMPARED:
            over = [metrics.values.get(f"{section}/{score}_over_benchmark", math.nan) for section in (VALIDATION, TEST)]
            columns.append(("benchmark's", [value - more for value, more in zip(own, over, strict=True)]))
        for name, values in columns:
            heads.append(name)
            for row, value in zip(rows, values, strict=True):
                row.append(number_text(value, column.digits))
    first = "The benchmark, with which all trials are compared." if is_benchmark else _beaten(metrics)
    if metrics.checkpoints:
        heads.append("best trees")
        best = number_text(metrics.values.get("best/trees"), 0)
        for row, cell in zip(rows, (f"{best} of {metrics.checkpoints[-1]}", ""), strict=True):
            row.append(cell)
    return "\n\n".join((f"{first} {links_text(links or {})}".strip(), markdown_table(heads, rows)))


def stopped_note(race: RaceRecord, links: Mapping[str, str]) -> str:
    """Return where a race stopped a trial and why, and links."""
    return f"Stopped by the race at {race.stopped_at}: {race.reason}. {links_text(links)}".strip()


def markdown_table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a table that is legible on MLflow's pages."""
    lines = [heads, *rows]
    lined = ["|" + "|".join(f" {cell}{_GAP} " for cell in cells) + "|" for cells in lines]
    return "\n".join([lined[0], f"|{' --- |' * len(heads)}", *lined[1:]])


def links_text(links: Mapping[str, str]) -> str:
    """Return links to pages of the same server, side by side."""
    return " · ".join(f"[{shown}]({address.removeprefix('/')})" for shown, address in links.items())


def _beaten(metrics: RunMetrics) -> str:
    beaten = [section for section, beats in metrics.beats_benchmark.items() if beats]
    won = wins(metrics.values, metrics.beats_benchmark, metrics.scoring.objective)
    losing = [section for section in beaten if not won[section]]
    text = f"Beats the benchmark in {' and '.join(beaten)}" if beaten else "Does not beat the benchmark"
    score = metrics.scoring.objective.compared.label
    return f"{text}, but its {score} is not above 0 in {' and '.join(losing)}." if losing else f"{text}."
