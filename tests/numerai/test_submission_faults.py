"""Whatever goes wrong on the way to a submission: one clear line, nothing wrong at Numerai, the file kept."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pandas as pd
import pytest

from signal_miner.errors import UserError
from signal_miner.numerai import api as numerai_api
from signal_miner.numerai.live.submission import submit
from signal_miner.numerai.live.submission_runs import SubmissionRuns
from tests.helpers.numerai_server import GraphQLError
from tests.helpers.tournament import (
    Tournament,
    live_frame,
    make_console,
    make_model,
    options,
    predict,
    refused,
)


def test_the_api_is_down(
    tournament: Tournament, runs: SubmissionRuns, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("numerapi.base_api.API_TOURNAMENT_URL", "http://127.0.0.1:1")
    refused(tournament, runs, tmp_path, r"gave no answer \(connection refused\); check the network", tracked=False)


def test_the_api_is_slow(
    tournament: Tournament, runs: SubmissionRuns, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(numerai_api, "ANSWER_SECONDS", 0.1)
    tournament.server.faults.api_delay_seconds = 0.5
    refused(tournament, runs, tmp_path, r"gave no answer \(no answer within 0.1 s\)", tracked=False)


def test_a_wrong_key(
    tournament: Tournament, runs: SubmissionRuns, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NUMERAI_SECRET_KEY", "SECRETwrong")
    match = r"does not accept the API key \(Your session is invalid or has expired.\); check NUMERAI_PUBLIC_ID and"
    refused(tournament, runs, tmp_path, match, tracked=False)
    monkeypatch.delenv("NUMERAI_SECRET_KEY")
    refused(tournament, runs, tmp_path, r"^NUMERAI_SECRET_KEY is not set", tracked=False)
    assert tournament.asked("rounds") == 0


def test_an_unknown_model(tournament: Tournament, runs: SubmissionRuns, tmp_path: Path) -> None:
    for name, hint in (("miner_on", r"did you mean 'miner_one'\?"), ("stocks", "known are miner_one, miner_two")):
        with pytest.raises(UserError, match=f"numerai_model='{name}' is not a model of this Numerai account; {hint}"):
            submit(options(tmp_path, numerai_model=name), make_model(tmp_path), runs, make_console()[0])


def test_no_open_round(tournament: Tournament, runs: SubmissionRuns, tmp_path: Path) -> None:
    tournament.between_rounds = True
    match = r"no round is open \(Current round not open for submissions\); rounds open on weekdays at about 13:00 UTC"
    refused(tournament, runs, tmp_path, match, tracked=False)
    tournament.between_rounds = False
    tournament.closes = datetime(2026, 9, 1, 14, 0, tzinfo=UTC)
    match = "round 1400 closed at 14:00 UTC on Tuesday, 1 September; rounds open on weekdays"
    refused(tournament, runs, tmp_path, match, tracked=False)
    tournament.opened = datetime.now(UTC) + timedelta(hours=1)
    tournament.closes = datetime.now(UTC) + timedelta(hours=2)
    refused(tournament, runs, tmp_path, r"round 1400 opens at \d\d:\d\d UTC", tracked=False)


def test_the_round_closes_between_check_and_upload(
    tournament: Tournament, runs: SubmissionRuns, tmp_path: Path
) -> None:
    def close_meanwhile(frame: pd.DataFrame) -> pd.DataFrame:
        tournament.closes = datetime.now(UTC) - timedelta(seconds=1)
        return predict(frame)

    model = make_model(tmp_path, predict=close_meanwhile)
    refused(tournament, runs, tmp_path, "round 1400 closed at", kept=True, model=model)
    assert not tournament.server.uploads


def test_the_round_closes_during_the_upload(tournament: Tournament, runs: SubmissionRuns, tmp_path: Path) -> None:
    give_link = tournament.server.answers["submission_upload_auth"]

    def close_meanwhile(given: dict[str, str]) -> dict[str, str]:
        tournament.closes = datetime.now(UTC)
        return give_link(given)

    tournament.server.answers["submission_upload_auth"] = close_meanwhile
    refused(tournament, runs, tmp_path, "refused the question: Round is closed for submissions", kept=True)


@pytest.mark.parametrize(
    ("statuses", "message"),
    [
        ([403] * 9, r"could not be uploaded \(http://.*: answered 403 Forbidden, also with a new link\)"),
        ([500] * 9, r"could not be uploaded \(http://.*: answered 500 Internal Server Error\); try again later"),
    ],
)
def test_the_storage_refuses_the_file(
    tournament: Tournament, runs: SubmissionRuns, tmp_path: Path, statuses: list[int], message: str
) -> None:
    tournament.server.faults.put_status = statuses
    refused(tournament, runs, tmp_path, message, kept=True)
    assert tournament.asked("create_submission") == 0
    tournament.server.faults.put_status = [500, 403, 503]  # passing: each attempt has a new link
    assert submit(options(tmp_path), make_model(tmp_path), runs, make_console()[0]).confirmed


def test_an_expired_link_is_replaced(tournament: Tournament, runs: SubmissionRuns, tmp_path: Path) -> None:
    give_link = tournament.server.answers["submission_upload_auth"]
    expired = []

    def expire_first(given: dict[str, str]) -> dict[str, str]:
        link = give_link(given)
        if not expired:
            expired.append(link)
            link = link | {"url": link["url"].replace("secret1", "secret0")}
        return link

    tournament.server.answers["submission_upload_auth"] = expire_first
    outcome = submit(options(tmp_path), make_model(tmp_path), runs, make_console()[0])
    assert outcome.confirmed
    assert tournament.asked("submission_upload_auth") == 2


def test_a_file_that_arrives_cut_off_is_sent_again(
    tournament: Tournament, runs: SubmissionRuns, tmp_path: Path
) -> None:
    tournament.server.faults.put_loses_byte = [True]
    assert submit(options(tmp_path), make_model(tmp_path), runs, make_console()[0]).confirmed
    tournament.next_round()
    tournament.publish(live_frame(seed=1))
    tournament.server.faults.put_loses_byte = [True] * 9
    with pytest.raises(UserError, match="storage reports another checksum than the file's"):
        submit(options(tmp_path), make_model(tmp_path), runs, make_console()[0])
    assert len(tournament.submissions) == 1


def test_a_lost_answer_is_looked_up(tournament: Tournament, runs: SubmissionRuns, tmp_path: Path) -> None:
    tournament.server.faults.lose_answer = ["create_submission"]
    outcome = submit(options(tmp_path), make_model(tmp_path), runs, make_console()[0])
    assert outcome.confirmed
    assert [each["id"] for each in tournament.submissions] == [outcome.submission_id]
    assert tournament.asked("create_submission") == 1


def test_an_answer_lost_before_anything_was_made(tournament: Tournament, runs: SubmissionRuns, tmp_path: Path) -> None:
    make = tournament.server.answers["create_submission"]
    tournament.server.answers["create_submission"] = lambda _given: {"id": ""}
    refused(tournament, runs, tmp_path, "answer to the upload was lost and its list does not show it", kept=True)
    assert tournament.asked("create_submission") == 1
    tournament.server.answers["create_submission"] = make
    assert submit(options(tmp_path), make_model(tmp_path), runs, make_console()[0]).confirmed


def test_the_api_goes_down_with_the_answer(tournament: Tournament, runs: SubmissionRuns, tmp_path: Path) -> None:
    """The submission may exist; the same command finds it and makes no second one."""

    def make_and_die(given: dict[str, str]) -> dict[str, str]:
        tournament.server.faults.api_status = [503] * 99
        return tournament.create_submission(given)

    tournament.server.answers["create_submission"] = make_and_die
    tournament.server.faults.lose_answer = ["create_submission"]
    with pytest.raises(UserError, match=r"it is not known whether it counts .* run the same command again") as caught:
        submit(options(tmp_path), make_model(tmp_path), runs, make_console()[0])
    assert "the predictions are kept in" in str(caught.value)
    tournament.server.faults.api_status = []
    again = submit(options(tmp_path), make_model(tmp_path), runs, make_console()[0])
    assert not again.uploaded
    assert len(tournament.submissions) == 1
    (settled,) = runs.submissions()
    assert settled.finished
    assert settled.submission_id == again.submission_id == tournament.submissions[0]["id"]


def test_what_cannot_be_read_back_is_said(tournament: Tournament, runs: SubmissionRuns, tmp_path: Path) -> None:
    def refuse(_given: object) -> None:
        raise GraphQLError("not available yet")

    tournament.server.answers["submissionDownloadAuth"] = refuse
    console, written = make_console()
    outcome = submit(options(tmp_path), make_model(tmp_path), runs, console)
    assert outcome.uploaded
    assert not outcome.confirmed
    assert written.getvalue().splitlines()[-1].startswith("Numerai acknowledged it, but it could not be read back (")


def test_a_download_that_breaks_off_is_repeated(tournament: Tournament, runs: SubmissionRuns, tmp_path: Path) -> None:
    give_link = tournament.server.answers["submissionDownloadAuth"]

    def cut_once(given: dict[str, str]) -> dict[str, str]:
        tournament.server.faults.cut_after = [100] if tournament.asked("submissionDownloadAuth") == 1 else []
        return give_link(given)

    tournament.server.answers["submissionDownloadAuth"] = cut_once
    assert submit(options(tmp_path), make_model(tmp_path), runs, make_console()[0]).confirmed
    assert tournament.asked("submissionDownloadAuth") == 2


def test_another_file_at_numerai_is_an_error(tournament: Tournament, runs: SubmissionRuns, tmp_path: Path) -> None:
    make = tournament.server.answers["create_submission"]

    def swap(given: dict[str, str]) -> dict[str, str]:
        other = (predict(live_frame())["prediction"].iloc[::-1].to_numpy(), live_frame().index)
        body = pd.DataFrame({"id": other[1], "prediction": other[0]}).to_csv(index=False).encode()
        tournament.server.uploads[f"/uploads/{given['filename']}"] = body
        return make(given)

    tournament.server.answers["create_submission"] = swap
    with pytest.raises(UserError, match="holds other predictions than were sent; replace it at once: -P again=true"):
        submit(options(tmp_path), make_model(tmp_path), runs, make_console()[0])
    assert runs.submissions()[0].status == "FAILED"
    assert runs.submissions()[0].submission_id == tournament.submissions[0]["id"]
    tournament.server.answers["create_submission"] = make
    assert submit(options(tmp_path, again=True), make_model(tmp_path), runs, make_console()[0]).confirmed


def test_a_model_that_predicts_nonsense(tournament: Tournament, runs: SubmissionRuns, tmp_path: Path) -> None:
    model = make_model(tmp_path, predict=lambda frame: predict(frame) * 2)
    refused(tournament, runs, tmp_path, "150 of 300 are not strictly between 0 and 1", model=model)


def test_a_directory_that_is_none(tournament: Tournament, runs: SubmissionRuns, tmp_path: Path) -> None:
    (tmp_path / "submissions").write_text("a file")
    with pytest.raises(UserError, match=r"can't be used \(File exists\); choose another"):
        submit(options(tmp_path), make_model(tmp_path), runs, make_console()[0])
