"""Rates of the flow at eight states at once, one state per lane: all stages of an implicit step.

The equations are those of :mod:`.field` without normalisation; states are nu (n, 8) and Delta
(d, 8), flat arrays of lanes. Cost per call, in fused multiply-adds of eight lanes: n d for theta,
then 4 n d (any m; for m = 1 X^2 and X^3 are made row by row), and two exponentials per coordinate
that the loss can see.
X is streamed twice, and twice more for blocks that do not stay in cache.
"""

from __future__ import annotations

import math

import numba

from ..primitives.addresses import behind
from ..primitives.exponential import exponential, exponential_minus_one
from ..primitives.row_panels import block_gradient, clear, fill_powers
from ..primitives.row_passes import by_kind
from ..primitives.simd import (
    SUMS_ROWS,
    absolute,
    beyond,
    copysign,
    load,
    load_rows,
    rank_one,
    splat,
    splat_at,
    store,
    weighted_sum,
    zero,
    zero4,
    zero_sums,
)

# Logarithm of the s below which a coordinate is not seen: the least that the exponential knows.
UNSEEN = -708.0


@numba.njit(forceinline=True)
def _transposed_rows(rows, X, i, nu, theta):
    """Add 2 X^T nu of some rows from i to theta."""
    twice = load_rows(rows, nu, i) * splat(2.0)
    for j in range(X.shape[1]):
        store(theta, j, weighted_sum(load(theta, j), X, i, j, twice))


@numba.njit(forceinline=True)
def _dense_image(X, nu, theta):
    """Set theta = 2 X^T nu."""
    n, d = X.shape
    clear(theta, d)
    full = n - n % 4
    for i in range(0, full, 4):
        _transposed_rows(zero4(), X, i, nu, theta)
    for i in range(full, n):
        _transposed_rows(zero(), X, i, nu, theta)


@numba.njit(forceinline=True)
def _sparse_image(X, nu, theta):
    clear(theta, X.shape[1])
    for i in range(X.shape[0]):
        _scatter(X, i, splat(2.0) * load(nu, i), theta)


@numba.njit(forceinline=True)
def _scatter(X, i, weight, target):
    """Add weight x_i to target."""
    for e in range(X.indptr[i], X.indptr[i + 1]):
        j = X.indices[e]
        store(target, j, load(target, j) + splat(X.data[e]) * weight)


@numba.njit(forceinline=True)
def _sparse_block(X, lo, hi, point, y, scale, z, g):
    """Do as row_panels.block_gradient does."""
    clear(g, X.shape[1])
    squares = zero()
    for i in range(lo, hi):
        r = zero() - load(y, i)
        for e in range(X.indptr[i], X.indptr[i + 1]):
            r = r + splat(X.data[e]) * load(point, X.indices[e])
        store(z, i, scale * r)
        _scatter(X, i, scale * r, g)
        squares = squares + r * r
    return squares


@numba.njit(forceinline=True)
def _sparse_examples(X, y, rho, X2, X3, beta, s, r, d_nu, d_delta):
    n, d = X.shape
    clear(d_delta, d)
    for i in range(n):
        before, q, c = zero() - load(y, i), zero(), zero()
        for e in range(X.indptr[i], X.indptr[i + 1]):
            x, j = X.data[e], X.indices[e]
            p = load(beta, j)
            before = before + splat(x) * p
            q = q + splat(x * x) * load(s, j)
            c = c + splat(x * x * x) * p
        store(r, i, before)
        lift = splat(rho) * before
        after = splat(1.0 / n) * (before + lift * (q + lift * c))
        store(d_nu, i, zero() - after)
        after = before * after
        for e in range(X.indptr[i], X.indptr[i + 1]):
            x, j = X.data[e], X.indices[e]
            store(d_delta, j, load(d_delta, j) + splat(x * x) * after)


@numba.njit(forceinline=True)
def network(log_alpha, d, rho, theta, delta, beta, s):
    """Set beta = A sinh(theta) and s = u^2 + v^2 = 2 A cosh(theta); 0 below e^UNSEEN."""
    half, two, rise = splat(math.log(2.0)), splat(2.0), splat(2.0 * rho)
    lowest, seen_from = splat(-math.inf), splat(UNSEEN)
    for j in range(d):
        t = load(theta, j)
        size = absolute(t)
        scale = two * splat_at(log_alpha, j) - half - rise * load(delta, j)
        if not beyond(size + scale, lowest, seen_from):
            store(s, j, zero())
            store(beta, j, zero())
            continue
        e = exponential(size + scale)
        fall = exponential_minus_one(splat(-2.0) * size)
        store(s, j, e * (splat(2.0) + fall))
        store(beta, j, copysign(splat(-0.5) * (e * fall), t))


@numba.njit(forceinline=True)
def _examples(rows, X, X2, X3, i, y, beta, s, rho, r_out, d_nu, d_delta):
    """Rates of nu, and the sums behind that of Delta, of some rows from i, one row a block."""
    n, d = X.shape
    r, q, c = rows, rows, rows
    for j in range(d):
        p = load(beta, j)
        r = rank_one(r, X, i, j, p)
        q = rank_one(q, X2, 0, j, load(s, j))
        c = rank_one(c, X3, 0, j, p)
    r = r - load_rows(rows, y, i)
    store(r_out, i, r)
    e = splat(rho) * r
    after = splat(1.0 / n) * (r + e * (q + e * c))
    store(d_nu, i, rows - after)
    share = r * after
    for j in range(d):
        store(d_delta, j, weighted_sum(load(d_delta, j), X2, 0, j, share))


@numba.njit(forceinline=True)
def _dense_examples(X, y, rho, X2, X3, beta, s, r, d_nu, d_delta):
    n = X.shape[0]
    clear(d_delta, X.shape[1])
    full = n - n % SUMS_ROWS
    for i in range(0, full, SUMS_ROWS):
        fill_powers(X, i, i + SUMS_ROWS, X2, X3)
        _examples(zero_sums(), X, X2, X3, i, y, beta, s, rho, r, d_nu, d_delta)
    for i in range(full, n):
        fill_powers(X, i, i + 1, X2, X3)
        _examples(zero(), X, X2, X3, i, y, beta, s, rho, r, d_nu, d_delta)


@numba.njit(forceinline=True)
def _products(rows, X, i, values, out):
    total = rows
    for j in range(X.shape[1]):
        total = rank_one(total, X, i, j, load(values, j))
    store(out, i, total)


@numba.njit(forceinline=True)
def _dense_row_products(X, values, out):
    n = X.shape[0]
    full = n - n % 4
    for i in range(0, full, 4):
        _products(zero4(), X, i, values, out)
    for i in range(full, n):
        _products(zero(), X, i, values, out)


@numba.njit(forceinline=True)
def _sparse_row_products(X, values, out):
    for i in range(X.shape[0]):
        total = zero()
        for e in range(X.indptr[i], X.indptr[i + 1]):
            total = total + splat(X.data[e]) * load(values, X.indices[e])
        store(out, i, total)


row_products = by_kind(_dense_row_products, _sparse_row_products)
_image = by_kind(_dense_image, _sparse_image)
_block = by_kind(block_gradient, _sparse_block)
_all_examples = by_kind(_dense_examples, _sparse_examples)


@numba.njit(forceinline=True)
def _all_blocks(X, y, m, rho, beta, s, r, d_nu, d_delta, g, h, moved):
    """Rates for blocks of m rows."""
    n, d = X.shape
    mean, share, radius = splat(1.0 / m), splat(m / n), splat(rho)
    clear(d_delta, d)
    for lo in range(0, n, m):
        _block(X, lo, lo + m, beta, y, mean, r, g)
        for j in range(d):
            lift, p = radius * load(g, j), load(beta, j)
            store(moved, j, p + lift * (lift * p + load(s, j)))
        _block(X, lo, lo + m, moved, y, mean, d_nu, h)
        for j in range(d):
            store(d_delta, j, load(d_delta, j) + share * (load(g, j) * load(h, j)))
    for i in range(n):
        store(r, i, splat(1.0 * m) * load(r, i))
        store(d_nu, i, splat(-m / n) * load(d_nu, i))


@numba.njit(cache=True, nogil=True)
def stage_rates(
    X, y, m, rho, log_alpha, nu, delta, work, theta, beta, s, r, d_nu, d_delta, doubled_loss
):
    """Write the rates d_nu, d_delta and 2 L, and what they were made of.

    All but X are pointers. ``y`` (n, 8) repeats the labels; ``work`` (3, 8 d) is overwritten.
    """
    n, d = X.shape
    _image(X, nu, theta)
    network(log_alpha, d, rho, theta, delta, beta, s)
    if m == 1:
        X2, X3 = numba.carray(work, (8, d)), numba.carray(behind(work, 8 * d), (8, d))
        _all_examples(X, y, rho, X2, X3, beta, s, r, d_nu, d_delta)
    else:
        h, moved = behind(work, 8 * d), behind(work, 16 * d)
        _all_blocks(X, y, m, rho, beta, s, r, d_nu, d_delta, work, h, moved)
    squares = zero()
    for i in range(n):
        squares = squares + load(r, i) * load(r, i)
    store(doubled_loss, 0, splat(1.0 / n) * squares)
