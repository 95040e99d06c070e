"""The stiff part of the flow's Jacobian, factorised once for every step size.

Simplified Newton iterations on the stages of an implicit method need (I - h c J)^-1 for the
eigenvalues c of its Butcher matrix. The stiff part of the flow is nu' = -r'/n with

    dr' = M P dnu + O(r),   P = X diag(s) X^T,   M = I + (rho/m) blockdiag(X_B diag(s) X_B^T),

M and P symmetric and positive: with M = L L^T and the eigen-decomposition L^T P L = Q diag(p) Q^T,
J = -(1/n) (L Q) diag(p) (L Q)^-1. What J leaves out (how M, P and Delta move with nu) is O(r),
is not stiff, and only decides how many iterations are needed. Delta does not enter J at all.
"""

from __future__ import annotations

import numba
import numpy as np
from scipy import linalg
from scipy.linalg import lapack

from ...design import Array
from ..primitives.gram import lower_root, weighted_square
from ..primitives.row_passes import by_kind
from ..primitives.simd import load, load_rows, rank_one, splat, splat_at, store, zero, zero4, zero8


@numba.njit(cache=True, nogil=True)
def _dense_combination(X, v):
    return np.dot(v, X)


@numba.njit(cache=True, nogil=True)
def _sparse_combination(X, v):
    out = np.zeros(X.shape[1])
    for i in range(X.shape[0]):
        for e in range(X.indptr[i], X.indptr[i + 1]):
            out[X.indices[e]] += v[i] * X.data[e]
    return out


@numba.njit(cache=True, nogil=True)
def _dense_squares_product(X, v):
    n, d = X.shape
    out = np.zeros(n)
    for i in range(n):
        for j in range(d):
            out[i] += X[i, j] * X[i, j] * v[j]
    return out


@numba.njit(cache=True, nogil=True)
def _sparse_squares_product(X, v):
    out = np.zeros(X.shape[0])
    for i in range(X.shape[0]):
        for e in range(X.indptr[i], X.indptr[i + 1]):
            out[i] += X.data[e] * X.data[e] * v[X.indices[e]]
    return out


combination = by_kind(_dense_combination, _sparse_combination)
squares_product = by_kind(_dense_squares_product, _sparse_squares_product)


def metric(P: Array, m: int, rho: float) -> Array:
    """Return M (n, n) for P = X diag(s) X^T."""
    n = P.shape[0]
    M = np.eye(n)
    if m == 1:
        M.flat[:: n + 1] += rho * P.diagonal()
        return M
    for lo in range(0, n, m):
        own = slice(lo, lo + m)
        M[own, own] += (rho / m) * P[own, own]
    return M


def stiff_modes(M: Array, P: Array, diagonal: bool) -> tuple[Array, Array, Array]:
    """Return (L Q, (L Q)^-1, p) of the module docstring, p (n,) ascending; LinAlgError if none."""
    if diagonal:
        root = np.sqrt(M.diagonal())
        values, Q = _eigen(P * root * root[:, None])
        return np.ascontiguousarray(Q * root[:, None]), np.ascontiguousarray(Q.T / root), values
    L, info = lapack.dpotrf(M, lower=1, clean=1)
    if info != 0:
        raise linalg.LinAlgError(f"M is not positive: dpotrf answers {info}")
    values, Q = _eigen(L.T @ P @ L)
    inverse = lapack.dtrtrs(L, Q, lower=1, trans=1)[0].T
    return np.ascontiguousarray(L @ Q), np.ascontiguousarray(inverse), values


def _eigen(matrix: Array) -> tuple[Array, Array]:
    values, Q, info = lapack.dsyevd(matrix)
    if info != 0:
        raise linalg.LinAlgError(f"dsyevd did not converge ({info})")
    return values, Q


@numba.njit(cache=True, nogil=True)
def _metric_root(P, m, rho):
    """Return :func:`metric`'s L, and whether there is one."""
    n = P.shape[0]
    M = np.zeros((n, n))
    for i in range(n):
        for k in range(i - i % m, i + 1):
            M[i, k] = rho / m * P[i, k]
        M[i, i] += 1.0
    return lower_root(M)


@numba.njit(cache=True, nogil=True)
def _dense_factorize(X, m, rho, s, back, forward, turned, rates):
    """Write L Q, (L Q)^-1, (L Q)^T and p/n at s (d,), for a small dense X.

    Returns False where that must be left to :func:`stiff_modes`.
    """
    n = X.shape[0]
    P = weighted_square(X, np.sqrt(s))
    if not np.sum(np.abs(P)) < 1e140:
        return False
    L, positive = _metric_root(P, m, rho)
    if not positive:
        return False
    values, Q = np.linalg.eigh(np.dot(L.T, np.dot(P, L)))
    product, inverse = np.dot(L, Q), np.empty((n, n))
    for j in range(n):
        # L^T inverse[:, j] = Q[:, j].
        for i in range(n - 1, -1, -1):
            rest = Q[i, j]
            for k in range(i + 1, n):
                rest -= L[k, i] * inverse[k, j]
            inverse[i, j] = rest / L[i, i]
    for i in range(n):
        rates[i] = max(values[i], 0.0) / n
        for j in range(n):
            back[i, j], turned[j, i] = product[i, j], product[i, j]
            forward[j, i] = inverse[i, j]
    return True


@numba.njit(cache=True, nogil=True)
def _sparse_factorize(X, m, rho, s, back, forward, turned, rates):
    return False


factorize = by_kind(_dense_factorize, _sparse_factorize)


@numba.njit(forceinline=True)
def apply_rows(out, matrix, i, source, target):
    """Set some rows from i of target to out + matrix @ source."""
    for j in range(matrix.shape[1]):
        out = rank_one(out, matrix, i, j, load(source, j))
    store(target, i, out)


@numba.njit(forceinline=True)
def apply(matrix, source, target):
    """Set target = matrix @ source for (n, 8) lanes."""
    n = matrix.shape[0]
    full = n - n % 8
    for i in range(0, full, 8):
        apply_rows(zero8(), matrix, i, source, target)
    if n - full >= 4:
        apply_rows(zero4(), matrix, full, source, target)
        full += 4
    for i in range(full, n):
        apply_rows(zero(), matrix, i, source, target)


@numba.njit(forceinline=True)
def apply_on_top(matrix, source, target):
    """Add matrix @ source to target for (n, 8) lanes."""
    n = matrix.shape[0]
    full = n - n % 4
    for i in range(0, full, 4):
        apply_rows(load_rows(zero4(), target, i), matrix, i, source, target)
    for i in range(full, n):
        apply_rows(load(target, i), matrix, i, source, target)


@numba.njit(forceinline=True)
def mixed(source, i, columns, stages):
    """Item i times a matrix: sum_k source[8 i + k] columns[k]."""
    out = zero()
    for k in range(stages):
        out = out + splat_at(source, 8 * i + k) * load(columns, k)
    return out


@numba.njit(forceinline=True)
def newton_change(back, forward, turned, rates, size, method, defect, work, change, pulled):
    """Set change = (I - size A x J)^-1 defect, with J = -back diag(rates) forward.

    If ``pulled``, for defect + M change; ``turned`` is back^T, so that M = back turned. ``rates``
    is a pointer, and so are ``defect``, ``work`` and ``change``, to (n, 8) lanes, all overwritten.
    """
    apply(forward, defect, work)
    if pulled:
        apply_on_top(turned, change, work)
    stages, real, imaginary = method.stages, load(method.real, 0), load(method.imaginary, 0)
    n = forward.shape[0]
    for i in range(n):
        a = mixed(work, i, method.into_real, stages)
        b = mixed(work, i, method.into_imaginary, stages)
        factor = splat(size) * splat_at(rates, i)
        p, q = splat(1.0) + factor * real, factor * imaginary
        inverse = splat(1.0) / (p * p + q * q)
        store(work, i, (a * p + b * q) * inverse)
        store(defect, i, (b * p - a * q) * inverse)
    for i in range(n):
        half = mixed(work, i, method.from_real, 4) - mixed(defect, i, method.from_imaginary, 4)
        store(work, i, half)
    apply(back, work, change)
