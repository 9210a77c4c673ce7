"""What a version is expected to pay: test alone where it is long, else validation, too, less what choosing added."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from signal_miner.ensemble.expectation import Candidates, OwnScores, expected_of_ensemble
from signal_miner.ensemble.maker import expected_metrics
from signal_miner.ensemble.options import SelectionRule
from signal_miner.models.expectation import FEWEST_ERAS, ExpectedScores
from signal_miner.scoring.objective import Objective, Scoring
from signal_miner.scoring.payout import DEFAULT_PAYOUT, Payout
from signal_miner.scoring.series import sharpe

SCORING = Scoring(Objective.PAYOUT)
WIDE = Payout(2 * DEFAULT_PAYOUT.corr, 2 * DEFAULT_PAYOUT.mmc, 10.0)


def chosen(seed: int, tested: int) -> tuple[pd.DataFrame, dict[str, float], float]:
    """The two best of 30 equal models by 60 eras of validation: its era scores, metrics, and expected payout."""
    rng = np.random.default_rng(seed)
    drawn = 0.01 + 0.02 * (0.5 * rng.standard_normal((60 + tested, 1)) + rng.standard_normal((60 + tested, 30)))
    corr, bmc = drawn, drawn / 4
    best = np.argsort(-SCORING.era_scores(corr[:60], bmc[:60]).mean(axis=0))[:2]
    own = OwnScores(*[(each[:60, best].mean(axis=1), each[60:, best].mean(axis=1)) for each in (corr, bmc)])
    rule = SelectionRule(select="top", members=2, metric="payout")
    expected = expected_of_ensemble(rule, Candidates(corr[:60], bmc[:60]), own, SCORING, 0)
    validation = SCORING.era_scores(own.corr[0], own.bmc[0], Objective.PAYOUT)
    metrics = {"validation/payout": validation.mean(), "validation/payout_sharpe": float(sharpe(validation))}
    frame = pd.DataFrame(
        {
            "era": [f"{number:04d}" for number in range(60 + tested)],
            "fold": np.repeat([1, 2], [60, tested]),
            "corr": np.concatenate(own.corr),
            "bmc": np.concatenate(own.bmc),
        }
    )
    return frame, metrics | expected_metrics(expected), expected[1].value


def test_where_test_is_short_validation_counts_less_what_choosing_added(tmp_path):
    frame, metrics, expected = chosen(1, tested=10)
    scores = ExpectedScores.of_run(frame, metrics)
    assert scores.by_choosing > 0
    found = scores.expected(SCORING.payout)
    assert found.mean == pytest.approx(expected)
    assert found.mean < SCORING.payout.of(frame["corr"], frame["bmc"]).mean()
    assert found.centred.mean() == pytest.approx(expected)
    assert (found.section, found.eras) == ("validation and test", 70)
    assert scores.expected(WIDE).mean == pytest.approx(2 * expected)
    scores.write(tmp_path / "scores.parquet")
    assert ExpectedScores.read(tmp_path / "scores.parquet").expected(SCORING.payout).mean == pytest.approx(expected)


def test_a_long_test_needs_no_correction():
    frame, metrics, _ = chosen(2, tested=FEWEST_ERAS)
    found = ExpectedScores.of_run(frame, metrics).expected(SCORING.payout)
    assert found.mean == pytest.approx(SCORING.payout.of(frame["corr"], frame["bmc"])[60:].mean())
    assert (found.section, found.eras) == ("test", FEWEST_ERAS)


def test_the_correction_takes_most_of_the_bias_away():
    truth = SCORING.payout.of(0.01, 0.0025)
    corrected, raw = [], []
    for seed in range(20):
        frame, metrics, _ = chosen(seed, tested=4)
        for by, found in ((metrics, corrected), ({}, raw)):
            found.append(ExpectedScores.of_run(frame, by).expected(SCORING.payout).mean - truth)
    assert abs(np.mean(corrected)) < np.mean(raw) / 2


def test_files_and_runs_made_before_have_no_correction(tmp_path):
    frame, metrics, _ = chosen(3, tested=10)
    plain = SCORING.payout.of(frame["corr"], frame["bmc"]).mean()
    without = {name: value for name, value in metrics.items() if not name.startswith("expected/")}
    assert ExpectedScores.of_run(frame, without).expected(SCORING.payout).mean == pytest.approx(plain)
    path = tmp_path / "scores.parquet"
    ExpectedScores.of_run(frame, metrics).write(path)
    pd.read_parquet(path).drop(columns="by_choosing").to_parquet(path)
    assert ExpectedScores.read(path).expected(SCORING.payout).mean == pytest.approx(plain)
