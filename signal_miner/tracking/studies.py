"""Reads mined studies back from MLflow."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from mlflow.entities import Run

from signal_miner.errors import StoreError, UserError, did_you_mean
from signal_miner.scoring.objective import Objective, Scoring
from signal_miner.scoring.payout import DEFAULT_PAYOUT, Payout
from signal_miner.tracking.records import TrackedTrial
from signal_miner.tracking.run_store import PLAN, RunStore, reports_store_errors
from signal_miner.tracking.tags import CONFIG_HASH, KIND, STUDY, STUDY_KIND, TRIAL_KIND


@dataclass(frozen=True, eq=False)
class TrackedStudy:
    """A study as MLflow has it.

    Attributes
    ----------
    plan : mapping of str to object
        Its ``plan.json``: see `experiment.plan.plan_record`.
    trials : tuple of TrackedTrial
        Finished and failed ones, by number.
    tags : mapping of str to str
        Of the study's run.
    """

    name: str
    run_id: str
    experiment_id: str
    config_hash: str
    plan: Mapping[str, Any]
    trials: tuple[TrackedTrial, ...]
    benchmark: TrackedTrial
    tags: Mapping[str, str]

    @property
    def objective(self) -> Objective:
        """What its models are ranked by; Sharpe for studies that were mined before there was a choice."""
        return self.scoring.objective

    @property
    def scoring(self) -> Scoring:
        """How its models are scored."""
        return scoring_of(self.plan)


def scoring_of(plan: Mapping[str, Any]) -> Scoring:
    """Return the scoring that a ``plan.json`` says; Sharpe and the default multipliers where it is older than both."""
    given = plan["experiment"]
    payout = Payout(**given["payout"]) if given.get("payout") else DEFAULT_PAYOUT
    return Scoring(Objective(given.get("objective", Objective.SHARPE)), payout)


class StudyReference(Protocol):
    """Something that names a study and its store, such as what `start_mining` and `attach` return."""

    @property
    def study(self) -> str:
        """Name of the study."""

    @property
    def tracking_uri(self) -> str | None:
        """Store that it is in; MLflow's own choice if None."""


def referenced(study: str | StudyReference | None, tracking_uri: str | None) -> tuple[str | None, str | None]:
    """Return a study's name and its store: `tracking_uri` if given, else the reference's own.

    Raises
    ------
    UserError
        If `study` is neither text, a reference nor None.
    """
    if study is None or isinstance(study, str):
        return study, tracking_uri
    try:
        return study.study, tracking_uri or study.tracking_uri
    except AttributeError:
        raise UserError(
            f"study is a {type(study).__name__}; give a study's name, its beginning, or what start_mining returned"
        ) from None


class Studies(RunStore):
    """The studies of a tracking store."""

    makes_database = False

    @reports_store_errors
    def find(self, name: str | None = None) -> TrackedStudy:
        """Return a study.

        Parameters
        ----------
        name : str, optional
            The study's name, or its beginning, such as the experiment's name: then the newest such study. The newest
            of all if not given.

        Raises
        ------
        UserError
            If there is none, or it has no finished benchmark yet.
        """
        runs = self._find(self._all_experiment_ids(), {KIND: STUDY_KIND})
        runs = [run for run in runs if run.data.params] or runs  # others are being created
        runs.sort(key=lambda run: run.info.start_time, reverse=True)
        if not runs:
            raise UserError("the tracking store has no study yet; mine one first, or check tracking_uri")
        names = [run.data.tags[STUDY] for run in runs]
        fitting = [run for run in runs if run.data.tags[STUDY] == name] or [
            run for run in runs if run.data.tags[STUDY].startswith(name or "")
        ]
        if not fitting:
            known = [*dict.fromkeys(each.rpartition("-")[0] for each in names), *names]
            raise UserError(f"study {name!r} is not tracked{did_you_mean(str(name), known)}")
        return self._study(fitting[0])

    @reports_store_errors
    def study_of(self, run_id: str) -> str | None:
        """Return the name of the study that a run is a trial of; None if it is none, or no run."""
        if not re.fullmatch("[0-9a-f]{32}", run_id):
            return None
        found = self._find(self._all_experiment_ids(), {KIND: TRIAL_KIND}, f"and attributes.run_id = '{run_id}'")
        return str(found[0].data.tags[STUDY]) if found else None

    def _study(self, run: Run) -> TrackedStudy:
        name, experiment_id = run.data.tags[STUDY], run.info.experiment_id
        benchmark = self._benchmark(experiment_id, name)
        if benchmark is None:
            raise UserError(f"study {name} has no finished benchmark; rerun `mine` to resume")
        self._require_artifacts(f"study {name}", benchmark.artifact_uri)
        plan, trials = self._plan(run.info.run_id, name), self._trials(experiment_id, name)
        if not plan["experiment"].get("race"):  # what a race cut short is not completed yet
            trials = tuple(trial for trial in trials if not trial.race.partial)
        return TrackedStudy(
            name=name,
            run_id=run.info.run_id,
            experiment_id=experiment_id,
            config_hash=run.data.tags[CONFIG_HASH],
            plan=plan,
            trials=trials,
            benchmark=benchmark,
            tags=dict(run.data.tags),
        )

    def _plan(self, run_id: str, name: str) -> dict[str, Any]:
        try:
            return self.read_plan(run_id)
        except StoreError:
            raise
        except UserError as error:
            raise UserError(f"study {name} has no readable {PLAN} ({error}); rerun `mine` to write it again") from error
