"""What parquet files say of their features without being read, or with as little reading as it takes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from signal_miner.data.parquet_rows import open_parquet


def largest_level_count(paths: Sequence[Path], features: Sequence[str]) -> int | None:
    """Return how many values an integer feature takes at most; None if the statistics do not say."""
    low, high = np.inf, -np.inf
    for path in paths:
        with open_parquet(path) as file:
            metadata, schema = file.metadata, file.schema_arrow  # made anew at each asking
            if not all(pa.types.is_integer(schema.field(name).type) for name in features):
                return None
            places = [schema.get_field_index(name) for name in features]
            for group in range(metadata.num_row_groups):
                for place in places:
                    statistics = metadata.row_group(group).column(place).statistics
                    if statistics is None or not statistics.has_min_max:
                        return None
                    low, high = min(low, statistics.min), max(high, statistics.max)
    return int(high - low + 1)


def nullable_features(paths: Sequence[Path], features: Sequence[str]) -> tuple[str, ...]:
    """Return the features that are missing or NaN in some row, in the order given.

    Whole numbers are judged by the statistics where there are some; only fractions, whose NaN statistics do not
    count, are read.
    """
    found = set()
    for path in paths:
        with open_parquet(path) as file:
            metadata, schema = file.metadata, file.schema_arrow  # made anew at each asking
            for name in features:
                count = _null_count(metadata, schema.get_field_index(name))
                fraction = pa.types.is_floating(schema.field(name).type)
                if count or ((count is None or fraction) and _has_nan(file, name)):
                    found.add(name)
    return tuple(name for name in features if name in found)


def _null_count(metadata: pq.FileMetaData, place: int) -> int | None:
    """Return how many values of a column the statistics call missing; None where they do not say."""
    total = 0
    for group in range(metadata.num_row_groups):
        statistics = metadata.row_group(group).column(place).statistics
        if statistics is None or not statistics.has_null_count:
            return None
        total += int(statistics.null_count)
    return total


def _has_nan(file: pq.ParquetFile, name: str) -> bool:
    column = file.read(columns=[name]).column(name)
    return bool(pc.any(pc.is_null(column, nan_is_null=True)).as_py())
