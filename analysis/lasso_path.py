"""Follow the time average of gradient flow at small alpha: it traces the lasso path.

With t = (s/2) log(1/alpha^2), beta_bar(s) = (1/t) int_0^t beta approaches the lasso solution
argmin L + (1/s) ||beta||_1 as alpha -> 0 (Berthier 2026). Why: the mirror image (1/2) arcsinh(2
beta/alpha^2) is -t grad L(beta_bar), exactly, and it is at most (1/2) log(1/alpha^2) + O(1), with
equality where beta is not zero: the lasso's optimality conditions with 1/s for the weight, up to
O(1/log(1/alpha^2)).

The average is a trapezoidal sum corrected by the derivatives at both ends of each interval (known
from the flow); that exact relation is its independent check, ``quadrature``.

Tables: ``lasso_path`` (one row per alpha, s and coordinate), ``lasso_path_errors``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

import sam_theory as st
from analysis import data as data_sets
from analysis import grids
from analysis.lasso import lasso_at, lasso_path
from analysis.store import provenance, write_table
from sam_theory.diagonal.potential import mirror_map

if TYPE_CHECKING:
    from pathlib import Path

    import pandas as pd


@dataclass(frozen=True)
class Size:
    """Scales, points on the path, smallest weight relative to the largest, points per e-fold."""

    alphas: tuple[float, ...] = (1e-1, 1e-2, 1e-4, 1e-8, 1e-16, 1e-32)
    points: int = 24
    smallest: float = 0.02
    resolution: int = 150


QUICK = Size()
FULL = Size(alphas=(1e-1, 1e-2, 1e-3, 1e-4, 1e-8, 1e-16, 1e-32, 1e-64), points=60, resolution=400)


def run(
    quick: bool = True, *, folder: Path | None = None, size: Size | None = None
) -> pd.DataFrame:
    """Compare the averaged flow with the lasso, and write both tables.

    Parameters
    ----------
    quick : bool
        6 scales, 24 weights; otherwise 8 and 60.
    folder : pathlib.Path, optional
        Where the tables go, ``results/`` by default.
    size : Size, optional
        Instead of the two.

    Returns
    -------
    pandas.DataFrame
        Errors, one row per alpha: ``largest_error`` over s and coordinates relative to the largest
        lasso coefficient, ``objective_gap`` (largest, of the lasso's objective, relative to its
        value at 0), ``log_scale``, log(1/alpha^2), ``quadrature`` (relative to X^T y/n) and
        ``status``.
    """
    import pandas as pd

    chosen = size or (QUICK if quick else FULL)
    data = data_sets.published()
    common = {
        "data": data, "points": chosen.points, "smallest": chosen.smallest,
        "resolution": chosen.resolution,
    }  # fmt: skip
    table = grids.compute(
        cell, {"alpha": chosen.alphas}, folder=folder, common=common, depends=("analysis.lasso",)
    )
    found = pd.DataFrame(errors(table, data))
    settings = {
        "seed": 0, "data_set": "published 20 x 30", "alphas": list(chosen.alphas),
        "points": chosen.points, "smallest": chosen.smallest, "resolution": chosen.resolution,
    }  # fmt: skip
    made_by = provenance(quick, custom=size is not None)
    write_table("lasso_path", table, settings, made_by, folder=folder)
    write_table("lasso_path_errors", found, settings, made_by, folder=folder)
    return found


def cell(
    alpha: float, data: st.Regression, points: int, smallest: float, resolution: int
) -> list[dict[str, Any]]:
    """Return averages and lasso solutions of one scale: one row per weight and coordinate."""
    largest = float(np.abs(data.X.T @ data.y).max() / data.n)
    weights = np.geomspace(largest, smallest * largest, points)
    knots, solutions = lasso_path(data.X, data.y, 0.99 * smallest * largest)
    exact = lasso_at(knots, solutions, weights)
    t = 0.5 * np.log(alpha**-2.0) / weights
    fine = int(resolution * np.log(t[-1] / t[0])) + 2
    times = np.unique(
        np.concatenate([np.linspace(t[0] / 200, t[0], 200), np.geomspace(t[0], t[-1], fine), t])
    )
    path = st.flow(data, alpha=alpha, algorithm=st.gd(), times=times)
    average = running_average(data, path.beta, alpha, times)
    moment = data.X.T @ data.y / data.n
    rows = []
    for k, time in enumerate(t):
        i = int(np.searchsorted(times, time))
        gradient = data.X.T @ (data.X @ average[i]) / data.n - moment
        defect = gradient + mirror_map(path.beta[i], alpha) / time
        quadrature = float(np.abs(defect).max() / np.abs(moment).max())
        rows += [
            {
                "s": 1.0 / weights[k], "weight": weights[k], "coordinate": j,
                "average": average[i, j], "lasso": exact[k, j], "beta": path.beta[i, j],
                "quadrature": quadrature, "status": path.status,
            }
            for j in range(data.d)
        ]  # fmt: skip
    return rows


def running_average(
    data: st.Regression, beta: np.ndarray, alpha: float, times: np.ndarray
) -> np.ndarray:
    """Return (1/t) int_0^t beta along gradient flow, shape (T, d), by the corrected trapezoid.

    Parameters
    ----------
    data : Regression
        What is fitted.
    beta : ndarray, shape (T, d)
        The flow at `times`.
    alpha : float
        Its initial scale.
    times : ndarray, shape (T,)
        Increasing, the first positive.
    """
    start = np.zeros((1, data.d))
    all_beta, all_times = np.concatenate([start, beta]), np.concatenate([[0.0], times])
    g = (all_beta @ data.X.T - data.y) @ data.X / data.n
    rate = -np.hypot(2.0 * all_beta, alpha**2) * g
    h = np.diff(all_times)[:, None]
    pieces = 0.5 * h * (all_beta[1:] + all_beta[:-1]) + h**2 / 12.0 * (rate[:-1] - rate[1:])
    return np.cumsum(pieces, axis=0) / times[:, None]


def errors(table: pd.DataFrame, data: st.Regression) -> list[dict[str, Any]]:
    """Reduce the comparison to one row per alpha, see :func:`run`."""
    zero = data.loss(np.zeros(data.d))
    rows = []
    for alpha, part in table.groupby("alpha", sort=False):
        gaps = []
        for weight, point in part.groupby("weight", sort=False):
            values = [
                data.loss(point[name].to_numpy()) + weight * float(point[name].abs().sum())
                for name in ("average", "lasso")
            ]
            gaps.append((values[0] - values[1]) / zero)
        off = (part["average"] - part["lasso"]).abs().max() / part["lasso"].abs().max()
        rows.append(
            {
                "alpha": alpha, "log_scale": float(-2.0 * np.log(alpha)),
                "largest_error": float(off), "objective_gap": max(gaps),
                "quadrature": float(part["quadrature"].max()), "status": part["status"].iloc[0],
            }
        )  # fmt: skip
    return rows
