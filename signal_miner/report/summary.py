"""The report in sentences: a headline, and seven lines."""

from __future__ import annotations

import math

import numpy as np

from signal_miner.ensemble.options import AVERAGED
from signal_miner.overfitting.records import Estimate
from signal_miner.report.contents import ReportContents
from signal_miner.report.sentences import (
    against_benchmark_text,
    benchmark_loss_sentence,
    evaluation_notes,
    expectation_headline,
    expectation_sentence,
    interval_text,
    payouts_note,
    race_sentence,
    rank_correlation_text,
    recommendation_sentence,
    relation_sentence,
    seed_noise_sentence,
    shortfall_text,
    standing_text,
    trials_text,
    verdict_headline,
    verdict_text,
)
from signal_miner.scoring.objective import Objective
from signal_miner.scoring.study_scores import TEST, VALIDATION
from signal_miner.tracking.ranking import below_benchmark, losses, seed_noise
from signal_miner.tracking.tags import BENCHMARK_KIND
from signal_miner.utils.formatting import UNKNOWN, number_text, percent_text
from signal_miner.utils.next_command import next_command

_COUNTS = dict(enumerate(("three", "four", "five", "six", "seven", "eight", "nine", "ten"), start=3))


def headline(contents: ReportContents) -> str:
    """Return both verdicts on the chosen model, and whether it is below the benchmark in test, in one sentence."""
    text = verdict_headline(contents.evaluation.leaders)
    below = _below(contents)
    return f"{text[:1].upper()}{text[1:]}{f'; {below}' if below else ''}."


def expected_headline(contents: ReportContents) -> str:
    """Return what to expect of the chosen model, in one sentence; both verdicts where that is not known."""
    found = contents.evaluation.expectations
    return f"{expectation_headline(found[0])}." if found else headline(contents)


def summary_lines(contents: ReportContents) -> tuple[str, ...]:
    """Return the report in seven plain lines, as the note of the study's run.

    Returns
    -------
    tuple of str
        What to expect of the chosen model; trials; the chosen model and its verdicts; past against future; overfitting;
        the chosen model against the benchmark; its uniqueness.
    """
    return (_expected(contents), _trials(contents), _chosen(contents), _relation(contents), _overfitting(contents),
            _benchmark(contents), f"Uniqueness: {uniqueness_sentence(contents)}")  # fmt: skip


def _expected(contents: ReportContents) -> str:
    n_trials, name = len(contents.trials) + contents.scores.stopped, contents.chosen.name
    chosen = f"chosen from {trials_text(n_trials)}" if n_trials > 1 else ""
    return expectation_sentence(contents.evaluation.expectations, name, chosen)


def recommendation(contents: ReportContents) -> tuple[str, str] | None:
    """Return what the evidence favours over the first trial alone, and the command for it.

    None of fewer trials, or once the study has an ensemble.
    """
    if contents.ensembles or len(contents.trials) < AVERAGED:
        return None
    command = next_command("ensemble", study=contents.study, select="top", members=AVERAGED)
    return recommendation_sentence(contents.chosen.name), command


def _trials(contents: ReportContents) -> str:
    n_trials = len(contents.trials)
    finished = f"{n_trials} trial{'s' * (n_trials != 1)} finished{others_text(contents)}"
    line = f"{finished}; {against_benchmark_text(contents.leaderboard)}"
    noise = seed_noise(contents.trials, contents.objective)
    return line if noise is None else f"{line} {seed_noise_sentence(noise)}"


def others_text(contents: ReportContents) -> str:
    """Return how many trials failed and how many are not finished, such as ``, 2 failed``; empty if none."""
    scores = contents.scores
    counts = (
        (scores.stopped, "stopped by the race"), (scores.failed, "failed"), (scores.unfinished, "not finished"),
    )  # fmt: skip
    return "".join(f", {count:,} {word}" for count, word in counts if count)


def _below(contents: ReportContents) -> str:
    below = below_benchmark(contents.chosen_trial.metrics, contents.benchmark.metrics, contents.objective)
    return f"in test it is below the benchmark ({shortfall_text(below)})" if below else ""


def _chosen(contents: ReportContents) -> str:
    chosen = contents.chosen
    past, future = (number_text(chosen.sharpe[section].value) for section in (VALIDATION, TEST))
    below = _below(contents)
    return (
        f"Chosen by validation {contents.objective.label}: {chosen.name}, {contents.objective.ratio_label} {past} in "
        f"validation and {future} in test. "
        f"{verdict_text(chosen, contents.evaluation.deflation)} It is {standing_text(chosen)}."
        f"{f' I{below[1:]}.' if below else ''}"
    )


def _relation(contents: ReportContents) -> str:
    relation = contents.evaluation.relation
    lost = race_sentence(contents.trials, contents.scores.stopped)
    if not math.isfinite(relation.rank_correlation.value):
        found = relation_sentence(relation, compared_trial(contents))
        return " ".join(filter(None, (f"Past against future: {relation.strength} relation. {found}", lost)))
    trials = trials_text(relation.n_trials, compared_trial(contents))
    line = (
        f"Past against future: {relation.strength} relation over {trials} ({rank_correlation_text(relation)}), slope "
        f"{number_text(relation.slope)}."
    )
    return " ".join(filter(None, (line, lost)))


def _overfitting(contents: ReportContents) -> str:
    found = contents.evaluation.overfitting
    if found is None:
        return "Overfitting: its probability (PBO) is not estimated."
    return (
        f"Overfitting: in {percent_text(found.probability)} of {found.n_splits:,} splits of the eras the best of one "
        "half fell below the median of the other (PBO)."
    )


def _benchmark(contents: ReportContents) -> str:
    superiority, chosen = contents.evaluation.superiority, contents.chosen
    ratio = contents.evaluation.sharpe_superiority
    label = contents.objective.ratio_label
    of_sharpe = "" if ratio is None else f" and {number_text(ratio.p_consistent, 3)} for {label}"
    test = (
        "the test of superior ability was not possible"
        if superiority is None
        else f"Hansen's test that no trial is better (SPA) gives p = {number_text(superiority.p_consistent, 3)}"
        f" for {contents.objective.compared.label}{of_sharpe}"
    )
    past, raw, future = (
        _difference(estimate)
        for estimate in (
            chosen.corrected_over_benchmark,
            chosen.sharpe_over_benchmark[VALIDATION],
            chosen.sharpe_over_benchmark[TEST],
        )
    )
    return (
        f"Against the benchmark: {test}; {chosen.name}'s Sharpe less the benchmark's is {past} in validation "
        f"({raw.partition(' ')[0]} before the correction for selection bias) and {future} in test."
    )


def uniqueness_sentence(contents: ReportContents) -> str:
    """Return how alike the chosen model is to the benchmark and to the other leaders, and what it adds."""
    metrics, name = contents.chosen_trial.metrics, contents.chosen.name
    alike = number_text(metrics.get("validation/benchmark_corr"))
    added = number_text(metrics.get("validation/bmc"), 4)
    line = f"{name} correlates {alike} with {contents.against} in validation, and its BMC is {added}"
    closest = closest_leader(contents)
    if closest is None:
        return f"{line}."
    n_leaders = len(contents.evaluation.leaders)
    count = _COUNTS.get(n_leaders, str(n_leaders))
    other = f"the most similar of the {count} leaders" if n_leaders > 2 else "the other leader"
    return f"{line}; {other} is {closest[0]}, at {number_text(closest[1])}."


def compared_trial(contents: ReportContents) -> str:
    """Return what a trial is called of those that validation and test are compared by."""
    return "control" if contents.scores.has_controls else "trial"


def relation_facts(contents: ReportContents) -> dict[str, str]:
    """Return the numbers of past against future, by name."""
    relation = contents.evaluation.relation
    return {
        "Relation": relation.strength,
        "Rank correlation": interval_text(relation.rank_correlation),
        "Slope": number_text(relation.slope),
        f"{compared_trial(contents).capitalize()}s": f"{relation.n_trials:,}",
        "Benchmark": against_benchmark_text(contents.leaderboard),
    }


def page_notes(contents: ReportContents) -> tuple[str, ...]:
    """Return what limits the conclusions, one sentence each: a benchmark that loses, too few eras and the like."""
    notes = evaluation_notes(contents.scores, contents.evaluation)
    benchmark = losses(contents.benchmark.metrics, contents.objective)
    if benchmark:
        notes = (benchmark_loss_sentence(benchmark, contents.objective), *notes)
    of_payouts = contents.objective.compared is Objective.PAYOUT
    return (payouts_note(contents.scoring), *notes) if of_payouts else notes


def closest_leader(contents: ReportContents) -> tuple[str, float] | None:
    """Return the leader whose predictions are most like the chosen model's, and their correlation; None if unknown."""
    correlations, name = contents.correlations, contents.chosen.name
    if correlations is None or name not in correlations.names:
        return None
    row = correlations.matrix[correlations.names.index(name)]
    others = {
        other: float(value)
        for other, value in zip(correlations.names, row, strict=True)
        if other not in (name, BENCHMARK_KIND) and np.isfinite(value)
    }
    return max(others.items(), key=lambda pair: pair[1]) if others else None


def _difference(estimate: Estimate) -> str:
    text = interval_text(estimate)
    return text if text == UNKNOWN or text.startswith("−") else f"+{text}"
