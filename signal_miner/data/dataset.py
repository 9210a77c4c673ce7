"""Numerai's files as one dataset: eras, targets and their horizons, feature sets, ids, benchmark predictions."""

from __future__ import annotations

import hashlib
import json
import re
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from signal_miner.data.checks import (
    check_columns,
    check_ids,
    check_shared_era,
    check_unique,
    check_values,
    id_column_of,
)
from signal_miner.data.eras import is_date
from signal_miner.data.feature_values import FeatureValues, feature_values
from signal_miner.data.features import features_of, largest_level_count, nullable_features
from signal_miner.data.parquet_rows import ParquetRows, Rows, content_digest, footer_digest, open_parquet
from signal_miner.data.residual_target import Label, residual
from signal_miner.data.resolved_rows import as_floats, resolved_rows
from signal_miner.errors import UserError, did_you_mean
from signal_miner.scoring.blending import gaussianised
from signal_miner.utils.files import file_exists
from signal_miner.utils.next_command import option_text
from signal_miner.utils.validation import shown

BENCHMARK_FILES = ("train_benchmark_models.parquet", "validation_benchmark_models.parquet")
"""Numerai's own predictions, beside ``train.parquet`` and ``validation.parquet``."""

META_MODEL_FILE = "meta_model.parquet"
"""Predictions of Numerai's meta model, for the newest eras."""

_META_MODEL = "numerai_meta_model"

_READING = threading.Lock()  # so that of several threads one reads benchmark predictions

_HORIZON = re.compile(r"_(20|60)$")


@dataclass(frozen=True, eq=False, repr=False)
class Dataset:
    """Resolved rows of Numerai's data, ordered by era. Holds the eras; reads everything else on demand.

    Attributes
    ----------
    digest : str
        16 hexadecimal digits over the files' footers, the rows and the scoring target: a study's identity. Other
        values of a feature may leave it as it is; `content` follows them.
    eras : ndarray of int32, shape (n_rows,)
        Era number of each row, ascending.
    era_labels : mapping of int to str
        Era number to the label in the files.
    features, targets : tuple of str
        The columns of all feature sets that it was opened with; all targets of the files.
    scoring_target : str
        Eras in which it is known in less than `LEAST_KNOWN` of the rows are left out.
    sparse_eras : tuple of str
        Labels of the eras left out though it is known in some of their rows.
    feature_bytes : int
        Bytes of a stored feature value, the widest of the set.
    benchmark_paths, benchmark_columns : tuple of Path, tuple of str
        Files with Numerai's benchmark predictions, and their columns.
    files : tuple of Path
        What the user knows the data by: the CSV file where `source` reads one that was converted.
    residual_column : str
        Of the benchmark predictions: what residual targets are without; empty where there are none.
    feature_sets : mapping of str to tuple of str
        The columns of each of these sets, in the order of ``features.json``.
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
    sparse_eras: tuple[str, ...] = ()
    files: tuple[Path, ...] = ()
    feature_sets: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    residual_column: str = ""
    _ranks: dict[str, NDArray[np.float64]] = field(default_factory=dict, init=False)

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

    def features_in(self, feature_set: str | None) -> tuple[str, ...]:
        """Return the columns of one of its feature sets; all features for None."""
        return self.features if feature_set is None else self.feature_sets[feature_set]

    def read_features(self, columns: Sequence[str], rows: Rows) -> pa.Table:
        """Return feature columns, as stored, of some rows; half floats as float32, which LightGBM can read.

        Raises
        ------
        UserError
            If a file cannot be read, or a value is infinite or an integer that a double cannot hold.
        """
        table = self.source.read(columns, rows)
        check_values(table, self.name)
        halves = [pa.types.is_float16(field.type) for field in table.schema]
        if not any(halves):
            return table
        wider = [pa.float32() if half else field.type for half, field in zip(halves, table.schema, strict=True)]
        return table.cast(pa.schema(list(zip(table.schema.names, wider, strict=True))))

    def read_label(self, label: Label, rows: Rows = slice(None)) -> NDArray[np.float32]:
        """Return what boosters are trained on, NaN where it is not known, shape (n_rows,); whole eras are read.

        Raises
        ------
        UserError
            As `read_target`; or if a benchmark's predictions cannot be read.
        """
        if isinstance(label, str):
            return self.read_target(label, rows)
        exposures = self.benchmark_ranks(self.residual_column)[rows]
        return residual(self.eras[rows], self.read_target(label.name, rows), exposures, label.share)

    def benchmark_ranks(self, column: str) -> NDArray[np.float64]:
        """Return the gaussianised ranks of Numerai's predictions within each era, read once, shape (n_rows,).

        NaN where there is no prediction.
        """
        with _READING:
            if column not in self._ranks:
                predictions = self.read_benchmarks([column], slice(None))[column]
                ranks = gaussianised(self.eras, predictions[:, np.newaxis])[:, 0]
                ranks[np.isnan(predictions)] = np.nan
                self._ranks[column] = ranks
            return self._ranks[column]

    def read_target(self, name: str, rows: Rows = slice(None)) -> NDArray[np.float32]:
        """Return a target in training precision, NaN where it is not known, shape (n_rows,).

        Raises
        ------
        UserError
            If it is infinite in a row, or the file cannot be read.
        """
        target = as_floats(self.source.read([name], rows).column(name))
        if np.isinf(target).any():
            raise UserError(f"{self.name}: {shown(name)} holds infinite values; correct or drop those rows")
        return target

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
        return self._predictions_of(self.benchmark_paths, names, rows) if names else {}

    def _predictions_of(
        self, paths: Sequence[Path], names: Sequence[str], rows: Rows
    ) -> dict[str, NDArray[np.float32]]:
        """Return columns of files of predictions by the rows' ids, NaN where there is none."""
        wanted = self.read_ids(rows)
        found = {name: np.full(len(wanted), np.nan, dtype=np.float32) for name in names}
        for path in paths:
            with open_parquet(path) as file:
                id_column = id_column_of(file.schema_arrow.names)
                if id_column is None:
                    raise UserError(f"{path} has no column 'id'; download it again or delete it")
                table = file.read(columns=[id_column, *names])
            ids = table.column(id_column).cast(pa.string())
            check_ids(ids, [path])
            places = pc.index_in(wanted, ids.combine_chunks())
            places = places.fill_null(-1).to_numpy(zero_copy_only=False)
            for name in names:
                found[name][places >= 0] = as_floats(table.column(name))[places[places >= 0]]
        return found

    def read_meta_model(self, rows: Rows = slice(None)) -> NDArray[np.float32] | None:
        """Return the predictions of Numerai's meta model, NaN where there is none, shape (n_rows,).

        None where the data have no `META_MODEL_FILE`.

        Raises
        ------
        UserError
            If it lacks its column, or has other ids than the data in the eras of both.
        """
        path = self.source.paths[0].parent / META_MODEL_FILE
        if self.id_column is None or len(self.source.paths) < 2 or not file_exists(path):
            return None
        with open_parquet(path) as file:
            names = file.schema_arrow.names
        if _META_MODEL not in names or not pa.types.is_floating(
            open_parquet(path).schema_arrow.field(_META_MODEL).type
        ):
            raise UserError(f"{path} has no numbers in a column {_META_MODEL!r}{did_you_mean(_META_MODEL, names)}")
        found = self._predictions_of((path,), [_META_MODEL], rows)[_META_MODEL]
        if not np.isfinite(found).any() and "era" in names:
            labels = {self.era_labels[int(era)] for era in np.unique(self.eras[rows])}
            shared = labels.intersection(open_parquet(path).read(columns=["era"]).column("era").unique().to_pylist())
            if shared:
                raise UserError(
                    f"{path} has era {min(shared)} with other ids than {self.name}; download both of one version"
                )
        return found

    @property
    def dated(self) -> bool:
        """Whether the eras are dates in the files, so that the distance of two is known."""
        return is_date(self.era_labels[int(self.eras[0])])

    @cached_property
    def content(self) -> str:
        """16 hexadecimal digits over all that is trained on, scored and compared with: the stored bytes, as read."""
        digest = hashlib.sha256()
        labels = [name for name in (self.id_column, "era", "data_type") if name]
        for path in self.source.paths:
            digest.update(content_digest(path, (*labels, *self.features, *self.targets)))
        for path in self.benchmark_paths:
            digest.update(content_digest(path, open_parquet(path).schema_arrow.names))
        return digest.hexdigest()[:16]

    @cached_property
    def nullable_features(self) -> tuple[str, ...]:
        """Features that are missing or NaN in some row of the files."""
        return nullable_features(self.source.paths, self.features)

    @cached_property
    def feature_values(self) -> tuple[FeatureValues, ...]:
        """The values of each feature in the files, in the order of `features`."""
        return feature_values(self.source.paths, self.features)

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
        known = self.known_horizon(target) or declared
        if known is not None:
            return known
        monthly = "" if self.dated else " and, if eras are a month apart, embargo_eras=1 (or 3)"
        raise UserError(
            f"the horizon of {target!r} in {self.name} is not known: it equals no target whose name ends in "
            f"_20 or _60; set horizon_days=20 (or 60){monthly}"
        )

    def known_horizon(self, target: str) -> int | None:
        """Return a target's horizon in days by its name, or a twin's; None if these do not say."""
        match = _HORIZON.search(target) or _HORIZON.search(self._twin(target) or "")
        return int(match.group(1)) if match else None

    def _twin(self, target: str) -> str | None:
        """Return a target of the same values whose name has a horizon; few rows rule out most without a whole read."""
        candidates = [name for name in self.targets if name != target and _HORIZON.search(name)]
        if not candidates:
            return None
        head = slice(0, min(len(self), 50_000))
        start = self.source.read([target, *candidates], head)
        mine = as_floats(start.column(target))
        near = [name for name in candidates if np.array_equal(mine, as_floats(start.column(name)), equal_nan=True)]
        if not near:
            return None
        whole = as_floats(self.source.read([target]).column(target))
        columns = ((name, as_floats(self.source.read([name]).column(name))) for name in near)
        return next((name for name, values in columns if np.array_equal(whole, values, equal_nan=True)), None)


def open_dataset(
    source: Path,
    feature_set: str | Sequence[str],
    scoring_target: str,
    targets: Sequence[str] | None = None,
    converted_from: Path | None = None,
) -> Dataset:
    """Open a directory in Numerai's layout, or a single parquet file.

    Parameters
    ----------
    source : Path
        A directory with ``train.parquet`` (and ``validation.parquet``, ``features.json`` and benchmark
        predictions where it has them), or a parquet file with ``era``, ``feature*`` and ``target*`` columns.
    feature_set : str or sequence of str
        Key of ``feature_sets`` in ``features.json``, or ``all``; or several of these.
    scoring_target : str
        Rows of eras in which it is known in less than `LEAST_KNOWN` of the rows are left out.
    targets : sequence of str, optional
        Training targets that the data must have.
    converted_from : Path, optional
        The user's file, where `source` was made of it; the dataset is called after it.

    Raises
    ------
    UserError
        If files, columns, the feature set or a target are missing or cannot be trained on, or no era is resolved.
    """
    paths = _paths(source)
    schema = open_parquet(paths[0]).schema_arrow
    names = schema.names
    wanted = (feature_set,) if isinstance(feature_set, str) else feature_set
    sets = {name: features_of(source, name, names) for name in wanted}
    features = tuple(dict.fromkeys(column for columns in sets.values() for column in columns))
    known = tuple(column for column in names if column.startswith("target"))
    for target in (scoring_target, *(targets or ())):
        if target not in known:
            other = f"; score on another with {option_text('scoring_target', '…')}" if known else "; it has none"
            which = did_you_mean(target, known) + (other if target == scoring_target else "")
            raise UserError(f"{paths[0]} has no target {shown(target)}{which}")
    id_column = id_column_of(names)
    benchmark_paths = tuple(source / file for file in BENCHMARK_FILES if id_column and file_exists(source / file))
    check_columns(paths, features, known, id_column, (scoring_target, *(targets or known)))
    resolved = resolved_rows(paths, scoring_target)
    rows = ParquetRows(paths, resolved.positions)
    scored = as_floats(rows.read([scoring_target]).column(scoring_target))
    starts = np.flatnonzero(np.diff(resolved.eras, prepend=-1))
    if np.array_equal(np.fmin.reduceat(scored, starts), np.fmax.reduceat(scored, starts)):
        raise UserError(
            f"{paths[0]}: {shown(scoring_target)} has one value in each era, so no model can be scored on it; choose "
            "another scoring_target"
        )
    if id_column is not None:
        check_ids(rows.read([id_column]).column(id_column), paths)
    if resolved.shared is not None:
        check_shared_era(paths, resolved.shared, features, by_id=id_column is not None)
    digest = hashlib.sha256(b"".join(footer_digest(path) for path in (*paths, *benchmark_paths)))
    digest.update(json.dumps([features, scoring_target, *([sets] if len(sets) > 1 else [])]).encode())
    digest.update(resolved.eras.tobytes())
    digest.update(scored.tobytes())
    return Dataset(
        name=(converted_from or source).name,
        digest=digest.hexdigest()[:16],
        eras=resolved.eras,
        era_labels=resolved.labels,
        features=features,
        targets=known,
        scoring_target=scoring_target,
        source=rows,
        id_column=id_column,
        feature_bytes=max(schema.field(column).type.bit_width for column in features) // 8 or 1,
        benchmark_paths=benchmark_paths,
        benchmark_columns=_benchmark_columns(benchmark_paths),
        sparse_eras=resolved.sparse,
        files=(converted_from,) if converted_from else paths,
        feature_sets=sets,
    )


def _paths(source: Path) -> tuple[Path, ...]:
    if not source.is_dir():
        if not file_exists(source):
            raise UserError(f"data {str(source)!r} does not exist; give a directory or file that does")
        return (source,)
    if not file_exists(source / "train.parquet"):
        held = sorted(path.name for path in source.iterdir())[:5]
        found = f"it holds {', '.join(held)}" if held else "it is empty"
        raise UserError(f"data directory {source} has no train.parquet ({found}); give the one that has")
    validation = source / "validation.parquet"
    if not file_exists(validation) or not open_parquet(validation).metadata.num_rows:
        return (source / "train.parquet",)
    return source / "train.parquet", validation


def _benchmark_columns(paths: Sequence[Path]) -> tuple[str, ...]:
    """Return the floating columns that all files of benchmark predictions have."""
    schemas = [open_parquet(path).schema_arrow for path in paths]
    for path, schema in zip(paths, schemas, strict=True):
        check_unique(path, schema.names)
    names = schemas[0].names if schemas else []
    return tuple(
        name
        for name in names
        if all(name in schema.names and pa.types.is_floating(schema.field(name).type) for schema in schemas)
    )
