"""Which levels of a feature share a bin where ``max_bin`` is small or a level is rare, as in LightGBM's own binning."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from typing import Any

import lightgbm as lgb
import numpy as np
from numpy.typing import NDArray

from signal_miner.engine.column_groups import LIGHTGBM_SAMPLE_ROWS
from signal_miner.experiment.parameters import dataset_params

_LEAST_IN_BIN = 3  # LightGBM's min_data_in_bin
_UNDER_ZERO = -1e-35


def sampled_rows(n_rows: int, seed: int) -> NDArray[np.int64]:
    """Return positions of the rows on which LightGBM finds the bins of so many rows, ascending."""
    if n_rows <= LIGHTGBM_SAMPLE_ROWS:
        return np.arange(n_rows)
    # Python's interface has no name for them that heeds the seed; test_level_groups compares where the sample decides.
    basic: Any = lgb.basic
    rows, length = np.empty(LIGHTGBM_SAMPLE_ROWS, np.int32), ctypes.c_int32(0)
    text = basic._c_str(basic._param_dict_to_str(dataset_params(2, seed)))
    into = rows.ctypes.data_as(ctypes.c_void_p)
    basic._safe_call(basic._LIB.LGBM_SampleIndices(ctypes.c_int32(n_rows), text, into, ctypes.byref(length)))
    return rows[: length.value].astype(np.int64)


def kept_thresholds(levels: Sequence[float], counts: Sequence[int], max_bin: int) -> list[int]:
    """Return the levels at which LightGBM has a threshold: rows above go right. Positions, ascending.

    Parameters
    ----------
    levels : sequence of float
        Ascending.
    counts : sequence of int
        Rows at each level, of those on which bins are found.
    max_bin : int
        2 and more.

    Notes
    -----
    ``FindBinWithZeroAsOneBin`` and ``GreedyFindBin`` in LightGBM's ``src/io/bin.cpp``. The value 0 has a bin of its
    own; values below and above share the rest.
    """
    found = [(level, count) for level, count in zip(levels, counts, strict=True) if count]
    below = [each for each in found if each[0] < 0]
    above = [each for each in found if each[0] > 0]
    bounds = []
    if below:
        n_below, n_above = (sum(count for _, count in part) for part in (below, above))
        bounds += [*_bounds(below, max(1, int(n_below / (n_below + n_above) * (max_bin - 1)))), _UNDER_ZERO]
    if above and max_bin - 1 - len(bounds) > 0:
        bounds += [0.0, *_bounds(above, max_bin - 1 - len(bounds))]
    # Levels that do not occur in these rows may lie between two that do.
    kept = {sum(level <= bound for level in levels) - 1 for bound in bounds}
    occurring = [place for place, count in enumerate(counts) if count]
    return sorted(place for place in kept if occurring[0] <= place < occurring[-1])


def _bounds(found: Sequence[tuple[float, int]], bins: int) -> list[float]:
    """Return the bounds between bins, half way between levels that occur."""
    return [(found[place][0] + found[place + 1][0]) / 2 for place in _ends([count for _, count in found], bins)]


def _ends(counts: Sequence[int], bins: int) -> list[int]:
    """Return the places after which a bin ends, but for the last one."""
    ends, held = list[int](), 0
    if len(counts) <= bins:
        for place, count in enumerate(counts[:-1]):
            held += count
            if held >= _LEAST_IN_BIN:
                ends.append(place)
                held = 0
        return ends
    bins = max(1, min(bins, sum(counts) // _LEAST_IN_BIN))
    mean = sum(counts) / bins
    large = [count >= mean for count in counts]
    rest = sum(count for count, is_large in zip(counts, large, strict=True) if not is_large)
    rest_bins = bins - sum(large)
    mean = _share(rest, rest_bins)
    for place, count in enumerate(counts[:-1]):
        rest -= 0 if large[place] else count
        held += count
        if large[place] or held >= mean or (large[place + 1] and held >= max(1.0, mean * 0.5)):
            ends.append(place)
            if len(ends) >= bins - 1:
                break
            held = 0
            if not large[place]:
                rest_bins -= 1
                mean = _share(rest, rest_bins)
    return ends[: bins - 1]


def _share(rows: int, bins: int) -> float:
    """Return the mean number of rows a bin; without bins infinite, as LightGBM divides."""
    return rows / bins if bins else float("inf")
