"""Makes a study's report from its tracked runs: read, evaluated, drawn, and logged to the study's run."""

from __future__ import annotations

import math
import shutil
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from html import escape
from pathlib import Path

from signal_miner.ensemble.runs import EnsembleRuns
from signal_miner.errors import UserError
from signal_miner.holdout.record import Opening
from signal_miner.live.review import tracked_live
from signal_miner.overfitting.records import StudyEvaluation
from signal_miner.overfitting.verdict import SOURCES, evaluate, evaluate_blend
from signal_miner.report.contents import ReportContents, ReportedEnsemble
from signal_miner.report.page import write_report
from signal_miner.report.runs import ReportRuns
from signal_miner.report.sentences import opened_holdout
from signal_miner.report.summary import summary_lines
from signal_miner.scoring.objective import Objective
from signal_miner.scoring.study_scores import StudyScores
from signal_miner.tracking.studies import Studies, StudyReference, TrackedStudy, referenced
from signal_miner.tracking.study_reader import StudyReader, finished_trials
from signal_miner.tracking.ui import REPORT_PAGE, run_page
from signal_miner.utils.files import temporary_directory

LEADERS = 10
"""Trials that get a verdict each."""


@dataclass(frozen=True)
class ReportSummary:
    """A report that was made.

    Attributes
    ----------
    lines : tuple of str
        Seven, for a person; the first says what to expect.
    address : str
        Of the page in MLflow's UI, after the server's.
    """

    study: TrackedStudy
    tracking_uri: str
    lines: tuple[str, ...]
    address: str


@dataclass(frozen=True, repr=False)
class SkillOrLuck:
    """What to believe of a study's best trial; a notebook or a terminal shows its lines.

    Attributes
    ----------
    verdict : str
        ``skill``, ``unclear`` or ``luck``.
    expected_sharpe, low, high : float
        Sharpe ratio to expect of it, corrected for selection bias, and a prediction interval for the next 52 eras.
    deflated_sharpe : float
        Probability that the true validation Sharpe of the best trial is above what luck alone gives the best of so
        many tries.
    lines : tuple of str
        The report in short.
    """

    study: str
    verdict: str
    expected_sharpe: float
    low: float
    high: float
    deflated_sharpe: float
    lines: tuple[str, ...]

    def __repr__(self) -> str:
        return "\n".join(f"- {line}" for line in self.lines)

    def _repr_html_(self) -> str:
        """Return the lines, as a notebook shows them."""
        return f"<ul>{''.join(f'<li>{escape(line)}</li>' for line in self.lines)}</ul>"


def skill_or_luck(study: str | StudyReference | None = None, tracking_uri: str | None = None) -> SkillOrLuck:
    """Evaluate a study's best trial: how much of its score is skill, and how much luck. Writes nothing.

    Parameters
    ----------
    study, tracking_uri
        As of `leaderboard`.

    Raises
    ------
    UserError
        As `read_contents`.
    """
    found, contents = read_contents(*referenced(study, tracking_uri))
    chosen, expectations = contents.chosen, contents.evaluation.expectations
    expected = (expectations[0].value, expectations[0].low, expectations[0].high) if expectations else (math.nan,) * 3
    return SkillOrLuck(found.name, chosen.verdict, *expected, chosen.deflated_sharpe, summary_lines(contents))


def read_contents(name: str | None, tracking_uri: str | None) -> tuple[TrackedStudy, ReportContents]:
    """Read a study and evaluate it.

    Parameters
    ----------
    name : str, optional
        The study's name or its beginning; the newest if not given.

    Raises
    ------
    UserError
        If there is no such study, it has no finished trial, or artifacts are damaged.
    """
    study = Studies(tracking_uri).find(name)
    trials = finished_trials(study)
    if not trials:
        raise UserError(f"study {study.name} has no finished trial to report on; rerun `mine` to resume")
    reader = StudyReader(tracking_uri)
    scores = reader.scores(study)
    correlations = None
    with suppress(UserError):  # a leader's predictions are damaged: the page notes that they are missing
        correlations = reader.correlations(study, LEADERS)
    evaluation = evaluate(scores, LEADERS, payout=study.scoring.payout)
    contents = ReportContents(
        study=study.name,
        experiment=str(study.plan["experiment"]["name"]),
        made=datetime.now(UTC),
        plan=study.plan,
        scores=scores,
        evaluation=evaluation,
        trials=trials,
        benchmark=study.benchmark,
        correlations=correlations,
        holdout=opened_holdout(opening) if (opening := Opening.of(study.tags)) else None,
        ensembles=_ensembles(study, scores, evaluation, tracking_uri),
        experiment_id=study.experiment_id,
        live=tracked_live(study.experiment_id, study.name, tracking_uri),
    )
    return study, contents


def _ensembles(
    study: TrackedStudy, scores: StudyScores, evaluation: StudyEvaluation, tracking_uri: str | None
) -> tuple[ReportedEnsemble, ...]:
    """Return the study's ensembles, best in validation first; one whose scores cannot be read is left out."""
    runs, objective = EnsembleRuns(tracking_uri), study.objective
    ratio = Objective.PAYOUT_SHARPE if objective.compared is Objective.PAYOUT else Objective.SHARPE
    found = []
    for run in runs.of_study(study.experiment_id, study.name):
        with suppress(UserError):
            corr, bmc = runs.era_scores(run.run_id, scores.era_labels)
            own = study.scoring.era_scores(corr, bmc, objective.compared)
            shown = run.metrics.get(f"validation/{ratio}", math.nan)
            by_choosing = shown - run.metrics.get(f"expected/{ratio}_by_validation", math.nan)
            judged = evaluate_blend(run.name, own, by_choosing, scores, evaluation)
            found.append(ReportedEnsemble(run.name, run.run_id, run.metrics, run.beats_benchmark, run.members, judged))
    found.sort(key=lambda each: each.metrics.get(objective.metric, -math.inf), reverse=True)
    return tuple(found)


def make_report(
    name: str | None = None,
    tracking_uri: str | None = None,
    copy: Path | None = None,
    on_found: Callable[[], None] = lambda: None,
) -> ReportSummary:
    """Make a study's report and log it.

    Parameters
    ----------
    name : str, optional
        The study's name or its beginning; the newest if not given.
    copy : Path, optional
        Directory in which the files are left, too.
    on_found : callable, optional
        Called once the study is read, before the work begins.

    Raises
    ------
    UserError
        As `read_contents`, or if the store cannot be written.
    """
    study, contents = read_contents(name, tracking_uri)
    on_found()
    runs = ReportRuns(tracking_uri)
    lines = summary_lines(contents)
    with temporary_directory() as directory:
        files = write_report(contents, SOURCES, directory)
        runs.log(study, contents, files, lines)
        if copy is not None:
            copy.mkdir(parents=True, exist_ok=True)
            for file in files:
                shutil.copy(file, copy)
    return ReportSummary(study, runs.tracking_uri, lines, run_page(study.experiment_id, study.run_id, REPORT_PAGE))
