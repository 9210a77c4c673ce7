"""Helpers for the tests of ``predict.pkl``: a synthetic market, boosters trained on it, and models built from them."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import lightgbm as lgb
import numpy as np
import pandas as pd

from signal_miner.ensemble.members import FEATURES, OWN_BENCHMARK, Neutralization
from signal_miner.models.portable import PortableModel, Predict, load_predict, write_predict

NAMES = tuple(f"feature_{number:02d}" for number in range(12))
NULLABLE = (NAMES[3], NAMES[7])
COLUMN = "v53_lgbm_ender60"
EVERY_WAY = (None, FEATURES, OWN_BENCHMARK, COLUMN)


def live_frame(rows: int = 300, eras: int = 1, seed: int = 5) -> pd.DataFrame:
    """Return live-like rows, int8 except for the nullable features, with interleaved eras."""
    generator = np.random.default_rng(seed)
    frame = pd.DataFrame(generator.integers(0, 5, (rows, len(NAMES))).astype(np.int8), columns=list(NAMES))
    for name in NULLABLE:
        frame[name] = frame[name].astype(np.float32).mask(generator.random(rows) < 0.2)
    frame.insert(0, "era", [f"{1000 + era:04d}" for era in generator.integers(0, eras, rows)])
    frame.index = pd.Index([f"n{value:015x}" for value in generator.choice(10**12, rows, replace=False)], name="id")
    return frame


def benchmark_frame(frame: pd.DataFrame, seed: int = 6) -> pd.DataFrame:
    """Return benchmark predictions for the rows, in another order, some NaN, some missing, some for other ids."""
    generator = np.random.default_rng(seed)
    known = frame.index[generator.random(len(frame)) < 0.9].append(pd.Index(["nabsent0", "nabsent1"]))
    order = generator.permutation(len(known))
    values = generator.integers(0, 50, len(known)) / 50
    values[generator.random(len(known)) < 0.1] = np.nan
    return pd.DataFrame({"era": "X", COLUMN: values, "v53_other": 0.5}, pd.Index(known[order], name="id"))


@cache
def booster_text(seed: int, trees: int = 4) -> str:
    """Return the text of a booster trained on the synthetic market; its predictions have ties."""
    frame = live_frame(1500, seed=100 + seed)
    generator = np.random.default_rng(seed)
    weights = generator.normal(0, 1, len(NAMES))
    target = frame[list(NAMES)].fillna(2).to_numpy() @ weights + generator.normal(0, 4, len(frame))
    params = {"num_leaves": 5, "learning_rate": 0.2, "verbosity": -1, "num_threads": 1, "seed": seed}
    return lgb.train(params, lgb.Dataset(frame[list(NAMES)], target), trees).model_to_string()


def portable_model(members: int = 3, to: str | None = None, proportion: float = 0.7, trees: int = 4) -> PortableModel:
    """Return a model with this many members and unequal weights."""
    shares = np.arange(members, 0, -1) / np.arange(1, members + 1).sum()
    return PortableModel(
        features=NAMES,
        boosters=tuple(booster_text(seed, trees) for seed in range(members)),
        weights=tuple(shares.tolist()),
        neutralization=None if to is None else Neutralization(to, proportion),
        benchmark_booster=booster_text(99, trees) if to == OWN_BENCHMARK else None,
        nullable_features=NULLABLE,
    )


def loaded(model: PortableModel, directory: Path) -> Predict:
    """Return the function, written to a file and loaded from it."""
    write_predict(model, directory / "predict.pkl")
    return load_predict(directory / "predict.pkl")
