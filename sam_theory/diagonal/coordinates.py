"""Checks of what has one number per coordinate: the scale alpha and the shift."""

from __future__ import annotations

from typing import Any

import numpy as np

from .._validate import real_array
from ..design import Array
from ..errors import InputError

ALPHA_RANGE = (1e-150, 1e6)
LARGEST_SHIFT = 300.0


def initial_scale(alpha: Any, d: int) -> Array:
    """Return alpha as a (d,) array; InputError unless it is positive and in range."""
    low, high = ALPHA_RANGE
    if isinstance(alpha, float) and low <= alpha <= high:
        return np.full(d, alpha)
    scale = as_coordinates("alpha", alpha, d)
    bad = ~(np.isfinite(scale) & (scale > 0.0))
    if np.any(bad):
        raise InputError(f"alpha must be positive and finite, got {scale[bad][0]:g}")
    outside = (scale < low) | (scale > high)
    if np.any(outside):
        raise InputError(f"alpha must lie between {low:g} and {high:g}, got {scale[outside][0]:g}")
    return scale


def check_shift(shift: Array) -> None:
    """InputError where an entry is nan or beyond what double precision can hold."""
    beyond = shift[~(np.abs(shift) <= LARGEST_SHIFT)]
    if beyond.size:
        bound = f"between {-LARGEST_SHIFT:g} and {LARGEST_SHIFT:g}"
        raise InputError(f"shift must lie {bound}, got {beyond[0]:g}")


def checked_coordinates(name: str, value: Any, d: int) -> Array:
    """Return a scalar or (d,) array as (d,) float64; InputError unless finite, alpha positive."""
    array = as_coordinates(name, value, d)
    if not np.all(np.isfinite(array)):
        raise InputError(f"{name} must be finite")
    if name == "alpha" and not np.all(array > 0.0):
        raise InputError(f"alpha must be positive, got {array[~(array > 0.0)][0]:g}")
    return array


def as_coordinates(name: str, value: Any, d: int) -> Array:
    """Return value broadcast to a fresh (d,) float64 array; InputError if it is not numbers."""
    if isinstance(value, float):
        return np.full(d, value)
    numbers = real_array(name, value)
    if numbers.shape not in ((), (1,), (d,)):
        raise InputError(f"{name} must be a number or {d} numbers, not shape {numbers.shape}")
    return np.array(np.broadcast_to(numbers, (d,)), dtype=np.float64)
