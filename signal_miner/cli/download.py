"""``download``: fetch a version of Numerai's data."""

from __future__ import annotations

import argparse
from pathlib import Path

from rich.console import Console

from signal_miner.cli import listed


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the command's options."""
    parser.add_argument("--version", required=True, help="such as v5.3")
    parser.add_argument("--directory", help="where to (data/<version>)")
    parser.add_argument("--files", help="file names, separated by commas, in place of the usual ones")


def run(given: argparse.Namespace, console: Console) -> int:
    """Download, and return the exit code."""
    from signal_miner.data.sources import DATA_DIRECTORY
    from signal_miner.numerai.download import download_version

    directory = Path(given.directory) if given.directory else DATA_DIRECTORY / given.version
    fetched = download_version(given.version, directory, files=listed(given.files) or None)
    new = sum(file.fetched for file in fetched)
    size = sum(file.size for file in fetched) / 1e6
    console.print(
        f"{len(fetched)} files in {directory}, {size:,.1f} MB: {new} fetched, {len(fetched) - new} here already"
    )
    console.print(f'Mine it with an experiment file that says data = "{given.directory or given.version}".')
    return 0
