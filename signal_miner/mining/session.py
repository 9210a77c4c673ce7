"""Mining a study: one process at a time, its run in MLflow, and how it ended."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping
from contextlib import ExitStack, nullcontext, suppress
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from rich.console import Console

from signal_miner.engine.fold_sources import compilation_reported
from signal_miner.engine.memory_plan import GROUP_BYTES, MemoryPlan
from signal_miner.errors import Stopped, StoreError, UserError
from signal_miner.experiment.plan import Plan, plan_record
from signal_miner.experiment.schema import RaceSettings
from signal_miner.experiment.study_files import lock_message, sole_process, study_directory
from signal_miner.mining.claim import STALE_AFTER, Claim, ClaimStore, Owner
from signal_miner.mining.miner import Miner
from signal_miner.mining.observer import Compiling, observers
from signal_miner.mining.progress import MiningProgress
from signal_miner.mining.search import Search
from signal_miner.mining.shared_status import SharedStatus
from signal_miner.mining.status import STOPPED, TrialCounts
from signal_miner.mining.status_writer import StatusWriter
from signal_miner.mining.training import make_training
from signal_miner.mining.waiting import WaitingTrials
from signal_miner.scoring.objective import Objective
from signal_miner.tracking.ranking import Leaderboard, make_leaderboard
from signal_miner.tracking.records import StudyRecord
from signal_miner.tracking.store import short_timeouts
from signal_miner.tracking.study_writer import Tracker
from signal_miner.utils.files import remove_abandoned
from signal_miner.utils.interruption import StopRequest
from signal_miner.utils.redaction import without_passwords


@dataclass(frozen=True)
class MiningSummary:
    """How a call of `mine` ended.

    Attributes
    ----------
    study, study_run_id, tracking_uri : str
    view : str
        Address, after the server's, of the trials against the benchmark in MLflow's UI.
    leaderboard : Leaderboard
    stopped : bool
        Whether the user asked to stop before the last trial.
    exhausted : bool
        Whether the grid had fewer configurations than trials were asked for.
    last_error : str
        Last line of the error of the last trial of this process that failed; empty if none did.
    """

    study: str
    study_run_id: str
    tracking_uri: str
    view: str
    leaderboard: Leaderboard
    stopped: bool
    exhausted: bool
    last_error: str


def mine(
    plan: Plan,
    memory: MemoryPlan | None,
    console: Console,
    status_writer: StatusWriter | None = None,
    study_note: Callable[[Leaderboard | None], str] = lambda _board: "",
) -> MiningSummary:
    """Mine a study: the benchmark, then trials until the experiment's number is reached.

    A stopped or killed study is resumed: no trial that is tracked as finished is trained again.

    Parameters
    ----------
    plan : Plan
    memory : MemoryPlan or None
        None where the experiment names a cluster, whose workers plan themselves.
    console : rich.console.Console
        Where progress is shown.
    status_writer : StatusWriter, optional
        Of this process, where it has more to do than to mine.
    study_note : callable, optional
        Returns the Markdown to show on the study's run, from its leaderboard; None until the benchmark is finished.

    Raises
    ------
    UserError
        If another process mines this study, a store cannot be opened, or the benchmark fails.
    Stopped
        If a stop was asked for before the benchmark was finished.
    """
    experiment = plan.experiment
    study, storage = plan.study, experiment.study_storage
    remove_abandoned(Path(tempfile.gettempdir()))  # now, as the first is needed after hours of training
    with ExitStack() as closing:
        if status_writer is None:
            status_writer = closing.enter_context(StatusWriter(study_directory(storage)))
        writer = status_writer

        def stopping() -> None:
            writer.set_stopping()
            console.print("Stopping; finished trials are kept …")

        closing.enter_context(sole_process(storage, f"{study}.lock", lock_message(study, storage)))
        stop = closing.enter_context(StopRequest(stopping))
        status_writer.claim(study, stop.ask)
        closing.callback(status_writer.release)
        search = Search(study, plan.grid, experiment.seed, storage)
        tracker = Tracker(experiment.name, study, plan.config_hash, experiment.tracking_uri)
        status_writer.update(
            tracking_uri=tracker.tracking_uri,
            trial_counts=TrialCounts(experiment.trials, objective=experiment.objective),
        )
        progress = MiningProgress(console)
        observer = observers(progress, status_writer.observe)
        training = make_training(plan, memory, stop.is_set, observer)
        late = (
            WaitingTrials(study_directory(storage) / f"{study}.waiting", plan.scoring) if experiment.cluster else None
        )
        group_bytes = GROUP_BYTES[-1] if memory is None else memory.group_bytes
        miner = Miner(plan, training, tracker, search, stop, observer, late, group_bytes)

        def waiting(owner: Owner) -> None:
            writer.update(at=f"waiting for {owner}")
            console.print(f"The study was last mined by {owner}; waiting up to {STALE_AFTER:.0f} s for a sign of it …")

        stores: list[ClaimStore] = [tracker, search] if "://" in storage else [tracker]
        claim = Claim(study, storage, stores, status_writer.token, stop.is_set, waiting, stop.set)
        closing.enter_context(claim)
        if "://" in storage:
            closing.enter_context(SharedStatus(search, status_writer, stop.ask))
        search.reload()
        run_id = tracker.open_study()
        if changes := _race_changes(tracker, run_id, experiment.race):
            console.print(changes)
        tracker.begin_study(run_id, _record(plan))
        status, store_answers = "FAILED", True
        try:
            tracker.link_launcher(run_id)
            tracker.delete_cut_off()
            compiled_here = [plan] if memory is not None else []
            with progress, training, compilation_reported(compiled_here, lambda: observer(Compiling())):
                miner.run()
            status = "FINISHED" if miner.complete else "KILLED"
        except Exception as error:
            if stop.interrupted:  # within a transaction, whose rollback may then fail with an error of its own
                raise KeyboardInterrupt from error
            store_answers = not isinstance(error, StoreError) or error.answered
            raise
        finally:
            stop.defer_signals()
            if status == "FAILED" and stop.interrupted:
                status = "KILLED"
            if store_answers:  # otherwise each request would wait for its timeout again
                # A store that hangs is perhaps why the user interrupted.
                with short_timeouts() if stop.interrupted else nullcontext():
                    if claim.is_lost():
                        raise KeyboardInterrupt if stop.interrupted else claim.loss
                    # The first error is the one to report.
                    with suppress(UserError) if status == "FAILED" or stop.interrupted else nullcontext():
                        tracker.delete_cut_off()
                        _end_study(tracker, run_id, status, miner, experiment.objective, study_note)
        if not miner.complete:
            status_writer.update(state=STOPPED)
    if miner.benchmark is None:
        raise Stopped
    board = make_leaderboard(miner.trials, miner.benchmark, plan.experiment.objective)
    return MiningSummary(
        plan.study,
        run_id,
        tracker.tracking_uri,
        miner.view,
        board,
        not miner.complete,
        miner.exhausted,
        miner.last_error,
    )


def _race_changes(tracker: Tracker, run_id: str, settings: RaceSettings | None) -> str:
    """Return what differs from the rules by which the study raced until now; empty if nothing does.

    The rules are no part of its identity, and an older version had other defaults.
    """
    if settings is None:
        return ""
    try:
        earlier = tracker.read_plan(run_id)["experiment"].get("race")
    except StoreError:
        raise
    except UserError:  # it is new, or its plan.json is written anew
        return ""
    if not isinstance(earlier, Mapping):
        return ""
    before = dict(earlier)
    if "recovery" not in before and not before.get("significance"):
        before["recovery"] = 0.0  # curves were trained to their end
    if "recovery" in before:
        before.pop("patience", None)  # it decides only where there is no `recovery`
    new = {key: value for key, value in asdict(settings).items() if key != "patience" and value != before.get(key)}
    if not new:
        return ""
    old = {key: before[key] for key in (*new, "patience") if key in before}
    now, then = (", ".join(f"{key} = {value}" for key, value in table.items()) for table in (new, old))
    return f"From now on the study races with {now}; until now it raced with {then}."


def _record(plan: Plan) -> StudyRecord:
    experiment, dataset = plan.experiment, plan.dataset
    spans = {
        f"fold_{fold.number}": f"train {plan.span(fold.train_eras)}, predict {plan.span(fold.validation_eras)}"
        for fold in plan.scored_folds
    }
    return StudyRecord(
        study=plan.study,
        config_hash=plan.config_hash,
        params={
            "data": experiment.data,
            "feature_set": ", ".join(experiment.feature_sets),
            "scoring_target": experiment.scoring_target,
            "training_targets": ", ".join(plan.targets),
            "purge_eras": ", ".join(f"{name}: {purge}" for name, purge in plan.purge_eras.items()),
            "holdout_eras": len(plan.holdout_eras),
            "configurations_in_grid": plan.grid.size,
            "seed": experiment.seed,
            "payout": str(plan.payout),
            **spans,
        },
        experiment_file=without_passwords(experiment.text),
        plan=plan_record(plan, dataset.content),
        data_name=dataset.name,
        data_digest=dataset.digest,
        data_content=dataset.content,
        data_source=", ".join(str(path) for path in dataset.files),
        data_profile={
            "num_rows": len(dataset),
            "num_eras": len(np.unique(dataset.eras)),
            "num_features": len(dataset.features),
        },
        scoring=plan.scoring,
    )


def _end_study(
    tracker: Tracker,
    run_id: str,
    status: str,
    miner: Miner,
    objective: Objective,
    study_note: Callable[[Leaderboard | None], str],
) -> None:
    finished = [trial for trial in miner.trials if trial.finished]
    metrics = {
        "trials/finished": float(len(finished)),
        "trials/failed": float(sum(trial.failed for trial in miner.trials)),
        "trials/beat_benchmark_in_validation": float(sum(trial.beats_benchmark["validation"] for trial in finished)),
    }
    stopped = sum(trial.stopped for trial in miner.trials)
    if stopped or "trials/stopped" in tracker.metrics(run_id):
        metrics["trials/stopped"] = float(stopped)
    board = make_leaderboard(miner.trials, miner.benchmark, objective) if miner.benchmark else None
    tracker.end_study(run_id, status, metrics, study_note(board))
