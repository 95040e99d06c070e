"""Compiled loops of one full-batch run whose X stays in the fastest caches.

X is kept by rows and by columns, both as lanes: the forward product X beta runs eight rows to a
register and the backward product X^T z eight columns, so that no step sums across a register. The
backward product ends in the update of its columns, without passing through memory. The steps, and
what the kernels return, are those of :mod:`.steps.kernels`.

Floor per step in fused multiply-adds of eight: n d/4 for gradient descent, n d/2 for n-SAM, 5 n d/8
for 1-SAM, and about 2 d for the update.
"""

from __future__ import annotations

from collections import namedtuple

import numba
import numpy as np

from ..primitives.simd import (
    SUMS_ROWS,
    aligned,
    lane_sum,
    load,
    load_rows,
    minimum,
    pointer,
    splat,
    splat_at,
    store,
    zero,
    zero4,
    zero_sums,
)
from .ascent import ascent_lengths
from .kernels import DIVERGED, DONE, REACHED, gradient_norm

# X by rows (X, n rows of d/8 items) and by columns (C, d rows of n/8 items), its squares and cubes
# where they are needed, y, and scratch.
SmallDesign = namedtuple("SmallDesign", "n d X X2 C C2 C3 y z share s e point")


def small_design(X, y, powers):
    """Copy X (n, d), d a multiple of 8, into lanes; powers are for 1-SAM."""
    n, d = X.shape
    columns = np.zeros((d, n + -n % 8))
    columns[:, :n] = X.T
    labels = np.zeros(columns.shape[1])
    labels[:n] = y
    cut = np.zeros(0)
    return SmallDesign(
        n=n,
        d=d,
        X=aligned(X),
        X2=aligned(X * X if powers else cut),
        C=aligned(columns),
        C2=aligned(columns**2 if powers else cut),
        C3=aligned(columns**2 * columns if powers else cut),
        y=aligned(labels),
        z=aligned(np.zeros(labels.size)),
        share=aligned(np.zeros(labels.size)),
        s=aligned(np.zeros(d)),
        e=aligned(np.zeros(d)),
        point=aligned(np.zeros(d)),
    )


@numba.njit(forceinline=True)
def product_part(rows, matrix, width, item, v, count):
    """Sum over k < count of v[k] times the items ``item``, ... of row k of matrix."""
    even, odd = rows, rows
    for k in range(0, count - 1, 2):
        even = even + splat_at(v, k) * load_rows(rows, matrix, k * width + item)
        odd = odd + splat_at(v, k + 1) * load_rows(rows, matrix, (k + 1) * width + item)
    if count % 2 == 1:
        k = count - 1
        even = even + splat_at(v, k) * load_rows(rows, matrix, k * width + item)
    return even + odd


@numba.njit(forceinline=True)
def residual_part(rows, C, y, high, item, beta, d, scale, z):
    """Set some items of z = scale (X beta - y); returns the sum of squares of X beta - y."""
    r = product_part(rows, C, high, item, beta, d) - load_rows(rows, y, item)
    store(z, item, splat(scale) * r)
    return lane_sum(r * r)


@numba.njit(forceinline=True)
def residuals(C, y, high, beta, d, scale, z):
    """Set z = scale (X beta - y); returns ||X beta - y||^2."""
    squares = 0.0
    full = high - high % 4
    for item in range(0, full, 4):
        squares += residual_part(zero4(), C, y, high, item, beta, d, scale, z)
    for item in range(full, high):
        squares += residual_part(zero(), C, y, high, item, beta, d, scale, z)
    return squares


@numba.njit(forceinline=True)
def settled(loss, k, steps, tol, limit):
    """DIVERGED, REACHED, DONE, or -1 to go on."""
    if not loss <= limit:
        return DIVERGED
    if loss <= tol:
        return REACHED
    return DONE if k == steps else -1


@numba.njit(forceinline=True)
def add_dual(nu, z, weight, high):
    """Add weight z to nu."""
    for i in range(high):
        store(nu, i, load(nu, i) + splat(weight) * load(z, i))


@numba.njit(forceinline=True)
def plain_part(rows, X, n, width, w_plus, w_minus, beta, low, item, z, gamma, decay):
    """Backward product and update of some coordinates."""
    move = splat(gamma) * product_part(rows, X, width, item, z, n)
    kept = splat(1.0 - gamma * decay)
    cp, cm = kept - move, kept + move
    p, q = load_rows(rows, w_plus, item) * cp, load_rows(rows, w_minus, item) * cm
    store(w_plus, item, p)
    store(w_minus, item, q)
    store(beta, item, splat(0.5) * ((p - q) * (p + q)))
    store(low, item, minimum(load_rows(rows, low, item), minimum(cp, cm)))


@numba.njit(cache=True, nogil=True)
def run_plain(design, gammas, decay, tol, limit, w_plus, w_minus, beta, nu, low):
    """Gradient descent."""
    n, d = design.n, design.d
    X, C, y, z = pointer(design.X), pointer(design.C), pointer(design.y), pointer(design.z)
    p, q, point = pointer(w_plus), pointer(w_minus), pointer(beta)
    dual, least = pointer(nu), pointer(low)
    steps, width, high = gammas.shape[0], d // 8, design.y.size // 8
    full = width - width % 4
    loss = 0.0
    for k in range(steps + 1):
        loss = residuals(C, y, high, point, d, 1.0 / n, z) * (0.5 / n)
        flag = settled(loss, k, steps, tol, limit)
        if flag >= 0:
            return flag, k, loss
        gamma = gammas[k]
        add_dual(dual, z, gamma, high)
        for item in range(0, full, 4):
            plain_part(zero4(), X, n, width, p, q, point, least, item, z, gamma, decay)
        for item in range(full, width):
            plain_part(zero(), X, n, width, p, q, point, least, item, z, gamma, decay)
    return DONE, steps, loss


@numba.njit(cache=True, nogil=True)
def run_single(design, rows, gammas, decay, limit, w_plus, w_minus, beta, nu, low):
    """SGD with one example per step: row rows[k, 0] in step k."""
    X, y, width = pointer(design.X), design.y, design.d // 8
    p_all, q_all, point, least = pointer(w_plus), pointer(w_minus), pointer(beta), pointer(low)
    half, one = splat(0.5), splat(1.0)
    loss = 0.0
    for k in range(gammas.shape[0]):
        i = rows[k, 0]
        row = i * width
        product = zero()
        for j in range(width):
            product = product + load(X, row + j) * load(point, j)
        r = lane_sum(product) - y[i]
        loss = 0.5 * r * r
        if not loss <= limit:
            return DIVERGED, k, loss
        step = gammas[k] * r
        nu[i] += step
        kept, pull = one - splat(gammas[k] * decay), splat(step)
        for j in range(width):
            move = pull * load(X, row + j)
            cp, cm = kept - move, kept + move
            p, q = load(p_all, j) * cp, load(q_all, j) * cm
            store(p_all, j, p)
            store(q_all, j, q)
            store(point, j, half * ((p - q) * (p + q)))
            store(least, j, minimum(load(least, j), minimum(cp, cm)))
    return DONE, gammas.shape[0], loss


@numba.njit(forceinline=True)
def move_sam(rows, w_plus, w_minus, beta, s, low, item, a, b, gamma, decay):
    """Update some coordinates, and s = u^2 + v^2."""
    one, step = splat(1.0), splat(gamma)
    even = b + splat(decay)
    cp, cm = one - step * (a + even), one + step * (a - even)
    p, q = load_rows(rows, w_plus, item) * cp, load_rows(rows, w_minus, item) * cm
    store(w_plus, item, p)
    store(w_minus, item, q)
    store(beta, item, splat(0.5) * ((p - q) * (p + q)))
    store(s, item, p * p + q * q)
    store(low, item, minimum(load_rows(rows, low, item), minimum(cp, cm)))


@numba.njit(forceinline=True)
def gradient(X, n, width, z, s, g):
    """Set g = X^T z; returns sum s g^2."""
    total = 0.0
    full = width - width % 4
    for item in range(0, full, 4):
        part = product_part(zero4(), X, width, item, z, n)
        store(g, item, part)
        total += lane_sum(load_rows(zero4(), s, item) * (part * part))
    for item in range(full, width):
        part = product_part(zero(), X, width, item, z, n)
        store(g, item, part)
        total += lane_sum(load(s, item) * (part * part))
    return total


@numba.njit(forceinline=True)
def ascend(w_plus, w_minus, e, length, point, width):
    """Set e = length g in place of g, and point to the end of the ascent step."""
    one = splat(1.0)
    for j in range(width):
        lift = splat(length) * load(e, j)
        p, q = load(w_plus, j) * (one + lift), load(w_minus, j) * (one - lift)
        store(e, j, lift)
        store(point, j, splat(0.5) * ((p - q) * (p + q)))


@numba.njit(forceinline=True)
def whole_part(rows, X, n, width, w_plus, w_minus, beta, s, low, e, item, z, gamma, decay):
    """Backward product at the perturbed point and update of some coordinates."""
    a = product_part(rows, X, width, item, z, n)
    b = load_rows(rows, e, item) * a
    move_sam(rows, w_plus, w_minus, beta, s, low, item, a, b, gamma, decay)


@numba.njit(cache=True, nogil=True)
def run_whole(
    design, gammas, decay, tol, limit, w_plus, w_minus, beta, nu, low, rho, normalized
):  # fmt: skip
    """n-SAM with one ascent step."""
    n, d = design.n, design.d
    X, C, y, z = pointer(design.X), pointer(design.C), pointer(design.y), pointer(design.z)
    p, q, point = pointer(w_plus), pointer(w_minus), pointer(beta)
    dual, least = pointer(nu), pointer(low)
    s, e, there = pointer(design.s), pointer(design.e), pointer(design.point)
    steps, width, high = gammas.shape[0], d // 8, design.y.size // 8
    full = width - width % 4
    for j in range(width):
        store(s, j, load(p, j) * load(p, j) + load(q, j) * load(q, j))
    loss = 0.0
    for k in range(steps + 1):
        loss = residuals(C, y, high, point, d, 1.0 / n, z) * (0.5 / n)
        flag = settled(loss, k, steps, tol, limit)
        if flag >= 0:
            return flag, k, loss
        squares, length = gradient(X, n, width, z, s, e), rho
        if normalized:
            norm = np.sqrt(squares)
            if not 1e-250 < squares < 1e250:
                norm = gradient_norm(design.s, design.e)
            length = rho / norm if norm > 0.0 else 0.0
        ascend(p, q, e, length, there, width)
        residuals(C, y, high, there, d, 1.0 / n, z)
        gamma = gammas[k]
        add_dual(dual, z, gamma, high)
        for item in range(0, full, 4):
            whole_part(zero4(), X, n, width, p, q, point, s, least, e, item, z, gamma, decay)
        for item in range(full, width):
            whole_part(zero(), X, n, width, p, q, point, s, least, e, item, z, gamma, decay)
    return DONE, steps, loss


@numba.njit(forceinline=True)
def examples_forward(rows, C, C2, C3, y, high, n, item, beta, s, d, rho, normalized, z, share):
    """Set z and the weights of x^2 for some examples; returns the sum of their r^2."""
    r, q, c = rows, rows, rows
    for j in range(d):
        at, p = j * high + item, splat_at(beta, j)
        r = r + p * load_rows(rows, C, at)
        q = q + splat_at(s, j) * load_rows(rows, C2, at)
        c = c + p * load_rows(rows, C3, at)
    r = r - load_rows(rows, y, item)
    e = ascent_lengths(r, q, splat(rho), normalized)
    after = splat(1.0 / n) * (r + e * (q + e * c))
    store(z, item, after)
    store(share, item, e * after)
    return lane_sum(r * r)


@numba.njit(forceinline=True)
def examples_part(
    rows, X, X2, n, width, w_plus, w_minus, beta, s, low, item, z, share, gamma, decay
):  # fmt: skip
    """Backward products and update of some coordinates."""
    a, b = rows, rows
    for i in range(n):
        at = i * width + item
        a = a + splat_at(z, i) * load_rows(rows, X, at)
        b = b + splat_at(share, i) * load_rows(rows, X2, at)
    move_sam(rows, w_plus, w_minus, beta, s, low, item, a, b, gamma, decay)


@numba.njit(cache=True, nogil=True)
def run_examples(
    design, gammas, decay, tol, limit, w_plus, w_minus, beta, nu, low, rho, normalized
):  # fmt: skip
    """1-SAM with one ascent step."""
    n, d = design.n, design.d
    X, C, y, z = pointer(design.X), pointer(design.C), pointer(design.y), pointer(design.z)
    X2, C2, C3 = pointer(design.X2), pointer(design.C2), pointer(design.C3)
    p, q, point = pointer(w_plus), pointer(w_minus), pointer(beta)
    dual, least = pointer(nu), pointer(low)
    s, share = pointer(design.s), pointer(design.share)
    steps, width, high = gammas.shape[0], d // 8, design.y.size // 8
    full, tall = width - width % SUMS_ROWS, high - high % SUMS_ROWS
    for j in range(width):
        store(s, j, load(p, j) * load(p, j) + load(q, j) * load(q, j))
    loss = 0.0
    for k in range(steps + 1):
        squares = 0.0
        for item in range(0, tall, SUMS_ROWS):
            squares += examples_forward(
                zero_sums(), C, C2, C3, y, high, n, item, point, s, d, rho, normalized, z, share
            )
        for item in range(tall, high):
            squares += examples_forward(
                zero(), C, C2, C3, y, high, n, item, point, s, d, rho, normalized, z, share
            )
        loss = squares * (0.5 / n)
        flag = settled(loss, k, steps, tol, limit)
        if flag >= 0:
            return flag, k, loss
        gamma = gammas[k]
        add_dual(dual, z, gamma, high)
        for item in range(0, full, SUMS_ROWS):
            examples_part(
                zero_sums(), X, X2, n, width, p, q, point, s, least, item, z, share, gamma, decay
            )
        for item in range(full, width):
            examples_part(
                zero(), X, X2, n, width, p, q, point, s, least, item, z, share, gamma, decay
            )
    return DONE, steps, loss
