"""The commands: ``python -m signal_miner mine`` and the others."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from types import ModuleType

from rich.console import Console

from signal_miner import __version__
from signal_miner.cli import (
    INTERRUPTED,
    USER_ERROR,
    Parser,
    deploy,
    download,
    ensemble,
    experiments,
    holdout,
    init,
    mine,
    register,
    report,
    status,
    stop,
    submit,
)
from signal_miner.errors import Stopped, UserError

_COMMANDS: dict[str, ModuleType] = {
    "download": download,
    "experiments": experiments,
    "init": init,
    "mine": mine,
    "status": status,
    "stop": stop,
    "report": report,
    "ensemble": ensemble,
    "holdout": holdout,
    "register": register,
    "submit": submit,
    "deploy": deploy,
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
        0; 1 if every trial failed; 2 for a user's mistake, told in one line; 130 if stopped by the user.
    """
    console = Console(highlight=False, soft_wrap=True, markup=False)
    try:
        given = _parse(sys.argv[1:] if arguments is None else arguments)
        return int(given.run(given, console))
    except UserError as error:
        print(f"signal-miner: {' '.join(str(error).split())}", file=sys.stderr)
        return USER_ERROR
    except OSError as error:  # no room, no right, or nobody reads what is printed
        print(f"signal-miner: {error}; once that is mended, the same command goes on", file=sys.stderr)
        return USER_ERROR
    except (KeyboardInterrupt, Stopped):
        print("signal-miner: interrupted; the same command goes on where it stopped", file=sys.stderr)
        return INTERRUPTED


def _parse(arguments: Sequence[str]) -> argparse.Namespace:
    given, unknown = _parser().parse_known_args(arguments)
    if unknown:
        # argparse may have used the value of an unknown option as the experiment: quote both.
        pairs = zip(["", *arguments], arguments, strict=False)
        shown = [text for before, text in pairs if text in unknown or (before in unknown and text[:1] != "-")]
        raise UserError(f"unrecognized arguments: {' '.join(shown)}")
    return given


def _parser() -> argparse.ArgumentParser:
    parser = Parser(prog="python -m signal_miner", description="Mine models for the Numerai Classic tournament.")
    parser.add_argument("--version", action="version", version=f"signal-miner {__version__}")
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND", parser_class=Parser)
    for name, module in _COMMANDS.items():
        summary = str(module.__doc__).partition(": ")[2].strip().rstrip(".")
        command = commands.add_parser(name, help=summary, description=summary)
        module.add_options(command)
        command.set_defaults(run=module.run)
    return parser


if __name__ == "__main__":
    sys.exit(main())
