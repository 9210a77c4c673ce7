"""``report``: how much of a study's best score is skill and how much luck, as a page and figures in MLflow."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from signal_miner.cli.ui_address import print_address
from signal_miner.errors import UserError


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the command's options."""
    parser.add_argument("--study", help="a study's name or its beginning; the newest if not given")
    parser.add_argument("--directory", help="where the page and its figures are put, too")
    parser.add_argument("--tracking-uri", help="MLflow tracking store")


def run(given: argparse.Namespace, console: Console) -> int:
    """Make the report, and return the exit code."""
    from signal_miner.report.build import make_report
    from signal_miner.report.page import PAGE

    directory = Path(given.directory) if given.directory else None
    if directory is not None:
        _make(directory)
    console.print("Making the report …")
    summary = make_report(given.study or None, given.tracking_uri or None, directory)
    console.print(f"Skill or luck, study {summary.study.name}:")
    print_lines(summary.lines, console)
    if directory is not None:
        console.print(f"The page and its figures: {directory / PAGE}", soft_wrap=True)
    print_address(console, summary.tracking_uri, summary.address, "For the report with its figures")
    return 0


def _make(directory: Path) -> None:
    try:
        directory.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"directory = {str(directory)!r} cannot be made ({error.strerror}); name another") from error


def print_lines(lines: Sequence[str], console: Console) -> None:
    """Print what a report came to."""
    for line in lines:
        console.print(f"- {line}")
