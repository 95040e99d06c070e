"""Matrix-vector products in twice the working precision, with error bounds.

The certificate needs residuals X beta - y and dual images X^T mu whose own rounding is far below
the quantities that it bounds.  Products are split exactly with a fused multiply-add and sums with
Knuth's two-sum; the error bound of a dot product of N terms is
``u |result| + gamma_N^2 sum |x_i y_i|`` with u = 2^-53 (Ogita, Rump, Oishi 2005, "Accurate sum
and dot product", Prop. 5.5).
"""

from __future__ import annotations

from typing import Any

import numba
import numpy as np
import numpy.typing as npt
from numba import types
from numba.extending import intrinsic

Array = npt.NDArray[np.float64]
UNIT = 2.0**-53
_TINY = 2.0**-1060


def _fused(_context: Any, a: Any, b: Any, c: Any) -> Any:
    """Fused multiply-add a*b + c with one rounding."""

    def generate(_ctx: Any, builder: Any, _signature: Any, args: Any) -> Any:
        return builder.fma(*args)

    return types.float64(types.float64, types.float64, types.float64), generate


_fma: Any = intrinsic(_fused)


@numba.njit(cache=True)
def residual_pair(X: Array, beta: Array, y: Array) -> tuple[Array, Array]:
    """Return X beta - y correctly to about twice the working precision, and an error bound.

    X (n, d), beta (d,), y (n,).  The second array bounds |returned - exact| entry by entry.
    """
    n, d = X.shape
    value = np.empty(n)
    bound = np.empty(n)
    gamma = (d + 2) * UNIT / (1.0 - (d + 2) * UNIT)
    for i in range(n):
        high, low, total = -y[i], 0.0, abs(y[i])
        for j in range(d):
            product = X[i, j] * beta[j]
            error = _fma(X[i, j], beta[j], -product)
            new = high + product
            back = new - high
            low += ((high - (new - back)) + (product - back)) + error
            high = new
            total += abs(product)
        value[i] = high + low
        bound[i] = UNIT * abs(value[i]) + 2.0 * gamma * gamma * total + (d + 2) * _TINY
    return value, bound


@numba.njit(cache=True)
def dual_image(X: Array, mu_high: Array, mu_low: Array, shift: Array) -> tuple[Array, Array, Array]:
    """Return X^T (mu_high + mu_low) + shift as an unevaluated sum (high, low) and an error bound.

    X (n, d), mu_high, mu_low (n,), shift (d,).  The bound holds for |high + low - exact|.
    """
    n, d = X.shape
    high = shift.copy()
    low = np.zeros(d)
    total = np.abs(shift)
    gamma = (2 * n + 2) * UNIT / (1.0 - (2 * n + 2) * UNIT)
    for i in range(n):
        a, b = mu_high[i], mu_low[i]
        for j in range(d):
            x = X[i, j]
            product = x * a
            error = _fma(x, a, -product) + x * b
            new = high[j] + product
            back = new - high[j]
            low[j] += ((high[j] - (new - back)) + (product - back)) + error
            high[j] = new
            total[j] += abs(product)
    bound = np.empty(d)
    for j in range(d):
        new = high[j] + low[j]
        back = new - high[j]
        low[j] = (high[j] - (new - back)) + (low[j] - back)
        high[j] = new
        bound[j] = 4.0 * gamma * gamma * total[j] + (n + 2) * _TINY
    return high, low, bound
