"""Convergence theorems as pairs of numbers: what a bound says, and what a run does.

    from sam_theory import convergence as rates

    rates.verify("T2", "logistic", batch_size=4)         # a table: measured, predicted, verdict
    rates.verify("T3", rates.least_squares(X, y))        # on your own data
    mine = rates.claim(objective, gradient, start=w0, beta=2.0, mu=0.1, minimum=0.0)
    rates.refute(mine)                                   # are the claimed constants wrong?

Each name is loaded from its module on first use.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

_HOME = {
    "verify": "verification",
    "Theorem": "theorems",
    "Assumption": "theorems",
    "Setup": "theorems",
    "THEOREMS": "catalogue",
    "theorem": "catalogue",
    "Problem": "problems",
    "PROBLEMS": "catalogue",
    "problem": "catalogue",
    "Constant": "constants",
    "Constants": "constants",
    "least_squares": "regression",
    "logistic": "classification",
    "saturating": "classification",
    "wave": "nonconvex",
    "double_well": "nonconvex",
    "quadratic": "nonconvex",
    "slow_quadratic": "nonconvex",
    "factorization": "networks",
    "diagonal": "networks",
    "claim": "user",
    "refute": "refutation",
    "simulate": "runs",
    "Schedule": "runs",
    "Runs": "runs",
    "Rate": "empirical",
    "empirical_rate": "empirical",
    "plot": "plotting",
    "worst_case": "performance_estimation",
    "worst_case_table": "performance_estimation",
}

__all__ = list(_HOME)


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
