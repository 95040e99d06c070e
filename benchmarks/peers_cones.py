"""The convex problem as a user would hand it to a conic solver, through cvxpy.

With h = alpha^2/2, min phi(beta) over {X beta = y} is, up to scale, any of

    KL        min sum kl(p, h/2) + kl(q, h/2)                  s.t. X (p - q) = y
    KL scaled the same in units of h/2: p = (h/2) P, q = (h/2) Q
    entropy   min sum p log p + q log q + (log(2/h) - 1) (p + q)   s.t. X (p - q) = y
    dual      min sum exp(theta + c) + exp(c - theta) - y mu,  theta = X^T mu, c = log(h/2)

with beta = p - q, or h sinh(theta): p, q = (h/2) exp(+-theta) at the solution. Each needs two
exponential cones a coordinate. None serves all scales: KL loses accuracy at small alpha.
"""

from __future__ import annotations

import importlib.util
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np

from .timing import Answer, PeerError

FORMS = ("dual", "entropy", "KL scaled", "KL")
_MODULES = {"Clarabel": "clarabel", "SCS": "scs"}


def installed(solver: str) -> bool:
    """Whether cvxpy and the solver are here; loads neither."""
    names = ("cvxpy", _MODULES[solver])
    return all(importlib.util.find_spec(name) is not None for name in names)


def problem(X: Any, y: Any, alpha: float, form: str) -> tuple[Any, Callable[[], Any]]:
    """Return the cvxpy problem of a form and a function that reads beta from its solution."""
    import cvxpy

    cp: Any = cvxpy  # its names are attached at run time
    n, d = X.shape
    h = alpha**2 / 2.0
    if form == "dual":
        mu = cp.Variable(n)
        theta, c = X.T @ mu, np.log(h / 2.0)
        cost = cp.sum(cp.exp(theta + c) + cp.exp(c - theta)) - y @ mu
        return cp.Problem(cp.Minimize(cost)), lambda: h * np.sinh(X.T @ mu.value)
    p, q = cp.Variable(d), cp.Variable(d)
    if form == "entropy":
        cost = -cp.sum(cp.entr(p) + cp.entr(q)) + (np.log(2.0 / h) - 1.0) * cp.sum(p + q)
        return cp.Problem(cp.Minimize(cost), [X @ (p - q) == y]), lambda: p.value - q.value
    unit = h / 2.0 if form == "KL scaled" else 1.0
    cost = cp.sum(cp.kl_div(p, h / 2.0 / unit) + cp.kl_div(q, h / 2.0 / unit))
    found = cp.Problem(cp.Minimize(cost), [X @ (p - q) == y / unit])
    return found, lambda: unit * (p.value - q.value)


def solve(
    X: Any, y: Any, alpha: float, solver: str, form: str, tol: float | None, limit: float
) -> Answer:
    """Solve by a conic solver, model building included.

    Parameters
    ----------
    X, y, alpha : array, array, float
        The problem.
    solver : {"Clarabel", "SCS"}
    form : str
        One of :data:`FORMS`.
    tol : float, optional
        Tolerance of gap and feasibility; the solver's own default if left out.
    limit : float
        Seconds after which the solver is told to stop.

    Raises
    ------
    PeerError
        If the solver fails or returns nothing.
    """
    import cvxpy as cp

    options: dict[str, Any] = {}
    if solver == "Clarabel":
        options["time_limit"] = limit
        if tol is not None:
            options |= dict.fromkeys(("tol_gap_abs", "tol_gap_rel", "tol_feas"), tol)
    else:
        options |= {"time_limit_secs": limit, "max_iters": 10**7}
        if tol is not None:
            options |= {"eps_abs": tol, "eps_rel": tol}
    task, beta = problem(X, y, alpha, form)
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        try:
            task.solve(solver=getattr(cp, solver.upper()), **options)
            value = beta()
        except (cp.SolverError, TypeError, ArithmeticError) as failure:
            raise PeerError(f"fails: {str(failure).splitlines()[0][:40]}") from None
    return Answer(value, str(task.status).replace("_", " "))
