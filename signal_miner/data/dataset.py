"""Numerai's files as one dataset: eras, targets and their horizons, feature sets, ids, benchmark predictions."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from signal_miner.data.eras import LIVE_ERA, era_number
from signal_miner.data.features import features_of, largest_level_count, nullable_features
from signal_miner.data.parquet_rows import ParquetRows, Rows, footer_digest, open_parquet
from signal_miner.errors import UserError, did_you_mean

BENCHMARK_FILES = ("train_benchmark_models.parquet", "validation_benchmark_models.parquet")
"""Numerai's own predictions, beside ``train.parquet`` and ``validation.parquet``."""

_HORIZON = re.compile(r"_(20|60)$")


@dataclass(frozen=True, eq=False, repr=False)
class Dataset:
    """Resolved rows of Numerai's data, ordered by era. Holds the eras; reads everything else on demand.

    Attributes
    ----------
    digest : str
        16 hexadecimal digits over the files' footers, the rows and the scoring target.
    eras : ndarray of int32, shape (n_rows,)
        Era number of each row, ascending.
    era_labels : mapping of int to str
        Era number to the label in the files.
    features, targets : tuple of str
        The feature set's columns; all targets of the files.
    scoring_target : str
        Eras without a known value of it are left out.
    feature_bytes : int
        Bytes of a stored feature value, the widest of the set.
    benchmark_paths, benchmark_columns : tuple of Path, tuple of str
        Files with Numerai's benchmark predictions, and their columns.
    """

    name: str
    digest: str
    eras: NDArray[np.int32]
    era_labels: Mapping[int, str]
    features: tuple[str, ...]
    targets: tuple[str, ...]
    scoring_target: str
    source: ParquetRows
    id_column: str | None
    feature_bytes: int
    benchmark_paths: tuple[Path, ...]
    benchmark_columns: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.eras)

    def __repr__(self) -> str:
        first, last = (self.era_labels[int(era)] for era in (self.eras[0], self.eras[-1]))
        named = (("feature", self.features), ("target", self.targets))
        columns = ", ".join(f"{len(each)} {name}{'s' * (len(each) != 1)}" for name, each in named)
        eras = f"era {first}" if first == last else f"eras {first}–{last}"
        return f"Dataset({self.name}: {len(self):,} row{'s' * (len(self) != 1)}, {eras}, {columns})"

    def rows_of(self, eras: Sequence[int]) -> Rows:
        """Return the rows of era numbers: a range if the eras are neighbours in these data, else ascending positions.

        Raises a ValueError if there are none, or the data lack one.
        """
        wanted = np.unique(np.asarray(eras))
        starts = np.searchsorted(self.eras, wanted, side="left")
        stops = np.searchsorted(self.eras, wanted, side="right")
        if not len(wanted) or not np.all(stops > starts):
            raise ValueError(f"these eras are not all in {self.name}")
        if np.array_equal(starts[1:], stops[:-1]):
            return slice(int(starts[0]), int(stops[-1]))
        return np.concatenate([np.arange(start, stop) for start, stop in zip(starts, stops, strict=True)])

    def span_of(self, eras: Sequence[int]) -> slice:
        """Return the range of rows of eras; raise a ValueError if they are not neighbours or the data lack one."""
        rows = self.rows_of(eras)
        if isinstance(rows, slice):
            return rows
        raise ValueError("these eras are not neighbours")

    def read_features(self, columns: Sequence[str], rows: Rows) -> pa.Table:
        """Return feature columns, as stored, of some rows; half floats as float32, which LightGBM can read."""
        table = self.source.read(columns, rows)
        halves = [pa.types.is_float16(field.type) for field in table.schema]
        if not any(halves):
            return table
        wider = [pa.float32() if half else field.type for half, field in zip(halves, table.schema, strict=True)]
        return table.cast(pa.schema(list(zip(table.schema.names, wider, strict=True))))

    def read_target(self, name: str, rows: Rows = slice(None)) -> NDArray[np.float32]:
        """Return a target in training precision, NaN where it is not known, shape (n_rows,)."""
        return _floats(self.source.read([name], rows).column(name))

    def read_scoring_target(self, rows: Rows = slice(None)) -> NDArray[np.float64]:
        """Return the scoring target in full precision, NaN where it is not known, shape (n_rows,)."""
        column = self.source.read([self.scoring_target], rows).column(self.scoring_target)
        return np.asarray(column.cast(pa.float64()).to_numpy(), dtype=np.float64)

    def read_ids(self, rows: Rows = slice(None)) -> pa.Array:
        """Return the ids of some rows; ``era_row`` where the files have none."""
        if self.id_column is None:
            positions = np.arange(len(self))[rows]
            return pa.array([f"{self.era_labels[int(self.eras[row])]}_{row}" for row in positions])
        column = self.source.read([self.id_column], rows).column(self.id_column)
        return column.cast(pa.string()).combine_chunks()

    def read_benchmarks(self, names: Sequence[str], rows: Rows) -> dict[str, NDArray[np.float32]]:
        """Return Numerai's benchmark predictions by column, NaN where there is none, of shape (n_rows,)."""
        if not names:
            return {}
        wanted = self.read_ids(rows)
        found = {name: np.full(len(wanted), np.nan, dtype=np.float32) for name in names}
        for path in self.benchmark_paths:
            with open_parquet(path) as file:
                id_column = _id_column(file.schema_arrow.names)
                if id_column is None:
                    raise UserError(f"{path} has no column 'id'; download it again or delete it")
                table = file.read(columns=[id_column, *names])
            places = pc.index_in(wanted, table.column(id_column).cast(pa.string()).combine_chunks())
            places = places.fill_null(-1).to_numpy(zero_copy_only=False)
            for name in names:
                found[name][places >= 0] = _floats(table.column(name))[places[places >= 0]]
        return found

    @cached_property
    def nullable_features(self) -> tuple[str, ...]:
        """Features that are missing or NaN in some row of the files."""
        return nullable_features(self.source.paths, self.features)

    def largest_level_count(self) -> int | None:
        """Return the largest number of values of an integer feature, by the files' statistics; None if not known."""
        return largest_level_count(self.source.paths, self.features)

    def horizon_days(self, target: str, declared: int | None = None) -> int:
        """Return a target's horizon in trading days, 20 or 60.

        It is read from the name (``target_ender_60``), else from a target with the same values whose name has it,
        else it is `declared`, the experiment's ``horizon_days``.

        Raises
        ------
        UserError
            If none of these gives it.
        """
        match = _HORIZON.search(target) or _HORIZON.search(self._twin(target) or "")
        if match:
            return int(match.group(1))
        if declared is not None:
            return declared
        raise UserError(
            f"the horizon of {target!r} in {self.name} is not known: it equals no target whose name ends in "
            "_20 or _60; set horizon_days=20 (or 60), and embargo_eras=1 if eras are a month apart"
        )

    def _twin(self, target: str) -> str | None:
        """Return a target of the same values whose name has a horizon; few rows rule out most without a whole read."""
        candidates = [name for name in self.targets if name != target and _HORIZON.search(name)]
        if not candidates:
            return None
        head = slice(0, min(len(self), 50_000))
        start = self.source.read([target, *candidates], head)
        mine = _floats(start.column(target))
        near = [name for name in candidates if np.array_equal(mine, _floats(start.column(name)), equal_nan=True)]
        if not near:
            return None
        whole = self.read_target(target)
        return next((name for name in near if np.array_equal(whole, self.read_target(name), equal_nan=True)), None)


def open_dataset(source: Path, feature_set: str, scoring_target: str, targets: Sequence[str] | None = None) -> Dataset:
    """Open a directory in Numerai's layout, or a single parquet file.

    Parameters
    ----------
    source : Path
        A directory with ``train.parquet`` (and ``validation.parquet``, ``features.json`` and benchmark
        predictions where it has them), or a parquet file with ``era``, ``feature*`` and ``target*`` columns.
    feature_set : str
        Key of ``feature_sets`` in ``features.json``, or ``all``.
    scoring_target : str
        Rows of eras without a known value of it are left out.
    targets : sequence of str, optional
        Training targets that the data must have.

    Raises
    ------
    UserError
        If files, columns, the feature set or a target are missing, or no era is resolved.
    """
    paths = _paths(source)
    schema = open_parquet(paths[0]).schema_arrow
    names = schema.names
    if "era" not in names:
        raise UserError(f"{paths[0]} has no column 'era'{did_you_mean('era', names)}")
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise UserError(f"{paths[0]} has the column {twice!r} twice; keep one")
    features = features_of(source, feature_set, names)
    known = tuple(name for name in names if name.startswith("target"))
    for name in (scoring_target, *(targets or ())):
        if name not in known:
            raise UserError(f"{paths[0]} has no target {name!r}{did_you_mean(name, known)}")
    for path in paths:
        _check_columns(path, schema, (*features, *known))
    positions, eras, labels = _resolved_rows(paths, scoring_target)
    rows = ParquetRows(paths, positions)
    id_column = _id_column(names)
    _check_ids(rows, id_column)
    benchmark_paths = tuple(source / name for name in BENCHMARK_FILES if (source / name).is_file() and id_column)
    digest = hashlib.sha256(b"".join(footer_digest(path) for path in (*paths, *benchmark_paths)))
    digest.update(json.dumps([features, scoring_target]).encode())
    digest.update(eras.tobytes())
    digest.update(_floats(rows.read([scoring_target]).column(scoring_target)).tobytes())
    return Dataset(
        name=source.name,
        digest=digest.hexdigest()[:16],
        eras=eras,
        era_labels=labels,
        features=features,
        targets=known,
        scoring_target=scoring_target,
        source=rows,
        id_column=id_column,
        feature_bytes=max(schema.field(name).type.bit_width for name in features) // 8 or 1,
        benchmark_paths=benchmark_paths,
        benchmark_columns=_benchmark_columns(benchmark_paths),
    )


def _check_columns(path: Path, schema: pa.Schema, columns: Sequence[str]) -> None:
    """Refuse a file without one of these columns, or with another type than a number and the first file's."""
    own = open_parquet(path).schema_arrow
    held = set(own.names)
    for name in columns:
        if name not in held:
            raise UserError(f"{path} lacks the column {name!r} of train.parquet; download both of one version")
        kind = own.field(name).type
        if not (pa.types.is_integer(kind) or pa.types.is_floating(kind)):
            raise UserError(f"{path}: column {name!r} is {kind}, not a number; convert it")
        if name.startswith("feature") and kind != schema.field(name).type:
            raise UserError(
                f"{path}: column {name!r} is {kind}, in train.parquet {schema.field(name).type}; write both the same"
            )


def _paths(source: Path) -> tuple[Path, ...]:
    if source.is_file():
        return (source,)
    if not source.is_dir():
        raise UserError(f"data {str(source)!r} does not exist; give a directory or file that does")
    if not (source / "train.parquet").is_file():
        held = sorted(path.name for path in source.iterdir())[:5]
        found = f"it holds {', '.join(held)}" if held else "it is empty"
        raise UserError(f"data directory {source} has no train.parquet ({found}); give the one that has")
    validation = source / "validation.parquet"
    if not validation.is_file() or not open_parquet(validation).metadata.num_rows:
        return (source / "train.parquet",)
    return source / "train.parquet", validation


def _check_ids(rows: ParquetRows, id_column: str | None) -> None:
    """Refuse duplicate ids: rows that are in two files would count twice."""
    if id_column is None:
        return
    counts = pc.value_counts(rows.read([id_column]).column(id_column))
    twice = counts.filter(pc.greater(counts.field("counts"), 1))
    if len(twice):
        raise UserError(
            f"id {twice.field('values')[0].as_py()!r} occurs twice in {' and '.join(str(path) for path in rows.paths)}"
            f" ({len(twice)} such ids); keep one row of each id"
        )


def _resolved_rows(
    paths: Sequence[Path], scoring_target: str
) -> tuple[NDArray[np.int64], NDArray[np.int32], dict[int, str]]:
    """Return file positions and eras of the rows of resolved eras, by era, and the label of each era."""
    numbers: list[NDArray[np.int32]] = []
    known: list[NDArray[np.bool_]] = []
    labels: dict[int, str] = {}
    for path in paths:
        with open_parquet(path) as file:
            has_type = "data_type" in file.schema_arrow.names
            table = file.read(columns=["era", scoring_target, *(["data_type"] if has_type else [])])
        if table.column("era").null_count:
            raise UserError(f"{path} has rows without an era; fill or drop them")
        coded = table.column("era").dictionary_encode().combine_chunks()
        coded = coded if isinstance(coded, pa.DictionaryArray) else coded.chunk(0)
        distinct = [str(label) for label in coded.dictionary.to_pylist()]
        era_of = np.array([era_number(label) for label in distinct], dtype=np.int32)
        labels |= dict(zip(era_of.tolist(), distinct, strict=True))
        era = era_of[coded.indices.to_numpy(zero_copy_only=False)] if len(distinct) else np.empty(0, np.int32)
        if has_type:
            live = pc.equal(table.column("data_type"), "live").fill_null(False)
            era = np.where(live.to_numpy(zero_copy_only=False), np.int32(LIVE_ERA), era)
        numbers.append(era)
        target = _floats(table.column(scoring_target))
        if np.isinf(target).any():
            raise UserError(f"{path}: {scoring_target!r} holds infinite values; correct or drop those rows")
        known.append(np.isfinite(target))
    eras, finite = np.concatenate(numbers), np.concatenate(known)
    resolved = np.unique(eras[finite & (eras != LIVE_ERA)])
    if not len(resolved):
        raise UserError(f"no era of {paths[0]} has a known {scoring_target!r}; give data with resolved eras")
    positions = np.flatnonzero(np.isin(eras, resolved))
    order = np.argsort(eras[positions], kind="stable")
    positions = positions[order].astype(np.int64)
    return positions, eras[positions].astype(np.int32), {int(era): labels[int(era)] for era in resolved}


def _benchmark_columns(paths: Sequence[Path]) -> tuple[str, ...]:
    if not paths:
        return ()
    schemas = [open_parquet(path).schema_arrow for path in paths]
    return tuple(
        name
        for name in schemas[0].names
        if all(name in schema.names for schema in schemas) and pa.types.is_floating(schemas[0].field(name).type)
    )


def _id_column(names: Sequence[str]) -> str | None:
    return next((name for name in ("id", "__index_level_0__", "index") if name in names), None)


def _floats(column: pa.ChunkedArray) -> NDArray[np.float32]:
    values = column.cast(pa.float32(), safe=False).to_numpy()
    return np.ascontiguousarray(values, dtype=np.float32)
