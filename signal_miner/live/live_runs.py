"""Live scores in MLflow: metrics of the run of a version's ensemble, with the round as step, and the whole history."""

from __future__ import annotations

import json
import time
from dataclasses import asdict, dataclass

import numpy as np
from mlflow.entities import Metric, Run
from numpy.typing import NDArray

from signal_miner.errors import StoreError, UserError
from signal_miner.live.comparison import RoundSeries
from signal_miner.live.history import RoundHistory
from signal_miner.live.terms import terms_of
from signal_miner.numerai.round_records import RoundTerms
from signal_miner.tracking.run_store import RunStore, reports_store_errors
from signal_miner.tracking.tags import ENSEMBLE_KIND, KIND, LIVE_STANDING, STUDY
from signal_miner.utils.files import temporary_directory
from signal_miner.utils.validation import parsed_json

FOLDER = "live"
"""Beginning of the metrics' names, and folder of the artifacts."""

_BATCH = 900


@dataclass(frozen=True)
class LiveRecord:
    """A slot's rounds as of the last look, kept as artifact ``live/SLOT.json`` of its ensemble's run."""

    slot: str
    model: str
    version: str
    first_round: int
    terms: RoundTerms
    history: RoundHistory

    @property
    def series(self) -> RoundSeries:
        """The rounds that are compared."""
        return RoundSeries.of(self.history, self.terms, self.first_round)

    def to_json(self) -> str:
        """Return it as JSON."""
        named = {"slot": self.slot, "model": self.model, "version": self.version, "first_round": self.first_round}
        return json.dumps(named | {"terms": asdict(self.terms), "history": self.history.to_table()}) + "\n"

    @classmethod
    def of_json(cls, text: str) -> LiveRecord:
        """Return the record of a text as of `to_json`; raise an error of Python's where it is another one."""
        read = parsed_json(text)
        named = {name: str(read[name]) for name in ("slot", "model", "version")}
        history = RoundHistory.of_table(read["history"])
        return cls(**named, first_round=int(read["first_round"]), terms=terms_of(read["terms"]), history=history)


class LiveRuns(RunStore):
    """Live scores of the models of a tracking store."""

    @reports_store_errors
    def log(self, run_id: str, record: LiveRecord, standing: str) -> int:
        """Log the resolved rounds that the run does not have, or has with other values; return how many values."""
        series, slot = record.series, record.slot
        new: list[Metric] = []
        now = int(time.time() * 1000)
        for name, values in _values(series).items():
            key = f"{FOLDER}/{slot}/{name}"
            there = {point.step: point.value for point in self._client.get_metric_history(run_id, key)}
            new += [
                Metric(key, float(value), now, int(number))
                for number, value in zip(series.rounds[series.resolved], values[series.resolved], strict=True)
                if np.isfinite(value) and there.get(int(number)) != float(value)
            ]
        for start in range(0, len(new), _BATCH):
            self._client.log_batch(run_id, metrics=new[start : start + _BATCH])
        self._log_text(run_id, f"{slot}.json", record.to_json())
        run = self._client.get_run(run_id)
        if new or run.data.tags.get(LIVE_STANDING + slot) != standing:
            self._set_tags(run_id, {LIVE_STANDING + slot: standing})
            self._fold_away(run.info.experiment_id, run.data.tags.get(STUDY, ""), {metric.key for metric in new})
        return len(new)

    @reports_store_errors
    def records(self, experiment_id: str, study: str) -> tuple[tuple[str, LiveRecord], ...]:
        """Return run id and record of each slot that a study's ensembles are in; damaged ones are left out."""
        found = []
        for run in self._find([experiment_id], {KIND: ENSEMBLE_KIND, STUDY: study}):
            found += [(str(run.info.run_id), record) for record in self._of_run(run)]
        return tuple(sorted(found, key=lambda pair: pair[1].slot))

    def _of_run(self, run: Run) -> list[LiveRecord]:
        records = []
        for slot in (tag.removeprefix(LIVE_STANDING) for tag in run.data.tags if tag.startswith(LIVE_STANDING)):
            try:
                with temporary_directory() as directory:
                    path = self.download(run.info.run_id, f"{FOLDER}/{slot}.json", directory)
                    records.append(LiveRecord.of_json(path.read_text(encoding="utf-8")))
            except StoreError:
                raise
            except (UserError, OSError, ValueError, KeyError, TypeError):
                continue
        return records

    def _log_text(self, run_id: str, name: str, text: str) -> None:
        with temporary_directory() as directory:
            (directory / name).write_text(text, encoding="utf-8")
            self._log_files(run_id, [directory / name], FOLDER)


def _values(series: RoundSeries) -> dict[str, NDArray[np.float64]]:
    return {
        "corr": series.corr,
        "mmc": series.mmc,
        "bmc": series.bmc,
        "payout": series.payouts,
        "percentile": series.percentiles,
    }
