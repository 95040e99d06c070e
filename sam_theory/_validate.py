"""Checks of arguments: each returns a clean value or raises InputError with one line."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from .design import Array, Matrix, largest
from .errors import InputError


def column_label(index: int, names: Sequence[str] | None) -> str:
    return f"column {index + 1}" + (f" ({names[index]!r})" if names is not None else "")


def checked_names(names: Any, where: str) -> tuple[str, ...] | None:
    if names is None:
        return None
    if isinstance(names, str):
        raise InputError(f"{where}feature_names must be a sequence of names, not one string")
    try:
        return tuple(str(name) for name in names)
    except TypeError:
        raise InputError(f"{where}feature_names must be a sequence of names") from None


def real_array(name: str, value: Any, where: str = "") -> Array:
    """Return a C-contiguous array of any shape; InputError for masked, complex, object or text.

    It is float64, and shares the memory of a value that has this form; a single number keeps its
    own type.
    """
    if np.ma.isMaskedArray(value) and np.ma.getmaskarray(value).any():
        raise InputError(f"{where}{name} has masked (missing) values")
    try:
        array = np.asarray(value)
    except ValueError:
        raise InputError(f"{where}{name} is ragged: its rows differ in length") from None
    if array.dtype.kind not in "fiub":
        raise InputError(f"{where}{name} must hold real numbers, not dtype {array.dtype}")
    return np.ascontiguousarray(array, dtype=np.float64) if array.ndim else array


def checked_matrix(value: Any, *, where: str = "", names: Sequence[str] | None = None) -> Matrix:
    """Return a C-contiguous float64 array or, for a sparse value, a canonical csr_array.

    Neither copies data that have that form already.
    """
    sparse = is_sparse(value)
    X = value if sparse else real_array("X", value, where)
    if X.ndim != 2:
        raise InputError(f"{where}X must have 2 dimensions (rows, columns), not {X.ndim}")
    if X.shape[0] < 1:
        raise InputError(f"{where}X has no rows (n = 0)")
    if X.shape[1] < 1:
        raise InputError(f"{where}X has no columns (d = 0)")
    if sparse:
        X = _canonical(X, where)
    if not math.isfinite(largest(X)):
        i, j, entry = _first_not_finite(X)
        column = column_label(j, names if names is not None and j < len(names) else None)
        raise InputError(f"{where}X is {entry} in row {i + 1}, {column}")
    return X


def is_sparse(value: Any) -> bool:
    """Whether value is a scipy.sparse matrix or array."""
    return type(value).__module__.startswith("scipy.sparse")


def _canonical(value: Any, where: str) -> Matrix:
    from scipy.sparse import csr_array

    if value.dtype.kind not in "fiub":
        raise InputError(f"{where}X must hold real numbers, not dtype {value.dtype}")
    try:
        # Compiled kernels trust the indices.
        if hasattr(value, "check_format"):
            value.check_format(full_check=True)
    except (ValueError, TypeError) as error:
        raise InputError(f"{where}X is not a valid sparse array ({error})") from None
    X = csr_array(value, dtype=np.float64)
    if not X.has_canonical_format or np.count_nonzero(X.data) < X.data.size:
        X = csr_array(value, dtype=np.float64, copy=True)
        X.sum_duplicates()
        X.eliminate_zeros()
    return X


def _first_not_finite(X: Matrix) -> tuple[int, int, float]:
    if not isinstance(X, np.ndarray):
        k = int(np.argmin(np.isfinite(X.data)))
        i = int(np.searchsorted(X.indptr, k, side="right")) - 1
        return i, int(X.indices[k]), float(X.data[k])
    i = next(i for i, row in enumerate(X) if not np.all(np.isfinite(row)))
    j = int(np.argmin(np.isfinite(X[i])))
    return i, j, float(X[i, j])


def checked_vector(name: str, value: Any, *, where: str = "") -> Array:
    vector = real_array(name, value, where)
    if vector.ndim != 1:
        raise InputError(f"{where}{name} must have 1 dimension, not {vector.ndim}")
    finite = np.isfinite(vector)
    if not finite.all():
        i = int(np.argmin(finite))
        raise InputError(f"{where}{name} is {vector[i]} in row {i + 1}")
    return vector


def checked_number(name: str, value: Any) -> float:
    try:
        if isinstance(value, str | bytes) or value is np.ma.masked:
            raise TypeError
        number = float(value)
    except (TypeError, ValueError, OverflowError):
        shown = " ".join(repr(value).split())
        raise InputError(f"{name} must be a number, not {shown}") from None
    if not math.isfinite(number):
        raise InputError(f"{name} must be finite, not {number}")
    return number


def checked_integer(name: str, value: Any, low: int, high: int | None = None) -> int:
    if isinstance(value, bool) or not isinstance(value, int | np.integer):
        raise InputError(f"{name} must be an integer, not {value!r}")
    if value < low or (high is not None and value > high):
        bound = f">= {low}" if high is None else f"between {low} and {high}"
        raise InputError(f"{name} must be {bound}, not {value}")
    return int(value)


def checked_generator(seed: Any) -> np.random.Generator:
    if isinstance(seed, np.random.Generator):
        return seed
    return np.random.default_rng(checked_integer("seed", seed, 0))


def together(*arguments: Array) -> tuple[Array, ...]:
    """Return the arguments in their common shape; InputError if there is none."""
    try:
        return tuple(np.broadcast_arrays(*arguments))
    except ValueError:
        shapes = ", ".join(str(array.shape) for array in arguments)
        raise InputError(f"the shapes of the arguments do not fit: {shapes}") from None
