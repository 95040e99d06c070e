"""Ratios of medians from one interleaved run, each with the accuracy that it bought.

Absolute times depend on the machine; the ratio to a named peer in the same run is what counts.
"""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from scipy.integrate import solve_ivp
from scipy.optimize import minimize

import sam_theory as st
from sam_theory.diagonal.reference import descend_reference


@dataclass(frozen=True)
class Row:
    """One comparison: two callables returning beta, and the reference beta."""

    work: str
    peer: str
    ours: Callable[[], Any]
    theirs: Callable[[], Any]
    exact: Any
    repeats: int = 7


def numpy_descent(data: st.Regression, algorithm: st.Algorithm, steps: int) -> Any:
    """Return beta after steps of the obvious NumPy loop at step size 0.1."""
    u, v = descend_reference(data, alpha=0.1, phases=[(algorithm, 0.1, steps)])
    return u * v


def flow_by_lsoda(data: st.Regression, alpha: float) -> Any:
    """Gradient flow in (u, v) by LSODA with its Jacobian, to a loss of rounding size."""
    X, y, n, d = data.X, data.y, data.n, data.d

    def rate(_: float, w: Any) -> Any:
        g = X.T @ (X @ (w[:d] * w[d:]) - y) / n
        return -np.concatenate([g * w[d:], g * w[:d]])

    def jacobian(_: float, w: Any) -> Any:
        u, v = w[:d], w[d:]
        g, gram = X.T @ (X @ (u * v) - y) / n, X.T @ X / n
        off = np.diag(g)
        return -np.block(
            [
                [gram * np.outer(v, v), gram * np.outer(v, u) + off],
                [gram * np.outer(u, v) + off, gram * np.outer(u, u)],
            ]
        )

    start = np.concatenate([np.full(d, alpha), np.zeros(d)])
    found = solve_ivp(
        rate, (0.0, 1e4), start, "LSODA", rtol=1e-12, atol=1e-14, jac=jacobian, t_eval=[1e4]
    )
    return found.y[:d, -1] * found.y[d:, -1]


def potential_by_lbfgs(X: Any, y: Any, alpha: float) -> Any:
    """Minimise the dual of the potential problem by scipy's L-BFGS."""
    scale = alpha**2 / 2.0

    def dual(mu: Any) -> tuple[float, Any]:
        theta = X.T @ mu
        return scale * np.sum(np.cosh(theta)) - mu @ y, X @ (scale * np.sinh(theta)) - y

    options = {"maxiter": 20_000, "maxfun": 40_000, "ftol": 0.0, "gtol": 1e-14}
    with np.errstate(over="ignore", invalid="ignore"):
        mu = minimize(dual, np.zeros(len(y)), jac=True, method="L-BFGS-B", options=options).x
    return scale * np.sinh(X.T @ mu)


def rows() -> list[Row]:
    """Return the comparisons."""
    data = st.sparse_regression()
    limit = st.implicit_bias(data, alpha=0.1, algorithm=st.gd()).beta
    table = [
        Row(
            "implicit_bias(gd), 20 x 30",
            "scipy LSODA with Jacobian",
            lambda: st.implicit_bias(data, alpha=0.1, algorithm=st.gd()).beta,
            lambda: flow_by_lsoda(data, 0.1),
            limit,
        )
    ]
    for algorithm in (st.gd(), st.n_sam(0.05), st.one_sam(0.05)):
        steps = 2000
        exact = numpy_descent(data, algorithm, steps)
        table.append(
            Row(
                f"{algorithm.label}, 20 x 30, {steps} steps",
                "NumPy loop",
                lambda a=algorithm, s=steps: (
                    st.descend(data, alpha=0.1, algorithm=a, step_size=0.1, steps=s).beta
                ),
                lambda a=algorithm, s=steps: numpy_descent(data, a, s),
                exact,
            )
        )
    rng = np.random.default_rng(0)
    X = rng.standard_normal((200, 5000))
    y = X[:, :20] @ rng.standard_normal(20)
    for alpha in (1e-1, 1e-3):
        exact = st.minimize_potential(X, y, alpha).beta
        table.append(
            Row(
                f"minimize_potential, 200 x 5000, alpha = {alpha:g}, with certificate",
                "scipy L-BFGS on the dual",
                lambda a=alpha: st.minimize_potential(X, y, a).beta,
                lambda a=alpha: potential_by_lbfgs(X, y, a),
                exact,
                3,
            )
        )
    return table


def measure(row: Row) -> str:
    """Return the table line of one comparison."""
    seconds: tuple[list[float], list[float]] = ([], [])
    errors = [0.0, 0.0]
    for repeat in range(row.repeats + 1):
        for side, call in enumerate((row.ours, row.theirs)):
            start = time.perf_counter()
            beta = call()
            if repeat > 0:
                seconds[side].append(time.perf_counter() - start)
            errors[side] = float(np.max(np.abs(beta - row.exact)))
    ours, theirs = statistics.median(seconds[0]), statistics.median(seconds[1])
    return (
        f"| {row.work} | {row.peer} | {ours:.2e} s | {theirs:.2e} s | {theirs / ours:.1f} | "
        f"{errors[0]:.0e} | {errors[1]:.0e} |"
    )


def main() -> int:
    """Write results/benchmarks.md and print it."""
    lines = [
        "| work | peer | ours | peer's | ratio | our difference | peer's difference |",
        "|---|---|---|---|---|---|---|",
    ]
    for row in rows():
        lines.append(measure(row))
        print(lines[-1], file=sys.stderr)
    note = (
        "\nMedians of one interleaved run; differences are max |beta - reference|, the reference "
        "being this project's certified limit (flows, convex problem) or the peer (finite steps).\n"
    )
    text = "\n".join(lines) + "\n" + note
    out = Path("results") / "benchmarks.md"
    out.parent.mkdir(exist_ok=True)
    out.write_text(text)
    print(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
