"""What is expected of ensembles: their selection repeated on other eras, against what comes."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from signal_miner.engine.racing import Curve
from signal_miner.ensemble.expectation import (
    Candidates,
    OwnScores,
    can_be_repeated,
    era_correlations,
    expected_of_ensemble,
)
from signal_miner.ensemble.maker import _by_preselection, _with_stopped
from signal_miner.ensemble.options import SelectionRule
from signal_miner.ensemble.selection import grow
from signal_miner.overfitting.choice import MOST_CHOICES, choice_splits, score_left_out, summary_of_known
from signal_miner.scoring.blending import gaussianised, mean_correlations
from signal_miner.scoring.objective import Objective, Scoring
from signal_miner.scoring.series import sharpe

SHARPE = Scoring(Objective.SHARPE)


def predictions(seed, n_eras=40, rows=60, n_models=8):
    """Return eras, gaussianised predictions and a target that they weakly predict."""
    rng = np.random.default_rng(seed)
    eras = np.repeat(np.arange(n_eras), rows)
    common, own = rng.standard_normal((len(eras), 1)), rng.standard_normal((len(eras), n_models))
    columns = gaussianised(eras, 0.7 * common + 0.7 * own).astype(np.float32)
    return eras, columns, 0.05 * columns.mean(axis=1) + rng.standard_normal(len(eras))


def correlated(eras, columns, target):
    rows = [np.flatnonzero(eras == era) for era in np.unique(eras)]
    return np.stack([np.corrcoef(np.column_stack([columns[each], target[each]]).T)[-1, :-1] for each in rows])


@settings(max_examples=10, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_a_blend_scores_what_its_members_and_their_correlations_say(seed):
    eras, columns, target = predictions(seed)
    corr = correlated(eras, columns, target)
    candidates = Candidates(corr, 2 * corr, era_correlations(eras, [columns[:1200], columns[1200:]]))
    weights = np.zeros((8, 3))
    weights[0, 0], weights[[1, 4], 1], weights[[2, 3, 7], 2] = 1.0, (0.7, 0.3), 1 / 3
    found, added = candidates.blended(weights)
    assert found == pytest.approx(correlated(eras, columns @ weights, target), abs=1e-4)
    assert added == pytest.approx(2 * found)
    alike = Candidates(corr, corr).blended(weights)[0]
    assert alike == pytest.approx(corr @ weights)


@given(st.integers(1, 400), st.integers(0, 12))
def test_a_choice_shares_no_returns_with_the_eras_left_out(n_eras, overlap):
    splits = choice_splits(n_eras, overlap)
    n_splits = len(splits.left_out)
    assert splits.chosen_by.shape == splits.left_out.shape == (n_splits, n_eras)
    assert n_splits <= MOST_CHOICES
    counts = splits.left_out.sum(axis=0)
    assert counts.min() >= 1
    assert counts.max() <= max(2 * counts.min(), counts.min() + 2)
    for chosen_by, left_out in zip(splits.chosen_by, splits.left_out, strict=True):
        if n_eras >= 4 * overlap:
            apart = np.abs(np.flatnonzero(chosen_by)[:, None] - np.flatnonzero(left_out))
            assert apart.min(initial=n_eras) > overlap
        assert chosen_by.sum() >= 0.3 * n_eras or n_eras < 8


def test_what_is_left_out_is_what_no_choice_saw():
    splits = choice_splits(60, 3)
    marked = np.where(splits.left_out, 0.25, 99.0)
    assert score_left_out(splits, marked, Objective.CORR) == pytest.approx(0.25)
    scores = np.random.default_rng(0).standard_normal((60, 4))
    for objective in (Objective.SHARPE, Objective.CORR):
        assert summary_of_known(scores, objective) == pytest.approx(objective.summary(scores))
    scores[5, 1] = np.nan
    assert np.isnan(summary_of_known(scores, Objective.CORR)).tolist() == [False, True, False, False]


@pytest.mark.parametrize(("select", "members"), [("greedy", 4), ("top", 10), ("top", 1)])
def test_of_equal_models_the_expectation_is_near_what_comes(select, members):
    rule = SelectionRule(select=select, members=members)
    raw, honest, covered = [], [], []
    for seed in range(10):
        rng = np.random.default_rng(seed)
        common, own = rng.standard_normal((240, 1)), rng.standard_normal((240, 30))
        corr = 0.7 * common + 0.7 * own + 0.4
        past, test, future = corr[:80], corr[80:160], corr[160:]
        flat = np.full((80, 30, 30), 0.5, dtype=np.float32) + 0.5 * np.eye(30, dtype=np.float32)
        candidates, cap = Candidates(past, past, flat), np.full((30, 30), 0.5)
        if select == "greedy":

            def score(blends, candidates=candidates):
                return sharpe(candidates.blended(blends[0].astype(np.float64))[0])

            chosen = list(grow(rule, [np.eye(30, dtype=np.float32)], score, cap)[0])
        else:
            candidates, chosen = Candidates(past, past), np.argsort(-sharpe(past))[:members].tolist()
        own_scores = OwnScores(*[(past[:, chosen].mean(axis=1), test[:, chosen].mean(axis=1))] * 2)
        found = expected_of_ensemble(rule, candidates, own_scores, SHARPE, 0, cap)[0]
        came = float(sharpe(future[:, chosen].mean(axis=1)))
        raw.append(found.validation - came)
        honest.append(found.by_validation - came)
        covered.append(found.low <= came <= found.high)
        assert found.low < found.value < found.high
    assert abs(np.mean(honest)) < 0.13
    assert abs(np.mean(honest)) < np.mean(raw)
    assert np.mean(covered) >= 0.7


@pytest.mark.parametrize("select", ["greedy", "top"])
def test_an_era_that_no_candidate_has_a_score_in_is_left_out(select):
    past = np.random.default_rng(0).standard_normal((60, 6))
    past[7] = np.nan
    cap = np.full((6, 6), 0.5)
    candidates, rule = Candidates(past, past), SelectionRule(select=select, members=2)
    own = OwnScores(*[(past[:, :2].mean(axis=1), np.empty(0))] * 2)
    found = expected_of_ensemble(rule, candidates, own, SHARPE, 0, cap)
    assert [each.objective for each in found] == [Objective.SHARPE, Objective.PAYOUT]
    assert all(np.isfinite([each.low, each.by_validation, each.high]).all() for each in found)


def test_the_luck_of_checkpoints_is_taken_off_too():
    """Of one model without skill, whose best of many checkpoints is chosen by the same eras."""
    rule, every = SelectionRule(select="top", members=1), np.full(80, True)
    without, found = [], []
    for seed in range(60):
        curve = Curve(*[np.random.default_rng(seed).standard_normal((80, 20))] * 2)
        candidates = Candidates(curve.corr[:, :1], curve.bmc[:, :1], curves={0: curve})
        best = candidates.at_best_checkpoints(every, SHARPE)
        assert sharpe(best.corr)[0] == pytest.approx(sharpe(curve.corr).max())
        own = OwnScores(*[(best.corr[:, 0], np.empty(0))] * 2)
        without.append(expected_of_ensemble(rule, replace(best, curves={}), own, SHARPE, 0)[0].by_validation)
        found.append(expected_of_ensemble(rule, candidates, own, SHARPE, 0)[0].by_validation)
    assert np.mean(without) > 0.15
    assert abs(np.mean(found)) < 0.06


def test_a_rule_that_names_its_members_is_not_repeated():
    assert can_be_repeated(SelectionRule())
    assert can_be_repeated(SelectionRule(select="top", metric="payout"))
    assert not can_be_repeated(SelectionRule(select="top", metric="max_drawdown"))
    assert not can_be_repeated(SelectionRule(select="runs", runs=("1",)))


def test_preselection_and_payouts():
    rng = np.random.default_rng(3)
    past, test = rng.standard_normal((2, 60, 5)) * 0.05 + 0.02
    candidates, rule = Candidates(past, past / 2), SelectionRule(select="top", members=2)
    own = OwnScores(*[(past[:, :2].mean(axis=1), test[:, :2].mean(axis=1))] * 2)
    plain, lower = (expected_of_ensemble(rule, candidates, own, SHARPE, 0, None, added) for added in (0.0, 0.1))
    assert [each.objective for each in plain] == [Objective.SHARPE, Objective.PAYOUT]
    assert lower[0].by_validation == pytest.approx(plain[0].by_validation - 0.1)
    assert lower[1] == plain[1]
    paid = Scoring(Objective.PAYOUT)
    assert expected_of_ensemble(rule, candidates, own, paid, 0)[0].objective is Objective.PAYOUT_SHARPE


def test_correlations_by_era_average_to_the_mean():
    eras, columns, _ = predictions(0)
    by_era = era_correlations(eras, [columns])
    assert by_era.mean(axis=0) == pytest.approx(mean_correlations(eras, columns), abs=1e-5)


def test_trials_that_a_race_stopped_were_chosen_among_too():
    rng = np.random.default_rng(8)
    corr = 0.6 * rng.standard_normal((60, 1)) + 0.8 * rng.standard_normal((60, 80))
    order = np.argsort(-sharpe(corr))
    corr = corr[:, order]
    every, finished = (Candidates(part, np.zeros_like(part)) for part in (corr, corr[:, :40]))
    stopped = tuple(Curve(corr[:, [place]], np.zeros((60, 1))) for place in range(40, 80))
    kept = range(10)
    known = [_by_preselection(each, kept, SHARPE, 0) for each in (every, _with_stopped(finished, stopped, SHARPE))]
    assert known[0] == known[1] > _by_preselection(finished, kept, SHARPE, 0)
