"""Finished trials that wait on disk while the tracking store does not answer."""

from __future__ import annotations

import math

import pytest

from signal_miner.engine.metrics import RunMetrics
from signal_miner.errors import UserError
from signal_miner.mining.waiting import WaitingTrials
from signal_miner.scoring.objective import DEFAULT_SCORING as SCORING


def test_a_trial_waits_whole_and_in_order(tmp_path):
    waiting = WaitingTrials(tmp_path / "waiting", SCORING)
    assert len(waiting) == 0
    assert list(waiting) == []
    artifacts = tmp_path / "artifacts"
    artifacts.mkdir()
    (artifacts / "predictions.parquet").write_bytes(b"\0\1")
    curve = (0.1 + 0.2, math.nan, -0.0)
    metrics = RunMetrics(
        {"validation/sharpe": 1 / 3}, {"validation": True}, {"validation/corr_curve": curve}, (5, 10, 15)
    )
    params = {"learning_rate": 0.1 + 0.2, "max_depth": 3, "target": "target"}
    waiting.add(10, params, None, "out of memory", 2.5, None)
    waiting.add(9, params, metrics, "", 1 / 7, artifacts)
    (tmp_path / "waiting" / "11.part").mkdir()  # of a process that was killed as it wrote
    first, second = waiting
    assert (first.number, first.params, first.started) == (9, params, 1 / 7)
    assert first.metrics.values == metrics.values
    assert first.metrics.checkpoints == metrics.checkpoints
    assert first.metrics.scoring == SCORING
    assert str(first.metrics.curves) == str(metrics.curves)
    assert (first.artifacts / "predictions.parquet").read_bytes() == b"\0\1"
    assert (second.number, second.metrics, second.error) == (10, None, "out of memory")
    waiting.remove(first)
    assert [trial.number for trial in WaitingTrials(tmp_path / "waiting", SCORING)] == [10]


def test_a_disk_that_does_not_take_a_trial_ends_the_mining_in_one_line(tmp_path):
    (tmp_path / "waiting").write_text("a file in the way")
    with pytest.raises(UserError, match=r"cannot be kept in .*waiting until the tracking store answers"):
        WaitingTrials(tmp_path / "waiting", SCORING).add(1, {}, None, "", 0.0, None)
