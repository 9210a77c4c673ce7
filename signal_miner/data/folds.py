"""Walk-forward folds over era numbers, purged by the horizon of the targets."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from signal_miner.data.eras import era_numbers
from signal_miner.errors import UserError

PURGE_ERAS = {20: 8, 60: 16}
"""Eras that Numerai purges between training and prediction, by horizon in days.

Source: Numerai's documentation of its benchmark models (``numerai-tournament/models``).
"""

MONTHLY_PURGE_ERAS = {20: 1, 60: 3}
"""Eras to purge where they are a month apart, as in Numerai's data before 2020, by horizon in days."""

OVERLAP_ERAS = {20: 3, 60: 11}
"""Weekly eras after an era whose targets share returns with its own, by horizon in trading days: days / 5 - 1."""


def overlap_eras(horizon_days: int, eras: ArrayLike, embargo_eras: int | None = None) -> int:
    """Return how many of the eras after an era have scoring targets that share returns with its own.

    Parameters
    ----------
    horizon_days : int
    eras : array_like of int
        Numbers of the scored eras, ascending; fewer overlap where they are thinned.
    embargo_eras : int, optional
        The experiment's own purge, an upper bound: users lower it where eras are more than a week apart.
    """
    numbers = OVERLAP_ERAS[horizon_days] if embargo_eras is None else min(OVERLAP_ERAS[horizon_days], embargo_eras)
    steps = np.diff(np.asarray(eras))
    return int(numbers // np.median(steps)) if len(steps) else numbers


def usual_step(eras: ArrayLike) -> int:
    """Return how far apart era numbers, ascending and distinct, usually are: the median, rounded down; at least 1."""
    steps = np.diff(np.asarray(eras))
    return max(1, int(np.median(steps))) if len(steps) else 1


def purge_for(horizon_days: int) -> int:
    """Return the eras to purge for targets of a horizon of 20 or 60 trading days, see `PURGE_ERAS`.

    Raises
    ------
    UserError
        If Numerai has no target of this horizon.
    """
    if horizon_days not in PURGE_ERAS:
        known = " or ".join(str(days) for days in PURGE_ERAS)
        raise UserError(f"horizon_days = {horizon_days} is not a horizon of Numerai's targets; use {known}")
    return PURGE_ERAS[horizon_days]


@dataclass(frozen=True)
class Fold:
    """Era numbers trained on and predicted, ascending; number 1 is the earliest fold."""

    number: int
    train_eras: tuple[int, ...]
    validation_eras: tuple[int, ...]

    def trained_on_newest(self, eras: int) -> Fold:
        """Return the fold with the newest of its training eras alone: so many, by number; all of them for -1."""
        if eras == -1:
            return self
        return replace(self, train_eras=tuple(era for era in self.train_eras if self.train_eras[-1] - era < eras))


def thinned(train_eras: Sequence[int], step: int) -> tuple[int, ...]:
    """Return one in `step` of ascending training eras, by number and counted back from the newest."""
    return tuple(era for era in train_eras if (train_eras[-1] - era) % step == 0)


@dataclass(frozen=True)
class WalkForward:
    """Expanding walk-forward splitter over eras, in scikit-learn's protocol.

    The eras are cut into ``n_splits + 1`` windows of equal length (the first takes the remainder). Fold *k*
    predicts window *k + 1* and trains on all eras before it, less the purge. Eras are compared by number,
    so thinned data and data with gaps are purged by time, not by position; training eras are thinned by number, too.

    Parameters
    ----------
    n_splits : int, default 2
        Folds. With two, the first is Signal Miner's *validation* and the second its *test*.
    purge_eras : int, default 16
        For each fold ``min(validation_eras) - max(train_eras) > purge_eras``.
    holdout_eras : int, default 0
        Newest eras that no fold touches.
    holdout_purge_eras : int, optional
        Eras dropped between the last fold and the holdout, as targets overlap there too; `purge_eras` if
        not given, nothing where there is no holdout.
    train_era_step : int, default 1
        A fold trains on the eras for which ``(max(train_eras) - era) % train_era_step == 0``. The eras that are
        predicted are never thinned.

    Raises
    ------
    UserError
        If a number is negative, or `n_splits` or `train_era_step` is below 1.

    Examples
    --------
    >>> from sklearn.model_selection import cross_val_score
    >>> scores = cross_val_score(model, X, y, groups=eras, cv=WalkForward(3, purge_eras=8))  # doctest: +SKIP
    """

    n_splits: int = 2
    purge_eras: int = 16
    holdout_eras: int = 0
    holdout_purge_eras: int | None = None
    train_era_step: int = 1

    def __post_init__(self) -> None:
        for name, low in (("n_splits", 1), ("purge_eras", 0), ("holdout_eras", 0), ("train_era_step", 1)):
            if getattr(self, name) < low:
                raise UserError(f"{name} = {getattr(self, name)} is below {low}; use {low} or more")

    def folds(self, eras: ArrayLike) -> tuple[Fold, ...]:
        """Return the folds over era labels or numbers in any order, repeated or not; the earliest fold first.

        Raises
        ------
        UserError
            If there are too few eras for this many folds, purge and holdout.
        """
        unique = np.unique(era_numbers(eras))
        kept = self._without_holdout(unique)
        window = len(kept) // (self.n_splits + 1)
        if window < 1:
            raise UserError(
                f"{len(unique)} eras are too few for {self.n_splits} folds"
                f"{f' and holdout_eras = {self.holdout_eras}' if self.holdout_eras else ''}; lower one or the other"
            )
        first = len(kept) - self.n_splits * window
        folds = []
        for number in range(1, self.n_splits + 1):
            start = first + (number - 1) * window
            validation = kept[start : start + window]
            # By number, not position: eras may be thinned or missing, but targets overlap in calendar time.
            train = kept[validation[0] - kept > self.purge_eras]
            if not len(train):
                raise UserError(
                    f"fold {number} has no eras to train on: its validation starts at era {validation[0]}, the data "
                    f"at era {unique[0]}, and the purge takes {self.purge_eras} eras; use fewer folds or more data"
                )
            kept_for_training = thinned(train.tolist(), self.train_era_step)
            if len(kept_for_training) == 1 < len(train):
                raise UserError(
                    f"train_era_step = {self.train_era_step} leaves fold {number} 1 of {len(train)} eras to train on; "
                    "lower it"
                )
            folds.append(Fold(number, kept_for_training, tuple(validation.tolist())))
        return tuple(folds)

    def holdout(self, eras: ArrayLike) -> tuple[int, ...]:
        """Return the numbers of the newest `holdout_eras` eras, ascending."""
        unique = np.unique(era_numbers(eras))
        return tuple(unique[len(unique) - min(self.holdout_eras, len(unique)) :].tolist())

    def _without_holdout(self, unique: NDArray[np.int64]) -> NDArray[np.int64]:
        if not self.holdout_eras:
            return unique
        if self.holdout_eras >= len(unique):
            raise UserError(f"holdout_eras = {self.holdout_eras} leaves nothing of {len(unique)} eras; lower it")
        gap = self.purge_eras if self.holdout_purge_eras is None else self.holdout_purge_eras
        kept: NDArray[np.int64] = unique[unique[-self.holdout_eras] - unique > gap]
        return kept

    def split(
        self, X: Any, y: Any = None, groups: ArrayLike | None = None
    ) -> Iterator[tuple[NDArray[np.intp], NDArray[np.intp]]]:
        """Yield the row positions to train on and to predict, fold by fold.

        `groups` is the era of each row; `X` and `y`, of scikit-learn's protocol, are ignored.

        Raises
        ------
        UserError
            If `groups` is missing or too few eras are given.
        """
        if groups is None:
            raise UserError("groups is missing; give the era of each row: split(X, y, groups=eras)")
        rows = era_numbers(groups)
        for fold in self.folds(rows):
            yield (
                np.flatnonzero(np.isin(rows, fold.train_eras)),
                np.flatnonzero(np.isin(rows, fold.validation_eras)),
            )

    def get_n_splits(self, X: Any = None, y: Any = None, groups: Any = None) -> int:
        """Return the number of folds."""
        return self.n_splits
