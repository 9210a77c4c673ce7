"""Opens MLflow's tracking store; creates a local one so that a kill or a second process cannot break it."""

from __future__ import annotations

import logging
import os
import re
import socket
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

from google.protobuf.json_format import ParseError  # type: ignore[import-untyped]
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException
from mlflow.tracking import get_tracking_uri
from mlflow.tracking.context.registry import resolve_tags
from requests.exceptions import JSONDecodeError
from sqlalchemy import NullPool, create_engine
from sqlalchemy.exc import SQLAlchemyError

from signal_miner.errors import StoreError, UserError, is_out_of_memory
from signal_miner.tracking import local_store
from signal_miner.tracking.relocation import relocate
from signal_miner.utils.formatting import shortened
from signal_miner.utils.interruption import release_database
from signal_miner.utils.redaction import reason_of, without_passwords
from signal_miner.utils.store_address import absolute_address, sqlite_path

LONGEST_VALUE = 5000
"""Characters of a tag, a parameter and a description that every store takes."""

WEB_PAGE = re.compile(r"<(?:!doctype html|html|head|body)\b", re.IGNORECASE)
"""Text that a proxy or another server sends in place of what was asked for."""

_NOT_MLFLOW = "check its address and any proxy in between"
_LONGEST_REASON = 300  # characters; a server's answer may be a whole page
_RERUN = "once it answers again, rerun the command to resume"
_SECONDS_TO_CONNECT = 10.0
os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")  # two lines a run, with the server's password
os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "5")  # a minute; 7 are four, and a stop waits for them
os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "20")  # seconds, for each of them where a server hangs
os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")  # a bar of its own for each small file


def open_client(tracking_uri: str | None = None, make: bool = True) -> MlflowClient:
    """Open a tracking store and return a client of it.

    Parameters
    ----------
    tracking_uri : str, optional
        MLflow's own choice (its environment variables, else ``mlflow.db`` in the working directory) if not given.
    make : bool, default True
        Whether a local database that does not exist is created.

    Raises
    ------
    UserError
        If the store cannot be created or opened.
    """
    logging.getLogger("alembic").setLevel(logging.ERROR)
    logging.getLogger("mlflow").setLevel(logging.CRITICAL)  # it logs tracebacks of errors that it raises as well
    try:
        uri = absolute_address(tracking_uri or get_tracking_uri())
        uri.encode()
    except UnicodeEncodeError as error:  # no store keeps such text: in a locale without UTF-8, any other than ASCII
        where = tracking_uri or Path.cwd()
        raise UserError(f"the folder of the tracking store, {where}, is not named in Unicode; rename it") from error
    path, place = sqlite_path(uri), without_passwords(uri)
    try:
        require_server(uri)
        if path is not None and local_store.is_absent(path):
            if not make:
                raise UserError(f"there is no tracking store {uri} yet; mine a study first, or check tracking_uri")
            local_store.create(path)
        elif path is not None:
            local_store.check(path)
        client = MlflowClient(uri)
        client.search_experiments(max_results=1)
        if path is not None:
            relocate(path)
    except UserError:
        raise
    except (MlflowException, SQLAlchemyError, sqlite3.Error, OSError, ImportError, ValueError, ParseError) as error:
        if "mlflow db upgrade" in str(error):
            raise UserError(local_store.outdated(place, place)) from error
        raise _answered(error, f"tracking store {place}") or StoreError(
            f"the tracking store {place} cannot be opened ({_reason(error)}); check tracking_uri"
        ) from error
    return client


@contextmanager
def short_timeouts(seconds: int = 3) -> Iterator[None]:
    """Let requests to a server that is gone fail at once, and to one that hangs after some seconds."""
    short = {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0", "MLFLOW_HTTP_REQUEST_TIMEOUT": str(seconds)}
    before = {name: os.environ[name] for name in short}
    os.environ |= short
    try:
        yield
    finally:
        os.environ |= before


@contextmanager
def store_errors(tracking_uri: str, repair: str = _RERUN, what: str = "tracking store") -> Iterator[None]:
    """Raise `StoreError`, of one line, where the store fails.

    Parameters
    ----------
    repair : str, optional
        The advice at the end of the line; to rerun the command if not given.
    what : str, default "tracking store"
        How the line names the store.
    """
    try:
        yield
    except KeyboardInterrupt as error:
        release_database(error)
        raise
    except (MlflowException, SQLAlchemyError, OSError, ParseError) as error:
        store = f"{what} {without_passwords(tracking_uri)}"
        failure = _answered(error, store) or StoreError(f"the {store} failed ({_reason(error)}); {repair}")
        refused = isinstance(error, MlflowException) and error.error_code != "INTERNAL_ERROR"
        failure.answered = refused or tracking_uri.startswith("sqlite")
        raise failure from error


def _answered(error: Exception, store: str) -> StoreError | None:
    """Return the error for an answer that says what to do; None for any other."""
    if is_out_of_memory(error):
        raise MemoryError from error
    text = str(error)
    refused = re.search(r"error code (40[13])\b|\b(40[13]) Client Error", text)
    status = (refused[1] or refused[2]) if refused else ""
    if local_store.is_locked(error):
        return StoreError(local_store.locked(store))
    if full := local_store.full_disk(error):
        return StoreError(
            f"the {store} cannot be written ({full}); free disk space or raise its limit, then rerun the "
            "command to resume"
        )
    if status or getattr(error, "error_code", "") in ("PERMISSION_DENIED", "UNAUTHENTICATED"):
        return StoreError(
            f"the {store} refuses access ({status or _reason(error)}); check MLFLOW_TRACKING_USERNAME and "
            "MLFLOW_TRACKING_PASSWORD, or ask who runs it"
        )
    if WEB_PAGE.search(text):
        return StoreError(f"the {store} answers with a web page; {_NOT_MLFLOW}")
    if isinstance(error, ParseError | JSONDecodeError) or "not in a valid JSON format" in text:
        return StoreError(f"the {store} does not answer as an MLflow server; {_NOT_MLFLOW}")
    return None


def _reason(error: BaseException) -> str:
    return shortened(reason_of(error), _LONGEST_REASON)


class Store:
    """A tracking store, by a client of its own and without MLflow's global state.

    Parameters
    ----------
    tracking_uri : str, optional
        MLflow's own choice (its environment variables, else a local database) if not given.

    Raises
    ------
    UserError
        If the store cannot be opened.
    """

    makes_database = True

    def __init__(self, tracking_uri: str | None = None) -> None:
        self._client = open_client(tracking_uri, make=self.makes_database)
        # User, source and commit, which MLflow itself adds to runs of `start_run` only.
        self._context = {tag: value for tag, value in resolve_tags().items() if tag != "mlflow.parentRunId"}

    @property
    def tracking_uri(self) -> str:
        """Address of the store."""
        return str(self._client.tracking_uri)


def require_server(uri: str) -> None:
    """Raise `OSError` or `SQLAlchemyError` at once where no server answers: MLflow itself would try for minutes."""
    address = urlsplit(uri)
    if address.scheme in {"http", "https"} and address.hostname:
        port = address.port or (443 if address.scheme == "https" else 80)
        socket.create_connection((address.hostname, port), timeout=_SECONDS_TO_CONNECT).close()
    elif address.scheme.partition("+")[0] in {"postgresql", "mysql", "mssql"}:
        create_engine(uri, poolclass=NullPool).connect().close()
