"""From an ensemble to a registered model with its records, promoted to champion where it is better."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from math import nan
from pathlib import Path

import numpy as np
import pandas as pd
from rich.console import Console

from signal_miner.ensemble.runs import ENSEMBLE, EnsembleRuns, members_note
from signal_miner.errors import Stopped
from signal_miner.experiment.plan import Plan
from signal_miner.experiment.schema import BENCHMARK
from signal_miner.models.expectation import EXPECTED_SCORES, ExpectedScores
from signal_miner.models.options import RegistrationOptions
from signal_miner.models.packing import PREDICT, PackedEnsemble, pack
from signal_miner.models.portable.booster_text import BoosterText
from signal_miner.models.promotion import Promotion, SectionScores, decide_promotion
from signal_miner.models.registry import CHAMPION, ModelVersion, Registry, check_name
from signal_miner.models.registry.package import ModelNeeds, ModelRecord
from signal_miner.scoring.objective import Objective
from signal_miner.scoring.study_scores import TEST, VALIDATION
from signal_miner.tracking.artifacts import ERA_SCORES
from signal_miner.tracking.run_store import EXPERIMENT_FILE, PLAN
from signal_miner.tracking.tags import MODEL_CONTRIBUTION, MODEL_DIGEST, MODEL_PROMOTE, MODEL_TARGET, REGISTERED_AS
from signal_miner.utils.files import temporary_directory
from signal_miner.utils.interruption import StopRequest

STUDY_TAG = "study"
"""Of a registered version: the name of its ensemble's study."""

_EXAMPLE_ROWS = 5


@dataclass(frozen=True, eq=False)
class Registration:
    """How a registration ended.

    Attributes
    ----------
    promotion : Promotion
        Whether the version is champion now.
    sections : tuple of SectionScores
        Validation and test.
    data : str
        What the study was mined on.
    """

    version: ModelVersion
    promotion: Promotion
    sections: tuple[SectionScores, ...]
    data: str
    tracking_uri: str


def register(options: RegistrationOptions, console: Console) -> Registration:
    """Reproduce, refit and register an ensemble; members that a stopped registration refitted are not trained again.

    Raises
    ------
    UserError
        If a member is not reproduced, the data are missing, ``predict.pkl`` would not run hosted, or a store fails.
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
        stop.defer_signals()  # from here on it is a matter of seconds, and no half of it is of use
        made = registry.register(record)
        runs.log_values(packed.tracked.run_id, metrics, {REGISTERED_AS: f"{made.name}/{made.version}"})
        champion = registry.find(options.model, CHAMPION)
        own, benchmark = packed.tracked.metrics, packed.study.benchmark.metrics
        sections = tuple(
            SectionScores.of(section, own, benchmark, packed.study.objective) for section in (VALIDATION, TEST)
        )
        promotion = decide_promotion(
            options,
            packed.tracked.run_id,
            sections,
            _scored_on(packed),
            champion,
            lambda run_id: _era_scores(runs, run_id),
            packed.study.scoring,
            {STUDY_TAG: packed.study.name, MODEL_CONTRIBUTION: _contribution(packed.plan)},
        )
        if promotion.promoted:
            registry.promote(made.name, made.version, CHAMPION)
        return Registration(made, promotion, sections, packed.plan.experiment.data, registry.tracking_uri)


def register_refit(
    packed: PackedEnsemble, options: RegistrationOptions, runs: EnsembleRuns, directory: Path
) -> ModelVersion:
    """Register what `pack_on_newest` made as a new version; no alias moves.

    Raises
    ------
    UserError
        If the model does not predict its example, or a store fails.
    """
    metrics = {"predict/seconds": packed.check.seconds, "predict/peak_memory_mb": packed.check.peak_memory_bytes / 1e6}
    made = Registry(options.tracking_uri).register(_record(packed, options, metrics, _files(packed, runs, directory)))
    runs.log_values(packed.tracked.run_id, {}, {REGISTERED_AS: f"{made.name}/{made.version}"})
    return made


def _files(packed: PackedEnsemble, runs: EnsembleRuns, directory: Path) -> dict[str, Path]:
    """Put what the model was made by into a directory."""
    (directory / ENSEMBLE).write_text(packed.tracked.ensemble.to_json(), encoding="utf-8")
    files = {ENSEMBLE: directory / ENSEMBLE}
    for name in (PLAN, EXPERIMENT_FILE):
        files[name] = runs.download(packed.study.run_id, name, directory)
    files[EXPECTED_SCORES] = directory / EXPECTED_SCORES
    expected = ExpectedScores.of_run(_era_scores(runs, packed.tracked.run_id), packed.tracked.metrics)
    expected.write(files[EXPECTED_SCORES])
    return files


def _record(
    packed: PackedEnsemble, options: RegistrationOptions, metrics: Mapping[str, float], files: Mapping[str, Path]
) -> ModelRecord:
    tracked, plan = packed.tracked, packed.plan
    neutralization = tracked.ensemble.neutralization
    column = neutralization.numerai_column if neutralization else None
    trees = {f"trees {name}": str(BoosterText.parse(model).trees) for name, model in packed.models.items()}
    return ModelRecord(
        name=options.model,
        run_id=tracked.run_id,
        needs=ModelNeeds(
            data=plan.experiment.data,
            experiment_id=tracked.experiment_id,
            features=packed.features,
            nullable_features=packed.nullable_features,
            benchmark_columns=(column,) if column else (),
        ),
        predict_file=packed.path,
        example=packed.rows.head(_EXAMPLE_ROWS),
        files=files,
        params={**tracked.params, "refit_trees": options.trees},
        metrics={**tracked.metrics, **metrics},
        tags={
            STUDY_TAG: packed.study.name,
            **_scored_on(packed),
            MODEL_CONTRIBUTION: _contribution(plan),
            MODEL_PROMOTE: options.promote,
            **{
                f"{section}_{score}": f"{tracked.metrics.get(f'{section}/{score}', float('nan')):.4f}"
                for section in (VALIDATION, TEST)
                for score in dict.fromkeys((Objective.SHARPE, packed.study.objective))
            },
            **trees,
        },
        description=_description(packed, options),
    )


def _scored_on(packed: PackedEnsemble) -> dict[str, str]:
    return {MODEL_DIGEST: packed.plan.dataset.digest, MODEL_TARGET: packed.plan.experiment.scoring_target}


def _contribution(plan: Plan) -> str:
    """Return what a plan's BMC is taken against: a column of predictions, or the digest of what its benchmark is."""
    if plan.experiment.contribution_to != BENCHMARK:
        return plan.experiment.contribution_to
    if plan.benchmark_predictions:
        return plan.benchmark_predictions
    settings = plan.experiment.folds
    folds = (settings.count, settings.holdout_eras, settings.train_era_step)
    trained = (plan.experiment.engine, plan.experiment.seed, plan.purge_eras[plan.benchmark_target], folds)
    described = json.dumps([dict(plan.benchmark), *trained], sort_keys=True)
    return f"benchmark {hashlib.sha256(described.encode()).hexdigest()[:8]}"


def _era_scores(runs: EnsembleRuns, run_id: str) -> pd.DataFrame:
    with temporary_directory() as directory:
        return pd.read_parquet(runs.download(run_id, ERA_SCORES, directory))


def _description(packed: PackedEnsemble, options: RegistrationOptions) -> str:
    tracked, dataset = packed.tracked, packed.plan.dataset
    trees = [BoosterText.parse(packed.models[member.name]).trees for member in tracked.ensemble.members]
    objective = packed.study.objective
    note = members_note(tracked.ensemble, packed.experiment_ids, trees, {})
    return (
        f"{tracked.name} of study `{packed.study.name}`, refitted on all {len(np.unique(dataset.eras))} "
        f"resolved eras of {dataset.name} (digest {dataset.digest}, {len(packed.features)} features), trees "
        f"{options.trees}. Validation {objective.label} {tracked.metrics.get(f'validation/{objective}', nan):.3f}, "
        f"test {tracked.metrics.get(f'test/{objective}', nan):.3f}.\n\n{note}"
    )
