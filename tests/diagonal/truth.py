"""Forty-digit solutions of the potential problem, independent of the library's arithmetic."""

from __future__ import annotations

import mpmath as mp
import numpy as np

DIGITS = 45


def exact_minimum(X, y, alpha, dual, shift=None):
    """Return beta* (list of d mpf) for full-rank X by Newton in 45 digits, started at dual (n,)."""
    n, d = X.shape
    with mp.workdps(DIGITS):
        rows = [[mp.mpf(float(x)) for x in row] for row in X]
        labels = [mp.mpf(float(v)) for v in y]
        scale = [mp.mpf(float(a)) ** 2 / 2 for a in np.broadcast_to(alpha, (d,))]
        offset = [mp.mpf(float(v)) for v in np.broadcast_to(0.0 if shift is None else shift, (d,))]
        mu = [2 * mp.mpf(float(v)) for v in dual]
        for _ in range(40):
            theta = [mp.fsum(rows[i][j] * mu[i] for i in range(n)) + offset[j] for j in range(d)]
            beta = [scale[j] * mp.sinh(theta[j]) for j in range(d)]
            slope = [scale[j] * mp.cosh(theta[j]) for j in range(d)]
            rest = mp.matrix(
                [labels[i] - mp.fsum(rows[i][j] * beta[j] for j in range(d)) for i in range(n)]
            )
            kernel = mp.matrix(n, n)
            for i in range(n):
                weighted = [rows[i][j] * slope[j] for j in range(d)]
                for k in range(i, n):
                    kernel[i, k] = kernel[k, i] = mp.fsum(
                        weighted[j] * rows[k][j] for j in range(d)
                    )
            step = mp.lu_solve(kernel, rest)
            move = [mp.fsum(rows[i][j] * step[i] for i in range(n)) for j in range(d)]
            damp = min(mp.mpf(1), 1 / max(abs(v) for v in move)) if any(move) else mp.mpf(1)
            mu = [mu[i] + damp * step[i] for i in range(n)]
            largest = max(abs(b) for b in beta)
            if max(abs(slope[j] * move[j]) for j in range(d)) <= mp.mpf(10) ** -38 * largest:
                return [scale[j] * mp.sinh(theta[j] + move[j]) for j in range(d)]
    raise AssertionError("the reference solution did not converge")


def max_error(beta, exact) -> float:
    """Return max |beta - exact| without rounding the difference first."""
    with mp.workdps(DIGITS):
        return float(max(abs(mp.mpf(float(b)) - e) for b, e in zip(beta, exact, strict=True)))


def random_instance(rng):
    """Return (X, y, alpha): n 1..30, d up to 60, alpha 1e-6..10, four kinds of design."""
    n = int(rng.integers(1, 31))
    d = int(rng.integers(n, 61))
    X = rng.standard_normal((n, d))
    kind = rng.integers(4)
    if kind == 1:
        X = X + 3.0 * rng.standard_normal((n, 1))
    elif kind == 2:
        X = X * 10.0 ** rng.uniform(-3.0, 3.0, d)
    elif kind == 3:
        X = 0.05 * X + rng.standard_normal((n, 2)) @ rng.standard_normal((2, d))
    sparse = rng.standard_normal(d) * (rng.random(d) < 0.3)
    y = X @ sparse if rng.random() < 0.5 else rng.standard_normal(n)
    return X, y, float(10.0 ** rng.uniform(-6.0, 1.0))
