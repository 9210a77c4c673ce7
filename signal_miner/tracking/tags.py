"""Names of the tags of MLflow's runs, experiments and models: the project's own, and MLflow's that it writes."""

from __future__ import annotations

from collections.abc import Mapping

from signal_miner.scoring.objective import Scoring
from signal_miner.scoring.study_scores import TEST, VALIDATION

NOTE = "mlflow.note.content"
"""Markdown that MLflow shows on the page of a run or a model."""

RUN_COLOR = "mlflow.runColor"
"""Colour of the run in the table and in every chart."""

EXPERIMENT_KIND = {"mlflow.experimentKind": "custom_model_development"}
"""Experiment tag: the UI opens on the runs, in its model training mode, in place of an empty GenAI page."""

SHARED_VIEW = "mlflow.sharedViewState."
"""Beginning of the experiment tags that hold saved views."""

KIND = "signal_miner.kind"
"""`STUDY_KIND`, `BENCHMARK_KIND`, `TRIAL_KIND`, `REPEAT_KIND`, `ENSEMBLE_KIND` or `SUBMISSION_KIND`."""

STUDY = "signal_miner.study"
CONFIG_HASH = "signal_miner.config_hash"

DATA_CONTENT = "signal_miner.data_content"
"""Of a study's run: digest of the values of its data. Studies mined earlier lack it."""

CLAIM = "signal_miner.claim."
"""Beginning of the tags of a study's run by which processes claim the right to mine it; see `mining.claim`."""

NUMBER = "signal_miner.trial"
"""Number of the trial in its study, or of the trial that a repeat trains again with another seed."""

PARENT = "mlflow.parentRunId"
"""Of a repeat: the run of its trial, under which the UI shows it."""

ERROR = "signal_miner.error"
"""End of the traceback of a trial that failed."""

ORDER = "signal_miner.order"
"""What the saved view sorts by: the benchmark first, then trials by the study's objective.

The UI loads 100 runs; sorted by the metric alone, a study in which 100 trials are better would hide its benchmark.
"""

OBJECTIVE, PAYOUT = "signal_miner.objective", "signal_miner.payout"
"""By what it is decided whether a run beats the benchmark, and how its payouts are computed. Runs made before lack
both; their objective is ``sharpe``."""

SCORED_AT = "signal_miner.scored_at"
"""Of a trial: ``best`` where its scores by section are at its best checkpoint, as in a study that races; else as
drawn."""

RACE_CONTROL = "signal_miner.race.control"
"""Of a trial that a race trained to the end whatever it scored: ``true``, or ``pilot``."""

RACE_STOPPED_AT, RACE_REASON = "signal_miner.race.stopped_at", "signal_miner.race.reason"
"""Of a trial that a race stopped: ``fold 1, 40 trees``, and why; of a control, why it would have stopped it."""

RACE_PARTIAL = "signal_miner.race.partial"
"""``true`` of a trial that was not trained to the drawn number of trees on every fold."""

VERDICT = "signal_miner.verdict"
"""What the report believes of a leader, and of a study's chosen model: ``skill``, ``unclear`` or ``luck``."""

STUDY_KIND, BENCHMARK_KIND, TRIAL_KIND, REPEAT_KIND = "study", "benchmark", "trial", "repeat"
ENSEMBLE_KIND, SUBMISSION_KIND = "ensemble", "submission"

HOLDOUT_OPENED = "signal_miner.holdout.opened"
"""Of a study's run: when its holdout was opened, ISO 8601, UTC. Written before any score is looked at."""

HOLDOUT_MODEL, HOLDOUT_RUN = "signal_miner.holdout.model", "signal_miner.holdout.run"
"""For which model: its name, and the id of its run."""

HOLDOUT_DIGEST = "signal_miner.holdout.digest"
"""Digest of what that model was made of, as 16 hexadecimal digits: a run changed afterwards is another model."""

HOLDOUT_ERAS = "signal_miner.holdout.eras"
"""Labels of the first and the last era, ``1118–1221``."""

HOLDOUT_RESULT = "signal_miner.holdout.result"
"""Its result, in one sentence. Written last: a holdout without it was opened and not finished."""

MEMBERS = "signal_miner.members"
"""Of an ensemble: run ids of its members, separated by commas."""

ENSEMBLE_SHA256 = "signal_miner.ensemble_sha256"
"""Of an ensemble: SHA-256 of its ``ensemble.json``."""

REFIT_TAG = "signal_miner.refit."
"""Start of the tags with the SHA-256 of a refitted member; the name of its file follows."""

HOLDOUT_KEPT = "signal_miner.holdout.kept."
"""Beginning of the tags that hold kept predictions to their bytes: then the file's name."""

REGISTERED_AS = "signal_miner.model"
"""Of an ensemble's run: name and number of the version it was registered as last."""

MODEL_DATA, MODEL_DIGEST = "signal_miner.data", "signal_miner.data_digest"
"""Of a registered version: what its ensemble was mined on, by name and by digest."""

MODEL_TARGET, MODEL_FEATURES = "signal_miner.scoring_target", "signal_miner.features"
"""Of a registered version: the target its ensemble was scored on, the number of features it needs."""

MODEL_PROMOTE = "signal_miner.promote"
"""Of a registered version: ``promote`` as it was registered, by which a refresh moves the alias. Versions made before
have none."""

MODEL_CONTRIBUTION = "signal_miner.contribution_to"
"""Of a registered version: what its BMC, and with it its payout, was taken against."""

MODEL_ENSEMBLE, MODEL_PYTHON = "signal_miner.ensemble", "signal_miner.python"
"""Of a registered version: the ensemble's run, the version of Python it was packed by."""

MODEL_FILES = "signal_miner.sha256"
"""Of a registered version: the SHA-256 of each of its files by path, as JSON. Versions made before have none."""

ROUND, NUMERAI_MODEL = "signal_miner.round", "signal_miner.numerai_model"
"""Of a submission: the round, the model slot."""

LIVE_SHA256 = "signal_miner.live_sha256"
"""Of a submission: SHA-256 of the live features."""

UPLOADED_FILE = "signal_miner.uploaded_file"
"""The file's name at Numerai; set before the submission is created, to recognise one that was interrupted."""

SUBMISSION_ID = "signal_miner.submission_id"

LIVE_STANDING = "signal_miner.live."
"""Beginning of the tags of an ensemble's run that say how its live scores compare with the expected; then the slot."""


def scoring_tags(scoring: Scoring) -> dict[str, str]:
    """Return the tags that say by what a run was scored."""
    return {OBJECTIVE: str(scoring.objective), PAYOUT: str(scoring.payout)}


_BEATS_BENCHMARK = "beats_benchmark."  # then the section; ``true`` or ``false``


def beats_benchmark_tags(beats_benchmark: Mapping[str, bool]) -> dict[str, str]:
    """Return the tags that say in which sections a model beats the benchmark."""
    return {f"{_BEATS_BENCHMARK}{section}": str(beats).lower() for section, beats in beats_benchmark.items()}


def beats_benchmark_of(tags: Mapping[str, str]) -> dict[str, bool]:
    """Return whether a run's tags say that it beats the benchmark in validation and in test; False if not tagged."""
    return {section: tags.get(f"{_BEATS_BENCHMARK}{section}") == "true" for section in (VALIDATION, TEST)}
