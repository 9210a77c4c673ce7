"""The commands: ``signal-miner mine`` and the others, also as ``python -m signal_miner``."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from types import ModuleType

from rich.console import Console

from signal_miner import __version__
from signal_miner.cli import (
    deploy,
    download,
    ensemble,
    experiments,
    holdout,
    init,
    live,
    mine,
    refresh,
    register,
    report,
    status,
    stop,
    submit,
)
from signal_miner.cli.options import Parser, add_options, parse_options, password_warnings
from signal_miner.cli.terminal import run_reporting_errors

COMMANDS: dict[str, ModuleType] = {
    "mine": mine,
    "status": status,
    "stop": stop,
    "report": report,
    "ensemble": ensemble,
    "holdout": holdout,
    "register": register,
    "submit": submit,
    "deploy": deploy,
    "live": live,
    "refresh": refresh,
    "download": download,
    "experiments": experiments,
    "init": init,
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command and return its exit code.

    Parameters
    ----------
    arguments : sequence of str, optional
        ``sys.argv[1:]`` if not given.

    Returns
    -------
    int
        0; 1 if every trial failed, or a slot; 2 for a user's mistake; 70 for an unexpected error; 130 if stopped.
    """

    def work(console: Console) -> int:
        given = _parser().parse_args(arguments)
        for warning in password_warnings(given.module.Options, given):
            console.print(f"Warning: {warning}", style="yellow")
        return int(given.module.run(parse_options(given.module.Options, given), console))

    return run_reporting_errors(work)


def _parser() -> argparse.ArgumentParser:
    parser = Parser(prog="signal-miner", description="Mine models for the Numerai Classic tournament.")
    parser.add_argument("--version", action="version", version=f"signal-miner {__version__}")
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND", parser_class=Parser)
    for name, module in COMMANDS.items():
        summary = str(module.__doc__).partition(": ")[2].strip().rstrip(".")
        command = commands.add_parser(name, help=summary, description=summary, epilog=f"Example: {module.EXAMPLE}")
        add_options(command, module.Options)
        command.set_defaults(module=module)
    return parser


if __name__ == "__main__":
    sys.exit(main())
