"""Compiled kernels that count rows environment by environment, and an exponential that LLVM makes vectors of.

A sum and a count share a word of 64 bits: ``(count << 32) + sum``. Such words are added and subtracted as they are.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import float64, int32, int64, types, uint64
from numba.core import cgutils

from signal_miner.engine.bitplane.compilation import inner
from signal_miner.engine.bitplane.intrinsics import data_of, generated, popcount, wide_vectors
from signal_miner.engine.bitplane.planes import VECTOR
from signal_miner.engine.bitplane.residuals import BAG, RESIDUAL_BITS

_WORD = ir.IntType(64)
_WORDS = ir.VectorType(_WORD, VECTOR)
_ALL = uint64(0xFFFFFFFFFFFFFFFF)

_LEAST = -700.0
_LOG2_E = 1.4426950408889634
_LN2_HIGH, _LN2_LOW = 6.93147180369123816490e-01, 1.90821492927058770002e-10
_ROUNDING = 6755399441055744.0  # 1.5 * 2**52: what is added to it is rounded to an integer


@generated
def _add_vectors(
    _typing_context: Any,
    planes: Any,
    ids: Any,
    t: Any,
    word: Any,
    masked: Any,
    at: Any,
    vectors: Any,
    sums: Any,
    environment: Any,
) -> Any:
    """Add sums and counts of eight planes over some vectors of words to a row of `sums`, from place `t` on.

    ``masked[:, at]`` are the bits of the residuals where reading begins; those of the planes begin at `word`. The sums
    of eight planes over the lanes become one vector by three rounds of shuffles.
    """

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:

        def columns(place: int) -> Any:
            array = context.make_array(signature.args[place])(context, builder, args[place])
            return cgutils.unpack_tuple(builder, array.shape)[1]

        planes, ids, masked, sums = (data_of(context, builder, signature, args, place) for place in (0, 1, 4, 7))
        plane_words, masked_words, width = (columns(place) for place in (0, 4, 7))
        t, word, at, vectors, environment = (args[place] for place in (2, 3, 5, 6, 8))

        def pointer(data: Any, place: Any) -> Any:
            return builder.bitcast(builder.gep(data, [place], source_etype=_WORD), _WORDS.as_pointer())

        def constant(value: int) -> ir.Constant:
            return ir.Constant(_WORDS, [value] * VECTOR)

        # llvmlite's own ctpop takes no vectors
        kind = ir.FunctionType(_WORDS, [_WORDS])
        ones = cgutils.get_or_insert_function(builder.module, kind, f"llvm.ctpop.v{VECTOR}i64")
        starts = []
        for k in range(VECTOR):
            number = builder.load(
                builder.gep(ids, [builder.add(t, ir.Constant(_WORD, k))], source_etype=_WORD), typ=_WORD
            )
            starts.append(builder.add(builder.mul(number, plane_words), word))
        totals = [cgutils.alloca_once(builder, _WORDS) for _ in range(VECTOR)]
        for total in totals:
            builder.store(ir.Constant(_WORDS, None), total)
        stop = builder.mul(vectors, ir.Constant(_WORD, VECTOR))
        with cgutils.for_range_slice(builder, ir.Constant(_WORD, 0), stop, ir.Constant(_WORD, VECTOR), _WORD) as (w, _):
            bits = []
            for k in range(BAG + 1):
                row = builder.mul(masked_words, ir.Constant(_WORD, k))
                place = builder.add(builder.add(row, at), w)
                bits.append(builder.load(pointer(masked, place), align=8, typ=_WORDS))
            for start, total in zip(starts, totals, strict=True):
                plane = builder.load(pointer(planes, builder.add(start, w)), align=8, typ=_WORDS)
                found = [builder.call(ones, [builder.and_(plane, each)]) for each in bits]
                weighed = found[RESIDUAL_BITS - 1]  # the sign: -8 a row
                for k in range(RESIDUAL_BITS - 2, -1, -1):
                    twice = builder.shl(weighed, constant(1))
                    weighed = (builder.sub if k == RESIDUAL_BITS - 2 else builder.add)(found[k], twice)
                weighed = builder.add(weighed, builder.shl(found[BAG], constant(32)))
                builder.store(builder.add(builder.load(total, typ=_WORDS), weighed), total)
        parts = [builder.load(total, typ=_WORDS) for total in totals]
        for span in (1, 2, 4):
            low = [k + (k // span % 2) * (VECTOR - span) for k in range(VECTOR)]
            high = [place + span for place in low]
            parts = [
                builder.add(
                    builder.shuffle_vector(one, other, ir.Constant(ir.VectorType(ir.IntType(32), VECTOR), low)),
                    builder.shuffle_vector(one, other, ir.Constant(ir.VectorType(ir.IntType(32), VECTOR), high)),
                )
                for one, other in zip(parts[::2], parts[1::2], strict=True)
            ]
        into = pointer(sums, builder.add(builder.mul(environment, width), t))
        builder.store(builder.add(builder.load(into, align=8, typ=_WORDS), parts[0]), into, align=8)
        return context.get_dummy_value()

    return types.void(planes, ids, t, word, masked, at, vectors, sums, environment), generate


@inner
def _rows_in(word, low, high):
    """Return the bits of a word of planes whose rows are from `low` up to, but not including, `high`."""
    if word * 64 >= high or word * 64 + 64 <= low:
        return uint64(0)
    bits = _ALL
    if word * 64 < low:
        bits &= _ALL << uint64(low - word * 64)
    if word * 64 + 64 > high:
        bits &= _ALL >> uint64(word * 64 + 64 - high)
    return bits


@inner
def sum_environments(first, environments, residual_planes, sums):
    """Write sum and count of each environment's rows in the bag; parameters as of `count_environments`."""
    segments = environments.segments
    sums[:] = 0
    for s in range(segments.shape[0]):
        environment, low, high = segments[s, 0], segments[s, 3], segments[s, 4]
        for word in range(low >> 6, (high + 63) >> 6):
            bits = _rows_in(word, low, high)
            sums[environment] += int64(popcount(residual_planes[BAG, word - first] & bits)) << int64(32)
            for k in range(RESIDUAL_BITS):
                weight = int64(-8) if k == RESIDUAL_BITS - 1 else int64(1) << int64(k)
                sums[environment] += weight * int64(popcount(residual_planes[k, word - first] & bits))


@inner
def count_environments(planes, ids, first, environments, residual_planes, mask, masked, sums):
    """Write, for a node given as a mask, sums and counts of each environment's rows whose bit is set, of each plane.

    Parameters
    ----------
    planes : ndarray of uint64, shape (n_planes, n_words)
    ids : ndarray of int64, shape (n_counted,)
        Planes to count; a multiple of 8.
    first : int
        Word of `planes` where the masks begin.
    environments : Environments
    residual_planes : ndarray of uint64, shape (5, n_mask_words)
    mask : ndarray of uint64, shape (n_mask_words,)
    masked : ndarray of uint64, shape (5, BLOCK)
        Scratch.
    sums : ndarray of int64, shape (n_environments, n_counted)
    """
    wide_vectors()
    segments = environments.segments
    for environment in range(sums.shape[0]):
        for t in range(sums.shape[1]):
            sums[environment, t] = 0
    for block in range(environments.blocks.shape[0] - 1):
        begin, end = environments.blocks[block], environments.blocks[block + 1]
        at = int64(0)
        for s in range(begin, end):
            low, high = segments[s, 3], segments[s, 4]
            for w in range(segments[s, 2] * VECTOR):
                bits = _rows_in(segments[s, 1] + w, low, high)
                place = segments[s, 1] + w - first if bits else int64(0)  # else it may lie outside of the masks
                bits &= mask[place]
                for k in range(BAG + 1):
                    masked[k, at + w] = residual_planes[k, place] & bits
            at += segments[s, 2] * VECTOR
        for t in range(int64(0), ids.shape[0], int64(VECTOR)):
            at = int64(0)
            for s in range(begin, end):
                _add_vectors(planes, ids, t, segments[s, 1], masked, at, segments[s, 2], sums, segments[s, 0])
                at += segments[s, 2] * VECTOR


@inner
def sum_in(word):
    """Return the sum of a word that holds a sum and a count."""
    return float64(int32(word))


@inner
def count_in(word):
    """Return the count of a word that holds a sum and a count."""
    return float64(int32((word + int64(0x80000000)) >> int64(32)))


@generated
def _scaled(_typing_context: Any, _value: Any, _rounded: Any) -> Any:
    """Return a number times 2 to the power of the integer that was added to `_ROUNDING`."""

    def generate(_context: Any, builder: Any, _signature: Any, args: Any) -> Any:
        value, rounded = (builder.bitcast(arg, _WORD) for arg in args)
        return builder.bitcast(builder.add(value, builder.shl(rounded, ir.Constant(_WORD, 52))), ir.DoubleType())

    return types.float64(types.float64, types.float64), generate


@generated
def _fused(_typing_context: Any, _one: Any, _other: Any, _added: Any) -> Any:
    """Return a product and a sum, rounded once."""
    number = types.float64
    return number(number, number, number), lambda _context, builder, _signature, args: builder.fma(*args)


@inner
def exponential(x):
    """Return e to the power of a number of at most 0, from -700 on, to a part in 1e15: the same on every machine."""
    x = x if x > _LEAST else _LEAST
    rounded = _fused(x, _LOG2_E, _ROUNDING)
    whole = rounded - _ROUNDING
    r = _fused(whole, -_LN2_LOW, _fused(whole, -_LN2_HIGH, x))
    series = 1.0 / 479001600.0
    series = _fused(series, r, 1.0 / 39916800.0)
    series = _fused(series, r, 1.0 / 3628800.0)
    series = _fused(series, r, 1.0 / 362880.0)
    series = _fused(series, r, 1.0 / 40320.0)
    series = _fused(series, r, 1.0 / 5040.0)
    series = _fused(series, r, 1.0 / 720.0)
    series = _fused(series, r, 1.0 / 120.0)
    series = _fused(series, r, 1.0 / 24.0)
    series = _fused(series, r, 1.0 / 6.0)
    series = _fused(series, r, 0.5)
    series = _fused(series, r, 1.0)
    series = _fused(series, r, 1.0)
    return _scaled(series, rounded)
