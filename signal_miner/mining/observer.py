"""What a miner reports while it works, to the bar on the screen and to the status file that other processes read."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from signal_miner.experiment.engines import COMPILING
from signal_miner.mining.status import TrialCounts


@dataclass(frozen=True)
class BenchmarkStep:
    """A fold of the benchmark has so many trees.

    Attributes
    ----------
    fold, folds : int
        Number of the fold, and how many there are.
    trees, total_trees : int
        Trees grown in this fold, and those of each fold.
    share : float
        Part of the benchmark's training that is done, over all folds; 0 to 1.
    """

    fold: int
    folds: int
    trees: int
    total_trees: int
    share: float

    def __str__(self) -> str:
        return f"fold {self.fold} of {self.folds}, {self.trees:,} of {self.total_trees:,} trees"


@dataclass(frozen=True)
class FeaturesBinned:
    """So many of a fold's features are binned or, where `fold` is 0, of all folds' stored as bit planes."""

    fold: int
    done: int
    total: int

    def __str__(self) -> str:
        features = f"{self.done:,} of {self.total:,} features"
        return f"fold {self.fold}: {features} binned" if self.fold else f"{features} stored as bit planes"


@dataclass(frozen=True)
class ClusterWorkers:
    """So many workers of a cluster are ready, and take so many trials at a time."""

    ready: int
    slots: int

    def __str__(self) -> str:
        return f"{self.ready} worker{'s' * (self.ready != 1)}, {self.slots} trial{'s' * (self.slots != 1)} at a time"


class Compiling:
    """The engine's code is compiled, as this machine does not have it yet."""

    def __str__(self) -> str:
        return COMPILING


Event = BenchmarkStep | FeaturesBinned | Compiling | ClusterWorkers | TrialCounts | str
"""A text is worth a line of its own."""

Observer = Callable[[Event], None]
"""Called with what happened, from any thread."""


def observers(*each: Observer) -> Observer:
    """Return an observer that notifies several, in order."""

    def notify(event: Event) -> None:
        for observer in each:
            observer(event)

    return notify
