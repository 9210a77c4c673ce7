"""The command to run next, in the form in which the user runs this project's commands."""

from __future__ import annotations

import os
import shlex
import sys
from enum import Enum
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

from signal_miner.utils.redaction import without_passwords

FORM_VARIABLE = "SIGNAL_MINER_COMMAND"
"""Environment variable by which a miner in the background prints commands in the form of its starter."""


class Form(Enum):
    """How this project's commands are run."""

    CONSOLE_SCRIPT = "signal-miner"
    MODULE = "python -m signal_miner"
    MLFLOW = "mlflow run"


def current_form() -> Form:
    """Return the form in which this process was started; from Python, the one that works here."""
    inherited = os.environ.get(FORM_VARIABLE)
    if inherited in {form.value for form in Form}:
        return Form(inherited)
    if os.environ.get("MLFLOW_RUN_ID"):  # `mlflow run` sets it for its entry points
        return Form.MLFLOW
    program = Path(sys.argv[0] if sys.argv else "")
    if program.stem == "signal-miner":
        return Form.CONSOLE_SCRIPT
    if program.parts[-2:] == ("signal_miner", "__main__.py"):
        return Form.MODULE
    try:
        distribution("signal-miner")
    except PackageNotFoundError:
        return Form.MLFLOW
    return Form.CONSOLE_SCRIPT


def option_text(name: str, value: object) -> str:
    """Return an option as the user would add it to a command, such as ``-P trials=200`` or ``--trials 200``.

    The value ``…`` leaves it to the user, and is not quoted.
    """
    text = without_passwords(str(value))
    quoted = (lambda words: words) if text == "…" else shlex.quote
    if current_form() is Form.MLFLOW:
        return f"-P {quoted(f'{name}={text}')}"
    return f"--{name.replace('_', '-')} {quoted(text)}"


def next_command(name: str, **options: object) -> str:
    """Return a command line to copy, such as ``signal-miner stop --study demo``.

    Parameters
    ----------
    name : str
        The command.
    **options : object
        Its options, by their names with underscores; those that are None or empty are left out.

    Returns
    -------
    str
        Quoted for the shell, without passwords.
    """
    form = current_form()
    start = f"mlflow run . -e {name} --env-manager local" if form is Form.MLFLOW else f"{form.value} {name}"
    given = [option_text(option, value) for option, value in options.items() if value not in (None, "")]
    return " ".join([start, *given])
