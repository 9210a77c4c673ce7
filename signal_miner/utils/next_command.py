"""The command to run next, in the form in which the user runs this project's commands."""

from __future__ import annotations

import shlex


def next_command(name: str, **options: object) -> str:
    """Return a command line that a person can copy, such as ``mlflow run . -e stop --env-manager local -P study=demo``.

    Parameters
    ----------
    name : str
        The command.
    **options : object
        Its options, by their names with underscores; those that are None or empty are left out.

    Returns
    -------
    str
        Quoted for the shell.
    """
    given = [shlex.quote(f"{option}={value}") for option, value in options.items() if value not in (None, "")]
    return " ".join(["mlflow run .", f"-e {name}", "--env-manager local", *(f"-P {option}" for option in given)])
