"""The environments of a fold: blocks of neighbouring eras, over which a split is asked to hold."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from signal_miner.engine.bitplane.kernels import BLOCK
from signal_miner.engine.bitplane.planes import VECTOR

_GAP_ROWS = 64 * VECTOR  # without a training row, as long as this, are not read


class Environments(NamedTuple):
    """Where the training rows of each environment are.

    Attributes
    ----------
    n_environments : int
        Those with a training row.
    segments : ndarray of int64, shape (n_segments, 5)
        Ascending runs of rows: the environment, from 0; the word of the planes where reading begins; vectors of 8 words
        to read; the first row, and the row after the last. A word on the border of two environments is read in both.
    blocks : ndarray of int64, shape (n_blocks + 1,)
        Segments are counted together from one of these to the next: at most `BLOCK` words.
    """

    n_environments: int
    segments: NDArray[np.int64]
    blocks: NDArray[np.int64]


def environments_of(rows: NDArray[np.int64], eras: NDArray[np.int64], era_block: int, n_words: int) -> Environments:
    """Join eras to environments, from the first era with a training row on.

    Parameters
    ----------
    rows : ndarray of int64, shape (n_training_rows,)
        Ascending positions.
    eras : ndarray of int64, shape (n_training_rows,)
        Their era numbers, ascending. So many numbers in turn make an environment, whether or not each has rows: as for
        the purge, neighbours are known by their numbers.
    era_block : int
        Era numbers of an environment.
    n_words : int
        Of a plane, a multiple of 8.
    """
    if not len(rows):
        return Environments(0, np.empty((0, 5), np.int64), np.zeros(1, np.int64))
    blocks = (eras - eras[0]) // era_block
    new = np.diff(blocks, prepend=-1) > 0
    environment = np.cumsum(new) - 1
    starts = np.flatnonzero(new | (np.diff(rows, prepend=rows[0]) > _GAP_ROWS))
    ends = np.append(starts[1:], len(rows)) - 1
    segments, begins, words = list[tuple[int, ...]](), [0], 0
    for start, end in zip(starts, ends, strict=True):
        low, high = int(rows[start]), int(rows[end]) + 1
        for word in range(low // 64, -(-high // 64), BLOCK):
            vectors = -(-(min(-(-high // 64), word + BLOCK) - word) // VECTOR)
            if words + vectors * VECTOR > BLOCK:
                begins.append(len(segments))
                words = 0
            words += vectors * VECTOR
            first = min(word, n_words - vectors * VECTOR)  # nothing after a plane is read
            part = max(low, 64 * word), min(high, 64 * (word + BLOCK))
            segments.append((int(environment[start]), first, vectors, *part))
    begins.append(len(segments))
    return Environments(int(environment[-1]) + 1, np.array(segments, np.int64), np.array(begins, np.int64))
