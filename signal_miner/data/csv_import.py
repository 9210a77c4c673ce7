"""A CSV file in Numerai's layout, converted to parquet once."""

from __future__ import annotations

import csv
import hashlib
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq

from signal_miner.data.checks import LARGEST_EXACT
from signal_miner.errors import UserError, did_you_mean
from signal_miner.utils.files import temporary_directory
from signal_miner.utils.redaction import reason_of, reason_of_system
from signal_miner.utils.validation import shown

_TEXT = ("era", "id", "data_type")
_MISSING = [*pa.csv.ConvertOptions().null_values, "None"]
_SEPARATORS = ";\t|"


def csv_as_parquet(path: Path, directory: Path) -> Path:
    """Return a parquet file with a CSV file's ``era``, ``feature*``, ``target*`` and id columns, written on first use.

    Features become int8 where they are small integers, else float32; targets float32. The file is read in blocks,
    never whole. The parquet file's name holds a SHA-256 of the CSV file.

    Raises
    ------
    UserError
        If it is not comma-separated UTF-8 text, has no column ``era`` or a column twice, or a value cannot be
        converted.
    """
    try:
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        target = directory / f"{path.stem[:40]}-{digest[:32]}.parquet"
        if target.is_file():
            return target
        names = _header(path)
        directory.mkdir(parents=True, exist_ok=True)
        return _converted(path, target, names)
    except OSError as error:
        raise UserError(
            f"{path} cannot be converted ({reason_of_system(error)}); free disk space or permit it"
        ) from error


def _converted(path: Path, target: Path, names: list[str]) -> Path:
    failures: list[Exception] = []
    for feature_type in (pa.int8(), pa.float32()):
        with temporary_directory(target.parent) as directory:  # what a killed process leaves may be gigabytes
            try:
                _convert(path, directory / target.name, names, feature_type)
                (directory / target.name).replace(target)
                return target
            except (pa.ArrowInvalid, pa.ArrowKeyError, pa.ArrowTypeError) as error:
                failures.append(error)
    where = _first_mistake(path, names) or reason_of(failures[-1])
    raise UserError(f"{path} cannot be read as CSV: {where}; correct it") from failures[-1]


def _header(path: Path) -> list[str]:
    """Return the names of the columns, which may be quoted or have blanks around them."""
    with path.open("rb") as file:
        start = file.readline()
    if start.startswith((b"\xff\xfe", b"\xfe\xff")) or b"\0" in start:
        raise UserError(f"{path} is UTF-16 or not text; save it as CSV in UTF-8")
    try:
        line = start.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: line 1 is not UTF-8 text; save it as CSV in UTF-8") from error
    if not line.strip():
        raise UserError(
            f"{path} {'is empty' if not start else 'begins with an empty line'}; give a CSV file with a header"
        )
    line = line.rstrip("\r\n")
    if "\r" in line:
        raise UserError(f"{path} ends its lines with carriage returns alone; save it with line feeds")
    names = [name.strip() for name in next(csv.reader([line]))]
    if "era" not in names:
        separator = next((each for each in _SEPARATORS if each in line), None)
        if separator and len(names) < len(line.split(separator)):
            raise UserError(f"{path} is separated by {separator!r}; write it with commas")
        raise UserError(f"{path} has no column 'era'{did_you_mean('era', names)}")
    twice = next((name for place, name in enumerate(names) if name in names[:place]), None)
    if twice is not None:
        raise UserError(f"{path} has the column {shown(twice)} twice; keep one")
    return names


def _convert(path: Path, partial: Path, names: list[str], feature_type: pa.DataType) -> None:
    types = {name: pa.string() for name in _TEXT if name in names}
    features = [name for name in names if name.startswith("feature")]
    types |= dict.fromkeys(features, feature_type)
    types |= {name: pa.float32() for name in names if name.startswith("target")}
    options = pa.csv.ConvertOptions(column_types=types, include_columns=list(types), null_values=_MISSING)
    header = pa.csv.ReadOptions(column_names=names, skip_rows=1)
    reader = pa.csv.open_csv(path, read_options=header, convert_options=options)
    with pq.ParquetWriter(partial, reader.schema) as writer:
        for batch in reader:
            for name in features if feature_type == pa.float32() else ():
                _check_exact(path, name, batch.column(name))
            writer.write_batch(batch)


def _check_exact(path: Path, name: str, values: pa.Array) -> None:
    """Refuse large integers, which single precision merges."""
    found = values.to_numpy(zero_copy_only=False)
    if np.any(np.abs(found[np.isfinite(found)]) >= LARGEST_EXACT):
        raise UserError(f"{path}: {shown(name)} holds values of 2^53 and more, which are rounded; scale or rank them")


def _first_mistake(path: Path, names: list[str]) -> str:
    """Return what is wrong in the first line that cannot be converted, as Arrow does not say which that is."""
    with path.open(encoding="utf-8-sig", errors="surrogateescape") as file:
        rows = csv.reader(file)
        next(rows)
        row = None
        for row in rows:
            if row and len(row) != len(names):
                return f"line {rows.line_num} has {len(row)} columns and line 1 has {len(names)}"
            for name, value in zip(names, row, strict=False):
                if not value.isascii() and value != value.encode(errors="replace").decode(errors="replace"):
                    return f"column {shown(name)} in line {rows.line_num} is not UTF-8 text"
                if name.startswith(("feature", "target")) and value not in _MISSING and not _is_number(value):
                    return f"column {shown(name)} in line {rows.line_num} is {shown(value)}, not a number"
    return "" if row else "it has no rows below its header"


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return "_" not in text
