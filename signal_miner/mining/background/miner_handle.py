"""A study's miner in a process of its own, as a notebook or another terminal sees it."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from signal_miner.errors import UserError, did_you_mean
from signal_miner.experiment.study_files import STUDY_STORAGE, study_directory
from signal_miner.mining.background.live_display import show_live
from signal_miner.mining.background.progress import Progress, progress_of
from signal_miner.mining.status import (
    BENCHMARK,
    STARTING,
    MinerStatus,
    all_statuses,
    read_status,
    request_stop,
    studies_of,
)
from signal_miner.utils.next_command import next_command
from signal_miner.utils.redaction import HIDDEN, without_passwords
from signal_miner.utils.store_address import absolute_address

if TYPE_CHECKING:
    import pandas as pd

_SECONDS_BETWEEN_LOOKS = 0.2
_SECONDS_UNTIL_IT_IS_WRITTEN_AGAIN = 15.0  # a miner's heartbeat, and some


class BackgroundMiner:
    """A study's miner, in a process of its own. In a notebook it shows a live bar.

    Made by `start_mining` and `attach`. Any number of these may look at the same miner, from any process.

    Parameters
    ----------
    study : str
    directory : Path
        Of the study's files on this machine.
    tracking_uri : str, optional
        MLflow store; the one in the miner's status, or else MLflow's own choice, if not given.

    Attributes
    ----------
    study : str
    """

    def __init__(self, study: str, directory: Path, tracking_uri: str | None = None) -> None:
        self.study = study
        self._directory = directory
        self._tracking_uri = tracking_uri
        self._last: tuple[float, MinerStatus] | None = None

    @property
    def tracking_uri(self) -> str | None:
        """MLflow store of the study; None for MLflow's own choice.

        Raises
        ------
        UserError
            If its address has a password, which no file keeps, and is not known from elsewhere.
        """
        if self._tracking_uri:
            return self._tracking_uri
        store = self._status().tracking_uri
        if HIDDEN not in store:
            return store or None
        if without_passwords(os.environ.get("MLFLOW_TRACKING_URI", "")) == store:
            return None
        raise UserError(
            f"the store {store} of study {self.study} has a password, which is not stored; call "
            f"signal_miner.attach({self.study!r}, tracking_uri=…)"
        )

    def __getstate__(self) -> dict[str, object]:  # a pickle keeps no password
        given = self._tracking_uri
        return self.__dict__ | {"_tracking_uri": given if given and without_passwords(given) == given else None}

    def progress(self) -> Progress:
        """Return how far the miner is: done, total, rate, time left, the best so far.

        Returns
        -------
        Progress
            In state ``failed``, with the reason in `error`, where the miner failed or its process no longer exists.
        """
        return progress_of(self._status())

    def leaderboard(self) -> pd.DataFrame:
        """Return the trials that are finished so far beside the benchmark, as `signal_miner.leaderboard` does.

        Returns
        -------
        pandas.DataFrame
            Without rows until the benchmark is finished.
        """
        import pandas as pd

        from signal_miner.tracking.frames import leaderboard

        nothing = pd.DataFrame(index=pd.Index([], name="model"))
        if self._status().state == STARTING:
            return nothing
        try:
            return leaderboard(self.study, self.tracking_uri)
        except UserError:
            if self._status().state == BENCHMARK:
                return nothing
            raise

    def stop(self, timeout: float | None = None) -> Progress:
        """Ask the miner to stop, and wait until it has: trials in training end at their next tree.

        No new trial is started and no finished one is lost; `start_mining` resumes the study.

        Parameters
        ----------
        timeout : float, optional
            Seconds to wait at most; the request remains in force.

        Returns
        -------
        Progress
            Of the miner that is stopped. Of another one, if one was started in the meantime.

        Raises
        ------
        UserError
            If the request cannot be written, or `timeout` is no number.
        """
        asked: MinerStatus | None = None
        for status in self._until_it_ends(timeout):
            if asked is None or (status.token != asked.token and asked.state == STARTING):
                request_stop(self._directory, status)  # another process got the study before the one that was starting
            elif status.token != asked.token:
                break
            asked = status
        return self.progress()

    def wait(self, timeout: float | None = None) -> Progress:
        """Wait until the miner has ended; interrupting the wait does not stop the miner.

        Parameters
        ----------
        timeout : float, optional
            Seconds to wait at most.

        Returns
        -------
        Progress

        Raises
        ------
        UserError
            If the miner failed, or `timeout` is no number.
        """
        for _ in self._until_it_ends(timeout):
            pass
        progress = self.progress()
        if progress.error:
            raise UserError(f"mining of {self.study} failed: {progress.error}")
        return progress

    def log(self, lines: int = 20) -> str:
        """Return the last lines that the miner printed; empty where it prints to a terminal."""
        if not isinstance(lines, int) or lines < 1:
            raise UserError(f"lines = {lines!r} is not an integer of at least 1")
        path = self._status().log
        if not path or not Path(path).is_file():
            return ""
        text = Path(path).read_text(encoding="utf-8", errors="replace")
        return without_passwords("\n".join(text.splitlines()[-lines:]))

    def _until_it_ends(self, timeout: float | None) -> Iterator[MinerStatus]:
        """Yield the status every 0.2 s, as long as the miner runs and the time is not over."""
        if timeout is not None and (isinstance(timeout, bool) or not isinstance(timeout, int | float)):
            raise UserError(
                f"timeout = {timeout!r} is not a number of seconds; leave it out to wait as long as it takes"
            )
        end = math.inf if timeout is None else time.monotonic() + timeout
        while (status := self._status()).alive:
            yield status
            if time.monotonic() >= end:
                return
            time.sleep(_SECONDS_BETWEEN_LOOKS)

    def _status(self) -> MinerStatus:
        status, now = read_status(self._directory, self.study), time.monotonic()
        if status is not None:
            self._last = now, status
        elif self._last is not None and now - self._last[0] < _SECONDS_UNTIL_IT_IS_WRITTEN_AGAIN:
            return self._last[1]
        else:
            raise UserError(
                f"the status of study {self.study} is missing from {self._directory}; call start_mining to resume"
            )
        return status

    def __repr__(self) -> str:
        return f"BackgroundMiner({self.progress()})"

    def _ipython_display_(self) -> None:
        show_live(self.progress)


def attach(
    study: str | BackgroundMiner | None = None,
    *,
    study_storage: str | Path = STUDY_STORAGE,
    tracking_uri: str | None = None,
) -> BackgroundMiner:
    """Find a study's miner, running or not, whoever started it: a notebook before, or a command in a terminal.

    Parameters
    ----------
    study : str or BackgroundMiner, optional
        The study's name or its beginning, such as the experiment's name; a running one before others, then the newest.
    study_storage : str or Path, default "studies"
        As the experiment says.
    tracking_uri : str, optional
        MLflow store; the one in the miner's status, or else MLflow's own choice, if not given.

    Returns
    -------
    BackgroundMiner

    Raises
    ------
    UserError
        If no such study was mined here.
    """
    name = study.study if isinstance(study, BackgroundMiner) else study
    given: tuple[tuple[str, object], ...] = (("study", name), ("tracking_uri", tracking_uri))
    for key, value in (*given, ("study_storage", study_storage)):
        if not isinstance(value, str | Path) and (value is not None or key == "study_storage"):
            raise UserError(f"{key} is a {type(value).__name__}; write it in quotes")
    directory = study_directory(str(study_storage)).resolve()
    return BackgroundMiner(
        find_statuses(directory, name)[0].study, directory, tracking_uri and absolute_address(tracking_uri)
    )


def find_statuses(directory: Path, study: str | None) -> tuple[MinerStatus, ...]:
    """Return the status of each study's newest miner: running ones first, then by their last update.

    Parameters
    ----------
    directory : Path
        Of the studies' files.
    study : str or None
        A study's name, or what several begin with; all if None.

    Raises
    ------
    UserError
        If there is none.
    """
    return chosen_statuses(all_statuses(directory), study, str(directory))


def chosen_statuses(statuses: Sequence[MinerStatus], study: str | None, where: str) -> tuple[MinerStatus, ...]:
    """Return those of a study, as `find_statuses` does, out of the statuses of a place."""
    found = studies_of(statuses, study)
    if not found:
        names = [status.study for status in statuses]
        known = [*dict.fromkeys(name.rpartition("-")[0] for name in names), *names]
        hint = did_you_mean(study, known) if study else ""
        wanted = f"study {study!r}" if study else "any study"
        raise UserError(
            f"no miner of {wanted} has its files in {where}{hint or '; start one with: ' + next_command('mine')}"
        )
    return tuple(sorted(found, key=lambda status: status.alive, reverse=True))
