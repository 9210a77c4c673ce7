"""The page's leaderboard and its numbers about luck, ready to be printed."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import chain
from typing import Any

import numpy as np
from numpy.typing import NDArray

from signal_miner.engine.further_scores import CWMM, EXPOSURE, FNC, MMC
from signal_miner.overfitting.records import INTERVAL_LEVEL, Estimate, ModelEvaluation, Standing
from signal_miner.report.contents import ReportContents
from signal_miner.report.sentences import deflation_sentence, overfitting_sentence, superiority_sentence, why_text
from signal_miner.scoring.columns import Column
from signal_miner.scoring.objective import Objective
from signal_miner.scoring.series import sharpe
from signal_miner.scoring.study_scores import TEST, VALIDATION
from signal_miner.tracking.records import TrackedTrial
from signal_miner.tracking.tags import BENCHMARK_KIND
from signal_miner.utils.formatting import UNKNOWN, number_text, percent_text, probability_text

SECTIONS = (VALIDATION, TEST)
SHOWN, MOST = 15, 300
"""Trials that the leaderboard shows at first, and those that it has."""


def columns_of(objective: Objective) -> tuple[Column, ...]:
    """Return the columns of each section, what is compared first."""
    paying = objective.compared is Objective.PAYOUT
    own = ("payout_sharpe", "payout", "sharpe", "corr") if paying else ("sharpe", "corr", "max_drawdown")
    return tuple(Column.of(metric) for metric in (*own, "bmc", "benchmark_corr"))


FURTHER = (
    *(Column.of(f"{section}/{FNC}") for section in SECTIONS),
    Column.of(f"{VALIDATION}/{EXPOSURE}"),
    Column.of(MMC),
    Column.of(CWMM),
)
"""Shown of the ensembles, the leaders and the benchmark, but not used for selection; test's exposure is alike."""


def further_columns(contents: ReportContents) -> tuple[Column, ...]:
    """Return those of `FURTHER` that some model of the leaderboard has."""
    known = frozenset(chain.from_iterable(contents.metrics))
    return tuple(column for column in FURTHER if column.metric in known)


@dataclass(frozen=True)
class Cell:
    """A number of the leaderboard as text, and the value that it is sorted by; empty where not known."""

    text: str
    value: str

    @classmethod
    def of(cls, value: float | None, digits: int) -> Cell:
        """Return a number's cell."""
        known = value is not None and math.isfinite(value)
        return cls(number_text(value, digits), f"{value:.6g}" if known else "")


@dataclass(frozen=True)
class Row:
    """A line of the leaderboard.

    Attributes
    ----------
    kind : str
        ``trial``, ``ensemble`` or ``benchmark``.
    place : int or None
        Of a trial, and then of an ensemble, among what figures show; None of the benchmark.
    expected : Cell
        Sharpe ratio to expect of it.
    cells : tuple of Cell
        The columns of each section, section by section, then `further_columns`.
    verdict, why, better : str
        Empty where it has none; why in a few words, and what it is shown to be better than.
    beats : str
        Sections in which it beats the benchmark.
    trees : str
        At the best checkpoint, and as drawn; an ensemble's number of members.
    more : bool
        Whether it is shown only when asked for.
    """

    kind: str
    name: str
    place: int | None
    rank: Cell
    expected: Cell
    cells: tuple[Cell, ...]
    verdict: str = ""
    why: str = ""
    better: str = ""
    beats: str = ""
    trees: str = ""
    more: bool = False

    @property
    def is_benchmark(self) -> bool:
        """Whether it is the benchmark's."""
        return self.kind == BENCHMARK_KIND


@dataclass(frozen=True)
class Finding:
    """A number about luck, what it means, and where the method is from.

    Attributes
    ----------
    source : str
        Empty where none is given.
    """

    name: str
    value: str
    meaning: str
    source: str


def leaderboard_rows(contents: ReportContents, top: int = MOST) -> tuple[Row, ...]:
    """Return the ensembles, then the first trials and the benchmark in its place or, if it is further down, last."""
    board, columns = contents.leaderboard, _metrics(contents)
    expected = expected_ratios(contents)
    places = {trial.number: place for place, trial in enumerate(contents.trials)}
    leaders = {leader.number: leader for leader in contents.evaluation.leaders}
    trials = [each for each in board.places if each.trial.number is not None][:top]
    benchmark = next(each for each in board.places if each.trial.number is None)
    rows = [
        Row(
            "ensemble",
            each.name,
            len(contents.trials) + number,
            Cell("", ""),
            Cell.of(each.expectation(contents.ratio).value, 2),
            _cells(each.metrics, columns),
            trees=f"{each.members} members",
            beats=_beats(each.beats_benchmark),
            **_judged(each.evaluation),
        )
        for number, each in enumerate(contents.ensembles)
    ]
    shown = 0
    for ranked in sorted([*trials, benchmark], key=lambda each: each.rank):
        trial, number = ranked.trial, ranked.trial.number
        rank, cells = Cell(str(ranked.rank), str(ranked.rank)), _cells(trial.metrics, columns)
        if number is None:
            rows.append(Row(BENCHMARK_KIND, trial.name, None, rank, Cell("", ""), cells, trees=_trees(trial)))
            continue
        shown += 1
        judged = _judged(leaders[number]) if number in leaders else {}
        rows.append(
            Row(
                "trial",
                trial.name,
                places[number],
                rank,
                Cell.of(float(expected[places[number]]), 2),
                cells,
                beats=_beats(trial.beats_benchmark),
                trees=_trees(trial),
                more=shown > SHOWN,
                **judged,
            )
        )
    return tuple(rows)


def expected_ratios(contents: ReportContents) -> NDArray[np.float64]:
    """Return the Sharpe ratio to expect of each trial, had it been chosen, shape (n_trials,)."""
    scores, pool = contents.scores, contents.evaluation.pool
    past, future = (np.atleast_1d(sharpe(scores.era_scores[scores.rows(section)])) for section in SECTIONS)
    prior = pool.mean + pool.kept**2 * (past - pool.mean)
    weight = float(scores.rows(VALIDATION).mean())
    found: NDArray[np.float64] = np.where(np.isfinite(future), weight * prior + (1 - weight) * future, prior)
    return found


def _metrics(contents: ReportContents) -> dict[str, int]:
    """Return the digits of each metric that a line shows, in order."""
    columns = columns_of(contents.objective)
    scores = {f"{section}/{column.metric}": column.digits for section in SECTIONS for column in columns}
    return scores | {column.metric: column.digits for column in further_columns(contents)}


def _cells(metrics: Mapping[str, float], digits: Mapping[str, int]) -> tuple[Cell, ...]:
    return tuple(Cell.of(metrics.get(name), places) for name, places in digits.items())


def _judged(leader: ModelEvaluation) -> dict[str, Any]:
    names = (("benchmark", leader.against_benchmark), ("average", leader.against_average))
    better = [name for name, standing in names if standing is Standing.BETTER]
    return {
        "verdict": str(leader.verdict),
        "why": why_text(leader),
        "better": " and ".join(better) or "–",
    }


def _beats(sections: Mapping[str, bool]) -> str:
    won = [section for section in SECTIONS if sections.get(section)]
    return "both" if len(won) == len(SECTIONS) else won[0] if won == [VALIDATION] else "–"


def _trees(trial: TrackedTrial) -> str:
    best = number_text(trial.metrics.get("best/trees"), 0)
    return f"{best} of {trial.params.get('n_estimators', UNKNOWN)}"


def column_heads(objective: Objective) -> list[str]:
    """Return the headings of a section's columns, with soft hyphens, as the page has many columns."""
    return [_hyphenated(column.head.replace("\n", " ").removeprefix("max. ")) for column in columns_of(objective)]


def further_heads(contents: ReportContents) -> list[str]:
    """Return the headings of `further_columns`; FNC, which is of both sections, has its own."""
    return [
        _hyphenated(f"{column.head} {section}" if score == FNC else column.head.replace("\n", " "))
        for column in further_columns(contents)
        for section, _, score in [column.metric.partition("/")]
    ]


def _hyphenated(head: str) -> str:
    for word, broken in (("drawdown", "draw\u00addown"), ("benchmark", "bench\u00admark"), ("valid", "vali\u00add")):
        head = head.replace(word, broken)
    return head.replace("exposure", "ex\u00adpo\u00adsure")


def findings(contents: ReportContents, sources: Mapping[str, str]) -> tuple[Finding, ...]:
    """Return the numbers about luck, each with a sentence and its source.

    Parameters
    ----------
    sources : mapping of str to str
        Of ``deflation``, ``overfitting``, ``superiority`` and ``bootstrap``.
    """
    evaluation, chosen = contents.evaluation, contents.chosen
    deflation, overfitting, superiority = evaluation.deflation, evaluation.overfitting, evaluation.superiority
    n_eras = int(contents.scores.rows(VALIDATION).sum())
    found = [
        Finding(
            f"Deflated Sharpe ratio of {chosen.name}",
            probability_text(chosen.deflated_sharpe),
            "Probability that its true validation Sharpe is above what luck alone gives the best of so many tries.",
            sources.get("deflation", ""),
        ),
        Finding(
            "Luck's expected best",
            number_text(deflation.expected_best_sharpe),
            f"{deflation_sentence(deflation)} The {n_eras} validation eras are worth "
            f"{number_text(deflation.effective_eras, 1)} independent ones, as their targets overlap.",
            sources.get("deflation", ""),
        ),
        Finding("Probability of backtest overfitting", UNKNOWN, _TOO_FEW, sources.get("overfitting", ""))
        if overfitting is None
        else Finding(
            "Probability of backtest overfitting",
            percent_text(overfitting.probability),
            f"{overfitting_sentence(overfitting)} Of {overfitting.n_blocks} blocks of {overfitting.block_eras} eras.",
            sources.get("overfitting", ""),
        ),
        Finding("Superior predictive ability", UNKNOWN, _UNTESTED, sources.get("superiority", ""))
        if superiority is None
        else Finding(
            "Superior predictive ability",
            f"p = {number_text(superiority.p_consistent, 3)}",
            f"{superiority_sentence(superiority, contents.objective.compared)} Bounds of p: "
            f"{number_text(superiority.p_lower, 3)} and {number_text(superiority.p_upper, 3)}, "
            "the upper one that of White's reality check.",
            sources.get("superiority", ""),
        ),
    ]
    ratio = contents.objective.ratio_label
    head = f"{ratio[:1].upper()}{ratio[1:]} of {chosen.name}"
    raw, test = chosen.sharpe[VALIDATION], chosen.sharpe[TEST]
    over, less = chosen.sharpe_over_benchmark, chosen.corrected_over_benchmark
    found += [
        Finding(
            f"{head} in validation, corrected for selection bias",
            number_text(chosen.corrected.value),
            f"{INTERVAL_LEVEL:.0%} interval {_range(chosen.corrected)}; {number_text(raw.value)}, interval "
            f"{_range(raw)}, before that correction. Less the benchmark's: "
            f"{number_text(less.value)}, interval {_range(less)}; "
            f"{number_text(over[VALIDATION].value)}, interval {_range(over[VALIDATION])}, not corrected.",
            sources.get("bootstrap", ""),
        ),
        Finding(
            f"{head} in test",
            number_text(test.value),
            f"{INTERVAL_LEVEL:.0%} interval {_range(test)}; not used to choose it. Less the benchmark's: "
            f"{number_text(over[TEST].value)}, interval {_range(over[TEST])}.",
            sources.get("bootstrap", ""),
        ),
    ]
    if evaluation.sharpe_superiority is not None:
        found.insert(
            4,
            Finding(
                f"Superior predictive ability, by {ratio}",
                f"p = {number_text(evaluation.sharpe_superiority.p_consistent, 3)}",
                superiority_sentence(evaluation.sharpe_superiority, contents.ratio),
                sources.get("superiority", ""),
            ),
        )
    return tuple(found)


_TOO_FEW = "Not estimated: it takes two trials, and enough eras for blocks that are longer than the targets' overlap."
_UNTESTED = "Not tested: no trial has a score in every validation era."


def _range(estimate: Estimate) -> str:
    low, high = number_text(estimate.low), number_text(estimate.high)
    return "not known" if UNKNOWN in (low, high) else f"{low} to {high}"
