"""What a race's controls say of the winners that it lost, and that what depends on all trials is read off them."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest

from signal_miner.overfitting.race import share_lost
from signal_miner.overfitting.records import INTERVAL_LEVEL
from signal_miner.overfitting.verdict import evaluate
from signal_miner.report.sentences import race_sentence
from signal_miner.report.summary import compared_trial, page_notes, relation_facts, summary_lines
from signal_miner.tracking.records import RaceRecord
from tests.helpers.report import make_contents


@given(st.integers(1, 60).flatmap(lambda count: st.tuples(st.just(count), st.integers(0, count))))
def test_the_interval_is_clopper_and_pearsons(drawn):
    winners, stopped = drawn
    found = share_lost(winners, stopped)
    exact = binomtest(stopped, winners).proportion_ci(INTERVAL_LEVEL, method="exact")
    assert (found.value, found.low, found.high) == pytest.approx((stopped / winners, exact.low, exact.high))


def test_without_a_winner_nothing_is_known():
    found = share_lost(0, 0)
    assert math.isnan(found.value)
    assert (found.low, found.high) == (0.0, 1.0)


def test_the_report_says_how_many_winners_the_race_lost():
    trials = [replace(trial, race=RaceRecord(control="true")) for trial in make_contents().trials]
    held = [place for place, trial in enumerate(trials) if trial.held]
    assert held
    trials[held[0]] = replace(trials[held[0]], race=RaceRecord("true", reason="below the benchmark"))
    sentence = race_sentence(trials, 30)
    assert f"Of {len(trials)} controls" in sentence
    assert f"{len(held)} held up in test, and it would have stopped 1 of them" in sentence
    assert not race_sentence(trials, 0)
    losers = [trial for trial in trials if not trial.held]
    assert "none held up in test, so how many winners the race lost is not known" in race_sentence(losers, 30)


def test_past_against_future_and_overfitting_are_of_the_controls():
    scores = make_contents().scores
    sampled = np.arange(len(scores.names)) % 3 == 0
    raced = replace(scores, stopped=5, sampled=sampled)
    places = np.flatnonzero(sampled)
    alone = replace(
        scores,
        names=tuple(scores.names[place] for place in places),
        numbers=tuple(scores.numbers[place] for place in places),
        era_scores=scores.era_scores[:, places],
        bmc=scores.bmc[:, places],
        benchmark_corr=scores.benchmark_corr[:, places],
        candidates=scores.candidates[:, sampled[scores.candidate_trial]],
    )
    found, wanted, of_all = evaluate(raced, 1), evaluate(alone, 1), evaluate(scores, 1)
    assert found.relation == wanted.relation != of_all.relation
    assert found.relation.n_trials == len(places)
    assert raced.tries == scores.tries + 5
    assert evaluate(replace(scores, sampled=sampled), 1).relation == of_all.relation  # none was stopped


def test_corrections_and_the_test_against_the_benchmark_are_of_all_that_were_tried():
    whole = make_contents().scores
    finished = np.arange(len(whole.names)) < 20
    columns = {name: getattr(whole, name)[:, finished] for name in ("era_scores", "bmc", "benchmark_corr")}
    of_finished = finished[whole.candidate_trial]
    raced = replace(
        whole,
        names=whole.names[:20],
        numbers=whole.numbers[:20],
        candidates=whole.candidates[:, of_finished],
        candidate_trial=whole.candidate_trial[of_finished],
        candidate_trees=whole.candidate_trees[of_finished],
        stopped=int((~finished).sum()),
        sampled=np.arange(20) < 3,
        stopped_scores=whole.era_scores[:, ~finished],
        stopped_bmc=whole.bmc[:, ~finished],
        **columns,
    )
    expected, found = evaluate(whole), evaluate(raced)
    assert found.pool == expected.pool
    assert found.superiority == expected.superiority
    for own, other in zip(found.leaders, expected.leaders, strict=True):
        assert (own.corrected, own.corrected_over_benchmark) == (other.corrected, other.corrected_over_benchmark)
        assert own.over_average == other.over_average
    assert found.expectations == expected.expectations
    unknown = evaluate(replace(raced, stopped_scores=None, stopped_bmc=None))
    assert unknown.pool.n_trials == 20  # three controls are too few to stand for all


def test_what_conclusions_are_of_is_noted():
    contents = make_contents()
    sampled = np.arange(len(contents.scores.names)) < 3
    notes = page_notes(replace(contents, scores=replace(contents.scores, stopped=5, sampled=sampled)))
    assert any("are of the race's 3 controls alone" in note for note in notes)
    every = replace(contents, scores=replace(contents.scores, stopped=5, sampled=sampled | True))
    assert any(f"the race's {len(sampled)} controls alone" in note for note in page_notes(every))
    assert compared_trial(every) == "control"
    notes = page_notes(replace(contents, scores=replace(contents.scores, stopped=5, sampled=sampled & False)))
    assert any("has no finished control" in note for note in notes)
    assert not race_sentence([replace(trial, race=RaceRecord()) for trial in contents.trials], 5)


def test_what_is_compared_is_called_controls_in_a_study_that_raced():
    contents = make_contents()
    sampled = np.arange(len(contents.scores.names)) % 3 == 0
    raced = replace(contents, scores=replace(contents.scores, stopped=5, sampled=sampled))
    assert compared_trial(contents) == "trial"
    assert compared_trial(raced) == "control"
    assert "Trials" in relation_facts(contents)
    assert "Controls" in relation_facts(raced)
    assert any("controls" in line for line in summary_lines(raced) if line.startswith("Past against future"))
