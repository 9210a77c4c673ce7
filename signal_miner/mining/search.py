"""The Optuna study of a grid, driven by one process at a time, which draws from it at random."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, IntDistribution
from optuna.exceptions import StorageInternalError
from optuna.storages import BaseStorage, JournalStorage, RDBStorage
from optuna.storages.journal import JournalFileBackend, JournalFileOpenLock
from optuna.trial import FrozenTrial, TrialState, create_trial
from sqlalchemy import create_engine, inspect

from signal_miner.errors import UserError
from signal_miner.experiment.grid import Axis, Draws, Grid
from signal_miner.utils.files import file_exists
from signal_miner.utils.interruption import release_database
from signal_miner.utils.redaction import reason_of, without_passwords
from signal_miner.utils.store_address import sqlite_path
from signal_miner.utils.validation import Value, shown

T = TypeVar("T")

CATEGORICAL_CHOICES = 16
"""An axis with more values is stored by index: a trial in the store repeats all choices of its categories."""

INDEX_SUFFIX = "_index"
"""Added to the name of an axis that is stored by index."""

PARAMS_ATTRIBUTE = "params"
"""User attribute with a trial's parameters, where some are stored by index."""

PATIENCE = 180.0
"""Seconds that a database may not answer, such as for a restart, before that ends the mining."""

_SECONDS_BETWEEN_ATTEMPTS = 1.0
_STATUS, _STOP = "signal_miner.status", "signal_miner.stop"
_CLAIM = "signal_miner.claim."
"""Beginning of the study's user attributes by which processes claim the right to mine it."""


@dataclass(frozen=True)
class Draw:
    """A configuration to train.

    Attributes
    ----------
    number : int
        Which draw of the study, from 0.
    params : mapping of str to value
    seed : int or None
        Of the booster, where it is not the study's: the configuration is trained again.
    """

    number: int
    params: Mapping[str, Value] = field(hash=False)
    seed: int | None = None

    @property
    def key(self) -> str:
        """What distinguishes it in names of files."""
        return str(self.number) if self.seed is None else f"{self.number}s{self.seed}"


class Search:
    """A study of a grid, driven by one process and resumed by the next.

    Parameters
    ----------
    name : str
        Name of the Optuna study.
    grid : Grid
    seed : int
    storage : str
        Directory for a journal file ``<name>.journal``, or an Optuna storage URL.

    Raises
    ------
    UserError
        If the storage cannot be opened or the constraint leaves no cell.
    """

    def __init__(self, name: str, grid: Grid, seed: int, storage: str) -> None:
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        self._grid = grid
        self._order = Draws(grid, seed)
        self._drawn: set[tuple[int, ...]] = set()
        self._patience = PATIENCE if "://" in storage and sqlite_path(storage) is None else 0.0
        try:
            self._study = optuna.create_study(
                study_name=name,
                storage=_open_storage(storage, name),
                direction="maximize",
                load_if_exists=True,
            )
        except (ValueError, KeyError) as error:
            if isinstance(error, UserError):
                raise
            raise UserError(
                f"the study {name} in study_storage is damaged ({reason_of(error)}); delete its journal: what "
                "MLflow has of it is kept and not trained again"
            ) from error
        self._refuse_another_grid(name)
        self.reload()

    def reload(self) -> None:
        """Read the trials of the study again, as another process may have added some."""
        # A process of an earlier version that was killed while it asked left a trial without its whole configuration:
        # it counts for nothing, and its draw is made again. So a draw's number is its place among the whole trials, not
        # Optuna's number.
        trials = self._patiently(lambda: self._study.get_trials(deepcopy=False))
        whole = _by_cell(trials, self._grid)
        self._drawn = set(whole)
        self._optuna_numbers = [trial.number for trial in whole.values()]
        self._n_trials = len(trials)

    def claims(self) -> dict[str, str]:
        """Return the claims of processes to mine the study, by token: see `mining.claim`."""
        with _storage_errors():
            attributes = self._study.user_attrs
        return {
            key.removeprefix(_CLAIM): value for key, value in attributes.items() if key.startswith(_CLAIM) and value
        }

    def write_claim(self, token: str, claim: str) -> None:
        """Write a claim, or replace it."""
        with _storage_errors():
            self._study.set_user_attr(f"{_CLAIM}{token}", claim)

    def remove_claim(self, token: str) -> None:
        """Remove a claim; Optuna deletes no attribute, so it becomes empty."""
        self.write_claim(token, "")

    def share_status(self, status: str) -> None:
        """Let others who reach the storage read how far the miner is."""
        with _storage_errors():
            self._study.set_user_attr(_STATUS, status)

    def stop_requested(self) -> str:
        """Return the token of the miner that is asked to stop by someone who reaches the storage; empty if none is."""
        with _storage_errors():
            return str(self._study.user_attrs.get(_STOP, ""))

    def interrupted(self) -> tuple[Draw, ...]:
        """Return the draws that a dead process left running, to be run again."""
        return self._draws(TrialState.RUNNING)

    def finished(self) -> tuple[Draw, ...]:
        """Return the draws that have ended, failed and stopped ones too."""
        return self._draws(TrialState.COMPLETE, TrialState.FAIL, TrialState.PRUNED)

    def ask(self) -> Draw | None:
        """Return a configuration that was never drawn before, or None where the grid is exhausted."""
        number, attempts = len(self._optuna_numbers), 0

        def ask() -> Draw | None:
            nonlocal attempts
            attempts += 1
            if attempts > 1:  # the database may have got the draw, though its answer was lost
                self.reload()
                if len(self._optuna_numbers) > number:
                    return Draw(number, self._grid.params(_cell(self._trials()[number].params, self._grid)))
            cell = self._order.draw(len(self._drawn), self._drawn)
            if cell is None:
                return None
            params = self._grid.params(cell)
            # One write for the whole trial, where `Study.ask` writes one for each parameter. Nothing is sampled: the
            # k-th draw depends on the seed and the draws before it alone.
            trial = create_trial(
                state=TrialState.RUNNING,
                params=_stored(self._grid, cell),
                distributions=distributions(self._grid),
                user_attrs={PARAMS_ATTRIBUTE: params} if any(map(_by_index, self._grid.axes)) else {},
            )
            self._study.add_trial(trial)
            self._drawn.add(cell)
            self._optuna_numbers.append(self._n_trials)
            self._n_trials += 1
            return Draw(number, params)

        return self._patiently(ask)

    def tell(self, number: int, value: float) -> None:
        """Finish a draw with its score in validation; minus infinity where it has none.

        Optuna changes no trial that has ended: one that was pruned and is completed now is added once more.
        """
        optuna_number = self._optuna_numbers[number]
        told = self._patiently(lambda: self._study.tell(optuna_number, value, skip_if_finished=True))
        if told.state == TrialState.PRUNED:
            completed = create_trial(
                value=value, params=told.params, distributions=told.distributions, user_attrs=told.user_attrs
            )
            self._patiently(lambda: self._study.add_trial(completed))
            self.reload()

    def tell_pruned(self, number: int) -> None:
        """Finish a draw that a race stopped."""
        optuna_number = self._optuna_numbers[number]
        self._patiently(lambda: self._study.tell(optuna_number, state=TrialState.PRUNED, skip_if_finished=True))

    def tell_failed(self, number: int) -> None:
        """Finish a draw whose training raised an error."""
        optuna_number = self._optuna_numbers[number]
        self._patiently(lambda: self._study.tell(optuna_number, state=TrialState.FAIL, skip_if_finished=True))

    def _refuse_another_grid(self, name: str) -> None:
        for trial in self._study.get_trials(deepcopy=False):
            try:
                if len(trial.params) == len(self._grid.axes):
                    self._grid.params(_cell(trial.params, self._grid))
                elif trial.state == TrialState.COMPLETE or trial.params.keys() - distributions(self._grid).keys():
                    raise KeyError
            except (KeyError, ValueError, IndexError):
                raise UserError(
                    f"the study {name} in study_storage holds trial {trial.number} of another grid "
                    f"({shown(dict(trial.params))}); name another study_storage, or delete its journal"
                ) from None

    def _trials(self) -> list[FrozenTrial]:
        return list(_by_cell(self._study.get_trials(deepcopy=False), self._grid).values())

    def _draws(self, *states: TrialState) -> tuple[Draw, ...]:
        return tuple(
            Draw(number, self._grid.params(_cell(trial.params, self._grid)))
            for number, trial in enumerate(self._patiently(self._trials))
            if trial.state in states
        )

    def _patiently(self, work: Callable[[], T]) -> T:
        """Do something in the storage; try again for a while where it is a database that does not answer."""
        end = time.monotonic() + self._patience
        while True:
            try:
                with _storage_errors():
                    return work()
            except StorageError:
                if time.monotonic() >= end:
                    raise
                time.sleep(_SECONDS_BETWEEN_ATTEMPTS)


def shared_statuses(storage: str) -> tuple[str, ...]:
    """Return what the miners of a database's studies shared last, see `Search.share_status`.

    Raises
    ------
    UserError
        If the database cannot be opened or read.
    """
    with _storage_errors():
        studies = _open_storage(storage, "").get_all_studies()
        return tuple(str(study.user_attrs[_STATUS]) for study in studies if study.user_attrs.get(_STATUS))


def request_shared_stop(storage: str, study: str, token: str) -> None:
    """Ask the miner of this token, which shares its study's database, to stop."""
    with _storage_errors():
        opened = _open_storage(storage, study)
        opened.set_study_user_attr(opened.get_study_id_from_name(study), _STOP, token)


class StorageError(UserError):
    """A study's storage that does not answer, or refuses what it is asked."""


@contextmanager
def _storage_errors() -> Iterator[None]:
    """Report a failing store in one line."""
    try:
        yield
    except KeyboardInterrupt as error:
        release_database(error)
        raise
    except (OSError, StorageInternalError) as error:
        raise StorageError(
            f"the study's storage failed ({reason_of(error)}); fix this and rerun the command to resume"
        ) from error


def distributions(grid: Grid) -> dict[str, BaseDistribution]:
    """Return Optuna's distributions for a grid: choices, or an index where they are many."""
    return {
        _stored_name(axis): (
            IntDistribution(0, len(axis.values) - 1) if _by_index(axis) else CategoricalDistribution(axis.values)
        )
        for axis in grid.axes
    }


def _by_index(axis: Axis) -> bool:
    return len(axis.values) > CATEGORICAL_CHOICES


def _stored_name(axis: Axis) -> str:
    return axis.name + INDEX_SUFFIX if _by_index(axis) else axis.name


def _stored(grid: Grid, cell: tuple[int, ...]) -> dict[str, Any]:
    return {
        _stored_name(axis): index if _by_index(axis) else axis.values[index]
        for axis, index in zip(grid.axes, cell, strict=True)
    }


def _by_cell(trials: Iterable[FrozenTrial], grid: Grid) -> dict[tuple[int, ...], FrozenTrial]:
    """Return whole trials by cell in the order of the draws; of one that was pruned and completed, the completed."""
    return {_cell(trial.params, grid): trial for trial in trials if len(trial.params) == len(grid.axes)}


def _cell(stored: Mapping[str, Any], grid: Grid) -> tuple[int, ...]:
    return tuple(
        int(stored[_stored_name(axis)]) if _by_index(axis) else axis.values.index(stored[_stored_name(axis)])
        for axis in grid.axes
    )


def _open_storage(storage: str, name: str) -> BaseStorage:
    if "://" in storage:
        try:
            if _is_mlflows(storage):
                raise UserError(
                    f"study_storage = {without_passwords(storage)!r} is a database of MLflow, and a database holds "
                    "one of both; leave study_storage out, or name another database"
                )
            return RDBStorage(storage, engine_kwargs=_engine_options(storage))
        except UserError:
            raise
        except Exception as error:  # SQLAlchemy and each driver raise errors of their own
            raise UserError(
                f"study_storage cannot be opened ({type(error).__name__}: {reason_of(error)}); check the URL"
            ) from error
    path = Path(storage) / f"{name}.journal"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _repair_journal(path)
        return JournalStorage(JournalFileBackend(str(path), JournalFileOpenLock(str(path))))
    except OSError as error:
        raise UserError(
            f"study_storage = {without_passwords(storage)!r} cannot be written ({error.strerror}); name another"
        ) from error


def _engine_options(storage: str) -> dict[str, object]:
    """Return what SQLAlchemy is given: connections that a server closed meanwhile are replaced."""
    return {} if storage.startswith("sqlite") else {"pool_pre_ping": True}


def _is_mlflows(storage: str) -> bool:
    """Return whether a database has MLflow's tables; one that does not exist is not created."""
    path = sqlite_path(storage)
    if path is not None and not path.is_file():
        return False
    engine = create_engine(storage)
    try:
        return {"experiments", "runs", "params"} <= set(inspect(engine).get_table_names())
    finally:
        engine.dispose()


def _repair_journal(path: Path) -> None:
    """Remove what a killed process leaves: a lock that would stall us for 30 s, a half-written last line."""
    path.with_name(path.name + ".lock").unlink(missing_ok=True)
    if file_exists(path) and path.stat().st_size:
        content = path.read_bytes()
        if not content.endswith(b"\n"):
            path.write_bytes(content[: content.rfind(b"\n") + 1])
