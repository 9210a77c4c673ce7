"""Features of Numerai's files: the sets of ``features.json``, and what footers say of their values."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from signal_miner.data.parquet_rows import open_parquet
from signal_miner.errors import UserError, did_you_mean
from signal_miner.utils.files import file_exists
from signal_miner.utils.redaction import reason_of, reason_of_system
from signal_miner.utils.validation import parsed_json, shown


def features_of(source: Path, feature_set: str, names: Sequence[str]) -> tuple[str, ...]:
    """Return the columns of a feature set.

    Parameters
    ----------
    source : Path
        Data directory, or a single file.
    feature_set : str
        Key of ``feature_sets`` in ``features.json``; ``all`` where there is no such file or key.
    names : sequence of str
        Columns of the data.

    Raises
    ------
    UserError
        If there is no such set, or the data lack one of its features.
    """
    file = source / "features.json"
    sets = _feature_sets(file) if source.is_dir() and file_exists(file) else None
    if feature_set == "all" and (sets is None or "all" not in sets):
        features = tuple(name for name in names if name.startswith("feature"))
        if not features:
            raise UserError(f"{source} has no column whose name starts with 'feature'; name the features so")
        return features
    if sets is None:
        raise UserError(f'feature_set = {feature_set!r} needs a features.json, and {source} has none; use "all"')
    if feature_set not in sets:
        raise UserError(f"feature_set = {feature_set!r} is not in {file}{did_you_mean(feature_set, sets)}")
    listed = sets[feature_set]
    if not isinstance(listed, list) or not listed or not all(isinstance(name, str) for name in listed):
        raise UserError(f"feature_set = {feature_set!r} in {file} is not a list of features; name another")
    foreign = next((name for name in listed if not name.startswith("feature")), None)
    if foreign is not None:
        raise UserError(f"feature_set = {feature_set!r} in {file} holds {foreign!r}, which is not a feature; remove it")
    twice = next((name for name, count in Counter(listed).items() if count > 1), None)
    if twice is not None:
        raise UserError(f"feature_set = {feature_set!r} in {file} lists {shown(twice)} twice; list each once")
    known = set(names)
    missing = [name for name in listed if name not in known]
    if missing:
        raise UserError(
            f"{len(missing)} features of set {feature_set!r} are not in train.parquet, such as {missing[0]!r}; "
            "download features.json and train.parquet of one version"
        )
    return tuple(listed)


def _feature_sets(file: Path) -> dict[str, Any]:
    try:
        sets = parsed_json(file.read_text(encoding="utf-8-sig"))["feature_sets"]
    except OSError as error:
        raise UserError(f"{file} cannot be read ({reason_of_system(error)}); permit it") from error
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(f"{file} is not Numerai's features.json ({reason_of(error)}); download it again") from error
    if not isinstance(sets, dict):
        raise UserError(f"{file} is not Numerai's features.json (feature_sets is no table); download it again")
    return sets


def largest_level_count(paths: Sequence[Path], features: Sequence[str]) -> int | None:
    """Return the largest number of values of an integer feature; None if the statistics do not say."""
    low, high = np.inf, -np.inf
    for path in paths:
        with open_parquet(path) as file:
            metadata, schema = file.metadata, file.schema_arrow  # both are rebuilt at each access
            if not all(pa.types.is_integer(schema.field(name).type) for name in features):
                return None
            indices = [schema.get_field_index(name) for name in features]
            for group in range(metadata.num_row_groups):
                for index in indices:
                    statistics = metadata.row_group(group).column(index).statistics
                    if statistics is None or not statistics.has_min_max:
                        return None
                    low, high = min(low, statistics.min), max(high, statistics.max)
    return int(high - low + 1)


def nullable_features(paths: Sequence[Path], features: Sequence[str]) -> tuple[str, ...]:
    """Return the features that are missing or NaN in some row, in the order given.

    Parquet's statistics count missing values but not NaN: only floating features, and those without statistics, are
    read.
    """
    found = set()
    for path in paths:
        with open_parquet(path) as file:
            metadata, schema = file.metadata, file.schema_arrow  # both are rebuilt at each access
            for name in features:
                count = _null_count(metadata, schema.get_field_index(name))
                fraction = pa.types.is_floating(schema.field(name).type)
                if count or ((count is None or fraction) and _has_nan(file, name)):
                    found.add(name)
    return tuple(name for name in features if name in found)


def _null_count(metadata: pq.FileMetaData, index: int) -> int | None:
    """Return the column's missing values by the statistics; None if they do not say."""
    total = 0
    for group in range(metadata.num_row_groups):
        statistics = metadata.row_group(group).column(index).statistics
        if statistics is None or not statistics.has_null_count:
            return None
        total += int(statistics.null_count)
    return total


def _has_nan(file: pq.ParquetFile, name: str) -> bool:
    column = file.read(columns=[name]).column(name)
    return bool(pc.any(pc.is_null(column, nan_is_null=True)).as_py())
