"""Rows of the dataset as live data come: features and eras by id, and Numerai's benchmark predictions beside them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from signal_miner.experiment.plan import Plan


def last_eras(plan: Plan, benchmark_column: str | None, count: int) -> pd.DataFrame:
    """Return the last eras of the last fold.

    Parameters
    ----------
    plan : Plan
    benchmark_column : str or None
        Of Numerai's benchmark predictions, to be put beside the features.
    count : int
        Eras.

    Returns
    -------
    pandas.DataFrame
        Index ``id``; ``era``, the features as stored, and the benchmark column.
    """
    return _rows(plan, benchmark_column, plan.scored_folds[-1].validation_eras[-count:])


def live_like(plan: Plan, benchmark_column: str | None) -> pd.DataFrame:
    """Return the newest resolved era, as `last_eras` does."""
    return _rows(plan, benchmark_column, [int(plan.dataset.eras[-1])])


def _rows(plan: Plan, benchmark_column: str | None, eras: Sequence[int]) -> pd.DataFrame:
    dataset = plan.dataset
    span = dataset.span_of(eras)
    frame = dataset.read_features(dataset.features, span).to_pandas()
    labels = [dataset.era_labels[int(era)] for era in np.unique(dataset.eras[span])]
    places = np.searchsorted(np.unique(dataset.eras[span]), dataset.eras[span])
    columns = {"era": np.array(labels, dtype=object)[places]}
    if benchmark_column:
        columns[benchmark_column] = dataset.read_benchmarks([benchmark_column], span)[benchmark_column]
    ids = pd.Index(dataset.read_ids(span).to_pylist(), name="id")
    added = pd.DataFrame(columns, index=ids)
    rows: pd.DataFrame = pd.concat([added[["era"]], frame.set_index(ids), added.drop(columns="era")], axis=1)
    return rows
