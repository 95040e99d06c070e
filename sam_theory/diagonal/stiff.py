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

from .simd import load, rank_one, splat, store, zero, zero4, zero8

CHUNK = 256


@numba.njit(cache=True, nogil=True)
def weighted_products(X, weight):
    """X diag(weight) X^T, in chunks of columns that stay in cache."""
    n, d = X.shape
    out = np.zeros((n, n))
    for lo in range(0, d, CHUNK):
        part = X[:, lo : lo + CHUNK].copy()
        scaled = part * weight[lo : lo + CHUNK]
        out += np.dot(scaled, part.T)
    return out


@numba.njit(cache=True, nogil=True)
def metric(P, m, rho):
    """M (n, n) for P = X diag(s) X^T."""
    n = P.shape[0]
    M = np.eye(n)
    for lo in range(0, n, m):
        M[lo : lo + m, lo : lo + m] += (rho / m) * P[lo : lo + m, lo : lo + m]
    return M


@numba.njit(cache=True, nogil=True)
def stiff_modes(M, P, diagonal):
    """Return (L Q, (L Q)^-1, p) of the module docstring."""
    n = P.shape[0]
    if diagonal:
        root = np.sqrt(np.diag(M))
        values, Q = np.linalg.eigh(P * root * root.reshape(n, 1))
        return Q * root.reshape(n, 1), np.ascontiguousarray((Q / root.reshape(n, 1)).T), values
    L = np.linalg.cholesky(M)
    values, Q = np.linalg.eigh(np.dot(L.T, np.dot(P, L)))
    back = np.dot(L, Q)
    return back, np.ascontiguousarray(np.linalg.solve(L.T, Q).T), values


@numba.njit(forceinline=True)
def apply_rows(rows, matrix, i, source, target):
    """Set some rows from i of target to matrix @ source."""
    out = rows
    for j in range(matrix.shape[1]):
        out = rank_one(out, matrix, i, j, load(source, j))
    store(target, i, out)


@numba.njit(forceinline=True)
def apply(matrix, source, target):
    """Target = matrix @ source for (n, 8) arrays of lanes."""
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
def mixed(source, i, columns, stages):
    """Item i times a matrix: sum_k source[8 i + k] columns[k]."""
    out = zero()
    for k in range(stages):
        out = out + splat(source[8 * i + k]) * load(columns, k)
    return out


@numba.njit(forceinline=True)
def newton_change(back, forward, rates, size, method, defect, work, change):
    """Change = (I - size A x J)^-1 defect, with J = -back diag(rates) forward."""
    apply(forward, defect, work)
    stages = method.nodes.shape[0]
    real, imaginary = load(method.real, 0), load(method.imaginary, 0)
    for i in range(rates.shape[0]):
        a = mixed(work, i, method.into_real, stages)
        b = mixed(work, i, method.into_imaginary, stages)
        factor = splat(size * rates[i])
        p, q = splat(1.0) + factor * real, factor * imaginary
        inverse = splat(1.0) / (p * p + q * q)
        store(work, i, (a * p + b * q) * inverse)
        store(defect, i, (b * p - a * q) * inverse)
    for i in range(rates.shape[0]):
        store(
            work,
            i,
            mixed(work, i, method.from_real, 4) - mixed(defect, i, method.from_imaginary, 4),
        )
    apply(back, work, change)
