"""Whether a downloaded file is complete: its checksum, its layout and, without a checksum, every value."""

from __future__ import annotations

import hashlib
import math
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from signal_miner.utils.validation import parsed_json

_MIB = 1024 * 1024
# Sizes of parts that upload tools use for large objects; the entity tag gives the number of parts, not their size.
_PART_MIB = (5, 8, 10, 15, 16, 20, 25, 32, 50, 64, 100, 128, 256, 512)
_COLUMNS_AT_ONCE = 64
_FOOTER_BYTES = 8  # length and magic, after the metadata


class DamagedFile(Exception):
    """A file is not what it should be; the message describes the damage."""


def agrees_with(path: Path, checksum: str | None) -> bool | None:
    """Compare a file with the checksum that object storage gives as entity tag.

    Parameters
    ----------
    checksum : str or None
        MD5 in hexadecimal digits; or, for an object uploaded in n parts, the MD5 of their MD5s, then ``-n``.

    Returns
    -------
    bool or None
        None if that is unknown: no checksum, or parts of an unusual size.
    """
    if checksum is None:
        return None
    digest, _, parts = checksum.partition("-")
    if not parts:
        with path.open("rb") as file:
            return hashlib.file_digest(file, _md5).hexdigest() == digest
    size = path.stat().st_size
    lengths = {min(mib * _MIB, size) for mib in _PART_MIB}
    fitting = [length for length in sorted(lengths) if length and math.ceil(size / length) == int(parts)]
    return True if any(_md5_of_parts(path, length) == digest for length in fitting) else None


def check_contents(path: Path, name: str, *, every_value: bool) -> None:
    """Read a file by the format of its future `name`, and raise `DamagedFile` unless it is complete.

    With `every_value`, all of a parquet file is decoded, not only its layout: for files without a checksum.
    """
    if path.stat().st_size == 0:
        raise DamagedFile("it is empty")
    if name.endswith(".parquet"):
        _check_parquet(path, every_value)
    elif name.endswith(".json"):
        _check_json(path, name)


def _md5(data: bytes = b"") -> hashlib._Hash:
    return hashlib.md5(data, usedforsecurity=False)


def _md5_of_parts(path: Path, length: int) -> str:
    digests = b""
    with path.open("rb") as file:
        while part := file.read(length):
            digests += _md5(part).digest()
    return _md5(digests).hexdigest()


def _check_parquet(path: Path, every_value: bool) -> None:
    """Check the footer, the place of each column chunk, and the values of one column or of all."""
    try:
        with pq.ParquetFile(path) as file:
            _check_chunks(file.metadata, path.stat().st_size - _FOOTER_BYTES)
            n_columns = file.metadata.num_columns
            step = _COLUMNS_AT_ONCE if every_value else n_columns
            names = [file.metadata.schema.column(column).path for column in range(n_columns)]
            for group in range(file.num_row_groups):
                for start in range(0, n_columns, step):
                    wanted = names[start : start + step] if every_value else names[-1:]
                    file.read_row_group(group, columns=wanted, use_threads=False)
    except (pa.ArrowException, OSError) as error:
        raise DamagedFile(f"it is not a readable parquet file ({_first_line(error)})") from None


def _check_chunks(metadata: pq.FileMetaData, end_of_data: int) -> None:
    if metadata.num_rows == 0 or metadata.num_columns == 0:
        raise DamagedFile("it has no rows or no columns")
    for group in range(metadata.num_row_groups):
        row_group = metadata.row_group(group)
        for column in range(metadata.num_columns):
            chunk = row_group.column(column)
            start = chunk.data_page_offset
            if chunk.has_dictionary_page and chunk.dictionary_page_offset is not None:
                start = min(start, chunk.dictionary_page_offset)
            if start < 4 or start + chunk.total_compressed_size > end_of_data:
                raise DamagedFile(f"column {chunk.path_in_schema!r} of row group {group} is outside of it")


def _check_json(path: Path, name: str) -> None:
    try:
        content = parsed_json(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise DamagedFile(f"it is not a readable JSON file ({_first_line(error)})") from None
    if name.rpartition("/")[2] != "features.json":
        return
    sets = content.get("feature_sets") if isinstance(content, dict) else None
    if not isinstance(sets, dict) or not sets:
        raise DamagedFile("it has no feature_sets")


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:120]
