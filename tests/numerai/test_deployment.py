"""Model upload: ``predict.pkl`` to Numerai, its environment, its validation, its model slot."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from signal_miner.errors import UserError
from signal_miner.numerai.live.deployment import DeployOptions, deploy
from tests.helpers.numerai_server import GraphQLError
from tests.helpers.tournament import (
    MODEL_ID,
    NAME,
    PUBLIC_ID,
    SECRET_KEY,
    VERSION,
    Tournament,
    make_console,
    make_model,
)


def test_a_model_is_uploaded_and_validated(tournament: Tournament, tmp_path: Path) -> None:
    model = make_model(tmp_path)
    console, written = make_console()
    outcome = deploy(DeployOptions(NAME), model, console)
    assert outcome.uploaded
    assert (outcome.image, outcome.data_version) == ("Python 3.12", VERSION)
    (made,) = tournament.pickles
    assert outcome.pickle_id == made["id"]
    assert tournament.server.uploads[f"/uploads/{made['filename']}"] == model.predict_file.read_bytes()
    assert outcome.file_name.startswith("signal-miner-v3-")
    lines = written.getvalue().splitlines()
    assert lines[0] == f"Uploading {outcome.file_name}, 16.0 kB, for Python 3.12 and data v5.3"
    assert lines[2:] == [
        "Validation: pending",
        "Validation: validating",
        f"Validated: Numerai submits {NAME} with it from the next round on",
    ]
    assert tournament.assigned == []
    assert not {PUBLIC_ID, SECRET_KEY} & set(written.getvalue().split())


def test_the_same_file_is_uploaded_once(tournament: Tournament, tmp_path: Path) -> None:
    model = make_model(tmp_path)
    first = deploy(DeployOptions(NAME), model, make_console()[0])
    console, written = make_console()
    second = deploy(DeployOptions(NAME), model, console)
    assert not second.uploaded
    assert second.pickle_id == first.pickle_id
    assert "is uploaded already and validated; -P again=true uploads it anew" in written.getvalue()
    assert deploy(DeployOptions(NAME, image="Python 3.11"), model, make_console()[0]).uploaded
    assert deploy(DeployOptions(NAME, again=True), model, make_console()[0]).uploaded
    model.predict_file.write_bytes(b"another model")
    assert deploy(DeployOptions(NAME), model, make_console()[0]).uploaded
    assert len(tournament.pickles) == 4


def test_one_that_is_not_assigned_is(tournament: Tournament, tmp_path: Path) -> None:
    tournament.assigns_by_itself = False
    console, written = make_console()
    outcome = deploy(DeployOptions(NAME), make_model(tmp_path), console)
    assert tournament.assigned == [(MODEL_ID, outcome.pickle_id)]
    assert f"Assigned to {NAME}" in written.getvalue().splitlines()


def test_an_environment_is_chosen(tournament: Tournament, tmp_path: Path) -> None:
    model = make_model(tmp_path)
    assert deploy(DeployOptions(NAME, image="Python 3.9"), model, make_console()[0]).image == "Python 3.9"
    with pytest.raises(UserError, match=r"image='Python 3.21' is not offered by Numerai; did you mean 'Python 3.1\d'"):
        deploy(DeployOptions(NAME, image="Python 3.21"), model, make_console()[0])
    tournament.images = ["Python 3.9", "Python 3.100"]
    with pytest.raises(UserError, match=r"none of the environments .* \(Python 3.13, .*\); .* known are Python 3.9"):
        deploy(DeployOptions(NAME), model, make_console()[0])
    with pytest.raises(UserError, match=r"version='v5.4' is not offered for uploaded models; did you mean 'v5.\d'"):
        deploy(DeployOptions(NAME, data_version="v5.4", image="Python 3.9"), model, make_console()[0])
    assert len(tournament.pickles) == 1


def test_a_failed_validation_says_why(tournament: Tournament, tmp_path: Path) -> None:
    tournament.statuses = ["pending", "failed"]
    tournament.logs = [
        {"timestamp": "2026-09-01T13:00:02Z", "message": "KeyError:\n 'feature_0'"},
        {"timestamp": "2026-09-01T13:00:01Z", "message": "loading the model"},
    ]
    with pytest.raises(
        UserError, match=r"failed Numerai's validation \(KeyError: 'feature_0'\); see the log"
    ) as caught:
        deploy(DeployOptions(NAME), make_model(tmp_path), make_console()[0])
    assert "\n" not in str(caught.value)
    tournament.logs = []
    with pytest.raises(UserError, match=r"failed Numerai's validation; see the log"):  # uploaded anew
        deploy(DeployOptions(NAME), make_model(tmp_path), make_console()[0])
    assert len(tournament.pickles) == 2


def test_a_validation_that_takes_too_long_is_taken_up_again(tournament: Tournament, tmp_path: Path) -> None:
    tournament.statuses = ["validating"]
    with pytest.raises(UserError, match=r"is not validated after 0.001 minutes \(validating\); it stays at Numerai"):
        deploy(DeployOptions(NAME, timeout_seconds=0.06), make_model(tmp_path), make_console()[0])
    tournament.statuses = ["validated"]
    assert not deploy(DeployOptions(NAME), make_model(tmp_path), make_console()[0]).uploaded
    assert len(tournament.pickles) == 1


def test_ctrl_c_leaves_the_upload(tournament: Tournament, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored where a shell runs us in the background
    request.addfinalizer(lambda: signal.signal(signal.SIGINT, before))
    look = tournament.server.answers["computePickles"]

    def interrupt(given: dict[str, str]) -> list[dict[str, str]]:
        if tournament.pickles:
            os.kill(os.getpid(), signal.SIGINT)
        return look(given)

    tournament.server.answers["computePickles"] = interrupt
    console, written = make_console()
    with pytest.raises(KeyboardInterrupt):
        deploy(DeployOptions(NAME), make_model(tmp_path), console)
    tournament.server.answers["computePickles"] = look
    last = written.getvalue().splitlines()[-1]
    assert last.startswith(f"The upload {tournament.pickles[0]['id']} stays at Numerai")
    assert not deploy(DeployOptions(NAME), make_model(tmp_path), make_console()[0]).uploaded


def test_the_api_may_go_away_for_a_while(tournament: Tournament, tmp_path: Path) -> None:
    make = tournament.server.answers["createComputePickleUpload"]

    def make_and_go(given: dict[str, str]) -> dict[str, str]:
        tournament.server.faults.api_status = [503] * 6
        return make(given)

    tournament.server.answers["createComputePickleUpload"] = make_and_go
    console, written = make_console()
    assert deploy(DeployOptions(NAME), make_model(tmp_path), console).uploaded
    assert "Validation: not known, Numerai's API does not answer" in written.getvalue()


def test_a_lost_answer_is_looked_up(tournament: Tournament, tmp_path: Path) -> None:
    tournament.server.faults.lose_answer = ["createComputePickleUpload"]
    outcome = deploy(DeployOptions(NAME), make_model(tmp_path), make_console()[0])
    assert [each["id"] for each in tournament.pickles] == [outcome.pickle_id]


@pytest.mark.parametrize("status", [403, 500])
def test_the_storage_refuses_the_file(tournament: Tournament, tmp_path: Path, status: int) -> None:
    tournament.server.faults.put_status = [status] * 9
    with pytest.raises(UserError, match=rf"signal-miner-v3-.*.pkl could not be uploaded \(http.*: answered {status}"):
        deploy(DeployOptions(NAME), make_model(tmp_path), make_console()[0])
    assert tournament.pickles == []


def test_mistakes_are_told_before_anything_is_uploaded(
    tournament: Tournament, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = make_model(tmp_path)
    with pytest.raises(UserError, match="numerai_model is missing"):
        deploy(DeployOptions(""), model, make_console()[0])
    with pytest.raises(UserError, match=r"numerai_model='miner' is not a model of this Numerai account"):
        deploy(DeployOptions("miner"), model, make_console()[0])
    with pytest.raises(UserError, match="was mined on data='demo'"):
        deploy(DeployOptions(NAME), make_model(tmp_path, data="demo"), make_console()[0])
    with pytest.raises(UserError, match=r"version = 'newest' is not a version of Numerai's data"):
        deploy(DeployOptions(NAME, data_version="newest"), model, make_console()[0])

    def refuse(_given: object) -> None:
        raise GraphQLError("You are not allowed to upload models")

    tournament.server.answers["computePickleUploadAuth"] = refuse
    with pytest.raises(UserError, match="refused the question: You are not allowed to upload models"):
        deploy(DeployOptions(NAME), model, make_console()[0])
    monkeypatch.setenv("NUMERAI_PUBLIC_ID", "wrong")
    with pytest.raises(UserError, match="does not accept the API key"):
        deploy(DeployOptions(NAME), model, make_console()[0])
    model.predict_file.unlink()
    with pytest.raises(UserError, match=r"predict.pkl can't be read \(No such file or directory\)"):
        deploy(DeployOptions(NAME), model, make_console()[0])
    assert tournament.server.uploads == {}
