"""Leaderboard and comparison with the benchmark as pandas frames."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from signal_miner.scoring.study_scores import TEST, VALIDATION, WHOLE
from signal_miner.tracking.ranking import ranked
from signal_miner.tracking.records import TrackedTrial
from signal_miner.tracking.studies import Studies, StudyReference, TrackedStudy, referenced
from signal_miner.tracking.study_reader import finished_trials

_SCORES = ("corr", "sharpe", "max_drawdown", "bmc", "benchmark_corr", "payout", "payout_sharpe", "payout_drawdown")
_DIFFERENCES = ("corr", "sharpe", "payout")


def leaderboard(study: str | StudyReference | None = None, tracking_uri: str | None = None) -> pd.DataFrame:
    """Return the finished trials of a study and its benchmark, by its objective in validation.

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
        ``beats_benchmark/validation``, ``beats_benchmark/test``, ``held`` (beats it in both, with a CORR, or payout,
        above 0 in both), ``run_id``, and the parameters. Studies mined before payouts were tracked have none. Where
        leaders were trained with several seeds: ``seeds``, their number, and ``mean_of_seeds`` and ``spread_of_seeds``
        of the score that they are ranked by.

    Raises
    ------
    UserError
        If there is no such study.
    """
    found, _ = find_study(study, tracking_uri)
    models = ranked([*finished_trials(found), found.benchmark], found.objective)
    names = [f"{section}/{score}" for section in (VALIDATION, TEST, WHOLE) for score in _SCORES]
    frame = _metrics(models, [*names, "best/trees"])
    if any(model.repeats for model in models):
        frame["seeds"] = [1 + len(model.repeats) for model in models]
        frame[["mean_of_seeds", "spread_of_seeds"]] = [model.over_seeds(found.objective.metric) for model in models]
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
    study, tracking_uri
        As of `leaderboard`.

    Returns
    -------
    pandas.DataFrame
        A row a trial, best in validation first: ``validation/corr_over_benchmark``,
        ``validation/sharpe_over_benchmark``, ``validation/payout_over_benchmark``, the same of ``test``;
        ``validation/bmc``, ``validation/benchmark_corr``; ``beats_benchmark/validation`` and ``beats_benchmark/test``
        (CORR and Sharpe, or under an objective of payouts these); ``held`` (both, with a CORR, or payout, above 0 in
        both).

    Raises
    ------
    UserError
        If there is no such study.
    """
    trials = finished_trials(find_study(study, tracking_uri)[0])
    names = [f"{section}/{score}_over_benchmark" for section in (VALIDATION, TEST) for score in _DIFFERENCES]
    names += [f"{VALIDATION}/bmc", f"{VALIDATION}/benchmark_corr"]
    return _metrics(trials, names)


def find_study(study: str | StudyReference | None, tracking_uri: str | None) -> tuple[TrackedStudy, str | None]:
    """Return a tracked study and the address of its store."""
    name, store = referenced(study, tracking_uri)
    return Studies(store).find(name), store


def _metrics(models: Sequence[TrackedTrial], names: Sequence[str]) -> pd.DataFrame:
    """Return these metrics of some models, a row each, and whether each beats the benchmark and held."""
    rows = [
        {name: model.metrics.get(name) for name in names}
        | {f"beats_benchmark/{section}": beats for section, beats in model.beats_benchmark.items()}
        | {"held": model.held}
        for model in models
    ]
    return pd.DataFrame(rows, index=pd.Index([model.name for model in models], name="model"))
