"""Rows of one or more parquet files as one table ordered by era, read a few columns at a time."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from signal_miner.errors import UserError
from signal_miner.redaction import reason_of


@dataclass(frozen=True, eq=False)
class ParquetRows:
    """Chosen rows of parquet files, in a chosen order.

    Attributes
    ----------
    paths : tuple of Path
        Files, with the same columns.
    positions : ndarray of int64, shape (n_rows,)
        Position of each row in the files laid end to end.
    """

    paths: tuple[Path, ...]
    positions: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.positions)

    def read(self, columns: Sequence[str], rows: slice = slice(None)) -> pa.Table:
        """Return some columns of some rows.

        Parameters
        ----------
        columns : sequence of str
        rows : slice, optional
            Range of this table's rows, step 1.

        Returns
        -------
        pyarrow.Table
            ``rows.stop - rows.start`` rows, in this table's order. Only the row groups that hold them are read.

        Raises
        ------
        UserError
            If a file cannot be read.
        """
        wanted = self.positions[rows]
        pieces = []
        offset = 0
        ascending = bool(np.all(np.diff(wanted) > 0))
        inside_order = []
        for path in self.paths:
            with open_parquet(path) as file:
                end = offset + file.metadata.num_rows
                inside = np.flatnonzero((wanted >= offset) & (wanted < end))
                if len(inside):
                    pieces.append(_read_positions(file, columns, wanted[inside] - offset, path))
                    inside_order.append(inside)
                offset = end
        if not pieces:
            with open_parquet(self.paths[0]) as file:
                return file.schema_arrow.empty_table().select(list(columns))
        table = pa.concat_tables(pieces, promote_options="permissive")
        if ascending or len(pieces) == 1:
            return table
        return table.take(pa.array(np.argsort(np.concatenate(inside_order))))


def open_parquet(path: Path) -> pq.ParquetFile:
    """Open a parquet file.

    Raises
    ------
    UserError
        If it is absent, truncated or no parquet file.
    """
    try:
        return pq.ParquetFile(path, memory_map=False)
    except FileNotFoundError as error:
        raise UserError(f"{path} does not exist; give a directory or file that does") from error
    except (pa.ArrowInvalid, OSError) as error:
        raise UserError(
            f"{path} is not a whole parquet file ({reason_of(error)}); download or write it again"
        ) from error


def footer_digest(path: Path) -> bytes:
    """Return a SHA-256 over a parquet file's size and footer, which describes every column chunk."""
    size = path.stat().st_size
    with path.open("rb") as file:
        file.seek(max(0, size - 8))
        length = int.from_bytes(file.read(4), "little")
        file.seek(max(0, size - 8 - length))
        return hashlib.sha256(str(size).encode() + file.read(length)).digest()


def _read_positions(file: pq.ParquetFile, columns: Sequence[str], positions: NDArray[np.int64], path: Path) -> pa.Table:
    low, high = int(positions.min()), int(positions.max()) + 1
    groups, start, base = [], 0, None
    for number in range(file.metadata.num_row_groups):
        end = start + file.metadata.row_group(number).num_rows
        if start < high and end > low:
            groups.append(number)
            base = start if base is None else base
        start = end
    try:
        table = file.read_row_groups(groups, columns=list(columns))
    except (pa.ArrowInvalid, OSError) as error:
        raise UserError(f"{path} cannot be read ({reason_of(error)}); download or write it again") from error
    table = table.select(list(columns))
    local = positions - (base or 0)
    if high - low == len(local) and bool(np.all(np.diff(local) == 1)):
        return table.slice(int(local[0]), len(local))
    return table.take(pa.array(local))
