"""Live scores in words: a sentence a slot, and the rows of the table over all slots."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from signal_miner.live.comparison import Comparison
from signal_miner.live.evidence import HORIZON_WEEKS, LEVEL, Standing
from signal_miner.live.history import Revision
from signal_miner.live.stake import StakeView
from signal_miner.numerai.round_records import RoundTerms
from signal_miner.utils.formatting import number_text, percent_text

if TYPE_CHECKING:  # it imports numerapi and MLflow
    from signal_miner.live.review import LiveReview, SlotReview

STANDINGS = {
    Standing.NONE: "no resolved round",
    Standing.WITHIN: "within expectation",
    Standing.BELOW: "below expectation",
    Standing.ABOVE: "above expectation",
}

METHOD = (
    f"Below and above are said by a test that holds however often one looks: a model that is as good as expected is "
    f"ever called below with a probability of at most {LEVEL:.0%}. Rounds less than {HORIZON_WEEKS} weeks apart share "
    "returns, so that a year of rounds counts as four or five."
)

_MOST_ROUNDS = 5
_MUCH = 100


@dataclass(frozen=True)
class LiveRow:
    """A slot in the table: texts, by their headings."""

    slot: str
    standing: Standing | None
    cells: tuple[str, ...]


HEADS = (
    "standing",
    "model",
    "rounds resolved",
    "weeks",
    "CORR",
    "CORR expected",
    "MMC",
    "BMC expected",
    "payout",
    "payout expected",
    "percentile",
)
"""Of the table's cells, after the slot's name."""

LEAST_IMPORTANT = ("percentile", "weeks", "CORR expected", "BMC expected", "CORR", "MMC", "model", "rounds resolved")
"""Columns that a narrow terminal leaves out, first to last."""

STAKE_HEADS = ("at risk, NMR", "rounds at risk", "pending", "settled", "a round pays", "losing month")


def slot_sentence(slot: str, model: str, comparison: Comparison) -> str:
    """Return how a slot's live rounds compare with what was expected, in one sentence."""
    series, expectation = comparison.series, comparison.expectation
    expected = f"{number_text(expectation.mean, 4)} expected"
    if comparison.standing is Standing.NONE:
        waiting = f"{len(series.rounds)} in progress" if len(series.rounds) else "none scored yet"
        return f"{slot} ({model}): no round is resolved ({waiting}); {expected} a round."
    weeks = comparison.resolved_weeks
    after = f"{weeks} week{'s' * (weeks != 1)} of resolved rounds"
    since = "" if comparison.said_in_round is None else f" since round {comparison.said_in_round}"
    found = comparison.evidence
    amount = f"{found:,.0f}" if found >= _MUCH else number_text(found, 1)
    evidence = f"evidence {amount}, said from {1 / LEVEL:.0f} on"
    return (
        f"{slot} ({model}): {STANDINGS[comparison.standing]}{since}, after {after}: payout "
        f"{number_text(comparison.mean_payout, 4)} of the stake a round, {expected} ({evidence})."
    )


def review_lines(review: LiveReview) -> Iterator[str]:
    """Yield what is said of all slots: a sentence each, what Numerai revised, what is missing, what failed."""
    yield from review.problems
    for each in review.slots:
        if each.comparison is not None:
            yield slot_sentence(each.slot.name, model_text(each), each.comparison)
            if each.comparison.series.missing:
                yield f"{each.slot.name}: no scores in {_rounds_text(each.comparison.series.missing)}"
        if each.revisions:
            yield revisions_line(each.slot.name, each.revisions)
        yield from (f"{each.slot.name}: {problem}" for problem in each.problems)


def terms_line(terms: RoundTerms) -> str:
    """Return what the newest round pays on."""
    parts = [
        f"{multiplier:g} × {name}"
        for multiplier, name in ((terms.payout.corr, terms.corr), (terms.payout.mmc, terms.mmc))
        if name
    ]
    factor = f", payout factor {terms.payout_factor:.3f}" if math.isfinite(terms.payout_factor) else ""
    return f"Round {terms.number} pays {' + '.join(parts)}, clipped to ±{terms.payout.clip:g}{factor}"


def revisions_line(slot: str, revisions: Sequence[Revision]) -> str:
    """Return what Numerai changed in resolved rounds."""
    changed = [
        f"{each.after.name} of round {each.after.round} from {number_text(each.before.value, 4)} to "
        f"{number_text(each.after.value, 4)}"
        for each in revisions
    ]
    more = f", and {len(changed) - _MOST_ROUNDS} more" if len(changed) > _MOST_ROUNDS else ""
    return f"{slot}: Numerai revised {', '.join(changed[:_MOST_ROUNDS])}{more}"


def live_rows(review: LiveReview) -> list[LiveRow]:
    """Return the rows of the table, a slot each."""
    return [_row(each) for each in review.slots]


def model_text(review: SlotReview) -> str:
    """Return which registered model is in a slot."""
    version = "" if review.version is None else f" {review.version.version}"
    return f"{review.slot.model}{version or f'@{review.slot.alias}'}"


def stake_cells(stake: StakeView) -> tuple[str, ...]:
    """Return the cells below `STAKE_HEADS`."""
    unit = "" if stake.staked else " of the stake"
    digits = 2 if stake.staked else 4
    value, low, high = (number_text(each, digits) for each in (stake.payout.value, stake.payout.low, stake.payout.high))
    return (
        number_text(stake.at_risk),
        str(stake.rounds_at_risk),
        number_text(stake.pending),
        number_text(stake.settled),
        f"{value} ({low} to {high}){unit}",
        percent_text(stake.losing_month),
    )


def _row(review: SlotReview) -> LiveRow:
    comparison = review.comparison
    if comparison is None:
        return LiveRow(review.slot.name, None, ("not compared", model_text(review), *[""] * (len(HEADS) - 2)))
    series, expected = comparison.series, comparison.expectation
    resolved = series.resolved

    def mean(values: object) -> str:
        found = [value for value in values[resolved] if math.isfinite(value)]  # type: ignore[index]
        return number_text(sum(found) / len(found), 4) if found else "–"

    percentiles = [value for value in series.percentiles[resolved] if math.isfinite(value)]
    return LiveRow(
        review.slot.name,
        comparison.standing,
        (
            STANDINGS[comparison.standing],
            model_text(review),
            f"{int(resolved.sum())} of {len(series.rounds)}",
            str(comparison.resolved_weeks),
            mean(series.corr),
            number_text(expected.corr, 4),
            mean(series.mmc),
            number_text(expected.bmc, 4),
            number_text(comparison.mean_payout, 4),
            number_text(expected.mean, 4),
            percent_text(sum(percentiles) / len(percentiles)) if percentiles else "–",
        ),
    )


def _rounds_text(rounds: tuple[int, ...]) -> str:
    shown = ", ".join(map(str, rounds[:_MOST_ROUNDS])) + (", …" if len(rounds) > _MOST_ROUNDS else "")
    return f"{len(rounds)} round{'s' * (len(rounds) != 1)} ({shown})"
