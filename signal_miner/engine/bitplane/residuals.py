"""Residuals of a tree, and their random rounding to the 4 bits that are counted."""

from __future__ import annotations

import numpy as np
from numba import float64, int8, int64, uint64

from signal_miner.engine.bitplane.compilation import compiled
from signal_miner.engine.bitplane.intrinsics import signs, wide_vectors
from signal_miner.engine.bitplane.random_numbers import drawn

RESIDUAL_BITS = 4
"""Residuals are integers from -8 to 7, in two's complement: one plane a bit."""

BAG = RESIDUAL_BITS
"""The plane after the residuals': the rows that are counted."""


@compiled
def residuals(target, score, train, out):
    """Write target less score of the training rows, 0 elsewhere; return the largest magnitude."""
    wide_vectors()
    largest = 0.0
    for w in range(train.shape[0]):
        mask = train[w]
        if mask == uint64(0):
            continue
        for b in range(64):
            row = w * 64 + b
            value = (target[row] - score[row]) * float64((mask >> uint64(b)) & uint64(1))
            out[row] = value
            largest = max(largest, abs(value))
    return largest


@compiled
def round_residuals(residual, bag, first, scale, key, planes, values):
    """Round residuals / scale to integers from -8 to 7, up or down at random so that the mean is kept.

    `planes`, shape (5, n_words), gets their bits and the bag, 0 outside of it; `values` one byte a row of it.
    """
    wide_vectors()
    inverse = 1.0 / scale
    random = np.empty(16, np.uint64)
    for w in range(bag.shape[0]):
        mask = bag[w]
        planes[BAG, w] = mask
        if mask == uint64(0):
            for bit in range(RESIDUAL_BITS):
                planes[bit, w] = uint64(0)
            continue
        for j in range(16):  # one random word serves four rows
            random[j] = drawn(key, (first + w) * 16 + j)
        rounded = values[w * 64 : w * 64 + 64]
        for part in range(4):
            for j in range(16):
                chance = float64(int64((random[j] >> uint64(16 * part)) & uint64(0xFFFF))) + 0.5
                value = residual[w * 64 + part * 16 + j] * inverse
                rounded[part * 16 + j] = int8(int64(np.floor(value + chance * (1.0 / 65536.0))))
        for bit in range(RESIDUAL_BITS):
            planes[bit, w] = signs(rounded, int8(1 << bit)) & mask
