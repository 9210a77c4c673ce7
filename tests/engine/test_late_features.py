"""Features that did not exist in early eras are all 2s there: read in column groups, they are predicted the same."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from signal_miner.data.dataset import Dataset, open_dataset
from signal_miner.data.folds import WalkForward
from signal_miner.engine.binning import BinnedFolds
from tests.helpers.training import plain_predictions, train

ERAS, ROWS, FEATURES = 40, 60, 16
PARAMS = {"n_estimators": 12, "learning_rate": 0.2, "num_leaves": 8, "min_child_samples": 5, "target": "target"}


def late_dataset(directory: Path, born: tuple[int, ...]) -> Dataset:
    """Write data in which each feature exists from an era on, and open them."""
    directory.mkdir()
    generator = np.random.default_rng(0)
    eras = np.repeat(np.arange(1, ERAS + 1), ROWS)
    values = generator.integers(0, 5, (len(eras), FEATURES)).astype(np.int8)
    score = (values - 2) @ generator.normal(size=FEATURES) + generator.normal(0, 3, len(eras))
    values[eras[:, None] < np.array(born)] = 2
    names = [f"feature_{number:02d}" for number in range(FEATURES)]
    frame = pd.DataFrame(values, columns=names, index=pd.Index([f"n{row:07d}" for row in range(len(eras))], name="id"))
    frame["target"] = (np.argsort(np.argsort(score)) * 5 // len(score) / 4).astype(np.float32)
    frame["target_ender_20"] = frame["target"]
    frame.insert(0, "era", [f"{era:04d}" for era in eras])
    for name, rows in (("train", eras <= ERAS // 2), ("validation", eras > ERAS // 2)):
        frame[rows].assign(data_type=name).to_parquet(directory / f"{name}.parquet")
    sets = {"feature_sets": {"all": names}, "targets": ["target", "target_ender_20"]}
    (directory / "features.json").write_text(json.dumps(sets))
    return open_dataset(directory, "all", "target", ["target"])


@pytest.mark.parametrize("max_bin", [5, 3, 255])
@settings(max_examples=8)
@given(born=st.lists(st.sampled_from([1, 8, 11]), min_size=FEATURES, max_size=FEATURES))
def test_validation_predictions_are_those_of_the_plain_way(tmp_path_factory, max_bin: int, born: list[int]) -> None:
    dataset = late_dataset(tmp_path_factory.mktemp("late") / "data", tuple(born))
    fold = WalkForward(2, 4).folds(dataset.eras)[0]
    params = PARAMS | {"max_bin": max_bin}
    column = ERAS * ROWS * 30
    for groups in (2, 4, FEATURES):
        binned = BinnedFolds(dataset, ("target",), 0, group_bytes=column * FEATURES // groups)
        ours = train(binned, fold, params, 0)[:, -1]
        model, unseen = plain_predictions(dataset, fold, params, 0)
        np.testing.assert_allclose(ours, model.predict(unseen), atol=1e-6)
