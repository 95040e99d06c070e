"""Rates of the flow at eight states at once, one state per lane: all stages of an implicit step.

The equations are those of :mod:`.field` without normalisation; states are nu (n, 8) and Delta
(d, 8), flat arrays of lanes. Cost per call, in fused multiply-adds of eight lanes: n d for theta,
then 4 n d (any m; for m = 1 X^2 and X^3 are made row by row), and two exponentials per coordinate.
X is streamed twice, and twice more for blocks that do not stay in cache.
"""

from __future__ import annotations

import math

import numba

from .lanes import (
    PANEL,
    block_gradient,
    clear,
    fill_powers,
)
from .simd import (
    absolute,
    copysign,
    exponential,
    exponential_minus_one,
    load,
    load_rows,
    rank_one,
    splat,
    store,
    weighted_sum,
    zero,
    zero4,
    zero8,
)


@numba.njit(forceinline=True)
def _transposed_rows(rows, X, i, nu, theta):
    """Add 2 X^T nu of some rows from i to theta."""
    twice = load_rows(rows, nu, i) * splat(2.0)
    for j in range(X.shape[1]):
        store(theta, j, weighted_sum(load(theta, j), X, i, j, twice))


@numba.njit(forceinline=True)
def dual_image(X, nu, theta):
    """Theta = 2 X^T nu."""
    n, d = X.shape
    clear(theta, 0, d)
    full = n - n % PANEL
    for i in range(0, full, PANEL):
        _transposed_rows(zero8(), X, i, nu, theta)
    if n - full >= 4:
        _transposed_rows(zero4(), X, full, nu, theta)
        full += 4
    for i in range(full, n):
        _transposed_rows(zero(), X, i, nu, theta)


@numba.njit(forceinline=True)
def network(log_alpha, rho, theta, delta, beta, s):
    """Beta = A sinh(theta) and s = u^2 + v^2 = 2 A cosh(theta)."""
    for j in range(log_alpha.shape[0]):
        t = load(theta, j)
        size = absolute(t)
        scale = splat(2.0 * log_alpha[j] - math.log(2.0)) - splat(2.0 * rho) * load(delta, j)
        e = exponential(size + scale)
        fall = exponential_minus_one(splat(-2.0) * size)
        store(s, j, e * (splat(2.0) + fall))
        store(beta, j, copysign(splat(-0.5) * (e * fall), t))


@numba.njit(forceinline=True)
def _examples(rows, X, X2, X3, i, at, y, beta, s, rho, r_out, d_nu, d_delta):
    """Rates of nu, and the sums behind that of Delta, of some rows from i with one row a block."""
    n, d = X.shape
    r, q, c = rows, rows, rows
    for j in range(d):
        p = load(beta, j)
        r = rank_one(r, X, i, j, p)
        q = rank_one(q, X2, at, j, load(s, j))
        c = rank_one(c, X3, at, j, p)
    r = r - load_rows(rows, y, i)
    store(r_out, i, r)
    e = splat(rho) * r
    after = splat(1.0 / n) * (r + e * (q + e * c))
    store(d_nu, i, rows - after)
    share = r * after
    for j in range(d):
        store(d_delta, j, weighted_sum(load(d_delta, j), X2, at, j, share))


@numba.njit(forceinline=True)
def _all_examples(X, y, rho, X2, X3, beta, s, r, d_nu, d_delta):
    n = X.shape[0]
    clear(d_delta, 0, X.shape[1])
    for lo in range(0, n, PANEL):
        hi = min(lo + PANEL, n)
        fill_powers(X, lo, hi, X2, X3)
        if hi - lo == PANEL:
            _examples(zero8(), X, X2, X3, lo, 0, y, beta, s, rho, r, d_nu, d_delta)
            continue
        at = 0
        if hi - lo >= 4:
            _examples(zero4(), X, X2, X3, lo, 0, y, beta, s, rho, r, d_nu, d_delta)
            at = 4
        for k in range(at, hi - lo):
            _examples(zero(), X, X2, X3, lo + k, k, y, beta, s, rho, r, d_nu, d_delta)


@numba.njit(forceinline=True)
def _all_blocks(X, y, m, rho, beta, s, r, d_nu, d_delta, g, h, moved):
    """Rates for blocks of m rows."""
    n, d = X.shape
    mean, share, radius = splat(1.0 / m), splat(m / n), splat(rho)
    clear(d_delta, 0, d)
    for lo in range(0, n, m):
        block_gradient(X, lo, lo + m, beta, 0, y, 0, mean, r, g)
        for j in range(d):
            lift, p = radius * load(g, j), load(beta, j)
            store(moved, j, p + lift * (lift * p + load(s, j)))
        block_gradient(X, lo, lo + m, moved, 0, y, 0, mean, d_nu, h)
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

    ``y`` (n, 8) repeats the labels; ``work`` (3, 8 d) is overwritten.
    """
    n, d = X.shape
    dual_image(X, nu, theta)
    network(log_alpha, rho, theta, delta, beta, s)
    if m == 1:
        X2, X3 = work[0].reshape(8, d), work[1].reshape(8, d)
        _all_examples(X, y, rho, X2, X3, beta, s, r, d_nu, d_delta)
    else:
        _all_blocks(X, y, m, rho, beta, s, r, d_nu, d_delta, work[0], work[1], work[2])
    squares = zero()
    for i in range(n):
        squares = squares + load(r, i) * load(r, i)
    store(doubled_loss, 0, splat(1.0 / n) * squares)
