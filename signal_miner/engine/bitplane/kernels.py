"""Compiled kernels on bit planes: counting, transposing and rounding 64 rows a word.

Bit *b* of word *w* is row ``64 * w + b``. Nothing here is specific to a processor: LLVM makes vectors of what there is.
All kernels release the GIL.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir
from numba import float64, int8, int64, types, uint64
from numba.core import cgutils
from numba.extending import intrinsic

from signal_miner.engine.bitplane.compilation import compiled, inner
from signal_miner.engine.bitplane.tuning import PLANES_A_WORD

RESIDUAL_BITS = 4
"""Residuals are integers from -8 to 7, in two's complement: one plane a bit."""

BAG = RESIDUAL_BITS
"""The plane after the residuals': the rows that are counted."""

BLOCK = 1024
"""Most words that are counted at a time: the masked residuals of a batch of nodes stay in the second-level cache."""

GROUP = PLANES_A_WORD

_FLUSH = 16
"""Rows whose residuals a sum of 8 bits holds: 16 * -8 = -128."""

_CHUNK = 15 * _FLUSH
"""Rows that a count of 8 bits holds, in whole flushes."""

_LANES = 16  # words that are transposed at a time
_JOIN = 32  # words: a gap in the training rows as short as this is counted over

generated: Any = intrinsic
"""numba's decorator; its type has the first argument that a call leaves out."""


@generated
def popcount(_typing_context: Any, _word: Any) -> Any:
    """Return the set bits of a word: LLVM's ctpop, VPOPCNTQ where there is one, a shuffle on AVX2, CNT on ARM."""
    return types.uint64(types.uint64), lambda _context, builder, _signature, args: builder.ctpop(args[0])


@generated
def lowest(_typing_context: Any, _word: Any) -> Any:
    """Return the position of the lowest set bit of a word that is not zero."""
    zero_is_undefined = ir.Constant(ir.IntType(1), 1)
    return (
        types.int64(types.uint64),
        lambda _context, builder, _signature, args: builder.cttz(args[0], zero_is_undefined),
    )


@generated
def wide_vectors(_typing_context: Any) -> Any:
    """Let LLVM use vectors of 512 bits in the calling function, which it avoids on some processors that have them."""

    def generate(_context: Any, builder: Any, _signature: Any, _args: Any) -> Any:
        # llvmlite knows no attributes with values; its set of names is printed as it is.
        set.add(builder.function.attributes, '"prefer-vector-width"="512"')
        return ir.Constant(ir.IntType(64), 0)

    return types.int64(), generate


@generated
def signs(_typing_context: Any, _bytes: Any, _bit: Any) -> Any:
    """Return one bit of each of the 64 bytes at the start of an array, as a word."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        vector = ir.VectorType(ir.IntType(8), GROUP)
        at = builder.bitcast(data_of(context, builder, signature, args, 0), vector.as_pointer())
        loaded = builder.load(at, align=1, typ=vector)
        chosen = builder.and_(loaded, _splat(builder, args[1], GROUP))
        return builder.bitcast(builder.icmp_signed("!=", chosen, ir.Constant(vector, None)), ir.IntType(64))

    return types.uint64(types.Array(types.int8, 1, "C"), types.int8), generate


@generated
def exchange(_typing_context: Any, _tile: Any, _low: Any, _high: Any, _shift: Any, _mask: Any) -> Any:
    """Exchange the high bits of eight words of a tile with the low bits of eight others."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        vector = ir.VectorType(ir.IntType(64), 8)
        tile = data_of(context, builder, signature, args, 0)
        places = [
            builder.bitcast(builder.gep(tile, [args[k]], source_etype=ir.IntType(64)), vector.as_pointer())
            for k in (1, 2)
        ]
        low, high = (builder.load(place, align=8, typ=vector) for place in places)
        shift, mask = (_splat(builder, args[k], 8) for k in (3, 4))
        moved = builder.and_(builder.xor(builder.lshr(low, shift), high), mask)
        builder.store(builder.xor(low, builder.shl(moved, shift)), places[0], align=8)
        builder.store(builder.xor(high, moved), places[1], align=8)
        return context.get_dummy_value()

    number = types.int64
    return types.void(types.Array(types.uint64, 1, "C"), number, number, types.uint64, types.uint64), generate


@generated
def add_rows(
    _typing_context: Any,
    _bits: Any,
    _stride: Any,
    _group: Any,
    _base: Any,
    _rows: Any,
    _values: Any,
    _begin: Any,
    _end: Any,
    _sums: Any,
    _counts: Any,
) -> Any:
    """Add the residuals and the number of at most `_CHUNK` rows to the planes of one group where their bit is set.

    A row's word of the group is a mask of 64 lanes: one masked addition of bytes for 64 planes. With LLVM's vectors,
    as it finds no such loop by itself.
    """

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        byte, half, full = (ir.VectorType(ir.IntType(bits), GROUP) for bits in (8, 16, 32))
        mask = ir.VectorType(ir.IntType(1), GROUP)
        bits, rows, values, sums, counts = (
            data_of(context, builder, signature, args, place) for place in (0, 4, 5, 8, 9)
        )
        stride, group, base, begin, end = (args[place] for place in (1, 2, 3, 6, 7))
        partial, total, count = (cgutils.alloca_once(builder, kind) for kind in (byte, half, byte))
        builder.store(ir.Constant(half, None), total)
        builder.store(ir.Constant(byte, None), count)
        flush = ir.Constant(ir.IntType(64), _FLUSH)
        one = ir.Constant(ir.IntType(64), 1)
        with cgutils.for_range_slice(builder, begin, end, flush, ir.IntType(64)) as (start, _):
            builder.store(ir.Constant(byte, None), partial)
            after = builder.add(start, flush)
            stop = builder.select(builder.icmp_signed("<", after, end), after, end)
            with cgutils.for_range_slice(builder, start, stop, one, ir.IntType(64)) as (place, _):
                row = builder.sext(_load(builder, rows, place, ir.IntType(32)), ir.IntType(64))
                at = builder.add(builder.mul(builder.sub(row, base), stride), group)
                lanes = builder.bitcast(_load(builder, bits, at, ir.IntType(64)), mask)
                value = _splat(builder, _load(builder, values, place, ir.IntType(8)), GROUP)
                chosen = builder.select(lanes, value, ir.Constant(byte, None))
                builder.store(builder.add(builder.load(partial, typ=byte), chosen), partial)
                builder.store(builder.sub(builder.load(count, typ=byte), builder.sext(lanes, byte)), count)
            builder.store(
                builder.add(builder.load(total, typ=half), builder.sext(builder.load(partial, typ=byte), half)), total
            )
        for into, added in (
            (sums, builder.sext(builder.load(total, typ=half), full)),
            (counts, builder.zext(builder.load(count, typ=byte), full)),
        ):
            at = builder.bitcast(into, full.as_pointer())
            builder.store(builder.add(builder.load(at, align=4, typ=full), added), at, align=4)
        return context.get_dummy_value()

    words, integers = types.Array(types.uint64, 1, "C"), types.Array(types.int32, 1, "C")
    number = types.int64
    signature = types.void(
        words,
        number,
        number,
        number,
        integers,
        types.Array(types.int8, 1, "C"),
        number,
        number,
        integers,
        integers,
    )
    return signature, generate


def data_of(context: Any, builder: Any, signature: Any, args: Any, place: int) -> Any:
    """Return where the data of an array among the arguments begin."""
    return context.make_array(signature.args[place])(context, builder, args[place]).data


def _load(builder: Any, data: Any, place: Any, kind: Any) -> Any:
    at = builder.gep(builder.bitcast(data, kind.as_pointer()), [place], source_etype=kind)
    return builder.load(at, typ=kind)


def _splat(builder: Any, value: Any, lanes: int) -> Any:
    one = builder.insert_element(ir.Constant(ir.VectorType(value.type, lanes), ir.Undefined), value, ir.IntType(32)(0))
    zeros = ir.Constant(ir.VectorType(ir.IntType(32), lanes), None)
    return builder.shuffle_vector(one, one, zeros)


@inner
def mixed(word):
    """Return a word's hash (the finaliser of splitmix64: Steele, Lea and Flood, 2014)."""
    word = (word ^ (word >> uint64(30))) * uint64(0xBF58476D1CE4E5B9)
    word = (word ^ (word >> uint64(27))) * uint64(0x94D049BB133111EB)
    return word ^ (word >> uint64(31))


@inner
def drawn(key, number):
    """Return the `number`-th word of the stream of random words that `key` names."""
    return mixed(key + (uint64(number) + uint64(1)) * uint64(0x9E3779B97F4A7C15))


@compiled
def stream(seed, purpose, number):
    """Return the key of a stream of random words."""
    return drawn(drawn(mixed(uint64(seed)), purpose), number)


@inner
def uniform(word):
    """Return a random word as a number from 0 up to, but not including, 1."""
    return float64(word >> uint64(11)) * (1.0 / 9007199254740992.0)


@inner
def choose(key, candidates, count, chosen):
    """Set `count` random members of `chosen` among the first `candidates`, all others not (Knuth's algorithm S)."""
    needed = count
    for place in range(candidates):
        chosen[place] = uniform(drawn(key, place)) * (candidates - place) < needed
        needed -= chosen[place]


@compiled
def draw_bag(key, first, fraction, train, bag):
    """Keep each training row with probability `fraction`, independent of all others."""
    limit = uint64(fraction * 4294967296.0)
    for w in range(train.shape[0]):
        word = uint64(0)
        if train[w]:
            for pair in range(32):
                random = drawn(key, (first + w) * 32 + pair)
                word |= uint64((random & uint64(0xFFFFFFFF)) < limit) << uint64(pair)
                word |= uint64((random >> uint64(32)) < limit) << uint64(pair + 32)
        bag[w] = word & train[w]


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
    for start in range(begin, end, _CHUNK):
        n = min(_CHUNK, end - start)
        part = rows[start : start + n]
        for i in range(n):
            gathered[i] = values[part[i]]
        for group in range(stride):
            low, high = group * GROUP, (group + 1) * GROUP
            add_rows(bits, stride, group, base, part, gathered, 0, n, sums[low:high], counts[low:high])
