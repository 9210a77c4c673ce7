"""Fold results that wait on disk until their trial is whole."""

from __future__ import annotations

import hashlib
import json
import logging
import shutil
import zipfile
from contextlib import suppress
from pathlib import Path

import numpy as np

from signal_miner.data.folds import Fold
from signal_miner.engine.trial import FoldCurve, TrialResult
from signal_miner.experiment.plan import Plan
from signal_miner.experiment.study_files import study_directory
from signal_miner.mining.search import Draw
from signal_miner.utils.files import UNFINISHED
from signal_miner.utils.redaction import reason_of_system

_LOG = logging.getLogger(__name__)

_ALL = -1  # every checkpoint's predictions are kept


class FoldResultStore:
    """A directory of fold results, of one study.

    Parameters
    ----------
    directory : Path
        Created when the first result is saved.
    folds : int
        How many the study has.
    """

    def __init__(self, directory: Path, folds: int) -> None:
        self._directory = directory
        self._folds = folds
        self._failed = False

    def save(self, draw: Draw, fold: Fold, part: FoldCurve) -> None:
        """Keep a fold's result; a full or read-only disk is no error, as the fold can be trained again."""
        path = self._path(draw, fold)
        partial = path.with_suffix(UNFINISHED)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with partial.open("wb") as file:
                bmc = np.empty(0) if part.bmc_curve is None else part.bmc_curve
                np.savez(
                    file,
                    predictions=part.predictions,
                    curve=part.curve,
                    seconds=np.float64(part.seconds),
                    bmc_curve=bmc,
                    best=np.int64(_ALL if part.best is None else part.best),
                )
            partial.replace(path)
        except OSError as error:
            if not self._failed:
                _LOG.warning("fold results cannot be kept in %s (%s)", self._directory, reason_of_system(error))
            self._failed = True
            with suppress(OSError):
                partial.unlink(missing_ok=True)

    def keep(self, draw: Draw, result: TrialResult) -> None:
        """Keep the validation folds that a raced trial was trained on to the end, for when it is completed."""
        validation = [part for part in result.folds if part.fold.number < self._folds]
        whole = len(validation) == self._folds - 1 and all(np.isfinite(part.curve[:, -1]).any() for part in validation)
        self.remove(draw)
        for part in validation if whole else ():
            predictions = np.asarray(part.predictions, np.float32)
            self.save(draw, part.fold, FoldCurve(predictions, part.curve, part.seconds, part.bmc_curve, result.best))

    def load(self, draw: Draw, fold: Fold) -> FoldCurve | None:
        """Return a fold's result; None where none is kept, or it cannot be read."""
        try:
            with np.load(self._path(draw, fold)) as file:
                predictions = np.asfortranarray(file["predictions"])
                bmc = file["bmc_curve"]
                seconds, best = float(file["seconds"]), int(file["best"]) if "best" in file else _ALL
                only = None if best == _ALL else best
                return FoldCurve(predictions, file["curve"], seconds, bmc if bmc.size else None, only)
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
            return None

    def remove(self, draw: Draw) -> None:
        """Remove a draw's results once its trial is tracked."""
        for path in self._directory.glob(f"{draw.key}-*"):
            path.unlink(missing_ok=True)

    def clear(self) -> None:
        """Remove all results."""
        shutil.rmtree(self._directory, ignore_errors=True)

    def _path(self, draw: Draw, fold: Fold) -> Path:
        configuration = json.dumps([dict(draw.params), fold.train_eras, fold.validation_eras], sort_keys=True)
        digest = hashlib.sha256(configuration.encode()).hexdigest()[:16]
        return self._directory / f"{draw.key}-fold-{fold.number}-{digest}.npz"


def fold_results(plan: Plan) -> FoldResultStore:
    """Return the store of a study's fold results."""
    directory = study_directory(plan.experiment.study_storage) / f"{plan.study}.folds"
    return FoldResultStore(directory, plan.experiment.folds.count)
