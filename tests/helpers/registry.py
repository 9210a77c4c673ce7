"""A small ensemble to register, and live-like rows."""

from __future__ import annotations

import functools
from dataclasses import replace
from pathlib import Path
from typing import Any

import lightgbm as lgb
import numpy as np
import pandas as pd
from mlflow import MlflowClient
from mlflow.entities import Metric

from signal_miner.data.feature_values import FeatureValues
from signal_miner.ensemble.members import Neutralization
from signal_miner.models.portable import PortableModel, write_predict
from signal_miner.models.registry.package import ModelNeeds, ModelRecord

FEATURES = tuple(f"feature_{number:02d}" for number in range(6))
NULLABLE = FEATURES[3]
BENCHMARK = "v53_lgbm_ender60"


@functools.cache
def boosters(count: int = 2) -> tuple[str, ...]:
    """Train members on data with NaN in one feature."""
    frame = live(400, seed=9, dtype="float32")
    frame.loc[frame.index[::5], NULLABLE] = np.nan
    generator = np.random.default_rng(0)
    texts = []
    for member in range(count):
        target = frame[FEATURES[member]] - frame[FEATURES[4]] + generator.normal(0, 1, len(frame))
        settings = {"objective": "regression", "num_leaves": 4, "num_threads": 1, "verbosity": -1}
        booster = lgb.train(settings, lgb.Dataset(frame[list(FEATURES)], target), num_boost_round=8)
        texts.append(booster.model_to_string())
    return tuple(texts)


def write_model(path: Path, benchmark: str | None, values: tuple[FeatureValues, ...] = ()) -> None:
    """Write predict.pkl."""
    neutralization = Neutralization(benchmark, 0.5) if benchmark else None
    write_predict(PortableModel(FEATURES, boosters(), (0.5, 0.5), neutralization, None, (NULLABLE,), values), path)


def live(rows: int = 60, eras: int = 2, dtype: str = "int8", seed: int = 0) -> pd.DataFrame:
    """Return live-like rows with the benchmark's column."""
    generator = np.random.default_rng(seed)
    frame = pd.DataFrame(generator.integers(0, 5, (rows, len(FEATURES))).astype(dtype), columns=list(FEATURES))
    frame.insert(0, "era", [f"{1200 + row % eras:04d}" for row in range(rows)])
    frame[BENCHMARK] = generator.random(rows)
    frame.index = pd.Index([f"n{seed:03d}{row:012x}" for row in range(rows)], name="id")
    return frame


def make_record(
    directory: Path,
    tracking_uri: str,
    benchmark: str | None = None,
    data: str = "v5.3",
    values: tuple[FeatureValues, ...] = (),
    **changes: Any,
) -> ModelRecord:
    """Return a record whose run has its metrics and parameters."""
    directory.mkdir(parents=True, exist_ok=True)
    client = MlflowClient(tracking_uri)
    experiment = client.get_experiment_by_name("tiny")
    experiment_id = experiment.experiment_id if experiment else client.create_experiment("tiny")
    run_id = client.create_run(experiment_id, run_name="ensemble").info.run_id
    metrics = {"validation/sharpe": 1.25, "test/corr": 0.021}
    client.log_batch(run_id, metrics=[Metric(name, value, 1_700_000_000_000, 0) for name, value in metrics.items()])
    client.set_terminated(run_id)
    write_model(directory / "predict.bin", benchmark, values)
    for name in ("experiment.toml", "ensemble.json", "plan.json"):
        (directory / name).write_text(f'"{name}"')
    record = ModelRecord(
        name="signal-miner",
        run_id=run_id,
        needs=ModelNeeds(
            data=data,
            experiment_id=experiment_id,
            features=FEATURES,
            nullable_features=(NULLABLE,),
            benchmark_columns=(benchmark,) if benchmark else (),
        ),
        predict_file=directory / "predict.bin",
        example=live(4),
        files={name: directory / name for name in ("experiment.toml", "ensemble.json", "plan.json")},
        params={"weights": "equal", "members": "3"},
        metrics=metrics,
        tags={"beats_benchmark.validation": "true"},
        description="**Three** members",
    )
    return replace(record, **changes)


def predict_pkl(record: ModelRecord, frame: pd.DataFrame) -> pd.DataFrame:
    """Predict as Numerai's runner does."""
    predicted = pd.read_pickle(record.predict_file)(frame, frame[[BENCHMARK]])
    assert isinstance(predicted, pd.DataFrame)
    return predicted
