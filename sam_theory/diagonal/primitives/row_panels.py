"""Compiled passes over the rows of a dense X for eight vectors, a few rows at a time.

For one group of eight a row serves its forward and its backward product before the next ones are
read; many groups go by :mod:`.products`.
"""

from __future__ import annotations

import numba

from .simd import load, load_rows, rank_one, store, total, weighted_sum, zero, zero4, zero8

PANEL = 8


@numba.njit(forceinline=True)
def clear(a, items):
    """Set the first items to zero."""
    for j in range(items):
        store(a, j, zero())


@numba.njit(forceinline=True)
def gradient_rows(rows, X, i, point, y, scale, z, g):
    """Set z = scale (X point - y) on some rows from i, add X^T z to g; returns the sum of r^2."""
    r = rows
    for j in range(X.shape[1]):
        r = rank_one(r, X, i, j, load(point, j))
    r = r - load_rows(rows, y, i)
    after = scale * r
    store(z, i, after)
    for j in range(X.shape[1]):
        store(g, j, weighted_sum(load(g, j), X, i, j, after))
    return total(r * r)


@numba.njit(forceinline=True)
def panel_gradient(X, lo, hi, point, y, scale, z, g):
    """gradient_rows over the rows lo, ..., hi - 1, at most PANEL of them."""
    if hi - lo == 8:
        return gradient_rows(zero8(), X, lo, point, y, scale, z, g)
    squares = zero()
    if hi - lo >= 4:
        squares = gradient_rows(zero4(), X, lo, point, y, scale, z, g)
        lo += 4
    for i in range(lo, hi):
        squares = squares + gradient_rows(zero(), X, i, point, y, scale, z, g)
    return squares


@numba.njit(forceinline=True)
def block_gradient(X, lo, hi, point, y, scale, z, g):
    """Set z and g = X^T z on the rows lo, ..., hi - 1; returns the sum of r^2."""
    clear(g, X.shape[1])
    squares = zero()
    for start in range(lo, hi, PANEL):
        stop = min(start + PANEL, hi)
        squares = squares + panel_gradient(X, start, stop, point, y, scale, z, g)
    return squares


@numba.njit(cache=True)
def fill_powers(X, lo, hi, X2, X3):
    """Squares and cubes of the rows lo, ..., hi - 1."""
    for i in range(lo, hi):
        for j in range(X.shape[1]):
            square = X[i, j] * X[i, j]
            X2[i - lo, j] = square
            X3[i - lo, j] = square * X[i, j]
