"""Gradient and SAM flows in (u, v), as a user would hand them to a general ODE solver.

With beta = u v, s = u^2 + v^2 and r = X beta - y (powers and products elementwise),

    u' = -(a v + b u),   v' = -(a u + b v),
    GD      a = g = X^T r / n,  b = 0
    n-SAM   a = X^T (X (beta (1 + rho^2 g^2) + rho g s) - y) / n,  b = rho g a
    1-SAM   a = X^T r' / n,  r' = r + e (X^2 s) + e^2 (X^3 beta),  e = rho r,
            b = (X^2)^T (e r') / n

and the Jacobian is, with derivatives taken by the chain rule through beta and s,

    du'/du = -(diag b + diag(v) da/du + diag(u) db/du),
    du'/dv = -(diag a + diag(v) da/dv + diag(u) db/dv),  and the same with u and v exchanged.
"""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
from scipy.integrate import solve_ivp


class Flow:
    """Right-hand side and Jacobian of one flow; the state is (u, v), shape (2d,).

    Parameters
    ----------
    X, y : array, shapes (n, d) and (n,)
        Data.
    kind : {"gd", "n-sam", "1-sam"}
        Algorithm, unnormalised.
    rho : float
        Radius; not used by "gd".
    """

    def __init__(self, X: Any, y: Any, kind: str, rho: float = 0.0) -> None:
        self.X, self.y, self.kind, self.rho = X, y, kind, rho
        self.n, self.d = X.shape
        self.square, self.cube = X * X, X * X * X
        self.gram, self.pulled = X.T @ X / self.n, X.T @ y / self.n

    def start(self, alpha: float) -> Any:
        """Return the state u = alpha, v = 0."""
        return np.concatenate([np.full(self.d, alpha), np.zeros(self.d)])

    def rate(self, time: float, state: Any) -> Any:
        """Return the time derivative of the state."""
        u, v = state[: self.d], state[self.d :]
        residual = self.X @ (u * v) - self.y
        if self.kind == "1-sam":
            e = self.rho * residual
            far = residual + e * (self.square @ (u * u + v * v) + e * (self.cube @ (u * v)))
            a, b = self.X.T @ far / self.n, self.square.T @ (e * far) / self.n
        else:
            a = self.X.T @ residual / self.n
            if self.kind == "gd":
                return -np.concatenate([a * v, a * u])
            pull = self.rho * a
            a = self.X.T @ (self.X @ ((u + pull * v) * (v + pull * u)) - self.y) / self.n
            b = pull * a
        return -np.concatenate([a * v + b * u, a * u + b * v])

    def jacobian(self, time: float, state: Any) -> Any:
        """Return the derivative of the rate with respect to the state, shape (2d, 2d)."""
        u, v = state[: self.d], state[self.d :]
        sides = {"gd": self._gd, "n-sam": self._n_sam, "1-sam": self._one_sam}[self.kind]
        a, b, (a_u, b_u), (a_v, b_v) = sides(u, v)
        J = np.empty((2 * self.d, 2 * self.d))
        top, bottom = J[: self.d], J[self.d :]
        left, right = slice(0, self.d), slice(self.d, None)
        top[:, left] = -(v[:, None] * a_u + u[:, None] * b_u) - np.diag(b)
        top[:, right] = -(v[:, None] * a_v + u[:, None] * b_v) - np.diag(a)
        bottom[:, left] = -(u[:, None] * a_u + v[:, None] * b_u) - np.diag(a)
        bottom[:, right] = -(u[:, None] * a_v + v[:, None] * b_v) - np.diag(b)
        return J

    def _gd(self, u: Any, v: Any) -> Any:
        a = self.gram @ (u * v) - self.pulled
        return a, 0.0 * a, (self.gram * v, 0.0), (self.gram * u, 0.0)

    def _n_sam(self, u: Any, v: Any) -> Any:
        beta, size, rho = u * v, u * u + v * v, self.rho
        g = self.gram @ beta - self.pulled
        stretch = 1.0 + (rho * g) ** 2
        a = self.gram @ (beta * stretch + rho * g * size) - self.pulled
        through = 2.0 * rho**2 * g * beta + rho * size

        def side(own: Any, other: Any) -> tuple[Any, Any]:
            g_own = self.gram * other
            moved = through[:, None] * g_own + np.diag(stretch * other + 2.0 * rho * g * own)
            a_own = self.gram @ moved
            return a_own, rho * (a[:, None] * g_own + g[:, None] * a_own)

        return a, rho * g * a, side(u, v), side(v, u)

    def _one_sam(self, u: Any, v: Any) -> Any:
        X, n, rho = self.X, self.n, self.rho
        beta = u * v
        r = X @ beta - self.y
        e, q, c = rho * r, self.square @ (u * u + v * v), self.cube @ beta
        far = r + e * (q + e * c)
        inner = 1.0 + rho * (q + 2.0 * e * c)

        def side(own: Any, other: Any) -> tuple[Any, Any]:
            r_own = X * other
            far_own = inner[:, None] * r_own + e[:, None] * (
                self.square * (2.0 * own) + e[:, None] * (self.cube * other)
            )
            product = rho * far[:, None] * r_own + e[:, None] * far_own
            return X.T @ far_own / n, self.square.T @ product / n

        return X.T @ far / n, self.square.T @ (e * far) / n, side(u, v), side(v, u)


def solve(
    flow: Flow,
    alpha: float,
    time: float,
    method: str,
    rtol: float,
    atol: float,
    exact: bool,
) -> Any:
    """Return beta at the given time by ``scipy.integrate.solve_ivp``.

    ``exact`` hands over the Jacobian; implicit methods take differences otherwise.

    Raises
    ------
    RuntimeError
        If the solver reports a failure.
    """
    options: dict[str, Any] = {"jac": flow.jacobian} if exact else {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = solve_ivp(
            flow.rate,
            (0.0, time),
            flow.start(alpha),
            method,
            t_eval=[time],
            rtol=rtol,
            atol=atol,
            **options,
        )
    if not found.success:
        raise RuntimeError(found.message)
    return found.y[: flow.d, -1] * found.y[flow.d :, -1]
