"""Registers of eight settings for compiled kernels.

A value of type ``Lanes(R)`` is R rows of WIDTH = 8 float64 numbers that lives in registers; lane l
of every row belongs to setting l, so that no operation mixes two settings. Operators act element by
element; a ``Lanes(1)`` operand serves every row of the other one. Arrays of lanes are ordinary flat
float64 arrays: item k occupies ``a[8 k : 8 k + 8]``.

Multiplications and additions may be contracted to fused multiply-adds, nothing else is reordered:
the result of a lane depends on that lane's numbers alone; ``minimum`` wants no NaN. Without AVX-512
the compiler splits each row into narrower registers.
"""

from __future__ import annotations

import functools
import operator
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
from llvmlite import ir
from llvmlite.binding import get_host_cpu_features
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic, models, overload, register_model

WIDTH = 8
LANES = ir.VectorType(ir.DoubleType(), WIDTH)
_INDEX = ir.IntType(32)
_FLAGS = ("contract", "nsz")


def aligned(values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Flat copy that begins at a multiple of 64 bytes, so that no register crosses a cache line."""
    out = aligned_zeros(values.size)
    out[:] = values.ravel()
    return out


def aligned_zeros(count: int) -> npt.NDArray[np.float64]:
    """Flat zeros that begin at a multiple of 64 bytes."""
    memory = np.zeros(count + 8)
    skip = (-memory.ctypes.data % 64) // 8
    return memory[skip : skip + count]


class Lanes(types.Type):
    """Numba type of R rows of eight float64."""

    def __init__(self, rows: int) -> None:
        self.rows = rows
        super().__init__(name=f"Lanes({rows})")


@register_model(Lanes)
class _LanesModel(models.PrimitiveModel):
    def __init__(self, dmm: Any, fe_type: Any) -> None:
        super().__init__(dmm, fe_type, ir.ArrayType(LANES, fe_type.rows))


_ONE = Lanes(1)


def _rows(builder: Any, kind: Lanes, value: Any, rows: int) -> list[Any]:
    """Rows of a value, the single row of a Lanes(1) repeated."""
    if kind.rows == rows:
        return [builder.extract_value(value, k) for k in range(rows)]
    return [builder.extract_value(value, 0)] * rows


def _pack(builder: Any, rows: list[Any]) -> Any:
    value = ir.Constant(ir.ArrayType(LANES, len(rows)), ir.Undefined)
    for k, row in enumerate(rows):
        value = builder.insert_value(value, row, k)
    return value


def _splat(builder: Any, number: Any) -> Any:
    undefined = ir.Constant(LANES, ir.Undefined)
    first = builder.insert_element(undefined, number, ir.Constant(_INDEX, 0))
    everywhere = ir.Constant(ir.VectorType(_INDEX, WIDTH), [0] * WIDTH)
    return builder.shuffle_vector(first, undefined, everywhere)


def _fma(builder: Any, a: Any, b: Any, c: Any) -> Any:
    kind = ir.FunctionType(LANES, [LANES] * 3)
    function = cgutils.get_or_insert_function(builder.module, kind, f"llvm.fma.v{WIDTH}f64")
    return builder.call(function, [a, b, c])


def _data(context: Any, builder: Any, kind: Any, value: Any) -> Any:
    """Address of the first number of an array, or of what a pointer points to."""
    if isinstance(kind, types.CPointer):
        return value
    return context.make_array(kind)(context, builder, value).data


def _pointer(context: Any, builder: Any, array_type: Any, array: Any, item: Any) -> Any:
    """Address of item ``item`` of a flat array of lanes."""
    data = _data(context, builder, array_type, array)
    offset = builder.mul(item, ir.Constant(item.type, WIDTH))
    return builder.bitcast(builder.gep(data, [offset]), LANES.as_pointer())


def _elements(
    context: Any, builder: Any, X_type: Any, X: Any, i: Any, j: Any, rows: int
) -> list[Any]:
    """Splats of X[i + k, j], k < rows, of a C-contiguous matrix."""
    array = context.make_array(X_type)(context, builder, X)
    width = cgutils.unpack_tuple(builder, array.shape, 2)[1]
    address = builder.gep(array.data, [builder.add(builder.mul(i, width), j)])
    return _splats(builder, address, width, rows)


def _splats(builder: Any, address: Any, step: Any, count: int) -> list[Any]:
    """Splats of ``count`` numbers, ``step`` apart."""
    found = []
    for k in range(count):
        if k > 0:
            address = builder.gep(address, [step])
        found.append(_splat(builder, builder.load(address)))
    return found


def _constructor(kind: Lanes) -> Callable[..., Any]:
    @intrinsic
    def zeros(_typing: Any) -> Any:
        def generate(_context: Any, _builder: Any, _sig: Any, _args: Any) -> Any:
            return ir.Constant(ir.ArrayType(LANES, kind.rows), None)

        return kind(), generate

    return zeros


zero, zero2, zero3, zero4, zero8 = (_constructor(Lanes(rows)) for rows in (1, 2, 3, 4, 8))

# Rows of which two or three sums fit in the registers: 32 of eight numbers with AVX-512, else 16 of
# four. Results do not depend on it beyond the order in which squares are added.
AVX512 = bool(get_host_cpu_features().get("avx512f", False))
SUMS_ROWS = 4 if AVX512 else 2
zero_sums = zero4 if AVX512 else zero2


@intrinsic
def splat(_typing: Any, _number: Any) -> Any:
    """Lanes(1) with the same number in every lane."""

    def generate(_context: Any, builder: Any, _sig: Any, args: Any) -> Any:
        return _pack(builder, [_splat(builder, args[0])])

    return _ONE(types.float64), generate


@intrinsic
def pointer(_typing: Any, array: Any) -> Any:
    """Address of a flat array, for the functions below: free of reference counts.

    The array must outlive its last use, as an argument of the compiled function does.
    """

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return _data(context, builder, sig.args[0], args[0])

    return types.CPointer(types.float64)(array), generate


@intrinsic
def splat_at(_typing: Any, array: Any, _index: Any) -> Any:
    """Lanes(1) with one number of a flat array, index >= 0, in every lane."""

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        data = _data(context, builder, sig.args[0], args[0])
        return _pack(builder, [_splat(builder, builder.load(builder.gep(data, [args[1]])))])

    return _ONE(array, types.intp), generate


def _gather(context: Any, builder: Any, sig: Any, args: Any, step: Any) -> Any:
    first = builder.gep(_data(context, builder, sig.args[1], args[1]), [args[2]])
    return _pack(builder, _splats(builder, first, step, sig.args[0].rows))


@intrinsic
def splat_rows(_typing: Any, like: Any, array: Any, _index: Any) -> Any:
    """Numbers of a flat array, index >= 0 and those after it, one for each row of ``like``."""
    step = ir.Constant(_INDEX, 1)
    return like(like, array, types.intp), lambda c, b, sig, args: _gather(c, b, sig, args, step)


@intrinsic
def splat_apart(_typing: Any, like: Any, array: Any, _index: Any, _step: Any) -> Any:
    """Numbers of a flat array, index >= 0 and so many steps on, one for each row of ``like``."""
    kinds = like, array, types.intp, types.intp
    return like(*kinds), lambda c, b, sig, args: _gather(c, b, sig, args, args[3])


@intrinsic
def load(_typing: Any, array: Any, _item: Any) -> Any:
    """Item of a flat array of lanes."""

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        value = builder.load(_pointer(context, builder, sig.args[0], *args))
        value.align = 8
        return _pack(builder, [value])

    return _ONE(array, types.intp), generate


@intrinsic
def store(_typing: Any, array: Any, _item: Any, value: Any) -> Any:
    """Write consecutive items, one per row of value."""

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        address = _pointer(context, builder, sig.args[0], args[0], args[1])
        for k, row in enumerate(_rows(builder, sig.args[2], args[2], sig.args[2].rows)):
            place = builder.gep(address, [ir.Constant(_INDEX, k)])
            builder.store(row, place).align = 8
        return context.get_dummy_value()

    return types.void(array, types.intp, value), generate


@intrinsic
def prefetch(_typing: Any, array: Any, _index: Any) -> Any:
    """Have the cache line of one number brought into the caches; the index may be out of range."""

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        data = builder.gep(_data(context, builder, sig.args[0], args[0]), [args[1]])
        place = builder.bitcast(data, ir.IntType(8).as_pointer())
        kind = ir.FunctionType(ir.VoidType(), [place.type, _INDEX, _INDEX, _INDEX])
        function = cgutils.get_or_insert_function(builder.module, kind, "llvm.prefetch.p0i8")
        # To be read, of highest locality, data.
        builder.call(function, [place, *(ir.Constant(_INDEX, k) for k in (0, 3, 1))])
        return context.get_dummy_value()

    return types.void(array, types.intp), generate


@intrinsic
def load_rows(_typing: Any, like: Any, array: Any, _item: Any) -> Any:
    """As many consecutive items as ``like`` has rows."""

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        address = _pointer(context, builder, sig.args[1], args[1], args[2])
        found = []
        for k in range(sig.args[0].rows):
            value = builder.load(builder.gep(address, [ir.Constant(_INDEX, k)]))
            value.align = 8
            found.append(value)
        return _pack(builder, found)

    return like(like, array, types.intp), generate


@intrinsic
def rank_one(_typing: Any, rows: Any, X: Any, _i: Any, _j: Any, _value: Any) -> Any:
    """Row k of the result is rows[k] + X[i + k, j] value."""

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        count, value = sig.args[0].rows, _rows(builder, _ONE, args[4], 1)[0]
        weights = _elements(context, builder, sig.args[1], args[1], args[2], args[3], count)
        old = _rows(builder, sig.args[0], args[0], count)
        new = [_fma(builder, w, value, row) for w, row in zip(weights, old, strict=True)]
        return _pack(builder, new)

    return rows(rows, X, types.intp, types.intp, _ONE), generate


@intrinsic
def weighted_sum(_typing: Any, start: Any, X: Any, _i: Any, _j: Any, rows: Any) -> Any:
    """Return start + sum_k X[i + k, j] rows[k]."""

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        count = sig.args[4].rows
        weights = _elements(context, builder, sig.args[1], args[1], args[2], args[3], count)
        total = _rows(builder, _ONE, args[0], 1)[0]
        for w, row in zip(weights, _rows(builder, sig.args[4], args[4], count), strict=True):
            total = _fma(builder, w, row, total)
        return _pack(builder, [total])

    return _ONE(_ONE, X, types.intp, types.intp, rows), generate


@intrinsic
def total(_typing: Any, rows: Any) -> Any:
    """Sum of the rows, in order."""

    def generate(_context: Any, builder: Any, sig: Any, args: Any) -> Any:
        found = _rows(builder, sig.args[0], args[0], sig.args[0].rows)
        return _pack(builder, [functools.reduce(builder.fadd, found)])

    return _ONE(rows), generate


@intrinsic
def lane_sum(_typing: Any, value: Any) -> Any:
    """Sum of all numbers, pairwise."""

    def generate(_context: Any, builder: Any, sig: Any, args: Any) -> Any:
        rows = _rows(builder, sig.args[0], args[0], sig.args[0].rows)
        vector = functools.reduce(builder.fadd, rows)
        for width in (4, 2, 1):
            index = ir.VectorType(_INDEX, width)
            undefined = ir.Constant(vector.type, ir.Undefined)
            low = builder.shuffle_vector(vector, undefined, ir.Constant(index, list(range(width))))
            high = ir.Constant(index, list(range(width, 2 * width)))
            vector = builder.fadd(low, builder.shuffle_vector(vector, undefined, high))
        return builder.extract_element(vector, ir.Constant(_INDEX, 0))

    return types.float64(value), generate


@intrinsic
def beyond(_typing: Any, _value: Any, _low: Any, _high: Any) -> Any:
    """Whether some lane is not within low < value <= high; NaN is beyond."""

    def generate(_context: Any, builder: Any, _sig: Any, args: Any) -> Any:
        value, low, high = (_rows(builder, _ONE, arg, 1)[0] for arg in args)
        above = builder.fcmp_unordered("<=", value, low)
        over = builder.fcmp_unordered(">", value, high)
        mask = builder.bitcast(builder.or_(above, over), ir.IntType(WIDTH))
        return builder.icmp_unsigned("!=", mask, ir.Constant(ir.IntType(WIDTH), 0))

    return types.boolean(_ONE, _ONE, _ONE), generate


def elementwise(apply: Callable[[Any, list[Any]], Any], arity: int) -> Callable[..., Any]:
    """Intrinsic of one or two lanes that acts on each row."""

    def signature(kinds: tuple[Any, ...]) -> Any:
        if not all(isinstance(kind, Lanes) for kind in kinds):
            return None
        count = max(kind.rows for kind in kinds)

        def generate(_context: Any, builder: Any, sig: Any, args: Any) -> Any:
            columns = [
                _rows(builder, kind, arg, count) for kind, arg in zip(sig.args, args, strict=True)
            ]
            return _pack(builder, [apply(builder, list(row)) for row in zip(*columns, strict=True)])

        return Lanes(count)(*kinds), generate

    if arity == 1:

        @intrinsic
        def one(_typing: Any, a: Any) -> Any:
            return signature((a,))

        return one

    @intrinsic
    def two(_typing: Any, a: Any, b: Any) -> Any:
        return signature((a, b))

    return two


def _call(name: str, flags: tuple[str, ...] = ()) -> Callable[[Any, list[Any]], Any]:
    def apply(builder: Any, operands: list[Any]) -> Any:
        kind = ir.FunctionType(LANES, [LANES] * len(operands))
        function = cgutils.get_or_insert_function(builder.module, kind, name)
        return builder.call(function, operands, fastmath=flags)

    return apply


def _instruction(name: str) -> Callable[[Any, list[Any]], Any]:
    return lambda builder, operands: getattr(builder, name)(*operands, flags=_FLAGS)


_add, _sub = elementwise(_instruction("fadd"), 2), elementwise(_instruction("fsub"), 2)
_mul, _div = elementwise(_instruction("fmul"), 2), elementwise(_instruction("fdiv"), 2)
minimum = elementwise(_call(f"llvm.minnum.v{WIDTH}f64", ("nnan",)), 2)
absolute = elementwise(_call(f"llvm.fabs.v{WIDTH}f64"), 1)
copysign = elementwise(_call(f"llvm.copysign.v{WIDTH}f64"), 2)
maximum = elementwise(_call(f"llvm.maxnum.v{WIDTH}f64"), 2)
nearest = elementwise(_call(f"llvm.nearbyint.v{WIDTH}f64"), 1)
root = elementwise(_call(f"llvm.sqrt.v{WIDTH}f64"), 1)


def _operator(symbol: Callable[..., Any], function: Callable[..., Any]) -> None:
    @overload(symbol)
    def resolve(a, b):  # type: ignore[no-untyped-def]
        if isinstance(a, Lanes) and isinstance(b, Lanes):
            return lambda a, b: function(a, b)
        return None


_operator(operator.add, _add)
_operator(operator.sub, _sub)
_operator(operator.mul, _mul)
_operator(operator.truediv, _div)
