"""What is evaluated on a holdout: a model of a study, the fold it is trained and predicts on, and its blend there."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from hashlib import sha256
from typing import Any

import numpy as np
from numpy.typing import NDArray

from signal_miner.data.folds import Fold, thinned
from signal_miner.ensemble.members import Ensemble, Member, neutralizers_of
from signal_miner.ensemble.runs import TrackedEnsemble
from signal_miner.errors import UserError
from signal_miner.experiment.plan import Plan
from signal_miner.scoring.blending import gaussianised, neutralized, uniform_ranks
from signal_miner.tracking.records import Checkpoint, TrackedTrial
from signal_miner.tracking.studies import TrackedStudy
from signal_miner.tracking.tags import BENCHMARK_KIND


@dataclass(frozen=True, eq=False)
class EvaluatedModel:
    """The ensemble, or the single trial, that a holdout is opened for.

    Attributes
    ----------
    name : str
        ``ensemble 3``, or ``trial 0017 at its best checkpoint``.
    run_id : str
    ensemble : Ensemble
        A trial is an ensemble of one.
    metrics : mapping of str to float
        Its tracked scores, such as ``validation/sharpe``.
    single : bool
        Whether it is a trial.
    """

    name: str
    run_id: str
    ensemble: Ensemble
    metrics: Mapping[str, float]
    single: bool

    @classmethod
    def of_ensemble(cls, tracked: TrackedEnsemble) -> EvaluatedModel:
        """Return a tracked ensemble as the model; a UserError if its members are trials of several studies."""
        others = sorted({member.study for member in tracked.ensemble.members if member.study})
        if others:
            raise UserError(
                f"{tracked.name} has members of {', '.join(others)} besides {tracked.ensemble.study}; the holdout is "
                "opened for a model of one study: name an ensemble of that study, or a trial"
            )
        return cls(tracked.name, tracked.run_id, tracked.ensemble, tracked.metrics, single=False)

    @classmethod
    def of_trial(cls, study: TrackedStudy, trial: TrackedTrial) -> EvaluatedModel:
        """Return a finished trial, cut at its best checkpoint as in an ensemble, as the model.

        Raises
        ------
        UserError
            If it has no best checkpoint.
        """
        trees = trial.trees_at(Checkpoint.BEST)
        if trees is None or trial.number is None:
            raise UserError(f"{trial.name} has no best checkpoint; delete its run and rerun mine")
        member = Member(trial.run_id, trial.number, dict(trial.params), trees, 1.0)
        ensemble, scores = Ensemble(study.name, (member,), None, {}), trial.scores_at(Checkpoint.BEST)
        return cls(f"{trial.name} at its best checkpoint", trial.run_id, ensemble, scores, single=True)

    @property
    def digest(self) -> str:
        """16 hexadecimal digits over members, weights and neutralisation."""
        own = json.loads(replace(self.ensemble, selection={}).to_json())
        return sha256(json.dumps(own, sort_keys=True).encode()).hexdigest()[:16]  # a store promises no order


def holdout_plan(plan: Plan) -> Plan:
    """Return a study's plan with one fold: trained on all eras before the holdout, predicting the holdout.

    Returns
    -------
    Plan
        For each training target ``min(validation_eras) - max(train_eras) > purge_eras`` of that target, thinned as the
        study's folds are.
    """
    first, eras = plan.holdout_eras[0], np.unique(plan.dataset.eras)
    step = plan.experiment.folds.train_era_step
    folds = {
        target: (Fold(1, thinned(eras[first - eras > purge].tolist(), step), plan.holdout_eras),)
        for target, purge in plan.purge_eras.items()
    }
    return replace(plan, folds=folds)


def blended(
    ensemble: Ensemble, fold_plan: Plan, predictions: Mapping[str, NDArray[np.floating[Any]]]
) -> NDArray[np.float64]:
    """Return an ensemble's ranks in the holdout, blended and neutralised as in the study's folds.

    Parameters
    ----------
    fold_plan : Plan
        What `holdout_plan` returned.
    predictions : mapping of str to ndarray of float, shape (n_rows,)
        Of each member, and of the benchmark, by name.

    Returns
    -------
    ndarray of float64, shape (n_rows,)
        In (0, 1).
    """
    rows = fold_plan.dataset.span_of(fold_plan.holdout_eras)
    eras = fold_plan.dataset.eras[rows]
    names = [member.name for member in ensemble.members]
    columns = gaussianised(eras, np.column_stack([predictions[name] for name in names]))
    blend = columns @ np.array([member.weight for member in ensemble.members])
    neutralization = ensemble.neutralization
    if neutralization is not None:
        taken_out = neutralizers_of(neutralization.to, fold_plan.dataset, rows, predictions[BENCHMARK_KIND])
        blend = neutralized(eras, blend[:, np.newaxis], taken_out, neutralization.proportion)[:, 0]
    return uniform_ranks(eras, blend)
