"""Helpers for the tests of ``refresh``: data that grow from week to week, and what Numerai serves of them."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from contextlib import chdir
from pathlib import Path

import pandas as pd
from mlflow import MlflowClient

from signal_miner.live.refresh import Refreshed, RefreshOptions, refresh
from signal_miner.live.slots import Slot
from tests.conftest import write_numerai_directory
from tests.helpers.numerai_server import NumeraiServer
from tests.helpers.tournament import VERSION, make_console

DATA = Path("data", VERSION)


def write_live(data: Path) -> None:
    """The newest, unresolved era as live data."""
    validation = pd.read_parquet(data / "validation.parquet")
    live = validation[validation["era"] == validation["era"].max()].assign(era="0099")
    live.to_parquet(data / "live.parquet")


def newer(data: Path, eras: int = 62) -> None:
    """Data two weeks later."""
    shutil.rmtree(data, ignore_errors=True)
    write_numerai_directory(data, eras=eras)
    train, validation = (data / f"{name}.parquet" for name in ("train", "validation"))
    whole = pd.concat([pd.read_parquet(train), pd.read_parquet(validation)])  # the border of both files has moved
    whole[whole["era"] <= "0040"].drop(columns="data_type", errors="ignore").to_parquet(train)
    whole[whole["era"] > "0040"].to_parquet(validation)
    write_live(data)


def publish(server: NumeraiServer, data: Path) -> None:
    """Serve the files of a directory as Numerai's newest."""
    for path in data.glob("[!.]*"):
        if path.is_file():
            server.put(f"{VERSION}/{path.name}", path.read_bytes())


def run(study: Path, slots: Sequence[Slot] = (Slot(""),), **options: object) -> tuple[Refreshed, str]:
    """Refresh in the study's folder; return the outcome of the one model, and what was printed."""
    console, written = make_console()
    given = RefreshOptions(tracking_uri=f"sqlite:///{study}/mlflow.db", **{"least_correlation": -1.0} | options)
    with chdir(study):
        (found,) = refresh(slots, given, console)
    return found, written.getvalue()


def versions(study: Path) -> list[str]:
    """Return the registered versions."""
    client = MlflowClient(f"sqlite:///{study}/mlflow.db")
    return sorted(str(each.version) for each in client.search_model_versions("name='signal-miner'"))
