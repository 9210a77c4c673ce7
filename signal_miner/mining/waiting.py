"""Finished trials that wait on disk until the tracking store answers again."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from signal_miner.engine.metrics import RunMetrics
from signal_miner.errors import UserError
from signal_miner.scoring.objective import Scoring
from signal_miner.tracking.records import NO_RACE, RaceRecord
from signal_miner.utils.files import UNFINISHED
from signal_miner.utils.redaction import reason_of_system
from signal_miner.utils.validation import Value

_TRIAL, _ARTIFACTS = "trial.json", "artifacts"


@dataclass(frozen=True)
class WaitingTrial:
    """A trial as it will be tracked.

    Attributes
    ----------
    number : int
    params : mapping of str to value
        With seed and engine.
    metrics : RunMetrics or None
        None where it failed.
    error : str
        Why it failed; empty otherwise.
    started : float
        Seconds since the epoch.
    directory : Path
        Where it waits.
    race : RaceRecord
        What a race made of it.
    """

    number: int
    params: Mapping[str, Value]
    metrics: RunMetrics | None
    error: str
    started: float
    directory: Path
    race: RaceRecord = NO_RACE

    @property
    def artifacts(self) -> Path:
        """Directory of its files."""
        return self.directory / _ARTIFACTS


class WaitingTrials:
    """A directory of trials that could not be tracked yet, of one study.

    Parameters
    ----------
    directory : Path
        Created when the first trial has to wait.
    scoring : Scoring
        Of the study.
    """

    def __init__(self, directory: Path, scoring: Scoring) -> None:
        self.directory = directory
        self._scoring = scoring

    def add(
        self,
        number: int,
        params: Mapping[str, object],
        metrics: RunMetrics | None,
        error: str,
        started: float,
        artifacts: Path | None,
        race: RaceRecord = NO_RACE,
    ) -> None:
        """Keep a trial; it is there once all of it is written.

        Raises
        ------
        UserError
            If the disk does not take it.
        """
        place = self.directory / str(number)
        part = place.with_suffix(UNFINISHED)
        try:
            shutil.rmtree(part, ignore_errors=True)
            part.mkdir(parents=True)
            if artifacts is not None:
                shutil.copytree(artifacts, part / _ARTIFACTS)
            table = {"number": number, "params": dict(params), "error": error, "started": started}
            table["race"] = asdict(race)
            table["metrics"] = None if metrics is None else _table(metrics)
            (part / _TRIAL).write_text(json.dumps(table), encoding="utf-8")
            shutil.rmtree(place, ignore_errors=True)
            part.rename(place)
        except OSError as failure:
            raise UserError(
                f"a finished trial cannot be kept in {self.directory} until the tracking store answers "
                f"({reason_of_system(failure)}); free disk space and rerun the command to resume"
            ) from failure

    def __iter__(self) -> Iterator[WaitingTrial]:
        """Yield what waits, by number."""
        paths = (path for path in self.directory.glob(f"*/{_TRIAL}") if path.parent.name.isdigit())
        for path in sorted(paths, key=lambda path: int(path.parent.name)):
            table = json.loads(path.read_text(encoding="utf-8"))
            if table["metrics"] is not None:
                table["metrics"] = _metrics(table["metrics"], self._scoring)
            race = RaceRecord(**table.pop("race", {}))
            yield WaitingTrial(**table, directory=path.parent, race=race)

    def __len__(self) -> int:
        return sum(1 for path in self.directory.glob(f"*/{_TRIAL}") if path.parent.name.isdigit())

    def remove(self, trial: WaitingTrial) -> None:
        """Remove a trial that is tracked."""
        shutil.rmtree(trial.directory, ignore_errors=True)


def _table(metrics: RunMetrics) -> dict[str, Any]:
    return {key: value for key, value in vars(metrics).items() if key != "scoring"}


def _metrics(table: Mapping[str, Any], scoring: Scoring) -> RunMetrics:
    curves = {name: tuple(points) for name, points in table["curves"].items()}
    at_best = bool(table.get("at_best"))
    return RunMetrics(table["values"], table["beats_benchmark"], curves, tuple(table["checkpoints"]), scoring, at_best)
