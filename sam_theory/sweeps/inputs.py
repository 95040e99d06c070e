"""Inputs on their way to a cell: every cell gets its own, and none shares memory with another."""

from __future__ import annotations

import dataclasses
import hashlib
import mmap
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from sam_theory.errors import InputError

ARRAYS = (np.ndarray, np.memmap)
PLAIN = (np.float64, np.complex128, np.int64, np.bool_, np.str_)
_BLOCK = 1 << 24


@dataclass(frozen=True)
class Mapped:
    """An array that stays in its file: every cell maps it anew, copy on write.

    Attributes
    ----------
    path : str
        The file, which every worker must see.
    offset : int
        Of the first entry, in bytes.
    dtype : str
        As NumPy spells it.
    shape : tuple of int
        Of the array, in C order.
    stamp : tuple of int
        Size and time of change of the file, when the keys were made.
    """

    path: str
    offset: int
    dtype: str
    shape: tuple[int, ...]
    stamp: tuple[int, int]

    def open(self) -> npt.NDArray[Any]:
        """Map the file; InputError if it is not the one that the keys were made with."""
        try:
            if _stamp(self.path) != self.stamp:
                raise InputError(f"{self.path} has changed since the sweep began")
            return np.asarray(
                np.memmap(self.path, self.dtype, mode="c", offset=self.offset, shape=self.shape)
            )
        except OSError as error:
            raise InputError(f"{self.path}: cannot be read ({error.strerror})") from None


def private(value: Any) -> Any:
    """Return a copy that shares no memory: what a study does to it, no other cell sees.

    Arrays become plain and C-contiguous wherever they come from; dataclasses are rebuilt from their
    fields alone, without what they have cached; NumPy's float64, complex128, int64, bool and str
    become Python's, other NumPy scalars stay what they are.
    """
    return _rebuilt(value, lambda array: np.array(array, order="C", copy=True))


def portable(value: Any) -> Any:
    """Return a private copy to be sent to workers, in which mapped arrays stay in their files."""
    return _rebuilt(value, lambda array: _mapped(array) or np.array(array, order="C", copy=True))


def size(value: Any) -> int:
    """Return the bytes of all arrays in a value."""
    if isinstance(value, np.ndarray):
        return value.nbytes
    if is_sparse(value):
        return value.data.nbytes + value.indices.nbytes + value.indptr.nbytes
    if isinstance(value, list | tuple):
        return sum(map(size, value))
    if isinstance(value, dict):
        return sum(map(size, value.values()))
    if is_dataclass(value):
        return sum(size(getattr(value, field.name)) for field in dataclasses.fields(value))
    return 0


def is_dataclass(value: Any) -> bool:
    """Whether a value is an instance of a dataclass."""
    return dataclasses.is_dataclass(value) and not isinstance(value, type)


def is_sparse(value: Any) -> bool:
    """Whether a value is a sparse array of SciPy."""
    scipy_sparse = sys.modules.get("scipy.sparse")
    return scipy_sparse is not None and bool(scipy_sparse.issparse(value))


def _rebuilt(value: Any, copied: Callable[[Any], Any]) -> Any:
    kind = type(value)
    if kind in ARRAYS:
        return copied(value)
    if kind is Mapped:
        return value.open()
    if isinstance(value, PLAIN):
        return value.item()
    if is_sparse(value):
        return value.copy()
    if kind in (list, tuple):
        return kind(_rebuilt(entry, copied) for entry in value)
    if kind is dict:
        return {name: _rebuilt(entry, copied) for name, entry in value.items()}
    if is_dataclass(value):
        new = object.__new__(kind)
        for field in dataclasses.fields(value):
            object.__setattr__(new, field.name, _rebuilt(getattr(value, field.name), copied))
        return new
    return value


def _mapped(array: npt.NDArray[Any]) -> Mapped | None:
    """Return where in its file an array lies, None if it is not what the file holds."""
    base: Any = array
    while isinstance(base, np.ndarray) and not isinstance(base.base, mmap.mmap):
        base = base.base
    path = getattr(base, "filename", None)
    if path is None or not array.flags.c_contiguous or not array.size:
        return None
    start = array.__array_interface__["data"][0] - base.__array_interface__["data"][0]
    try:
        path = os.path.abspath(path)
        found = Mapped(path, base.offset + start, array.dtype.str, array.shape, _stamp(path))
        # Pages that were written to are not in the file.
        same = _digest(found.open()) == _digest(array)
    except (OSError, ValueError):
        return None
    return found if same else None


def _digest(array: npt.NDArray[Any]) -> bytes:
    state = hashlib.sha256()
    content = array.reshape(-1).view(np.uint8)
    for start in range(0, content.size, _BLOCK):
        state.update(content[start : start + _BLOCK].data)
    return state.digest()


def _stamp(path: str) -> tuple[int, int]:
    found = os.stat(path)
    return found.st_size, found.st_mtime_ns
