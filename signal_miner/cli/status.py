"""``status``: show the progress of each miner in this folder, and how finished ones ended."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from rich.console import Console

from signal_miner.experiment.study_files import STUDY_STORAGE, study_directory
from signal_miner.utils.option import option
from signal_miner.utils.redaction import without_passwords

if TYPE_CHECKING:
    from signal_miner.mining.status import MinerStatus

EXAMPLE = "signal-miner status --study demo"
_ENDED_SHOWN = 5


@dataclass(frozen=True, kw_only=True)
class MinerOptions:
    """The options that choose a miner."""

    study: str | None = option("name of a study, or the start of it (any that is being mined)", None)
    study_storage: str = option(f"as in the experiment file, where it sets one ({STUDY_STORAGE})", STUDY_STORAGE)


Options = MinerOptions


def statuses_of(storage: str) -> tuple[MinerStatus, ...]:
    """Return the newest status of each study of a storage."""
    from signal_miner.mining.status import all_statuses

    if "://" not in storage:
        return all_statuses(study_directory(storage))
    from signal_miner.mining.shared_status import known_statuses  # Optuna takes a second to import

    return known_statuses(storage)


def place_of(storage: str) -> str:
    """Return how a message names the place of a study's files."""
    return without_passwords(storage) if "://" in storage else str(study_directory(storage))


def run(options: Options, console: Console) -> int:
    """Print a line for each miner, and return the exit code."""
    from signal_miner.mining.background.miner_handle import chosen_statuses
    from signal_miner.mining.background.progress import progress_of

    known = statuses_of(options.study_storage)
    if not options.study and not known:
        console.print("No study has been mined here yet; a miner that has just started appears within seconds.")
        return 0
    ended = 0
    for status in chosen_statuses(known, options.study, place_of(options.study_storage)):
        ended += not status.alive
        if ended > _ENDED_SHOWN and not options.study:
            break
        console.print(progress_of(status))
        if status.alive:
            log = f", log in {status.log}" if status.log else ""
            console.print(f"  process {status.process.pid} on {status.process.host}{log}")
    return 0
