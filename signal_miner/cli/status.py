"""``status``: show the progress of each miner in this folder, and how finished ones ended."""

from __future__ import annotations

from dataclasses import dataclass

from rich.console import Console

from signal_miner.experiment.study_files import STUDY_STORAGE, study_directory
from signal_miner.utils.option import option

EXAMPLE = "signal-miner status --study demo"
_ENDED_SHOWN = 5


@dataclass(frozen=True, kw_only=True)
class MinerOptions:
    """The options that choose a miner."""

    study: str | None = option("name of a study, or the start of it (any that is being mined)", None)
    study_storage: str = option(f"as in the experiment file, where it sets one ({STUDY_STORAGE})", STUDY_STORAGE)


Options = MinerOptions


def run(options: Options, console: Console) -> int:
    """Print a line for each miner, and return the exit code."""
    from signal_miner.mining.background.miner_handle import find_statuses
    from signal_miner.mining.background.progress import progress_of
    from signal_miner.mining.status import all_statuses

    directory = study_directory(options.study_storage)
    if not options.study and not all_statuses(directory):
        console.print("No study has been mined here yet; a miner that has just started appears within seconds.")
        return 0
    ended = 0
    for status in find_statuses(directory, options.study):
        ended += not status.alive
        if ended > _ENDED_SHOWN and not options.study:
            break
        console.print(progress_of(status))
        if status.alive:
            log = f", log in {status.log}" if status.log else ""
            console.print(f"  process {status.process.pid} on {status.process.host}{log}")
    return 0
