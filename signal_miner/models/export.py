"""``predict.pkl`` from Python: an ensemble reproduced, refitted and tried as Numerai hosts it, in a file."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from rich.filesize import decimal

from signal_miner.ensemble.runs import EnsembleRuns
from signal_miner.errors import Stopped, UserError
from signal_miner.models.options import KEPT, PackingOptions
from signal_miner.models.packing import PREDICT, PackedEnsemble, pack
from signal_miner.utils.console import plain_console
from signal_miner.utils.files import temporary_directory, write_whole
from signal_miner.utils.interruption import StopRequest
from signal_miner.utils.redaction import reason_of_system
from signal_miner.utils.validation import as_path


class EnsembleReference(Protocol):
    """An object that refers to an ensemble of a store, as what `build_ensemble` returns does."""

    @property
    def run_id(self) -> str:
        """MLflow run of the ensemble."""

    @property
    def tracking_uri(self) -> str | None:
        """Store of that run; MLflow's own choice if None."""


@dataclass(frozen=True, repr=False)
class ExportedModel:
    """A ``predict.pkl`` that was written.

    Attributes
    ----------
    path : Path
        Absolute.
    seconds : float
        Wall clock of one run as Numerai's hosted runner does it, on the newest resolved era.
    peak_memory_bytes : int
        Largest resident memory of that run.
    """

    path: Path
    size_bytes: int
    seconds: float
    peak_memory_bytes: int
    ensemble: str
    study: str

    def __str__(self) -> str:
        return (
            f"{self.path.name} ({decimal(self.size_bytes)}): {self.ensemble} of study {self.study}, ran as Numerai "
            f"hosts it in {self.seconds:.1f} s with {decimal(self.peak_memory_bytes)}"
        )

    __repr__ = __str__


def export_predict(
    ensemble: str | EnsembleReference | None = None,
    path: str | Path = PREDICT,
    *,
    trees: str = KEPT,
    jobs: int | None = None,
    data: str | None = None,
    tracking_uri: str | None = None,
) -> ExportedModel:
    """Refit an ensemble and write it as ``predict.pkl``, the file that Numerai's model upload takes.

    Every member is reproduced on its last fold first; then all are refitted on all resolved eras, and the file is
    tried as Numerai's hosted runner would. Refits are kept at the ensemble's run: a second call, one after an
    interruption and a later ``register`` take them from there.

    Parameters
    ----------
    ensemble : str or EnsembleReference, optional
        What `build_ensemble` returned; or a run id, a name (``"ensemble 3"``), a study's name or the beginning of one,
        for its newest ensemble. The newest of all if not given.
    path : str or Path, default "predict.pkl"
        Where the file is to be. One that is there is replaced, once the new one is whole.
    trees : str, default "kept"
        ``kept``: as many as the best checkpoint had. ``scaled``: times the eras of the refit over those that the
        validation folds trained on.
    jobs : int, optional
        Members trained at a time; -1 for one a core; as the study was mined if not given.
    data : str, optional
        Where the study's data are now.
    tracking_uri : str, optional
        MLflow store; the ensemble's own if `ensemble` says it, else MLflow's own choice.

    Returns
    -------
    ExportedModel

    Raises
    ------
    UserError
        If the file could not be written, which is checked first; if there is no such ensemble, a member is not
        reproduced, the data are missing, or the file would not run hosted.
    KeyboardInterrupt
        If it is interrupted; the same call resumes with the members refitted so far.
    """
    place = _checked(path)
    which, tracking_uri = _referenced(ensemble, tracking_uri)
    options = PackingOptions(which, trees, jobs, data, tracking_uri)
    console = plain_console()
    stopping = StopRequest(lambda: console.print("Stopping; members refitted so far are kept …"))
    try:
        with stopping as stop, temporary_directory() as directory:
            packed = pack(options, EnsembleRuns(tracking_uri), directory / place.name, stop, console)
            if stop.is_set():
                raise Stopped
            return _moved(packed, place)
    except Stopped as stopped:
        raise KeyboardInterrupt("stopped; the same call resumes with the members refitted so far") from stopped


def _referenced(ensemble: str | EnsembleReference | None, tracking_uri: str | None) -> tuple[str | None, str | None]:
    if ensemble is None or isinstance(ensemble, str):
        return ensemble, tracking_uri
    try:
        return ensemble.run_id, tracking_uri or ensemble.tracking_uri
    except AttributeError:
        raise UserError(
            f"ensemble is a {type(ensemble).__name__}; give a run id, a name, or what build_ensemble returned"
        ) from None


def _checked(path: str | Path) -> Path:
    """Return the absolute path, once it is sure that a file can be written there: what follows may take hours."""
    given = as_path("path", path, PREDICT)
    try:
        place = given.absolute()
        if place.is_dir():
            raise UserError(f"path = {str(path)!r} is a directory; name a file in it, such as {Path(path) / PREDICT}")
        if place.exists() and not place.is_file():
            raise UserError(f"path = {str(path)!r} is a device, a pipe or a socket; name a file")
        nearest = next(parent for parent in place.parents if parent.exists())
        with tempfile.NamedTemporaryFile(dir=nearest, prefix=f".{place.name}.", suffix=".part"):
            return place
    except OSError as error:
        raise UserError(
            f"{path} cannot be written ({reason_of_system(error)}); choose another place, or free some space"
        ) from None


def _moved(packed: PackedEnsemble, place: Path) -> ExportedModel:
    body = packed.path.read_bytes()
    write_whole(place, body)
    return ExportedModel(
        path=place,
        size_bytes=len(body),
        seconds=packed.check.seconds,
        peak_memory_bytes=packed.check.peak_memory_bytes,
        ensemble=packed.tracked.name,
        study=packed.study.name,
    )
