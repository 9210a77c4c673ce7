"""A registered model as it is used: what it needs of live data, and its predictions."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pandas as pd


@dataclass(frozen=True, eq=False)
class RegisteredModel:
    """A version of a registered model, fetched and loaded.

    Attributes
    ----------
    name, version : str
        In MLflow's model registry.
    run_id, experiment_id : str
        The ensemble's run it was made from.
    data : str
        The experiment's ``data``: a version of Numerai's data such as ``v5.3``, or what else it was mined on.
    features : tuple of str
        Feature columns it needs.
    nullable_features : tuple of str
        Those of them that were NaN somewhere in training; NaN in another one is a fault of the data.
    benchmark_columns : tuple of str
        Columns of Numerai's live benchmark predictions it needs; empty if none.
    predict_file : Path
        A local copy of ``predict.pkl``.
    predict : callable
        Takes a frame indexed by ``id`` with the features, ``era`` where it has several, and the benchmark columns;
        returns a frame with the column ``prediction`` in (0, 1), with the same index.
    """

    name: str
    version: str
    run_id: str
    experiment_id: str
    data: str
    features: tuple[str, ...]
    nullable_features: tuple[str, ...]
    benchmark_columns: tuple[str, ...]
    predict_file: Path
    predict: Callable[[pd.DataFrame], pd.DataFrame]
