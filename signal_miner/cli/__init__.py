"""The command line: a module for each command, with its options and what it prints."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from dataclasses import dataclass

from rich.console import Console

from signal_miner.errors import Stopped, UserError
from signal_miner.utils.option import option

USER_ERROR, ALL_FAILED, INTERRUPTED = 2, 1, 130


class Parser(argparse.ArgumentParser):
    """A parser that raises our error, one line with exit code 2; options cannot be abbreviated."""

    def __init__(self, **settings: object) -> None:
        super().__init__(**settings, allow_abbrev=False)  # type: ignore[arg-type]

    def error(self, message: str) -> None:  # type: ignore[override]
        """Raise the mistake as a `UserError`."""
        raise UserError(message)


@dataclass(frozen=True, kw_only=True)
class StoreOptions:
    """The option that every command has which reads or writes runs."""

    tracking_uri: str | None = option("MLflow tracking store", None)


@dataclass(frozen=True, kw_only=True)
class ModelOptions(StoreOptions):
    """The options that name a registered model."""

    model: str = option("name of the registered model (signal-miner)", "signal-miner")
    alias: str = option("its alias or version (champion)", "champion")


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
