"""From a packed ensemble to a registered model: registered with its records, judged, and promoted where it is due."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from rich.console import Console

from signal_miner.ensemble.runs import ENSEMBLE, EnsembleRuns, members_note
from signal_miner.errors import Stopped, UserError
from signal_miner.models.champion import compare
from signal_miner.models.options import ALWAYS, IF_BETTER, SCALED, RegistrationOptions
from signal_miner.models.packing import PREDICT, PackedEnsemble, pack
from signal_miner.models.registry import CHAMPION, ModelVersion, Registry, check_name
from signal_miner.models.registry.package import ModelRecord
from signal_miner.tracking.artifacts import ERA_SCORES
from signal_miner.tracking.leaderboard import Shortfall, below_benchmark
from signal_miner.tracking.records import trial_name
from signal_miner.tracking.run_store import EXPERIMENT_FILE, PLAN
from signal_miner.utils.files import temporary_directory
from signal_miner.utils.interruption import StopRequest

SCORING_TARGET, DIGEST = "signal_miner.scoring_target", "signal_miner.data_digest"
"""Tags of a version: what its ensemble was judged on, and the digest of the data it was mined on."""

_EXAMPLE_ROWS = 5


@dataclass(frozen=True, eq=False)
class Registration:
    """How a registration ended.

    Attributes
    ----------
    champion : bool
        Whether the version is champion now.
    reason : str
        Why, in a few words.
    data : str
        What the study was mined on.
    shortfall : Shortfall or None
        By what the ensemble is below the benchmark in test.
    """

    version: ModelVersion
    champion: bool
    reason: str
    data: str
    tracking_uri: str
    shortfall: Shortfall | None


def register(options: RegistrationOptions, console: Console) -> Registration:
    """Reproduce, refit and register an ensemble. A stopped registration goes on with the members already refitted.

    Parameters
    ----------
    options : RegistrationOptions
    console : rich.console.Console

    Returns
    -------
    Registration

    Raises
    ------
    UserError
        If a member is not reproduced, the data are gone, ``predict.pkl`` would not run hosted, or a store fails.
    Stopped
        If the user asked for a stop.
    """
    registry = Registry(options.tracking_uri)
    check_name(options.model)
    stopping = StopRequest(lambda: console.print("Stopping; members refitted so far are kept …"))
    with stopping as stop, temporary_directory() as directory:
        runs = EnsembleRuns(options.tracking_uri)
        packed = pack(options, runs, directory / PREDICT, stop, console)
        metrics = {
            "predict/seconds": packed.check.seconds,
            "predict/peak_memory_mb": packed.check.peak_memory_bytes / 1e6,
            "replication/largest_difference": packed.largest_difference,
        }
        record = _record(packed, options, metrics, _files(packed, runs, directory))
        if stop.is_set():
            raise Stopped
        stop.ignore_signals()  # from here on it is a matter of seconds, and no half of it is of use
        made = registry.register(record)
        runs.log_values(packed.tracked.run_id, metrics, {"signal_miner.model": f"{made.name}/{made.version}"})
        becomes, reason = _judge(packed, options, registry.find(options.model, CHAMPION), runs)
        if becomes:
            registry.promote(made.name, made.version, CHAMPION)
        data, shortfall = (
            packed.plan.experiment.data,
            below_benchmark(packed.tracked.metrics, packed.study.benchmark.metrics),
        )
        return Registration(made, becomes, reason, data, registry.tracking_uri, shortfall)


def _files(packed: PackedEnsemble, runs: EnsembleRuns, directory: Path) -> dict[str, Path]:
    """Put what the model was made by into a directory."""
    (directory / ENSEMBLE).write_text(packed.tracked.ensemble.to_json(), encoding="utf-8")
    files = {ENSEMBLE: directory / ENSEMBLE}
    for name in (PLAN, EXPERIMENT_FILE):
        files[name] = runs.download(packed.study.run_id, name, directory)
    return files


def _record(
    packed: PackedEnsemble, options: RegistrationOptions, metrics: Mapping[str, float], files: Mapping[str, Path]
) -> ModelRecord:
    tracked, plan = packed.tracked, packed.plan
    neutralization = tracked.ensemble.neutralization
    column = neutralization.numerai_column if neutralization else None
    trees = {f"trees {name}": str(_trees_of(model)) for name, model in packed.models.items()}
    return ModelRecord(
        name=options.model,
        run_id=tracked.run_id,
        experiment_id=tracked.experiment_id,
        data=plan.experiment.data,
        features=plan.dataset.features,
        nullable_features=plan.dataset.nullable_features,
        benchmark_columns=(column,) if column else (),
        predict_file=packed.path,
        example=packed.rows.head(_EXAMPLE_ROWS),
        files=files,
        params={**tracked.params, "refit_trees": options.trees},
        metrics={**tracked.metrics, **metrics},
        tags={
            "study": packed.study.name,
            **_judged_on(packed),
            "validation_sharpe": f"{tracked.metrics.get('validation/sharpe', float('nan')):.4f}",
            "test_sharpe": f"{tracked.metrics.get('test/sharpe', float('nan')):.4f}",
            **trees,
        },
        description=_description(packed, options),
    )


def _judged_on(packed: PackedEnsemble) -> dict[str, str]:
    return {DIGEST: packed.plan.dataset.digest, SCORING_TARGET: packed.plan.experiment.scoring_target}


def _judge(
    packed: PackedEnsemble, options: RegistrationOptions, champion: ModelVersion | None, runs: EnsembleRuns
) -> tuple[bool, str]:
    """Return whether the version becomes champion, and why."""
    if options.promote != IF_BETTER:
        return options.promote == ALWAYS, f"promote = {options.promote}"
    if champion is None:
        return True, "there was none"
    if options.trees == SCALED:
        return False, "scaled tree counts were never validated"
    if champion.run_id == packed.tracked.run_id:
        return True, "it is the same ensemble, refitted"
    if any(champion.tags.get(tag) != value for tag, value in _judged_on(packed).items()):
        return False, f"version {champion.version} was mined on other data or judged on another target"
    try:
        theirs = _era_scores(runs, champion.run_id)
    except (UserError, OSError, ValueError) as error:
        return False, f"the scores of version {champion.version} cannot be read ({error})"
    comparison = compare(_era_scores(runs, packed.tracked.run_id), theirs)
    return comparison.beats, comparison.sentence


def _era_scores(runs: EnsembleRuns, run_id: str) -> pd.DataFrame:
    with temporary_directory() as directory:
        return pd.read_parquet(runs.download(run_id, ERA_SCORES, directory))


def _description(packed: PackedEnsemble, options: RegistrationOptions) -> str:
    tracked, dataset = packed.tracked, packed.plan.dataset
    trees = [_trees_of(packed.models[trial_name(member.number)]) for member in tracked.ensemble.members]
    note = members_note(tracked.ensemble, tracked.experiment_id, trees, {})
    return (
        f"{tracked.name} of study `{packed.study.name}`, refitted on all {len(np.unique(dataset.eras))} "
        f"resolved eras of {dataset.name} (digest {dataset.digest}, {len(dataset.features)} features), trees "
        f"{options.trees}. Validation Sharpe {tracked.metrics.get('validation/sharpe', float('nan')):.3f}, "
        f"test {tracked.metrics.get('test/sharpe', float('nan')):.3f}.\n\n{note}"
    )


def _trees_of(model: str) -> int:
    return model.count("\nTree=")
