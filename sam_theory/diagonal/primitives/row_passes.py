"""Compiled passes over rows of X, dense or sparse: residuals, gradients, perturbed residuals.

Because row i of X serves its own forward product and its own backward product, each row is read
from memory once per gradient; four dense rows go together so that ``beta`` and the sums are loaded
once for the four. A sparse X is the tuple of :func:`sam_theory.design.compiled`; compiled callers
use one name for both, chosen by the type of X.

Floor per step, N = examples in the step (flops; bytes of X where it does not stay in cache), with
the number of stored entries in place of N d for a sparse X:

    plain gradient         4 N d     8 N d
    one example per block  13 N d    8 N d     (X^2 s and X^3 beta come out of the same pass)
    blocks of m examples   8 N d     8 N d if a block stays in cache, else 16 N d

At (n, d) = (200, 1000) that is 1.6 MB a pass, about 35 us from the third-level cache of a current
server core. Sums may be reassociated; nothing is assumed about infinities and NaN.
"""

from __future__ import annotations

import inspect

import numba
import numpy as np
from numba import types
from numba.extending import overload

SUMS = {"reassoc", "contract", "nsz", "arcp"}


def by_kind(dense, sparse):
    """Return a function for compiled callers: ``dense`` where X is an array, else ``sparse``.

    Both are compiled functions with the arguments X, ...; the options are those of ``dense``.
    """
    name = dense.__name__.removeprefix("_dense_")

    def chosen(*_arguments):
        raise NotImplementedError(f"{name} is for compiled callers")

    def resolve(*arguments):
        return (dense if isinstance(arguments[0], types.Array) else sparse).py_func

    # Compiled without a wrapper, which would count references of every array on each call.
    setattr(resolve, "__signature__", inspect.signature(dense.py_func))  # noqa: B010
    options = {"fastmath": dense.targetoptions.get("fastmath", False)}
    overload(chosen, jit_options=options | {"forceinline": True})(resolve)
    return chosen


@numba.njit(cache=True, fastmath=SUMS)
def _dense_loss(X, y, beta):
    """(1/2n) ||X beta - y||^2."""
    n, d = X.shape
    total = 0.0
    for i in range(n):
        f = 0.0
        for j in range(d):
            f += X[i, j] * beta[j]
        f -= y[i]
        total += f * f
    return 0.5 * total / n


@numba.njit(cache=True, fastmath=SUMS)
def _sparse_residual(X, y, i, beta):
    r = -y[i]
    for k in range(X.indptr[i], X.indptr[i + 1]):
        r += X.data[k] * beta[X.indices[k]]
    return r


@numba.njit(cache=True, fastmath=SUMS)
def _sparse_loss(X, y, beta):
    total = 0.0
    for i in range(y.shape[0]):
        r = _sparse_residual(X, y, i, beta)
        total += r * r
    return 0.5 * total / y.shape[0]


_loss = by_kind(_dense_loss, _sparse_loss)


@numba.njit(cache=True, nogil=True)
def mean_loss(X, y, beta):
    """(1/2n) ||X beta - y||^2."""
    return _loss(X, y, beta)


@numba.njit(cache=True, fastmath=SUMS)
def _dense_gradient(X, y, rows, at, lo, hi, point, scale, z, g):
    """Set z = scale r and g = X^T z over rows[at, lo:hi], r = X point - y; returns sum r^2."""
    d = point.shape[0]
    g.fill(0.0)
    squares = 0.0
    tail = hi - (hi - lo) % 4
    for k in range(lo, tail, 4):
        i0, i1, i2, i3 = rows[at, k], rows[at, k + 1], rows[at, k + 2], rows[at, k + 3]
        r0, r1, r2, r3 = 0.0, 0.0, 0.0, 0.0
        for j in range(d):
            p = point[j]
            r0 += X[i0, j] * p
            r1 += X[i1, j] * p
            r2 += X[i2, j] * p
            r3 += X[i3, j] * p
        r0 -= y[i0]
        r1 -= y[i1]
        r2 -= y[i2]
        r3 -= y[i3]
        squares += r0 * r0 + r1 * r1 + r2 * r2 + r3 * r3
        r0 *= scale
        r1 *= scale
        r2 *= scale
        r3 *= scale
        z[k], z[k + 1], z[k + 2], z[k + 3] = r0, r1, r2, r3
        for j in range(d):
            g[j] += r0 * X[i0, j] + r1 * X[i1, j] + r2 * X[i2, j] + r3 * X[i3, j]
    for k in range(tail, hi):
        i = rows[at, k]
        r = 0.0
        for j in range(d):
            r += X[i, j] * point[j]
        r -= y[i]
        squares += r * r
        r *= scale
        z[k] = r
        for j in range(d):
            g[j] += r * X[i, j]
    return squares


@numba.njit(cache=True, fastmath=SUMS)
def _sparse_gradient(X, y, rows, at, lo, hi, point, scale, z, g):
    g.fill(0.0)
    squares = 0.0
    for k in range(lo, hi):
        i = rows[at, k]
        r = _sparse_residual(X, y, i, point)
        squares += r * r
        z[k] = scale * r
        for e in range(X.indptr[i], X.indptr[i + 1]):
            g[X.indices[e]] += z[k] * X.data[e]
    return squares


block_gradient = by_kind(_dense_gradient, _sparse_gradient)


@numba.njit(cache=True, fastmath=SUMS)
def _dense_residual(X, y, i, beta):
    """x_i beta - y_i."""
    r = 0.0
    for j in range(beta.shape[0]):
        r += X[i, j] * beta[j]
    return r - y[i]


row_residual = by_kind(_dense_residual, _sparse_residual)


@numba.njit(forceinline=True)
def move_coordinate(j, move, shrink, w_plus, w_minus, beta, low):
    """Multiply w+- by 1 -+ move - shrink; low is the running minimum of the factors."""
    cp = 1.0 - move - shrink
    cm = 1.0 + move - shrink
    p = w_plus[j] * cp
    q = w_minus[j] * cm
    w_plus[j] = p
    w_minus[j] = q
    beta[j] = 0.5 * ((p - q) * (p + q))
    low[j] = min(low[j], min(cp, cm))


@numba.njit(cache=True)
def _dense_single(X, i, step, shrink, w_plus, w_minus, beta, low):
    for j in range(beta.shape[0]):
        move_coordinate(j, step * X[i, j], shrink, w_plus, w_minus, beta, low)


@numba.njit(cache=True)
def _sparse_single(X, i, step, shrink, w_plus, w_minus, beta, low):
    """Without decay the factors of a coordinate that x_i lacks are one."""
    first, last = X.indptr[i], X.indptr[i + 1]
    if shrink == 0.0:
        for k in range(first, last):
            move_coordinate(X.indices[k], step * X.data[k], 0.0, w_plus, w_minus, beta, low)
        return
    k = first
    for j in range(beta.shape[0]):
        x = 0.0
        if k < last and X.indices[k] == j:
            x = X.data[k]
            k += 1
        move_coordinate(j, step * x, shrink, w_plus, w_minus, beta, low)


single_update = by_kind(_dense_single, _sparse_single)


@numba.njit(forceinline=True)
def ascent_length(r, q, rho, normalized):
    """rho_i r_i of one example, with q = sum_j s_j x_ij^2."""
    if not normalized:
        return rho * r
    if r == 0.0 or q == 0.0:
        return 0.0
    return np.copysign(rho / np.sqrt(q), r)


@numba.njit(fastmath=SUMS, forceinline=True)
def one_example(X, y, i, beta, s, rho, normalized, scale, a, b):
    """Add row i's share to a and b; returns (z_i, r_i^2), z_i = scale r_i'.

    r' = r + e (x^2 . s) + e^2 (x^3 . beta) with e = rho_i r_i (THEORY section 2).
    """
    r, q, c = 0.0, 0.0, 0.0
    for j in range(beta.shape[0]):
        x = X[i, j]
        f, v = x * beta[j], x * x
        r += f
        q += v * s[j]
        c += v * f
    r -= y[i]
    e = ascent_length(r, q, rho, normalized)
    z = scale * (r + e * q + e * e * c)
    e *= z
    for j in range(beta.shape[0]):
        x = X[i, j]
        a[j] += z * x
        b[j] += x * (e * x)
    return z, r * r


@numba.njit(fastmath=SUMS, forceinline=True)
def four_examples(X, y, rows, at, k, beta, s, rho, normalized, scale, z, a, b):
    """Do what one_example does for rows[at, k:k+4] in one pass; returns the sum of r^2."""
    i0, i1, i2, i3 = rows[at, k], rows[at, k + 1], rows[at, k + 2], rows[at, k + 3]
    r0, r1, r2, r3 = 0.0, 0.0, 0.0, 0.0
    q0, q1, q2, q3 = 0.0, 0.0, 0.0, 0.0
    c0, c1, c2, c3 = 0.0, 0.0, 0.0, 0.0
    for j in range(beta.shape[0]):
        x0, x1, x2, x3 = X[i0, j], X[i1, j], X[i2, j], X[i3, j]
        p, t = beta[j], s[j]
        f0, f1, f2, f3 = x0 * p, x1 * p, x2 * p, x3 * p
        v0, v1, v2, v3 = x0 * x0, x1 * x1, x2 * x2, x3 * x3
        r0 += f0
        r1 += f1
        r2 += f2
        r3 += f3
        q0 += v0 * t
        q1 += v1 * t
        q2 += v2 * t
        q3 += v3 * t
        c0 += v0 * f0
        c1 += v1 * f1
        c2 += v2 * f2
        c3 += v3 * f3
    r0 -= y[i0]
    r1 -= y[i1]
    r2 -= y[i2]
    r3 -= y[i3]
    e0 = ascent_length(r0, q0, rho, normalized)
    e1 = ascent_length(r1, q1, rho, normalized)
    e2 = ascent_length(r2, q2, rho, normalized)
    e3 = ascent_length(r3, q3, rho, normalized)
    z0 = scale * (r0 + e0 * q0 + e0 * e0 * c0)
    z1 = scale * (r1 + e1 * q1 + e1 * e1 * c1)
    z2 = scale * (r2 + e2 * q2 + e2 * e2 * c2)
    z3 = scale * (r3 + e3 * q3 + e3 * e3 * c3)
    z[k], z[k + 1], z[k + 2], z[k + 3] = z0, z1, z2, z3
    e0, e1, e2, e3 = e0 * z0, e1 * z1, e2 * z2, e3 * z3
    for j in range(beta.shape[0]):
        x0, x1, x2, x3 = X[i0, j], X[i1, j], X[i2, j], X[i3, j]
        a[j] += z0 * x0 + z1 * x1 + z2 * x2 + z3 * x3
        b[j] += x0 * (e0 * x0) + x1 * (e1 * x1) + x2 * (e2 * x2) + x3 * (e3 * x3)
    return r0 * r0 + r1 * r1 + r2 * r2 + r3 * r3


@numba.njit(forceinline=True)
def _dense_examples(X, y, rows, at, beta, s, rho, normalized, z, a, b):
    """Set a, b and z of one step with one block per example; returns the sum of r^2."""
    batch = rows.shape[1]
    scale = 1.0 / batch
    tail = batch - batch % 4
    a.fill(0.0)
    b.fill(0.0)
    squares = 0.0
    for k in range(0, tail, 4):
        squares += four_examples(X, y, rows, at, k, beta, s, rho, normalized, scale, z, a, b)
    for k in range(tail, batch):
        z[k], square = one_example(X, y, rows[at, k], beta, s, rho, normalized, scale, a, b)
        squares += square
    return squares


@numba.njit(cache=True, fastmath=SUMS)
def _sparse_examples(X, y, rows, at, beta, s, rho, normalized, z, a, b):
    batch = rows.shape[1]
    scale = 1.0 / batch
    a.fill(0.0)
    b.fill(0.0)
    squares = 0.0
    for k in range(batch):
        i = rows[at, k]
        r, q, c = 0.0, 0.0, 0.0
        for e in range(X.indptr[i], X.indptr[i + 1]):
            x, j = X.data[e], X.indices[e]
            f, v = x * beta[j], x * x
            r += f
            q += v * s[j]
            c += v * f
        r -= y[i]
        length = ascent_length(r, q, rho, normalized)
        z[k] = scale * (r + length * q + length * length * c)
        length *= z[k]
        for e in range(X.indptr[i], X.indptr[i + 1]):
            x, j = X.data[e], X.indices[e]
            a[j] += z[k] * x
            b[j] += x * (length * x)
        squares += r * r
    return squares


example_gradients = by_kind(_dense_examples, _sparse_examples)
