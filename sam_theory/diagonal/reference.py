"""Training in (u, v) by plain NumPy, operation by operation as in the published experiments.

Its rounding is that of the published code: with (u, v) in float64 the difference
u - v is lost once it is 1e-16 times u + v, and three of the 39 published losses (1-SAM at the
published rho = 0.3) are decided by that, one of them a run stuck on a saddle that exact arithmetic
leaves.  :func:`sam_theory.descend` works in the balanced coordinates and gives the exact value;
this function gives the published one.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from ..algorithms import Algorithm
from ..errors import InputError
from ..regression import Regression
from .steps.plan import make_plan

Array = npt.NDArray[np.float64]


def descend_reference(
    data: Regression, *, alpha: npt.ArrayLike, phases: Any, batches: npt.ArrayLike | None = None
) -> tuple[Array, Array]:
    """Train u, v from u = alpha, v = 0 and return them.

    Parameters
    ----------
    data : Regression
        n examples in d dimensions.
    alpha : array_like, scalar or shape (d,)
        Initial scale, positive, units of beta^(1/2).
    phases : sequence of (Algorithm, step_size, steps)
        Unnormalised, one ascent step.
    batches : array_like of int, shape (steps, batch_size), optional
        Rows of every step of a stochastic algorithm.

    Returns
    -------
    u, v : ndarray, shape (d,)
        beta = u v; not finite where the run diverged.

    Raises
    ------
    InputError
        If an argument does not fit, or an algorithm is normalised or has several ascent steps, or
        is stochastic without ``batches``.

    Notes
    -----
    Source: Andriushchenko and Flammarion (2022), diagonal linear networks; radii as here.
    """
    plan = make_plan(
        data,
        alpha=alpha,
        stretch=(None, None, None),
        phases=phases,
        record=None,
        seed=None,
        batches=batches,
        weight_decay=0.0,
        tol=0.0,
        progress=None,
        start=None,
    )
    u, v = plan.alpha.copy(), np.zeros(data.d)
    with np.errstate(over="ignore", invalid="ignore"):
        for phase in plan.phases:
            size, m = phase.algorithm.resolve(data.n)
            _check(phase.algorithm, size < data.n and batches is None)
            for gamma in phase.gammas(0, phase.steps):
                X, y = data.X, data.y
                if size < data.n:
                    rows = plan.stream.take(1, size)[0]
                    X, y = X[rows], y[rows]
                grad_u, grad_v = _gradient(X, y, u, v, phase.algorithm.rho, m)
                u, v = u - gamma * grad_u, v - gamma * grad_v
    return u, v


def _check(algorithm: Algorithm, without_rows: bool) -> None:
    if algorithm.rho > 0.0 and algorithm.normalized:
        raise InputError("algorithm must be unnormalised here")
    if algorithm.rho > 0.0 and algorithm.ascent_steps > 1:
        raise InputError("ascent_steps must be 1 here")
    if without_rows:
        raise InputError("batches is required for a stochastic algorithm here")


def _gradient(X: Array, y: Array, u: Array, v: Array, rho: float, m: int) -> tuple[Array, Array]:
    """Return the (m-)SAM gradient with respect to u and v."""
    n = len(y)
    if n == 1 and rho == 0.0:
        pull = (X[0] @ (u * v) - y[0]) * X[0]
        return pull * v, pull * u
    if m == 1 and rho > 0.0:
        return _one_by_one(X, y, u, v, rho)
    if m == n or rho == 0.0:
        return _whole(X, y, u, v, rho)
    grad_u, grad_v = np.zeros_like(u), np.zeros_like(v)
    for start in range(0, n, m):
        block = slice(start, start + m)
        part_u, part_v = _whole(X[block], y[block], u, v, rho)
        grad_u += part_u * (m / n)
        grad_v += part_v * (m / n)
    return grad_u, grad_v


def _whole(X: Array, y: Array, u: Array, v: Array, rho: float) -> tuple[Array, Array]:
    n = len(y)
    pull = X.T @ (X @ (u * v) - y)
    if rho > 0.0:
        u, v = u + rho * (pull * v) / n, v + rho * (pull * u) / n
        pull = X.T @ (X @ (u * v) - y)
    return (pull * v) / n, (pull * u) / n


def _one_by_one(X: Array, y: Array, u: Array, v: Array, rho: float) -> tuple[Array, Array]:
    """All examples at once; sums along the last axis and over rows keep the order of a loop."""
    n = len(y)
    r = (X @ (u * v) - y)[:, None]
    p, q = u + rho * r * X * v, v + rho * r * X * u
    error = ((X * p * q).sum(axis=1) - y)[:, None]
    return (error * q * X / n).sum(axis=0), (error * p * X / n).sum(axis=0)
