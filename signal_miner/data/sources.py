"""What an experiment's ``data`` stands for: the invented market, a Numerai version, a directory or a file."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from signal_miner.data.csv_import import csv_as_parquet
from signal_miner.data.dataset import Dataset, open_dataset
from signal_miner.data.demo import ensure_demo
from signal_miner.errors import UserError
from signal_miner.utils.redaction import reason_of_system
from signal_miner.utils.validation import as_path, shown

DATA_DIRECTORY = Path("data")
"""Where downloads, the invented market and converted extracts lie, below the working directory."""

DEMO = "demo"
"""``data = "demo"`` is the invented market."""

_VERSION = re.compile(r"v\d+(\.\d+)*")


def open_source(
    data: str,
    feature_set: str,
    scoring_target: str,
    targets: Sequence[str] | None = None,
    directory: Path = DATA_DIRECTORY,
) -> Dataset:
    """Open the data that an experiment names; the invented market is made, a CSV file converted, on first use.

    Parameters
    ----------
    data : str
        ``demo``, a version such as ``v5.3`` (downloaded before), a directory, or a parquet or CSV file.
    feature_set, scoring_target : str
    targets : sequence of str, optional
        See `open_dataset`.
    directory : Path, optional
        Where the tool's own data lie.

    Returns
    -------
    Dataset

    Raises
    ------
    UserError
        If there is no such data, or it is not in Numerai's layout.
    """
    path = as_path("data", data, DEMO)
    try:
        exists = path.exists()
    except OSError as error:  # too long a name, or a directory that may not be looked into
        raise UserError(f"data = {shown(data)} cannot be read ({reason_of_system(error)}); name another") from error
    if data == DEMO:
        path = ensure_demo(directory / DEMO)
    elif _VERSION.fullmatch(data) and not exists:
        path = directory / data
        if not path.is_dir():
            raise UserError(
                f"data = {data!r} is not here yet; fetch it with: "
                f"mlflow run . -e download --env-manager local -P version={data}"
            )
    elif path.suffix.lower() == ".csv" and path.is_file():
        converted = csv_as_parquet(path, directory / "converted")
        return open_dataset(converted, feature_set, scoring_target, targets)
    elif path.is_file() and path.suffix.lower() not in {".parquet", ".pq"}:
        raise UserError(f"data = {data!r} is neither parquet nor CSV; convert it to one of them")
    return open_dataset(path, feature_set, scoring_target, targets)
