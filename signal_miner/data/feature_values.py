"""Which values features have: a few levels each, as Numerai's have, or any value of a range."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from signal_miner.data.parquet_rows import open_parquet

MOST_LEVELS = 64
"""A feature of more distinct values is continuous: only its range is kept."""


@dataclass(frozen=True)
class FeatureValues:
    """The finite values of a feature, in float32 as boosters see them.

    Attributes
    ----------
    levels : tuple of float
        Ascending; empty for a continuous feature.
    low, high : float
        The range; NaN where no value is known.
    """

    levels: tuple[float, ...]
    low: float
    high: float


def feature_values(paths: Sequence[Path], features: Sequence[str]) -> tuple[FeatureValues, ...]:
    """Return what values each feature has in the files.

    Integers within a range of `MOST_LEVELS` count as having every value of it: that range is in the files' statistics,
    and nothing is read. All other columns are read.
    """
    levels: dict[str, set[float]] = {name: set() for name in features}
    ranges = dict.fromkeys(features, (np.inf, -np.inf))
    for path in paths:
        with open_parquet(path) as file:
            metadata, schema = file.metadata, file.schema_arrow  # both are rebuilt at each access
            for name in features:
                known = None
                if pa.types.is_integer(schema.field(name).type):
                    known = _integer_levels(metadata, schema.get_field_index(name))
                found = _read_levels(file, name) if known is None else known
                levels[name] |= found
                if found:
                    low, high = ranges[name]
                    ranges[name] = min(low, *found), max(high, *found)
    return tuple(_values(levels[name], *ranges[name]) for name in features)


def _values(levels: set[float], low: float, high: float) -> FeatureValues:
    if not levels:
        return FeatureValues((), float("nan"), float("nan"))
    return FeatureValues(tuple(sorted(levels)) if len(levels) <= MOST_LEVELS else (), float(low), float(high))


def _integer_levels(metadata: pq.FileMetaData, index: int) -> set[float] | None:
    """Return every integer of a column's range by the statistics; None if they do not say, or the range is large."""
    low, high = np.inf, -np.inf
    for group in range(metadata.num_row_groups):
        statistics = metadata.row_group(group).column(index).statistics
        if statistics is None or not statistics.has_min_max:
            return None
        low, high = min(low, statistics.min), max(high, statistics.max)
    if not high - low < MOST_LEVELS:
        return None
    return {float(value) for value in range(int(low), int(high) + 1)}


def _read_levels(file: pq.ParquetFile, name: str) -> set[float]:
    """Return a column's finite values; where there are many, some of them, with the smallest and the largest."""
    found: set[float] = set()
    for group in range(file.num_row_groups):
        column = file.read_row_group(group, columns=[name]).column(name).cast(pa.float32(), safe=False)
        distinct = np.asarray(pc.unique(column.drop_null()), dtype=np.float32)
        distinct = distinct[np.isfinite(distinct)]
        if len(distinct):
            found |= set(distinct[: MOST_LEVELS + 1].tolist()) | {float(distinct.min()), float(distinct.max())}
    return found
