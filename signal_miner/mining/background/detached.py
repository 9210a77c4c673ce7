"""Starts a process that outlives this one: no child of ours, in a session of its own.

A notebook's kernel ends its children as it is restarted, and a Ctrl-C reaches all of a process's group. So a process
in between starts the one that is to stay, tells its number, and ends; that one belongs to nobody then.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from signal_miner.errors import UserError

_PACKAGE = Path(__file__).parents[3]
_COLORS = ("CLICOLOR", "CLICOLOR_FORCE", "FORCE_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE")
_OF_THE_STARTER = ("MLFLOW_RUN_ID", "MPLBACKEND", *_COLORS)
"""Variables that speak of the process that starts another: the run it was launched by, a notebook's way to draw, and
its colours, by which a file would count as a terminal and fill with moving bars."""

_FROM_THE_PATH = "-P"
"""Python's option to import nothing from the working directory: another's ``random.py`` may lie there."""

_SECONDS_TO_START = 60.0


def start_detached(arguments: Sequence[str], handed: str, log: Path) -> int:
    """Start ``python -m signal_miner`` with these arguments, and return at once.

    Parameters
    ----------
    arguments : sequence of str
    handed : str
        What it reads from its standard input.
    log : Path
        File to which what it prints is added.

    Returns
    -------
    int
        Its process number.

    Raises
    ------
    UserError
        If it cannot be started.
    """
    order = {"arguments": list(arguments), "handed": handed, "log": str(log)}
    try:
        between = subprocess.run(
            [sys.executable, _FROM_THE_PATH, "-m", "signal_miner.mining.background.detached"],
            input=json.dumps(order),
            capture_output=True,
            encoding="utf-8",
            env=_environment(os.environ),
            timeout=_SECONDS_TO_START,
            check=False,
        )
    except (OSError, ValueError, subprocess.TimeoutExpired) as error:
        raise _not_started(str(error)) from error
    told = between.stdout.split()[-1:]  # a site's own modules may print before it
    if between.returncode or not told or not told[0].isdigit():
        raise _not_started(" ".join(between.stderr.split("\n")[-2:]))
    return int(told[0])


def _not_started(reason: str) -> UserError:
    return UserError(f"a process cannot be started in the background ({reason.strip()}); mine in a terminal")


def _environment(variables: Mapping[str, str]) -> dict[str, str]:
    kept = {name: value for name, value in variables.items() if name not in _OF_THE_STARTER}
    paths = [str(_PACKAGE), *filter(None, [kept.get("PYTHONPATH")])]  # a notebook may have put us on its own path
    return kept | {"PYTHONPATH": os.pathsep.join(paths), "PYTHONUNBUFFERED": "1", "PYTHONIOENCODING": "utf-8"}


def _start_and_end() -> None:
    """Be the process in between."""
    order = json.load(sys.stdin)
    flags = 0
    if sys.platform == "win32":
        flags = subprocess.CREATE_NEW_PROCESS_GROUP | subprocess.CREATE_NO_WINDOW
    with Path(order["log"]).open("ab") as log:
        process = subprocess.Popen(
            [sys.executable, _FROM_THE_PATH, "-m", "signal_miner", *order["arguments"]],
            stdin=subprocess.PIPE,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            creationflags=flags,
        )
        if process.stdin is not None:
            process.stdin.write(order["handed"].encode("utf-8"))
            process.stdin.close()
    sys.stdout.write(str(process.pid))


if __name__ == "__main__":
    _start_and_end()
