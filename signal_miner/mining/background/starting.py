"""Starts a study's miner in a process of its own, or finds the one that is running."""

from __future__ import annotations

import os
import time
import warnings
from dataclasses import replace
from pathlib import Path

import joblib
from filelock import FileLock, Timeout

from signal_miner.engine.memory_plan import plan_memory
from signal_miner.errors import UserError
from signal_miner.experiment.files import load_experiment
from signal_miner.experiment.plan import make_plan, open_data
from signal_miner.experiment.schema import Experiment
from signal_miner.experiment.study_files import refuse_shared_database, study_directory
from signal_miner.mining.background.detached import start_detached
from signal_miner.mining.background.handoff import MiningJob
from signal_miner.mining.background.miner_handle import BackgroundMiner
from signal_miner.mining.status import (
    FAILED,
    STOPPED,
    MinerStatus,
    Process,
    TrialCounts,
    clear_stop_request,
    is_stop_requested,
    new_token,
    own_process,
    read_status,
    write_status,
)
from signal_miner.utils.redaction import reason_of, reason_of_system, without_passwords
from signal_miner.utils.store_address import absolute_address

_SECONDS_FOR_ANOTHER_START = 60.0
_SECONDS_BETWEEN_LOOKS = 0.2


def start_mining(experiment: Experiment | str | Path = "demo", *, report: bool = True) -> BackgroundMiner:
    """Start to mine an experiment in the background, and return at once.

    The miner is a process of its own that outlives this one. Where the study is being mined already, whoever started
    it, that miner is returned and none is started. A stopped or killed study is resumed.

    Parameters
    ----------
    experiment : Experiment, str or Path
        From `load_experiment` or `make_experiment`, or an experiment file.
    report : bool, default True
        Whether the report is made at the end.

    Returns
    -------
    BackgroundMiner

    Raises
    ------
    UserError
        If the experiment does not fit its data or the memory, or no process can be started.
    """
    if isinstance(experiment, str | Path):
        experiment = load_experiment(experiment)
    if not isinstance(experiment, Experiment):
        raise UserError(f"experiment is a {type(experiment).__name__}; give what load_experiment returned, or a file")
    refuse_shared_database(experiment.study_storage, experiment.tracking_uri)
    plan = make_plan(experiment, open_data(experiment))
    directory = study_directory(experiment.study_storage).resolve()
    store = experiment.tracking_uri or os.environ.get("MLFLOW_TRACKING_URI")
    miner = BackgroundMiner(plan.study, directory, store and absolute_address(store))
    try:
        directory.mkdir(parents=True, exist_ok=True)
        with FileLock(directory / f"{plan.study}.start.lock", timeout=_SECONDS_FOR_ANOTHER_START):
            status = _settled(directory, plan.study)
            if status is not None:
                _warn_of_another_number(status, experiment)
                return miner
            if not experiment.cluster:
                plan_memory(plan, joblib.cpu_count())
            clear_stop_request(directory, plan.study)
            _start(experiment, plan.study, report, directory)
    except Timeout as error:
        raise UserError(f"study {plan.study} is being started by another process, or stops; try again") from error
    except OSError as error:
        reason, place = reason_of_system(error), without_passwords(experiment.study_storage)
        raise UserError(f"study_storage = {place!r} cannot be written ({reason}); name another") from error
    return miner


def _settled(directory: Path, study: str) -> MinerStatus | None:
    """Return the status of a study's running miner; wait for one that was asked to stop until it has.

    A starter is no miner: only one process starts a study at a time, and that is this one.
    """
    end = time.monotonic() + _SECONDS_FOR_ANOTHER_START
    while True:
        before = read_status(directory, study)
        requested = before is not None and is_stop_requested(directory, before)
        status = read_status(directory, study)  # read after the request, see `StatusWriter._listen`
        if status is None or status.starter or not status.alive:
            return None
        if not (status.stopping or requested):
            return status
        if time.monotonic() > end:
            raise UserError(f"study {study} is still stopping; start it again once its status is stopped")
        time.sleep(_SECONDS_BETWEEN_LOOKS)


def _start(experiment: Experiment, study: str, report: bool, directory: Path) -> None:
    log = directory / f"{study}.log"
    job = MiningJob(experiment, study, new_token(), report, str(log))
    counts = TrialCounts(experiment.trials, objective=experiment.objective)
    status = MinerStatus(study, job.token, own_process(), trial_counts=counts, starter=True, log=str(log))
    try:
        write_status(directory, status)  # first, as the miner writes its status only where it finds its token
        pid = start_detached(job.to_json(), log)
    except BaseException as error:  # or this process would count as the miner for a while
        if _is_unchanged(directory, status):
            state = STOPPED if isinstance(error, KeyboardInterrupt) else FAILED
            write_status(directory, replace(status, state=state, message=reason_of(error), starter=False))
        raise
    if _is_unchanged(directory, status):
        write_status(directory, replace(status, process=Process.of(pid), starter=False))


def _is_unchanged(directory: Path, status: MinerStatus) -> bool:
    """Return whether the status is still the one written for the miner, as it has not written its own yet."""
    written = read_status(directory, status.study)
    return written is not None and written.process == status.process


def _warn_of_another_number(status: MinerStatus, experiment: Experiment) -> None:
    total = status.trial_counts.total
    if total and total != experiment.trials:
        warnings.warn(
            f"study {status.study} is being mined already, up to {total} trials; call start_mining again once "
            f"it has ended to continue up to {experiment.trials}",
            stacklevel=3,
        )
