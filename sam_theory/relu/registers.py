"""Registers of 512 bits for the ReLU kernels, in float64 (8 numbers) or float32 (16).

A value of type ``Tile(element, rows)`` is that many registers. The lanes are neurons; the rows are
examples. Sums run over lanes and rows in a fixed order, products may be contracted to fused
multiply-adds and nothing else is reordered, so a result depends on the numbers alone. NaN passes
through every operation. Without AVX-512 the compiler splits the registers.

:mod:`sam_theory.diagonal.primitives.simd` has registers whose lanes are settings, of float64 only;
those here follow the type of the array that they are loaded from and know how to compare and
select.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic, models, overload, register_model

BYTES = 64
_FLAGS = ("contract", "nsz")
_ELEMENTS = {types.float64: ir.DoubleType(), types.float32: ir.FloatType()}
_INDEX = ir.IntType(32)


def lanes(dtype: npt.DTypeLike) -> int:
    """Numbers in a register."""
    return BYTES // np.dtype(dtype).itemsize


def aligned(shape: int | tuple[int, ...], dtype: npt.DTypeLike) -> npt.NDArray[Any]:
    """Zeros that begin at a multiple of 64 bytes, so that no register crosses a cache line."""
    size = int(np.prod(shape)) * np.dtype(dtype).itemsize
    memory = np.zeros(size + BYTES, np.uint8)
    skip = -memory.ctypes.data % BYTES
    return memory[skip : skip + size].view(dtype).reshape(shape)


class Tile(types.Type):
    """Numba type of some registers."""

    def __init__(self, element: Any, rows: int) -> None:
        self.element, self.rows = element, rows
        super().__init__(name=f"Tile({element}, {rows})")

    @property
    def register(self) -> ir.VectorType:
        """LLVM's type of one register."""
        return ir.VectorType(_ELEMENTS[self.element], BYTES * 8 // self.element.bitwidth)

    def one(self) -> Tile:
        """Type of a single register."""
        return Tile(self.element, 1)


@register_model(Tile)
class _TileModel(models.PrimitiveModel):
    def __init__(self, dmm: Any, fe_type: Any) -> None:
        super().__init__(dmm, fe_type, ir.ArrayType(fe_type.register, fe_type.rows))


def _unpack(builder: Any, kind: Tile, value: Any, rows: int) -> list[Any]:
    """Rows of a value; the only row of a single register is repeated."""
    if kind.rows == rows:
        return [builder.extract_value(value, k) for k in range(rows)]
    return [builder.extract_value(value, 0)] * rows


def _pack(builder: Any, rows: list[Any]) -> Any:
    value = ir.Constant(ir.ArrayType(rows[0].type, len(rows)), ir.Undefined)
    for k, row in enumerate(rows):
        value = builder.insert_value(value, row, k)
    return value


def _splat(builder: Any, register: ir.VectorType, number: Any) -> Any:
    undefined = ir.Constant(register, ir.Undefined)
    first = builder.insert_element(undefined, number, ir.Constant(_INDEX, 0))
    return _shuffle(builder, first, undefined, [0] * register.count)


def _shuffle(builder: Any, a: Any, b: Any, chosen: list[int]) -> Any:
    return builder.shuffle_vector(a, b, ir.Constant(ir.VectorType(_INDEX, len(chosen)), chosen))


def _address(builder: Any, numbers: Any, index: Any) -> Any:
    """Address of a number behind a pointer."""
    return builder.gep(numbers, [index])


def _fma(builder: Any, a: Any, b: Any, c: Any) -> Any:
    kind = ir.FunctionType(a.type, [a.type] * 3)
    suffix = f"v{a.type.count}f{512 // a.type.count}"
    function = cgutils.get_or_insert_function(builder.module, kind, f"llvm.fma.{suffix}")
    return builder.call(function, [a, b, c])


@intrinsic
def pointer(_typing: Any, array: Any) -> Any:
    """Address of a flat array, which must outlive it: free of reference counts, indexable."""

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return context.make_array(sig.args[0])(context, builder, args[0]).data

    return types.CPointer(array.dtype)(array), generate


def _zeros(rows: int) -> Callable[..., Any]:
    @intrinsic
    def zeros(_typing: Any, array: Any) -> Any:
        kind = Tile(array.dtype, rows)

        def generate(context: Any, _builder: Any, sig: Any, _args: Any) -> Any:
            return ir.Constant(context.get_value_type(sig.return_type), None)

        return kind(array), generate

    return zeros


zero, zero4 = _zeros(1), _zeros(4)
"""Zeros of the type of the numbers behind a pointer: one register, or four."""


@intrinsic
def splat(_typing: Any, array: Any, _number: Any) -> Any:
    """One register with the same number in every lane, of the type behind a pointer."""
    kind = Tile(array.dtype, 1)

    def generate(_context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return _pack(builder, [_splat(builder, sig.return_type.register, args[1])])

    return kind(array, array.dtype), generate


@intrinsic
def load(_typing: Any, array: Any, _item: Any) -> Any:
    """Register number ``item`` behind a pointer to a multiple of 64 bytes."""
    kind = Tile(array.dtype, 1)

    def generate(_context: Any, builder: Any, sig: Any, args: Any) -> Any:
        register = sig.return_type.register
        index = builder.mul(args[1], ir.Constant(args[1].type, register.count))
        place = _address(builder, args[0], index)
        value = builder.load(builder.bitcast(place, register.as_pointer()))
        value.align = BYTES
        return _pack(builder, [value])

    return kind(array, types.intp), generate


@intrinsic
def store(_typing: Any, array: Any, _item: Any, value: Any) -> Any:
    """Write register number ``item`` behind a pointer."""

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        register = sig.args[2].register
        index = builder.mul(args[1], ir.Constant(args[1].type, register.count))
        place = _address(builder, args[0], index)
        row = _unpack(builder, sig.args[2], args[2], 1)[0]
        builder.store(row, builder.bitcast(place, register.as_pointer())).align = BYTES
        return context.get_dummy_value()

    return types.void(array, types.intp, value), generate


@intrinsic
def splats(_typing: Any, like: Any, array: Any, _start: Any, _stride: Any) -> Any:
    """Row k has array[start + k stride] in every lane; as many rows as ``like``."""

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        place = _address(builder, args[1], args[2])
        rows = []
        for k in range(sig.args[0].rows):
            if k:
                place = builder.gep(place, [args[3]])
            rows.append(_splat(builder, sig.args[0].register, builder.load(place)))
        return _pack(builder, rows)

    return like(like, array, types.intp, types.intp), generate


def _rowwise(arity: int, apply: Callable[[Any, list[Any]], Any]) -> Callable[..., Any]:
    """Intrinsic that acts on corresponding rows; a single register serves every row."""

    def signature(kinds: tuple[Any, ...]) -> Any:
        if not all(isinstance(kind, Tile) for kind in kinds):
            return None
        count = max(kind.rows for kind in kinds)

        def generate(_context: Any, builder: Any, sig: Any, args: Any) -> Any:
            columns = [_unpack(builder, k, a, count) for k, a in zip(sig.args, args, strict=True)]
            rows = [apply(builder, list(row)) for row in zip(*columns, strict=True)]
            return _pack(builder, rows)

        return Tile(kinds[0].element, count)(*kinds), generate

    if arity == 1:
        return intrinsic(lambda _typing, a: signature((a,)))
    if arity == 2:
        return intrinsic(lambda _typing, a, b: signature((a, b)))
    return intrinsic(lambda _typing, a, b, c: signature((a, b, c)))


def _relu(builder: Any, row: list[Any]) -> Any:
    null = ir.Constant(row[0].type, None)
    return builder.select(builder.fcmp_ordered("<", row[0], null), null, row[0])


relu = _rowwise(1, _relu)
"""max(0, z); NaN stays NaN."""
fma = _rowwise(3, lambda builder, row: _fma(builder, *row))
"""First operand times the second plus the third, rounded once."""


@intrinsic
def add_where_positive(_typing: Any, chosen: Any, values: Any, start: Any) -> Any:
    """Add to ``start`` each row of values in turn, in the lanes where that row of chosen is > 0."""

    def generate(_context: Any, builder: Any, sig: Any, args: Any) -> Any:
        count = sig.args[0].rows
        rows = (_unpack(builder, k, a, count) for k, a in zip(sig.args[:2], args[:2], strict=True))
        (total,) = _unpack(builder, sig.args[2], args[2], 1)
        null = ir.Constant(total.type, None)
        for test, value in zip(*rows, strict=True):
            added = builder.fadd(total, value)
            total = builder.select(builder.fcmp_ordered(">", test, null), added, total)
        return _pack(builder, [total])

    return start(chosen, values, start), generate


def _operator(symbol: Callable[..., Any], name: str) -> None:
    function = _rowwise(2, lambda builder, row: getattr(builder, name)(*row, flags=_FLAGS))

    @overload(symbol)
    def resolve(a, b):  # type: ignore[no-untyped-def]
        if isinstance(a, Tile) and isinstance(b, Tile):
            return lambda a, b: function(a, b)
        return None


for _symbol, _name in ((operator.add, "fadd"), (operator.mul, "fmul")):
    _operator(_symbol, _name)


def _halved(builder: Any, vector: Any, least: int) -> Any:
    """Add the upper half of the lanes to the lower one until ``least`` lanes are left."""
    while vector.type.count > least:
        half = vector.type.count // 2
        undefined = ir.Constant(vector.type, ir.Undefined)
        low = _shuffle(builder, vector, undefined, list(range(half)))
        high = _shuffle(builder, vector, undefined, list(range(half, 2 * half)))
        vector = builder.fadd(low, high)
    return vector


def _row_sums(builder: Any, rows: list[Any]) -> Any:
    """Vector of the sums over lanes of each row; their number is a power of two.

    Two registers at a time are merged into one that holds partial sums of both in turn.
    """
    width, group = rows[0].type.count, 1
    while len(rows) > 1:
        first, second = [], []
        for begin in range(0, width, 2 * group):
            first += [*range(begin, begin + group), *range(width + begin, width + begin + group)]
        second = [k + group for k in first]
        rows = [
            builder.fadd(_shuffle(builder, a, b, first), _shuffle(builder, a, b, second))
            for a, b in zip(rows[::2], rows[1::2], strict=True)
        ]
        group *= 2
    return _halved(builder, rows[0], group)


@intrinsic
def lanes_of(_typing: Any, array: Any) -> Any:
    """How many of the numbers behind a pointer fit into a register."""

    def generate(context: Any, _builder: Any, sig: Any, _args: Any) -> Any:
        count = Tile(sig.args[0].dtype, 1).register.count
        return ir.Constant(context.get_value_type(types.intp), count)

    return types.intp(array), generate


@intrinsic
def lane_sum(_typing: Any, row: Any) -> Any:
    """Sum of the lanes of one register."""

    def generate(_context: Any, builder: Any, sig: Any, args: Any) -> Any:
        vector = _halved(builder, _unpack(builder, sig.args[0], args[0], 1)[0], 1)
        return builder.extract_element(vector, ir.Constant(_INDEX, 0))

    return row.element(row), generate


@intrinsic
def subtract_sums(_typing: Any, rows: Any, y: Any, out: Any, _start: Any) -> Any:
    """Set out[start + k] = sum of the lanes of row k - y[start + k]; returns the sum of squares."""

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        count = sig.args[0].rows
        sums = _row_sums(builder, _unpack(builder, sig.args[0], args[0], count))
        places = []
        for numbers in args[1:3]:
            place = _address(builder, numbers, args[3])
            places.append(builder.bitcast(place, sums.type.as_pointer()))
        labels = builder.load(places[0])
        labels.align = sig.args[0].element.bitwidth // 8
        rest = builder.fsub(sums, labels)
        builder.store(rest, places[1]).align = labels.align
        squares = _halved(builder, builder.fmul(rest, rest), 1)
        return builder.extract_element(squares, ir.Constant(_INDEX, 0))

    return rows.element(rows, y, out, types.intp), generate
