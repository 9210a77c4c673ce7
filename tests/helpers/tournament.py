"""Helpers for the tests of submission and deployment: a tournament on loopback, live data, and a model."""

from __future__ import annotations

import io
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numerapi.base_api
import numpy as np
import pandas as pd
import pytest
from rich.console import Console

from signal_miner.errors import UserError
from signal_miner.models.registry import RegisteredModel
from signal_miner.models.registry.package import ModelNeeds
from signal_miner.numerai import retries
from signal_miner.numerai.live.submission import SubmitOptions, submit
from signal_miner.numerai.live.submission_runs import SubmissionRuns
from tests.helpers.numerai_server import GraphQLError, NumeraiServer

VERSION = "v5.3"
PUBLIC_ID, SECRET_KEY = "PUBLICPUBLIC", "SECRETSECRETSECRETSECRET"
NAME, MODEL_ID = "miner_one", "5f4ad1fd-0000-4000-8000-000000000001"
FEATURES = tuple(f"feature_{number}" for number in range(6))
BENCHMARK = "v53_lgbm_ender60"
LIVE, LIVE_BENCHMARKS = f"{VERSION}/live.parquet", f"{VERSION}/live_benchmark_models.parquet"
PRIVATE = {
    "account",
    "submissions",
    "submission_upload_auth",
    "create_submission",
    "submissionDownloadAuth",
    "computePickles",
    "computePickleUploadAuth",
    "createComputePickleUpload",
    "computePickleDataVersions",
    "computePickleDockerImages",
    "assignPickleToModel",
    "diagnosticsTriggerLogs",
}


def live_frame(seed: int = 0, rows: int = 300, era: str = "1234") -> pd.DataFrame:
    """Live data in Numerai's layout: an era, six features of this model and two others, an unresolved target."""
    generator = np.random.default_rng(seed)
    columns = [*FEATURES, "feature_of_others_1", "feature_of_others_2"]
    frame = pd.DataFrame(generator.integers(0, 5, (rows, len(columns))).astype(np.int8), columns=columns)
    frame.insert(0, "era", era)
    frame.insert(1, "data_type", "live")
    frame["target"] = np.full(rows, np.nan, dtype=np.float32)
    frame.index = pd.Index([f"n{seed:03d}{row:012d}" for row in range(rows)], name="id")
    return frame


def benchmark_frame(live: pd.DataFrame, seed: int = 0) -> pd.DataFrame:
    values = np.random.default_rng(seed).random(len(live))
    return pd.DataFrame({"era": live["era"], BENCHMARK: values, "v53_other": values}, index=live.index).iloc[::-1]


def parquet_bytes(frame: pd.DataFrame) -> bytes:
    sink = io.BytesIO()
    frame.to_parquet(sink)
    return sink.getvalue()


def predict(frame: pd.DataFrame) -> pd.DataFrame:
    """Ranks of a weighted sum, strictly between 0 and 1."""
    weights = np.linspace(1, 2, len(FEATURES)) ** 3
    ranks = pd.Series(frame[list(FEATURES)].to_numpy(float) @ weights, index=frame.index).rank(method="first")
    return ((ranks - 0.5) / len(ranks)).to_frame("prediction")


def make_model(directory: Path, **other: Any) -> RegisteredModel:
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "predict.pkl").write_bytes(b"a portable model" * 1000)
    needs: dict[str, Any] = {
        "data": VERSION,
        "experiment_id": "0",
        "features": FEATURES,
        "nullable_features": (),
        "benchmark_columns": (),
    }
    needs |= {name: other.pop(name) for name in needs if name in other}
    settings: dict[str, Any] = {
        "name": "signal-miner",
        "version": "3",
        "run_id": "e" * 32,
        "needs": ModelNeeds(**needs),
        "predict_file": directory / "predict.pkl",
        "predict": predict,
    }
    return RegisteredModel(**(settings | other))


@dataclass
class Tournament:
    """Numerai's state, and the answers derived from it."""

    server: NumeraiServer
    round_number: int = 1400
    opened: datetime = field(default_factory=lambda: datetime.now(UTC) - timedelta(minutes=5))
    closes: datetime = field(default_factory=lambda: datetime.now(UTC) + timedelta(minutes=55))
    between_rounds: bool = False
    submissions: list[dict[str, Any]] = field(default_factory=list)
    pickles: list[dict[str, Any]] = field(default_factory=list)
    statuses: list[str] = field(default_factory=lambda: ["pending", "validating", "validated"])
    images: list[str] = field(default_factory=lambda: ["Python 3.10", "Python 3.12", "Python 3.11", "Python 3.9"])
    logs: list[dict[str, str]] = field(default_factory=list)
    assigned: list[tuple[str, str]] = field(default_factory=list)
    assigns_by_itself: bool = True

    def __post_init__(self) -> None:
        self.server.key = f"Token {PUBLIC_ID}${SECRET_KEY}"
        self.server.private |= PRIVATE
        self.server.answers |= {
            "account": lambda _: {
                "models": [
                    {"id": MODEL_ID, "name": NAME, "tournament": 8},
                    {"id": "another", "name": "miner_two", "tournament": 8},
                    {"id": "signals", "name": "stocks", "tournament": 11},
                ]
            },
            "rounds": self._rounds,
            "submissions": lambda given: [each for each in self.submissions if each["modelId"] == given["modelId"]],
            "submission_upload_auth": self._upload_link,
            "create_submission": self.create_submission,
            "submissionDownloadAuth": self._download_link,
            "computePickleUploadAuth": self._upload_link,
            "createComputePickleUpload": self._create_pickle,
            "computePickles": self._pickles,
            "computePickleDataVersions": lambda _: [{"id": f"id of {name}", "name": name} for name in ("v5.2", "v5.3")],
            "computePickleDockerImages": lambda _: [{"id": f"id of {name}", "name": name} for name in self.images],
            "assignPickleToModel": self._assign,
            "diagnosticsTriggerLogs": lambda _: self.logs,
        }
        self.publish(live_frame())

    def publish(self, frame: pd.DataFrame) -> None:
        self.server.put(LIVE, parquet_bytes(frame))
        self.server.put(LIVE_BENCHMARKS, parquet_bytes(benchmark_frame(frame)))

    def next_round(self) -> None:
        self.round_number += 1
        self.opened = datetime.now(UTC)

    def submitted(self, index: int = -1) -> pd.DataFrame:
        """The file of a submission, as stored."""
        return pd.read_csv(io.BytesIO(self.server.uploads[f"/uploads/{self.submissions[index]['filename']}"]))

    def asked(self, root_field: str) -> int:
        return sum(each.field == root_field for each in self.server.served)

    def _rounds(self, _given: dict[str, Any]) -> list[dict[str, Any]]:
        if self.between_rounds:
            raise GraphQLError("Current round not open for submissions")
        scores = [("CORR60", True, 3.0), ("MMC60", True, 15.0), ("FNC", False, 0.0)]
        return [
            {
                "number": self.round_number,
                "openTime": self.opened.isoformat().replace("+00:00", "Z"),
                "closeStakingTime": self.closes.isoformat().replace("+00:00", "Z"),
                "roundScoreConfigs": [
                    {"displayName": name, "isPayout": pays, "defaultMultiplier": multiplier}
                    for name, pays, multiplier in scores
                ],
            }
        ]

    def _upload_link(self, given: dict[str, Any]) -> dict[str, str]:
        stem, dot, suffix = given["filename"].rpartition(".")
        name = f"{stem}-{uuid.uuid4().hex[:12]}{dot}{suffix}"
        return {"filename": name, "url": self.server.link(f"uploads/{name}")}

    def create_submission(self, given: dict[str, Any]) -> dict[str, str]:
        if datetime.now(UTC) >= self.closes:
            raise GraphQLError("Round is closed for submissions")
        made = {
            "id": str(uuid.uuid4()),
            "filename": given["filename"],
            "insertedAt": datetime.now(UTC).isoformat(),
            "modelId": given["modelId"],
        }
        self.submissions.append(made)  # also if the file was never uploaded, as with numerapi's own upload
        return {"id": made["id"]}

    def _download_link(self, given: dict[str, Any]) -> dict[str, str]:
        made = next(each for each in self.submissions if each["id"] == given["id"])
        name = f"submission-{made['id']}.csv"
        self.server.put(name, self.server.uploads.get(f"/uploads/{made['filename']}", b""))
        return {"filename": name, "url": self.server.link(f"datasets/{name}")}

    def _create_pickle(self, given: dict[str, Any]) -> dict[str, str]:
        made = {
            "id": str(uuid.uuid4()),
            "filename": given["filename"],
            "modelId": given["modelId"],
            "assignedModelSlots": [NAME] if self.assigns_by_itself else [],
            "dockerImageName": given["dockerImageId"].removeprefix("id of "),
            "dataVersion": given["dataVersionId"].removeprefix("id of "),
            "insertedAt": datetime.now(UTC).isoformat(),
            "looks": 0,
        }
        self.pickles.append(made)
        return {"id": made["id"]}

    def _pickles(self, given: dict[str, Any]) -> list[dict[str, Any]]:
        """List pickles; each listing advances their validation by one step."""
        if given["unassigned"]:
            return []
        shown = [each for each in self.pickles if each["modelId"] == given["modelId"]]
        for each in shown:
            each["validationStatus"] = self.statuses[min(each["looks"], len(self.statuses) - 1)]
            each["looks"] += 1
        return shown

    def _assign(self, given: dict[str, Any]) -> bool:
        self.assigned.append((given["modelId"], given["pickleId"]))
        return True


def serve_tournament(monkeypatch: pytest.MonkeyPatch) -> Iterator[Tournament]:
    """Serve a tournament that numerapi talks to with a key from the environment, without pauses."""
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.setenv(name, "*")
    monkeypatch.setenv("NUMERAI_PUBLIC_ID", PUBLIC_ID)
    monkeypatch.setenv("NUMERAI_SECRET_KEY", SECRET_KEY)
    monkeypatch.setattr(retries, "DOWNLOAD_DELAYS_SECONDS", (0.0, 0.01, 0.01))
    monkeypatch.setattr(retries, "STORAGE_DELAYS_SECONDS", (0.0, 0.01, 0.01))
    monkeypatch.setattr(retries, "LISTING_DELAYS_SECONDS", (0.01,))
    monkeypatch.setattr(retries, "API_DELAY_SECONDS", 0)
    monkeypatch.setattr(retries, "POLL_SECONDS", 0.01)
    with NumeraiServer() as server:
        monkeypatch.setattr(numerapi.base_api, "API_TOURNAMENT_URL", server.url)
        yield Tournament(server)


def make_console() -> tuple[Console, io.StringIO]:
    """A console as the commands use it, and its output."""
    written = io.StringIO()
    return Console(file=written, highlight=False, soft_wrap=True, markup=False), written


def options(directory: Path, **other: Any) -> SubmitOptions:
    settings: dict[str, Any] = {"numerai_model": NAME, "directory": directory / "submissions"}
    return SubmitOptions(**(settings | other))


def refused(
    tournament: Tournament,
    runs: SubmissionRuns,
    tmp_path: Path,
    match: str,
    *,
    kept: bool = False,
    tracked: bool = True,
    model: RegisteredModel | None = None,
) -> UserError:
    """Expect a refused submission: a one-line error, no submission; a file if `kept`, a FAILED run if `tracked`."""
    before = len(tournament.submissions)
    with pytest.raises(UserError, match=match) as caught:
        submit(options(tmp_path), model or make_model(tmp_path), runs, make_console()[0])
    message = str(caught.value)
    assert "\n" not in message
    assert "secret" not in message.lower().replace("numerai_secret_key", "")
    assert len(tournament.submissions) == before
    path = tmp_path / "submissions" / f"{NAME}_round_{tournament.round_number}.csv"
    assert path.is_file() == kept
    assert (f"the predictions are kept in {path}" in message) == kept
    if kept:
        expected = predict(live_frame())["prediction"]
        assert np.allclose(pd.read_csv(path).set_index("id")["prediction"], expected, rtol=0, atol=1e-12)
    newest = runs.submissions()[:1]
    assert [each.status for each in newest] == (["FAILED"] if tracked else [])
    return caught.value
