"""The rest of a flow's integrals once it has become linear.

Near zero loss r' = -K M r with K = P/n and P, M as in :mod:`.stiff`. With R = int r r^T dt, which
solves (K M) R + R (K M)^T = r r^T,

    Delta_tail = (1/n m) sum_B diag(X_B^T M_BB R_BB X_B),    int 2L = tr(R)/n

(THEORY section 2). In the basis that makes K M symmetric, R is a quotient, entry by entry.
Normalised n-SAM, in its rescaled time, ends along one mode of rate lambda:
Delta_tail = g g'/lambda.
"""

from __future__ import annotations

import numba
import numpy as np

from ...design import Array, Matrix, column_chunks, compiled, transposed, weighted_gram
from ..primitives.row_passes import by_kind
from .field import FlowField
from .stiff import metric, stiff_modes


def tail(field: FlowField, state: Array, rank: int) -> tuple[Array, float]:
    """Return the rest of Delta (d,) and of int 2L beyond a state near zero loss."""
    _, _, r = field.point(state)
    if not np.any(r):
        return np.zeros(field.X.shape[1]), 0.0
    return _single_mode(field, state) if field.rescaled else _linear(field, state, rank)


def _single_mode(field: FlowField, state: Array) -> tuple[Array, float]:
    X, n = field.X, field.X.shape[0]
    beta, s, r = field.point(state)
    (rate,), (doubled_loss,) = field.rates(state[None])
    moved = X @ (s * (rate[:n] @ X) - 2.0 * field.rho * beta * rate[n:])
    decay = -float(moved @ r) / float(r @ r)
    return rate[n:] / decay, float(doubled_loss) / (3.0 * decay)


def _linear(field: FlowField, state: Array, rank: int) -> tuple[Array, float]:
    X, m, n = field.X, field.m, field.X.shape[0]
    _, s, r = field.point(state)
    P = weighted_gram(X, s)
    M = metric(P, m, field.rho)
    back, forward, values = stiff_modes(M, P, m == 1)
    # r' = -K M r has the modes forward^T; those beyond the rank are rounding.
    along = (back.T @ r)[n - rank :]
    rates = values[n - rank :] / n
    R = np.outer(along, along) / (rates[:, None] + rates)
    basis = forward[n - rank :].T
    R = basis @ R @ basis.T
    return _block_form(X, M @ R, m) / (n * m), float(np.trace(R)) / n


def _block_form(X: Matrix, G: Array, m: int) -> Array:
    """sum_B diag(X_B^T G_BB X_B), shape (d,)."""
    n, d = X.shape
    out = np.zeros(d)
    if not isinstance(X, np.ndarray):
        _sparse_form(compiled(transposed(X)), G, m, out)
        return out
    weights = G.diagonal()
    for start, stop in column_chunks(X):
        part = X[:, start:stop]
        if m == 1:
            out[start:stop] = weights @ (part * part)
            continue
        for lo in range(0, n, m):
            own = part[lo : lo + m]
            out[start:stop] += np.einsum("id,id->d", own, G[lo : lo + m, lo : lo + m] @ own)
    return out


@numba.njit(cache=True, nogil=True)
def _dense_linear_rest(X, m, rank, r, back, forward, turned, rates):  # type: ignore[no-untyped-def]
    """Return the rest of Delta (d,) and of int 2L beyond r (n,), from :func:`.stiff.factorize`."""
    n, d = X.shape
    # R = forward^T C forward, and M R = back C forward.
    along = np.dot(turned, r)
    C = np.zeros((n, n))
    for a in range(n - rank, n):
        for b in range(n - rank, n):
            both = max(rates[a] + rates[b], 1e-300)
            C[a, b] = along[a] * along[b] / both
    half = np.dot(C, forward)
    G = np.dot(back, half)
    rest = np.zeros(d)
    for i in range(n):
        for k in range(i - i % m, i - i % m + m):
            weight = G[i, k] / (n * m)
            for j in range(d):
                rest[j] += weight * X[i, j] * X[k, j]
    return rest, np.sum(forward * half) / n


@numba.njit(cache=True, nogil=True)
def _sparse_linear_rest(X, m, rank, r, back, forward, turned, rates):  # type: ignore[no-untyped-def]
    return np.full(X.shape[1], np.inf), np.inf


linear_rest = by_kind(_dense_linear_rest, _sparse_linear_rest)


@numba.njit(cache=True, nogil=True)
def _sparse_form(columns, G, m, out):  # type: ignore[no-untyped-def]
    for j in range(out.shape[0]):
        first, last = columns.indptr[j], columns.indptr[j + 1]
        for a in range(first, last):
            i = columns.indices[a]
            for b in range(first, last):
                k = columns.indices[b]
                if i // m == k // m:
                    out[j] += columns.data[a] * columns.data[b] * G[i, k]
