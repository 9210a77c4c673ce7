"""``experiments``: list the experiment files that come with the package."""

from __future__ import annotations

import argparse

from rich.console import Console

from signal_miner.experiment.library import describe, library


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add no options: the command has none."""


def run(_given: argparse.Namespace, console: Console) -> int:
    """Print a line per experiment, and return the exit code."""
    files = library()
    width = max(map(len, files), default=0)
    for name, path in files.items():
        console.print(f"{name:<{width}}  {describe(path)}")
    return 0
