"""Numerai's newest live data, and the columns of it that a model needs, checked before predicting."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from signal_miner.data.parquet_rows import open_parquet
from signal_miner.data.sources import is_data_version
from signal_miner.errors import UserError
from signal_miner.models.registry import RegisteredModel
from signal_miner.numerai.download.versions import check_version, download_version
from signal_miner.utils.files import sha256_of
from signal_miner.utils.next_command import option_text
from signal_miner.utils.redaction import reason_of

LIVE, LIVE_BENCHMARKS = "live.parquet", "live_benchmark_models.parquet"


@dataclass(frozen=True)
class LiveFiles:
    """Local files of live data."""

    features: Path  # one era, without targets
    benchmarks: Path | None  # Numerai's benchmark predictions for it, if they are needed
    sha256: str  # of `features`


def data_version(wanted: str | None, model: RegisteredModel) -> str:
    """Return the version of Numerai's data for a model: `wanted`, by default the one it was mined on."""
    if wanted:
        check_version(wanted)
        return wanted
    if is_data_version(model.needs.data):
        return model.needs.data
    raise UserError(
        f"{model.name} version {model.version} was mined on data={model.needs.data!r}, which is no version of "
        f"Numerai's data; where its features are Numerai's, give their version with {option_text('version', 'v5.3')}; "
        "a dry run of submit takes a local file instead: "
        f"{option_text('dry_run', 'true')} {option_text('live', '…')}"
    )


def fetch_live(version: str, directory: Path, benchmarks: bool) -> LiveFiles:
    """Download the newest live data, with Numerai's benchmark predictions if `benchmarks`."""
    names = [LIVE, LIVE_BENCHMARKS] if benchmarks else [LIVE]
    here = [file.path for file in download_version(version, directory, files=names, show_progress=False)]
    return local_live(here[0], here[1] if benchmarks else None)


def local_live(features: Path, benchmarks: Path | None) -> LiveFiles:
    """Use local files of live data, after a check that they can be read."""
    for path in (features, *([benchmarks] if benchmarks else [])):
        open_parquet(path).close()
    return LiveFiles(features, benchmarks, sha256_of(features))


def read_live(path: Path, model: RegisteredModel, benchmarks: Path | None) -> pd.DataFrame:
    """Read what a model needs of live data, and nothing else of the wide frame.

    Parameters
    ----------
    path : Path
        Parquet file in Numerai's layout; columns in any order, further ones are not read.
    benchmarks : Path or None
        Parquet file with the benchmark columns that the model needs; required if there are any.

    Returns
    -------
    pandas.DataFrame
        Index ``id``; ``era`` if the file has it, the model's features, its benchmark columns, in this order.

    Raises
    ------
    UserError
        If the files are incomplete, or not live data that the model can predict on.
    """
    needs, whose = model.needs, f"{model.name} version {model.version}"
    with open_parquet(path) as file:
        names = file.schema_arrow.names
        _require_columns(path, names, needs.features, "features", whose)
        _refuse_known_targets(path, file, [name for name in names if name.startswith("target")])
        frame = _indexed(path, _read(path, file, ["era"] * ("era" in names) + list(needs.features)))
    _require_one_era(path, frame)
    _require_numbers(path, frame, needs.features, needs.nullable_features)
    if not needs.benchmark_columns:
        return frame
    if benchmarks is None:
        raise UserError(
            f"{whose} needs Numerai's benchmark predictions ({_some(needs.benchmark_columns)}); "
            f"give {LIVE_BENCHMARKS} too: {option_text('live_benchmarks', '…')}"
        )
    with open_parquet(benchmarks) as file:
        _require_columns(benchmarks, file.schema_arrow.names, needs.benchmark_columns, "benchmark columns", whose)
        predicted = _indexed(benchmarks, _read(benchmarks, file, list(needs.benchmark_columns)))
    absent = frame.index.difference(predicted.index)
    if len(absent):
        raise UserError(
            f"{benchmarks} lacks {len(absent):,} of the {len(frame):,} ids of {path} ({_some(absent)}); "
            "fetch both files again, they belong to one round"
        )
    predicted = predicted.loc[frame.index]
    _require_numbers(benchmarks, predicted, needs.benchmark_columns, ())
    return pd.concat([frame, predicted], axis=1)


def _read(path: Path, file: pq.ParquetFile, columns: list[str]) -> pa.Table:
    names = file.schema_arrow.names
    id_column = next((name for name in ("id", "__index_level_0__") if name in names), None)
    if id_column is None:
        raise UserError(f"{path} has no column or index 'id'; take the file as Numerai gives it")
    found = Counter(names)
    twice = [name for name in (*columns, id_column) if found[name] > 1]
    if twice:
        raise UserError(f"{path} has columns more than once ({_some(twice)}); fetch or write it again")
    try:
        table = file.read(columns=[*columns, id_column])
    except (pa.ArrowException, OSError) as error:
        raise UserError(
            f"{path} is not a whole parquet file ({reason_of(error)}); download or write it again"
        ) from error
    return table.select([*columns, id_column]).rename_columns([*columns, "id"]).replace_schema_metadata(None)


def _indexed(path: Path, table: pa.Table) -> pd.DataFrame:
    """Make a frame indexed by id, of a table that has each id once."""
    ids = table.column("id")
    if len(ids) == 0:
        raise UserError(f"{path} has no rows; Numerai may be about to publish it, try again later")
    frame: pd.DataFrame = table.to_pandas()
    missing = int(frame["id"].isna().sum()) + int((frame["id"].astype(str) == "").sum())
    if missing:
        raise UserError(f"{path} has {missing:,} rows without an id; fetch or write it again")
    twice = frame["id"][frame["id"].duplicated()]
    if len(twice):
        raise UserError(f"{path} has {len(twice):,} ids more than once ({_some(twice)}); fetch or write it again")
    indexed: pd.DataFrame = frame.assign(id=frame["id"].astype(str)).set_index("id")
    return indexed


def _require_columns(path: Path, names: Sequence[str], needed: Sequence[str], what: str, whose: str) -> None:
    there = set(names)
    absent = [name for name in needed if name not in there]
    if absent:
        raise UserError(
            f"{path} lacks {len(absent):,} of the {len(needed):,} {what} that {whose} needs ({_some(absent)}); "
            f"a change of data version? Give it the one that it was trained on: {option_text('version', '…')}"
        )


def _refuse_known_targets(path: Path, file: pq.ParquetFile, targets: list[str]) -> None:
    if not targets:
        return
    table = _read(path, file, targets)
    known = [name for name in targets if table.column(name).null_count < len(table) and _any_value(table.column(name))]
    if known:
        raise UserError(f"{path} has known targets ({_some(known)}), so it is not live data; give live data")


def _any_value(column: pa.ChunkedArray) -> bool:
    """Whether a column has values besides null and NaN."""
    return bool(column.to_pandas().notna().any())


def _require_one_era(path: Path, frame: pd.DataFrame) -> None:
    if "era" not in frame:
        return
    missing = int(frame["era"].isna().sum())
    if missing:
        raise UserError(f"{path} has {missing:,} rows without an era; fetch or write it again")
    eras = sorted(frame["era"].astype(str).unique())
    if len(eras) > 1:
        raise UserError(f"{path} has {len(eras)} eras ({eras[0]} to {eras[-1]}); live data are one era")


def _require_numbers(path: Path, frame: pd.DataFrame, columns: Sequence[str], nullable: Sequence[str]) -> None:
    """Require numbers, finite but for the NaN of columns that may have it."""
    words = [name for name in columns if not pd.api.types.is_numeric_dtype(frame[name].dtype)]
    if words:
        raise UserError(f"{path} has {len(words):,} columns that are not numbers ({_some(words)}); give live data")
    may = set(nullable)
    empty = frame[[name for name in columns if name not in may]].isna()
    if empty.to_numpy().any():
        names = list(empty.columns[empty.any()])
        raise UserError(
            f"{path} has NaN in {len(names):,} columns that never had one in training ({_some(names)}), "
            f"in {int(empty.any(axis=1).sum()):,} rows; a change of data version, or a fault that Numerai may repair: "
            f"give it the version that it was trained on ({option_text('version', '…')}) or try again later"
        )
    floats = [name for name in columns if pd.api.types.is_float_dtype(frame[name].dtype)]
    infinite = [
        name for name, found in zip(floats, np.isinf(frame[floats].to_numpy()).any(axis=0), strict=True) if found
    ]
    if infinite:
        raise UserError(
            f"{path} has infinite values in {len(infinite):,} columns ({_some(infinite)}); fetch or write it again"
        )


def _some(names: Sequence[str] | pd.Index | pd.Series) -> str:
    """Name the first three."""
    shown = ", ".join(str(name) for name in list(names[:3]))
    return f"{shown}, …" if len(names) > 3 else shown
