"""Helpers for the tests of downloads: a stored version, and a server that numerapi is redirected to."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from pathlib import Path

import numerapi.base_api
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from signal_miner.errors import UserError
from signal_miner.numerai import retries
from signal_miner.numerai.download import transfer
from signal_miner.numerai.download.versions import DEFAULT_FILES, DownloadedFile, download_version
from tests.helpers.numerai_server import NumeraiServer

VERSION = "v5.3"
TRAIN = f"{VERSION}/train.parquet"


def parquet(seed: int, n_rows: int = 40_000, row_group_size: int = 15_000) -> bytes:
    """A file of random int8 columns; the size depends on the number of rows alone."""
    values = np.random.default_rng(seed).integers(-128, 128, size=(6, n_rows), dtype=np.int8)
    table = pa.table({f"feature_{i}": values[i] for i in range(6)})
    sink = io.BytesIO()
    pq.write_table(
        table,
        sink,
        row_group_size=row_group_size,
        compression="none",
        use_dictionary=False,
        write_statistics=False,
    )
    return sink.getvalue()


FEATURES = json.dumps({"feature_sets": {"small": ["feature_0"]}, "targets": ["target"]}).encode()
BODY = parquet(0)
NEWER = parquet(1)


def serve_numerai(monkeypatch: pytest.MonkeyPatch) -> Iterator[NumeraiServer]:
    """The fixture's body: a Numerai on loopback that numerapi talks to, and retries without a pause."""
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.setenv(name, "*")
    monkeypatch.setattr(retries, "DOWNLOAD_DELAYS_SECONDS", (0.0, 0.01, 0.01))
    monkeypatch.setattr(retries, "API_DELAY_SECONDS", 0)
    with NumeraiServer() as server:
        monkeypatch.setattr(numerapi.base_api, "API_TOURNAMENT_URL", server.url)
        small = parquet(7, n_rows=50)
        for name in DEFAULT_FILES:
            server.put(f"{VERSION}/{name}", FEATURES if name == "features.json" else small)
        server.put(TRAIN, BODY)
        server.put("v5.2/train.parquet", BODY)
        server.put("v4.3/train_int8.parquet", BODY)
        server.put("numerai_training_data.csv", b"old")
        yield server


def bring(directory: Path) -> DownloadedFile:
    """Download the one large file."""
    (file,) = download_version(VERSION, directory, files=["train.parquet"], show_progress=False)
    return file


def interrupt(numerai: NumeraiServer, directory: Path, n_bytes: int = 100_000) -> None:
    """Leave a part of `n_bytes` or a little less behind."""
    numerai.faults.cut_after = [n_bytes] + [0] * 8
    with pytest.raises(UserError, match="run the same command again to resume there"):
        bring(directory)
    numerai.faults.cut_after = []
    numerai.served.clear()
    part = directory / "train.parquet.part"
    assert n_bytes - transfer.CHUNK_BYTES <= part.stat().st_size <= n_bytes
    assert not (directory / "train.parquet").exists()


def left_over(directory: Path) -> set[str]:
    return {path.name for path in directory.rglob("*.part")} | {path.name for path in directory.rglob("*.new")}
