"""Probability of backtest overfitting by combinatorially symmetric cross-validation, purged at the seams.

Source
------
Bailey, D. H., Borwein, J. M., López de Prado, M. and Zhu, Q. J. (2017), "The Probability of Backtest Overfitting",
Journal of Computational Finance 20(4), 39–69.
"""

from __future__ import annotations

import math
from functools import lru_cache
from itertools import combinations

import numpy as np
from arch.bootstrap import StationaryBootstrap
from numpy.typing import NDArray

from signal_miner.overfitting.bootstrap import FEWEST_ERAS, block_length
from signal_miner.overfitting.records import INTERVAL_LEVEL, Overfitting
from signal_miner.scoring.series import sharpe

MOST_BLOCKS, FEWEST_BLOCKS = 16, 4
"""Blocks that the eras are cut into; 16 as in the paper."""

FEW_SPLITS = 70
"""Splits below which the probability is coarse; 70 are the splits of eight blocks."""

_DRAWS_BY_LUCK, _SPLITS_BY_LUCK, _TRIALS_BY_LUCK = 100, 200, 500
_CHUNK = 256  # splits worked on at a time, with their complements
_TIE = 1e-12  # Sharpe ratios nearer than this are equal but for rounding


def probability_of_overfitting(
    scores: NDArray[np.float64], overlap_eras: int, n_blocks: int | None = None, seed: int = 0
) -> Overfitting | None:
    """Return how often the best trial of one half of the eras is below the median of the other half.

    The eras are cut into an even number of blocks. Half of the blocks are in-sample, the others out-of-sample, in
    every way there is. The best trial in-sample has a relative rank ``ω = rank / (n_trials + 1)`` out-of-sample; its
    logit is ``log(ω / (1 − ω))``, and the probability is the share of logits below 0. Of trials without skill it is
    one half on average, and of skill that lasts it nears 0; it does so only where trials differ in skill, as
    it measures the choice among them.

    Wherever blocks of different halves meet, the first `overlap_eras` eras of the later one are dropped: their
    targets share returns with the last eras of the earlier one. The later one loses them whichever half it is in, so
    that both halves are treated alike and stay each other's mirror image.

    Trials that resemble each other are ranked alike by chance in both halves, or oppositely, so that the probability
    may be far from one half without any difference in skill. Its spread by luck is estimated from stationary bootstraps
    of the eras, of trials that were moved to the same Sharpe ratio.

    Parameters
    ----------
    scores : ndarray of float64, shape (n_eras, n_trials)
        In the order of the eras. Eras that are NaN for all trials are left out, then trials that have a NaN and trials
        that never vary, which have no Sharpe ratio.
    overlap_eras : int
        Eras after an era whose targets share returns with its own; 0 drops nothing, which is the paper's plain
        method.
    n_blocks : int, optional
        Even; the most, up to `MOST_BLOCKS`, of which each is longer than twice the overlap, if not given.
    seed : int, default 0
        Of the bootstrap.

    Returns
    -------
    Overfitting or None
        None where fewer than two trials are left, or fewer than `FEWEST_BLOCKS` blocks fit.

    Raises
    ------
    ValueError
        If `n_blocks` is odd or below 2.
    """
    known = ~np.isnan(scores)
    scores = scores[known.any(axis=1)]
    scores = scores[:, known[known.any(axis=1)].all(axis=0)]
    if len(scores) == 0:
        return None
    scores = scores[:, np.ptp(scores, axis=0) > 0]
    n_eras, n_trials = scores.shape
    if n_blocks is None:
        n_blocks = _most_blocks(n_eras, overlap_eras)
        if n_blocks < FEWEST_BLOCKS:
            return None
    if n_blocks < 2 or n_blocks % 2:
        raise ValueError(f"n_blocks = {n_blocks} is not an even number from 2 up")
    if n_trials < 2 or n_eras // n_blocks <= overlap_eras:
        return None
    logits = _logits(_BlockSums(scores, n_blocks, overlap_eras), n_blocks)
    probability = float((logits < 0).mean())
    by_luck = _by_luck(scores, overlap_eras, n_blocks, seed)
    return Overfitting(probability, n_blocks, len(logits), n_eras // n_blocks, logits, n_eras, *by_luck)


def _by_luck(scores: NDArray[np.float64], overlap_eras: int, n_blocks: int, seed: int) -> tuple[float, float]:
    """Return the 5% and 95% quantile of the probability if all trials were equally good; NaN of too few eras."""
    if len(scores) < FEWEST_ERAS:
        return math.nan, math.nan
    places = np.linspace(0, scores.shape[1] - 1, min(scores.shape[1], _TRIALS_BY_LUCK)).astype(int)
    scores = scores[:, places]
    ratios = sharpe(scores)
    equal = scores - (ratios - ratios.mean()) * scores.std(axis=0)
    bootstrap = StationaryBootstrap(
        block_length(equal.mean(axis=1), overlap_eras), np.arange(len(scores)), seed=np.random.default_rng(seed)
    )
    found = [
        float((_logits(_BlockSums(equal[positions[0]], n_blocks, overlap_eras), n_blocks, _SPLITS_BY_LUCK) < 0).mean())
        for positions, _ in bootstrap.bootstrap(_DRAWS_BY_LUCK)
    ]
    low, high = np.quantile(found, [(1 - INTERVAL_LEVEL) / 2, (1 + INTERVAL_LEVEL) / 2])
    return float(low), float(high)


@lru_cache(maxsize=4)
def _splits(n_blocks: int) -> NDArray[np.int64]:
    splits = np.array(list(combinations(range(n_blocks), n_blocks // 2)))
    splits.flags.writeable = False
    return splits


def _most_blocks(n_eras: int, overlap_eras: int) -> int:
    fitting = n_eras // (2 * overlap_eras + 1)
    return min(MOST_BLOCKS, fitting - fitting % 2)


class _BlockSums:
    """Counts, sums and sums of squares of each block, whole and without its first eras.

    Rows are the blocks whole, then the blocks cut; sums are of scores less the trial's mean over all eras, which
    keeps the squares precise.
    """

    def __init__(self, scores: NDArray[np.float64], n_blocks: int, overlap_eras: int) -> None:
        self.means = scores.mean(axis=0)  # (n_trials,)
        n_eras, n_trials = scores.shape
        short, longer = divmod(n_eras, n_blocks)
        bounds = np.cumsum([0] + [short + (block < longer) for block in range(n_blocks)])
        self.counts = np.empty(2 * n_blocks)
        self.sums, self.squares = np.empty((2 * n_blocks, n_trials)), np.empty((2 * n_blocks, n_trials))
        for block in range(n_blocks):
            for row, start in ((block, bounds[block]), (n_blocks + block, bounds[block] + overlap_eras)):
                part = scores[start : bounds[block + 1]] - self.means
                self.counts[row] = len(part)
                self.sums[row] = part.sum(axis=0)
                self.squares[row] = np.einsum("ij,ij->j", part, part)
        self.smallest_variance = 1e-20 * np.maximum(self.squares[:n_blocks].sum(axis=0) / n_eras, 1e-280)

    def sharpe(self, use: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the Sharpe ratio of each trial over the rows used, shape (n_uses, n_trials); 0 where it has none."""
        count = (use @ self.counts)[:, None]
        mean = use @ self.sums / count
        variance = use @ self.squares / count - mean**2
        with np.errstate(divide="ignore", invalid="ignore"):
            ratio: NDArray[np.float64] = (self.means + mean) / np.sqrt(variance)
        ratio[~(variance > self.smallest_variance)] = 0.0
        return ratio


def _logits(sums: _BlockSums, n_blocks: int, most: int | None = None) -> NDArray[np.float64]:
    """Return the logit of every split, in the order of `itertools.combinations` of the in-sample blocks.

    Of no more than `most` of them where that is given, evenly spaced and each with its complement.
    """
    splits = _splits(n_blocks)
    if most is not None and len(splits) > most:
        first = np.linspace(0, len(splits) // 2 - 1, most // 2).astype(int)
        splits = splits[np.concatenate([first, len(splits) - 1 - first[::-1]])]
    inside = np.zeros((len(splits), n_blocks), dtype=np.bool_)
    inside[np.arange(len(splits))[:, None], splits] = True
    seam = np.zeros_like(inside)  # does a block follow one of the other half?
    seam[:, 1:] = inside[:, 1:] != inside[:, :-1]
    use = np.concatenate([inside & ~seam, inside & seam], axis=1).astype(np.float64)
    # In this order the complement of a split is as far from the end as the split is from the start.
    half, logits = len(splits) // 2, np.empty(len(splits))
    for start in range(0, half, _CHUNK):
        first = np.arange(start, min(start + _CHUNK, half))
        mirrored = len(splits) - 1 - first
        one, other = sums.sharpe(use[first]), sums.sharpe(use[mirrored])
        logits[first], logits[mirrored] = _rank_logits(one, other), _rank_logits(other, one)
    return logits


def _rank_logits(inside: NDArray[np.float64], outside: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the logit of the rank outside of the best trial inside; tied trials share their mean rank."""
    best = outside[np.arange(len(inside)), inside.argmax(axis=1)][:, None]
    below = (outside < best - _TIE).sum(axis=1)
    tied = (np.abs(outside - best) <= _TIE).sum(axis=1)
    omega = (below + (tied + 1) / 2) / (outside.shape[1] + 1)
    logit: NDArray[np.float64] = np.log(omega / (1 - omega))
    return logit
