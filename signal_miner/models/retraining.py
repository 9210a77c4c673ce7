"""Members trained again: on a last fold, to be reproduced or evaluated, and on all resolved eras, to be used."""

from __future__ import annotations

import threading
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any, TypeVar

import joblib
import numpy as np
from numpy.typing import NDArray

from signal_miner.data.folds import Fold, thinned
from signal_miner.engine.boosters import Booster, fold_data, label_of
from signal_miner.engine.fold_sources import fold_source
from signal_miner.engine.memory_plan import plan_memory
from signal_miner.ensemble.members import Member
from signal_miner.errors import Stopped, UserError
from signal_miner.experiment.engines import engine_text
from signal_miner.experiment.parameters import DatasetKey
from signal_miner.experiment.plan import Plan, tracked_configuration
from signal_miner.tracking.tags import BENCHMARK_KIND
from signal_miner.utils.interruption import StopRequest
from signal_miner.utils.validation import Value

T = TypeVar("T")

TOLERANCE = 1e-6
"""A replica's predictions may differ from the tracked ones by this much."""

_TREES_A_STEP = 50


@dataclass(frozen=True)
class Configuration:
    """What is trained again: ``trial 0007`` or ``benchmark``, with ``target`` among its parameters."""

    name: str
    params: Mapping[str, Value]
    seed: int
    trees: int
    engine: str

    def file_name(self, suffix: str) -> str:
        """Return the name of a file that keeps what was trained; another engine, or version, may train otherwise."""
        engine = engine_text(self.engine).replace(" ", "-")
        return f"{self.name.replace(' ', '-')}-{self.trees}-trees-{engine}.{suffix}"


@dataclass(frozen=True, eq=False)
class Replica:
    """A configuration trained on the last fold once more.

    Attributes
    ----------
    model : str
        LightGBM's model text.
    difference : float
        Largest absolute difference from the tracked predictions.
    """

    model: str
    difference: float


def configurations_of(plan: Plan, members: Sequence[Member], *, with_benchmark: bool) -> list[Configuration]:
    """Return what is trained again for an ensemble's members, the study's benchmark last."""
    found = [
        Configuration(
            member.name,
            tracked_configuration(plan, member.params),
            int(member.params["seed"]),
            member.trees,
            plan.experiment.engine,
        )
        for member in members
    ]
    if with_benchmark:
        trees = int(plan.benchmark["n_estimators"])
        found.append(Configuration(BENCHMARK_KIND, plan.benchmark, plan.experiment.seed, trees, plan.experiment.engine))
    return found


class Retraining:
    """Trains configurations side by side on shared binned datasets, as the miner does.

    Parameters
    ----------
    on_trees : callable, optional
        Given how many trees were added, from any thread.
    """

    def __init__(
        self,
        plan: Plan,
        configurations: Sequence[Configuration],
        stop: StopRequest,
        on_trees: Callable[[int], None] = lambda _trees: None,
    ) -> None:
        self._plan = plan
        self._stop = stop
        self._on_trees = on_trees
        self._progress_lock = threading.Lock()
        targets = tuple(dict.fromkeys(label_of(_dataset_of(each)) for each in configurations))
        memory = plan_memory(plan, joblib.cpu_count())
        self._jobs, self._together = memory.jobs, memory.together
        self._source = fold_source(plan, memory, targets, stop.is_set)
        # Neighbours share a dataset, so that few are held at a time.
        self._ordered = sorted(configurations, key=_dataset_of)

    def replicate(self, tracked: Callable[[Configuration], NDArray[np.floating[Any]]]) -> dict[str, Replica]:
        """Train every configuration on its last fold and compare with what is tracked.

        Parameters
        ----------
        tracked : callable
            Returns a configuration's tracked predictions of the last fold, shape (n_rows,).

        Returns
        -------
        dict of str to Replica
            By the configuration's name.

        Raises
        ------
        UserError
            If any is not reproduced within `TOLERANCE`; all such are named.
        Stopped
            If a stop was asked for.
        """

        def replica(each: Configuration) -> Replica:
            booster = self._train(each, self._plan.folds[str(each.params["target"])][-1])
            difference = np.abs(booster.predictions() - tracked(each)).max()
            return Replica(booster.model_text(), float(difference))

        replicas = dict(self._each(replica))
        failed = {name: replica for name, replica in replicas.items() if not replica.difference <= TOLERANCE}
        if failed:
            listed = ", ".join(f"{name} (by {replica.difference:.2g})" for name, replica in failed.items())
            raise UserError(
                f"not reproduced on the last fold: {listed}; the run or the data were changed, or another version of "
                "the engine mined them: leave these members out, or mine again"
            )
        return replicas

    def predict(self, on_predictions: Callable[[Configuration, NDArray[np.float32]], None]) -> None:
        """Train every configuration on its last fold and predict the fold's validation rows.

        Parameters
        ----------
        on_predictions : callable
            Given each configuration and its predictions, shape (n_rows,), as it is trained, one at a time.

        Raises
        ------
        Stopped
            If a stop was asked for; what `on_predictions` was given is finished.
        """
        by_name = {each.name: each for each in self._ordered}

        def predictions(each: Configuration) -> NDArray[np.float32]:
            return self._train(each, self._plan.folds[str(each.params["target"])][-1]).predictions()

        for name, predicted in self._each(predictions):
            on_predictions(by_name[name], predicted)

    def refit(self, on_model: Callable[[Configuration, str], None]) -> None:
        """Train every configuration on all resolved eras, or on its newest, thinned as the folds' are.

        Parameters
        ----------
        on_model : callable
            Given each configuration and its LightGBM model text as it is trained, one at a time.

        Raises
        ------
        Stopped
            If a stop was asked for; what `on_model` was given is finished.
        """
        whole = refit_fold(self._plan)
        by_name = {each.name: each for each in self._ordered}
        for name, model in self._each(lambda each: self._train(each, whole).model_text()):
            on_model(by_name[name], model)

    def _each(self, work: Callable[[Configuration], T]) -> Iterator[tuple[str, T]]:
        warnings.filterwarnings("ignore", message=".*tasks which were still being processed.*")
        workers = joblib.Parallel(
            n_jobs=self._jobs, backend="threading", return_as="generator_unordered", pre_dispatch="n_jobs", batch_size=1
        )

        def named(each: Configuration) -> tuple[str, T] | Stopped:
            try:
                return each.name, work(each)
            except Stopped as stopped:
                return stopped
            except BaseException:
                self._stop.set()  # or the others would train to their end
                raise

        for group in self._groups():
            self._source.release()
            for outcome in workers(joblib.delayed(named)(each) for each in group):
                if isinstance(outcome, Stopped):
                    raise outcome
                yield outcome

    def _groups(self) -> list[list[Configuration]]:
        """Return all together where memory holds their datasets, else those of one dataset at a time."""
        if self._together:
            return [self._ordered]
        return [list(group) for _, group in groupby(self._ordered, _dataset_of)]

    def _train(self, each: Configuration, fold: Fold) -> Booster:
        data = fold_data(self._source, fold, each.params)
        booster = data.start(each.params, each.seed)
        for start in range(0, each.trees, _TREES_A_STEP):
            step = min(_TREES_A_STEP, each.trees - start)
            booster.grow(step, self._stop.is_set)
            with self._progress_lock:
                self._on_trees(step)
        return booster


def refit_fold(plan: Plan) -> Fold:
    """Return the fold of a refit: all resolved eras, thinned as the study's folds are, and nothing to predict."""
    eras = tuple(np.unique(plan.dataset.eras).tolist())
    return Fold(len(plan.scored_folds) + 1, thinned(eras, plan.experiment.folds.train_era_step), ())


def _dataset_of(each: Configuration) -> DatasetKey:
    return DatasetKey.of(each.params)
