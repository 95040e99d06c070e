"""Flows in (u, v) by diffrax, float64, compiled; the compile time is the caller's to exclude."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Callable
from typing import Any

import numpy as np

SOLVERS = ("Tsit5", "Dopri8", "Kvaerno5")
Solve = Callable[[float, float], Any]


def installed() -> bool:
    """Whether jax and diffrax are here; loads neither."""
    return all(importlib.util.find_spec(name) is not None for name in ("jax", "diffrax"))


def _rate(X: Any, y: Any, kind: str, rho: float) -> Callable[..., Any]:
    """Return the right-hand side of :mod:`.peers_ode`, traceable."""
    n = len(y)
    square, cube = X * X, X * X * X

    def rate(time: Any, state: Any, arguments: Any) -> Any:
        u, v = state
        residual = X @ (u * v) - y
        if kind == "1-sam":
            e = rho * residual
            far = residual + e * (square @ (u * u + v * v) + e * (cube @ (u * v)))
            a, b = X.T @ far / n, square.T @ (e * far) / n
        else:
            a = X.T @ residual / n
            if kind == "gd":
                return -a * v, -a * u
            pull = rho * a
            a = X.T @ (X @ ((u + pull * v) * (v + pull * u)) - y) / n
            b = pull * a
        return -(a * v + b * u), -(a * u + b * v)

    return rate


def solver(
    X: Any, y: Any, kind: str, rho: float, alpha: float, time: float, name: str
) -> Callable[[float, float], Any]:
    """Return a compiled function of (rtol, atol) that gives beta at the given time.

    Parameters
    ----------
    X, y : array, shapes (n, d) and (n,)
        Data.
    kind, rho : str, float
        Algorithm as in :class:`benchmarks.peers_ode.Flow`.
    alpha, time : float
        u(0) = alpha, v(0) = 0; where to stop.
    name : str
        Name of the diffrax solver, one of :data:`SOLVERS`.
    """
    if "XLA_FLAGS" not in os.environ:
        os.environ["XLA_FLAGS"] = "--xla_cpu_multi_thread_eigen=false"
    import diffrax
    import jax
    import jax.numpy as jnp

    jax.config.update("jax_enable_x64", True)
    jax.config.update("jax_platforms", "cpu")
    term = diffrax.ODETerm(_rate(jnp.asarray(X), jnp.asarray(y), kind, rho))
    start = (jnp.full(X.shape[1], alpha), jnp.zeros(X.shape[1]))

    @jax.jit
    def run(rtol: Any, atol: Any) -> Any:
        found = diffrax.diffeqsolve(
            term,
            getattr(diffrax, name)(),
            0.0,
            time,
            None,
            start,
            stepsize_controller=diffrax.PIDController(rtol=rtol, atol=atol),
            saveat=diffrax.SaveAt(t1=True),
            max_steps=None,
            throw=False,
        )
        return found.ys[0][-1] * found.ys[1][-1]

    return lambda rtol, atol: np.asarray(run(rtol, atol))
