"""Measure the effect of m, the number of examples that share a perturbation, at three equalities.

``level`` is the radius rho of 1-SAM. Every other m is compared with it

- at equal **rho**: rho_m = level;
- at equal **radius**: the root mean square over blocks of the perturbation's length, rho_m ||grad
  L_B||, is the same at the initial point. There u = alpha, v = 0 and grad L_B = (0, alpha g_B), so
  rho_m = level rms_i ||g_i|| / rms_B ||g_B||, g_B = X_B^T y_B / m;
- at equal **shrinkage**: the mean over coordinates of log(alpha/alpha_effective) is the same; rho_m
  is solved for. What differs then is the shape of alpha_effective alone.

The published code's 1-SAM at its rho perturbs by 2 rho here, its n-SAM by rho
(:func:`sam_theory.from_reference`): "equal rho" there compares 2 rho with rho.

Tables: ``effect_of_m`` (one row per instance, equality, level and m), ``effect_of_m_summary``
(geometric means over instances, also of the ratios to GD, with intervals),
``effect_of_m_conversion`` (published losses, reproduced, and what they are at equal rho).
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

import sam_theory as st
from analysis import data as data_sets
from analysis import grids
from analysis.sensitivity import exponents, random_block_exponents
from analysis.statistics import summarize
from analysis.store import provenance, write_table

if TYPE_CHECKING:
    from pathlib import Path

    import pandas as pd

    from sam_theory.algorithms import Algorithm
    from sam_theory.diagonal.limit import ImplicitBias

EQUALITIES = ("rho", "radius", "shrinkage")
ALPHA = 0.1
MOST_SECANTS = 20
STEP_SIZE = 1 / 30
PUBLISHED = (
    # method, published rho, published test loss; step size 10/d, alpha = 0.1, 10,001 steps.
    ("1-sam", 0.03, 9.12793e-3),
    ("1-sam", 0.1, 1.52352e-3),
    ("1-sam", 0.15, 2.52604e-4),
    ("1-sam", 0.2, 1.56222e-5),
    ("n-sam", 0.03, 0.0160199),
    ("n-sam", 0.1, 0.0166955),
    ("n-sam", 0.3, 0.0190071),
)


@dataclass(frozen=True)
class Size:
    """What is computed.

    Attributes
    ----------
    seeds : tuple of int
        Of the instances; seed 0 is the published one and is also trained with finite steps.
    levels : tuple of float
        Radii of 1-SAM.
    ms : tuple of int
        Block sizes; divisors of n.
    n, d, nonzeros : int
        Of the instances.
    steps : int
        At most so many for the trained runs.
    """

    seeds: tuple[int, ...] = tuple(range(10))
    levels: tuple[float, ...] = (0.03, 0.1)
    ms: tuple[int, ...] = (1, 2, 4, 5, 10, 20)
    n: int = 20
    d: int = 30
    nonzeros: int = 3
    steps: int = 400_000


QUICK = Size()
FULL = Size(seeds=tuple(range(60)), levels=(0.01, 0.03, 0.1, 0.2), steps=4_000_000)


def run(
    quick: bool = True, *, folder: Path | None = None, size: Size | None = None
) -> pd.DataFrame:
    """Compute limits and trained runs, and write the tables.

    Parameters
    ----------
    quick : bool
        10 instances and 2 levels; otherwise 60 and 4.
    folder : pathlib.Path, optional
        Where the tables go, ``results/`` by default.
    size : Size, optional
        Instead of the two.

    Returns
    -------
    pandas.DataFrame
        One row per instance, equality, level and m: the columns of :func:`cell`.
    """
    import pandas as pd

    chosen = size or (QUICK if quick else FULL)
    common = {
        "levels": list(chosen.levels), "ms": list(chosen.ms), "n": chosen.n, "d": chosen.d,
        "nonzeros": chosen.nonzeros, "steps": chosen.steps,
    }  # fmt: skip
    table = grids.compute(
        cell,
        {"seed": chosen.seeds},
        folder=folder,
        common=common,
        depends=("analysis.sensitivity",),
    )
    ratios = table.assign(
        ratio_theory=table["test_loss_theory"] / table["test_loss_gd"],
        ratio_random_blocks=table["test_loss_random_blocks"] / table["test_loss_gd"],
    )
    summary = summarize(
        ratios,
        ("equality", "level", "m", "kind"),
        ("test_loss_theory", "ratio_theory", "ratio_random_blocks"),
        geometric=True,
    )
    trained = table[table["seed"] == chosen.seeds[0]][
        ["equality", "level", "m", "test_loss_gd", "test_loss_theory", "test_loss_simulation"]
    ].rename(columns=lambda name: name.replace("test_loss", "published"))
    summary = summary.merge(trained, on=["equality", "level", "m"], how="left")
    settings = common | {
        "seed": list(chosen.seeds), "alpha": ALPHA, "step_size": STEP_SIZE,
        "equal_radius": "root mean square over blocks of rho_m ||grad L_B|| at the initial point",
        "equal_shrinkage": "mean over coordinates of log(alpha/alpha_effective)",
    }  # fmt: skip
    made_by = provenance(quick, custom=size is not None)
    write_table("effect_of_m", table, settings, made_by, folder=folder)
    write_table("effect_of_m_summary", summary, settings, made_by, folder=folder)
    write_table(
        "effect_of_m_conversion", pd.DataFrame(conversion()), settings, made_by, folder=folder
    )
    return table


def cell(
    seed: int,
    levels: list[float],
    ms: list[int],
    n: int,
    d: int,
    nonzeros: int,
    steps: int,
) -> list[dict[str, Any]]:
    """Compute all equalities, levels and m of one instance.

    Returns
    -------
    list of dict
        ``rho`` and ``radius`` (rms length of the perturbation at the initial point);
        ``mean_shrinkage``, mean log(alpha/alpha_effective); ``test_loss_theory`` of the exact
        limit; ``test_loss_random_blocks`` of the limit for blocks drawn at random, to leading
        order in rho; ``test_loss_simulation`` of a trained run (seed 0); ``test_loss_gd``;
        ``rho_published``, the same perturbation in the published code (n- and 1-SAM).
    """
    data = st.sparse_regression(n=n, d=d, nonzeros=nonzeros, seed=seed)
    test = data.test
    assert test is not None
    erm = st.implicit_bias(data, alpha=ALPHA, algorithm=st.gd()).loss(test)
    deltas = {m: exponents(data, ALPHA, m) for m in {1, n, *ms}}
    lengths = {m: initial_gradient(data, ALPHA, m) for m in {1, *ms}}
    rows: list[dict[str, Any]] = []
    for equality, level, m in itertools.product(EQUALITIES, levels, ms):
        rho = level
        if equality == "radius":
            rho = level * lengths[1] / lengths[m]
        elif equality == "shrinkage" and m > 1:
            rho = equal_shrinkage(data, level, m, level * deltas[1].mean() / deltas[m].mean())
        limit = st.implicit_bias(data, alpha=ALPHA, algorithm=st.m_sam(rho, m))
        mixed = random_block_exponents(deltas[n], deltas[1], n, m)
        random = st.minimize_potential(data.X, data.y, ALPHA * np.exp(-rho * mixed)).beta
        rows.append(
            {
                "equality": equality, "level": level, "m": m, "kind": _kind(m, n),
                "rho": rho, "radius": rho * lengths[m],
                "rho_published": {1: rho / 2, n: rho}.get(m, np.nan),
                "status": limit.status, "mean_shrinkage": shrinkage(limit),
                "test_loss_gd": erm,
                "test_loss_theory": limit.loss(test) if limit.status == "converged" else np.nan,
                "test_loss_random_blocks": test.loss(random), "test_loss_simulation": np.nan,
            }
        )  # fmt: skip
    if seed == 0:
        _train(data, rows, steps)
    return rows


def _kind(m: int, n: int) -> str:
    return "1-sam" if m == 1 else "n-sam" if m == n else "m-sam"


def shrinkage(limit: ImplicitBias) -> float:
    """Return the mean over coordinates of log(alpha/alpha_effective)."""
    return float(np.mean(np.log(limit.alpha / limit.alpha_effective)))


def equal_shrinkage(data: st.Regression, level: float, m: int, guess: float) -> float:
    """Return rho at which m-SAM shrinks alpha as much as 1-SAM does at rho = level.

    By secants in the logarithms, to a relative difference of 1e-6; nan where that is not reached.
    """

    def measured(algorithm: Algorithm) -> float:
        limit = st.implicit_bias(data, alpha=ALPHA, algorithm=algorithm)
        return float(np.log(shrinkage(limit)))

    target = measured(st.one_sam(level))
    x, slope = float(np.log(guess)), 1.5
    previous: tuple[float, float] | None = None
    for _ in range(MOST_SECANTS):
        off = measured(st.m_sam(float(np.exp(x)), m)) - target
        if abs(off) < 1e-6:
            return float(np.exp(x))
        if previous is not None and x != previous[0]:
            slope = float(np.clip((off - previous[1]) / (x - previous[0]), 0.5, 20.0))
        previous, x = (x, off), x - float(np.clip(off / slope, -1.0, 1.0))
    return float("nan")


def initial_gradient(data: st.Regression, alpha: float, m: int) -> float:
    """Return the root mean square over blocks of ||grad L_B|| at u = alpha, v = 0."""
    blocks = data.X.reshape(data.n // m, m, data.d)
    g = np.einsum("bmd,bm->bd", blocks, data.y.reshape(-1, m)) / m
    return float(alpha * np.sqrt(np.mean(np.sum(g * g, axis=1))))


def _train(data: st.Regression, rows: list[dict[str, Any]], steps: int) -> None:
    """Fill in the test losses of finite-step runs, eight to a register."""
    settings = [
        st.Setting(algorithm=st.m_sam(row["rho"], row["m"]), alpha=ALPHA, step_size=STEP_SIZE)
        for row in rows
    ]
    for row, end in zip(
        rows, st.descend_batch(data, settings, steps=steps, tol=1e-14), strict=True
    ):
        if end.status != "diverged":
            row["test_loss_simulation"] = end.test_loss


def conversion() -> list[dict[str, Any]]:
    """Return published losses beside ours, converted, and beside ours at equal rho.

    Returns
    -------
    list of dict
        ``method``, ``rho_published``, ``rho`` (of this project), the published test loss, ours of
        the converted run, their relative difference, and ``test_loss_unconverted``: ours when
        rho_published is taken for rho. Published instance, 10,001 steps of 10/d, alpha 0.1.
    """
    data = data_sets.published()
    rows = []
    for method, rho, loss in PUBLISHED:
        converted = st.from_reference(method, rho)
        plain = st.one_sam(rho) if method == "1-sam" else st.n_sam(rho)
        ours, unconverted = (
            st.descend(
                data, alpha=0.1, algorithm=rule, step_size=10 / 30, steps=10_001
            ).test_loss
            for rule in (converted, plain)
        )  # fmt: skip
        assert ours is not None
        rows.append(
            {
                "method": method, "rho_published": rho, "rho": converted.rho,
                "test_loss_published": loss, "test_loss": ours,
                "relative_difference": ours / loss - 1.0, "test_loss_unconverted": unconverted,
            }
        )  # fmt: skip
    return rows
