"""Starts a process that outlives this one: no child of ours, in a session of its own.

A notebook's kernel ends its children when it is restarted, and a Ctrl-C reaches the whole process group. So an
intermediate process starts the miner, prints its process number, and ends; the miner then has no parent.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import sysconfig
from collections.abc import Mapping
from pathlib import Path

from signal_miner.errors import UserError
from signal_miner.utils.next_command import FORM_VARIABLE, current_form

_PACKAGE = Path(__file__).parents[3]
_COLORS = ("CLICOLOR", "CLICOLOR_FORCE", "FORCE_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE")
_OF_THE_STARTER = ("MLFLOW_RUN_ID", "MPLBACKEND", *_COLORS)
"""Variables that hold for the starting process only: the run it was launched by, a notebook's plotting backend, and
colour settings, by which a log file would count as a terminal and fill with moving bars."""

_FROM_THE_PATH = "-P"
"""Python's option to import nothing from the working directory: it may hold a ``random.py``."""

_WORKER = "signal_miner.cli.worker"  # by name: the command line imports this package, not the other way round
_SECONDS_TO_START = 60.0


def start_detached(job: str, log: Path) -> int:
    """Start a miner, and return at once.

    Parameters
    ----------
    job : str
        What it reads from its standard input.
    log : Path
        File to which its output is appended.

    Returns
    -------
    int
        Its process number.

    Raises
    ------
    UserError
        If it cannot be started.
    """
    order = {"job": job, "log": str(log)}
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
    printed = between.stdout.split()[-1:]  # a site's own modules may print before it
    if between.returncode or not printed or not printed[0].isdigit():
        raise _not_started(" ".join(between.stderr.split("\n")[-2:]))
    return int(printed[0])


def _not_started(reason: str) -> UserError:
    return UserError(f"a process cannot be started in the background ({reason.strip()}); mine in a terminal")


def _environment(variables: Mapping[str, str]) -> dict[str, str]:
    kept = {name: value for name, value in variables.items() if name not in _OF_THE_STARTER}
    kept |= {"PYTHONUNBUFFERED": "1", "PYTHONIOENCODING": "utf-8", FORM_VARIABLE: current_form().value}
    if str(_PACKAGE) not in {sysconfig.get_path("purelib"), sysconfig.get_path("platlib")}:
        # Run from its folder, which only this process may have on its path. An installed package is found anyway, and
        # site-packages in PYTHONPATH could hide modules of the standard library.
        kept["PYTHONPATH"] = os.pathsep.join([str(_PACKAGE), *filter(None, [kept.get("PYTHONPATH")])])
    return kept


def _start_and_end() -> None:
    """Run as the intermediate launcher process."""
    order = json.load(sys.stdin)
    flags = 0
    if sys.platform == "win32":
        flags = subprocess.CREATE_NEW_PROCESS_GROUP | subprocess.CREATE_NO_WINDOW
    with Path(order["log"]).open("ab") as log:
        process = subprocess.Popen(
            [sys.executable, _FROM_THE_PATH, "-m", _WORKER],
            stdin=subprocess.PIPE,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            creationflags=flags,
        )
        if process.stdin is not None:
            process.stdin.write(order["job"].encode("utf-8"))
            process.stdin.close()
    sys.stdout.write(str(process.pid))


if __name__ == "__main__":
    _start_and_end()
