"""Payouts of eras, what is computed of them, and which models they let beat the benchmark."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numerai_tools import scoring as oracle

from signal_miner.engine.metrics import ModelEras, payout_metrics
from signal_miner.scoring.beats_benchmark import beats_benchmark, least_lead
from signal_miner.scoring.best_checkpoint import best_checkpoint
from signal_miner.scoring.objective import Objective, Scoring
from signal_miner.scoring.payout import DEFAULT_PAYOUT, Payout
from signal_miner.scoring.scorer import Scorer

SCORES = st.floats(-0.2, 0.2)
MULTIPLIERS = st.floats(0, 20)


@given(
    arrays(float, 9, elements=SCORES), arrays(float, 9, elements=SCORES), MULTIPLIERS, MULTIPLIERS, st.floats(0.01, 2)
)
def test_a_payout_is_within_the_clip_and_as_numerai_writes_it(corr, bmc, corr_multiplier, mmc, clip) -> None:
    payout = Payout(corr_multiplier, mmc, clip)
    paid = payout.of(corr, bmc)
    assert np.abs(paid).max() <= clip
    each = corr_multiplier * corr + mmc * bmc
    np.testing.assert_allclose(paid, [min(max(value, -clip), clip) for value in each])
    np.testing.assert_allclose(payout.of(corr, 0.0), np.clip(corr_multiplier * corr, -clip, clip))
    assert np.isnan(payout.of([np.nan, 0.1], [0.1, np.nan])).all()


@pytest.fixture(scope="module")
def market() -> pd.DataFrame:
    generator = np.random.default_rng(4)
    rows = 12 * 200
    frame = pd.DataFrame({"era": np.repeat(np.arange(1, 13), 200), "target": generator.integers(0, 5, rows) / 4})
    frame["benchmark"] = 0.1 * frame["target"] + generator.normal(size=rows)
    frame["model"] = 0.1 * frame["target"] + 0.5 * frame["benchmark"] + generator.normal(size=rows)
    return frame


def test_payouts_equal_those_of_numerais_own_scores(market) -> None:
    scorer = Scorer(market["era"].to_numpy(), market["target"].to_numpy()).with_benchmark(
        "benchmark", market["benchmark"].to_numpy()
    )
    scores = scorer.score(market[["model", "benchmark"]].to_numpy())
    paid = DEFAULT_PAYOUT.of(scores.corr, scores.bmc["benchmark"])

    def expected(era: pd.DataFrame) -> float:
        corr = oracle.numerai_corr(era[["model"]], era["target"]).iloc[0]
        mmc = oracle.correlation_contribution(era[["model"]], era["benchmark"], era["target"]).iloc[0]
        return float(np.clip(3 * corr + 15 * mmc, -1, 1))

    np.testing.assert_allclose(paid[:, 0], [expected(era) for _, era in market.groupby("era")], atol=1e-9)
    np.testing.assert_allclose(paid[:, 1], np.clip(3 * scores.corr[:, 1], -1, 1), atol=1e-9)
    path = pd.Series(paid[:, 0]).cumsum()
    drawdown = (path.cummax() - path).max()
    models = [
        ModelEras(
            scores.corr[:, place], scores.bmc["benchmark"][:, place], scores.benchmark_corr["benchmark"][:, place]
        )
        for place in (0, 1)
    ]
    metrics = payout_metrics(*models, DEFAULT_PAYOUT)
    assert metrics["payout"] == pytest.approx(paid[:, 0].mean())
    assert metrics["payout_sharpe"] == pytest.approx(oracle.sharpe_ratio(pd.Series(paid[:, 0])), abs=1e-9)
    assert metrics["payout_drawdown"] == pytest.approx(drawdown, abs=1e-9)
    assert metrics["payout_over_benchmark"] == pytest.approx((paid[:, 0] - paid[:, 1]).mean())
    halves = [(paid[part, 0] - paid[part, 1]).mean() for part in (slice(0, 6), slice(6, 12))]
    assert metrics["payout_lead"] == pytest.approx(min(halves))


@given(arrays(float, (10, 3), elements=SCORES), arrays(float, 10, elements=SCORES))
def test_a_higher_payout_has_to_be_one_in_each_half(payouts, benchmark) -> None:
    beats = beats_benchmark(payouts, benchmark, Objective.PAYOUT)
    for column, found in zip(payouts.T, beats, strict=True):
        over = column - benchmark
        assert found == (over[:5].mean() > 0 and over[5:].mean() > 0)
        assert found == beats_benchmark(column, benchmark, Objective.PAYOUT)
        assert not found or column.mean() >= benchmark.mean()  # a sum of ten may round a small lead away
    assert not beats_benchmark(benchmark, benchmark, Objective.PAYOUT)


def test_an_era_without_a_payout_beats_nothing_and_one_without_a_benchmark_does_not_count() -> None:
    benchmark = np.array([0.0, 0.1, np.nan, 0.1])
    assert beats_benchmark([0.1, 0.2, -9.0, 0.2], benchmark, Objective.PAYOUT)
    assert not beats_benchmark([0.1, np.nan, 0.2, 0.2], benchmark, Objective.PAYOUT)
    assert not beats_benchmark([0.1], [0.0], Objective.PAYOUT)  # there is no second half
    assert np.isnan(least_lead([0.1], [0.0]))


@pytest.mark.parametrize("objective", Objective)
def test_the_best_checkpoint_is_that_of_the_objective(objective) -> None:
    generator = np.random.default_rng(1)
    corr, bmc = generator.normal(0.01, 0.02, (2, 30, 20))
    scores = Scoring(objective).era_scores(corr, bmc)
    paid = np.clip(3 * corr + 15 * bmc, -1, 1)
    expected = {
        Objective.PAYOUT: paid.mean(axis=0),
        Objective.PAYOUT_SHARPE: paid.mean(axis=0) / paid.std(axis=0),
        Objective.SHARPE: corr.mean(axis=0) / corr.std(axis=0),
        Objective.CORR: corr.mean(axis=0),
        Objective.BMC: bmc.mean(axis=0),
    }[objective]
    np.testing.assert_allclose(objective.summary(scores), expected)
    assert best_checkpoint(scores, objective) == int(np.argmax(expected))
