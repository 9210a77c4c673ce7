"""``live``: the rounds of three slots against what was expected of their model."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
from mlflow import MlflowClient

from signal_miner.__main__ import main
from signal_miner.live.evidence import Standing
from signal_miner.live.history import RoundHistory
from signal_miner.live.review import LiveReview, review_slots, tracked_live
from signal_miner.live.slots import read_slots
from signal_miner.report.live_text import slot_sentence
from tests.helpers.live_rounds import (
    FIRST_ROUND,
    MEAN,
    SLOTS,
    LiveAccount,
    register_version,
    three_slots,
    write_slots,
)
from tests.helpers.numerai_server import GraphQLError
from tests.helpers.tournament import PUBLIC_ID, SECRET_KEY, Tournament


@pytest.fixture
def account(tournament: Tournament) -> LiveAccount:
    return three_slots(tournament)


def review(store: str, tmp_path: Path, **options: bool) -> LiveReview:
    slots = read_slots(write_slots(tmp_path / "slots.toml"))
    return review_slots(slots, store, tmp_path / "live", **options)


def standings(found: LiveReview) -> list[Standing | None]:
    return [None if each.comparison is None else each.comparison.standing for each in found.slots]


def test_as_expected_broken_and_lucky(account, run_id, own_store, tmp_path):
    found = review(own_store, tmp_path)
    assert not found.failed
    assert standings(found) == [Standing.WITHIN, Standing.BELOW, Standing.ABOVE]
    good, broken, _ = (each.comparison for each in found.slots)
    assert good.expectation.mean == pytest.approx(MEAN)
    assert good.expectation.section == "test"
    assert good.mean_payout == pytest.approx(account.payouts["miner_one"][:60].mean())
    assert FIRST_ROUND + 30 < broken.said_in_round < FIRST_ROUND + 60
    assert (broken.series.resolved.sum(), len(broken.series.rounds)) == (60, 72)


def test_rounds_are_metrics_of_the_run_and_logged_once(account, run_id, own_store, tmp_path):
    for _ in range(2):
        review(own_store, tmp_path)
    client = MlflowClient(own_store)
    points = client.get_metric_history(run_id, "live/miner_two/corr")
    assert [point.step for point in points] == list(range(FIRST_ROUND, FIRST_ROUND + 60))
    assert [point.value for point in points] == pytest.approx(list(account.payouts["miner_two"][:60] / 6))
    assert client.get_run(run_id).data.tags["signal_miner.live.miner_two"] == "below"
    assert {each.path for each in client.list_artifacts(run_id, "live")} == {f"live/{name}.json" for name in SLOTS}


def test_a_revised_score_is_named_once_and_replaces_the_earlier_one(account, run_id, own_store, tmp_path):
    review(own_store, tmp_path)
    account.payouts["miner_one"][7] += 0.03
    (revision, *others) = review(own_store, tmp_path).slots[0].revisions
    assert {revision.after.name, *(each.after.name for each in others)} == {"CORR60", "MMC60", "BMC60"}
    assert revision.after.round == FIRST_ROUND + 7
    points = MlflowClient(own_store).get_metric_history(run_id, "live/miner_one/payout")
    assert len([point for point in points if point.step == FIRST_ROUND + 7]) == 2
    assert not review(own_store, tmp_path).slots[0].revisions


@pytest.mark.parametrize("fault", ["down", "slow", "refused", "forbidden"])
def test_a_fault_of_the_api_is_one_line_and_what_was_kept_is_compared(
    fault, account, run_id, own_store, tmp_path, monkeypatch
):
    review(own_store, tmp_path)
    kept = {path.name: path.read_bytes() for path in (tmp_path / "live").iterdir()}
    server = account.tournament.server
    if fault == "down":
        server.faults.api_status += [503] * 60
    elif fault == "slow":
        monkeypatch.setattr("signal_miner.numerai.api.ANSWER_SECONDS", 0.1)
        server.faults.api_delay_seconds = 0.4
    elif fault == "forbidden":
        server.faults.api_status += [403] * 60
    else:

        def refuse(_given: object) -> None:
            raise GraphQLError("scoring is under maintenance")

        server.answers["submissionScores"] = refuse
    found = review(own_store, tmp_path)
    assert found.failed
    assert standings(found) == [Standing.WITHIN, Standing.BELOW, Standing.ABOVE]
    lines = [*found.problems, *(line for each in found.slots for line in each.problems)]
    assert len(lines) == (3 if fault == "refused" else 1)
    assert all("\n" not in line and SECRET_KEY not in line for line in lines)
    assert {path.name: path.read_bytes() for path in (tmp_path / "live").iterdir()} == kept


def test_partial_answers_lose_nothing(account, run_id, own_store, tmp_path):
    before = review(own_store, tmp_path).slots[0].history
    account.left_out |= {("miner_one", FIRST_ROUND + 3)}
    account.without_value |= {("miner_one", FIRST_ROUND + 4, "MMC60")}
    again = review(own_store, tmp_path).slots[0]
    assert again.history == before
    assert not again.problems


def test_a_round_without_scores_is_named(account, run_id, own_store, tmp_path):
    account.left_out |= {("miner_one", FIRST_ROUND + 3)}
    account.without_value |= {("miner_one", FIRST_ROUND + 4, "MMC60")}
    found = review(own_store, tmp_path).slots[0].comparison
    assert found.series.missing == (FIRST_ROUND + 3, FIRST_ROUND + 4)
    assert found.standing is Standing.WITHIN


def test_one_failing_slot_does_not_stop_the_others(account, run_id, own_store, tmp_path):
    slots = read_slots(write_slots(tmp_path / "slots.toml", ["miner_fuor", *SLOTS]))
    found = review_slots(slots, own_store, tmp_path / "live")
    assert [bool(each.problems) for each in found.slots] == [True, False, False, False]
    assert (
        "numerai_model='miner_fuor' is not a model of this Numerai account; did you mean" in found.slots[0].problems[0]
    )


def test_a_version_registered_before_has_the_scores_of_its_run(account, own_store, tmp_path):
    run_id = register_version(own_store, tmp_path / "model", expected=False)
    found = review(own_store, tmp_path)
    assert standings(found) == [Standing.WITHIN, Standing.BELOW, Standing.ABOVE]
    artifacts = Path(MlflowClient(own_store).get_run(run_id).info.artifact_uri.removeprefix("file://"))
    (artifacts / "era_scores.parquet").unlink()
    (problem,) = review(own_store, tmp_path).slots[0].problems
    assert re.match(r"signal-miner version \d has no era scores to compare with \(there is no era_scores", problem)


def test_rounds_before_the_model_was_registered_are_not_its(account, run_id, own_store, tmp_path):
    slots = tmp_path / "slots.toml"
    slots.write_text("[slots.miner_one]\n")
    (found,) = review_slots(read_slots(slots), own_store, tmp_path / "live").slots
    assert found.comparison.standing is Standing.NONE or found.comparison.series.rounds[0] > FIRST_ROUND


def test_the_command_prints_tables_and_a_sentence_a_slot(account, run_id, own_store, tmp_path, capsys):
    write_slots(tmp_path / "slots.toml")
    arguments = ["live", "--slots", str(tmp_path / "slots.toml"), "--directory", str(tmp_path / "live")]
    assert main([*arguments, "--tracking-uri", own_store]) == 0
    written = capsys.readouterr().out
    assert "miner_one (signal-miner 1): within expectation, after 60 weeks of resolved rounds: payout 0.0" in written
    assert "miner_two (signal-miner 1): below expectation since round 13" in written
    assert "miner_three (signal-miner 1): above expectation since round 13" in written
    assert "Round 1414 pays 3 × CORR60 + 15 × MMC60, clipped to ±1, payout factor 0.100" in written
    assert {path.name for path in (tmp_path / "live").glob("*")} >= {"live.html", *(f"{name}.png" for name in SLOTS)}
    written_files = [path for path in tmp_path.rglob("*") if path.is_file()]  # the store and its artifacts, too
    assert len(written_files) > 10
    for path in written_files:
        assert SECRET_KEY.encode() not in path.read_bytes()
        assert PUBLIC_ID.encode() not in path.read_bytes()
    account.tournament.server.faults.api_status += [503] * 60
    assert main([*arguments, "--tracking-uri", own_store]) == 1


def test_a_damaged_history_is_named(account, run_id, own_store, tmp_path):
    (tmp_path / "live").mkdir()
    damaged = tmp_path / "live" / "miner_one.json"
    damaged.write_text('{"scores": 3}')
    first, *others = review(own_store, tmp_path).slots
    (problem,) = first.problems
    assert re.search(r"miner_one.json is not a history of rounds .*; move it away to fetch", problem)
    assert damaged.read_text() == '{"scores": 3}'
    assert [each.comparison.standing for each in others] == [Standing.BELOW, Standing.ABOVE]


def test_stakes_are_in_nmr_and_come_from_the_same_distribution(account, run_id, own_store, tmp_path):
    stake = review(own_store, tmp_path).slots[0].stake
    assert (stake.at_risk, stake.rounds_at_risk, stake.staked) == (120.0, 12, True)
    assert stake.payout.value == pytest.approx(MEAN * 10 * 0.1)
    assert stake.payout.low < stake.payout.value < stake.payout.high
    assert 0 < stake.losing_month < 0.5
    assert stake.settled == pytest.approx(account.payouts["miner_one"][:60].sum())
    history = RoundHistory.read(tmp_path / "live" / "miner_one.json")
    assert len(history.stakes) == 72
    assert json.loads((tmp_path / "live" / "terms.json").read_text())["payout"] == {"corr": 3, "mmc": 15, "clip": 1}
    assert np.isfinite([score.value for score in history.scores]).all()


def test_the_study_s_report_reads_what_was_logged(account, run_id, own_store, tmp_path):
    client = MlflowClient(own_store)
    client.set_tag(run_id, "signal_miner.kind", "ensemble")
    client.set_tag(run_id, "signal_miner.study", "tiny")
    found = review(own_store, tmp_path)
    tracked = tracked_live(client.get_run(run_id).info.experiment_id, "tiny", own_store)
    assert [each.slot for each in tracked] == sorted(SLOTS)
    assert {each.slot: each.comparison.standing for each in tracked} == dict(zip(SLOTS, standings(found), strict=True))
    assert slot_sentence(tracked[0].slot, tracked[0].model, tracked[0].comparison).startswith(
        "miner_one (signal-miner 1)"
    )
    assert not tracked_live(client.get_run(run_id).info.experiment_id, "another", own_store)
