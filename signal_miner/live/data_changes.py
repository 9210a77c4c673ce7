"""What changed in the data since a model was fitted: eras, features gone or new, drift of the features it uses."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from signal_miner.data.dataset import Dataset
from signal_miner.data.parquet_rows import open_parquet

SHIFTED = 0.25
"""Population stability index from which a distribution counts as shifted, by the usual convention."""

_COMPARED_ERAS = 12
_COLUMNS = 200  # read at a time
_LEAST_SHARE = 1e-4  # of a level, so that one which is absent counts without being infinite


@dataclass(frozen=True)
class DataChanges:
    """What changed.

    Attributes
    ----------
    eras, new_eras : int
        Resolved eras now, and how many of them are later than those known before.
    last_era : str
        Label of the newest resolved one.
    resolved : mapping of str to str
        Label of the newest era in which each training target is known.
    gone, new : tuple of str
        Features that the data had before and do not now, and the other way round.
    drift : mapping of str to float
        Population stability index of each feature that the model uses, newest live era against the last twelve
        resolved ones; the largest first. Empty without live data.
    """

    eras: int
    new_eras: int
    last_era: str
    resolved: Mapping[str, str]
    gone: tuple[str, ...]
    new: tuple[str, ...]
    drift: Mapping[str, float]

    @property
    def shifted(self) -> tuple[str, ...]:
        """Features whose distribution has shifted."""
        return tuple(name for name, index in self.drift.items() if index >= SHIFTED)


def data_changes(
    plan: Mapping[str, Any], dataset: Dataset, targets: Sequence[str], used: Sequence[str], live: Path | None
) -> DataChanges:
    """Compare data with those that a study's ``plan.json`` describes.

    Parameters
    ----------
    targets, used : sequence of str
        Training targets, and features that the model uses, all of which the data have.
    live : Path or None
        Numerai's newest live data.
    """
    before = {int(era) for era in plan["era_labels"]}
    had = list(map(str, plan["data"]["features"]))
    eras = np.unique(dataset.eras)
    return DataChanges(
        eras=len(eras),
        new_eras=int((eras > max(before, default=-1)).sum()),
        last_era=dataset.era_labels[int(eras[-1])],
        resolved={name: _last_known(dataset, name, eras) for name in targets},
        gone=tuple(name for name in had if name not in set(dataset.features)),
        new=tuple(name for name in dataset.features if name not in set(had)),
        drift={} if live is None else _drift(dataset, eras[-_COMPARED_ERAS:], used, live),
    )


def missing_features(files: Sequence[Path], used: Sequence[str]) -> tuple[str, ...]:
    """Return the features of a model that a parquet file of the data lacks, in the model's order."""
    absent: set[str] = set()
    for path in files:
        with open_parquet(path) as file:
            absent |= set(used) - set(file.schema_arrow.names)
    return tuple(name for name in used if name in absent)


def _last_known(dataset: Dataset, target: str, eras: NDArray[np.integer[Any]]) -> str:
    for era in reversed(eras.tolist()):
        if np.isfinite(dataset.read_target(target, dataset.span_of([era]))).any():
            return dataset.era_labels[era]
    return ""


def _drift(dataset: Dataset, eras: NDArray[np.integer[Any]], used: Sequence[str], live: Path) -> dict[str, float]:
    rows = dataset.span_of(eras.tolist())
    found: dict[str, float] = {}
    with open_parquet(live) as file:
        for start in range(0, len(used), _COLUMNS):
            names = list(used[start : start + _COLUMNS])
            then = dataset.read_features(names, rows).to_pandas()
            now = file.read(columns=names).to_pandas()
            found |= {name: _stability_index(then[name], now[name]) for name in names}
    return dict(sorted(found.items(), key=lambda pair: -pair[1]))


def _stability_index(then: pd.Series[Any], now: pd.Series[Any]) -> float:
    """Return ``Σ (p − q) ln(p / q)`` over levels; a feature of many values is cut at the deciles of before."""
    if then.nunique() > _COMPARED_ERAS * 2:
        cuts = np.unique(np.nanquantile(then.to_numpy(float), np.linspace(0.1, 0.9, 9)))
        then, now = (pd.Series(np.searchsorted(cuts, each.to_numpy(float))) for each in (then, now))
    shares = [each.value_counts(normalize=True, dropna=False) for each in (then, now)]
    levels = shares[0].index.union(shares[1].index)
    p, q = (np.maximum(each.reindex(levels).fillna(0).to_numpy(float), _LEAST_SHARE) for each in shares)
    return float(((p - q) * np.log(p / q)).sum())


def change_lines(changes: DataChanges) -> Iterator[str]:
    """Yield what changed, a line each."""
    resolved = ", ".join(f"{name} to {era}" for name, era in changes.resolved.items())
    yield f"Data: {changes.eras} resolved eras to {changes.last_era}, {changes.new_eras} of them new; {resolved}"
    for names, word in ((changes.gone, "gone"), (changes.new, "new")):
        if names:
            yield f"{len(names)} feature{'s' * (len(names) != 1)} {word}: {_some(names)}"
    if changes.drift:
        largest = next(iter(changes.drift.items()))
        shifted = f"{len(changes.shifted)} of {len(changes.drift)} features shifted"
        yield f"Drift: {shifted} (index from {SHIFTED}); the largest is {largest[0]}, {largest[1]:.2f}"


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:5]) + (", …" if len(names) > 5 else "")
