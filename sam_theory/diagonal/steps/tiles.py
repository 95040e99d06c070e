"""Compiled loops of eight settings whose X stays in the fastest caches.

The forward product X beta holds the sums of a few examples of all eight settings in registers while
it goes over the coordinates; the backward product X^T z holds those of a few coordinates while it
goes over the examples. The update is a pass of its own: inside the backward product the registers
are full of sums. The steps, and what the kernels return, are those of :mod:`.lanes`, for one group,
but ``beta`` is 2 beta here, which takes a multiplication less.

Gradient descent and n-SAM see X and y through X^T X, X^T y and ||y|| only. So they run on R and
Q^T y, where X = Q R with Q orthogonal and R upper trapezoidal, of which n (n - 1)/2 entries are
zero; nu is Q times that of the run. This is exact but for rounding, which moves each column of X by
a few units in the last place of its norm.

Floor per step and setting in multiply-adds: 2 n d - n (n - 1) for gradient descent, n <= d, twice
that for n-SAM, 5 n d for 1-SAM, and about 10 d for the update. Each takes its entry of X straight
from memory, so that the multiply-adds alone set the pace; a value is stored right after the
operation that makes it, because reading it back from a register later takes their place.
"""

from __future__ import annotations

from collections import namedtuple

import numba
import numpy as np

from ..primitives.simd import (
    AVX512,
    SUMS_ROWS,
    aligned,
    beyond,
    load,
    load_rows,
    minimum,
    pointer,
    root,
    splat,
    splat_rows,
    store,
    total,
    zero,
    zero2,
    zero3,
    zero4,
)
from .ascent import ascent_lengths, careful_norm
from .lanes import begin_s

# Coordinates whose two sums, and the factors that they share, fit in the registers.
PAIR_ROWS = 4 if AVX512 else 3
# X (or R) in panels of coordinates and, as C, half of it in panels of examples: the numbers of a
# panel follow one another, term by term. Squares, and half the cubes, where they are needed. Q.
TileDesign = namedtuple("TileDesign", "n d X X2 C C2 C3 Q")
_Memory = namedtuple(
    "_Memory", "n d X X2 C C2 C3 y w_plus w_minus beta nu low z share s lift point"
)


def _panels(matrix, most):
    """Cut the rows into panels of ``most``, 2 and 1, and write each panel column by column."""
    parts, i = [], 0
    for width in (most, 2, 1):
        while len(matrix) - i >= width:
            parts.append(matrix[i : i + width].T.ravel())
            i += width
    return aligned(np.concatenate(parts))


def tile_design(X, examples):
    """Lay out X (n, d) for 1-SAM (``examples``) or for gradient descent and n-SAM."""
    n, d = X.shape
    cut, Q = np.zeros(0), np.zeros((0, 0))
    if not examples:
        Q, X = np.linalg.qr(X, mode="complete")
    C, X = _panels(X, SUMS_ROWS if examples else 4), _panels(X.T, PAIR_ROWS if examples else 4)
    return TileDesign(
        n=n,
        d=d,
        X=X,
        X2=aligned(X * X) if examples else cut,
        C=aligned(0.5 * C),
        C2=aligned(C * C) if examples else cut,
        C3=aligned(0.5 * (C * C * C)) if examples else cut,
        Q=Q,
    )


@numba.njit(cache=True)
def _product(matrix, items, out):
    """Items of matrix, square, times items of lanes."""
    n = matrix.shape[0]
    for i in range(n):
        value = zero()
        for k in range(n):
            value = value + splat(matrix[i, k]) * load(items, k)
        store(out, i, value)


def rotate(design, forward, items):
    """Replace items of lanes, one for each example, by Q^T (``forward``) or Q times them."""
    if design.Q.size:
        Q, before = design.Q.T if forward else design.Q, items.ravel().copy()
        _product(np.ascontiguousarray(Q), before, items.ravel())


def scratch_items(n, d):
    """Items of lanes that a kernel needs beside the state."""
    return 2 * n + 3 * d


@numba.njit(forceinline=True)
def _memory(design, y, w_plus, w_minus, beta, nu, low, scratch):
    """Addresses of everything."""
    n, d = design.n, design.d
    per_coordinate = scratch[16 * n :]
    return _Memory(
        n, d, pointer(design.X), pointer(design.X2),
        pointer(design.C), pointer(design.C2), pointer(design.C3),
        pointer(y), pointer(w_plus), pointer(w_minus), pointer(beta), pointer(nu), pointer(low),
        pointer(scratch), pointer(scratch[8 * n :]), pointer(per_coordinate),
        pointer(per_coordinate[8 * d :]), pointer(per_coordinate[16 * d :]),
    )  # fmt: skip


def by_panels(most):
    """Return a decorator: a tile becomes the sum of tile(zeros, i, end, ...) over panels to count.

    The panels are those of :func:`_panels`.
    """
    zeros = {4: zero4, 3: zero3, 2: zero2}[most]

    def decorate(tile):
        @numba.njit(forceinline=True)
        def over(count, *rest):
            found, i = zero(), count - count % most
            for first in range(0, i, most):
                found = found + tile(zeros(), first, first + most, *rest)
            if most > 2:
                if count - i >= 2:
                    found = found + tile(zero2(), i, i + 2, *rest)
                    i += 2
            if i < count:
                found = found + tile(zero(), i, count, *rest)
            return found

        return over

    return decorate


@numba.njit(forceinline=True)
def stops(squares, n, loss, tol, limit):
    """Write the losses; returns whether one of them stops the run."""
    value = splat(0.5 / n) * squares
    store(loss, 0, value)
    return beyond(value, load(tol, 0), load(limit, 0))


@numba.njit(forceinline=True)
def add_dual(mem, gamma):
    """Add gamma z to nu."""
    for i in range(mem.n):
        store(mem.nu, i, load(mem.nu, i) + gamma * load(mem.z, i))


@by_panels(4)
@numba.njit(forceinline=True)
def residuals(rows, i, end, mem, point):
    """Set some items of z = (R point - y)/n; returns the sum of their (R point - y)^2."""
    r = rows
    for j in range(i, mem.d):
        r = r + splat_rows(rows, mem.C, i * mem.d + j * (end - i)) * load(point, j)
    r = r - load_rows(rows, mem.y, i)
    store(mem.z, i, splat(1.0 / mem.n) * r)
    return total(r * r)


@by_panels(4)
@numba.njit(forceinline=True)
def gradient(rows, j, end, mem, target, weighed):
    """Set target = R^T z on some coordinates; returns the sum of s target^2 if it is asked for."""
    g = rows
    for i in range(min(mem.n, end)):
        g = g + splat_rows(rows, mem.X, j * mem.n + i * (end - j)) * load(mem.z, i)
    store(target, j, g)
    if not weighed:
        return zero()
    return total(load_rows(rows, mem.s, j) * (g * g))


@numba.njit(forceinline=True)
def multiply(mem, j, cp, cm):
    """Multiply the weights of a coordinate by these factors, note them in low, and set 2 beta."""
    p, q = load(mem.w_plus, j) * cp, load(mem.w_minus, j) * cm
    store(mem.w_plus, j, p)
    store(mem.w_minus, j, q)
    store(mem.beta, j, (p - q) * (p + q))
    store(mem.low, j, minimum(load(mem.low, j), minimum(cp, cm)))


@numba.njit(forceinline=True)
def move_plain(mem, gamma, decay):
    """Update all coordinates by the gradient in lift."""
    kept = splat(1.0) - gamma * decay
    for j in range(mem.d):
        g = load(mem.lift, j)
        multiply(mem, j, kept - gamma * g, kept + gamma * g)


@numba.njit(cache=True, nogil=True)
def run_plain(
    design, y, steps, gammas, decay, loss, tol, limit, w_plus, w_minus, beta, nu, low,
    scratch, ready,
):  # fmt: skip
    """Gradient descent."""
    mem = _memory(design, y, w_plus, w_minus, beta, nu, low, scratch)
    last, sizes = gammas.shape[0] - 1, pointer(gammas.ravel())
    for k in range(steps + 1):
        if k > 0 or not ready:
            squares = residuals(mem.n, mem, mem.beta)
            if stops(squares, mem.n, loss, tol, limit) or k == steps:
                return k
        gamma = load(sizes, min(k, last))
        add_dual(mem, gamma)
        gradient(mem.d, mem, mem.lift, False)
        move_plain(mem, gamma, load(decay, 0))
    return steps


@numba.njit(forceinline=True)
def move_sam(mem, j, a, b, gamma, decay):
    """Update a coordinate, and s = u^2 + v^2 there."""
    one = splat(1.0)
    even = b + decay
    multiply(mem, j, one - gamma * (a + even), one + gamma * (a - even))
    p, q = load(mem.w_plus, j), load(mem.w_minus, j)
    store(mem.s, j, p * p + q * q)


@by_panels(SUMS_ROWS)
@numba.njit(forceinline=True)
def perturbed_residuals(rows, i, end, mem, rho, normalized):
    """Set z and the weights of x^2 of some examples; returns the sum of their r^2."""
    r, q, c = rows, rows, rows
    for j in range(mem.d):
        at, p = i * mem.d + j * (end - i), load(mem.beta, j)
        r = r + splat_rows(rows, mem.C, at) * p
        q = q + splat_rows(rows, mem.C2, at) * load(mem.s, j)
        c = c + splat_rows(rows, mem.C3, at) * p
    r = r - load_rows(rows, mem.y, i)
    e = ascent_lengths(r, q, rho, normalized)
    after = splat(1.0 / mem.n) * (r + e * (q + e * c))
    store(mem.z, i, after)
    store(mem.share, i, e * after)
    return total(r * r)


@by_panels(PAIR_ROWS)
@numba.njit(forceinline=True)
def example_sums(rows, j, end, mem):
    """Set point = X^T z and lift = (X^2)^T share on some coordinates."""
    a, b = rows, rows
    for i in range(mem.n):
        at = j * mem.n + i * (end - j)
        a = a + splat_rows(rows, mem.X, at) * load(mem.z, i)
        b = b + splat_rows(rows, mem.X2, at) * load(mem.share, i)
    store(mem.point, j, a)
    store(mem.lift, j, b)
    return zero()


@numba.njit(forceinline=True)
def move_examples(mem, gamma, decay):
    """Update all coordinates by the sums in point and lift."""
    for j in range(mem.d):
        move_sam(mem, j, load(mem.point, j), load(mem.lift, j), gamma, decay)


@numba.njit(cache=True, nogil=True)
def run_examples(
    design, y, steps, gammas, decay, loss, tol, limit, w_plus, w_minus, beta, nu, low,
    scratch, ready, rho, normalized,
):  # fmt: skip
    """1-SAM, one ascent step."""
    mem = _memory(design, y, w_plus, w_minus, beta, nu, low, scratch)
    last, sizes = gammas.shape[0] - 1, pointer(gammas.ravel())
    begin_s(mem.w_plus, mem.w_minus, mem.s, mem.d)
    for k in range(steps + 1):
        if k > 0 or not ready:
            squares = perturbed_residuals(mem.n, mem, load(rho, 0), normalized)
            if stops(squares, mem.n, loss, tol, limit) or k == steps:
                return k
        gamma = load(sizes, min(k, last))
        add_dual(mem, gamma)
        example_sums(mem.d, mem)
        move_examples(mem, gamma, load(decay, 0))
    return steps


@numba.njit(forceinline=True)
def inverse_norm(squares, mem):
    """1/||grad_w L||_2 = (sum_j s_j lift_j^2)^(-1/2) of each lane, 0 where that vanishes."""
    store(mem.point, 0, root(squares))
    if beyond(squares, splat(1e-250), splat(1e250)):
        for lane in range(8):
            careful_norm(mem.s, 0, mem.lift, 0, mem.d, lane, mem.point)
    for lane in range(8):
        mem.point[lane] = 1.0 / mem.point[lane] if mem.point[lane] > 0.0 else 0.0
    return load(mem.point, 0)


@numba.njit(forceinline=True)
def ascend(mem, length):
    """Multiply lift by the length, and set point to the end of the ascent step."""
    one = splat(1.0)
    for j in range(mem.d):
        e = length * load(mem.lift, j)
        store(mem.lift, j, e)
        p, q = load(mem.w_plus, j) * (one + e), load(mem.w_minus, j) * (one - e)
        store(mem.point, j, (p - q) * (p + q))


@numba.njit(forceinline=True)
def move_whole(mem, gamma, decay):
    """Update all coordinates by the gradient at the perturbed point, which is in point."""
    for j in range(mem.d):
        a = load(mem.point, j)
        move_sam(mem, j, a, load(mem.lift, j) * a, gamma, decay)


@numba.njit(cache=True, nogil=True)
def run_whole(
    design, y, steps, gammas, decay, loss, tol, limit, w_plus, w_minus, beta, nu, low,
    scratch, ready, rho, normalized,
):  # fmt: skip
    """n-SAM, one ascent step."""
    mem = _memory(design, y, w_plus, w_minus, beta, nu, low, scratch)
    last, sizes = gammas.shape[0] - 1, pointer(gammas.ravel())
    begin_s(mem.w_plus, mem.w_minus, mem.s, mem.d)
    for k in range(steps + 1):
        if k > 0 or not ready:
            squares = residuals(mem.n, mem, mem.beta)
            if stops(squares, mem.n, loss, tol, limit) or k == steps:
                return k
        norms = gradient(mem.d, mem, mem.lift, normalized)
        length = load(rho, 0)
        if normalized:
            length = length * inverse_norm(norms, mem)
        ascend(mem, length)
        residuals(mem.n, mem, mem.point)
        gamma = load(sizes, min(k, last))
        add_dual(mem, gamma)
        gradient(mem.d, mem, mem.point, False)
        move_whole(mem, gamma, load(decay, 0))
    return steps
