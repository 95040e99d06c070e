"""Shrink the initial scale at depth 2, 3, 4 and 8, and measure how fast the l1 norm falls.

Gradient flow on beta = w+^D - w-^D from w = alpha, at equal mu = alpha^D, the scale of beta at the
start. As mu -> 0 every depth selects the interpolator of smallest l1 norm, b1. If that is unique
and strictly complementary, the coordinates off its support decide how fast: with z = X^T nu the
mirror image (of depth D > 2), z -> sign b1 on the support and |z| < 1 off it, so beta_off = mu
h_D(z) is of first order in mu. At depth 2 the mirror image grows as log(1/mu) z and beta_off of
order mu^(1 - c), c = max |z_off|, for the z of smallest c (a linear program). So

    l1 excess  ~  mu  (depth > 2),     mu^(1 - c)  (depth 2).

Depth 2 is the library's potential; depth D > 2 uses :mod:`analysis.depth_potential`. Some limits
are also reached by integrating the flow in (w+, w-).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

import sam_theory as st
from analysis import data as data_sets
from analysis import grids
from analysis.depth_potential import follow_depth, minimize_depth
from analysis.store import provenance, write_table

if TYPE_CHECKING:
    from pathlib import Path

    import pandas as pd


@dataclass(frozen=True)
class Size:
    """What is computed.

    Attributes
    ----------
    depths : tuple of int
        D >= 2.
    scales : int
        Values of mu, logarithmically spaced from 1 to the smallest.
    smallest : float
        Smallest mu.
    simulated : tuple of float
        Values of mu at which the flow is integrated too, at depths 2, 3 and 4.
    """

    depths: tuple[int, ...] = (2, 3, 4, 8)
    scales: int = 13
    smallest: float = 1e-6
    simulated: tuple[float, ...] = (1e-1, 1e-2, 1e-3)


QUICK = Size()
FULL = Size(depths=(2, 3, 4, 6, 8, 16), scales=33, smallest=1e-8)


def run(
    quick: bool = True, *, folder: Path | None = None, size: Size | None = None
) -> pd.DataFrame:
    """Compute limits over depth and scale, and write ``depth`` and ``depth_orders``.

    Parameters
    ----------
    quick : bool
        4 depths and 13 scales on the published instance; otherwise 6 and 33.
    folder : pathlib.Path, optional
        Where the tables go, ``results/`` by default.
    size : Size, optional
        Instead of the two.

    Returns
    -------
    pandas.DataFrame
        One row per depth and mu: ``l1_norm``, ``l1_excess`` over the minimum, ``off_support``
        (l1 norm off the support of the minimum), ``test_loss``, ``residual``, and, of the
        integrated flow (nan where not integrated), ``l1_excess_simulation`` and ``simulation``,
        the largest distance of its end to beta.
    """
    import pandas as pd

    chosen = size or (QUICK if quick else FULL)
    data = data_sets.published()
    smallest, _ = minimum_l1(data.X, data.y)
    scales = np.geomspace(1.0, chosen.smallest, chosen.scales)
    extra = [mu for mu in chosen.simulated if not np.any(np.isclose(mu, scales))]
    grid = {"depth": chosen.depths, "mu": np.sort(np.concatenate([scales, extra]))[::-1]}
    table = grids.compute(
        cell,
        grid,
        folder=folder,
        common={"data": data, "smallest": smallest, "simulated": list(chosen.simulated)},
        depends=("analysis.depth_potential",),
    )
    settings = {
        "seed": 0, "data_set": "published 20 x 30", "depths": list(chosen.depths),
        "mu": scales.tolist(), "l1_minimum": float(np.abs(smallest).sum()),
    }  # fmt: skip
    made_by = provenance(quick, custom=size is not None)
    write_table("depth", table, settings, made_by, folder=folder)
    found = pd.DataFrame(orders(table, data, smallest))
    write_table("depth_orders", found, settings, made_by, folder=folder)
    return table


def cell(
    depth: int, mu: float, data: st.Regression, smallest: np.ndarray, simulated: list[float]
) -> dict[str, Any]:
    """Return the limit of one depth and scale."""
    beta = selected(data.X, data.y, mu, depth)
    end = np.full(data.d, np.nan)
    if depth <= 4 and any(np.isclose(mu, simulated)):
        end = follow_depth(data.X, data.y, mu, depth)
    least, l1 = float(np.abs(smallest).sum()), float(np.abs(beta).sum())
    return {
        "l1_norm": l1, "l1_excess": l1 - least,
        "l1_excess_simulation": float(np.abs(end).sum()) - least,
        "off_support": float(np.abs(beta[smallest == 0.0]).sum()),
        "test_loss": np.nan if data.test is None else data.test.loss(beta),
        "residual": float(np.abs(data.X @ beta - data.y).max()),
        "simulation": float(np.abs(end - beta).max()),
    }  # fmt: skip


def selected(X: np.ndarray, y: np.ndarray, mu: float, depth: int) -> np.ndarray:
    """Return the limit, (d,), of gradient flow at depth D >= 2 from w+^D = w-^D = mu."""
    if depth == 2:
        return st.minimize_potential(X, y, st.from_woodworth(float(np.sqrt(mu)))).beta
    return minimize_depth(X, y, mu, depth)


def minimum_l1(X: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, float]:
    """Return the interpolator of smallest l1 norm, and c: how tight its certificate is.

    Returns
    -------
    beta : ndarray, shape (d,)
        Exact zeros off its support.
    c : float
        min over nu of max |X^T nu| off the support subject to X^T nu = sign(beta) on it; below 1
        the minimiser is unique if its columns are independent.
    """
    from scipy.optimize import linprog

    n, d = X.shape
    halves = linprog(np.ones(2 * d), A_eq=np.hstack([X, -X]), b_eq=y, bounds=(0, None)).x
    beta = halves[:d] - halves[d:]
    beta[np.abs(beta) <= 1e-9 * np.abs(beta).max()] = 0.0
    support = beta != 0.0
    off = X[:, ~support].T
    bounded = np.block([[off, -np.ones((len(off), 1))], [-off, -np.ones((len(off), 1))]])
    found = linprog(
        np.append(np.zeros(n), 1.0),
        A_ub=bounded,
        b_ub=np.zeros(len(bounded)),
        A_eq=np.hstack([X[:, support].T, np.zeros((int(support.sum()), 1))]),
        b_eq=np.sign(beta[support]),
        bounds=(None, None),
    )
    return beta, float(found.x[-1])


def orders(table: pd.DataFrame, data: st.Regression, smallest: np.ndarray) -> list[dict[str, Any]]:
    """Fit the power of mu with which beta off the support vanishes, beside the predicted one.

    Returns
    -------
    list of dict
        One per depth: ``order``, the slope between the two smallest mu, and ``predicted``.
    """
    _, c = minimum_l1(data.X, data.y)
    rows = []
    for depth, part in table.groupby("depth", sort=True):
        two = part.nsmallest(2, "mu")
        order = float(np.diff(np.log(two["off_support"]))[0] / np.diff(np.log(two["mu"]))[0])
        predicted = 1.0 - c if depth == 2 else 1.0
        rows.append({"depth": depth, "order": order, "predicted": predicted})
    return rows
