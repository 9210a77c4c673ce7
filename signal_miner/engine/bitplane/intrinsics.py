"""Operations on words and vectors that numba has no name for, made of LLVM's generic instructions.

Nothing here is specific to a processor: LLVM makes vectors of what there is.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from signal_miner.engine.bitplane.tuning import PLANES_A_WORD

GROUP = PLANES_A_WORD

FLUSH = 16
"""Rows whose residuals a sum of 8 bits holds: 16 * -8 = -128."""

CHUNK = 15 * FLUSH
"""Rows that a count of 8 bits holds, in whole flushes."""

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
    """Add the residuals and the number of at most `CHUNK` rows to the planes of one group where their bit is set.

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
        flush = ir.Constant(ir.IntType(64), FLUSH)
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
