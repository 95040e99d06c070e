r"""Predict log(alpha_effective/alpha) to leading order from one dictionary, and measure it.

A run with radius rho, blocks of m, step size gamma and minibatches of b examples shrinks the scale
by

    log(alpha/alpha_effective) = rho Delta_m + (gamma/2) Delta_b + higher order,

Delta_k = int E_B[g_B^2] dt over blocks B of k examples, along gradient flow (THEORY sections 3, 5):
GD with step gamma acts like n-SAM and SGD like 1-SAM, both with rho = gamma/2, and SGD with
minibatches of b like b-SAM. Every quantity is dimensionless but Delta (units of beta) and rho.

Series vary one parameter x at a time; the largest error over the coordinates must fall as x^2.
Tables: ``leading_order`` (one row per series and x), ``leading_order_coordinates`` (predicted and
measured per coordinate), ``leading_order_orders`` (measured powers of x).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

import sam_theory as st
from analysis import grids
from analysis.sensitivity import exponents, random_block_exponents
from analysis.store import provenance, write_table

if TYPE_CHECKING:
    from pathlib import Path

    import pandas as pd

ALPHA = 0.1
HORIZON = 4000.0
"""Time (step size x steps) after which a run is stopped at the latest."""
TOL = 1e-14


@dataclass(frozen=True)
class Size:
    """What is computed.

    Attributes
    ----------
    x : tuple of float
        Step sizes and radii.
    batches : tuple of int
        Minibatch sizes of SGD, at the second smallest step size.
    alphas : tuple of float
        Initial scales, at the second smallest x.
    seeds : int
        Runs of SGD; seeds 0, 1, ...
    n, d, nonzeros : int
        Of the instance, seed 0; the published one by default.
    """

    x: tuple[float, ...] = (0.0125, 0.025, 0.05, 0.1)
    batches: tuple[int, ...] = (1, 2, 5, 10, 20)
    alphas: tuple[float, ...] = (0.03, 0.1, 0.3, 1.0)
    seeds: int = 32
    n: int = 20
    d: int = 30
    nonzeros: int = 3


QUICK = Size()
FULL = Size(x=(0.00625, 0.0125, 0.025, 0.05, 0.1), seeds=400)


def run(
    quick: bool = True, *, folder: Path | None = None, size: Size | None = None
) -> pd.DataFrame:
    """Predict, measure, fit the orders, and write the tables.

    Parameters
    ----------
    quick : bool
        4 values of x and 32 runs of SGD; otherwise 5 and 400.
    folder : pathlib.Path, optional
        Where the tables go, ``results/`` by default.
    size : Size, optional
        Instead of the two.

    Returns
    -------
    pandas.DataFrame
        One row per series and x: settings; ``predicted_mean``, ``measured_mean`` over the
        coordinates, positive for shrinkage; ``error``, the largest over the coordinates, and
        ``relative_error``, divided by the largest predicted one; ``standard_error`` of the mean
        over the runs of SGD, for the coordinate where it is largest.
    """
    chosen = size or (QUICK if quick else FULL)
    common = {"seeds": chosen.seeds, "n": chosen.n, "d": chosen.d, "nonzeros": chosen.nonzeros}
    coordinates = grids.compute(
        cell, series(chosen), folder=folder, common=common, depends=("analysis.sensitivity",)
    )
    table = _reduced(coordinates)
    settings = common | {
        "seed": 0, "alpha": ALPHA, "x": list(chosen.x), "batches": list(chosen.batches),
        "alphas": list(chosen.alphas), "tol": TOL,
        "dictionary": "log(alpha/alpha_effective) = rho Delta_m + (step size/2) Delta_b",
    }  # fmt: skip
    made_by = provenance(quick, custom=size is not None)
    write_table("leading_order", table, settings, made_by, folder=folder)
    write_table("leading_order_coordinates", coordinates, settings, made_by, folder=folder)
    write_table("leading_order_orders", orders(table), settings, made_by, folder=folder)
    return table


def series(size: Size) -> list[dict[str, Any]]:
    """Return the settings of all runs; step size 0 stands for the flow."""
    n, middle = size.n, size.x[1]
    rows: list[dict[str, Any]] = []

    def add(name: str, kind: str, x: float, **given: Any) -> None:
        base = {"rho": 0.0, "m": n, "step_size": 0.0, "batch_size": n, "alpha": ALPHA}
        rows.append({"series": name, "kind": kind, "x": float(x)} | base | given)

    for x in size.x:
        add("GD, step size", "gd", x, step_size=x)
        add("SGD, step size", "sgd", x, step_size=x, batch_size=1)
        add("n-SAM, radius", "n-sam", x, rho=x)
        add("1-SAM, radius", "1-sam", x, rho=x, m=1)
        add("1-SAM, radius = step size", "1-sam", x, rho=x, m=1, step_size=x)
    for b in size.batches:
        add("SGD, batch size", "sgd", b, step_size=middle, batch_size=b)
    for alpha in size.alphas:
        add("GD, alpha", "gd", alpha, step_size=middle, alpha=alpha)
        add("1-SAM, alpha", "1-sam", alpha, rho=middle, m=1, alpha=alpha)
    return rows


def cell(
    series: str, kind: str, x: float, rho: float, m: int, step_size: float, batch_size: int,
    alpha: float, seeds: int, n: int, d: int, nonzeros: int,
) -> list[dict[str, Any]]:  # fmt: skip
    """Predict and measure one run.

    Returns
    -------
    list of dict
        One per coordinate: ``predicted``, ``measured`` (mean over the runs) and
        ``standard_error`` (0 for a deterministic run).
    """
    data = st.sparse_regression(n=n, d=d, nonzeros=nonzeros)
    delta_n, delta_one = (exponents(data, alpha, k) for k in (n, 1))
    of_m = exponents(data, alpha, m)
    of_batch = random_block_exponents(delta_n, delta_one, n, batch_size)
    predicted = rho * of_m + 0.5 * step_size * of_batch
    measured = _measured(data, alpha, rho, m, step_size, batch_size, seeds)
    mean = measured.mean(axis=0)
    error = np.zeros(d)
    if len(measured) > 1:
        error = measured.std(axis=0, ddof=1) / np.sqrt(len(measured))
    return [
        {
            "coordinate": j, "predicted": predicted[j], "measured": mean[j],
            "standard_error": error[j],
        }
        for j in range(d)
    ]  # fmt: skip


def _measured(
    data: st.Regression, alpha: float, rho: float, m: int, step_size: float, batch: int, seeds: int
) -> np.ndarray:
    """Return log(alpha/alpha_effective) of the flow or of the runs, shape (runs, d)."""
    full = batch == data.n
    algorithm = st.Algorithm(
        rho=rho, m=m if rho > 0.0 else None, batch_size=None if full else batch
    )
    if step_size == 0.0:
        limit = st.implicit_bias(data, alpha=alpha, algorithm=algorithm)
        return np.log(alpha / limit.alpha_effective)[None]
    steps = int(HORIZON / step_size)
    runs = st.descend_batch(
        data,
        st.settings_grid(
            algorithm=algorithm, alpha=alpha, step_size=step_size, seed=range(1 if full else seeds)
        ),
        steps=steps,
        tol=TOL,
        record=None if full else max(steps // 50, 1),
    )
    return np.log(alpha) - np.array([end.log_alpha_effective for end in runs])


def _reduced(coordinates: pd.DataFrame) -> pd.DataFrame:
    """Return one row per run: means and the largest error."""
    import pandas as pd

    names = [
        "series", "kind", "x", "rho", "m", "step_size", "batch_size", "alpha"
    ]  # fmt: skip
    rows = []
    for key, part in coordinates.groupby(names, sort=False):
        error = float((part["measured"] - part["predicted"]).abs().max())
        rows.append(
            dict(zip(names, key, strict=True))
            | {
                "predicted_mean": part["predicted"].mean(),
                "measured_mean": part["measured"].mean(),
                "error": error,
                "relative_error": error / float(part["predicted"].max()),
                "standard_error": part["standard_error"].max(),
            }
        )
    return pd.DataFrame(rows)


def orders(table: pd.DataFrame) -> pd.DataFrame:
    """Fit the power of x with which the error falls, for the series in step size and radius.

    Parameters
    ----------
    table : pandas.DataFrame
        As returned by :func:`run`.

    Returns
    -------
    pandas.DataFrame
        One row per series: ``order``, the slope in logarithms over the two smallest x;
        ``standard_error`` of it, from those of the errors (runs of SGD); ``expected``, 2;
        ``resolved``, whether twice the standard error is at most 0.1, without which the order says
        little.
    """
    import pandas as pd

    rows = []
    for name, part in table.groupby("series", sort=False):
        if not str(name).endswith(("step size", "radius")):
            continue
        two = part.nsmallest(2, "x").sort_values("x")
        span = float(np.diff(np.log(two["x"]))[0])
        order = float(np.diff(np.log(two["error"]))[0]) / span
        relative = (two["standard_error"] / two["error"]).fillna(0.0)
        standard_error = float(np.linalg.norm(relative)) / span
        rows.append(
            {
                "series": name, "order": order, "standard_error": standard_error,
                "expected": 2.0, "resolved": 2.0 * standard_error <= 0.1,
            }
        )  # fmt: skip
    return pd.DataFrame(rows)
