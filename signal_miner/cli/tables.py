"""The tables that commands print: the leaderboard, an ensemble beside its members, a model on the holdout."""

from __future__ import annotations

import math
from collections.abc import Container, Mapping
from typing import TYPE_CHECKING

import numpy as np
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from signal_miner.ensemble.build import COLUMNS, as_shown, ensemble_frame
from signal_miner.ensemble.maker import EnsembleSummary
from signal_miner.report.sentences import (
    below_benchmark_sentence,
    expectation_sentence,
    further_sentence,
    leaderboard_sentence,
    seed_noise_sentence,
)
from signal_miner.scoring.columns import Column, least_important_first
from signal_miner.scoring.objective import Objective
from signal_miner.tracking.ranking import Leaderboard, seed_noise
from signal_miner.tracking.records import FIXED_PARAMS, TrackedTrial
from signal_miner.utils.console import fitting, for_a_table

if TYPE_CHECKING:
    from signal_miner.holdout.evaluation import HoldoutResult
    from signal_miner.holdout.model import EvaluatedModel

_VALIDATION = {"corr": 7, "sharpe": 7, "max_drawdown": 3, "bmc": 6, "benchmark_corr": 5}
_PAID = {"payout": 10, "payout_sharpe": 4, "corr": 7, "sharpe": 3, "bmc": 6, "benchmark_corr": 5}
"""Scores in validation by their priority; the objective's own is always shown."""


def _leaderboard_columns(objective: Objective) -> tuple[Column, ...]:
    scores = _VALIDATION if objective.compared is Objective.CORR else _PAID
    compared = objective.compared
    tested = [objective] if objective is compared else [compared, objective]
    return (
        *(
            Column.of(f"validation/{score}", priority=None if score == objective else priority)
            for score, priority in scores.items()
        ),
        *(Column.of(f"test/{score}", 9 if score is objective else 4, "test") for score in tested),
        Column("trees", "n_estimators", 0, priority=2),
        Column("best\ntrees", "best/trees", 0, priority=1),
        Column("beats\nbenchmark", "beats_benchmark", 0, priority=8),
    )


def _seed_columns(objective: Objective) -> tuple[Column, ...]:
    digits = objective.digits
    return Column("mean of\nseeds", _MEAN, digits, 11), Column("seeds'\nspread", _SPREAD, digits, 10)


_MEAN, _SPREAD = "seeds/mean", "seeds/spread"
_HOLDOUT = (
    Column.of("corr", priority=6),
    Column.of("sharpe"),
    Column.of("max_drawdown", priority=3),
    Column.of("bmc", priority=4),
    Column.of("benchmark_corr", priority=1),
    Column.of("payout", priority=9),
)
_HOLDOUT_BENCHMARK = (
    Column.of("corr", priority=5, group="benchmark"),
    Column.of("sharpe", priority=7, group="benchmark"),
    Column.of("max_drawdown", priority=2, group="benchmark"),
    Column.of("payout", priority=8, group="benchmark"),
)


def print_leaderboard(board: Leaderboard, console: Console, top: int = 10) -> None:
    """Print the first places and the benchmark's; fewer columns where the terminal is narrow."""
    console = for_a_table(console)
    every = _leaderboard_columns(board.objective)
    benchmark = next(place for place in board.places if place.trial.number is None)
    shown = [*board.places[:top], *([] if benchmark.rank <= top else [benchmark])]
    if any(place.trial.repeats for place in shown):
        every += _seed_columns(board.objective)

    def table(left_out: Container[str]) -> Table:
        columns = [column for column in every if column.head not in left_out]
        label = board.objective.label
        made = _table(
            f"Leaderboard by validation {label} of trials {board.checkpoint.text} (test is shown, never ranked by)",
            "",
            "run",
        )
        for column in columns:
            is_text = column.metric == "beats_benchmark"
            made.add_column(column.head, justify="left" if is_text else "right", no_wrap=True)
        for place in shown:
            trial, is_benchmark = place.trial, place is benchmark
            if is_benchmark and benchmark.rank > top + 1:
                made.add_row("", "…")
            cells = [_leaderboard_cell(trial, column, board.objective) for column in columns]
            made.add_row(str(place.rank), trial.name, *cells, style="bold yellow" if is_benchmark else None)
        return made

    console.print(fitting(table, least_important_first(every), console))
    console.print(leaderboard_sentence(board), highlight=False)
    noise = seed_noise((place.trial for place in board.places), board.objective)
    if noise is not None:
        console.print(seed_noise_sentence(noise), highlight=False)
    first = next((place.trial for place in board.places if place.trial.number is not None), None)
    if first is not None:
        params = ", ".join(f"{name} {value}" for name, value in first.params.items() if name not in FIXED_PARAMS)
        text = f"Best in validation, {first.name}: {params}"
        console.print(text, highlight=False, soft_wrap=not console.is_terminal)
        if further := further_sentence(first.name, first.metrics):
            console.print(further, highlight=False)


def _table(title: str, *heads: str) -> Table:
    table = Table(title=title, title_justify="left", box=SIMPLE_HEAD, pad_edge=False)
    for head in heads:
        table.add_column(head, no_wrap=True)
    return table


def _leaderboard_cell(trial: TrackedTrial, column: Column, objective: Objective) -> str:
    if column.metric == "n_estimators":
        return trial.params.get(column.metric, "")
    if column.metric in (_MEAN, _SPREAD):
        mean, spread = trial.over_seeds(objective.metric) if trial.repeats else (math.nan, math.nan)
        return column.text(mean if column.metric == _MEAN else spread)
    if column.metric == "beats_benchmark":
        return "" if trial.number is None else _beats(trial)
    return column.text(trial.metrics.get(column.metric))


def _beats(trial: TrackedTrial) -> str:
    # Test alone is no reason to take a trial, so it is not shown as one.
    if not trial.beats_benchmark["validation"]:
        return "–"
    return "both" if trial.held else "validation"


def print_ensemble(summary: EnsembleSummary, benchmark: TrackedTrial, console: Console) -> None:
    """Print an ensemble, and whether it is below the benchmark in test; fewer columns where the terminal is narrow."""
    console = for_a_table(console)
    ensemble = summary.tracked.ensemble
    heads = [column.head for column in COLUMNS]
    frame = ensemble_frame(summary, benchmark)
    texts = as_shown(frame).set_axis(heads, axis="columns").loc[:, frame.notna().any().to_numpy()]  # older: no payouts

    def table(left_out: Container[str]) -> Table:
        shown = texts[[head for head in texts if head not in left_out]]
        cut = ensemble.members[0].checkpoint.text
        title = f"{summary.tracked.name.capitalize()}, chosen on validation alone; members {cut}"
        made = _table(title, "")
        for head in shown:
            made.add_column(str(head), justify="right", no_wrap=True)
        *rows, other = shown.itertuples(name=None)
        count = len(ensemble.members)
        for cells in rows[:count]:
            made.add_row(*cells)
        made.add_section()
        made.add_row(*rows[count], style="bold")
        for cells in rows[count + 1 :]:
            made.add_row(*cells)
        made.add_row(*other, style="yellow")
        return made

    known = [column for column in COLUMNS if column.head in texts]
    if summary.expectations:
        chosen = "chosen in validation"
        console.print(expectation_sentence(summary.expectations, summary.tracked.name, chosen), highlight=False)
    console.print(fitting(table, least_important_first(known), console))
    print_if_below(summary.tracked.metrics, benchmark, console)
    if len(summary.members) > 1:
        between = summary.correlations[~np.eye(len(summary.members), dtype=bool)]
        console.print(
            f"Correlation between members in validation: {between.mean():.2f} on average, {between.max():.2f} at most",
            highlight=False,
        )
    if ensemble.neutralization:
        console.print(f"Neutralised to {ensemble.neutralization.to}, proportion {ensemble.neutralization.proportion:g}")


def print_if_below(metrics: Mapping[str, float], benchmark: TrackedTrial, console: Console) -> None:
    """Print a line where a model is below the benchmark in test."""
    if below := below_benchmark_sentence(metrics, benchmark.metrics, benchmark.objective):
        console.print(below, highlight=False)


def print_holdout(result: HoldoutResult, benchmark: TrackedTrial, model: EvaluatedModel, console: Console) -> None:
    """Print a model beside the benchmark in validation, test and holdout, and the result in a sentence."""

    def table(left_out: Container[str]) -> Table:
        made = _table(f"{model.name.capitalize()} beside the benchmark", "")
        own, other = (
            [column for column in columns if column.head not in left_out] for columns in (_HOLDOUT, _HOLDOUT_BENCHMARK)
        )
        for columns, style in ((own, None), (other, "yellow")):
            for column in columns:
                made.add_column(column.head, justify="right", no_wrap=True, style=style)

        def cells(own_scores: Mapping[str, float], other_scores: Mapping[str, float], prefix: str = "") -> list[str]:
            pairs = ((own, own_scores), (other, other_scores))
            return [column.text(scores.get(prefix + column.metric)) for columns, scores in pairs for column in columns]

        for part in ("validation", "test"):
            made.add_row(part, *cells(model.metrics, benchmark.metrics, f"{part}/"))
        made.add_section()
        scores = result.scores
        made.add_row("holdout", *cells(scores.model_scores, scores.benchmark_scores), style="bold")
        return made

    console = for_a_table(console)
    console.print(fitting(table, least_important_first((*_HOLDOUT, *_HOLDOUT_BENCHMARK)), console))
    console.print(f"Holdout {result.opening.eras}, opened for {model.name}: {result.opening.result}.")
