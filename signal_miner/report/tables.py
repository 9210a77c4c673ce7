"""The page's leaderboard and its numbers about luck, ready to be printed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from signal_miner.overfitting.records import INTERVAL_LEVEL, Estimate, ModelEvaluation
from signal_miner.report.contents import ReportContents
from signal_miner.report.sentences import deflation_sentence, overfitting_sentence, superiority_sentence
from signal_miner.scoring.columns import Column
from signal_miner.scoring.objective import Objective
from signal_miner.scoring.study_scores import TEST, VALIDATION, WHOLE
from signal_miner.tracking.ranking import RankedTrial
from signal_miner.utils.formatting import UNKNOWN, number_text, percent_text, probability_text

SECTIONS = (VALIDATION, TEST, WHOLE)


def columns_of(objective: Objective) -> tuple[Column, ...]:
    """Return the columns of each section."""
    paid = ("payout", "payout_sharpe") if objective.compared is Objective.PAYOUT else ()
    return tuple(Column.of(metric) for metric in (*paid, "corr", "sharpe", "max_drawdown", "bmc", "benchmark_corr"))


@dataclass(frozen=True)
class Row:
    """A line of the leaderboard as text.

    Attributes
    ----------
    cells : tuple of str
        The columns of each section, section by section.
    trees : str
        At the best checkpoint, and as drawn.
    """

    rank: str
    name: str
    verdict: str
    beats: str
    held: str
    cells: tuple[str, ...]
    trees: str
    is_benchmark: bool


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


def leaderboard_rows(contents: ReportContents, top: int = 15) -> tuple[Row, ...]:
    """Return the first trials, with the benchmark in its place or, if it is further down, last."""
    board = contents.leaderboard
    verdicts = {leader.number: leader for leader in contents.evaluation.leaders}
    trials = [place for place in board.places if place.trial.number is not None][:top]
    benchmark = next(place for place in board.places if place.trial.number is None)
    places = sorted([*trials, benchmark], key=lambda place: place.rank)
    columns = columns_of(contents.objective)
    return tuple(_row(place, verdicts, columns) for place in places)


def column_heads(objective: Objective) -> list[str]:
    """Return the headings of a section's columns, with soft hyphens, as the page has many columns."""
    heads = (column.head.replace("\n", " ").removeprefix("max. ") for column in columns_of(objective))
    return [head.replace("drawdown", "draw\u00addown").replace("benchmark", "bench\u00admark") for head in heads]


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
            f"{superiority_sentence(superiority, contents.objective)} Bounds of p: "
            f"{number_text(superiority.p_lower, 3)} and {number_text(superiority.p_upper, 3)}, "
            "the upper one that of White's reality check.",
            sources.get("superiority", ""),
        ),
    ]
    ratio = contents.objective.ratio_label
    for section, role in ((VALIDATION, "too good, as it was chosen by it"), (TEST, "not used to choose it")):
        found.append(
            Finding(
                f"{ratio[:1].upper()}{ratio[1:]} of {chosen.name} in {section}",
                number_text(chosen.sharpe[section].value),
                f"{INTERVAL_LEVEL:.0%} interval {_range(chosen.sharpe[section])}; {role}. Less the benchmark's: "
                f"{number_text(chosen.sharpe_over_benchmark[section].value)}, interval "
                f"{_range(chosen.sharpe_over_benchmark[section])}.",
                sources.get("bootstrap", ""),
            )
        )
    return tuple(found)


_TOO_FEW = "Not estimated: it takes two trials, and enough eras for blocks that are longer than the targets' overlap."
_UNTESTED = "Not tested: no trial has a score in every validation era."


def _range(estimate: Estimate) -> str:
    low, high = number_text(estimate.low), number_text(estimate.high)
    return "not known" if UNKNOWN in (low, high) else f"{low} to {high}"


def _row(place: RankedTrial, leaders: Mapping[int, ModelEvaluation], columns: Sequence[Column]) -> Row:
    trial = place.trial
    metrics, is_benchmark = trial.metrics, trial.number is None
    beats = bool(trial.beats_benchmark.get(VALIDATION))
    leader = leaders.get(trial.number) if trial.number is not None else None
    best = number_text(metrics.get("best/trees"), 0)
    return Row(
        rank=str(place.rank),
        name=trial.name,
        verdict=str(leader.verdict) if leader else "",
        beats="" if is_benchmark else "yes" if beats else "no",
        held="" if is_benchmark or not beats else "yes" if trial.held else "no",
        cells=tuple(
            number_text(metrics.get(f"{section}/{column.metric}"), column.digits)
            for section in SECTIONS
            for column in columns
        ),
        trees=f"{best} of {trial.params.get('n_estimators', UNKNOWN)}",
        is_benchmark=is_benchmark,
    )
