"""Probability of backtest overfitting against another implementation, a plain loop, and what is known of it."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import purgedcv
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import rankdata

from signal_miner.overfitting.cross_validation import probability_of_overfitting
from signal_miner.report.sentences import overfitting_sentence
from signal_miner.scoring.series import sharpe


@pytest.mark.parametrize(("n_eras", "n_trials", "n_blocks"), [(80, 5, 4), (103, 12, 8), (160, 31, 10), (64, 2, 6)])
def test_without_a_purge_it_equals_purgedcv(n_eras, n_trials, n_blocks):
    scores = np.random.default_rng(n_eras).standard_normal((n_eras, n_trials)) * 0.02 + 0.01
    ours = probability_of_overfitting(scores, 0, n_blocks)
    theirs = purgedcv.probability_of_backtest_overfitting(scores.T, n_splits=n_blocks)
    assert ours.probability == pytest.approx(theirs.pbo, abs=1e-9)
    assert np.sort(ours.logits) == pytest.approx(np.sort(theirs.logits), abs=1e-9)
    assert (ours.n_splits, ours.n_blocks, ours.block_eras) == (theirs.n_combos, n_blocks, n_eras // n_blocks)


def plain_logits(scores, overlap, n_blocks):
    """Every split by itself, eras dropped one by one."""
    blocks, logits = np.array_split(np.arange(len(scores)), n_blocks), []
    for inside in combinations(range(n_blocks), n_blocks // 2):
        halves = {True: [], False: []}
        for number, block in enumerate(blocks):
            follows_other = number > 0 and ((number - 1) in inside) != (number in inside)
            halves[number in inside].extend(block[overlap:] if follows_other else block)
        best = np.argmax(sharpe(scores[halves[True]]))
        omega = rankdata(sharpe(scores[halves[False]]))[best] / (scores.shape[1] + 1)
        logits.append(np.log(omega / (1 - omega)))
    return np.array(logits)


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(0, 6), st.sampled_from([4, 6, 8]), st.integers(2, 9))
def test_with_a_purge_it_equals_a_plain_loop(seed, overlap, n_blocks, n_trials):
    rng = np.random.default_rng(seed)
    scores = rng.standard_normal((n_blocks * (2 * overlap + 3) + int(rng.integers(n_blocks)), n_trials))
    found = probability_of_overfitting(scores, overlap, n_blocks)
    assert found.logits == pytest.approx(plain_logits(scores, overlap, n_blocks), abs=1e-9)


def test_noise_is_one_half_and_lasting_skill_near_zero():
    rng = np.random.default_rng(0)
    noise = [probability_of_overfitting(rng.standard_normal((120, 30)), 3).probability for _ in range(30)]
    assert 0.4 < np.mean(noise) < 0.6
    skill = rng.standard_normal((120, 30)) + np.linspace(0, 1.5, 30)
    found = probability_of_overfitting(skill, 3)
    assert found.probability < 0.05
    assert found.pays
    assert "choosing the best trial paid on eras it had not seen" in overfitting_sentence(found)
    assert "120 validation and test eras" in overfitting_sentence(found)


def test_few_splits_are_described_mildly():
    columns = np.random.default_rng(0).standard_normal((64, 6))
    equal = columns - columns.mean(axis=0)  # whoever is better in one half is worse in the other
    few, many = (probability_of_overfitting(equal, 0, n_blocks) for n_blocks in (4, 8))
    assert min(few.probability, many.probability) > 0.6
    assert "did not pay off more often than not, but so few splits show little" in overfitting_sentence(few)
    assert "choosing the best trial was worse than choosing any" in overfitting_sentence(many)


def test_blocks_are_longer_than_twice_the_overlap():
    rng = np.random.default_rng(1)
    for n_eras, overlap, blocks in [(104, 11, 4), (814, 11, 16), (400, 11, 16), (104, 3, 14), (91, 11, None)]:
        found = probability_of_overfitting(rng.standard_normal((n_eras, 3)), overlap)
        assert (found and found.n_blocks) == blocks
        assert found is None or found.block_eras > 2 * overlap


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_order_scale_and_undefined_eras_of_trials(seed):
    rng = np.random.default_rng(seed)
    scores = rng.standard_normal((60, 8))
    found = probability_of_overfitting(scores, 2)
    shuffled = probability_of_overfitting(scores[:, rng.permutation(8)] * 0.01, 2)
    assert shuffled.logits == pytest.approx(found.logits, abs=1e-9)
    # An era that is NaN for all, a trial that is NaN in one, and a trial that never varies, change nothing.
    spoiled = np.column_stack([scores, rng.standard_normal(60), np.full(60, 0.1)])
    spoiled[int(rng.integers(60)), 8] = np.nan
    spoiled = np.insert(spoiled, int(rng.integers(61)), np.nan, axis=0)
    assert probability_of_overfitting(spoiled, 2).logits == pytest.approx(found.logits, abs=1e-9)


def test_without_two_trials_there_is_none_and_odd_blocks_are_refused():
    scores = np.random.default_rng(2).standard_normal((100, 3))
    assert probability_of_overfitting(scores[:, :1], 0) is None
    assert probability_of_overfitting(np.full((100, 3), np.nan), 0) is None
    with pytest.raises(ValueError, match="n_blocks = 5 is not an even number"):
        probability_of_overfitting(scores, 0, 5)


def test_twins_share_their_rank():
    scores = np.repeat(np.random.default_rng(3).standard_normal((60, 1)), 4, axis=1)
    assert probability_of_overfitting(scores, 2).logits == pytest.approx(0.0, abs=1e-12)
