"""What all commands do at the terminal: end with an exit code, report an error, say how to open MLflow's UI."""

from __future__ import annotations

import io
import os
import shlex
import sys
import tempfile
import traceback
import warnings
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import TYPE_CHECKING

from rich.console import Console

from signal_miner.errors import OUT_OF_MEMORY, Stopped, UserError, is_out_of_memory, one_line, printable
from signal_miner.utils.console import AnyTextConsole, encodable
from signal_miner.utils.redaction import reason_of, without_passwords

if TYPE_CHECKING:  # it imports MLflow
    from signal_miner.models.registry import RegisteredModel

USER_ERROR, ALL_FAILED, SOME_FAILED, UNEXPECTED, INTERRUPTED = 2, 1, 1, 70, 130


def run_reporting_errors(work: Callable[[Console], int], *, to_log: bool = False) -> int:
    """Run a command and return its exit code; whatever ends it early is one line on standard error.

    Parameters
    ----------
    to_log : bool, default False
        Whether output goes to a log file, where the details of an unexpected error are then, too.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # for what libraries print
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="Glyph .* missing from")  # a name in a figure, as in Chinese
            warnings.showwarning = _print_warning  # type: ignore[assignment]
            return work(AnyTextConsole(soft_wrap=True))
    except UserError as error:
        message, code = str(error), USER_ERROR
    except (KeyboardInterrupt, Stopped):
        message, code = "interrupted; rerun the command to resume", INTERRUPTED
    except Exception as error:  # noqa: BLE001 (the last kind is a mistake of ours, whose traceback may show passwords)
        if is_out_of_memory(error):
            message, code = OUT_OF_MEMORY, USER_ERROR
        elif isinstance(error, OSError):  # a full disk, missing permissions
            message, code = f"{error or type(error).__name__}; fix this and rerun the command to resume", USER_ERROR
        else:
            details = _write_details(error, to_log)
            message, code = f"unexpected {type(error).__name__}: {reason_of(error)}; details {details}", UNEXPECTED
    _print_error(f"signal-miner: {message}")
    return code


def _print_warning(message: Warning | str, *_where: object) -> None:
    _print_error(f"Warning: {message}")


def _print_error(message: str) -> None:
    if sys.stderr is not None:
        line = without_passwords(one_line(message))
        sys.stderr.write(f"{encodable(line, sys.stderr.encoding or 'utf-8')}\n")


def _write_details(error: BaseException, to_log: bool) -> str:
    """Write an error's traceback without passwords, and return where it is."""
    text = printable(without_passwords("".join(traceback.format_exception(error))))
    if not to_log:
        with (
            suppress(OSError),
            tempfile.NamedTemporaryFile(
                "w", encoding="utf-8", errors="backslashreplace", prefix="signal-miner-", suffix=".log", delete=False
            ) as file,
        ):
            file.write(text)
            return f"in {file.name}"
    sys.stderr.write(text)
    return "above"


def print_address(
    console: Console,
    tracking_uri: str,
    page: str,
    purpose: str,
    further: Mapping[str, str] | None = None,
    hint: str = "",
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
    hint : str, optional
        A last line, on what MLflow's UI does not show by itself.
    """
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
    if hint:
        console.print(hint)


def _ui_command(tracking_uri: str) -> str:
    # Without the variable the UI starts job workers that take 2 GB and serve nothing here.
    setting = "MLFLOW_SERVER_ENABLE_JOB_EXECUTION=false"
    setting = f"set {setting} &&" if os.name == "nt" else setting
    return f"{setting} mlflow ui --backend-store-uri {shlex.quote(tracking_uri)}"


def print_if_unverified(model: RegisteredModel, console: Console) -> None:
    """Say that a model was registered before checksums were kept."""
    if not model.verified:
        console.print(
            f"{model.name} version {model.version} was registered without checksums, so its files are not verified; "
            "register the ensemble again to have them",
            highlight=False,
        )
