"""Compiled loops of full-batch training for many settings at once, eight in each register.

The steps are those of :mod:`.steps.kernels`; every number of a setting lives in its own lane of
:mod:`.simd`, so its result does not depend on the others. The products with X are those of
:mod:`.products`: X streams once per direction for all settings.

Floor per step and setting, in fused multiply-adds: plain 2 n d, one example per block 5 n d (three
forward sums r, X^2 s, X^3 beta, two backward), blocks of m examples 4 n d; and about 12 d for the
update. The sums run over the rows and columns in order, whatever the number of settings.

Arrays are flat, (groups, items, 8): item k of setting l of group g is ``a[8 (items g + k) + l]``.
Inside, groups are offsets (``od``, ``on``: first item of a group), because a view costs an atomic
operation. Each kernel runs ``steps`` steps, of the sizes in the rows of ``gammas``, or in its only
row, or stops *before* the first step in which some loss is not in (tol, limit] of its lane, and
returns the number of steps done; ``loss`` then holds the losses of the state reached, and ``work``
what the next step needs of them. A kernel that is called again on the same state is ``ready`` for
that step. State arrays are changed in place. Released GIL, one thread.
"""

from __future__ import annotations

import numba
import numpy as np

from ..primitives.row_panels import clear
from ..primitives.simd import beyond, load, minimum, pointer, splat, store, zero
from .ascent import ascent_length, ascent_lengths
from .products import (
    FEW_COLUMNS,
    FEW_ROWS,
    SCRATCH,
    columns_times,
    power_columns_times,
    powers_times,
    rows_times,
)


def plain_items(n, d):
    """Items of each array, for a group, that :func:`run_plain` works on."""
    return [n, d]


def example_items(n, d):
    """Items of each array, for a group, that :func:`run_examples` works on."""
    return [n] * 3 + [d] * 3


def block_items(n, d, ascent_steps):
    """Items of each array, for a group, that :func:`run_blocks` works on."""
    return [n] + [d] * 6 + [d if ascent_steps > 1 else 0] * 2


@numba.njit(forceinline=True)
def residuals(X, lo, hi, point, y, groups, squares, z, block):
    """Set z = (X point - y)/(hi - lo) on the rows lo, ..., hi - 1; add the r^2 to squares."""
    n, share = X.shape[0], splat(1.0 / (hi - lo))
    for i in range(lo, hi, FEW_ROWS):
        end = min(i + FEW_ROWS, hi)
        rows_times(X, i, end, point, groups, z, pointer(block))
        for g in range(groups):
            part = load(squares, g)
            for k in range(g * n + i, g * n + end):
                r = load(z, k) - load(y, k)
                part = part + r * r
                store(z, k, share * r)
            store(squares, g, part)


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
def update_plain(w_plus, w_minus, beta, low, a, gamma, decay, first, end):
    """One step with b = 0; low is the running minimum of the factors."""
    half = splat(0.5)
    kept = splat(1.0) - gamma * decay
    for j in range(first, end):
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
def update_sam(w_plus, w_minus, beta, s, low, a, b, gamma, decay, first, end):
    """One step; also refreshes s = u^2 + v^2."""
    one, half = splat(1.0), splat(0.5)
    for j in range(first, end):
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
def run_plain(
    X, y, steps, gammas, decay, loss, tol, limit, w_plus, w_minus, beta, nu, low, work, ready
):
    """Gradient descent."""
    n, d = X.shape
    groups, last = gammas.shape[1] // 8, gammas.shape[0] - 1
    gamma_items, block, squares = gammas.ravel(), np.empty(SCRATCH), np.empty(8 * groups)
    z, a = work
    for k in range(steps + 1):
        if k > 0 or not ready:
            clear(squares, groups)
            residuals(X, 0, n, beta, y, groups, squares, z, block)
            if settle(squares, groups, n, loss, tol, limit) or k == steps:
                return k
        for j in range(0, d, FEW_COLUMNS):
            end = min(j + FEW_COLUMNS, d)
            columns_times(X, 0, n, j, end, z, groups, a, pointer(block))
            for g in range(groups):
                gamma, od = load(gamma_items, min(k, last) * groups + g), g * d
                update_plain(w_plus, w_minus, beta, low, a, gamma, load(decay, g), od + j, od + end)
        for g in range(groups):
            add_dual(nu, z, load(gamma_items, min(k, last) * groups + g), g * n, n)
    return steps


@numba.njit(forceinline=True)
def perturb(y, first, end, n, rho, normalized, r_sums, q_sums, c_sums):
    """Turn X beta into z, and X^2 s into the weights of x^2; returns the sum of r^2."""
    squares = zero()
    for i in range(first, end):
        r, q = load(r_sums, i) - load(y, i), load(q_sums, i)
        e = ascent_lengths(r, q, rho, normalized)
        z = splat(1.0 / n) * (r + e * (q + e * load(c_sums, i)))
        store(r_sums, i, z)
        store(q_sums, i, e * z)
        squares = squares + r * r
    return squares


@numba.njit(cache=True, nogil=True)
def run_examples(
    X, y, steps, gammas, decay, loss, tol, limit, w_plus, w_minus, beta, nu, low, work, ready,
    rho, normalized,
):  # fmt: skip
    """1-SAM, one ascent step."""
    n, d = X.shape
    groups, last = gammas.shape[1] // 8, gammas.shape[0] - 1
    gamma_items, block, squares = gammas.ravel(), np.empty(SCRATCH), np.empty(8 * groups)
    z, share, cubes, a, b, s = work
    begin_s(w_plus, w_minus, s, groups * d)
    for k in range(steps + 1):
        if k > 0 or not ready:
            clear(squares, groups)
            for i in range(0, n, FEW_ROWS):
                end = min(i + FEW_ROWS, n)
                powers_times(X, i, end, beta, s, groups, (z, share, cubes), pointer(block))
                for g in range(groups):
                    part = perturb(
                        y, g * n + i, g * n + end, n, load(rho, g), normalized, z, share, cubes
                    )
                    store(squares, g, load(squares, g) + part)
            if settle(squares, groups, n, loss, tol, limit) or k == steps:
                return k
        for j in range(0, d, FEW_COLUMNS):
            end = min(j + FEW_COLUMNS, d)
            power_columns_times(X, j, end, z, share, groups, (a, b), pointer(block))
            for g in range(groups):
                gamma, od = load(gamma_items, min(k, last) * groups + g), g * d
                update_sam(
                    w_plus, w_minus, beta, s, low, a, b, gamma, load(decay, g), od + j, od + end
                )
        for g in range(groups):
            add_dual(nu, z, load(gamma_items, min(k, last) * groups + g), g * n, n)
    return steps


@numba.njit(forceinline=True)
def ascend(w_plus, w_minus, od, g, length, first, up, down, point, s, d):
    """Multiply the perturbation factors 1 + up, 1 + down by 1 +- length g; move point and s."""
    one, half = splat(1.0), splat(0.5)
    for j in range(od, od + d):
        e = length * load(g, j)
        fp, fm = e, zero() - e
        if not first:
            fp = fp + load(up, j) * (one + fp)
            fm = fm + load(down, j) * (one + fm)
        p = load(w_plus, j) * (one + fp)
        q = load(w_minus, j) * (one + fm)
        store(up, j, fp)
        store(down, j, fm)
        store(point, j, half * ((p - q) * (p + q)))
        store(s, j, p * p + q * q)


@numba.njit(forceinline=True)
def ascend_once(w_plus, w_minus, od, g, length, up, point, d):
    """Move point to the end of the first ascent step, and set up = length g."""
    one, half = splat(1.0), splat(0.5)
    for j in range(od, od + d):
        e = length * load(g, j)
        p, q = load(w_plus, j) * (one + e), load(w_minus, j) * (one - e)
        store(up, j, e)
        store(point, j, half * ((p - q) * (p + q)))


@numba.njit(forceinline=True)
def block_gradients(X, lo, hi, point, y, groups, squares, z, g, block):
    """Set z and g = X^T z on the rows lo, ..., hi - 1; add the r^2 to squares."""
    d = X.shape[1]
    residuals(X, lo, hi, point, y, groups, squares, z, block)
    for j in range(0, d, FEW_COLUMNS):
        columns_times(X, lo, hi, j, min(j + FEW_COLUMNS, d), z, groups, g, pointer(block))


@numba.njit(forceinline=True)
def share_once(fresh, up, g, share, a, b, od, d):
    """Set a and b to the block's gradient at w+- (1 +- up), or add it unless fresh."""
    for j in range(od, od + d):
        odd = share * load(g, j)
        even = load(up, j) * odd
        store(a, j, odd if fresh else load(a, j) + odd)
        store(b, j, even if fresh else load(b, j) + even)


@numba.njit(forceinline=True)
def share_all(fresh, up, down, g, share, a, b, od, d):
    """Do the same for the factors 1 + up and 1 + down."""
    half, one = splat(0.5), splat(1.0)
    for j in range(od, od + d):
        part = share * load(g, j)
        odd = (one + half * (load(up, j) + load(down, j))) * part
        even = half * (load(up, j) - load(down, j)) * part
        store(a, j, odd if fresh else load(a, j) + odd)
        store(b, j, even if fresh else load(b, j) + even)


@numba.njit(forceinline=True)
def average_gradients(
    X, y, groups, w_plus, w_minus, beta, squares, block, z, a, b, s, h, up, point, down, there,
    rho, m, normalized, ascent_steps,
):  # fmt: skip
    """Set a and b to the means over the blocks, z, and squares to the sums of r^2."""
    n, d = X.shape
    share, unused, norm = splat(m / n), np.empty(8 * groups), np.empty(8)
    clear(squares, groups)
    for lo in range(0, n, m):
        block_gradients(X, lo, lo + m, beta, y, groups, squares, z, h, block)
        for t in range(ascent_steps):
            for g in range(groups):
                at, od = there if t > 0 else s, g * d
                length = ascent_length(load(rho, g), normalized, at, od, h, od, d, norm)
                if ascent_steps == 1:
                    ascend_once(w_plus, w_minus, od, h, length, up, point, d)
                else:
                    ascend(w_plus, w_minus, od, h, length, t == 0, up, down, point, there, d)
            block_gradients(X, lo, lo + m, point, y, groups, unused, z, h, block)
        for g in range(groups):
            if ascent_steps == 1:
                share_once(lo == 0, up, h, share, a, b, g * d, d)
            else:
                share_all(lo == 0, up, down, h, share, a, b, g * d, d)


@numba.njit(cache=True, nogil=True)
def run_blocks(
    X, y, steps, gammas, decay, loss, tol, limit, w_plus, w_minus, beta, nu, low, work, ready,
    rho, normalized, m, ascent_steps,
):  # fmt: skip
    """m-SAM for any m and any number of ascent steps."""
    n, d = X.shape
    groups, last = gammas.shape[1] // 8, gammas.shape[0] - 1
    gamma_items, block, squares = gammas.ravel(), np.empty(SCRATCH), np.empty(8 * groups)
    z, a, b, s, h, up, point, down, there = work
    begin_s(w_plus, w_minus, s, groups * d)
    for k in range(steps + 1):
        if k > 0 or not ready:
            average_gradients(
                X, y, groups, w_plus, w_minus, beta, squares, block,
                z, a, b, s, h, up, point, down, there, rho, m, normalized, ascent_steps,
            )  # fmt: skip
            if settle(squares, groups, n, loss, tol, limit) or k == steps:
                return k
        for g in range(groups):
            gamma = load(gamma_items, min(k, last) * groups + g)
            add_dual(nu, z, gamma * splat(m / n), g * n, n)
            update_sam(w_plus, w_minus, beta, s, low, a, b, gamma, load(decay, g), g * d, g * d + d)
    return steps
