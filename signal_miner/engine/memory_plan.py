"""What a study will hold in memory: planned within a budget before it starts, or rejected with what would fit."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import count, takewhile

from signal_miner.data.folds import thinned
from signal_miner.engine.available_memory import available_bytes as free_bytes
from signal_miner.engine.dataset_size import PACKED_BINS
from signal_miner.engine.memory_needs import BoosterShape, StudyShape, shape_of
from signal_miner.errors import UserError
from signal_miner.experiment.plan import Plan
from signal_miner.utils.formatting import bytes_text, gigabytes_rounded_up
from signal_miner.utils.validation import parsed_json

GROUP_BYTES = tuple(megabytes * 2**20 for megabytes in (256, 128, 64, 32))
"""Raw bytes of a column group to choose from, the fastest first."""

_GB = 1e9
_MARGIN_BYTES, _MARGIN_SHARE = 1.5 * _GB, 0.1
_LARGEST_STEP = 52


@dataclass(frozen=True)
class MemoryPlan:
    """What the miner will hold in memory.

    Attributes
    ----------
    needed_bytes : int
        The peak, as `StudyShape` estimates it; at most `budget_bytes`.
    jobs, wanted_jobs : int
        Trials trained at a time, and how many the experiment asks for.
    kept_bytes : int
        Limit for binned datasets: what they need, and what the budget leaves.
    together : bool
        Whether all datasets of the study are held at once; else trials are grouped by fold and `DatasetKey`.
    group_bytes : int
        Raw bytes of a column group, read and binned at a time.
    available_bytes : int
        What was free for this process when the plan was made.
    memory_gb : float or None
        The experiment's ``memory_gb``.
    """

    budget_bytes: int
    needed_bytes: int
    jobs: int
    kept_bytes: int
    together: bool
    group_bytes: int
    available_bytes: int
    memory_gb: float | None
    wanted_jobs: int
    shape: StudyShape

    @property
    def wanted_jobs_bytes(self) -> int:
        """The least memory that `wanted_jobs` trials at a time would need."""
        return self.shape.needed_bytes(self.wanted_jobs, GROUP_BYTES[-1], together=not self.shape.grouped)


def plan_memory(plan: Plan, cores: int, available_bytes: int | None = None) -> MemoryPlan:
    """Choose which datasets of a study are held at a time, and how many trials train.

    All datasets are held together, with all jobs, if they fit; otherwise one at a time, with smaller column groups
    and then fewer jobs as needed.

    Parameters
    ----------
    cores : int
        Trials at a time for ``jobs=-1``.
    available_bytes : int, optional
        What is free for this process; by default measured. Without ``memory_gb`` the budget is this less 1.5 GB or a
        tenth, whichever is more, but never less than half of it.

    Raises
    ------
    UserError
        If one dataset and one trial do not fit; the message names what would.
    """
    shape = shape_of(plan)
    available = free_bytes() if available_bytes is None else available_bytes
    given = plan.experiment.memory_gb
    budget = _budget(available) if given is None else int(given * _GB)
    wanted = cores if plan.experiment.jobs == -1 else plan.experiment.jobs
    for together, jobs, group_bytes in _choices(wanted, shape.grouped):
        needed = shape.needed_bytes(jobs, group_bytes, together)
        if needed <= budget:
            datasets = shape.together_bytes if together else shape.largest_bytes
            return MemoryPlan(
                budget_bytes=budget,
                needed_bytes=needed,
                jobs=jobs,
                kept_bytes=budget - needed + datasets,
                together=together,
                group_bytes=group_bytes,
                available_bytes=available,
                memory_gb=given,
                wanted_jobs=wanted,
                shape=shape,
            )
    raise UserError(_refusal(plan, shape, budget))


def _budget(available_bytes: int) -> int:
    margin = max(_MARGIN_BYTES, _MARGIN_SHARE * available_bytes)
    return int(max(available_bytes - margin, available_bytes / 2))


def _choices(wanted_jobs: int, grouped: bool) -> Iterator[tuple[bool, int, int]]:
    """Yield the choices of (together, jobs, group_bytes), the best first."""
    for group_bytes in GROUP_BYTES:
        yield True, wanted_jobs, group_bytes
    for jobs in range(wanted_jobs, 0, -1):
        for group_bytes in GROUP_BYTES:
            yield not grouped, jobs, group_bytes
    yield True, 1, GROUP_BYTES[-1]  # for tiny data, a block of draws needs more than all datasets


def _refusal(plan: Plan, shape: StudyShape, budget: int) -> str:
    least = gigabytes_rounded_up(_least(shape))
    name = f"memory_gb = {budget / _GB:.3g}" if plan.experiment.memory_gb is not None else f"{budget / _GB:.1f} GB"
    fitting = [*_what_fits(plan, shape, budget), f"memory_gb = {least} where there is as much"]
    with_all = f"{bytes_text(shape.largest_bytes)} and one trial, {least} GB with all that belongs to them"
    what_fits = f"what fits: {', or '.join(fitting)}"
    if shape.grouped:
        return f"{name} cannot hold one binned dataset of {with_all}; {what_fits}"
    return f"{name} cannot hold the features as bit planes of {with_all}; {what_fits}"


def _what_fits(plan: Plan, shape: StudyShape, budget: int) -> Iterator[str]:
    """Yield single changes to the experiment that make it fit."""
    sizes = sorted(((size, name) for name, size in _feature_sets(plan).items()), reverse=True)
    for size, name in sizes:
        if size < shape.n_features and _least(_with_one_set(shape, size)) <= budget:
            yield f"feature_set = {name!r} ({size} features)"
            break
    step = plan.experiment.folds.train_era_step
    for k in takewhile(lambda k: k <= _LARGEST_STEP, count(2 * step, step)):
        folds = {
            target: tuple(replace(fold, train_eras=thinned(fold.train_eras, k)) for fold in folds)
            for target, folds in shape.folds.items()
        }
        if any(len(key.of_fold(fold).train_eras) == 1 for key in shape.keys for fold in folds[key.target]):
            break
        if _least(replace(shape, folds=folds)) <= budget:
            yield f"folds.train_era_step = {k}"
            break
    if not shape.grouped:
        yield from _what_fits_by_era(shape, budget)
        return
    most = PACKED_BINS - 1
    packed = tuple(dict.fromkeys(replace(key, max_bin=min(key.max_bin, most)) for key in shape.keys))
    if packed != shape.keys and _least(replace(shape, keys=packed)) <= budget:
        yield f"max_bin of at most {most}"


def _with_one_set(shape: StudyShape, n_features: int) -> StudyShape:
    """Return the shape of a study of a single feature set."""
    keys = tuple(dict.fromkeys(replace(key, feature_set=None) for key in shape.keys))
    return replace(shape, n_features=n_features, set_sizes={None: n_features}, keys=keys)


def _what_fits_by_era(shape: StudyShape, budget: int) -> Iterator[str]:
    """Yield larger blocks of eras, or fewer leaves, that make histograms of every environment fit."""
    blocks = [booster.era_block for booster in (shape.trial, shape.benchmark) if booster.era_block is not None]
    if not blocks:
        return
    n_eras = max(len(fold.train_eras) for folds in shape.folds.values() for fold in folds)

    def limited(booster: BoosterShape, era_block: int, leaves: int) -> BoosterShape:
        block = None if booster.era_block is None else max(booster.era_block, era_block)
        return replace(booster, era_block=block, leaves=min(booster.leaves, leaves))

    def fits(era_block: int, leaves: int) -> bool:
        trial, benchmark = (limited(booster, era_block, leaves) for booster in (shape.trial, shape.benchmark))
        return _least(replace(shape, trial=trial, benchmark=benchmark)) <= budget

    most = max(shape.trial.leaves, shape.benchmark.leaves)
    block = min(blocks)
    for k in (block * 2**power for power in range(1, n_eras.bit_length() + 1)):
        if fits(k, most):
            yield f"era_block = {k}"
            break
    for leaves in (most >> power for power in range(1, most.bit_length() - 1)):
        if fits(block, leaves):
            yield f"num_leaves = {leaves}"
            break


def _least(shape: StudyShape) -> int:
    """Return the least bytes that mining needs: one dataset, one trial, the smallest column group."""
    return min(shape.needed_bytes(1, GROUP_BYTES[-1], together) for together in {True, not shape.grouped})


def _feature_sets(plan: Plan) -> dict[str, int]:
    file = plan.dataset.source.paths[0].parent / "features.json"
    if not file.is_file():
        return {}
    sets = parsed_json(file.read_text(encoding="utf-8"))["feature_sets"]
    return {name: len(listed) for name, listed in sets.items() if isinstance(listed, list) and listed}
