"""A mined study in Python: its leaderboard, its trials beside the benchmark, its figures."""

from __future__ import annotations

from matplotlib.figure import Figure

from signal_miner.errors import UserError
from signal_miner.experiment.plan import make_plan, open_data, plan_record
from signal_miner.experiment.schema import Experiment
from signal_miner.overfitting.relation import relation
from signal_miner.report.fold_plan import fold_plan_figure
from signal_miner.report.parameters import parameters_figure
from signal_miner.report.scatters import past_vs_future_figure
from signal_miner.scoring.study_scores import StudyScores
from signal_miner.tracking.frames import find_study
from signal_miner.tracking.records import TrackedTrial
from signal_miner.tracking.studies import StudyReference, TrackedStudy
from signal_miner.tracking.study_reader import StudyReader, finished_trials


def past_vs_future(study: str | StudyReference | None = None, tracking_uri: str | None = None) -> Figure:
    """Draw validation Sharpe against test Sharpe: a dot a trial, the benchmark a star.

    Parameters
    ----------
    study, tracking_uri
        As of `leaderboard`.

    Raises
    ------
    UserError
        If there is no such study, or artifacts are damaged.
    """
    _, _, scores = _read(study, tracking_uri)
    return past_vs_future_figure(scores, relation(scores, seed=0))


def plot_parameters(study: str | StudyReference | None = None, tracking_uri: str | None = None) -> Figure:
    """Draw the median and the quartiles of validation and test Sharpe by each parameter that varies.

    Parameters
    ----------
    study, tracking_uri
        As of `leaderboard`.

    Raises
    ------
    UserError
        If there is no such study, it has no finished trial, or artifacts are damaged.
    """
    found, trials, scores = _read(study, tracking_uri)
    return parameters_figure(scores, trials, found.plan)


def plot_folds(study: str | StudyReference | Experiment | None = None, tracking_uri: str | None = None) -> Figure:
    """Draw the eras that each fold trains on, purges and predicts, and the holdout.

    Parameters
    ----------
    study, tracking_uri
        As of `leaderboard`; `study` may also be an experiment, mined or not.

    Returns
    -------
    matplotlib.figure.Figure
        For the benchmark's target: targets of another horizon have another purge.

    Raises
    ------
    UserError
        If there is no such study, or the experiment does not fit its data.
    """
    if isinstance(study, Experiment):
        return fold_plan_figure(plan_record(make_plan(study, open_data(study))))
    return fold_plan_figure(find_study(study, tracking_uri)[0].plan)


def _read(
    study: str | StudyReference | None, tracking_uri: str | None
) -> tuple[TrackedStudy, tuple[TrackedTrial, ...], StudyScores]:
    """Return a study, its finished trials and their scores of each era."""
    found, store = find_study(study, tracking_uri)
    trials = finished_trials(found)
    if not trials:
        raise UserError(f"study {found.name} has no finished trial to draw; rerun `mine` to resume")
    return found, trials, StudyReader(store).scores(found)
