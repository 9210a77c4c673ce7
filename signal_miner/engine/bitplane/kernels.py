"""Compiled kernels on bit planes: counting and transposing 64 rows a word.

Bit *b* of word *w* is row ``64 * w + b``. Nothing here is specific to a processor: LLVM makes vectors of what there is.
All kernels release the GIL.
"""

from __future__ import annotations

import numpy as np
from numba import int64, uint64

from signal_miner.engine.bitplane.compilation import compiled, inner
from signal_miner.engine.bitplane.intrinsics import (
    CHUNK,
    GROUP,
    add_rows,
    exchange,
    popcount,
    wide_vectors,
)
from signal_miner.engine.bitplane.residuals import RESIDUAL_BITS

BLOCK = 1024
"""Most words that are counted at a time: the masked residuals of a batch of nodes stay in the second-level cache."""

_LANES = 16  # words that are transposed at a time
_JOIN = 32  # words: a gap in the training rows as short as this is counted over


@compiled
def spans_of(train, spans):
    """Write first and last words of runs with training rows, of at most `BLOCK` words; return how many."""
    n = 0
    start = -1
    last = -1
    for w in range(train.shape[0] + 1):
        here = w < train.shape[0] and train[w] != uint64(0)
        if start >= 0 and ((here and (w - last > _JOIN or w - start >= BLOCK)) or w == train.shape[0]):
            spans[n, 0], spans[n, 1] = start, last + 1
            n += 1
            start = -1
        if here:
            if start < 0:
                start = w
            last = w
    return n


@inner
def _count_four(p, q, r, s, masked, sums, counts, t):
    """Add one block of four planes; twenty accumulators, which LLVM keeps in vector registers."""
    wide_vectors()
    r0, r1, r2, r3, r4 = masked[0], masked[1], masked[2], masked[3], masked[4]
    a0 = a1 = a2 = a3 = a4 = b0 = b1 = b2 = b3 = b4 = uint64(0)
    c0 = c1 = c2 = c3 = c4 = d0 = d1 = d2 = d3 = d4 = uint64(0)
    for w in range(p.shape[0]):
        g0, g1, g2, g3, g4 = r0[w], r1[w], r2[w], r3[w], r4[w]
        x = p[w]
        a0 += popcount(x & g0)
        a1 += popcount(x & g1)
        a2 += popcount(x & g2)
        a3 += popcount(x & g3)
        a4 += popcount(x & g4)
        x = q[w]
        b0 += popcount(x & g0)
        b1 += popcount(x & g1)
        b2 += popcount(x & g2)
        b3 += popcount(x & g3)
        b4 += popcount(x & g4)
        x = r[w]
        c0 += popcount(x & g0)
        c1 += popcount(x & g1)
        c2 += popcount(x & g2)
        c3 += popcount(x & g3)
        c4 += popcount(x & g4)
        x = s[w]
        d0 += popcount(x & g0)
        d1 += popcount(x & g1)
        d2 += popcount(x & g2)
        d3 += popcount(x & g3)
        d4 += popcount(x & g4)
    _add(sums, counts, t, a0, a1, a2, a3, a4)
    _add(sums, counts, t + 1, b0, b1, b2, b3, b4)
    _add(sums, counts, t + 2, c0, c1, c2, c3, c4)
    _add(sums, counts, t + 3, d0, d1, d2, d3, d4)


@inner
def _count_one(p, masked, sums, counts, t):
    """Add one block of one plane."""
    wide_vectors()
    r0, r1, r2, r3, r4 = masked[0], masked[1], masked[2], masked[3], masked[4]
    a0 = a1 = a2 = a3 = a4 = uint64(0)
    for w in range(p.shape[0]):
        x = p[w]
        a0 += popcount(x & r0[w])
        a1 += popcount(x & r1[w])
        a2 += popcount(x & r2[w])
        a3 += popcount(x & r3[w])
        a4 += popcount(x & r4[w])
    _add(sums, counts, t, a0, a1, a2, a3, a4)


@inner
def _add(sums, counts, t, b0, b1, b2, b3, b4):
    sums[t] += int64(b0) + 2 * int64(b1) + 4 * int64(b2) - 8 * int64(b3)
    counts[t] += int64(b4)


@inner
def count_masks(planes, ids, first, spans, residual_planes, masks, slots, n, scratch, sums, counts):
    """Add, for nodes given as masks, residual sums and counts of the rows whose bit is set, of each plane.

    One pass over blocks of words serves all nodes, as memory bounds it.

    Parameters
    ----------
    planes : ndarray of uint64, shape (n_planes, n_words)
    ids : ndarray of int64, shape (n_counted,)
        Planes to count.
    first : int
        Word of `planes` where the masks begin.
    spans : ndarray of int64, shape (n_spans, 2)
    residual_planes : ndarray of uint64, shape (5, n_mask_words)
    masks : ndarray of uint64, shape (n_masks, n_mask_words)
    slots : ndarray of int64
        The first `n` are the masks to count.
    scratch : ndarray of uint64, shape (at least n, 5, BLOCK)
    sums, counts : ndarray of int32, shape (at least n, at least n_counted)
    """
    n_ids = ids.shape[0]
    for span in range(spans.shape[0]):
        start, stop = spans[span, 0], spans[span, 1]
        length = stop - start
        for i in range(n):
            mask = masks[slots[i], start:stop]
            for k in range(RESIDUAL_BITS + 1):
                plane = residual_planes[k, start:stop]
                out = scratch[i, k]
                for w in range(length):
                    out[w] = plane[w] & mask[w]
        low, high = first + start, first + stop
        t = int64(0)
        while t + 4 <= n_ids:
            p, q = planes[ids[t], low:high], planes[ids[t + 1], low:high]
            r, s = planes[ids[t + 2], low:high], planes[ids[t + 3], low:high]
            for i in range(n):
                _count_four(p, q, r, s, scratch[i], sums[i], counts[i], t)
            t += 4
        while t < n_ids:
            p = planes[ids[t], low:high]
            for i in range(n):
                _count_one(p, scratch[i], sums[i], counts[i], t)
            t += 1


@inner
def _exchange(tile, shift, mask):
    """One stage of the transposition of 64 x 64 bits (Hacker's Delight, 7-3), in all lanes."""
    for k in range(GROUP):
        if k & shift == 0:
            for lane in range(0, _LANES, 8):
                exchange(tile, k * _LANES + lane, (k + shift) * _LANES + lane, uint64(shift), mask)


@inner
def transpose(planes, ids, first, bag, start, stop, bits, stride):
    """Write the bits of rows side by side, those of `GROUP` planes a word: ``bits[(row - 64 * start) * stride + g]``.

    Rows are those of the words from `start` to `stop`; words without a row in the bag may be left out.
    """
    tile = np.empty(GROUP * _LANES, np.uint64)
    for w in range(start, stop, _LANES):
        lanes = min(_LANES, stop - w)
        used = uint64(0)
        for lane in range(lanes):
            used |= bag[w + lane]
        if used == uint64(0):
            continue
        for group in range(stride):
            for k in range(GROUP):
                t = group * GROUP + k
                if t < ids.shape[0]:
                    plane = planes[ids[t], first + w : first + w + lanes]
                    for lane in range(lanes):
                        tile[k * _LANES + lane] = plane[lane]
                else:
                    for lane in range(lanes):
                        tile[k * _LANES + lane] = uint64(0)
            shift, mask = int64(32), uint64(0x00000000FFFFFFFF)
            while shift:
                _exchange(tile, shift, mask)
                shift >>= 1
                mask ^= mask << uint64(shift)
            for lane in range(lanes):
                at = (w + lane - start) * 64 * stride + group
                for k in range(GROUP):
                    bits[at + k * stride] = tile[k * _LANES + lane]


@inner
def count_rows(bits, stride, base, rows, begin, end, values, gathered, sums, counts):
    """Add, for a node given as a list of rows, residual sums and counts of those whose bit is set, of each plane.

    Parameters
    ----------
    bits : ndarray of uint64
        As of `transpose`, from row `base` on.
    rows : ndarray of int32
        From `begin` to `end`, those of the node.
    values : ndarray of int8
        Rounded residuals by row.
    gathered : ndarray of int8, shape (at least 240,)
        Scratch.
    sums, counts : ndarray of int32, shape (64 * stride,)
    """
    for start in range(begin, end, CHUNK):
        n = min(CHUNK, end - start)
        part = rows[start : start + n]
        for i in range(n):
            gathered[i] = values[part[i]]
        for group in range(stride):
            low, high = group * GROUP, (group + 1) * GROUP
            add_rows(bits, stride, group, base, part, gathered, 0, n, sums[low:high], counts[low:high])
