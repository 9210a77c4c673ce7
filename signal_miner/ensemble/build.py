"""Selects and blends a study's trials in one call, and returns the ensemble's table."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from html import escape
from typing import Any

import numpy as np
import pandas as pd
from rich.console import Console

from signal_miner.ensemble.maker import EnsembleMaker, EnsembleSummary, make_neutralization
from signal_miner.ensemble.members import FEATURES
from signal_miner.ensemble.options import AVERAGED, EnsembleOptions, SelectionRule
from signal_miner.ensemble.runs import EnsembleRuns
from signal_miner.ensemble.sources import Source, open_sources
from signal_miner.errors import UserError
from signal_miner.overfitting.records import Expectation
from signal_miner.scoring.columns import Column
from signal_miner.tracking.records import Checkpoint, TrackedTrial
from signal_miner.tracking.studies import Studies, StudyReference, TrackedStudy, referenced
from signal_miner.utils.console import plain_console
from signal_miner.utils.redaction import KeptWithoutPasswords
from signal_miner.utils.validation import LARGEST_INTEGER, Rule, shown

COLUMNS = (
    Column("weight", "weight", 2, priority=7),
    Column("trees", "trees", 0, priority=5),
    Column.of("validation/corr", priority=6),
    Column.of("validation/sharpe"),
    Column.of("validation/bmc", priority=4),
    Column.of("validation/benchmark_corr", priority=2),
    Column.of("validation/payout", priority=9),
    Column.of("test/corr", priority=3, group="test"),
    Column.of("test/sharpe", priority=8, group="test"),
    Column.of("test/bmc", priority=1, group="test"),
    Column.of("test/payout", priority=7, group="test"),
)
_SCORES = tuple(column.metric for column in COLUMNS[2:])


@dataclass(frozen=True, eq=False)
class MadeEnsemble:
    """A new ensemble, its study, and the store that both are in."""

    summary: EnsembleSummary
    study: TrackedStudy
    tracking_uri: str


def make_ensemble(
    options: EnsembleOptions, console: Console, on_sources: Callable[[Sequence[Source]], None] = lambda _sources: None
) -> MadeEnsemble:
    """Select trials of one or several studies, blend their tracked predictions, and track the blend.

    Parameters
    ----------
    on_sources : callable, optional
        Called with the studies and their plans as soon as their data are open.

    Raises
    ------
    UserError
        If there is no such study, its data are missing, studies cannot be blended, no trial fits the rule, or
        predictions cannot be read.
    """
    sources = open_sources(_find_studies(options), options.data)
    if options.metric is None:
        options = replace(options, metric=str(sources[0].study.objective))
    on_sources(sources)
    neutralization = make_neutralization(options.neutralize or "", options.proportion, sources[0].plan)
    features = {source.plan.dataset.features for source in sources}
    if neutralization is not None and neutralization.to == FEATURES and len(features) > 1:
        raise UserError(
            f"neutralize = {FEATURES!r} needs studies of one feature set, and these have {len(features)}; choose such "
            "studies, or neutralise to the benchmark"
        )
    runs = EnsembleRuns(options.tracking_uri)
    summary = EnsembleMaker(sources, runs, console).make(options, neutralization)
    return MadeEnsemble(summary, sources[0].study, runs.tracking_uri)


def _find_studies(options: EnsembleOptions) -> tuple[TrackedStudy, ...]:
    """Return the studies that are named, and those of runs that are named by id or as ``STUDY/number``."""
    studies = Studies(options.tracking_uri)
    of_runs = [run.rpartition("/")[0] or studies.study_of(run) for run in options.runs]
    names: list[str | None] = [*options.study, *filter(None, of_runs)] or [None]
    found = {study.name: study for study in map(studies.find, names)}
    return tuple(found.values())


def ensemble_frame(summary: EnsembleSummary, benchmark: TrackedTrial) -> pd.DataFrame:
    """Return a row for each member at the ensemble's checkpoint, for the ensemble and for the benchmark.

    Between these two there is one for the mean of the ten best trials, where that was scored, too. ``weight`` and
    ``trees`` are missing for what is no member; a score is missing where it is not tracked.
    """
    members = summary.tracked.ensemble.members
    models = {
        member.name: trial.scores_at(member.checkpoint) for member, trial in zip(members, summary.members, strict=True)
    }
    models[summary.tracked.name] = summary.tracked.metrics
    if summary.mean_of_best:
        models[f"mean of {AVERAGED} best"] = summary.mean_of_best
    models[benchmark.name] = benchmark.metrics
    names = pd.Index(list(models), name="model")
    frame = pd.DataFrame(index=names)
    frame["weight"] = pd.Series([member.weight for member in members], names[: len(members)], dtype=np.float64)
    frame["trees"] = pd.Series([member.trees for member in members], names[: len(members)], dtype="Int64")
    for score in _SCORES:
        frame[score] = pd.Series([metrics.get(score, np.nan) for metrics in models.values()], names, dtype=np.float64)
    return frame


def as_shown(frame: pd.DataFrame) -> pd.DataFrame:
    """Return a table of `ensemble_frame` as rounded texts."""
    missing = {column.metric: "–" if column.metric in _SCORES else "" for column in COLUMNS}
    shown = {
        column.metric: [
            missing[column.metric] if pd.isna(value) else column.text(value) for value in frame[column.metric]
        ]
        for column in COLUMNS
    }
    return pd.DataFrame(shown, index=frame.index)


@dataclass(frozen=True, eq=False, repr=False)
class BuiltEnsemble(KeptWithoutPasswords):
    """An ensemble as `build_ensemble` returns it; notebooks show its table.

    Attributes
    ----------
    name : str
        ``ensemble 1``.
    run_id : str
        Its MLflow run.
    study : str
        Name of the study; the first of several.
    checkpoint : str
        At which members are shown and blended: ``best`` or ``drawn``.
    tracking_uri : str or None
        The store of both; None (MLflow's default) after unpickling if the address contained a password.
    table : pandas.DataFrame
        A row for each member at `checkpoint`, indexed by name; then the ensemble, beside a greedy one
        ``mean of 10 best`` trials, and ``benchmark``. Columns
        ``weight``, ``trees``, ``validation/corr``, ``validation/sharpe``, ``validation/bmc``,
        ``validation/benchmark_corr``, ``validation/payout``, ``test/corr``, ``test/sharpe``, ``test/bmc``,
        ``test/payout``.
    highest_correlation : float or None
        Between two members in validation; None for a single member.
    expectations : tuple of Expectation
        What to expect of it in eras to come, its ratio first: `value`, `low` and `high`, corrected for selection bias.
        Empty where its selection cannot be repeated on other eras: of named runs, say.
    """

    name: str
    run_id: str
    study: str
    checkpoint: str
    tracking_uri: str | None
    table: pd.DataFrame
    highest_correlation: float | None
    expectations: tuple[Expectation, ...] = ()

    def __repr__(self) -> str:
        return f"{self._caption}\n{self._shown.to_string()}"

    def _repr_html_(self) -> str:
        head, foot = self._shown.to_html().replace('halign="left"', 'style="text-align:center"').split("<thead>")
        return f"{head}<caption>{escape(self._caption)}</caption>\n  <thead>{foot}"

    @property
    def _caption(self) -> str:
        caption = (
            f"{self.name.capitalize()} of study {self.study}, chosen on validation (test is shown, not used); "
            f"members {Checkpoint(self.checkpoint).text}"
        )
        if self.highest_correlation is not None:
            caption += f"; two members correlate {self.highest_correlation:.2f} at most"
        if not self.expectations:
            return caption
        first = self.expectations[0]
        value, low, high = (f"{part:.{first.objective.digits}f}" for part in (first.value, first.low, first.high))
        expected = f"Expect a {first.objective.label} of about {value}, between {low} and {high}"
        return f"{expected} over the next {first.eras} eras. {caption}"

    @property
    def _shown(self) -> pd.DataFrame:
        shown = as_shown(self.table).rename_axis(index=None)
        heads = [str(name).rpartition("/")[::2] for name in shown]  # the section, such as validation, above its scores
        return shown.set_axis(pd.MultiIndex.from_tuples(heads), axis="columns")


def build_ensemble(
    study: str | StudyReference | Sequence[str | StudyReference] | None = None,
    *,
    select: str = SelectionRule.select,
    members: int = SelectionRule.members,
    metric: str | None = None,
    max_correlation: float | None = None,
    max_benchmark_correlation: float | None = None,
    pool: int | None = None,
    runs: str | Sequence[str | int] | None = (),
    weights: str = SelectionRule.weights,
    checkpoint: str = SelectionRule.checkpoint,
    seeds: str = SelectionRule.seeds,
    min_trees: int | None = None,
    neutralize: str | None = None,
    proportion: float | None = None,
    data: str | None = None,
    tracking_uri: str | None = None,
) -> BuiltEnsemble:
    """Select trials of a study by their tracked predictions, blend them as Numerai does, and track the blend.

    Parameters
    ----------
    study : str, StudyReference or sequence of these, optional
        The study's name or its beginning, or what `start_mining` or `attach` returned; the newest if not given.
        Several must have the same data, folds and scoring target; features, seeds and grids may differ. The ensemble
        is tracked in the first, and scored against its benchmark.
    select : str, default "greedy"
        ``greedy`` adds trials one at a time as long as the ensemble's validation score rises; ``top`` takes the best;
        ``beating`` the best of those that beat the benchmark in validation; ``runs`` those of `runs`.
    members : int, default 5
        Maximum number of members.
    metric : str, optional
        ``payout``, ``payout_sharpe``, ``sharpe``, ``corr`` or ``bmc``, in validation at `checkpoint`: what trials are
        ranked by, and what ``greedy`` maximises; the study's objective if not given. ``top`` accepts any validation
        metric.
    max_correlation : float, optional
        With ``greedy``: highest correlation between two members, 0.9 if not given.
    max_benchmark_correlation : float, optional
        Trials that correlate more with the benchmark are excluded; none if not given.
    pool : int, optional
        With ``greedy``: number of candidates, the best trials by `metric`; 100 if not given.
    runs : sequence of str or int, optional
        With ``runs``: run ids, names or numbers of trials, or texts such as ``"demo/7"``. Trials named by id or study
        may be of several studies.
    weights : str, default "equal"
        ``equal``, or ``rank``: k for the best of k members, then k - 1, and so on.
    checkpoint : str, default "best"
        ``best``: members have the number of trees that is best in validation; ``drawn``: all trees that were drawn.
    seeds : str, default "own"
        ``average``: a member is the average of the seeds that it was trained with, see ``[confirm]``.
    min_trees : int, optional
        Trials with fewer trees there are excluded: 10 if not given, 1 with ``runs``.
    neutralize : str, optional
        ``features``, ``benchmark``, or a column of Numerai's benchmark predictions.
    proportion : float, optional
        Of the neutralisation, from 0 to 1; 1 if not given.
    data : str, optional
        Where the study's data are now.
    tracking_uri : str, optional
        MLflow store; that of `study` if it is a reference, else MLflow's default.

    Raises
    ------
    UserError
        If there is no such study, an option is wrong, the data are missing, no trial fits, or predictions cannot be
        read.
    """
    names, uri = _referenced(study, tracking_uri)
    options = EnsembleOptions.given(
        study=names,
        select=select,
        members=members,
        metric=metric,
        max_correlation=max_correlation,
        max_benchmark_correlation=max_benchmark_correlation,
        pool=pool,
        runs=_named(runs),
        weights=weights,
        checkpoint=checkpoint,
        seeds=seeds,
        min_trees=min_trees,
        neutralize=neutralize,
        proportion=proportion,
        data=data,
        tracking_uri=uri,
    )
    made = make_ensemble(options, plain_console())
    tracked = made.summary.tracked
    return BuiltEnsemble(
        name=tracked.name,
        run_id=tracked.run_id,
        study=made.study.name,
        checkpoint=str(options.checkpoint),
        tracking_uri=made.tracking_uri,
        table=ensemble_frame(made.summary, made.study.benchmark),
        highest_correlation=tracked.metrics.get("members/highest_correlation"),
        expectations=made.summary.expectations,
    )


def _referenced(study: Any, tracking_uri: str | None) -> tuple[tuple[str, ...], str | None]:
    several = study if isinstance(study, list | tuple) else [study]
    found = [referenced(each, tracking_uri) for each in several]
    uris = list(dict.fromkeys(uri for _, uri in found))
    if len(uris) > 1:
        raise UserError(f"the studies are in {len(uris)} stores; blend studies of one store, or give tracking_uri")
    names = (part.strip() for name, _ in found if name is not None for part in name.split(","))
    return tuple(filter(None, names)), uris[0] if uris else tracking_uri


def _named(runs: str | Sequence[str | int] | None) -> tuple[str, ...]:
    if runs is None or isinstance(runs, str):
        return () if runs is None else (runs,)
    if not isinstance(runs, Iterable):
        raise UserError(f"runs = {shown(runs)} is not a list; write runs=[{shown(runs)}]")
    number = Rule(int, 0, LARGEST_INTEGER)
    return tuple(
        run if isinstance(run, str) else str(number.checked("runs: a trial", run, ", nor a run's id or name"))
        for run in runs
    )
