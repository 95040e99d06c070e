"""Compiled loops of full-batch training for many settings at once, eight in each register.

The steps are those of :mod:`.descent_kernels`; every number of a setting lives in its own lane of
:mod:`.simd`, so its result does not depend on the others. Eight rows of X serve all groups of eight
settings before the next rows are read: X streams once per direction for all settings.

Floor per step and setting, in fused multiply-adds: plain 2 n d, one example per block 5 n d (three
forward sums r, X^2 s, X^3 beta, two backward), blocks of m examples 4 n d; and about 12 d for the
update. The sums run over the rows and columns in order, whatever the number of settings.

Arrays are flat, (groups, items, 8): item k of setting l of group g is ``a[8 (items g + k) + l]``.
Inside, groups are offsets (``od``, ``on``: first item of a group), because a view costs an atomic
operation. Each kernel runs ``steps`` steps, of the sizes in the rows of ``gammas``, or in its only
row, or stops *before* the first step in which some loss is not in (tol, limit] of its lane, and
returns the number of steps done; ``loss`` then holds the losses of the state reached. State arrays
are changed in place. Released GIL, one thread.
"""

from __future__ import annotations

import numba
import numpy as np

from .ascent import ascent_length, ascent_lengths
from .simd import (
    AVX512,
    SUMS_ROWS,
    beyond,
    load,
    load_rows,
    minimum,
    rank_one,
    splat,
    store,
    total,
    weighted_sum,
    zero,
    zero4,
    zero8,
    zero_sums,
)

PANEL = 8


@numba.njit(forceinline=True)
def clear(a, first, size):
    """Set some items to zero."""
    for j in range(first, first + size):
        store(a, j, zero())


@numba.njit(forceinline=True)
def gradient_rows(rows, X, i, point, op, y, on, scale, z, g, og):
    """Set z = scale (X point - y) on some rows from i, add X^T z to g; returns the sum of r^2."""
    r = rows
    for j in range(X.shape[1]):
        r = rank_one(r, X, i, j, load(point, op + j))
    r = r - load_rows(rows, y, on + i)
    after = scale * r
    store(z, on + i, after)
    for j in range(X.shape[1]):
        store(g, og + j, weighted_sum(load(g, og + j), X, i, j, after))
    return total(r * r)


@numba.njit(forceinline=True)
def panel_gradient(X, lo, hi, point, op, y, on, scale, z, g, og):
    """gradient_rows over the rows lo, ..., hi - 1, at most PANEL of them."""
    if hi - lo == 8:
        return gradient_rows(zero8(), X, lo, point, op, y, on, scale, z, g, og)
    squares = zero()
    if hi - lo >= 4:
        squares = gradient_rows(zero4(), X, lo, point, op, y, on, scale, z, g, og)
        lo += 4
    for i in range(lo, hi):
        squares = squares + gradient_rows(zero(), X, i, point, op, y, on, scale, z, g, og)
    return squares


@numba.njit(forceinline=True)
def settle(squares, groups, n, loss, low, high):
    """Write the losses; returns whether one of them stops the run."""
    stop = False
    for g in range(groups):
        value = splat(0.5 / n) * load(squares, g)
        store(loss, g, value)
        stop |= beyond(value, load(low, g), load(high, g))
    return stop


@numba.njit(forceinline=True)
def add_dual(nu, z, gamma, on, n):
    """Add gamma z to nu."""
    for i in range(on, on + n):
        store(nu, i, load(nu, i) + gamma * load(z, i))


@numba.njit(forceinline=True)
def update_plain(w_plus, w_minus, beta, low, a, gamma, decay, od, d):
    """One step with b = 0; low is the running minimum of the factors."""
    half = splat(0.5)
    kept = splat(1.0) - gamma * decay
    for j in range(od, od + d):
        odd = load(a, j)
        cp, cm = kept - gamma * odd, kept + gamma * odd
        p, q = load(w_plus, j) * cp, load(w_minus, j) * cm
        store(w_plus, j, p)
        store(w_minus, j, q)
        store(beta, j, half * ((p - q) * (p + q)))
        store(low, j, minimum(load(low, j), minimum(cp, cm)))


@numba.njit(forceinline=True)
def begin_s(w_plus, w_minus, s, items):
    """Set s = u^2 + v^2 with the bits that update_sam gives it: a run may stop and go on."""
    for j in range(items):
        p, q = load(w_plus, j), load(w_minus, j)
        store(s, j, p * p + q * q)


@numba.njit(forceinline=True)
def update_sam(w_plus, w_minus, beta, s, low, a, b, gamma, decay, od, d):
    """One step; also refreshes s = u^2 + v^2."""
    one, half = splat(1.0), splat(0.5)
    for j in range(od, od + d):
        odd = load(a, j)
        even = load(b, j) + decay
        cp, cm = one - gamma * (odd + even), one + gamma * (odd - even)
        p, q = load(w_plus, j) * cp, load(w_minus, j) * cm
        store(w_plus, j, p)
        store(w_minus, j, q)
        store(beta, j, half * ((p - q) * (p + q)))
        store(s, j, p * p + q * q)
        store(low, j, minimum(load(low, j), minimum(cp, cm)))


@numba.njit(cache=True, nogil=True)
def run_plain(X, y, steps, gammas, decay, loss, tol, limit, w_plus, w_minus, beta, nu, low):
    """Gradient descent."""
    n, d = X.shape
    groups, last = gammas.shape[1] // 8, gammas.shape[0] - 1
    gamma_items = gammas.ravel()
    z, a, squares = np.empty(nu.size), np.empty(beta.size), np.empty(8 * groups)
    for k in range(steps + 1):
        clear(a, 0, groups * d)
        clear(squares, 0, groups)
        for lo in range(0, n, PANEL):
            hi = min(lo + PANEL, n)
            for g in range(groups):
                part = panel_gradient(X, lo, hi, beta, g * d, y, g * n, splat(1.0 / n), z, a, g * d)
                store(squares, g, load(squares, g) + part)
        if settle(squares, groups, n, loss, tol, limit) or k == steps:
            return k
        for g in range(groups):
            gamma = load(gamma_items, min(k, last) * groups + g)
            add_dual(nu, z, gamma, g * n, n)
            update_plain(w_plus, w_minus, beta, low, a, gamma, load(decay, g), g * d, d)
    return steps


@numba.njit(forceinline=True)
def example_rows(
    rows, X, X2, X3, i, y, on, beta, s, od, rho, normalized, scale, z, share, row
):  # fmt: skip
    """Set z, and the weights of x^2 from ``row`` of share, for some rows from i.

    Their powers are the rows of X2, X3 from ``row``; returns the sum of r^2.
    """
    r, q, c = rows, rows, rows
    for j in range(X.shape[1]):
        p = load(beta, od + j)
        r = rank_one(r, X, i, j, p)
        q = rank_one(q, X2, row, j, load(s, od + j))
        c = rank_one(c, X3, row, j, p)
    r = r - load_rows(rows, y, on + i)
    e = ascent_lengths(r, q, rho, normalized)
    after = scale * (r + e * (q + e * c))
    store(z, on + i, after)
    store(share, row, e * after)
    return total(r * r)


@numba.njit(forceinline=True)
def combine_rows(rows, X, i, weights, at, out, od):
    """Add weights x_i of some rows to out."""
    weight = load_rows(rows, weights, at)
    for j in range(X.shape[1]):
        store(out, od + j, weighted_sum(load(out, od + j), X, i, j, weight))


@numba.njit(forceinline=True)
def panel_combination(X, lo, hi, weights, at, out, od):
    """combine_rows over the rows lo, ..., hi - 1, at most PANEL of them."""
    height = 8 if AVX512 else 4
    while hi - lo >= height:
        combine_rows(zero8() if AVX512 else zero4(), X, lo, weights, at, out, od)
        lo += height
        at += height
    for k in range(hi - lo):
        combine_rows(zero(), X, lo + k, weights, at + k, out, od)


@numba.njit(forceinline=True)
def panel_examples(
    X, X2, X3, lo, hi, y, on, beta, s, od, rho, normalized, scale, z, share, a, b
):  # fmt: skip
    """Add to a and b, and set z, for the rows lo, ..., hi - 1 with powers X2, X3."""
    squares, row = zero(), 0
    while hi - lo - row >= SUMS_ROWS:
        squares = squares + example_rows(
            zero_sums(), X, X2, X3, lo + row, y, on, beta, s, od, rho, normalized, scale, z, share,
            row,
        )  # fmt: skip
        row += SUMS_ROWS
    while row < hi - lo:
        squares = squares + example_rows(
            zero(), X, X2, X3, lo + row, y, on, beta, s, od, rho, normalized, scale, z, share,
            row,
        )  # fmt: skip
        row += 1
    panel_combination(X, lo, hi, z, on + lo, a, od)
    panel_combination(X2, 0, hi - lo, share, 0, b, od)
    return squares


@numba.njit(cache=True)
def fill_powers(X, lo, hi, X2, X3):
    """Squares and cubes of the rows lo, ..., hi - 1."""
    for i in range(lo, hi):
        for j in range(X.shape[1]):
            square = X[i, j] * X[i, j]
            X2[i - lo, j] = square
            X3[i - lo, j] = square * X[i, j]


@numba.njit(cache=True, nogil=True)
def run_examples(
    X, y, steps, gammas, decay, loss, tol, limit, w_plus, w_minus, beta, nu, low, rho, normalized
):
    """1-SAM, one ascent step.

    The powers of a panel are computed again in every step: three matrices take longer to read.
    """
    n, d = X.shape
    groups, last = gammas.shape[1] // 8, gammas.shape[0] - 1
    gamma_items = gammas.ravel()
    X2, X3 = np.empty((PANEL, d)), np.empty((PANEL, d))
    z, squares = np.empty(nu.size), np.empty(8 * groups)
    a, b, share = np.empty(beta.size), np.empty(beta.size), np.empty(8 * PANEL)
    s = np.empty(beta.size)
    begin_s(w_plus, w_minus, s, groups * d)
    for k in range(steps + 1):
        clear(a, 0, groups * d)
        clear(b, 0, groups * d)
        clear(squares, 0, groups)
        for lo in range(0, n, PANEL):
            hi = min(lo + PANEL, n)
            fill_powers(X, lo, hi, X2, X3)
            for g in range(groups):
                part = panel_examples(
                    X, X2, X3, lo, hi, y, g * n, beta, s, g * d, load(rho, g), normalized,
                    splat(1.0 / n), z, share, a, b,
                )  # fmt: skip
                store(squares, g, load(squares, g) + part)
        if settle(squares, groups, n, loss, tol, limit) or k == steps:
            return k
        for g in range(groups):
            gamma = load(gamma_items, min(k, last) * groups + g)
            add_dual(nu, z, gamma, g * n, n)
            update_sam(w_plus, w_minus, beta, s, low, a, b, gamma, load(decay, g), g * d, d)
    return steps


@numba.njit(forceinline=True)
def ascend(w_plus, w_minus, od, g, length, first, up, down, point, s, d):
    """Multiply the perturbation factors 1 + up, 1 + down by 1 +- length g; move point and s."""
    one, half = splat(1.0), splat(0.5)
    for j in range(d):
        e = length * load(g, j)
        fp, fm = e, zero() - e
        if not first:
            fp = fp + load(up, j) * (one + fp)
            fm = fm + load(down, j) * (one + fm)
        p = load(w_plus, od + j) * (one + fp)
        q = load(w_minus, od + j) * (one + fm)
        store(up, j, fp)
        store(down, j, fm)
        store(point, j, half * ((p - q) * (p + q)))
        store(s, j, p * p + q * q)


@numba.njit(forceinline=True)
def ascend_once(w_plus, w_minus, od, g, length, up, point, d):
    """Move point to the end of the first ascent step, and set up = length g."""
    one, half = splat(1.0), splat(0.5)
    for j in range(d):
        e = length * load(g, j)
        p, q = load(w_plus, od + j) * (one + e), load(w_minus, od + j) * (one - e)
        store(up, j, e)
        store(point, j, half * ((p - q) * (p + q)))


@numba.njit(forceinline=True)
def block_gradient(X, lo, hi, point, op, y, on, scale, z, g):
    """Set z and g = X^T z on the rows lo, ..., hi - 1; returns the sum of r^2."""
    clear(g, 0, X.shape[1])
    squares = zero()
    for start in range(lo, hi, PANEL):
        stop = min(start + PANEL, hi)
        squares = squares + panel_gradient(X, start, stop, point, op, y, on, scale, z, g, 0)
    return squares


@numba.njit(forceinline=True)
def share_once(up, g, share, a, b, od, d):
    """Add the block's gradient at w+- (1 +- up) to a and b."""
    for j in range(d):
        part = share * load(g, j)
        store(a, od + j, load(a, od + j) + part)
        store(b, od + j, load(b, od + j) + load(up, j) * part)


@numba.njit(forceinline=True)
def share_all(up, down, g, share, a, b, od, d):
    """Do the same for the factors 1 + up and 1 + down."""
    half, one = splat(0.5), splat(1.0)
    for j in range(d):
        part = share * load(g, j)
        even, odd = half * (load(up, j) + load(down, j)), half * (load(up, j) - load(down, j))
        store(a, od + j, load(a, od + j) + (one + even) * part)
        store(b, od + j, load(b, od + j) + odd * part)


@numba.njit(cache=True, nogil=True)
def run_blocks(
    X, y, steps, gammas, decay, loss, tol, limit, w_plus, w_minus, beta, nu, low,
    rho, m, normalized, ascent_steps,
):  # fmt: skip
    """m-SAM for any m and any number of ascent steps."""
    n, d = X.shape
    groups, last = gammas.shape[1] // 8, gammas.shape[0] - 1
    gamma_items = gammas.ravel()
    z, squares = np.empty(nu.size), np.empty(8 * groups)
    a, b = np.empty(beta.size), np.empty(beta.size)
    h, up, down, norm = np.empty(8 * d), np.empty(8 * d), np.empty(8 * d), np.empty(8)
    point, there = np.empty(8 * d), np.empty(8 * d)
    s = np.empty(beta.size)
    begin_s(w_plus, w_minus, s, groups * d)
    share, mean = splat(m / n), splat(1.0 / m)
    for k in range(steps + 1):
        clear(a, 0, groups * d)
        clear(b, 0, groups * d)
        clear(squares, 0, groups)
        for lo in range(0, n, m):
            for g in range(groups):
                od, on = g * d, g * n
                part = block_gradient(X, lo, lo + m, beta, od, y, on, mean, z, h)
                store(squares, g, load(squares, g) + part)
                length = ascent_length(load(rho, g), normalized, s, od, h, d, norm)
                if ascent_steps == 1:
                    ascend_once(w_plus, w_minus, od, h, length, up, point, d)
                    block_gradient(X, lo, lo + m, point, 0, y, on, mean, z, h)
                    share_once(up, h, share, a, b, od, d)
                    continue
                for t in range(ascent_steps):
                    if t > 0:
                        length = ascent_length(load(rho, g), normalized, there, 0, h, d, norm)
                    ascend(w_plus, w_minus, od, h, length, t == 0, up, down, point, there, d)
                    block_gradient(X, lo, lo + m, point, 0, y, on, mean, z, h)
                share_all(up, down, h, share, a, b, od, d)
        if settle(squares, groups, n, loss, tol, limit) or k == steps:
            return k
        for g in range(groups):
            gamma = load(gamma_items, min(k, last) * groups + g)
            add_dual(nu, z, gamma * share, g * n, n)
            update_sam(w_plus, w_minus, beta, s, low, a, b, gamma, load(decay, g), g * d, d)
    return steps
