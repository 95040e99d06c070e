r"""The semidefinite program behind `worst_case`, for beta = 1, and its proof rebuilt.

The program is in the Gram matrix G of the points and gradients that the method sees, and their
function values F (Drori and Teboulle 2014; Taylor, Hendrickx and Glineur 2017). It is stated with
PEPit and solved by Clarabel. It is exact for smooth, convex and strongly convex functions in any
dimension, because their interpolation conditions are; for PL it gives an upper bound, because only
necessary conditions are known.
"""

from __future__ import annotations

import contextlib
import io
import math
import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np

from sam_theory.errors import MissingExtra

SOLVER = "CLARABEL"
# Shares of the largest alpha in the combined condition for PL functions.
_ALPHAS = (0.25, 0.5, 0.75, 1.0)


def solve(
    class_name: str, measure: str, mu: float, gamma: float, rho: float, T: int
) -> dict[str, Any]:
    """Return value, proof and feasibility, as the fields of `WorstCase` name them.

    Parameters
    ----------
    class_name, measure, T
        As in `worst_case`.
    mu, gamma, rho : float
        In units of beta, 1 / beta and 1 / beta; mu is nan where the class has none.

    Raises
    ------
    MissingExtra
        PEPit is not installed.
    """
    # PEPit prints about some classes whatever its verbosity.
    with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            import PEPit
            from cvxpy.error import SolverError
        except ImportError:
            raise MissingExtra("PEPit", "pep") from None
        problem = PEPit.PEP()
        _state(problem, class_name, measure, mu, gamma, rho, T)
        try:
            problem.solve(wrapper="cvxpy", solver=SOLVER, verbose=0)
        except SolverError:
            return _without_value("failed", math.nan)
        status = problem.wrapper.prob.status
        if "unbounded" in status:
            return _without_value(status, math.inf)
        if problem.G_value is None:
            return _without_value(status, math.nan)
        found = _proof(problem)
        found["primal"] = float(problem.objective.eval())
        violations = [one.eval() for one in problem._list_of_constraints_sent_to_wrapper]
        found["primal_residual"] = float(max(0.0, *violations))
    found["status"] = status
    found["guarantee"] = found["dual"] + _correction(found, measure, mu, gamma, rho, T)
    del found["left_over"]
    return found


def _without_value(status: str, value: float) -> dict[str, Any]:
    numbers = ("smallest_eigenvalue", "residual", "smallest_multiplier", "primal_residual")
    values = {"primal": value, "dual": value, "guarantee": value, "status": status}
    return values | dict.fromkeys(numbers, math.nan)


def _state(
    problem: Any, class_name: str, measure: str, mu: float, gamma: float, rho: float, T: int
) -> None:
    """Fill a PEPit problem: class, normalisation, method, measure."""
    from PEPit import functions

    declared = {
        "convex": (functions.SmoothConvexFunction, {}),
        "strongly_convex": (functions.SmoothStronglyConvexFunction, {"mu": mu}),
    }.get(class_name, (functions.SmoothFunction, {}))
    f = problem.declare_function(declared[0], L=1.0, **declared[1])
    x = problem.set_initial_point()
    # Where f_* = inf f need not be attained, it is 0, and f >= |grad f|^2 / 2 says that f >= 0:
    # exact with the other conditions (Drori and Shamir 2020, Theorem 7; for convex functions by
    # conjugation). Strong convexity, or a distance to x_*, needs the minimiser as a point.
    attained = class_name == "strongly_convex" or measure == "distance"
    least: Any = 0.0
    if attained:
        minimiser = f.stationary_point()
        least = f(minimiser)
    if measure == "distance":
        problem.set_initial_condition((x - minimiser) ** 2 <= 1)
    else:
        problem.set_initial_condition(f(x) - least <= 1)
    for _ in range(T):
        slope = f.gradient(x)
        if measure == "gradient":
            problem.set_performance_metric(slope**2)
        x = x - gamma * (slope if rho == 0 else f.gradient(x + rho * slope))
    if measure != "gradient":
        problem.set_performance_metric(f(x) - least)
    if not attained:
        for _, slope, value in f.list_of_points:
            problem.add_constraint(value >= slope**2 / 2)
    if class_name == "pl":
        _add_pl(problem, f.list_of_points, mu)


def _add_pl(problem: Any, points: Sequence[Any], mu: float) -> None:
    """Add f - f_* <= |grad f|^2 / (2 mu), and what it implies together with smoothness for pairs.

    The conditions for pairs are those of Rubbens, Hendrickx and Taylor (2025, Proposition 3.2), as
    PEPit states them, for several of their parameter alpha.
    """
    for _, slope, value in points:
        problem.add_constraint(value <= slope**2 / (2 * mu))
    for share in _ALPHAS:
        for i, first in enumerate(points):
            for j, second in enumerate(points):
                if i != j:
                    problem.add_constraint(pl_slack(first, second, mu, share) >= 0)


def pl_slack(first: Any, second: Any, mu: float, share: float) -> Any:
    """Return what must be at least 0 for two points (x, grad f, f) of a 1-smooth mu-PL function.

    `share` says which of the conditions: alpha = share x 2 mu / (2 + mu), share from 0 to 1, and
    0 is smoothness alone; f_* = 0.
    """
    (x, g, f), (z, h, e) = first, second
    alpha = share * 2 * mu / (2 + mu)
    weight = alpha / (1 - alpha) / (2 * mu - (1 + mu) * alpha)
    smooth = (g + h) * (x - z) / 2 + (g - h) ** 2 / 4 - (x - z) ** 2 / 4
    above = (1 - alpha) ** 2 * (1 + mu) * (f - g**2 / 2)
    below = (1 - mu) * (e + h**2 / 2)
    return f - e - smooth - weight * (above - below)


def _proof(problem: Any) -> dict[str, Any]:
    """Rebuild the dual value and its feasibility from the multipliers, negative ones set to 0.

    For all G and F, objective = dual - <S, G> + <r, F> + sum multipliers x constraints (each <= 0).
    """
    from PEPit.tools.expressions_to_matrices import expression_to_matrices

    gram, values, constant = expression_to_matrices(problem.objective)
    smallest = math.inf
    for one in problem._list_of_constraints_sent_to_wrapper:
        multiplier = float(one.eval_dual())
        smallest = min(smallest, multiplier)
        if one.equality_or_inequality == "inequality":
            multiplier = max(multiplier, 0.0)
        parts = expression_to_matrices(one.expression)
        gram = gram - multiplier * parts[0]
        values = values - multiplier * parts[1]
        constant = constant - multiplier * parts[2]
    return {
        "dual": float(constant),
        "smallest_eigenvalue": float(np.linalg.eigvalsh(-gram)[0]),
        "residual": float(np.max(np.abs(values))),
        "left_over": float(np.sum(np.abs(values))),
        "smallest_multiplier": smallest,
    }


def _correction(
    found: dict[str, Any], measure: str, mu: float, gamma: float, rho: float, T: int
) -> float:
    """Return what S and r can add to the objective at most, for gamma <= 1 and rho < 1.

    There T3 gives f(x_t) <= f(x_0), at most 1, and smoothness |grad f(x_t)|^2 <= 2,
    f(y_t) <= (1 + rho)^2 and |grad f(y_t)|^2 <= 2 (1 + rho)^2; with x_* as the origin |x_0|^2 is at
    most 1 or 2 / mu. That bounds the trace of G and every entry of F and the objective.
    """
    if gamma > 1 + 1e-12 or rho >= 1:
        return math.nan
    peak = (1 + rho) ** 2
    distance = 1.0 if measure == "distance" or math.isnan(mu) else 2 / mu
    trace = distance + 2 * (T + 1) + 2 * T * peak
    return max(0.0, -found["smallest_eigenvalue"]) * trace + found["left_over"] * max(2.0, peak)
