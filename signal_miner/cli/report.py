"""``report``: estimate how much of a study's best score is skill and how much luck, as a page and figures in MLflow."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from signal_miner.cli.options import StoreOptions
from signal_miner.cli.terminal import print_address
from signal_miner.errors import UserError
from signal_miner.utils.option import option

EXAMPLE = "signal-miner report --study demo --directory report"


@dataclass(frozen=True, kw_only=True)
class Options(StoreOptions):
    """Which study, and where the files go."""

    study: str | None = option("name of a study, or the start of it (the newest study)", None)
    directory: Path | None = option("also write the page and its figures here", None)


def run(options: Options, console: Console) -> int:
    """Make the report, and return the exit code."""
    from signal_miner.report.build import make_report
    from signal_miner.report.page import PAGE
    from signal_miner.report.sentences import SKILL_OR_LUCK

    if options.directory is not None:
        _create(options.directory)
    summary = make_report(
        options.study, options.tracking_uri, options.directory, lambda: console.print("Making the report …")
    )
    console.print(f"{SKILL_OR_LUCK}, study {summary.study.name}:")
    print_lines(summary.lines, console)
    if options.directory is not None:
        console.print(f"The page and its figures: {options.directory / PAGE}", soft_wrap=True)
    print_address(console, summary.tracking_uri, summary.address, "For the report with its figures")
    return 0


def _create(directory: Path) -> None:
    try:
        directory.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"directory = {str(directory)!r} cannot be made ({error.strerror}); name another") from error


def print_lines(lines: Sequence[str], console: Console) -> None:
    """Print the lines of a report as a list."""
    for line in lines:
        console.print(f"- {line}")
