"""The lasso path, exactly: piecewise linear in the weight, followed from knot to knot."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from sam_theory.errors import InputError

Array = npt.NDArray[np.float64]


def lasso_path(X: Array, y: Array, smallest: float) -> tuple[Array, Array]:
    """Follow argmin (1/2n) ||X beta - y||^2 + lam ||beta||_1 from the largest useful lam down.

    Parameters
    ----------
    X : ndarray, shape (n, d)
        In general position (no ties), as random data are.
    y : ndarray, shape (n,)
        Labels.
    smallest : float
        Weight > 0 at which the path ends.

    Returns
    -------
    lam : ndarray, shape (k,)
        Knots, falling; the last is `smallest`.
    beta : ndarray, shape (k, d)
        The solution at each knot; linear in lam between them.

    Raises
    ------
    InputError
        `smallest` is not positive, or the path has more knots than 50 d (ties).
    """
    n, d = X.shape
    if not smallest > 0.0:
        raise InputError(f"smallest must be positive, not {smallest:g}")
    gram, moment = X.T @ X / n, X.T @ y / n
    lam = float(np.abs(moment).max())
    beta, knots, points = np.zeros(d), [lam], [np.zeros(d)]
    if lam <= smallest:
        return np.array([smallest]), np.zeros((1, d))
    signs = np.zeros(d)
    entering = int(np.argmax(np.abs(moment)))
    signs[entering] = np.sign(moment[entering])
    left = -1
    for _ in range(50 * d):
        active = np.flatnonzero(signs)
        slope = np.zeros(d)
        slope[active] = np.linalg.solve(gram[np.ix_(active, active)], signs[active])
        pull, drift = moment - gram @ beta, gram @ slope
        # Going down by t: beta + t slope, correlations pull - t drift, bound lam - t.
        step, event, sign = lam - smallest, -1, 0.0
        for j in range(d):
            if signs[j] != 0.0:
                leaves = -beta[j] / slope[j] if slope[j] * signs[j] < 0.0 else np.inf
                if 0.0 <= leaves < step:
                    step, event, sign = leaves, j, 0.0
            elif j != left:
                for side in (1.0, -1.0):
                    closing = 1.0 - side * drift[j]
                    meets = (lam - side * pull[j]) / closing if closing > 0.0 else np.inf
                    if 0.0 <= meets < step:
                        step, event, sign = meets, j, side
        beta, lam = beta + step * slope, lam - step
        if event >= 0:
            # A coordinate that has just left would be found again by rounding.
            left = event if sign == 0.0 else -1
            signs[event] = sign
            beta[event] = 0.0
        knots.append(lam)
        points.append(beta.copy())
        if event < 0:
            return np.array(knots), np.array(points)
    raise InputError("the lasso path did not end; are there ties among the columns?")


def lasso_at(knots: Array, points: Array, lam: npt.ArrayLike) -> Array:
    """Return the solutions at given weights, shape (k, d), from the path's knots."""
    at = np.asarray(lam, dtype=np.float64)
    columns = [np.interp(-at, -knots, points[:, j]) for j in range(points.shape[1])]
    return np.stack(columns, axis=-1)
