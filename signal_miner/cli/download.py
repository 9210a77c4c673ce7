"""``download``: fetch a version of Numerai's data."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from signal_miner.utils.option import option

EXAMPLE = "signal-miner download --version v5.3"


@dataclass(frozen=True, kw_only=True)
class Options:
    """What to download, and where to."""

    version: str = option("such as v5.3")
    directory: Path | None = option("where to (data/<version>)", None)
    files: tuple[str, ...] = option("file names, separated by commas (those that mining and submitting need)", ())


def run(options: Options, console: Console) -> int:
    """Download, and return the exit code."""
    from signal_miner.data.sources import DATA_DIRECTORY
    from signal_miner.numerai.download import download_version
    from signal_miner.numerai.download.payout import download_payout

    directory = options.directory or DATA_DIRECTORY / options.version
    files = download_version(options.version, directory, files=options.files or None)
    new = sum(file.fetched for file in files)
    size = sum(file.size for file in files) / 1e6
    console.print(f"{len(files)} files in {directory}, {size:,.1f} MB: {new} fetched, {len(files) - new} here already")
    if (published := download_payout(directory)) is not None:
        console.print(f"Round {published.round} pays {published.payout}")
    console.print(f'To mine it, set data = "{options.directory or options.version}" in an experiment file.')
    return 0
