"""Rows of one or more parquet files as one table ordered by era, read a few columns at a time."""

from __future__ import annotations

import hashlib
import threading
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from signal_miner.errors import UserError
from signal_miner.utils.redaction import reason_of

Rows = slice | NDArray[np.int64]
"""Rows of a table: a range of step 1, or positions."""

ROWS_AT_A_TIME = 2**20
"""Rows of the row groups that are read together, before the wanted ones are selected."""

KEPT_FOOTERS = 8
"""Parsed footers held in memory, of the files opened last."""

LARGE_FOOTER_BYTES = 32 * 2**20
"""A footer of more bytes in its file is dropped by `forget_large_footers`: parsed, it takes ten times as many."""


@dataclass(frozen=True, eq=False)
class ParquetRows:
    """Chosen rows of files with the same columns; `positions`, shape (n_rows,), count through all files in order."""

    paths: tuple[Path, ...]
    positions: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.positions)

    def read(self, columns: Sequence[str], rows: Rows = slice(None)) -> pa.Table:
        """Return some columns of some rows, in the order given; only the row groups that hold them are read."""
        wanted = self.positions[rows]
        order = None if _ascending(wanted) else np.argsort(wanted, kind="stable")
        pieces = [
            piece
            for path, inside in self._by_file(wanted if order is None else wanted[order])
            for piece in _pieces(path, columns, inside)
        ]
        if not pieces:
            with open_parquet(self.paths[0]) as file:
                return file.schema_arrow.empty_table().select(list(columns))
        try:
            table = pa.concat_tables(pieces, promote_options="permissive")
        except (pa.ArrowInvalid, pa.ArrowTypeError) as error:
            files = " and ".join(map(str, self.paths))
            raise UserError(f"{files} hold columns of types that do not go together ({reason_of(error)})") from error
        return table if order is None else table.take(pa.array(np.argsort(order)))

    def rows_held(self, rows: Rows = slice(None)) -> int:
        """Return how many rows `read` holds at once: the wanted ones, and those they are selected from."""
        wanted = self.positions[rows]
        ascending = _ascending(wanted)
        n_read = 0
        for path, inside in self._by_file(wanted if ascending else np.sort(wanted)):
            for batch in _batches(footer_of(path), inside):
                n_read = max(n_read, 0 if batch.neighbours else batch.n_rows)
        return len(wanted) + max(n_read, 0 if ascending else len(wanted))

    def rows_read(self, rows: Rows = slice(None)) -> int:
        """Return how many rows the row groups have that hold the wanted ones."""
        read = self._by_file(np.sort(self.positions[rows]))
        return sum(batch.n_rows for path, inside in read for batch in _batches(footer_of(path), inside))

    def _by_file(self, wanted: NDArray[np.int64]) -> Iterator[tuple[Path, NDArray[np.int64]]]:
        """Yield each file and the ascending positions in it, of ascending positions in all of them."""
        start = 0
        for path in self.paths:
            end = start + footer_of(path).n_rows
            low, high = np.searchsorted(wanted, [start, end])
            if high > low:
                yield path, wanted[low:high] - start
            start = end


@dataclass(frozen=True, eq=False)
class Footer:
    """A parquet file's parsed footer; `group_ends` counts the rows up to the end of each row group."""

    metadata: pq.FileMetaData
    group_ends: NDArray[np.int64]

    @property
    def n_rows(self) -> int:
        """Rows of the file."""
        return int(self.metadata.num_rows)


_FOOTERS: OrderedDict[Path, tuple[tuple[int, int, int], Footer]] = OrderedDict()
_FOOTERS_LOCK = threading.Lock()


def footer_of(path: Path) -> Footer:
    """Return a parquet file's footer, parsed once for all threads, and again when the file has changed.

    Raises
    ------
    UserError
        If the file is absent, truncated or not a parquet file.
    """
    try:
        state = path.stat()
        version = (state.st_size, state.st_mtime_ns, state.st_ino)
        with _FOOTERS_LOCK:
            if path not in _FOOTERS or _FOOTERS[path][0] != version:
                with pq.ParquetFile(path, memory_map=False) as file:
                    metadata = file.metadata
                sizes = [metadata.row_group(number).num_rows for number in range(metadata.num_row_groups)]
                _FOOTERS[path] = version, Footer(metadata, np.cumsum(sizes, dtype=np.int64))
            _FOOTERS.move_to_end(path)
            while len(_FOOTERS) > KEPT_FOOTERS:
                _FOOTERS.popitem(last=False)
            return _FOOTERS[path][1]
    except FileNotFoundError as error:
        raise UserError(f"{path} does not exist; give a directory or file that does") from error
    except (pa.ArrowInvalid, OSError) as error:
        raise UserError(
            f"{path} is not a whole parquet file ({reason_of(error)}); download or write it again"
        ) from error


def forget_large_footers(larger_than: int = LARGE_FOOTER_BYTES) -> None:
    """Drop parsed footers of more than this many bytes in their files; they are parsed again when needed."""
    with _FOOTERS_LOCK:
        for path in [path for path, (_, each) in _FOOTERS.items() if each.metadata.serialized_size > larger_than]:
            del _FOOTERS[path]


def open_parquet(path: Path) -> pq.ParquetFile:
    """Open a parquet file; raise a UserError if it is absent, truncated or not a parquet file."""
    footer = footer_of(path)
    try:
        return pq.ParquetFile(path, metadata=footer.metadata, memory_map=False)
    except (pa.ArrowInvalid, OSError) as error:
        raise UserError(f"{path} cannot be opened ({reason_of(error)}); try again") from error


def content_digest(path: Path, columns: Sequence[str]) -> bytes:
    """Return a SHA-256 over the stored bytes of some columns, or of the whole file where they are most of it."""
    metadata = footer_of(path).metadata
    wanted = set(columns)
    leaves = [metadata.schema.column(leaf).path.partition(".")[0] for leaf in range(metadata.num_columns)]
    digest = hashlib.sha256()
    with path.open("rb") as file:
        if 2 * sum(leaf in wanted for leaf in leaves) > len(leaves):
            return hashlib.file_digest(file, "sha256").digest()
        for number in range(metadata.num_row_groups):
            group = metadata.row_group(number)
            for place in (place for place, leaf in enumerate(leaves) if leaf in wanted):
                chunk = group.column(place)
                file.seek(min(filter(None, (chunk.dictionary_page_offset, chunk.data_page_offset))))
                digest.update(file.read(chunk.total_compressed_size))
    return digest.digest()


def footer_digest(path: Path) -> bytes:
    """Return a SHA-256 over a parquet file's size and footer, which describes every column chunk.

    It does not follow every change of a value: see `content_digest`.
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        file.seek(max(0, size - 8))
        length = int.from_bytes(file.read(4), "little")
        file.seek(max(0, size - 8 - length))
        return hashlib.sha256(str(size).encode() + file.read(length)).digest()


@dataclass(frozen=True, eq=False)
class _Batch:
    """Row groups read together, their number of rows, and the ascending positions among them to select."""

    groups: tuple[int, ...]
    n_rows: int
    selected: NDArray[np.int64]

    @property
    def neighbours(self) -> bool:
        """Whether the selected rows are a range."""
        return int(self.selected[-1] - self.selected[0]) + 1 == len(self.selected) and _ascending(self.selected)


def _batches(footer: Footer, positions: NDArray[np.int64]) -> Iterator[_Batch]:
    """Yield the row groups that hold ascending positions, with at most `ROWS_AT_A_TIME` rows at a time.

    Few large reads are faster than many small ones; the bound keeps the rows that are read but not wanted from
    filling the memory, as where one era in four is.
    """
    ends = footer.group_ends
    sizes = np.diff(ends, prepend=0)
    cuts = np.searchsorted(positions, ends)  # of the positions, after each row group
    needed = np.flatnonzero(np.diff(cuts, prepend=0))
    first = 0
    while first < len(needed):
        total = np.cumsum(sizes[needed[first:]])
        last = first + max(1, int(np.searchsorted(total, ROWS_AT_A_TIME, side="right")))
        groups = needed[first:last]
        # Row groups in between are not read, so positions shift down by their rows.
        moved = np.cumsum(sizes[groups]) - ends[groups]
        counts = np.diff(cuts, prepend=0)[groups]
        inside = positions[cuts[groups[0]] - counts[0] : cuts[groups[-1]]]
        yield _Batch(tuple(groups.tolist()), int(sizes[groups].sum()), inside + np.repeat(moved, counts))
        first = last


def _pieces(path: Path, columns: Sequence[str], positions: NDArray[np.int64]) -> Iterator[pa.Table]:
    """Yield ascending rows of a file, batch by batch."""
    with open_parquet(path) as file:
        for batch in _batches(footer_of(path), positions):
            try:
                table = file.read_row_groups(list(batch.groups), columns=list(columns)).select(list(columns))
                table = _same_texts(table)
            except (pa.ArrowInvalid, OSError) as error:
                raise UserError(f"{path} cannot be read ({reason_of(error)}); download or write it again") from error
            if batch.neighbours:
                yield table.slice(int(batch.selected[0]), len(batch.selected))
            else:
                yield table.take(pa.array(batch.selected))


def _same_texts(table: pa.Table) -> pa.Table:
    """Return a table with its texts, such as ids, as strings: two files may hold them in different types."""
    texts = [not pa.types.is_primitive(field.type) for field in table.schema]
    kinds = [pa.string() if text else field.type for text, field in zip(texts, table.schema, strict=True)]
    return table.cast(pa.schema(list(zip(table.schema.names, kinds, strict=True)))) if any(texts) else table


def _ascending(positions: NDArray[np.int64]) -> bool:
    return bool(np.all(positions[1:] > positions[:-1]))
