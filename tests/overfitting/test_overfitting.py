"""A study evaluated: noise is luck, planted skill is skill, and what cannot be decided is unclear."""

from __future__ import annotations

import math
import re
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from signal_miner.overfitting.records import Estimate, Relation, Strength, Verdict
from signal_miner.overfitting.relation import relation
from signal_miner.overfitting.verdict import SKILL_LEVEL, SOURCES, evaluate
from signal_miner.report.sentences import (
    deflation_sentence,
    evaluation_notes,
    rank_correlation_text,
    relation_meaning,
    relation_sentence,
    verdict_sentence,
)
from signal_miner.scoring.series import sharpe
from signal_miner.scoring.study_scores import TEST, VALIDATION, StudyScores


def study(seed, n_trials=60, n_eras=208, skill=0.0, spread=0.0, overlap=11, checkpoints=4, failed=0, folds=2):
    """Return trials of a common share, an own one, and one of each checkpoint; `skill` is their Sharpe on average."""
    rng = np.random.default_rng(seed)

    def moving(count):
        steps = rng.standard_normal((n_eras + overlap + 1, count)).cumsum(axis=0)
        return (steps[overlap + 1 :] - steps[: -overlap - 1]) / math.sqrt(overlap + 1)

    own = np.repeat(0.7 * moving(n_trials) + spread * rng.standard_normal(n_trials), checkpoints, axis=1)
    candidates = 0.02 * (0.7 * moving(1) + own + 0.1 * moving(n_trials * checkpoints) + skill)
    numbers = np.sort(np.arange(n_eras) % folds) + 1
    corr = candidates[:, checkpoints - 1 :: checkpoints]
    ranked = np.argsort(-sharpe(corr[numbers < folds])) if folds > 1 else np.arange(n_trials)
    columns = (ranked[:, None] * checkpoints + np.arange(checkpoints)).ravel()
    return StudyScores(
        study="synthetic",
        era_labels=tuple(f"{era:04d}" for era in range(n_eras)),
        eras=np.arange(n_eras),
        folds=numbers,
        overlap_eras=overlap,
        names=tuple(f"trial {number}" for number in ranked),
        numbers=tuple(int(number) for number in ranked),
        failed=failed,
        era_scores=corr[:, ranked],
        bmc=corr[:, ranked],
        benchmark_corr=corr[:, ranked],
        benchmark=0.02 * (moving(1)[:, 0] + 0.2),
        candidates=candidates[:, columns],
        candidate_trial=np.repeat(np.arange(n_trials), checkpoints),
        candidate_trees=np.tile(np.arange(1, checkpoints + 1) * 10, n_trials),
    )


def first(scores, count):
    """Return a study of its first trials alone."""
    columns = scores.candidate_trial < count
    return replace(
        scores,
        names=scores.names[:count],
        numbers=scores.numbers[:count],
        era_scores=scores.era_scores[:, :count],
        bmc=scores.bmc[:, :count],
        benchmark_corr=scores.benchmark_corr[:, :count],
        candidates=scores.candidates[:, columns],
        candidate_trial=scores.candidate_trial[columns],
        candidate_trees=scores.candidate_trees[columns],
    )


def test_the_best_of_noise_is_hardly_ever_skill():
    evaluated = [evaluate(study(seed), leaders=1) for seed in range(20)]
    verdicts = [each.leaders[0].verdict for each in evaluated]
    assert verdicts.count(Verdict.SKILL) <= 1
    assert verdicts.count(Verdict.LUCK) >= 10
    assert 0.35 <= np.mean([each.overfitting.probability for each in evaluated]) <= 0.65
    assert [each.relation.strength for each in evaluated].count("no") >= 15


def test_planted_skill_is_skill():
    evaluated = [evaluate(study(seed, skill=2.5, spread=0.5), leaders=3) for seed in range(6)]
    assert [each.leaders[0].verdict for each in evaluated].count(Verdict.SKILL) >= 5
    assert np.mean([each.overfitting.probability for each in evaluated]) < 0.3
    for each in evaluated:
        best = each.leaders[0]
        assert best.sharpe[VALIDATION].value > each.deflation.expected_best_sharpe
        assert best.sharpe_over_benchmark[TEST].low > 0
        assert each.superiority.p_consistent < 0.05


def test_verdicts_are_those_of_the_deflated_sharpe_and_the_test_sharpe():
    seen = set()
    for seed in range(8):
        evaluated = evaluate(study(seed, skill=0.4 * (seed % 4), spread=0.3), leaders=4)
        for best in evaluated.leaders:
            sentence = verdict_sentence(best, evaluated.deflation)
            seen.add(best.verdict)
            held = best.sharpe[TEST].value > 0
            assert (best.verdict is Verdict.SKILL) == (best.deflated_sharpe >= SKILL_LEVEL and held)
            assert (best.verdict is Verdict.LUCK) == (best.deflated_sharpe < 0.5 or not held)
            assert sentence.endswith(".")
            assert f"{best.sharpe[VALIDATION].value:.2f}" in sentence
            assert "luck alone" in sentence
            if best.verdict is Verdict.UNCLEAR:
                assert sentence.endswith("%, and skill needs 92%.")
                assert "but not clearly: deflated Sharpe " in sentence
    assert seen == set(Verdict)


def test_below_zero_is_written_with_a_minus_everywhere():
    evaluated = evaluate(study(11, skill=-3.0))
    assert verdict_sentence(evaluated.leaders[0], evaluated.deflation).startswith("Its validation Sharpe of −")
    words = [
        deflation_sentence(evaluated.deflation),
        relation_sentence(evaluated.relation),
        *(verdict_sentence(leader, evaluated.deflation) for leader in evaluated.leaders),
    ]
    assert not any(re.search(r"-\d", text) for text in words)


def test_test_eras_choose_nobody():
    scores = study(3, spread=0.3)
    test = scores.rows(TEST)
    other = replace(scores, era_scores=scores.era_scores.copy(), candidates=scores.candidates.copy())
    other.era_scores[test], other.candidates[test] = 0.5 - scores.era_scores[test], 0.5 - scores.candidates[test]
    one, two = evaluate(scores, leaders=5), evaluate(other, leaders=5)
    assert [best.name for best in one.leaders] == [best.name for best in two.leaders] == list(scores.names[:5])
    assert [best.deflated_sharpe for best in one.leaders] == [best.deflated_sharpe for best in two.leaders]
    assert one.deflation == two.deflation


def test_more_tries_ask_for_more():
    scores = study(4)
    assert evaluate(scores, leaders=0).deflation.n_candidates == 240
    failed = evaluate(replace(scores, failed=20, unfinished=10), leaders=0).deflation
    assert failed.n_candidates == 360  # a trial that did not finish counts with an average trial's checkpoints
    assert "checkpoints, and as many for trials that did not finish)" in deflation_sentence(failed)
    assert "did not finish" not in deflation_sentence(evaluate(scores, leaders=0).deflation)
    assert failed.expected_best_sharpe > evaluate(scores, leaders=0).deflation.expected_best_sharpe
    assert (
        evaluate(first(scores, 6), leaders=0).deflation.expected_best_sharpe
        < evaluate(scores, leaders=0).deflation.expected_best_sharpe
    )


@settings(max_examples=3, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_the_order_of_the_candidates_and_an_era_unknown_to_all_change_nothing(seed):
    rng = np.random.default_rng(seed)
    scores = first(study(seed, n_trials=12, n_eras=120, overlap=3), 12)
    shuffle = rng.permutation(scores.candidates.shape[1])
    other = replace(
        scores,
        candidates=scores.candidates[:, shuffle],
        candidate_trial=scores.candidate_trial[shuffle],
        candidate_trees=scores.candidate_trees[shuffle],
    )
    one, two = evaluate(scores, leaders=2), evaluate(other, leaders=2)
    assert two.deflation.expected_best_sharpe == pytest.approx(one.deflation.expected_best_sharpe)
    assert [best.verdict for best in two.leaders] == [best.verdict for best in one.leaders]
    last = len(scores.eras) - 1
    extended = replace(
        scores,
        eras=np.append(scores.eras, last + 1),
        era_labels=(*scores.era_labels, "9999"),
        folds=np.append(scores.folds, scores.folds[-1]),
        benchmark=np.append(scores.benchmark, 0.01),
        **{
            name: np.vstack([getattr(scores, name), np.full((1, getattr(scores, name).shape[1]), np.nan)])
            for name in ("era_scores", "bmc", "benchmark_corr", "candidates")
        },
    )
    assert [best.sharpe for best in evaluate(extended, leaders=2).leaders] == [best.sharpe for best in one.leaders]
    assert evaluate(extended, leaders=2).overfitting.logits == pytest.approx(one.overfitting.logits)


def test_the_relation_over_trials():
    found = relation(study(5, spread=1.5), 0)
    assert found.strength == "strong"
    assert found.rank_correlation.low > 0
    assert found.slope > 0.5
    said = relation_sentence(found)
    assert "predicted test Sharpe well (over 60 trials, rank correlation 0." in said
    assert relation_meaning(found) not in said  # what it means is the sentence itself
    assert relation_meaning(found) in rank_correlation_text(found)
    few = relation(first(study(5, spread=1.5), 9), 0)
    assert few.strength == "no"
    assert relation_sentence(few) == "9 trials are too few to show a relation."
    assert math.isfinite(few.slope)


@pytest.mark.parametrize(
    ("strength", "low", "high", "said"),
    [
        ("weak", 0.18, 0.77, "above 0, so validation predicted test to some extent"),
        ("strong", 0.3, 0.8, "0.5 or more and the interval above 0.25, so validation predicted test well"),
        ("no", -0.1, 0.5, "0 is within it, so it is not shown that validation predicted test"),
        ("no", -0.6, -0.1, "below 0, so what was better in validation was worse in test"),
        ("no", math.nan, math.nan, "without an interval it shows nothing"),
    ],
)
def test_a_relation_says_its_rule(strength, low, high, said):
    assert relation_meaning(Relation(0.5, 0.1, Estimate(0.54, low, high), 60, Strength(strength))) == said


def test_one_trial_is_deflated_by_its_own_checkpoints():
    scores = first(study(6, skill=2.5), 1)
    evaluated = evaluate(scores)
    assert evaluated.leaders[0].verdict is Verdict.SKILL
    assert evaluated.overfitting is None
    assert evaluated.relation.strength == "no"
    assert "There is one trial" in evaluation_notes(scores, evaluated)[0]


def test_no_trial_one_fold_and_few_eras_are_said():
    scores = replace(first(study(7), 0), failed=3)
    nothing = evaluate(scores)
    assert nothing.leaders == ()
    assert evaluation_notes(scores, nothing)[0] == "No trial has finished, so there is nothing to evaluate."
    scores = study(7, folds=1)
    alone = evaluate(scores)
    assert {best.verdict for best in alone.leaders} <= {Verdict.UNCLEAR, Verdict.LUCK}
    assert "one fold" in evaluation_notes(scores, alone)[0]
    scores = study(7, n_eras=16, n_trials=12)
    few = evaluate(scores)
    notes = evaluation_notes(scores, few)
    assert few.overfitting is None
    assert math.isfinite(few.leaders[0].deflated_sharpe)
    assert any("worth" in note and "the targets of 12 neighbouring eras overlap" in note for note in notes)
    assert any("too few for four blocks" in note for note in notes)


def test_several_validation_folds_are_evaluated_together():
    scores = study(8, skill=2.5, folds=4)
    assert scores.rows(VALIDATION).sum() == 156
    assert evaluate(scores, leaders=1).leaders[0].verdict is Verdict.SKILL


@pytest.mark.parametrize("value", [0.02, np.nan], ids=["equal", "unknown"])
def test_scores_that_are_equal_or_unknown_are_unclear(value):
    scores = study(9, n_trials=12, n_eras=104)
    corr, candidates = scores.era_scores.copy(), scores.candidates.copy()
    corr[:, 0], candidates[:, :4] = value, value
    evaluated = evaluate(replace(scores, era_scores=corr, candidates=candidates), leaders=2)
    assert evaluated.leaders[0].verdict is Verdict.UNCLEAR
    assert math.isnan(evaluated.leaders[0].deflated_sharpe)
    assert math.isfinite(evaluated.leaders[1].deflated_sharpe)
    corr[:], candidates[:] = value, value
    nothing = evaluate(replace(scores, era_scores=corr, candidates=candidates), leaders=2)
    assert {best.verdict for best in nothing.leaders} == {Verdict.UNCLEAR}
    assert nothing.overfitting is None


def test_the_same_seed_gives_the_same_evaluation():
    scores = study(10, n_trials=15)
    one, again, other = (evaluate(scores, leaders=2, seed=seed).leaders for seed in (1, 1, 2))
    assert one == again
    assert one != other


def test_every_conclusion_names_its_source():
    assert set(SOURCES) == {"deflation", "overfitting", "superiority", "bootstrap", "relation", "expectation"}
    assert all("Journal" in source or "Econometrica" in source for source in SOURCES.values())


@pytest.mark.slow
def test_models_trained_on_noise_and_on_strong_signal():
    from benchmarks.luck import NOISE, STRONG, winner

    noise = [winner(NOISE, seed, 40) for seed in (0, 1)]
    assert "skill" not in {one.verdict for one in noise}
    assert winner(STRONG, 0, 40).verdict == "skill"
