"""Several slots at once: submitted, deployed, late; one that fails does not stop the others."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from signal_miner.__main__ import main
from signal_miner.errors import UserError
from signal_miner.live import delivery
from signal_miner.live.delivery import DeliveryOptions, deliver
from signal_miner.live.slots import Delivery, Slot
from signal_miner.models.registry import Registry
from signal_miner.numerai.live.submission_runs import SubmissionRuns
from tests.helpers.tournament import MODEL_ID, NAME, Tournament, make_console, make_model, options


@pytest.fixture
def loaded(monkeypatch: pytest.MonkeyPatch, runs: SubmissionRuns, experiment: str) -> None:
    """Loads a model of the test's own in place of one of the registry."""
    monkeypatch.setattr(
        Registry, "load", lambda _registry, _name, _alias, directory: make_model(directory, experiment_id=experiment)
    )


def test_one_failing_slot_does_not_stop_the_others(tournament, loaded, store, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    console, written = make_console()
    slots = [Slot("miner_none"), Slot(NAME), Slot("miner_two")]
    outcomes = deliver(slots, DeliveryOptions(tracking_uri=store), console)
    assert [bool(each.error) for each in outcomes] == [True, False, False]
    assert [each["modelId"] for each in tournament.submissions] == [MODEL_ID, "another"]
    assert written.getvalue().endswith("2 of 3 slots done; failed: miner_none\n")
    assert "miner_none failed: numerai_model='miner_none' is not a model of this Numerai account" in written.getvalue()


def test_a_slot_with_an_uploaded_model_is_refused_before_anything_is_tried(
    tournament, loaded, store, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    tournament.pickles.append(
        {
            "id": "p1",
            "filename": "model.pkl",
            "modelId": MODEL_ID,
            "assignedModelSlots": [NAME],
            "insertedAt": datetime.now(UTC).isoformat(),
            "looks": 2,
        }
    )
    console, _ = make_console()
    first, second = deliver([Slot(NAME), Slot("miner_two")], DeliveryOptions(tracking_uri=store), console)
    assert first.error == (
        f"{NAME} has an uploaded model (model.pkl), and takes no other submission; deploy to it, or remove the upload "
        "on the model's page at numer.ai"
    )
    assert not second.error
    assert len(tournament.submissions) == 1


def closed_round(tournament: Tournament) -> None:
    """Close the round; what is submitted then is for the next one."""
    tournament.closes = datetime.now(UTC) - timedelta(minutes=5)
    tournament.opened = tournament.closes - timedelta(hours=1)
    create = tournament.server.answers["create_submission"]

    def queued(given: dict[str, str]) -> object:
        closes, tournament.closes = tournament.closes, datetime.now(UTC) + timedelta(hours=1)
        try:
            return create(given)
        finally:
            tournament.closes = closes

    tournament.server.answers["create_submission"] = queued


def test_several_slots_are_submitted_late_only_when_asked(tournament, loaded, store, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    closed_round(tournament)
    slots = [Slot(NAME), Slot("miner_two")]
    console, written = make_console()
    for outcome in deliver(slots, DeliveryOptions(tracking_uri=store), console):
        assert re.search(r"round 1400 closed at .*late.*true submits for the next round", outcome.error)
    assert not tournament.submissions
    outcomes = deliver(slots, DeliveryOptions(tracking_uri=store, late=True), console)
    assert [each.error for each in outcomes] == ["", ""]
    assert written.getvalue().count("No round is open: the submission is late, and counts for round 1401") == 2
    assert len(tournament.submissions) == 2


def test_a_late_submission_names_its_round_and_is_made_only_when_asked(tournament, runs, tmp_path, monkeypatch):
    closed_round(tournament)
    console, written = make_console()
    model = make_model(tmp_path)
    with pytest.raises(UserError, match=r"round 1400 closed at .*late.*true submits for the next round"):
        delivery.submit(options(tmp_path), model, runs, console)
    assert not tournament.submissions
    outcome = delivery.submit(options(tmp_path, late=True), model, runs, console)
    assert (outcome.round, outcome.uploaded) == (1401, True)
    assert "No round is open: the submission is late, and counts for round 1401" in written.getvalue()
    again = delivery.submit(options(tmp_path, late=True), model, runs, console)
    assert not again.uploaded
    assert len(tournament.submissions) == 1


def test_a_file_of_slots_is_for_one_way_at_a_time(tournament: Tournament, tmp_path: Path, capsys) -> None:
    path = tmp_path / "slots.toml"
    path.write_text("[slots.miner_one]\n")
    assert main(["deploy", "--slots", str(path)]) == 2
    assert 'no slot has delivery = "deploy"; set it in the file of slots' in capsys.readouterr().err
    assert main(["submit", "--slots", str(path), "--numerai-model", "miner_one"]) == 2
    assert "leave out those of a single slot" in capsys.readouterr().err
    assert Delivery("submit") is Delivery.SUBMIT
