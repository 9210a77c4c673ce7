"""``stop``: stop a miner at its next tree; finished trials are kept, and mining again resumes the study."""

from __future__ import annotations

from rich.console import Console

from signal_miner.cli.status import MinerOptions
from signal_miner.errors import UserError
from signal_miner.experiment.study_files import stop_command, study_directory

EXAMPLE = "signal-miner stop --study demo"
Options = MinerOptions


def run(options: Options, console: Console) -> int:
    """Ask a miner to stop, wait until it has, and return the exit code."""
    from signal_miner.mining.background.miner_handle import BackgroundMiner, find_statuses
    from signal_miner.mining.status import all_statuses

    directory = study_directory(options.study_storage)
    known = find_statuses(directory, options.study) if options.study else all_statuses(directory)
    running = [status for status in known if status.alive]
    if not running:
        console.print("No miner is running here.")
        return 0
    if len(running) > 1:
        names = ", ".join(status.study for status in running)
        command = stop_command(running[0].study, options.study_storage)
        raise UserError(f"{len(running)} studies are being mined: {names}; name one of them: {command}")
    miner = BackgroundMiner(running[0].study, directory)
    console.print(f"Stopping {miner.study}; finished trials are kept …")
    console.print(miner.stop())
    return 0
