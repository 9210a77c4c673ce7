"""Which rows of the files are trained and scored on: those of eras whose scoring target is known, ordered by era."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from signal_miner.data.eras import LIVE_ERA, weeks_of
from signal_miner.data.parquet_rows import open_parquet
from signal_miner.errors import UserError

LEAST_KNOWN = 0.5
"""Share of an era's rows with a known scoring target below which the era is left out: the few do not score a model."""


@dataclass(frozen=True, eq=False)
class SharedEra:
    """An era in both files: its label, and its rows in each."""

    label: str
    rows: tuple[NDArray[np.int64], NDArray[np.int64]]


@dataclass(frozen=True, eq=False)
class ResolvedRows:
    """Rows of resolved eras, by era.

    Attributes
    ----------
    positions : ndarray of int64, shape (n_rows,)
        Of the rows, counted through all files.
    eras : ndarray of int32, shape (n_rows,)
        Their era numbers, ascending.
    labels : dict of int to str
        Era number to the label in the files.
    sparse : tuple of str
        Labels of the eras left out though the target is known in some of their rows.
    shared : SharedEra or None
        The first era, resolved or not, that is in both files.
    """

    positions: NDArray[np.int64]
    eras: NDArray[np.int32]
    labels: dict[int, str]
    sparse: tuple[str, ...]
    shared: SharedEra | None


def resolved_rows(paths: Sequence[Path], scoring_target: str) -> ResolvedRows:
    """Find the rows of resolved eras.

    Raises
    ------
    UserError
        If an era is missing or no era label, the target is infinite in a row, or no era is resolved.
    """
    files = [_read(path, scoring_target) for path in paths]
    # Labels of all files are read together: dates that are in one week may be in two files.
    labels = [label for file in files for label in file.labels]
    weeks = np.array(weeks_of(labels), dtype=np.int32)
    label_of = dict(zip(weeks.tolist(), labels, strict=True))
    ends = np.cumsum([len(file.labels) for file in files])[:-1]
    eras_of_file = [
        np.where(file.live, np.int32(LIVE_ERA), week[file.codes])
        for week, file in zip(np.split(weeks, ends), files, strict=True)
    ]
    eras = np.concatenate(eras_of_file)
    known = np.concatenate([np.isfinite(file.target) for file in files])
    numbers, era_of_row = np.unique(eras, return_inverse=True)
    share = np.bincount(era_of_row.reshape(-1), known) / np.bincount(era_of_row.reshape(-1))
    resolved = numbers[(share >= LEAST_KNOWN) & (numbers != LIVE_ERA)]
    sparse = numbers[(share > 0) & (share < LEAST_KNOWN) & (numbers != LIVE_ERA)]
    if not len(resolved):
        few = f"; {len(sparse)} have it in less than half of their rows" if len(sparse) else ""
        raise UserError(f"no era of {paths[0]} has a known {scoring_target!r}{few}; give data with resolved eras")
    positions = np.flatnonzero(np.isin(eras, resolved))
    order = np.argsort(eras[positions], kind="stable")
    positions = positions[order].astype(np.int64)
    return ResolvedRows(
        positions,
        eras[positions].astype(np.int32),
        {int(era): label_of[int(era)] for era in resolved},
        tuple(label_of[int(era)] for era in sparse),
        _shared_era(eras_of_file, label_of),
    )


def as_floats(column: pa.ChunkedArray) -> NDArray[np.float32]:
    """Return a column in training precision, NaN where it is missing, shape (n_rows,)."""
    values = column.cast(pa.float32(), safe=False).to_numpy()
    return np.ascontiguousarray(values, dtype=np.float32)


@dataclass(frozen=True, eq=False)
class _FileRows:
    """All rows of a file: distinct era labels, the place of each row's among them, live rows, the scoring target."""

    labels: list[str]
    codes: NDArray[np.int64]
    live: NDArray[np.bool_]
    target: NDArray[np.float32]


def _read(path: Path, scoring_target: str) -> _FileRows:
    with open_parquet(path) as file:
        has_type = "data_type" in file.schema_arrow.names
        table = file.read(columns=["era", scoring_target, *(["data_type"] if has_type else [])])
    if table.column("era").null_count:
        raise UserError(f"{path} has rows without an era; fill or drop them")
    coded = table.column("era").unify_dictionaries().dictionary_encode().combine_chunks()
    coded = coded if isinstance(coded, pa.DictionaryArray) else coded.chunk(0)
    live = np.zeros(len(table), dtype=np.bool_)
    if has_type:  # which may be anything: only the text "live" has a meaning
        live = pc.equal(table.column("data_type").cast(pa.string()), "live").fill_null(False).to_numpy()
    target = as_floats(table.column(scoring_target))
    if np.isinf(target).any():
        raise UserError(f"{path}: {scoring_target!r} holds infinite values; correct or drop those rows")
    codes = coded.indices.to_numpy(zero_copy_only=False).astype(np.int64)
    return _FileRows([str(label) for label in coded.dictionary.to_pylist()], codes, live, target)


def _shared_era(eras_of_file: Sequence[NDArray[np.int32]], label_of: dict[int, str]) -> SharedEra | None:
    if len(eras_of_file) < 2:
        return None
    train, validation = eras_of_file
    both = np.setdiff1d(np.intersect1d(train, validation), [LIVE_ERA])
    if not len(both):
        return None
    return SharedEra(label_of[int(both[0])], (np.flatnonzero(train == both[0]), np.flatnonzero(validation == both[0])))
