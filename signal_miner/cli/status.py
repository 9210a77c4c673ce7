"""``status``: how far the miners of this folder are, and how those that are no longer at work ended."""

from __future__ import annotations

import argparse

from rich.console import Console

_ENDED_SHOWN = 5


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the command's options."""
    parser.add_argument("--study", help="a study's name or its beginning; all if not given")
    parser.add_argument("--study-storage", help="as the experiment file says (studies)")


def run(given: argparse.Namespace, console: Console) -> int:
    """Print a line a miner, and return the exit code."""
    from signal_miner.experiment.study_files import STUDY_STORAGE, study_directory
    from signal_miner.mining.background.miner_handle import find_statuses
    from signal_miner.mining.background.progress import progress_of
    from signal_miner.mining.status import all_statuses

    directory = study_directory(given.study_storage or STUDY_STORAGE)
    if not given.study and not all_statuses(directory):
        console.print("No miner has been at work here yet; one that was started just now needs some seconds to say so.")
        return 0
    ended = 0
    for status in find_statuses(directory, given.study or None):
        ended += not status.alive
        if ended > _ENDED_SHOWN and not given.study:
            break
        console.print(progress_of(status))
        if status.alive:
            place = f", it prints to {status.log}" if status.log else ""
            console.print(f"  process {status.process.pid} on {status.process.host}{place}")
    return 0
