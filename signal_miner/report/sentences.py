"""Every sentence of the command line and the report about results: numbers and enums in, English out.

The packages below return numbers; a message is reworded here and nowhere else.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING

import numpy as np

from signal_miner.data.payout_file import DEFAULT
from signal_miner.engine.further_scores import EXPOSURE, FNC, META_BLOCKS, META_ERAS, MMC, meta_model_text
from signal_miner.experiment.plan import Plan
from signal_miner.experiment.schema import BENCHMARK
from signal_miner.models.promotion import FEWEST_ERAS, Comparison, Promotion, Reason, SectionScores
from signal_miner.overfitting.cross_validation import FEW_SPLITS
from signal_miner.overfitting.race import share_lost
from signal_miner.overfitting.records import (
    FEWEST_TRIALS,
    INTERVAL_LEVEL,
    STRONG,
    Deflation,
    Estimate,
    Expectation,
    ModelEvaluation,
    Overfitting,
    Relation,
    Standing,
    Strength,
    StudyEvaluation,
    Superiority,
    Verdict,
)
from signal_miner.overfitting.superiority import SIGNIFICANT
from signal_miner.overfitting.verdict import LUCK_LEVEL, SKILL_LEVEL
from signal_miner.scoring.objective import Objective, Scoring
from signal_miner.scoring.study_scores import TEST, VALIDATION, StudyScores
from signal_miner.tracking.ranking import Leaderboard, SeedNoise, Shortfall, below_benchmark, losses
from signal_miner.tracking.records import TrackedTrial, trial_name
from signal_miner.utils.formatting import (
    UNKNOWN,
    bytes_text,
    gigabytes_rounded_up,
    number_text,
    percent_text,
    probability_text,
)

if TYPE_CHECKING:  # they import LightGBM, which reports do not need
    from signal_miner.engine.memory_plan import MemoryPlan
    from signal_miner.holdout.evaluation import HoldoutPreview
    from signal_miner.holdout.record import Opening


FEW_EFFECTIVE_ERAS = 10
"""Independent eras below which a note warns."""


def describe_plan(plan: Plan) -> tuple[str, ...]:
    """Return the lines that `mine` prints before it starts: study, data, each fold, holdout, benchmark."""
    dataset, experiment = plan.dataset, plan.experiment
    eras = np.unique(dataset.eras)
    plural = "s" * (len(plan.targets) > 1)
    study = f"{experiment.trials} trials of {plan.grid.size:,} configurations, seed {experiment.seed}"
    rows = f"{len(dataset):,} rows, eras {plan.span(eras.tolist())}, {len(dataset.features)} features"
    if len(experiment.opened_sets) > 1:
        sizes = ", ".join(f"{name} {len(dataset.features_in(name))}" for name in experiment.opened_sets)
        rows += f" in sets ({sizes})"
    targets = f"{len(plan.targets)} training target{plural}, scored on {experiment.scoring_target}"
    lines = [f"Study {plan.study}: {study}", f"Data {dataset.name}: {rows}, {targets}", objective_line(plan)]
    folds = plan.scored_folds
    purge = plan.purge_eras[plan.benchmark_target]
    step = experiment.folds.train_era_step
    thinning = f", 1 era in {step}" if step > 1 else ""
    if "train_last_eras" in {*experiment.axes, *experiment.benchmark}:
        thinning += ", the newest train_last_eras of them"
    for fold in folds:
        part = "test" if fold is folds[-1] else "validation"
        train, predict = plan.span(fold.train_eras), plan.span(fold.validation_eras)
        gap = f"purge {purge} era{'s' * (purge != 1)}"
        lines.append(f"Fold {fold.number} ({part}): train {train}{thinning}, {gap}, predict {predict}")
    if plan.holdout_eras:
        before = max(plan.purge_eras.values())
        gap = f"a purge of {before} era{'s' * (before != 1)} before it"
        lines.append(f"Holdout: {plan.span(plan.holdout_eras)}, untouched, with {gap}")
    return (*lines, _benchmark_line(plan))


def _benchmark_line(plan: Plan) -> str:
    """Return what the trials are compared with, and what that takes before the first of them."""
    column = plan.benchmark_predictions
    if column is None:
        trees, count = int(plan.benchmark["n_estimators"]), len(plan.scored_folds)
        line = f"Benchmark: {trees:,} trees in each of {count} folds, trained before the first trial"
    else:
        line = f"Benchmark: Numerai's predictions {column}, so that nothing is trained before the first trial"
    against = plan.experiment.contribution_to
    return line if against in (BENCHMARK, column) else f"{line}; BMC and correlation are against {against}"


def objective_line(plan: Plan) -> str:
    """Return what a study looks for, and by which multipliers it computes payouts."""
    published = plan.published_payout
    if published is None:
        source = "set by [payout]"
    elif published is DEFAULT:
        source = f"default: Numerai's of round {published.round}, {published.date}"
    else:
        source = f"Numerai's of round {published.round}, read on {published.date}"
    return f"Objective: {plan.experiment.objective.label}; payout: {plan.payout}, BMC for MMC ({source})"


def memory_lines(memory: MemoryPlan) -> tuple[str, ...]:
    """Return the one to three lines that `mine` prints about memory: what is held, and what limits it."""
    shape, jobs = memory.shape, memory.jobs
    largest = bytes_text(shape.largest_bytes)
    if not shape.grouped:
        held = f"one store of bit planes for every fold and target, {largest}"
    elif memory.together:
        total = bytes_text(shape.together_bytes)
        held = f"{len(shape.datasets)} binned datasets of at most {largest}, kept together in {total}"
    else:
        keys = [asdict(key) for key in shape.keys]
        grouped = ["fold", *(name for name in keys[0] if len({key[name] for key in keys}) > 1)]
        by = " and ".join((", ".join(grouped[:-1]), grouped[-1]) if len(grouped) > 1 else grouped)
        held = f"trials are grouped by {by}, one dataset of at most {largest} at a time"
    trials = f"{jobs} trial{'s' * (jobs > 1)} at a time of {bytes_text(shape.trial_bytes(shape.trial))}"
    own = f"{bytes_text(shape.fixed_bytes)} for the program itself"
    needed, budget = gigabytes_rounded_up(memory.needed_bytes), f"{memory.budget_bytes / 1e9:.1f} GB"
    lines = [f"Memory: {needed} of {budget}: {own}; {held}; {trials}"]
    if jobs < memory.wanted_jobs:
        all_jobs = gigabytes_rounded_up(memory.wanted_jobs_bytes)
        lines.append(f"Memory: {memory.wanted_jobs} trials at a time, as asked for, would take {all_jobs} GB")
    if memory.memory_gb is not None and memory.budget_bytes > memory.available_bytes:
        free = f"{memory.available_bytes / 1e9:.1f} GB"
        lines.append(f"Memory: memory_gb = {memory.memory_gb:g} is more than the {free} that are free")
    return tuple(lines)


def further_sentence(name: str, metrics: Mapping[str, float]) -> str:
    """Return a model's scores that are shown but not used for selection; empty where none is tracked."""
    clauses = []
    if f"{VALIDATION}/{FNC}" in metrics:
        fnc, exposure = (
            " and ".join(
                f"{number_text(metrics.get(f'{section}/{score}'), digits)} in {section}"
                for section in (VALIDATION, TEST)
            )
            for score, digits in ((FNC, 4), (EXPOSURE, 2))
        )
        clauses.append(f"FNC {fnc}, largest feature exposure {exposure}")
    if math.isfinite(metrics.get(MMC, math.nan)):
        clauses.append(meta_model_text(metrics))
    return f"Not used for selection: {name} has {'; '.join(clauses)}." if clauses else ""


def further_rule(models: Sequence[Mapping[str, float]]) -> str:
    """Return what the scores are that nothing is chosen by, of models' metrics; empty where none has any."""
    clauses = []
    if any(f"{VALIDATION}/{FNC}" in metrics for metrics in models):
        clauses.append("CORR once the features are taken out (FNC), and the largest correlation with a feature")
    if covered := [metrics for metrics in models if MMC in metrics]:
        eras, blocks = (max(metrics[name] for metrics in covered) for name in (META_ERAS, META_BLOCKS))
        clauses.append(
            f"contribution to Numerai's meta model (MMC) and correlation with it (CWMM), in the {eras:.0f} eras that "
            f"it covers, worth about {blocks:.1f} independent ones"
        )
    return "; ".join(clauses)


def seed_noise_sentence(noise: SeedNoise) -> str:
    """Return how much seeds alone move the leaders' scores, and how much of the first one's lead that is."""
    many = f"{noise.leaders} leader{'s' * (noise.leaders != 1)}"
    label, digits = noise.objective.label, noise.objective.digits
    moved = f"seeds alone move {label} by {noise.spread:.{digits}f}"
    text = f"Of the {many}, ranked by the mean of {noise.seeds} seeds, {moved}"
    if math.isnan(noise.lead):
        return f"{text} (standard deviation)."
    verdict = "more than" if noise.lead > 2 * noise.of_lead else "no more than"
    return (
        f"{text} (standard deviation): the first leads the second by {noise.lead:.{digits}f}, {verdict} two standard "
        f"deviations ({noise.of_lead:.{digits}f} each) of such a lead by seeds alone."
    )


def leaderboard_sentence(board: Leaderboard) -> str:
    """Return how many trials finished and failed, and how many beat the benchmark."""
    failed = f", {board.failed} failed" if board.failed else ""
    stopped = f", {board.stopped} stopped by the race" if board.stopped else ""
    return f"{trials_text(board.finished)} finished{stopped}{failed}; {against_benchmark_text(board)}"


def race_sentence(trials: Sequence[TrackedTrial], n_stopped: int) -> str:
    """Return what a race's controls, among finished trials, say of the winners that it lost; empty without a race."""
    controls = [trial for trial in trials if trial.race.control == "true" and trial.finished]
    if not n_stopped or not controls:
        return ""
    winners = [trial for trial in controls if trial.held]
    tried = f"Of {trials_text(len(controls), 'control')}, which the race trained to the end whatever they scored,"
    if not winners:
        return f"{tried} none held up in test, so how many winners the race lost is not known."
    stopped = sum(bool(trial.race.reason) for trial in winners)
    lost = share_lost(len(winners), stopped)
    between = f"{percent_text(lost.low)} to {percent_text(lost.high)}"
    return (
        f"{tried} {len(winners)} held up in test, and it would have stopped {stopped} of them: {between} of all "
        f"winners are lost ({INTERVAL_LEVEL:.0%} interval)."
    )


def against_benchmark_text(board: Leaderboard) -> str:
    """Return how many trials beat the benchmark in validation, and how many of them in test too."""
    rule = beating_rule(board.objective)
    if not board.beating:
        return f"none beats the benchmark in validation ({rule})."
    beat = f"{len(board.beating)} beat{'s' * (len(board.beating) == 1)} the benchmark in validation"
    losing = f" {benchmark_loss_sentence(board.benchmark_losses, board.objective)}" if board.benchmark_losses else ""
    return f"{beat} ({rule}), of which {len(board.held)} held up in test.{losing}"


def beating_rule(objective: Objective) -> str:
    """Return what a model has to be better in than the benchmark to beat it."""
    return "CORR and Sharpe" if objective.compared is Objective.CORR else "a higher payout in each half of the eras"


def benchmark_loss_sentence(losses: Mapping[str, float], objective: Objective) -> str:
    """Return that the benchmark itself does not gain, from its scores in the sections in which they are not above 0."""
    compared = objective.compared
    where = " and ".join(f"{number_text(score, compared.digits)} in {section}" for section, score in losses.items())
    return f"The benchmark's own {compared.label} is {where}, not above 0, so beating it means little there."


def study_note(board: Leaderboard | None) -> str:
    """Return the note on a study's run until it has a report; without a leaderboard the benchmark is not finished."""
    return "The benchmark is not finished." if board is None else leaderboard_sentence(board)


def shortfall_text(shortfall: Shortfall) -> str:
    """Return by what a model is below the benchmark, such as ``Sharpe 0.41 against 0.67``, in digits that differ."""
    name, least = shortfall.metric.label, shortfall.metric.digits
    own, other = shortfall.model, shortfall.benchmark
    pairs = ((number_text(own, digits), number_text(other, digits)) for digits in range(least, 10))
    first, second = next((pair for pair in pairs if len(set(pair)) == 2), (f"{own}", f"{other}"))
    return f"{name} {first} against {second}"


def below_benchmark_sentence(metrics: Mapping[str, float], benchmark: Mapping[str, float], objective: Objective) -> str:
    """Return that a model is below the benchmark in test, or below 0, from the tracked metrics; empty if neither."""
    shortfall = below_benchmark(metrics, benchmark, objective)
    if shortfall:
        return f"Below the benchmark in test: {shortfall_text(shortfall)}"
    compared, score = objective.compared, losses(metrics, objective).get(TEST)
    return (
        "" if score is None else f"Its {compared.label} in test is {number_text(score, compared.digits)}, not above 0"
    )


def payouts_note(scoring: Scoring) -> str:
    """Return what is optimised and why, and what a page's Sharpe ratios are of."""
    return (
        f"Models are ranked by {scoring.objective.label}, as Numerai pays {scoring.payout}: what others lack is worth "
        "more than accuracy. BMC stands for MMC, and every Sharpe ratio, interval and verdict here is of payouts."
    )


def interval_text(estimate: Estimate, digits: int = 2) -> str:
    """Return an estimate with its interval, such as ``0.31 (90% interval 0.02 to 0.55)``."""
    value, low, high = (number_text(part, digits) for part in (estimate.value, estimate.low, estimate.high))
    if UNKNOWN in (low, high):
        return value
    return f"{value} ({INTERVAL_LEVEL:.0%} interval {low} to {high})"


def overfitting_sentence(found: Overfitting) -> str:
    """Return how often the best trial of one half of the eras failed in the other, and what that means."""
    share = (
        f"In {found.probability:.0%} of {found.n_splits:,} ways to halve the {found.n_eras} validation and test eras"
    )
    few = found.n_splits < FEW_SPLITS
    by_luck = (
        f"; were all equally good, it would be {found.low_by_luck:.0%} to {found.high_by_luck:.0%} in nine of ten cases"
        if math.isfinite(found.low_by_luck)
        else ""
    )
    if found.pays:
        meaning = "choosing the best trial paid on eras it had not seen"
    elif found.probability <= 0.6:
        meaning = "it is not shown that choosing the best trial is better than choosing any"
    elif few:
        meaning = "choosing the best trial did not pay off more often than not"
    else:
        meaning = "choosing the best trial was worse than choosing any"
    meaning += ", but so few splits show little" * few
    return f"{share} the best trial of one half was below the median of the other: {meaning}{by_luck}."


def superiority_sentence(found: Superiority, objective: Objective) -> str:
    """Return whether validation shows a trial that beats the benchmark's score by more than luck."""
    compared = objective.label
    none = "the trial does not beat" if found.n_trials == 1 else f"none of the {found.n_trials:,} trials beats"
    luck = f"if {none} the benchmark, the best would look as good in {found.p_consistent:.1%} of the cases"
    if found.p_consistent <= SIGNIFICANT:
        return f"Validation shows a trial that beats the benchmark's {compared} by more than luck: {luck}."
    return f"Validation does not show that any trial beats the benchmark's {compared}: {luck}."


def relation_meaning(relation: Relation) -> str:
    """Return what the rank correlation's interval means, by the rule that makes a relation strong, weak or none."""
    interval = relation.rank_correlation
    if relation.n_trials < FEWEST_TRIALS:
        return f"fewer than {FEWEST_TRIALS} trials show nothing"
    if not math.isfinite(interval.low):
        return "without an interval it shows nothing"
    if relation.strength is Strength.STRONG:
        return f"{STRONG:g} or more and the interval above {STRONG / 2:g}, so validation predicted test well"
    if relation.strength is Strength.WEAK:
        return "above 0, so validation predicted test to some extent"
    if interval.high < 0:
        return "below 0, so what was better in validation was worse in test"
    return "0 is within it, so it is not shown that validation predicted test"


def rank_correlation_text(relation: Relation) -> str:
    """Return the rank correlation, its interval and its meaning."""
    return f"{_rank_figures(relation)}: {relation_meaning(relation)}"


def _rank_figures(relation: Relation) -> str:
    rank = relation.rank_correlation
    value, low, high = (number_text(part) for part in (rank.value, rank.low, rank.high))
    interval = f", {INTERVAL_LEVEL:.0%} interval {low} to {high}" if math.isfinite(rank.low) else ""
    return f"rank correlation {value}{interval}"


def relation_sentence(relation: Relation, trial: str = "trial") -> str:
    """Return whether a better validation Sharpe went with a better test Sharpe.

    Parameters
    ----------
    trial : str, default "trial"
        What a trial is called: ``control`` where a race chose the others.
    """
    trials = trials_text(relation.n_trials, trial)
    if not math.isfinite(relation.rank_correlation.value):
        return f"There is no relation to report: {trials} with a Sharpe ratio in validation and test."
    if relation.n_trials < FEWEST_TRIALS:
        return f"{trials} are too few to show a relation."
    figures = f"over {trials}, {_rank_figures(relation)}"
    if relation.strength is not Strength.NO:
        much = "well" if relation.strength is Strength.STRONG else "to some extent"
        return f"A {relation.strength} relation: validation Sharpe predicted test Sharpe {much} ({figures})."
    if relation.rank_correlation.high < 0:
        return f"Trials that were better in validation were worse in test ({figures})."
    return f"No relation is shown: a better validation Sharpe did not predict a better test Sharpe ({figures})."


def trials_text(count: int, trial: str = "trial") -> str:
    """Return a number of trials, such as ``1,200 trials``."""
    return f"{count:,} {trial}" + ("" if count == 1 else "s")


def deflation_sentence(found: Deflation) -> str:
    """Return how many tries there were, and what luck alone gives the best of them."""
    if not math.isfinite(found.expected_best_sharpe):
        return "Without finished trials and validation eras there is no luck to measure."
    if found.n_candidates == 1:
        return "There is one candidate, so there is no selection to deflate its Sharpe for."
    others = ", and as many for trials that did not finish" if found.has_unfinished else ""
    tries = f"{found.n_candidates:,} candidates (trials at each of their checkpoints{others})"
    expected = number_text(found.expected_best_sharpe)
    luck = f"without any skill the best would reach a validation Sharpe of about {expected}"
    reached = f"; the leader reached {number_text(found.best_sharpe)}" if math.isfinite(found.best_sharpe) else ""
    alike = f"which correlate {number_text(found.correlation)} on average"
    return f"The study tried {tries}, {alike}: {luck}{reached}."


SKILL_OR_LUCK = "Skill or luck"
"""The title above a study's conclusions."""

_HEADLINES = {
    Verdict.SKILL: "{name} has skill",
    Verdict.UNCLEAR: "it is unclear whether {name} has skill or was lucky",
    Verdict.LUCK: "{name} is no better than luck alone would give",
}

_MOST = 0.8  # share of the other leaders from which a verdict of skill is nothing special

REGIME = (
    "Such intervals contained the actual result in about 85% of the studies they were tried on; no estimate covers a "
    "change of regime"
)
"""How far to trust a prediction interval."""


def verdict_headline(leaders: Sequence[ModelEvaluation]) -> str:
    """Return both verdicts on the first leader: on luck, and on what it is shown to be better than."""
    first, others = leaders[0], leaders[1:]
    text = _HEADLINES[first.verdict].format(name=first.name)
    skilled = sum(leader.verdict is Verdict.SKILL for leader in others)
    if first.verdict is Verdict.SKILL and len(others) > 1 and skilled >= _MOST * len(others):
        text += ", as nearly all its rivals have" if skilled < len(others) else ", as all its rivals have"
    return f"{text}; it is {standing_text(first)}"


def standing_text(leader: ModelEvaluation) -> str:
    """Return what a model is, and is not, shown to be better than."""
    compared = ((leader.against_benchmark, "the benchmark"), (leader.against_average, "the average trial"))
    better = [name for standing, name in compared if standing is Standing.BETTER]
    others = [name for standing, name in compared if standing is Standing.NOT_SHOWN]
    words = [f"better than {better[0]}" + (f" and {better[1]}" if len(better) > 1 else "")] if better else []
    if others:
        words.append(f"not shown better than {others[0]}" + (f" or {others[1]}" if len(others) > 1 else ""))
    return ", but ".join(words)


def expectation_headline(found: Expectation) -> str:
    """Return what to expect of a chosen model, and between what, without its last stop."""
    label, digits = found.objective.label, found.objective.digits
    value, low, high = (number_text(part, digits) for part in (found.value, found.low, found.high))
    text = f"Expect a {label} of about {value}"
    if UNKNOWN in (low, high):
        return text
    return f"{text}, between {low} and {high} over the next {found.eras} eras"


def expectation_sentence(found: Sequence[Expectation], name: str, chosen: str = "") -> str:
    """Return what to expect of a chosen model, of each score, and what it showed in validation and test.

    Parameters
    ----------
    name : str
        Of the model.
    chosen : str, optional
        How it was chosen, such as ``the best of 80``.
    """
    if not found:
        return f"What to expect of {name} is not estimated: too few eras of it are known."
    first, digits = found[0], found[0].objective.digits
    shown, tested = (number_text(part, digits) for part in (first.validation, first.test))
    test = "" if tested == UNKNOWN else f" and {tested} in test"
    heads = [expectation_headline(first)]
    for other in found[1:]:
        value, low, high = (number_text(part, other.objective.digits) for part in (other.value, other.low, other.high))
        interval = "" if UNKNOWN in (low, high) else f" ({low} to {high})"
        heads.append(f"a {other.objective.label} of about {value}{interval}")
    why = f", {chosen}," if chosen else ""
    return f"{'; '.join(heads)}: {name}{why} showed {shown} in validation{test}. {REGIME}."


def recommendation_sentence(single: str) -> str:
    """Return that an average of the leaders is the better choice than the first alone.

    Parameters
    ----------
    single : str
        Name of the first.
    """
    return (
        f"Average the ten best rather than take {single} alone: over 630 studies of public models such an average had "
        "a test Sharpe of 1.12, and was better than a random trial in 92% of them; the best alone had 1.03, and was "
        "better in 66%."
    )


def verdict_text(leader: ModelEvaluation, deflation: Deflation) -> str:
    """Return a model's verdict and why, in two sentences."""
    return f"Verdict: {leader.verdict}. {verdict_sentence(leader, deflation)}"


def verdict_sentence(leader: ModelEvaluation, deflation: Deflation) -> str:
    """Return why a model's verdict is skill, unclear or luck."""
    validation, test, deflated = leader.sharpe[VALIDATION].value, leader.sharpe[TEST].value, leader.deflated_sharpe
    if not math.isfinite(deflated):
        if leader.verdict is Verdict.LUCK:
            return f"Its test Sharpe of {number_text(test)} is not above 0."
        return "Its validation scores are too few or too similar to distinguish skill from luck."
    own, best = f"Its validation Sharpe of {number_text(validation)} is", number_text(deflation.expected_best_sharpe)
    expected = f"above the {best} that the best of so many tries reaches by luck alone"
    figures = f"deflated Sharpe {probability_text(deflated)}"
    if deflated < LUCK_LEVEL:
        return f"{own} not {expected} ({figures})."
    if leader.verdict is Verdict.LUCK:
        return f"{own} {expected} ({figures}), but it did not hold: in test it is {number_text(test)}."
    if not math.isfinite(test):
        return f"{own} {expected} ({figures}), but it has no Sharpe in test."
    if leader.verdict is Verdict.UNCLEAR:
        return f"{own} {expected}, but not clearly: {figures}, and skill needs {SKILL_LEVEL:.0%}."
    return f"{own} {expected} ({figures}), and in test it is {number_text(test)}."


def why_text(leader: ModelEvaluation) -> str:
    """Return why a model's verdict is skill, unclear or luck: its deflated Sharpe ratio, or what it lacks."""
    if not leader.sharpe[TEST].value > 0:
        return "test not above 0" if math.isfinite(leader.sharpe[TEST].value) else "no Sharpe in test"
    if not math.isfinite(leader.deflated_sharpe):
        return "too few or too similar scores"
    return probability_text(leader.deflated_sharpe)


def evaluation_notes(scores: StudyScores, evaluation: StudyEvaluation) -> tuple[str, ...]:
    """Return what limits the conclusions, such as too few eras, one sentence each."""
    notes = []
    deflation, overfitting = evaluation.deflation, evaluation.overfitting
    n_trials, n_validation = len(scores.names), int(scores.rows(VALIDATION).sum())
    if n_trials == 0:
        notes.append("No trial has finished, so there is nothing to evaluate.")
    elif n_trials == 1:
        notes.append("There is one trial, so only the choice among its checkpoints deflates its Sharpe.")
    if n_validation == 0:
        notes.append("There is one fold, which is test: without validation eras no trial can be chosen.")
    elif n_trials and deflation.effective_eras < FEW_EFFECTIVE_ERAS:
        worth = f", worth {number_text(deflation.effective_eras, 1)} independent ones, as the targets of "
        worth += f"{scores.overlap_eras + 1} neighbouring eras overlap"
        has = f"Validation has {_eras(n_validation)}{worth if scores.overlap_eras else ''}"
        notes.append(f"{has}: only a very high Sharpe can be told from luck.")
    if n_trials >= 2 and overfitting is None:
        notes.append(
            f"The {_eras(len(scores.eras))} are too few for four blocks longer than twice the overlap of "
            f"{_eras(scores.overlap_eras)}, or trials have undefined eras: there is no probability of overfitting."
        )
    elif overfitting is not None and overfitting.n_splits < FEW_SPLITS:
        notes.append(f"The probability of overfitting is coarse: {overfitting.n_splits} splits, as the eras are few.")
    if n_trials and n_validation and evaluation.superiority is None:
        notes.append("No trial differs from the benchmark over enough defined validation eras to be tested against it.")
    if scores.has_controls:
        controls = trials_text(int(scores.unbiased.sum()), "control")
        notes.append(f"Past against future and the probability of overfitting are of the race's {controls} alone.")
    elif scores.stopped:
        notes.append(
            "The race has no finished control, so past against future and the probability of overfitting are of the "
            "trials that it let finish, which are no random sample."
        )
    undefined = int(np.isnan(scores.era_scores).any(axis=0).sum())
    if undefined:
        trials = "trial has" if undefined == 1 else "trials have"
        notes.append(
            f"{undefined:,} {trials} eras in which all predictions were equal. Such eras count for nothing, and such a "
            "trial is left out of overfitting and of the test against the benchmark if others are defined there."
        )
    return tuple(notes)


def _eras(count: int) -> str:
    return f"{count:,} era" + ("" if count == 1 else "s")


def promotion_reason(promotion: Promotion, promote: str) -> str:
    """Return why a registered version became champion or did not; `promote` is the option as it was given."""
    if promotion.comparison is not None:
        return _compared(promotion.comparison)
    if promotion.section is not None:
        where = f"in {promotion.section.section}"
        below = promotion.reason is Reason.BELOW_BENCHMARK
        compared = promotion.section.objective.compared.label
        return f"it does not beat the benchmark {where}" if below else f"its {compared} {where} is not positive"
    return {
        Reason.CHOSEN: f"promote = {promote}",
        Reason.FIRST: "there was none",
        Reason.SCALED_TREES: "scaled tree counts were never validated",
        Reason.SAME_ENSEMBLE: "it is the same ensemble, refitted",
        Reason.OTHER_DATA: f"version {promotion.champion_version} was mined on other data or scored on another target",
        Reason.OTHER_BENCHMARK: (
            f"the BMC of version {promotion.champion_version} is a contribution to another benchmark, so payouts do "
            "not compare"
        ),
        Reason.UNREADABLE: f"the scores of version {promotion.champion_version} cannot be read ({promotion.error})",
    }[promotion.reason]


def section_line(scores: SectionScores) -> str:
    """Return the scores of an ensemble in a section beside the benchmark's."""
    own, other = (
        f"CORR {number_text(corr, 4)} and Sharpe {number_text(sharpe, 2)}"
        for corr, sharpe in ((scores.corr, scores.sharpe), (scores.benchmark_corr, scores.benchmark_sharpe))
    )
    if scores.pays:
        own += f", payout {number_text(scores.payout, 3)}"
        other += f", payout {number_text(scores.benchmark_payout, 3)}"
    gaps = f"; no CORR in {_eras(scores.undefined_eras)}" if scores.undefined_eras else ""
    return f"{scores.section.capitalize()}: {own}; the benchmark {other}{gaps}"


def _compared(comparison: Comparison) -> str:
    if comparison.eras < FEWEST_ERAS:
        plural = "s" * (comparison.eras != 1)
        return f"they have {comparison.eras} validation era{plural} in common, too few to compare"
    own, other = number_text(comparison.challenger, 3), number_text(comparison.champion, 3)
    return f"validation {comparison.objective.label} {own} against {other} on {comparison.eras} common eras"


def holdout_preview(preview: HoldoutPreview) -> tuple[str, ...]:
    """Return the lines that `holdout` prints before it opens anything."""
    from signal_miner.holdout.record import TWICE, span  # it imports LightGBM, which reports do not need

    opening, members = preview.opening, preview.model.ensemble.members
    state = f"was opened on {opening.when} for this model and not finished" if opening else "was not opened yet"
    eras = " and ".join(f"{eras} (purge {_eras(purge)})" for eras, purge in preview.training)
    thinning = f", 1 era in {preview.train_era_step}," if preview.train_era_step > 1 else ""
    target = preview.scoring_target
    trained = "it" if preview.model.single else f"its {len(members)} member{'s' * (len(members) > 1)}"
    made_of = ", ".join(f"{trial_name(member.number)} of {member.trees} trees" for member in members)
    if preview.model.single:
        made_of = f"{members[0].trees} of its {members[0].params.get('n_estimators', '?')} trees, by validation"
    return (
        f"Study {preview.study}: its holdout, {_eras(len(preview.era_labels))} {span(preview.era_labels)}, {state}",
        f"Model: {preview.model.name} (run {preview.model.run_id}): {made_of}",
        f"On opening, {trained} and the benchmark are trained on eras {eras}{thinning} and scored on {target}",
        f"This can be done once for the study, for one model: {TWICE}",
        *(f"{clause[:1].upper()}{clause[1:]}" for clause in preview.earlier),
    )


def opened_holdout(opening: Opening) -> str:
    """Return the sentence on a study's opened holdout."""
    return f"The holdout, eras {opening.eras}, was opened on {opening.when} for {opening.model}: {opening.outcome}."
