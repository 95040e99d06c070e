"""Arrays that travel into compiled code as addresses.

In compiled code an array is seven values or more, one of them a reference count, and all of them
are compiled again at every level of calls. Where there are dozens, their addresses take a small
part of the time to compile, and none of the time to run.
"""

from __future__ import annotations

import math
from collections import namedtuple
from collections.abc import Iterable
from typing import Any

import numba
import numpy as np
import numpy.typing as npt
from llvmlite import ir
from numba import types
from numba.extending import intrinsic, overload

from ...design import CSR, Matrix, compiled
from .simd import aligned_zeros

_NUMBERS = types.CPointer(types.float64)


def addresses_of(arrays: Iterable[npt.NDArray[np.float64]]) -> npt.NDArray[np.intp]:
    """Addresses of contiguous arrays of float64, which must outlive every use of them."""
    found = []
    for array in arrays:
        if array.dtype != np.float64 or not array.flags.c_contiguous:
            raise TypeError("only a contiguous array of float64 can travel as an address")
        found.append(array.ctypes.data)
    return np.array(found, dtype=np.intp)


_APART = 8
"""Numbers in a cache line, at which each array of a block begins."""


class Layout:
    """Where arrays of given shapes, named by the fields of a named tuple, lie in one block."""

    def __init__(self, kind: Any, **shapes: tuple[int, ...]) -> None:
        self.places: dict[str, tuple[int, tuple[int, ...]]] = {}
        end = 0
        for name in kind._fields:
            self.places[name] = end, shapes[name]
            end += -(-math.prod(shapes[name]) // _APART) * _APART
        self.size = end
        self.starts = 8 * np.array([start for start, _ in self.places.values()], dtype=np.intp)


class Block:
    """One block of zeros, its arrays as attributes made when first asked for, and ``addresses``."""

    def __init__(self, layout: Layout) -> None:
        self._places, self._memory = layout.places, aligned_zeros(layout.size)
        self.addresses: npt.NDArray[np.intp] = layout.starts + self._memory.ctypes.data

    def __getattr__(self, name: str) -> npt.NDArray[np.float64]:
        """Return the array of this name."""
        if name not in self._places:
            raise AttributeError(name)
        start, shape = self._places[name]
        array = self._memory[start : start + math.prod(shape)].reshape(shape)
        setattr(self, name, array)
        return array


Dense = namedtuple("Dense", "address n d")


def matrix_address(X: Matrix) -> Dense | CSR:
    """Return where a dense matrix is, which may be read-only, or the CSR tuple of a sparse one."""
    where = compiled(X)
    if isinstance(where, CSR):
        return where
    return Dense(int(addresses_of([where])[0]), *where.shape)


def matrix_at(_where: Any) -> Any:
    """Return the matrix of :func:`matrix_address`, for compiled callers."""
    raise NotImplementedError("matrix_at is for compiled callers")


@overload(matrix_at)
def _resolve(where):  # type: ignore[no-untyped-def]
    if getattr(where, "instance_class", None) is Dense:
        return lambda where: numba.carray(at_address(where.address), (where.n, where.d))
    return lambda where: where


@intrinsic
def at_address(_typing: Any, _address: Any) -> Any:
    """Pointer to the numbers at an address."""

    def generate(_context: Any, builder: Any, _sig: Any, args: Any) -> Any:
        return builder.inttoptr(args[0], ir.DoubleType().as_pointer())

    return _NUMBERS(types.intp), generate


def reader(count: int) -> Any:
    """Return a compiled function from a table of addresses to pointers, of the first ``count``."""

    @intrinsic
    def pointers(_typing: Any, table: Any) -> Any:
        def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
            first = context.make_array(sig.args[0])(context, builder, args[0]).data
            found = []
            for k in range(count):
                place = builder.gep(first, [context.get_constant(types.intp, k)])
                found.append(builder.inttoptr(builder.load(place), ir.DoubleType().as_pointer()))
            return context.make_tuple(builder, sig.return_type, found)

        return types.UniTuple(_NUMBERS, count)(table), generate

    return pointers


@intrinsic
def behind(_typing: Any, start: Any, _count: Any) -> Any:
    """Pointer to what follows ``count`` numbers from a pointer."""

    def generate(_context: Any, builder: Any, _sig: Any, args: Any) -> Any:
        return builder.gep(args[0], [args[1]])

    return _NUMBERS(_NUMBERS, types.intp), generate


@numba.njit(forceinline=True)
def vector(numbers, count):  # type: ignore[no-untyped-def]
    """Array (count,) on top of a pointer."""
    return numba.carray(numbers, (count,))


@numba.njit(forceinline=True)
def square(numbers, count):  # type: ignore[no-untyped-def]
    """Array (count, count) on top of a pointer."""
    return numba.carray(numbers, (count, count))
