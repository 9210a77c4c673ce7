"""How a person opens a page of MLflow's UI."""

from __future__ import annotations

import os
import shlex
from collections.abc import Mapping

from rich.console import Console

MODEL_TRAINING = "workflowType=machine_learning"
"""Ends an address of MLflow's UI: without it the page opens among GenAI's menus."""


def print_address(
    console: Console, tracking_uri: str, page: str, purpose: str, further: Mapping[str, str] | None = None
) -> None:
    """Print how to open a page of MLflow's UI, and further ones.

    Parameters
    ----------
    console : rich.console.Console
    tracking_uri : str
    page : str
        What follows the server's address.
    purpose : str
        Beginning of the sentence, ``To look at it``.
    further : mapping of str to str, optional
        What a further page shows, to its address after the server's.
    """
    from signal_miner.utils.redaction import without_passwords

    console.print()
    store = without_passwords(tracking_uri)
    if store.startswith(("http://", "https://")):
        server = store.rstrip("/")
    else:
        server = "http://127.0.0.1:5000"
        console.print(f"{purpose}, start the MLflow UI:")
        console.print(f"  {_ui_command(store)}")
    console.print(f"and open  {server}{page}")
    for shown, address in (further or {}).items():
        console.print(f"{shown}:  {server}{address}")


def _ui_command(tracking_uri: str) -> str:
    # Without the variable the UI starts job workers that take 2 GB and serve nothing here.
    setting = "MLFLOW_SERVER_ENABLE_JOB_EXECUTION=false"
    setting = f"set {setting} &&" if os.name == "nt" else setting
    return f"{setting} mlflow ui --backend-store-uri {shlex.quote(tracking_uri)}"
