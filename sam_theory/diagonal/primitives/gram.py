"""Compiled Gram matrices of a small X, and their Cholesky factors."""

from __future__ import annotations

import numba
import numpy as np


@numba.njit(inline="always")
def weighted_square(X, root):  # type: ignore[no-untyped-def]
    """Return X diag(root)^2 X^T for a dense X (n, d), root (d,)."""
    n, d = X.shape
    weighted = np.empty((n, d))
    for i in range(n):
        for j in range(d):
            weighted[i, j] = root[j] * X[i, j]
    return np.dot(weighted, weighted.T)


@numba.njit(cache=True, nogil=True)
def lower_root(M):  # type: ignore[no-untyped-def]
    """Cholesky factor of M (n, n); returns (L, whether M is positive)."""
    n = M.shape[0]
    L = np.zeros((n, n))
    for i in range(n):
        for j in range(i + 1):
            rest = M[i, j]
            for k in range(j):
                rest -= L[i, k] * L[j, k]
            if j < i:
                L[i, j] = rest / L[j, j]
            elif rest > 0.0:
                L[i, i] = np.sqrt(rest)
            else:
                return L, False
    return L, True
