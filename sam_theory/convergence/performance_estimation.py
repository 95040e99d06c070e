r"""The worst case of unnormalised n-SAM over a class of functions, by performance estimation.

The method is y_t = x_t + rho grad f(x_t), x_{t+1} = x_t - gamma grad f(y_t), t = 0 .. T - 1. What
is measured, and the normalisation that goes with it:

- ``gradient``: min over t < T of ``|grad f(x_t)|^2``, given f(x_0) - f_* <= 1;
- ``value``: f(x_T) - f_*, given f(x_0) - f_* <= 1;
- ``distance``: f(x_T) - f_*, given ``|x_0 - x_*| <= 1``.

Everything is solved for beta = 1 and scaled: f -> f / beta, gamma -> beta gamma, rho -> beta rho.
Findings and their meaning: docs/worst_case.md.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from sam_theory._validate import checked_integer, checked_number
from sam_theory.convergence.performance_program import SOLVER, solve
from sam_theory.errors import InputError

if TYPE_CHECKING:
    import pandas as pd

_MEASURES = {
    "smooth": ("gradient",),
    "convex": ("gradient", "distance"),
    "strongly_convex": ("value", "gradient", "distance"),
    "pl": ("value", "gradient"),
}
_HORIZON = 8
_DIFFERS = 1e-5


@dataclass(frozen=True)
class WorstCase:
    """The worst case of SAM over a class of functions.

    Attributes
    ----------
    class_name, measure : str
        Of functions, and of what is bounded.
    beta, mu, gamma, rho : float
        Smoothness, strong convexity or PL constant (nan where it has none), step size, radius.
    T : int
        Number of steps.
    primal : float
        The value at the worst function found; in units of beta for "gradient" and "distance".
    dual : float
        The value that the multipliers found prove, in exact arithmetic and if they were exactly
        feasible; inf if the program is unbounded, nan if the solver failed.
    guarantee : float
        `dual` plus what the infeasibility can cost at most: valid for every function of the class
        (up to rounding). nan where gamma > 1 / beta or rho >= 1 / beta, where the correction is not
        known.
    smallest_eigenvalue : float
        Of the dual matrix, rebuilt from the multipliers (beta = 1): at least 0 in exact arithmetic.
    residual : float
        Largest coefficient of a function value that the multipliers leave over (beta = 1): 0 in
        exact arithmetic.
    smallest_multiplier : float
        Before negative ones were set to 0 (beta = 1).
    primal_residual : float
        Largest violation of a constraint by the worst function found (beta = 1).
    relaxation : bool
        Whether the class is described by necessary conditions only: `primal` may then belong to no
        function, `dual` and `guarantee` are valid but may not be tight.
    solver, status : str
        Of the semidefinite program.
    """

    class_name: str
    measure: str
    beta: float
    mu: float
    gamma: float
    rho: float
    T: int
    primal: float
    dual: float
    guarantee: float
    smallest_eigenvalue: float
    residual: float
    smallest_multiplier: float
    primal_residual: float
    relaxation: bool
    solver: str
    status: str


def worst_case(
    class_name: str,
    *,
    beta: float,
    gamma: float,
    rho: float,
    T: int,
    mu: float | None = None,
    measure: str | None = None,
) -> WorstCase:
    """Return the worst case of unnormalised n-SAM, GD at rho = 0, over a class of functions.

    Parameters
    ----------
    class_name : str
        "smooth" (bounded below), "convex", "strongly_convex", or "pl"; all beta-smooth.
    beta : float
        Smoothness constant, above 0 (1 / length^2 times the unit of f).
    gamma, rho : float
        Step size and radius, at least 0 (units of 1 / beta).
    T : int
        Number of steps, 1 to 8.
    mu : float, optional
        Strong convexity or PL constant, above 0 and at most beta; for the last two classes only.
    measure : str, optional
        "gradient", "value" or "distance" (see the module); the first that the class has in T3: the
        gradient for smooth and convex functions, the value for the others.

    Returns
    -------
    WorstCase
        With the dual value as the guarantee, and its feasibility.

    Raises
    ------
    InputError
        An unknown class or measure, or a constant out of range.
    MissingExtra
        PEPit is not installed.

    Notes
    -----
    PEPit keeps its state in class attributes: one problem at a time per process.
    """
    chosen, share = _checked(class_name, measure, beta, gamma, rho, T, mu)
    found = solve(class_name, chosen, share, gamma * beta, rho * beta, T)
    scale = 1.0 if chosen == "value" else beta
    for name in ("primal", "dual", "guarantee"):
        found[name] *= scale
    return WorstCase(
        class_name=class_name,
        measure=chosen,
        beta=float(beta),
        mu=math.nan if mu is None else float(mu),
        gamma=float(gamma),
        rho=float(rho),
        T=T,
        relaxation=class_name == "pl",
        solver=SOLVER,
        **found,
    )


def t3_bound(
    measure: str, *, beta: float, gamma: float, rho: float, T: int, mu: float | None = None
) -> float:
    """Return T3's bound on a measure; nan where T3 says nothing.

    gamma <= 1/beta and rho < 1/beta: 2 / (gamma (1 - beta^2 rho^2) T) on the smallest squared
    gradient, (1 - gamma mu (1 - beta^2 rho^2))^T on the value (T3 of docs/convergence.md).
    """
    if gamma <= 0 or gamma * beta > 1 + 1e-12 or rho * beta >= 1:
        return math.nan
    kept = gamma * (1 - (beta * rho) ** 2)
    if measure == "gradient":
        return 2 / (kept * T)
    if measure == "value" and mu is not None:
        return (1 - mu * kept) ** T
    return math.nan


def worst_case_table(
    class_name: str,
    *,
    beta: float = 1.0,
    gammas: Iterable[float],
    rhos: Iterable[float],
    horizons: Iterable[int] = range(1, _HORIZON + 1),
    mu: float | None = None,
    measure: str | None = None,
) -> pd.DataFrame:
    """Return worst cases over a grid, T3's bound beside them, and GD's worst case.

    Parameters
    ----------
    class_name : str
        As in :func:`worst_case`.
    beta : float
        As in :func:`worst_case`.
    gammas, rhos : iterable of float
        Step sizes and radii.
    horizons : iterable of int
        Numbers of steps.
    mu, measure : optional
        As in :func:`worst_case`.

    Returns
    -------
    pandas.DataFrame
        One row per (gamma, rho, T): the fields of `WorstCase`, then `bound` (T3), `looseness`
        (bound / dual), `gd` (the dual value at rho = 0), `ratio` (dual / gd) and `against_gd`:
        "better", "worse" or "equal" (to 1e-5), for a relaxation "bound better" and so on, because
        there upper bounds of the two worst cases are compared.

    Raises
    ------
    InputError, MissingExtra
        As in :func:`worst_case`.
    """
    import pandas as pd

    radii, rows = list(rhos), []
    for gamma in gammas:
        for T in horizons:
            common: dict[str, Any] = {"beta": beta, "gamma": gamma, "T": T, "mu": mu}
            plain = worst_case(class_name, rho=0.0, measure=measure, **common)
            for rho in radii:
                one = plain
                if rho != 0:
                    one = worst_case(class_name, rho=rho, measure=measure, **common)
                bound = t3_bound(one.measure, rho=rho, **common)
                ratio = one.dual / plain.dual
                rows.append(
                    asdict(one)
                    | {
                        "bound": bound,
                        "looseness": bound / one.dual,
                        "gd": plain.dual,
                        "ratio": ratio,
                        "against_gd": _compared(ratio, one.relaxation),
                    }
                )
    return pd.DataFrame(rows)


def refutations(table: pd.DataFrame, *, tolerance: float = 1e-6) -> list[str]:
    """Return the rows of a table whose worst case exceeds the bound, or was not found.

    Parameters
    ----------
    table : pandas.DataFrame
        From :func:`worst_case_table`; rows without a bound say nothing.
    tolerance : float
        Relative, for the accuracy of the solver (dimensionless).

    Returns
    -------
    list of str
        One line each; empty if no row refutes the bound.
    """
    found = []
    for row in table[table["bound"].notna()].itertuples():
        where = f"{row.class_name}, {row.measure}: gamma = {row.gamma:g}, rho = {row.rho:g}, T = "
        if not math.isfinite(row.dual):
            found.append(f"{where}{row.T}: no worst case was found ({row.status})")
        elif row.dual > row.bound * (1 + tolerance):
            found.append(
                f"{where}{row.T}: worst case {row.dual:.8g} above the bound {row.bound:.8g}"
            )
    return found


def _compared(ratio: float, relaxation: bool) -> str:
    if not math.isfinite(ratio):
        return "unknown"
    word = "equal" if abs(ratio - 1) <= _DIFFERS else "better" if ratio < 1 else "worse"
    return f"bound {word}" if relaxation else word


def _checked(
    class_name: str,
    measure: str | None,
    beta: float,
    gamma: float,
    rho: float,
    T: int,
    mu: float | None,
) -> tuple[str, float]:
    """Return the measure and mu / beta (nan where the class has none)."""
    if class_name not in _MEASURES:
        known = ", ".join(_MEASURES)
        raise InputError(f"unknown class of functions {class_name!r}; known are {known}")
    measures = _MEASURES[class_name]
    chosen = measures[0] if measure is None else measure
    if chosen not in measures:
        raise InputError(
            f"unknown measure {measure!r} for {class_name}; known are {', '.join(measures)}"
        )
    checked_integer("T", T, 1, _HORIZON)
    for name, value in (("gamma", gamma), ("rho", rho)):
        if checked_number(name, value) < 0:
            raise InputError(f"{name} must be at least 0, not {value}")
    if checked_number("beta", beta) <= 0:
        raise InputError(f"beta must be above 0, not {beta}")
    needed = class_name in ("strongly_convex", "pl")
    if needed != (mu is not None):
        raise InputError(f"the class {class_name} {'needs a' if needed else 'has no'} constant mu")
    if mu is None:
        return chosen, math.nan
    if not 0 < checked_number("mu", mu) <= beta:
        raise InputError(f"mu must be above 0 and at most beta = {beta}, not {mu}")
    return chosen, mu / beta
