"""The data of folds for the engine that an experiment names."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager, nullcontext

from signal_miner.data.residual_target import Label
from signal_miner.engine.binning import BinnedFolds
from signal_miner.engine.boosters import FoldSource
from signal_miner.engine.dataset_cache import dataset_cache
from signal_miner.engine.memory_needs import FOLDS_HELD
from signal_miner.engine.memory_plan import MemoryPlan
from signal_miner.experiment.engines import BITPLANE
from signal_miner.experiment.plan import Plan


def compilation_reported(plans: Iterable[Plan], report: Callable[[], None]) -> AbstractContextManager[None]:
    """Return a context in which `report` is called once, from any thread, before an engine of plans is compiled."""
    if all(plan.experiment.engine != BITPLANE for plan in plans):
        return nullcontext()
    from signal_miner.engine.bitplane.compilation import compilation_reported as reported

    return reported(report)


def fold_source(
    plan: Plan,
    memory: MemoryPlan,
    targets: Sequence[Label],
    should_stop: Callable[[], bool],
    on_features: Callable[[int, int, int], None] = lambda _fold, _done, _total: None,
) -> FoldSource:
    """Return what gives trials their folds, within a memory plan.

    Parameters
    ----------
    targets : sequence of Label
        All targets that will be trained on.
    should_stop : callable
        Called now and then while features are read; what is being made stops with `Stopped` where it returns true.
    on_features : callable, optional
        Called from any thread while features are read: fold number, or 0 for all folds, features done and in all.
    """
    if plan.experiment.engine == BITPLANE:
        from signal_miner.engine.bitplane.folds import PlaneFolds  # numba takes a second to import

        held = FOLDS_HELD * memory.jobs
        return PlaneFolds(
            plan.dataset,
            held,
            should_stop,
            limit_bytes=int(plan.experiment.cache_gb * 1e9),
            group_bytes=memory.group_bytes,
            on_features=on_features,
        )
    return BinnedFolds(
        plan.dataset,
        targets,
        plan.experiment.seed,
        memory.kept_bytes,
        should_stop,
        group_bytes=memory.group_bytes,
        cache=dataset_cache(plan),
        exclusive=not memory.together,
        on_features=on_features,
    )
