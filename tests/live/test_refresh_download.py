"""The newest data of ``refresh``: fetched from Numerai where they changed, resumed, and kept where that fails."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from mlflow import MlflowClient

from signal_miner.__main__ import main
from signal_miner.live.refresh import RefreshOptions, refresh
from signal_miner.live.slots import Slot
from signal_miner.models.registry import Registry
from signal_miner.numerai.download import transfer
from tests.helpers.numerai_server import GraphQLError
from tests.helpers.numerai_site import keyed_environment
from tests.helpers.refresh import DATA, newer, publish, run, versions
from tests.helpers.tournament import SECRET_KEY, VERSION, Tournament, make_console


@pytest.fixture
def study(numerai_study: Path, tournament: Tournament, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A study on data that Numerai serves as they were when it was mined."""
    publish(tournament.server, numerai_study / DATA)
    monkeypatch.chdir(numerai_study)
    return numerai_study


def files_of(data: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in data.glob("[!.]*")}


def test_only_files_that_changed_are_fetched(study, tournament):
    before = files_of(study / DATA)
    for path in (study / DATA).iterdir():
        path.unlink()
    found, written = run(study)
    assert not found.failed, found.error
    assert "Newest files of v5.3: features.json, train.parquet, validation.parquet, live.parquet, train" in written
    assert "Nothing to refit: version 1 was fitted on these data" in written
    assert before.items() <= files_of(study / DATA).items()
    server = tournament.server
    server.served.clear()
    found, written = run(study)
    assert "Newest files of v5.3: nothing changed\n" in written
    assert server.body_bytes() == 0
    live = pd.read_parquet(study / DATA / "live.parquet").assign(era="0100")
    live.to_parquet(study / "newest.parquet")
    server.put(f"{VERSION}/live.parquet", (study / "newest.parquet").read_bytes())
    found, written = run(study)
    assert "Newest files of v5.3: live.parquet\n" in written
    assert server.body_bytes() == len(server.objects[f"{VERSION}/live.parquet"].body)
    assert (found.version, found.is_new) == ("1", False)
    assert versions(study) == ["1"]


def _down(tournament: Tournament, _patch: pytest.MonkeyPatch) -> None:
    tournament.server.faults.api_status += [503] * 60


def _forbidden(tournament: Tournament, _patch: pytest.MonkeyPatch) -> None:
    tournament.server.faults.api_status += [403] * 60


def _slow(tournament: Tournament, patch: pytest.MonkeyPatch) -> None:
    patch.setattr("signal_miner.numerai.api.ANSWER_SECONDS", 0.1)
    tournament.server.faults.api_delay_seconds = 0.4


def _storage_forbidden(tournament: Tournament, _patch: pytest.MonkeyPatch) -> None:
    tournament.server.faults.object_status += [403] * 60


def _storage_down(tournament: Tournament, _patch: pytest.MonkeyPatch) -> None:
    tournament.server.faults.object_status += [503] * 60


def _cut_off(tournament: Tournament, _patch: pytest.MonkeyPatch) -> None:
    tournament.server.faults.cut_after += [10] * 2 + [0] * 60


def _partial(tournament: Tournament, _patch: pytest.MonkeyPatch) -> None:
    del tournament.server.objects[f"{VERSION}/validation.parquet"]


def _damaged(tournament: Tournament, _patch: pytest.MonkeyPatch) -> None:
    tournament.server.put(f"{VERSION}/validation.parquet", b"<html>an error page</html>")


def _refused(tournament: Tournament, _patch: pytest.MonkeyPatch) -> None:
    def refuse(_given: object) -> None:
        raise GraphQLError("datasets are under maintenance")

    tournament.server.answers["listDatasets"] = refuse


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        (_down, "gave no answer (it answered 503"),
        (_forbidden, "gave no answer (it answered 403"),
        (_slow, "no answer within 0.1 s"),
        (_refused, "refused the question: datasets are under maintenance"),
        (_storage_forbidden, "403"),
        (_storage_down, "503"),
        (_cut_off, "broke off"),
        (_partial, "file 'validation.parquet' is not in version 'v5.3'"),
        (_damaged, "v5.3/validation.parquet was fetched twice and both times"),
    ],
)
def test_a_fault_of_numerai_is_one_line_and_nothing_is_lost(
    fault: Callable[[Tournament, pytest.MonkeyPatch], None], said: str, study, tournament, tmp_path, monkeypatch, capsys
):
    before = files_of(study / DATA)
    newer(tmp_path / "newest")
    publish(tournament.server, tmp_path / "newest")
    with monkeypatch.context() as patch:
        fault(tournament, patch)
        assert main(["refresh", "--deliver", "false"]) == 1
    *_, last = (out := capsys.readouterr().out).splitlines()
    assert last.startswith("refresh signal-miner@champion: stopped, nothing registered or delivered: ")
    assert said in last
    assert SECRET_KEY not in out
    assert "X-Amz" not in out
    kept = files_of(study / DATA)
    assert all(kept[name] in (body, (tmp_path / "newest" / name).read_bytes()) for name, body in before.items())
    assert versions(study) == ["1"]
    assert Registry(f"sqlite:///{study}/mlflow.db").get("signal-miner", "champion").version == "1"


def test_what_is_gone_is_one_line_and_the_other_models_are_refreshed(study):
    client = MlflowClient(f"sqlite:///{study}/mlflow.db")
    slots = [Slot("one", model="gone"), Slot("two", alias="gone"), Slot("three")]
    console, _ = make_console()
    *gone, found = refresh(slots, RefreshOptions(tracking_uri=f"sqlite:///{study}/mlflow.db"), console)
    assert [each.failed for each in (*gone, found)] == [True, True, False]
    assert "there is no registered model 'gone'" in gone[0].error
    assert "registered model 'signal-miner' has no alias or version 'gone'" in gone[1].error
    of_ensemble = client.get_model_version("signal-miner", "1").run_id
    experiment = client.get_run(of_ensemble).info.experiment_id
    (of_study,) = client.search_runs([experiment], "tags.`signal_miner.kind` = 'study'")
    for run_id, said in ((of_ensemble, "has no ensemble"), (of_study.info.run_id, "has no study")):
        client.delete_run(run_id)
        found, _ = run(study)
        assert said in found.error
        assert "\n" not in found.error
        client.restore_run(run_id)
    assert not run(study)[0].failed
    assert versions(study) == ["1"]


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="the system has no SIGKILL")
def test_killed_during_the_download_it_resumes(study, tournament, tmp_path):
    newer(tmp_path / "newest")
    live = pd.read_parquet(tmp_path / "newest" / "live.parquet")
    wide = np.random.default_rng(0).integers(0, 127, (len(live), 6_000), dtype=np.int8)
    columns = [f"feature_of_others_{number}" for number in range(wide.shape[1])]
    pd.concat([live, pd.DataFrame(wide, live.index, columns)], axis=1).to_parquet(tmp_path / "newest" / "live.parquet")
    publish(tournament.server, tmp_path / "newest")
    server = tournament.server
    server.faults.bytes_per_second = 300_000
    process = subprocess.Popen(
        [sys.executable, "-m", "signal_miner", "refresh", "--least-correlation", "-1"],
        cwd=study,
        env=keyed_environment(server, tmp_path),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    part, end = study / DATA / "live.parquet.part", time.monotonic() + 120
    while not (part.exists() and part.stat().st_size >= transfer.CHUNK_BYTES):
        if process.poll() is not None or time.monotonic() > end:
            pytest.fail(f"no part came: {process.communicate()}")
        time.sleep(0.01)
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    gathered = part.stat().st_size
    server.faults.bytes_per_second = None
    server.served.clear()
    found, _ = run(study)
    assert not found.failed, found.error
    assert [(each.status, each.body_bytes) for each in server.gets("/live.parquet")] == [
        (206, len(server.objects[f"{VERSION}/live.parquet"].body) - gathered)
    ]
    assert {each.status for each in server.gets("/validation.parquet")} == {304}
    assert (found.version, found.is_new, found.changes.new_eras) == ("2", True, 2)
    assert versions(study) == ["1", "2"]
