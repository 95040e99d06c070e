"""Matrix-vector products in twice the working precision, with error bounds.

The certificate needs residuals X beta - y and dual images X^T mu whose own rounding is far below
the quantities that it bounds.  Products are split exactly with a fused multiply-add and sums with
Knuth's two-sum; the error bound of a dot product of N terms is
``u |result| + gamma_N^2 sum |x_i y_i|`` with u = 2^-53, where no term passes through more than N
additions, in whatever order (Ogita, Rump, Oishi 2005, "Accurate sum and dot product", Prop. 5.5).
"""

from __future__ import annotations

from typing import Any

import numba
import numpy as np
import numpy.typing as npt
from numba import types
from numba.extending import intrinsic

from ..._threads import parallel_map
from ...design import Matrix, compiled, cut

Array = npt.NDArray[np.float64]
UNIT = 2.0**-53
_TINY = 2.0**-1060


def _fused(_context: Any, a: Any, b: Any, c: Any) -> Any:
    """Fused multiply-add a*b + c with one rounding."""

    def generate(_ctx: Any, builder: Any, _signature: Any, args: Any) -> Any:
        return builder.fma(*args)

    return types.float64(types.float64, types.float64, types.float64), generate


_fma: Any = intrinsic(_fused)


_LANES = 64
_BLOCK = 2048
_PART = 1 << 21


def residual_pair(X: Matrix, beta: Array, y: Array) -> tuple[Array, Array]:
    """Return X beta - y correctly to about twice the working precision, and an error bound.

    X (n, d), beta (d,), y (n,).  The second array bounds |returned - exact| entry by entry.
    """
    n = X.shape[0]
    value, bound = np.empty(n), np.empty(n)
    matrix, kernel = compiled(X), residual_part if isinstance(X, np.ndarray) else _residual_sparse
    parallel_map(lambda part: kernel(matrix, beta, y, *part, value, bound), cut(n, X.size, _PART))
    return value, bound


def dual_image(
    X: Matrix, mu_high: Array, mu_low: Array, shift: Array
) -> tuple[Array, Array, Array]:
    """Return X^T (mu_high + mu_low) + shift as an unevaluated sum (high, low) and an error bound.

    X (n, d), mu_high, mu_low (n,), shift (d,).  The bound holds for |high + low - exact|.
    """
    d = X.shape[1]
    high, low, bound = shift.copy(), np.zeros(d), np.abs(shift)
    matrix, kernel = compiled(X), image_part if isinstance(X, np.ndarray) else _image_sparse
    parallel_map(
        lambda part: kernel(matrix, mu_high, mu_low, *part, high, low, bound),
        cut(d, X.size, _PART),
    )
    return high, low, bound


@numba.njit(cache=True, nogil=True)
def _sum(high, low, term, rest):  # type: ignore[no-untyped-def]
    """Return the unevaluated sum (high + term) + (low + rest), high + term without error."""
    new = high + term
    back = new - high
    return new, low + (((high - (new - back)) + (term - back)) + rest)


@numba.njit(cache=True, nogil=True)
def _lanes_sum(start, high, low, total, terms):  # type: ignore[no-untyped-def]
    """Return start + the sum of high + low, and its bound if each lane has ``terms`` terms."""
    value, rest, size = start, 0.0, abs(start)
    lanes = high.shape[0]
    for j in range(lanes):
        value, rest = _sum(value, rest, high[j], low[j])
        size += total[j]
    value += rest
    # Additions that one term passes through, the lane's and those of the lanes.
    depth = 3 * terms + 2 * lanes + 6
    gamma = depth * UNIT / (1.0 - depth * UNIT)
    bound = UNIT * abs(value) + 2.0 * gamma * gamma * size + (terms * lanes + 2) * _TINY
    return value, bound


@numba.njit(cache=True, nogil=True)
def residual_part(X, beta, y, first, last, value, bound):  # type: ignore[no-untyped-def]
    """Write rows first, ..., last - 1 of :func:`residual_pair` for a dense X."""
    d = X.shape[1]
    lanes = min(_LANES, d)
    high, low, total = np.empty(lanes), np.empty(lanes), np.empty(lanes)
    for i in range(first, last):
        high.fill(0.0)
        low.fill(0.0)
        total.fill(0.0)
        for start in range(0, d, lanes):
            x, b = X[i, start : start + lanes], beta[start : start + lanes]
            for j in range(x.shape[0]):
                product = x[j] * b[j]
                error = _fma(x[j], b[j], -product)
                high[j], low[j] = _sum(high[j], low[j], product, error)
                total[j] += abs(product)
        value[i], bound[i] = _lanes_sum(-y[i], high, low, total, (d + lanes - 1) // lanes)


@numba.njit(cache=True, nogil=True)
def _residual_sparse(X, beta, y, first, last, value, bound):  # type: ignore[no-untyped-def]
    high, low, total = np.empty(1), np.empty(1), np.empty(1)
    for i in range(first, last):
        begin, end = X.indptr[i], X.indptr[i + 1]
        h, r, size = 0.0, 0.0, 0.0
        for k in range(begin, end):
            x, b = X.data[k], beta[X.indices[k]]
            product = x * b
            h, r = _sum(h, r, product, _fma(x, b, -product))
            size += abs(product)
        high[0], low[0], total[0] = h, r, size
        value[i], bound[i] = _lanes_sum(-y[i], high, low, total, end - begin)


@numba.njit(cache=True, nogil=True)
def image_part(X, mu_high, mu_low, first, last, high, low, bound):  # type: ignore[no-untyped-def]
    """Add columns first, ..., last - 1 of X^T mu, dense X, to high, low and bound."""
    n = X.shape[0]
    for start in range(first, last, _BLOCK):
        stop = min(start + _BLOCK, last)
        h, r, size = high[start:stop], low[start:stop], bound[start:stop]
        for i in range(n):
            a, b = mu_high[i], mu_low[i]
            x = X[i, start:stop]
            for j in range(x.shape[0]):
                product = x[j] * a
                error = _fma(x[j], a, -product) + x[j] * b
                h[j], r[j] = _sum(h[j], r[j], product, error)
                size[j] += abs(product)
        _image_bound(n, h, r, size)


@numba.njit(cache=True, nogil=True)
def _image_sparse(X, mu_high, mu_low, first, last, high, low, bound):  # type: ignore[no-untyped-def]
    n = X.shape[0]
    for i in range(n):
        a, b = mu_high[i], mu_low[i]
        begin, end = X.indptr[i], X.indptr[i + 1]
        begin += np.searchsorted(X.indices[begin:end], first)
        for k in range(begin, end):
            j = X.indices[k]
            if j >= last:
                break
            product = X.data[k] * a
            error = _fma(X.data[k], a, -product) + X.data[k] * b
            high[j], low[j] = _sum(high[j], low[j], product, error)
            bound[j] += abs(product)
    _image_bound(n, high[first:last], low[first:last], bound[first:last])


@numba.njit(cache=True, nogil=True)
def _image_bound(n, high, low, bound):  # type: ignore[no-untyped-def]
    """Turn the sums of sizes in bound into error bounds, and make high + low normal."""
    gamma = (2 * n + 2) * UNIT / (1.0 - (2 * n + 2) * UNIT)
    for j in range(high.shape[0]):
        high[j], low[j] = _sum(high[j], 0.0, low[j], 0.0)
        bound[j] = 4.0 * gamma * gamma * bound[j] + (n + 2) * _TINY
