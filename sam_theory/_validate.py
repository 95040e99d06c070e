"""Checks of arguments: each returns a clean value or raises InputError with one line."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from .errors import InputError

Array = npt.NDArray[np.float64]


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


def _real(name: str, value: Any, where: str) -> Array:
    if np.ma.isMaskedArray(value) and np.ma.getmaskarray(value).any():
        raise InputError(f"{where}{name} has masked (missing) values")
    try:
        array = np.asarray(value)
    except ValueError:
        raise InputError(f"{where}{name} is ragged: its rows differ in length") from None
    if array.dtype.kind not in "fiub":
        raise InputError(f"{where}{name} must hold real numbers, not dtype {array.dtype}")
    return np.ascontiguousarray(array, dtype=np.float64) if array.ndim else array


def checked_matrix(value: Any, *, where: str = "", names: Sequence[str] | None = None) -> Array:
    X = _real("X", value, where)
    if X.ndim != 2:
        raise InputError(f"{where}X must have 2 dimensions (rows, columns), not {X.ndim}")
    if X.shape[0] < 1:
        raise InputError(f"{where}X has no rows (n = 0)")
    if X.shape[1] < 1:
        raise InputError(f"{where}X has no columns (d = 0)")
    finite = np.isfinite(X)
    if not finite.all():
        i, j = (int(k) for k in np.argwhere(~finite)[0])
        column = column_label(j, names if names is not None and j < len(names) else None)
        raise InputError(f"{where}X is {X[i, j]} in row {i + 1}, {column}")
    return X


def checked_vector(name: str, value: Any, *, where: str = "") -> Array:
    vector = _real(name, value, where)
    if vector.ndim != 1:
        raise InputError(f"{where}{name} must have 1 dimension, not {vector.ndim}")
    finite = np.isfinite(vector)
    if not finite.all():
        i = int(np.argmin(finite))
        raise InputError(f"{where}{name} is {vector[i]} in row {i + 1}")
    return vector


def checked_number(name: str, value: Any) -> float:
    try:
        number = float(value)
    except (TypeError, ValueError, OverflowError):
        raise InputError(f"{name} must be a number, not {value!r}") from None
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
