"""A CSV file in Numerai's layout, converted to parquet once."""

from __future__ import annotations

import os
from pathlib import Path

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq

from signal_miner.errors import UserError, did_you_mean
from signal_miner.utils.redaction import reason_of

_TEXT = ("era", "id", "data_type")


def csv_as_parquet(path: Path, directory: Path) -> Path:
    """Return a parquet file with a CSV file's ``era``, ``feature*``, ``target*`` and id columns, written on first use.

    Features become int8 where they are small integers, else float32; targets float32. The file is read in blocks,
    never whole. The parquet file's name holds the CSV file's name, size and time of change.

    Raises
    ------
    UserError
        If a value cannot be converted, or there is no column ``era``.
    """
    state = path.stat()
    target = directory / f"{path.stem}-{state.st_size}-{state.st_mtime_ns}.parquet"
    if target.is_file():
        return target
    names = _header(path)
    directory.mkdir(parents=True, exist_ok=True)
    failures: list[Exception] = []
    for feature_type in (pa.int8(), pa.float32()):
        partial = target.with_name(f"{target.name}.{os.getpid()}.part")
        try:
            _convert(path, partial, names, feature_type)
            partial.replace(target)
            return target
        except (pa.ArrowInvalid, pa.ArrowKeyError, pa.ArrowTypeError) as error:
            failures.append(error)
        finally:
            partial.unlink(missing_ok=True)
    raise UserError(f"{path} cannot be read as CSV ({reason_of(failures[-1])}); correct that value") from failures[-1]


def _header(path: Path) -> list[str]:
    with path.open(encoding="utf-8-sig", errors="replace") as file:
        names = [name.strip().strip('"') for name in file.readline().rstrip("\r\n").split(",")]
    if "era" not in names:
        raise UserError(f"{path} has no column 'era'{did_you_mean('era', names)}")
    return names


def _convert(path: Path, partial: Path, names: list[str], feature_type: pa.DataType) -> None:
    types = {name: pa.string() for name in _TEXT if name in names}
    types |= {name: feature_type for name in names if name.startswith("feature")}
    types |= {name: pa.float32() for name in names if name.startswith("target")}
    options = pa.csv.ConvertOptions(column_types=types, include_columns=list(types))
    # The header is read by `_header`, as names may have blanks around them.
    header = pa.csv.ReadOptions(column_names=names, skip_rows=1)
    reader = pa.csv.open_csv(path, read_options=header, convert_options=options)
    with pq.ParquetWriter(partial, reader.schema) as writer:
        for batch in reader:
            writer.write_batch(batch)
