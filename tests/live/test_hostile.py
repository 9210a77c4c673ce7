"""Slots whose model, alias, run or study is gone, and answers that no tournament gives: a line each, nothing lost."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from mlflow import MlflowClient

from signal_miner.__main__ import main
from signal_miner.live.comparison import RoundSeries
from signal_miner.live.evidence import Standing
from signal_miner.live.history import RoundHistory
from signal_miner.live.review import LiveReview, review_slots
from signal_miner.live.slots import read_slots
from signal_miner.numerai.round_records import RoundTerms, read_scores, read_stakes, read_terms
from signal_miner.scoring.payout import DEFAULT_PAYOUT
from tests.helpers.live_rounds import FIRST_ROUND, LiveAccount, three_slots, write_slots
from tests.helpers.tournament import Tournament

TERMS = RoundTerms(1414, DEFAULT_PAYOUT, "CORR60", "MMC60", "BMC60", 0.1)


@pytest.fixture
def account(tournament: Tournament) -> LiveAccount:
    return three_slots(tournament)


def review(store: str, tmp_path: Path, slots: str = "", **options: bool) -> LiveReview:
    path = write_slots(tmp_path / "slots.toml")
    if slots:
        path.write_text(slots)
    return review_slots(read_slots(path), store, tmp_path / "live", **options)


def only_problem(found: LiveReview, place: int = 0) -> str:
    (problem,) = found.slots[place].problems
    assert "\n" not in problem
    return problem


def test_a_model_and_an_alias_that_are_gone(account, run_id, own_store, tmp_path):
    gone = (
        '[slots.miner_one]\nmodel = "gone"\n[slots.miner_two]\nalias = "gone"\n[slots.miner_three]\nfrom_round = 1343\n'
    )
    found = review(own_store, tmp_path, gone)
    assert "there is no registered model 'gone'; known are signal-miner" in only_problem(found)
    assert "'signal-miner' has no alias or version 'gone'; known are" in only_problem(found, 1)
    assert found.slots[2].comparison.standing is Standing.ABOVE
    assert all(len(each.history.scores) == 3 * 72 for each in found.slots)  # rounds are kept all the same


def test_a_run_and_a_study_that_are_deleted(account, run_id, own_store, tmp_path):
    client = MlflowClient(own_store)
    client.delete_run(run_id)
    found = review(own_store, tmp_path)
    assert "deleted" in only_problem(found)
    assert found.slots[1].comparison.standing is Standing.BELOW  # the version keeps what was expected of it
    client.restore_run(run_id)
    client.delete_experiment(client.get_run(run_id).info.experiment_id)
    found = review(own_store, tmp_path)
    assert found.slots[1].comparison.standing is Standing.BELOW


def test_files_of_a_version_that_are_gone(account, run_id, own_store, tmp_path):
    for path in tmp_path.rglob("expected_scores.parquet"):
        path.unlink()
    found = review(own_store, tmp_path)
    assert "check that the artifacts of version 1 of 'signal-miner' are still there" in only_problem(found)
    assert found.slots[0].history.scores


def test_a_nan_in_what_is_kept_and_a_slot_that_is_a_folder(account, run_id, own_store, tmp_path):
    review(own_store, tmp_path)
    path = tmp_path / "live" / "miner_one.json"
    kept = json.loads(path.read_text())
    kept["scores"][0]["value"] = math.nan
    path.write_text(json.dumps(kept))
    (tmp_path / "live" / "miner_two.json").unlink()
    (tmp_path / "live" / "miner_two.json").mkdir()
    found = review(own_store, tmp_path)
    assert "miner_one.json is not a history of rounds" in only_problem(found)
    assert "miner_two.json is no file; replace or remove it" in only_problem(found, 1)
    assert found.slots[2].comparison.standing is Standing.ABOVE


def test_nothing_is_kept_and_nothing_is_fetched(run_id, own_store, tmp_path):
    found = review(own_store, tmp_path, fetch=False)
    assert found.problems == (f"nothing is kept in {tmp_path / 'live'} yet; fetch it first",)


def test_an_account_with_odd_answers(account, run_id, own_store, tmp_path):
    server = account.tournament.server
    scores, stakes, rounds = (
        server.answers[name] for name in ("submissionScores", "v2RoundModelPerformances", "rounds")
    )
    odd: list[Any] = [None, "x", {}, {"roundNumber": "x", "displayName": "CORR60", "value": 1}]
    odd += [
        {"roundNumber": 1300, "displayName": "CORR60", "value": each} for each in ("x", math.nan, math.inf, None, [])
    ]
    lost = [{"roundNumber": 1400, "atRisk": each} for each in ("-5", -5, math.nan, "x", None)]
    server.answers["submissionScores"] = lambda asked: odd + scores(asked)
    server.answers["v2RoundModelPerformances"] = lambda asked: odd + lost + stakes(asked)
    server.answers["rounds"] = lambda asked: [
        None,
        {},
        {"number": "x", "roundScoreConfigs": [None, {}]},
        *rounds(asked),
    ]
    found = review(own_store, tmp_path)
    assert not found.failed
    assert [each.comparison.standing for each in found.slots] == [Standing.WITHIN, Standing.BELOW, Standing.ABOVE]
    assert found.slots[0].stake.at_risk == 120.0


anything = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.just([]) | st.just({})
records = st.lists(
    anything
    | st.fixed_dictionaries(
        {},
        optional={
            "roundNumber": anything | st.integers(1300, 1310),
            "displayName": anything | st.sampled_from(["CORR60", "MMC60", "BMC60"]),
            "value": anything | st.floats(-1, 1),
            "percentile": anything,
            "day": anything,
            "resolved": anything,
            "roundCloseStakingTime": anything | st.datetimes().map(str) | st.just("2026-01-01T00:00:00+02:00"),
            "atRisk": anything | st.floats(-5, 5).map(str),
            "roundResolved": anything,
            "submissionScores": anything | st.lists(anything, max_size=2),
            "number": anything,
            "roundScoreConfigs": anything
            | st.lists(
                st.fixed_dictionaries({"displayName": anything, "isPayout": anything, "defaultMultiplier": anything})
            ),
        },
    ),
    max_size=12,
)


@given(records)
def test_no_answer_of_numerai_s_is_an_error_and_what_is_kept_is_read_again(listed):
    history, _ = RoundHistory().updated(read_scores(listed), read_stakes(listed))
    assert all(math.isfinite(score.value) for score in history.scores)
    assert all(stake.at_risk > 0 for stake in history.stakes)
    assert all(terms.payout.pays for terms in read_terms(listed))
    again = RoundHistory.of_table(json.loads(json.dumps(history.to_table())))
    assert str(again) == str(history)
    series = RoundSeries.of(history, TERMS, 0)
    assert (np.diff(series.weeks) >= 0).all()
    assert len(series.weekly(unresolved=True)) == (series.weeks.max() + 1 if len(series.weeks) else 0)


def test_options_that_do_nothing_are_refused(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    for name in ("refresh", "submit", "deploy"):
        assert main([name, "--slot", "miner_one"]) == 2
        assert "slot names some of the slots of a file; give slots, too" in capsys.readouterr().err


def test_scores_before_the_first_round_of_a_slot_do_not_count(account, run_id, own_store, tmp_path):
    found = review(own_store, tmp_path, f"[slots.miner_two]\nfrom_round = {FIRST_ROUND + 10**6}\n")
    assert found.slots[0].comparison.standing is Standing.NONE
    assert not found.failed
