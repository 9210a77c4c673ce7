"""A mined study looked at from Python: its leaderboard, its trials beside the benchmark, its figures."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd
from matplotlib.figure import Figure

from signal_miner.errors import UserError
from signal_miner.experiment import Experiment
from signal_miner.leaderboard_table import ranked
from signal_miner.overfitting.relation import relation
from signal_miner.plan import make_plan, plan_record
from signal_miner.records import TrackedTrial
from signal_miner.report.fold_plan import fold_plan_figure
from signal_miner.report.parameters import parameters_figure
from signal_miner.report.scatters import past_vs_future_figure
from signal_miner.sources import open_data
from signal_miner.studies import Studies, StudyReference, TrackedStudy, referenced
from signal_miner.study_reader import StudyReader, finished_trials
from signal_miner.study_scores import TEST, VALIDATION, WHOLE, StudyScores

_SCORES = ("corr", "sharpe", "max_drawdown", "bmc", "benchmark_corr")
_DIFFERENCES = ("corr", "sharpe")


def leaderboard(study: str | StudyReference | None = None, tracking_uri: str | None = None) -> pd.DataFrame:
    """Return the finished trials of a study and its benchmark, by validation Sharpe.

    Parameters
    ----------
    study : str or StudyReference, optional
        The study's name or its beginning, or what `start_mining` or `attach` returned; the newest if not given.
    tracking_uri : str, optional
        MLflow store; the reference's, or else MLflow's own choice, if not given.

    Returns
    -------
    pandas.DataFrame
        A row a model, indexed by its name (``trial 0007``, ``benchmark``), best first: ``validation/corr`` and the
        other scores of ``validation``, ``test`` and ``whole``, which contains both; ``best/trees``,
        ``beats_benchmark/validation``, ``beats_benchmark/test``, ``run_id``, and the parameters.

    Raises
    ------
    UserError
        If there is no such study.
    """
    found, _ = _find(study, tracking_uri)
    models = ranked([*finished_trials(found), found.benchmark])
    names = [f"{section}/{score}" for section in (VALIDATION, TEST, WHOLE) for score in _SCORES]
    frame = _metrics(models, [*names, "best/trees"])
    frame["run_id"] = [model.run_id for model in models]
    frame = frame.join(pd.DataFrame([dict(model.params) for model in models], index=frame.index))
    frame["best/trees"] = frame["best/trees"].astype("Int64")
    for name in {name for model in models for name in model.params}:
        numbers = pd.to_numeric(frame[name], errors="coerce")
        if numbers.notna().equals(frame[name].notna()):
            frame[name] = numbers
    return frame


def compare_to_benchmark(study: str | StudyReference | None = None, tracking_uri: str | None = None) -> pd.DataFrame:
    """Return how far the finished trials of a study are above its benchmark.

    Parameters
    ----------
    study : str or StudyReference, optional
        The study's name or its beginning, or what `start_mining` or `attach` returned; the newest if not given.
    tracking_uri : str, optional
        MLflow store; the reference's, or else MLflow's own choice, if not given.

    Returns
    -------
    pandas.DataFrame
        A row a trial, best in validation first: ``validation/corr_over_benchmark``,
        ``validation/sharpe_over_benchmark``, the same of ``test``; ``validation/bmc``, ``validation/benchmark_corr``;
        ``beats_benchmark/validation`` and ``beats_benchmark/test`` (CORR and Sharpe).

    Raises
    ------
    UserError
        If there is no such study.
    """
    trials = finished_trials(_find(study, tracking_uri)[0])
    names = [f"{section}/{score}_over_benchmark" for section in (VALIDATION, TEST) for score in _DIFFERENCES]
    names += [f"{VALIDATION}/bmc", f"{VALIDATION}/benchmark_corr"]
    return _metrics(trials, names)


def past_vs_future(study: str | StudyReference | None = None, tracking_uri: str | None = None) -> Figure:
    """Draw validation Sharpe against test Sharpe: a dot a trial, the benchmark a star.

    Parameters
    ----------
    study : str or StudyReference, optional
        The study's name or its beginning, or what `start_mining` or `attach` returned; the newest if not given.
    tracking_uri : str, optional
        MLflow store; the reference's, or else MLflow's own choice, if not given.

    Returns
    -------
    matplotlib.figure.Figure

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
    study : str or StudyReference, optional
        The study's name or its beginning, or what `start_mining` or `attach` returned; the newest if not given.
    tracking_uri : str, optional
        MLflow store; the reference's, or else MLflow's own choice, if not given.

    Returns
    -------
    matplotlib.figure.Figure

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
    study : str, StudyReference or Experiment, optional
        As for the other functions; or an experiment that may not have been mined yet.
    tracking_uri : str, optional
        MLflow store; the reference's, or else MLflow's own choice, if not given.

    Returns
    -------
    matplotlib.figure.Figure
        Of the benchmark's target: targets of another horizon have another purge.

    Raises
    ------
    UserError
        If there is no such study, or the experiment does not fit its data.
    """
    if isinstance(study, Experiment):
        return fold_plan_figure(plan_record(make_plan(study, open_data(study))))
    return fold_plan_figure(_find(study, tracking_uri)[0].plan)


def _find(study: str | StudyReference | None, tracking_uri: str | None) -> tuple[TrackedStudy, str | None]:
    """Return a study as it is tracked, and its store."""
    name, store = referenced(study, tracking_uri)
    return Studies(store).find(name), store


def _read(
    study: str | StudyReference | None, tracking_uri: str | None
) -> tuple[TrackedStudy, tuple[TrackedTrial, ...], StudyScores]:
    """Return a study, its finished trials and their scores of each era."""
    found, store = _find(study, tracking_uri)
    trials = finished_trials(found)
    if not trials:
        raise UserError(f"study {found.name} has no finished trial to draw; mine it on")
    return found, trials, StudyReader(store).scores(found)


def _metrics(models: Sequence[TrackedTrial], names: Sequence[str]) -> pd.DataFrame:
    """Return these metrics of some models, a row each, and whether each beats the benchmark."""
    rows = [
        {name: model.metrics.get(name) for name in names}
        | {f"beats_benchmark/{section}": beats for section, beats in model.beats_benchmark.items()}
        for model in models
    ]
    return pd.DataFrame(rows, index=pd.Index([model.name for model in models], name="model"))
