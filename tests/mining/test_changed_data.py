"""A study is not resumed on data whose values changed in place, though their files look the same."""

from __future__ import annotations

import pandas as pd

from signal_miner.data.dataset import open_dataset
from tests.conftest import write_numerai_directory
from tests.helpers.mining import mine_here, runs_of, write_experiment


def test_a_study_is_resumed_on_the_values_that_it_was_mined_on(tmp_path):
    data = write_numerai_directory(tmp_path / "numerai")
    write_experiment(tmp_path, data, trials=2)
    assert mine_here(tmp_path).returncode == 0
    digest = open_dataset(data, "small", "target").digest
    frame = pd.read_parquet(data / "train.parquet")
    whole = (data / "train.parquet").read_bytes()
    frame.loc[frame.index[5], "feature_01"] = (frame["feature_01"].iloc[5] + 1) % 5
    frame.to_parquet(data / "train.parquet")
    assert open_dataset(data, "small", "target").digest == digest  # the change shows in no footer
    before = {run.info.run_id: run.data.tags for run in runs_of(tmp_path, "study")}
    refused = mine_here(tmp_path, "--trials", "3")
    assert refused.returncode == 2
    assert "hold other values than those that study tiny-" in refused.stderr
    assert "bring those back, or mine these with" in refused.stderr
    assert {run.info.run_id: run.data.tags for run in runs_of(tmp_path, "study")} == before
    assert mine_here(tmp_path, "--trials", "2", "--name", "other").returncode == 0
    (data / "train.parquet").write_bytes(whole)
    assert mine_here(tmp_path, "--trials", "3").returncode == 0
    assert len(runs_of(tmp_path)) == 3 + 2
