"""What each row's error is measured against, in extended precision (``numpy.longdouble``).

Where the machine has no precision beyond float64, :func:`precision` says so in the table, and
errors below 1e-15 then mean nothing.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import scipy.linalg

_Extended = np.longdouble


def precision() -> str:
    """Name the arithmetic of the yardsticks."""
    return f"extended precision, eps {np.finfo(_Extended).eps:.0e}"


def difference(found: Any, exact: Any) -> float:
    """Largest |found - exact|; infinite where found is not finite."""
    gap = np.abs(np.asarray(found, _Extended) - exact)
    return float(gap.max()) if np.all(np.isfinite(gap)) else float("inf")


def entropy_minimum(X: Any, y: Any, alpha: float, start: Any) -> Any:
    """Minimise the potential of scale alpha over {X beta = y}; beta (d,) in extended precision.

    Newton's equation for X beta(mu) = y, beta(mu) = (alpha^2/2) sinh(X^T mu): the residual is
    evaluated in extended precision and the matrix in float64, so every step shrinks the error by
    about 1e-10.  The problem is strictly convex: whatever the start, a zero residual is the answer.

    Parameters
    ----------
    X, y : array, shapes (n, d) and (n,)
        Data, X of rank n.
    alpha : float
        Scale.
    start : array, shape (n,)
        A mu near the solution, for instance from the solver under test.

    Raises
    ------
    ArithmeticError
        If the residual does not fall to rounding of the extended precision.
    """
    wide, labels = X.astype(_Extended), y.astype(_Extended)
    scale = _Extended(alpha) ** 2 / 2
    mu = np.asarray(start, _Extended)
    size = np.abs(labels).max()
    for _ in range(20):
        theta = wide.T @ mu
        beta = scale * np.sinh(theta)
        residual = wide @ beta - labels
        if np.abs(residual).max() <= 100 * np.finfo(_Extended).eps * size:
            return beta
        slope = np.asarray(scale * np.cosh(theta), np.float64)
        step = scipy.linalg.solve((X * slope) @ X.T, np.asarray(residual, np.float64))
        mu = mu - step
    raise ArithmeticError(f"residual {float(np.abs(residual).max()):.1e} after 20 refinements")


def descent(
    X: Any, y: Any, alpha: float, gamma: float, rho: float, m: int, rows: Any, steps: int
) -> Any:
    """Return beta after finite steps in (u, v), m-SAM with m = 1 or all rows of the step.

    Parameters
    ----------
    X, y : array, shapes (n, d) and (n,)
        Data.
    alpha, gamma, rho : float
        Initial scale, step size, radius (0: plain).
    m : int
        1, or the number of rows of a step.
    rows : array of int, shape (steps,), or None
        The one row of every step, or None for all n.
    steps : int
        Number of steps.
    """
    wide, labels = X.astype(_Extended), y.astype(_Extended)
    u, v = np.full(X.shape[1], _Extended(alpha)), np.zeros(X.shape[1], _Extended)
    step, radius = _Extended(gamma), _Extended(rho)
    for k in range(steps):
        A, b = (wide, labels) if rows is None else (wide[rows[k] : rows[k] + 1], labels[rows[k]])
        n = len(A)
        residual = A @ (u * v) - b
        if m == 1 and radius > 0:
            square = A * A
            e = radius * residual
            residual = residual + e * (square @ (u * u + v * v)) + e * e * ((square * A) @ (u * v))
            pull, even = A.T @ residual / n, square.T @ (e * residual) / n
        else:
            pull, even = A.T @ residual / n, _Extended(0)
            if radius > 0:
                g = pull
                pull = A.T @ (A @ ((u + radius * g * v) * (v + radius * g * u)) - b) / n
                even = radius * g * pull
        u, v = u - step * (pull * v + even * u), v - step * (pull * u + even * v)
    return u * v
