"""Members of an ensemble: selected on validation alone, and what is refused."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from signal_miner.ensemble.members import Ensemble, Member, Neutralization
from signal_miner.ensemble.options import SelectionRule
from signal_miner.ensemble.selection import grow, ranked_trials, weights_of
from signal_miner.errors import UserError
from signal_miner.scoring.blending import mean_correlations
from signal_miner.tracking.records import Checkpoint, TrackedTrial


def trial(number, sharpe, corr=0.02, test=0.0, benchmark_corr=0.5, status="FINISHED", beats=False, trees=10):
    metrics = {
        "best/validation_sharpe": sharpe,
        "best/validation_corr": corr,
        "best/validation_benchmark_corr": benchmark_corr,
        "validation/sharpe": sharpe / 2,
        "best/test_sharpe": test,
        "best/trees": float(trees),
        "validation/max_drawdown": 1 / (1 + sharpe),
        "ridge/validation_bmc": corr,
    }
    params = {"n_estimators": "40"}
    return TrackedTrial(f"run{number}", "trial", number, status, params, metrics, {"validation": beats})


TRIALS = [
    trial(0, 0.5),
    trial(1, 1.5, 0.03, beats=True),
    trial(2, 2.0, 0.01),
    trial(3, 1.2, 0.025, beats=True),
    trial(4, 9.0, status="FAILED"),
]


def chosen(**settings):
    return [each.number for each in ranked_trials(SelectionRule(**settings), TRIALS)]


def test_rules_select_their_trials():
    assert chosen(select="top", members=2) == [2, 1]
    assert chosen(select="top", members=2, metric="corr") == [1, 3]
    assert chosen(select="top", members=9, metric="validation/sharpe") == [2, 1, 3, 0]
    assert chosen(select="top", members=2, metric="max_drawdown") == [2, 1]  # the smallest first
    assert chosen(select="top", members=1, metric="ridge_bmc") == [1]
    assert chosen(select="beating") == [1, 3]
    assert chosen(select="greedy", pool=3) == [2, 1, 3]
    assert chosen(select="runs", runs=("3", "run0", "trial 0002")) == [3, 0, 2]


def test_trials_of_few_trees_are_left_out():
    trials = [trial(0, 1.0), trial(1, 3.0, trees=1), trial(2, 2.0, trees=9), trial(3, 0.5, trees=30)]

    def numbers(**settings):
        return [each.number for each in ranked_trials(SelectionRule(**settings), trials)]

    assert numbers() == numbers(select="top") == [0, 3]
    assert numbers(min_trees=1) == [1, 2, 0, 3]
    assert numbers(min_trees=9) == [2, 0, 3]
    assert numbers(checkpoint="drawn") == [1, 2, 0, 3]  # all were drawn with 40
    assert numbers(select="runs", runs=("1",)) == [1]  # named by the user
    with pytest.raises(UserError, match="no trial has 31 trees at its best checkpoint; lower min_trees"):
        numbers(min_trees=31)
    with pytest.raises(UserError, match="no trial has 41 trees as drawn; lower min_trees"):
        numbers(min_trees=41, checkpoint="drawn")
    with pytest.raises(UserError, match="trial 0001 has fewer than min_trees = 5 trees; leave it out"):
        numbers(select="runs", runs=("0", "1"), min_trees=5)


def test_trials_are_ranked_where_members_are_cut():
    good_at_best, good_as_drawn = trial(0, 2.0), trial(1, 1.0)
    metrics = {**good_as_drawn.metrics, "validation/sharpe": 1.5, "validation/benchmark_corr": 0.95}
    trials = [good_at_best, replace(good_as_drawn, metrics=metrics)]
    assert [each.number for each in ranked_trials(SelectionRule(), trials)] == [0, 1]
    assert [each.number for each in ranked_trials(SelectionRule(checkpoint="drawn"), trials)] == [1, 0]
    capped = {"max_benchmark_correlation": 0.9}
    assert [each.number for each in ranked_trials(SelectionRule(**capped), trials)] == [0, 1]
    with pytest.raises(UserError, match=r"above 0\.9"):
        ranked_trials(SelectionRule(checkpoint="drawn", **capped), trials)


def test_runs_of_several_studies_are_named_by_study_and_number():
    trials = [trial(0, 1.0), trial(1, 2.0), replace(trial(1, 3.0), run_id="other"), replace(trial(7, 3.0), run_id="x")]
    studies = {"run0": "demo-11", "run1": "demo-11", "other": "mine-22", "x": "mine-22"}

    def runs(*names):
        rule = SelectionRule(select="runs", runs=names)
        return [each.run_id for each in ranked_trials(rule, trials, studies)]

    assert runs("mine/1", "demo-11/trial 0001", "7", "run0") == ["other", "run1", "x", "run0"]
    with pytest.raises(UserError, match="run '1' is a trial of 2 studies; give one of demo-11/1, mine-22/1, or a run"):
        runs("1")
    with pytest.raises(UserError, match="run 'demo/7' is no trial of the study"):
        runs("demo/7")


def test_test_scores_select_no_trial():
    shuffled = [trial(number, 1.0 + number, test=5.0 - number) for number in range(4)]
    other = [trial(number, 1.0 + number, test=number) for number in range(4)]
    for rule in (SelectionRule(select="top"), SelectionRule(select="greedy")):
        assert [t.number for t in ranked_trials(rule, shuffled)] == [t.number for t in ranked_trials(rule, other)]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"select": "greddy"}, "select = 'greddy' is not one of greedy, top, beating, runs; did you mean 'greedy'"),
        ({"weights": "equl"}, "weights = 'equl' is not one of equal, rank; did you mean 'equal'"),
        ({"members": 0}, "members = 0 is below 1"),
        ({"pool": 0}, "pool = 0 is below 1"),
        ({"min_trees": 0}, "min_trees = 0 is not an integer of at least 1"),
        ({"checkpoint": "bets"}, "checkpoint = 'bets' is not one of best, drawn; did you mean 'best'"),
        ({"max_correlation": 1.5}, "max_correlation = 1.5 is not in"),
        ({"max_benchmark_correlation": 0}, "max_benchmark_correlation = 0 is not in"),
        ({"runs": ("1",)}, "add select=runs"),
        ({"select": "runs"}, "needs runs"),
        ({"select": "top", "metric": "test/sharpe"}, "looks at test eras"),
        ({"select": "top", "metric": "best/test_sharpe"}, "looks at test eras"),
        ({"select": "top", "metric": "whole/corr"}, "looks at test eras"),
        ({"metric": "sharp"}, "no score of an ensemble; did you mean 'sharpe'"),
        ({"metric": "validation/sharpe"}, "greedy maximises payout, payout_sharpe, sharpe, corr, bmc"),
    ],
)
def test_a_rule_that_is_none_is_refused(settings, message):
    with pytest.raises(UserError, match=message):
        SelectionRule(**settings)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"select": "runs", "runs": ("run9",)}, "run 'run9' is no trial of the study; did you mean 'run"),
        ({"select": "runs", "runs": ("4",)}, "trial 0004 did not finish"),
        ({"select": "runs", "runs": ("1", "run1")}, "trial 0001 is named twice"),
        (
            {"select": "top", "metric": "validation/shape"},
            "no tracked validation metric; did you mean 'validation/sharpe'",
        ),
        ({"max_benchmark_correlation": 0.1}, "above 0.1; raise it"),
    ],
)
def test_trials_that_do_not_fit_are_refused(settings, message):
    with pytest.raises(UserError, match=message):
        chosen(**settings)


def test_a_trial_that_is_constant_in_some_eras_is_not_set_beside_whole_ones():
    broken = trial(5, 50.0)
    broken = replace(broken, metrics={**broken.metrics, "validation/undefined_eras": 16.0})
    for select in ("top", "greedy"):
        assert 5 not in [each.number for each in ranked_trials(SelectionRule(select=select), [*TRIALS, broken])]
    with pytest.raises(UserError, match="constant in some eras"):
        ranked_trials(SelectionRule(), [broken])


def test_no_trial_beats_a_strong_benchmark():
    with pytest.raises(UserError, match="no trial beats the benchmark"):
        ranked_trials(SelectionRule(select="beating"), [trial(0, 3.0)])


@given(st.lists(st.floats(-2, 5), min_size=1, max_size=9))
def test_weights_add_up_and_follow_the_order(scores):
    for rule in (SelectionRule(), SelectionRule(weights="rank")):
        weights = weights_of(rule, scores)
        assert sum(weights) == pytest.approx(1)
        assert min(weights) > 0
        for one in range(len(scores)):
            for other in range(len(scores)):
                if scores[one] > scores[other]:
                    assert weights[one] >= weights[other]


@given(st.integers(0, 10_000), st.sampled_from([0.2, 0.6, 1.0]), st.sampled_from(["equal", "rank"]), st.integers(1, 6))
def test_growing_never_loses_and_keeps_the_cap(seed, cap, weights, members):
    generator = np.random.default_rng(seed)
    eras = np.repeat(np.arange(8), 20)
    signal = generator.normal(size=160)
    common = generator.normal(size=160)
    noise = generator.normal(size=(160, 7))
    columns = (0.2 * signal[:, None] + generator.random(7) * common[:, None] + noise).astype(np.float32)

    def score(blends):
        (blend,) = blends
        scores = np.array(
            [
                [np.corrcoef(blend[eras == era, c], signal[eras == era])[0, 1] for era in range(8)]
                for c in range(blend.shape[1])
            ]
        )
        return scores.mean(axis=1) / scores.std(axis=1)

    rule = SelectionRule(max_correlation=cap, weights=weights, members=members)
    correlations = mean_correlations(eras, columns)
    picked, shares = grow(rule, [columns], score, correlations)
    alone = score([columns])
    assert picked[0] == np.argmax(alone)
    assert len(picked) == len(set(picked)) <= members
    assert shares == weights_of(rule, alone[list(picked)].tolist())
    blend = columns[:, list(picked)] @ np.array(shares, np.float32)
    assert score([blend[:, None]])[0] >= alone.max() - 1e-6
    between = correlations[np.ix_(picked, picked)][~np.eye(len(picked), dtype=bool)]
    assert not len(between) or between.max() <= cap


def test_nothing_to_score_is_refused():
    with pytest.raises(UserError, match="no candidate has a score"):
        grow(SelectionRule(), [np.zeros((4, 2), np.float32)], lambda blends: np.full(2, np.nan), np.eye(2))


def test_an_ensemble_survives_its_artifact():
    member = Member("run", 3, {"seed": "7", "target": "target"}, 40, 1.0)
    for neutralization in (None, Neutralization("features", 0.5)):
        ensemble = Ensemble("study", (member,), neutralization, {"select": "greedy", "runs": []})
        assert Ensemble.from_json(ensemble.to_json()) == ensemble
        drawn = replace(member, checkpoint=Checkpoint.DRAWN, study="other")
        several = replace(ensemble, members=(member, drawn))
        assert Ensemble.from_json(several.to_json()) == several
    good = json.loads(Ensemble("study", (member,), None, {}).to_json())
    assert list(good["members"][0]) == ["run_id", "number", "params", "trees", "weight"]  # as ever
    for damage in (
        {"members": []},
        {"members": [{**good["members"][0], "params": {"target": "target"}}]},
        {"members": [{**good["members"][0], "params": {"seed": "x"}}]},
        {"members": [{**good["members"][0], "weight": None}]},
        {"members": [{**good["members"][0], "checkpoint": "first"}]},
        {"members": [{**good["members"][0], "weight": float("nan")}]},
        {"members": [{**good["members"][0], "trees": 10**12}]},
        {"members": [{**good["members"][0], "trees": 0}]},
        {"members": [{**good["members"][0], "params": {"seed": "7", "n_estimators": "39"}}]},
        {"neutralization": {"to": "features", "proportion": "x"}},
        {"study": None, "members": None},
    ):
        with pytest.raises(ValueError, match="no ensemble"):
            Ensemble.from_json(json.dumps(good | damage))
    with pytest.raises(ValueError, match="no ensemble"):
        Ensemble.from_json("{}")
    with pytest.raises(ValueError, match="nested too deeply"):
        Ensemble.from_json("[" * 200_000)
