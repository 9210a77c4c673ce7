"""``init``: copy an experiment file that comes with the package, to edit it."""

from __future__ import annotations

import argparse
from pathlib import Path

from rich.console import Console

from signal_miner.errors import UserError, did_you_mean
from signal_miner.experiment.library import library


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the command's options."""
    parser.add_argument("name", nargs="?", default="demo", help="name of an experiment (%(default)s)")
    parser.add_argument("path", nargs="?", help="the new file (NAME.toml)")


def run(given: argparse.Namespace, console: Console) -> int:
    """Copy the file, and return the exit code."""
    files = library()
    if given.name not in files:
        raise UserError(f"no experiment {given.name!r}{did_you_mean(given.name, files)}")
    path = Path(given.path or f"{given.name}.toml").expanduser()
    try:
        with path.open("xb") as file:
            file.write(files[given.name].read_bytes())
    except FileExistsError as error:
        raise UserError(f"{str(path)!r} exists and is not overwritten; name another file") from error
    console.print(f"Wrote {path}; edit it, then mine it")
    return 0
