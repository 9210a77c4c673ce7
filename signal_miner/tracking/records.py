"""What is written to tracking and read back from it, free of MLflow itself."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from signal_miner.scoring import beats_benchmark as rule
from signal_miner.scoring.study_scores import TEST, VALIDATION
from signal_miner.tracking.tags import BENCHMARK_KIND


@dataclass(frozen=True)
class TrackedTrial:
    """A trial or benchmark as MLflow has it.

    Attributes
    ----------
    kind : str
        ``trial`` or ``benchmark``.
    number : int or None
        In its study; None for the benchmark.
    status : str
        MLflow's run status.
    beats_benchmark : mapping of str to bool
        For ``validation`` and ``test``.
    artifact_uri : str
        Location of its artifacts; empty if unknown.
    """

    run_id: str
    kind: str
    number: int | None
    status: str
    params: Mapping[str, str]
    metrics: Mapping[str, float]
    beats_benchmark: Mapping[str, bool]
    artifact_uri: str = ""

    @property
    def name(self) -> str:
        """``trial 0007``, or ``benchmark``."""
        return BENCHMARK_KIND if self.number is None else trial_name(self.number)

    @property
    def wins(self) -> Mapping[str, bool]:
        """Whether it beats the benchmark with a CORR above 0, in ``validation`` and in ``test``: see `wins`."""
        return wins(self.metrics, self.beats_benchmark)

    @property
    def held(self) -> bool:
        """Whether it wins in validation and in test."""
        return all(self.wins.values())

    @property
    def finished(self) -> bool:
        """Whether the run is FINISHED."""
        return self.status == "FINISHED"


@dataclass(frozen=True)
class StudyRecord:
    """What is written of a study before its first trial.

    Attributes
    ----------
    params : mapping of str to object
        Settings shown on the study's run.
    experiment_file : str
        The file as written.
    plan : mapping of str to object
        All resolved settings: see `experiment.plan.plan_record`.
    data_name, data_digest, data_source : str
        The dataset input.
    data_content : str
        Digest of the data's values: a study is resumed on the same values only.
    data_profile : mapping of str to object
        Numbers of rows, eras and features.
    """

    study: str
    config_hash: str
    params: Mapping[str, Any]
    experiment_file: str
    plan: Mapping[str, Any]
    data_name: str
    data_digest: str
    data_content: str
    data_source: str
    data_profile: Mapping[str, Any]


def wins(metrics: Mapping[str, float], beats_benchmark: Mapping[str, bool]) -> dict[str, bool]:
    """Return in which sections a model wins, by its tracked metrics; see `beats_benchmark.wins`."""
    return {
        part: bool(rule.wins(beats_benchmark.get(part, False), metrics.get(f"{part}/corr", 0.0)))
        for part in (VALIDATION, TEST)
    }


def trial_name(number: int) -> str:
    """Return a trial's name in the UI."""
    return f"trial {number:04d}"
