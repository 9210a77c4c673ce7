"""What all commands do at the terminal: end with an exit code, report an error, say how to open MLflow's UI."""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Callable, Mapping

from rich.console import Console

from signal_miner.errors import Stopped, UserError

USER_ERROR, ALL_FAILED, INTERRUPTED = 2, 1, 130

MODEL_TRAINING = "workflowType=machine_learning"
"""Query of an address of MLflow's UI; without it the page opens in the GenAI menus."""


def run_reporting_errors(work: Callable[[Console], int]) -> int:
    """Run a command and return its exit code; a user's mistake and an interruption are one line on standard error."""
    try:
        return work(Console(highlight=False, soft_wrap=True, markup=False))
    except UserError as error:
        message, code = " ".join(str(error).split()), USER_ERROR
    except OSError as error:  # a full disk, missing permissions, or a closed pipe
        message, code = f"{error}; fix this and rerun the command to resume", USER_ERROR
    except (KeyboardInterrupt, Stopped):
        message, code = "interrupted; rerun the command to resume", INTERRUPTED
    sys.stderr.write(f"signal-miner: {message}\n")
    return code


def print_address(
    console: Console, tracking_uri: str, page: str, purpose: str, further: Mapping[str, str] | None = None
) -> None:
    """Print how to open a page of MLflow's UI, and further ones.

    Parameters
    ----------
    page : str
        Address after the server's.
    purpose : str
        Start of the sentence, such as ``To look at it``.
    further : mapping of str to str, optional
        What each further page shows, and its address after the server's.
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
