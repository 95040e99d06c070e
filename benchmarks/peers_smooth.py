"""The convex problem by the smooth optimisers of scipy."""

from __future__ import annotations

import time
import warnings
from typing import Any

import numpy as np
from scipy.optimize import LinearConstraint, minimize
from scipy.sparse import diags_array

from .timing import Answer


def lbfgs(X: Any, y: Any, alpha: float) -> Answer:
    """Minimise the dual, (alpha^2/2) sum cosh(X^T mu) - y mu, by L-BFGS-B to its last digit."""
    scale = alpha**2 / 2.0

    def dual(mu: Any) -> tuple[float, Any]:
        theta = X.T @ mu
        return scale * np.sum(np.cosh(theta)) - mu @ y, X @ (scale * np.sinh(theta)) - y

    options = {"maxiter": 20_000, "maxfun": 40_000, "ftol": 0.0, "gtol": 1e-14}
    with np.errstate(over="ignore", invalid="ignore"):
        found = minimize(dual, np.zeros(len(y)), jac=True, method="L-BFGS-B", options=options)
    return Answer(scale * np.sinh(X.T @ found.x), f"{found.nit} iterations")


def trust_constr(X: Any, y: Any, alpha: float, limit: float) -> Answer:
    """Minimise phi over {X beta = y} by trust-constr with gradient and Hessian."""
    scale = alpha**2 / 2.0
    end = time.perf_counter() + limit

    def potential(beta: Any) -> tuple[float, Any]:
        root, angle = np.hypot(beta, scale), np.arcsinh(beta / scale)
        return float(np.sum(beta * angle - root)), angle

    def stop(_: Any, state: Any) -> bool:
        return time.perf_counter() > end

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = minimize(
            potential,
            np.linalg.lstsq(X, y, rcond=None)[0],
            jac=True,
            hess=lambda beta: diags_array(1.0 / np.hypot(beta, scale)),
            constraints=LinearConstraint(X, y, y),
            method="trust-constr",
            callback=stop,
            options={"maxiter": 20_000, "gtol": 1e-14, "xtol": 1e-14},
        )
    stopped = time.perf_counter() > end
    return Answer(found.x, f"stopped at {limit:g} s" if stopped else f"{found.nit} iterations")
