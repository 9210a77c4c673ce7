"""A server that is no MLflow server, or refuses: one line that says so, and never the advice to delete a run."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from mlflow import MlflowClient

from signal_miner.errors import StoreError, UserError
from signal_miner.tracking.records import TrackedTrial
from signal_miner.tracking.run_store import RunStore
from signal_miner.tracking.store import open_client
from signal_miner.tracking.studies import Studies
from signal_miner.tracking.study_reader import StudyReader
from tests.helpers.mining import put_store

PAGE = b"<!DOCTYPE html><html><body>Please sign in</body></html>"
EXPERIMENT = {"experiments": [{"experiment_id": "1", "name": "e", "lifecycle_stage": "active"}]}


class Server:
    """A server that gives one answer to every request."""

    def __init__(self) -> None:
        answer = self

        class Handler(BaseHTTPRequestHandler):
            def answered(self) -> None:
                self.rfile.read(int(self.headers.get("Content-Length") or 0))
                listing = answer.lists and "artifacts?path=" in self.path
                status, body = (200, b'{"files": []}') if listing else (answer.status, answer.body)
                self.send_response(status)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            do_GET = do_POST = do_PATCH = do_PUT = answered  # noqa: N815

            def log_message(self, *_: object) -> None:
                pass

        self.lists = False  # whether it lists artifacts as MLflow's server does
        self.status, self.body = 200, json.dumps(EXPERIMENT).encode()
        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.address = f"http://127.0.0.1:{self.http.server_port}"
        threading.Thread(target=self.http.serve_forever, daemon=True).start()


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    made = Server()
    yield made
    made.http.shutdown()
    made.http.server_close()


ANSWERS = [
    (200, PAGE, "answers with a web page; check its address and any proxy"),
    (404, PAGE, "answers with a web page"),
    (403, PAGE, r"refuses access \(403\); check MLFLOW_TRACKING_USERNAME"),
    (401, b"", r"refuses access \(401\)"),
    (403, b'{"error_code": "PERMISSION_DENIED", "message": "no\\nway"}', r"refuses access \(.*no\)"),
    (200, b"[]", "does not answer as an MLflow server"),
    (200, b"null", "does not answer as an MLflow server"),
    (200, bytes(range(256)), "does not answer as an MLflow server"),
    (200, b'{"experiments": "no", "runs": 3}', "does not answer as an MLflow server"),
    (
        200,
        b'{"experiments": [{"experiment_id": {"a": 1}}], "runs": [{"info": 1}]}',
        "does not answer as an MLflow server",
    ),
    (400, b"[1]", "error code 400"),
    (500, PAGE * 1000, "failed|cannot be opened"),
]


@pytest.mark.parametrize(("status", "body", "message"), ANSWERS)
def test_a_store_that_is_none_is_refused_in_one_line(server: Server, status: int, body: bytes, message: str) -> None:
    studies = Studies(server.address)
    server.status, server.body = status, body
    for use in (lambda: open_client(server.address), studies.find):
        with pytest.raises(StoreError, match=message) as raised:
            use()
        assert "\n" not in str(raised.value)
        assert len(str(raised.value)) < 600
        assert "delete" not in str(raised.value)


def test_runs_that_were_not_asked_for(server: Server) -> None:
    studies = Studies(server.address)
    run = {"info": {"run_id": "a", "experiment_id": "1", "status": "FINISHED"}, "data": {"tags": []}}
    server.body = json.dumps(EXPERIMENT | {"runs": [run]}).encode()
    with pytest.raises(StoreError, match="answers with runs that were not asked for"):
        studies.find()


@pytest.mark.parametrize(
    ("lists", "status", "body", "error", "message"),
    [
        (False, 403, PAGE, StoreError, r"refuses access \(403\)"),
        (True, 403, PAGE, StoreError, r"refuses access \(403\)"),
        (False, 200, PAGE, StoreError, "does not answer as an MLflow server"),
        (True, 200, PAGE, StoreError, r"sent a web page in place of era_scores\.parquet"),
        (True, 404, b"", UserError, r"\(there is no era_scores\.parquet\); restore it"),
        (True, 200, b"PAR1 and no more", UserError, r"has no readable era_scores\.parquet"),
    ],
)
def test_an_artifact_that_cannot_be_fetched_is_not_called_damaged(
    server: Server, tmp_path: Path, lists: bool, status: int, body: bytes, error: type[UserError], message: str
) -> None:
    reader = StudyReader(server.address)
    server.lists, server.status, server.body = lists, status, body
    trial = TrackedTrial("a", "trial", 1, "FINISHED", {}, {}, {}, "mlflow-artifacts:/1/a/artifacts")
    with pytest.raises(error, match=message) as raised:
        reader._table(trial, "era_scores.parquet", tmp_path)
    assert isinstance(raised.value, StoreError) == (error is StoreError)
    assert ("delete" in str(raised.value)) == (error is UserError)


def test_a_file_that_may_not_be_read_is_not_called_damaged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    client = MlflowClient(f"sqlite:///{put_store(tmp_path)}")
    run = client.create_run(client.create_experiment("e", artifact_location=str(tmp_path / "mlruns" / "1")))
    client.log_text(run.info.run_id, "text", "era_scores.parquet")

    def refused(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("pyarrow.parquet.ParquetFile", refused)
    trial = TrackedTrial(run.info.run_id, "trial", 1, "FINISHED", {}, {}, {}, run.info.artifact_uri)
    reader = StudyReader(f"sqlite:///{tmp_path / 'mlflow.db'}")
    with pytest.raises(PermissionError):  # which what calls it makes a `StoreError`
        reader._table(trial, "era_scores.parquet", tmp_path)


@pytest.mark.parametrize("folder", ["plain", "with a blank", "100% of it"])
def test_an_artifact_is_downloaded_and_a_missing_one_is_not_a_failing_store(tmp_path: Path, folder: str) -> None:
    place = tmp_path / folder
    place.mkdir()
    (tmp_path / "into").mkdir()
    store = f"sqlite:///{put_store(tmp_path)}"
    client = MlflowClient(store)
    run_id = client.create_run(client.create_experiment("e", artifact_location=str(place / "mlruns" / "1"))).info.run_id
    client.log_text(run_id, "text", "folder/file.txt")
    runs = RunStore(store)
    assert runs.download(run_id, "folder/file.txt", tmp_path / "into").read_text() == "text"
    with pytest.raises(UserError, match=r"there is no folder/other\.txt") as raised:
        runs.download(run_id, "folder/other.txt", tmp_path / "into")
    assert not isinstance(raised.value, StoreError)
