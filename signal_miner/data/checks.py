"""Data that cannot be trained on or scored honestly, refused in one line when they are opened or read."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from signal_miner.data.parquet_rows import ParquetRows, open_parquet
from signal_miner.data.resolved_rows import SharedEra
from signal_miner.errors import UserError, did_you_mean
from signal_miner.utils.validation import shown

LARGEST_EXACT = 2**53
"""LightGBM reads features as doubles, which hold every integer up to this."""

_COMPARED_FEATURES = 20
_FEWEST_ROWS = 5

_JSON_CHARACTERS = ',:"[]{}'  # LightGBM's models are text in which these have a meaning


def id_column_of(names: Sequence[str]) -> str | None:
    """Return the column of ids: ``id``, or the index of a table written without a name for it; None if none is."""
    return next((name for name in ("id", "__index_level_0__", "index") if name in names), None)


def check_columns(
    paths: Sequence[Path],
    features: Sequence[str],
    targets: Sequence[str],
    id_column: str | None,
    trained_on: Sequence[str],
) -> None:
    """Refuse files that lack a column or have it twice or in another type, and values that cannot be trained on."""
    first = open_parquet(paths[0]).schema_arrow
    for path in paths:
        schema = open_parquet(path).schema_arrow
        held = check_unique(path, schema.names)
        if "era" not in held:
            raise UserError(f"{path} has no column 'era'{did_you_mean('era', schema.names)}")
        for name in (*features, *targets, *([id_column] if id_column else [])):
            if name not in held:
                raise UserError(f"{path} lacks the column {shown(name)} of train.parquet; download both of one version")
        if id_column is None and (own := id_column_of(schema.names)):
            raise UserError(f"{paths[0]} lacks the column {own!r} of {path.name}; write both the same")
        for name in (*features, *targets):
            kind = schema.field(name).type
            if not (pa.types.is_integer(kind) or pa.types.is_floating(kind)):
                raise UserError(f"{path}: column {shown(name)} is {shown(kind)}, not a number; convert it")
            if name.startswith("feature") and kind != first.field(name).type:
                raise UserError(
                    f"{path}: column {shown(name)} is {kind}, in train.parquet {first.field(name).type}; write both "
                    "the same"
                )
        for label in ("era", "data_type", *([id_column] if id_column else [])):
            if label in held:
                _check_labels(path, label, schema.field(label).type)
        if id_column and schema.field(id_column).type != first.field(id_column).type:
            kinds = [_plain_type(each.field(id_column).type) for each in (schema, first)]
            if kinds[0] != kinds[1]:
                raise UserError(
                    f"{path}: column {id_column!r} is {kinds[0]}, in train.parquet {kinds[1]}; write both as text"
                )
        _check_statistics(path, schema, (*features, *trained_on))
    _check_names(paths[0], features)


def check_unique(path: Path, names: Sequence[str]) -> frozenset[str]:
    """Return the columns of a file; raise a UserError if it has one twice."""
    held = frozenset(names)
    if len(held) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise UserError(f"{path} has the column {shown(twice)} twice; keep one")
    return held


def check_ids(ids: pa.ChunkedArray, paths: Sequence[Path]) -> None:
    """Refuse missing ids and ids that occur twice: rows that are in two files would count twice."""
    files = " and ".join(map(str, paths))
    if ids.null_count:
        raise UserError(f"{ids.null_count} rows of {files} have no id; fill or drop them")
    counts = pc.value_counts(ids.cast(pa.string()))
    twice = counts.filter(pc.greater(counts.field("counts"), 1))
    if len(twice):
        raise UserError(
            f"id {shown(twice.field('values')[0].as_py())} occurs twice in {files} ({len(twice)} such ids); "
            "keep one row of each id"
        )


def check_shared_era(paths: Sequence[Path], shared: SharedEra, features: Sequence[str], *, by_id: bool) -> None:
    """Refuse an era in two files if its rows have no ids, or have the same features under other ids.

    A few features are compared.
    """
    what = f"era {shared.label} is in {paths[0]} and in {paths[1].name}"
    if not by_id:
        raise UserError(
            f"{what}, and without ids its rows may count twice; keep it in one of them, or add a column 'id'"
        )
    compared = list(features[:_COMPARED_FEATURES])
    found = []
    for path, rows in zip(paths, shared.rows, strict=True):
        columns = ParquetRows((path,), rows).read(compared).columns
        values = np.column_stack([column.cast(pa.float64(), safe=False).to_numpy() for column in columns])
        found.append(values[np.lexsort(values.T)])
    # Where most rows are different, it is no coincidence that two files have the same ones.
    telling = len(found[0]) >= _FEWEST_ROWS and 2 * len(np.unique(found[0], axis=0)) > len(found[0])
    if telling and np.array_equal(found[0], found[1], equal_nan=True):
        raise UserError(f"{what} with the same features under other ids; keep its rows in one of them")


def check_values(table: pa.Table, source: str) -> None:
    """Refuse values that LightGBM would bin without a warning: infinite ones, and integers that a double rounds."""
    for field, column in zip(table.schema, table.columns, strict=True):
        if pa.types.is_floating(field.type):
            if pc.any(pc.is_inf(column.cast(pa.float32()) if field.type == pa.float16() else column)).as_py():
                raise UserError(_infinite(source, field.name))
        elif field.type.bit_width == 64:
            extremes = pc.min_max(column).as_py()
            if not _exact(extremes["min"], extremes["max"]):
                raise UserError(_inexact(source, field.name))


def _check_statistics(path: Path, schema: pa.Schema, columns: Sequence[str]) -> None:
    """Refuse by a file's statistics what `check_values` refuses, before anything is trained."""
    metadata = open_parquet(path).metadata
    for name in columns:
        kind = schema.field(name).type
        if pa.types.is_integer(kind) and kind.bit_width < 64:
            continue
        for low, high in _extremes(metadata, schema.get_field_index(name)):
            if pa.types.is_floating(kind) and not (abs(low) < float("inf") and abs(high) < float("inf")):
                raise UserError(_infinite(str(path), name))
            if pa.types.is_integer(kind) and not _exact(low, high):
                raise UserError(_inexact(str(path), name))


def _extremes(metadata: pq.FileMetaData, index: int) -> list[tuple[float, float]]:
    """Return the least and largest value of a column by row group, where the statistics say."""
    groups = (metadata.row_group(number).column(index).statistics for number in range(metadata.num_row_groups))
    known = [each for each in groups if each is not None and each.has_min_max]
    return [(each.min, each.max) for each in known if isinstance(each.min, int | float) and each.min == each.min]


def _exact(low: float | None, high: float | None) -> bool:
    return low is None or high is None or -LARGEST_EXACT <= low <= high <= LARGEST_EXACT


def _infinite(source: str, name: str) -> str:
    return f"{source}: {shown(name)} holds infinite values; correct them, or leave them empty"


def _inexact(source: str, name: str) -> str:
    return f"{source}: {shown(name)} holds integers beyond 2^53, which LightGBM rounds; scale or rank them"


def _check_names(path: Path, features: Sequence[str]) -> None:
    """Refuse names that LightGBM does not accept."""
    for name in features:
        odd = next((character for character in name if character in _JSON_CHARACTERS), None)
        if odd is not None:
            raise UserError(f"{path}: feature {shown(name)} has {odd!r} in its name, which LightGBM refuses; rename it")
    plain = [name.replace(" ", "_") for name in features]
    if len(set(plain)) < len(plain):
        place = next(place for place, name in enumerate(plain) if name in plain[:place])
        first, second = features[plain.index(plain[place])], features[place]
        raise UserError(
            f"{path}: features {shown(first)} and {shown(second)} are one to LightGBM, which writes '_' for blanks; "
            "rename or drop one"
        )


def _check_labels(path: Path, name: str, kind: pa.DataType) -> None:
    """Refuse labels that are neither text nor numbers nor dates, such as lists."""
    plain = _plain_type(kind)
    read = plain == pa.string() or pa.types.is_primitive(plain) or pa.types.is_null(plain)
    if not read or pa.types.is_float16(plain):
        raise UserError(f"{path}: column {name!r} is {shown(kind)}, not text; convert it")


def _plain_type(kind: pa.DataType) -> pa.DataType:
    """Return a label's type, as text where it is written as text in any way."""
    kind = kind.value_type if pa.types.is_dictionary(kind) else kind
    texts = pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind)
    return pa.string() if texts else kind
