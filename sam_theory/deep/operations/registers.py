"""Tiles of a matrix product that stay in vector registers, for compiled kernels.

A register holds 64 bytes of an array: 16 float32 or 8 float64 numbers. Two tiles serve all
convolutions on channels-last images:

    multiply:  out[p, :] = residual[p, :] + sum_k x[start_p + k] w[k, :]
    outer:     tile[r, :] += sum_q x[start_q + r] d[q, :]

Every number of a result is one sum in rising order of k or q by fused multiply-adds, whatever the
size of the tile: results do not depend on it, nor on the width of the processor's registers.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from llvmlite import binding, ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

BYTES = 64
_INDEX = ir.IntType(64)
_LANE = ir.IntType(32)
_WIDE = bool(binding.get_host_cpu_features().get("avx512f", False))

PIXELS, VECTORS = (8, 2) if _WIDE else (6, 1)
ROWS = 12 if _WIDE else 6


class _Numbers:
    """Emits code for registers of one kind of number."""

    def __init__(self, builder: Any, kind: Any) -> None:
        double = kind == types.float64
        self.builder = builder
        self.lanes = BYTES // (8 if double else 4)
        self.vector = ir.VectorType(ir.DoubleType() if double else ir.FloatType(), self.lanes)
        self.align = 8 if double else 4
        self.name = f"llvm.fma.v{self.lanes}f{64 if double else 32}"

    def at(self, data: Any, index: Any) -> Any:
        where = ir.Constant(_INDEX, index) if isinstance(index, int) else index
        return self.builder.gep(data, [where])

    def load(self, data: Any, index: Any) -> Any:
        address = self.builder.bitcast(self.at(data, index), self.vector.as_pointer())
        value = self.builder.load(address)
        value.align = self.align
        return value

    def store(self, value: Any, data: Any, index: Any) -> None:
        address = self.builder.bitcast(self.at(data, index), self.vector.as_pointer())
        self.builder.store(value, address).align = self.align

    def splat(self, data: Any, index: Any) -> Any:
        undefined = ir.Constant(self.vector, ir.Undefined)
        number = self.builder.load(self.at(data, index))
        first = self.builder.insert_element(undefined, number, ir.Constant(_LANE, 0))
        everywhere = ir.Constant(ir.VectorType(_LANE, self.lanes), [0] * self.lanes)
        return self.builder.shuffle_vector(first, undefined, everywhere)

    def accumulate(self, a: Any, b: Any, place: Any) -> None:
        kind = ir.FunctionType(self.vector, [self.vector] * 3)
        function = cgutils.get_or_insert_function(self.builder.module, kind, self.name)
        total = self.builder.call(function, [a, b, self.builder.load(place)])
        self.builder.store(total, place)

    def times(self, index: Any, factor: Any) -> Any:
        value = ir.Constant(_INDEX, factor) if isinstance(factor, int) else factor
        return self.builder.mul(index, value)


def _arrays(context: Any, builder: Any, sig: Any, args: Any, which: tuple[int, ...]) -> list[Any]:
    """Addresses of the first numbers of some arguments."""
    return [context.make_array(sig.args[i])(context, builder, args[i]).data for i in which]


def multiply_tile(pixels: int, vectors: int) -> Callable[..., Any]:
    """Intrinsic of the first product, for ``pixels`` rows and ``vectors`` registers a row.

    ``multiply(x, x_pixels, x_base, channels, first, rows, row_stride, width, w, w_start, residual,
    out, out_pixels, out_base, out_channels, add)``: pixel p reads x at x_base + channels
    x_pixels[first + p], in ``rows`` stretches of ``width`` numbers that lie row_stride apart, and
    writes out, with residual added if ``add``, at out_base + out_channels out_pixels[first + p].
    The weights of all k follow one another from w_start.
    """

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        numbers = _Numbers(builder, sig.args[0].dtype)
        step = numbers.lanes * vectors
        x, x_pixels, w, residual, out, out_pixels = _arrays(
            context, builder, sig, args, (0, 1, 8, 10, 11, 12)
        )
        x_base, channels, first, rows, row_stride, width = args[2:8]
        w_start, out_base, out_channels, add = args[9], args[13], args[14], args[15]
        zero = ir.Constant(numbers.vector, None)
        sums = [
            [cgutils.alloca_once_value(builder, zero) for _ in range(vectors)]
            for _ in range(pixels)
        ]
        starts, places = [], []
        for p in range(pixels):
            tile = builder.add(first, ir.Constant(_INDEX, p))
            offset = numbers.times(builder.load(numbers.at(x_pixels, tile)), channels)
            starts.append(numbers.at(numbers.at(x, x_base), offset))
            offset = numbers.times(builder.load(numbers.at(out_pixels, tile)), out_channels)
            places.append(builder.add(out_base, offset))
        with cgutils.for_range(builder, rows, intp=_INDEX) as row:
            lines = [numbers.at(s, numbers.times(row.index, row_stride)) for s in starts]
            done = numbers.times(numbers.times(row.index, width), step)
            weights = numbers.at(numbers.at(w, w_start), done)
            with cgutils.for_range(builder, width, intp=_INDEX) as k:
                here = numbers.at(weights, numbers.times(k.index, step))
                loaded = [numbers.load(here, v * numbers.lanes) for v in range(vectors)]
                for line, own in zip(lines, sums, strict=True):
                    number = numbers.splat(line, k.index)
                    for value, place in zip(loaded, own, strict=True):
                        numbers.accumulate(number, value, place)
        with builder.if_then(add):
            for start, own in zip(places, sums, strict=True):
                for v, place in enumerate(own):
                    more = numbers.load(numbers.at(residual, start), v * numbers.lanes)
                    builder.store(builder.fadd(builder.load(place), more), place)
        for start, own in zip(places, sums, strict=True):
            for v, place in enumerate(own):
                numbers.store(builder.load(place), numbers.at(out, start), v * numbers.lanes)
        return context.get_dummy_value()

    @intrinsic
    def multiply(
        _typing: Any, x: Any, x_pixels: Any, _x_base: Any, _channels: Any, _first: Any, _rows: Any,
        _row_stride: Any, _width: Any, w: Any, _w_start: Any, residual: Any, out: Any,
        out_pixels: Any, _out_base: Any, _out_channels: Any, _add: Any,
    ) -> Any:  # fmt: skip
        n = types.int64
        ends = (residual, out, out_pixels, n, n, types.boolean)
        return types.void(x, x_pixels, n, n, n, n, n, n, w, n, *ends), generate

    return multiply


def outer_tile(rows: int, vectors: int) -> Callable[..., Any]:
    """Intrinsic of the second product, for a tile of ``rows`` rows of ``vectors`` registers.

    ``outer(x, x_pixels, x_base, channels, count, d, d_base, d_stride, tile, tile_start,
    tile_stride, fresh)``: pixel q reads ``rows`` numbers of x at x_base + channels x_pixels[q] and
    a row of d at d_base + q d_stride. The tile's rows lie tile_stride apart; ``fresh`` starts from
    zero.
    """

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        numbers = _Numbers(builder, sig.args[0].dtype)
        x, x_pixels, d, tile = _arrays(context, builder, sig, args, (0, 1, 5, 8))
        x_base, channels, count, d_base, d_stride = args[2], args[3], args[4], args[6], args[7]
        tile, stride, fresh = numbers.at(tile, args[9]), args[10], args[11]
        zero = ir.Constant(numbers.vector, None)
        lines = [numbers.at(tile, numbers.times(stride, r)) for r in range(rows)]
        places = [(r, v) for r in range(rows) for v in range(vectors)]
        sums = {place: cgutils.alloca_once_value(builder, zero) for place in places}
        with builder.if_then(builder.not_(fresh)):
            for r, v in places:
                builder.store(numbers.load(lines[r], v * numbers.lanes), sums[r, v])
        with cgutils.for_range(builder, count, intp=_INDEX) as q:
            offset = numbers.times(builder.load(numbers.at(x_pixels, q.index)), channels)
            source = numbers.at(numbers.at(x, x_base), offset)
            line = numbers.at(numbers.at(d, d_base), numbers.times(q.index, d_stride))
            loaded = [numbers.load(line, v * numbers.lanes) for v in range(vectors)]
            for r in range(rows):
                number = numbers.splat(source, r)
                for v, value in enumerate(loaded):
                    numbers.accumulate(number, value, sums[r, v])
        for r, v in places:
            numbers.store(builder.load(sums[r, v]), lines[r], v * numbers.lanes)
        return context.get_dummy_value()

    @intrinsic
    def outer(
        _typing: Any, x: Any, x_pixels: Any, _x_base: Any, _channels: Any, _count: Any, d: Any,
        _d_base: Any, _d_stride: Any, tile: Any, _tile_start: Any, _tile_stride: Any, _fresh: Any,
    ) -> Any:  # fmt: skip
        n = types.int64
        return types.void(x, x_pixels, n, n, n, d, n, n, tile, n, n, types.boolean), generate

    return outer
