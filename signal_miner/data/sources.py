"""What an experiment's ``data`` names: the synthetic demo market, a Numerai version, a directory or a file."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from signal_miner.data.csv_import import csv_as_parquet
from signal_miner.data.dataset import Dataset, open_dataset
from signal_miner.data.demo import ensure_demo
from signal_miner.errors import UserError
from signal_miner.utils.next_command import next_command
from signal_miner.utils.redaction import reason_of_system
from signal_miner.utils.validation import as_path, shown

DATA_DIRECTORY = Path("data")
"""Directory of downloads, the demo market, converted CSV files and caches, below the working directory."""

DEMO = "demo"
"""``data = "demo"`` is the synthetic demo market."""


def is_data_version(text: str) -> bool:
    """Return whether a text is a Numerai data version, such as ``v5.3``."""
    return re.fullmatch(r"v\d+(\.\d+)*", text) is not None


def open_source(
    data: str,
    feature_set: str | Sequence[str],
    scoring_target: str,
    targets: Sequence[str] | None = None,
    directory: Path = DATA_DIRECTORY,
) -> Dataset:
    """Open the data that an experiment names; the demo market is generated, a CSV file converted, on first use.

    Parameters
    ----------
    data : str
        ``demo``, a version such as ``v5.3`` (downloaded before), a directory, or a parquet or CSV file.
    feature_set, scoring_target, targets
        See `open_dataset`.
    directory : Path, optional
        Where downloads, the demo market and converted files are.

    Raises
    ------
    UserError
        If there is no such data, or it is not in Numerai's layout.
    """
    path = as_path("data", data, DEMO)
    try:
        exists = path.exists() or path.is_symlink()  # a link to nothing must not count as absent
    except OSError as error:  # too long a name, or a directory without permission
        raise UserError(f"data = {shown(data)} cannot be read ({reason_of_system(error)}); name another") from error
    if data == DEMO:
        path = ensure_demo(directory / DEMO)
    elif is_data_version(data) and not exists:
        path = directory / data
        if not path.is_dir():
            raise UserError(f"data = {data!r} is not here yet; fetch it with: {next_command('download', version=data)}")
    elif path.suffix.lower() == ".csv" and path.is_file():
        converted = csv_as_parquet(path, directory / "converted")
        try:
            return open_dataset(converted, feature_set, scoring_target, targets, converted_from=path)
        except UserError as error:  # the user knows the CSV file only
            raise UserError(str(error).replace(str(converted), str(path))) from error
    elif path.is_file() and path.suffix.lower() not in {".parquet", ".pq"}:
        raise UserError(f"data = {data!r} is neither parquet nor CSV; convert it to one of them")
    return open_dataset(path, feature_set, scoring_target, targets)
