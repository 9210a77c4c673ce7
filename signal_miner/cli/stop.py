"""``stop``: stop a miner at its next tree; finished trials are kept, and mining again resumes the study."""

from __future__ import annotations

from rich.console import Console

from signal_miner.cli.status import MinerOptions, place_of, statuses_of
from signal_miner.errors import UserError
from signal_miner.experiment.study_files import stop_command, study_directory

EXAMPLE = "signal-miner stop --study demo"
Options = MinerOptions


def run(options: Options, console: Console) -> int:
    """Ask a miner to stop, wait until it has, and return the exit code."""
    from signal_miner.mining.background.miner_handle import BackgroundMiner, chosen_statuses
    from signal_miner.mining.background.progress import progress_of
    from signal_miner.mining.status import read_status

    storage, directory = options.study_storage, study_directory(options.study_storage)
    known = statuses_of(storage)
    known = chosen_statuses(known, options.study, place_of(storage)) if options.study else known
    running = [status for status in known if status.alive]
    if not running:
        console.print("No miner is running here.")
        return 0
    if len(running) > 1:
        names = ", ".join(status.study for status in running)
        command = stop_command(running[0].study, storage)
        raise UserError(f"{len(running)} studies are being mined: {names}; name one of them: {command}")
    (status,) = running
    console.print(f"Stopping {status.study}; finished trials are kept …")
    own = read_status(directory, status.study)
    if own is not None and own.token == status.token:
        console.print(BackgroundMiner(status.study, directory).stop())
    else:
        from signal_miner.mining.shared_status import stop_elsewhere

        console.print(progress_of(stop_elsewhere(storage, status)))
    return 0
