"""``stop``: end a miner at its next tree; what is finished is kept, and the same study goes on later."""

from __future__ import annotations

import argparse

from rich.console import Console

from signal_miner.errors import UserError


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the command's options."""
    parser.add_argument("--study", help="a study's name or its beginning; the one that is being mined if not given")
    parser.add_argument("--study-storage", help="as the experiment file says (studies)")


def run(given: argparse.Namespace, console: Console) -> int:
    """Ask a miner to stop, wait until it has, and return the exit code."""
    from signal_miner.experiment.study_files import STUDY_STORAGE, study_directory
    from signal_miner.mining.background.miner_handle import BackgroundMiner, find_statuses
    from signal_miner.mining.status import all_statuses

    directory = study_directory(given.study_storage or STUDY_STORAGE)
    known = find_statuses(directory, given.study) if given.study else all_statuses(directory)
    running = [status for status in known if status.alive]
    if not running:
        console.print("No miner is at work here.")
        return 0
    if len(running) > 1:
        names = ", ".join(status.study for status in running)
        raise UserError(f"{len(running)} studies are being mined: {names}; say which with -P study=…")
    miner = BackgroundMiner(running[0].study, directory)
    console.print(f"Stopping {miner.study}; finished trials are kept …")
    console.print(miner.stop())
    return 0
