"""Solution selected by gradient flow on a diagonal network of depth D > 2, and the flow itself.

beta = w+^D - w-^D from w+ = w- = alpha. With mu = alpha^D the limit minimises mu sum q_D(beta/mu)
over the interpolators, q_D' = h_D^-1 (Woodworth et al. 2020, Theorem 3), so

    beta = mu h_D(X^T nu),   h_D(z) = (1-z)^-p - (1+z)^-p,   p = D/(D-2),   |X^T nu| < 1,

and nu minimises the smooth convex dual  mu sum H_D(X^T nu) - <nu, y>,  H_D' = h_D. The library has
h_D and its inverse (:mod:`sam_theory.diagonal.potential`); the small solver is here.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from sam_theory.diagonal.potential import depth_h
from sam_theory.errors import InputError

Array = npt.NDArray[np.float64]
_MOST_STEPS = 200


def minimize_depth(X: Array, y: Array, mu: float, depth: float) -> Array:
    """Return argmin sum q_D(beta/mu) over {X beta = y}.

    Newton's method on the dual, from a large scale down to mu, so that every start is close.

    Parameters
    ----------
    X : ndarray, shape (n, d)
        Of full row rank, n <= d.
    y : ndarray, shape (n,)
        Labels.
    mu : float
        Scale alpha^D > 0, units of beta.
    depth : float
        D > 2.

    Returns
    -------
    ndarray, shape (d,)
        Interpolates to about 1e-12.

    Raises
    ------
    InputError
        The iteration did not converge, for instance because y is not in the range of X.
    """
    start = np.linalg.lstsq(X, y, rcond=None)[0]
    scale = max(mu, 10.0 * float(np.abs(start).max()))
    nu = np.zeros(len(y))
    while True:
        nu = _newton(X, y, scale, depth, nu)
        if scale <= mu:
            return np.asarray(mu * depth_h(X.T @ nu, depth))
        scale = max(mu, 0.3 * scale)


def _newton(X: Array, y: Array, mu: float, depth: float, nu: Array) -> Array:
    power = depth / (depth - 2.0)
    goal = 1e-13 * float(np.abs(y).max())
    value, off = _dual(X, y, mu, power, nu), _residual(X, y, mu, depth, nu)
    for _ in range(_MOST_STEPS):
        largest = float(np.abs(off).max())
        if largest <= goal:
            return nu
        z = X.T @ nu
        curvature = mu * power * ((1.0 - z) ** (-power - 1.0) + (1.0 + z) ** (-power - 1.0))
        step = -np.linalg.solve((X * curvature) @ X.T, off)
        length, slope = _longest(z, X.T @ step), float(off @ step)
        while length > 1e-12:
            tried = nu + length * step
            new, new_off = _dual(X, y, mu, power, tried), _residual(X, y, mu, depth, tried)
            # Near the minimum the values agree to rounding, and the residual decides.
            if new <= value + 1e-4 * length * slope or np.abs(new_off).max() <= 0.5 * largest:
                break
            length *= 0.5
        else:
            break
        nu, value, off = tried, new, new_off
    if float(np.abs(off).max()) <= 1e4 * goal:
        return nu
    raise InputError("the dual of the depth-D problem did not converge")


def _residual(X: Array, y: Array, mu: float, depth: float, nu: Array) -> Array:
    return np.asarray(X @ (mu * depth_h(X.T @ nu, depth)) - y)


def _longest(z: Array, direction: Array) -> float:
    """Return the step, at most 1, that keeps |z| < 1 with a tenth of the distance to spare."""
    room = np.where(direction > 0.0, 1.0 - z, 1.0 + z)
    moving = direction != 0.0
    return float(min(1.0, 0.9 * np.min(room[moving] / np.abs(direction[moving]), initial=np.inf)))


def _dual(X: Array, y: Array, mu: float, power: float, nu: Array) -> float:
    z = X.T @ nu
    walls = ((1.0 - z) ** (1.0 - power) + (1.0 + z) ** (1.0 - power) - 2.0) / (power - 1.0)
    return float(mu * walls.sum() - nu @ y)


def follow_depth(X: Array, y: Array, mu: float, depth: float, *, tol: float = 1e-9) -> Array:
    """Return the end of gradient flow in (w+, w-) itself, by a general integrator.

    Parameters
    ----------
    X, y, mu, depth
        As in :func:`minimize_depth`.
    tol : float
        Residual relative to y at which the flow is stopped.

    Returns
    -------
    ndarray, shape (d,)
    """
    from scipy.integrate import solve_ivp

    n, d = X.shape
    size = float(np.abs(y).max())

    def rate(_: float, w: Array) -> Array:
        plus, minus = w[:d], w[d:]
        g = X.T @ (X @ (plus**depth - minus**depth) - y) / n
        return np.concatenate([-depth * plus ** (depth - 1) * g, depth * minus ** (depth - 1) * g])

    def residual(_: float, w: Array) -> float:
        gap = X @ (w[:d] ** depth - w[d:] ** depth) - y
        return float(np.abs(gap).max()) - tol * size

    residual.terminal = True  # type: ignore[attr-defined]
    start = np.full(2 * d, mu ** (1.0 / depth))
    end = solve_ivp(
        rate, (0.0, 1e12), start, method="LSODA", rtol=1e-10, atol=1e-14, events=residual
    ).y[:, -1]
    return np.asarray(end[:d] ** depth - end[d:] ** depth)
