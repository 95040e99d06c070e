"""Find when n-SAM selects a worse solution than gradient descent.

On the published instance the test loss of n-SAM grows with rho although every coordinate of
alpha_effective shrinks. The condition, exact to first order in rho
(:mod:`analysis.sensitivity`):

    n-SAM hurts   if and only if   <dT/dlog alpha, Delta_n> < 0,   Delta_n = int g^2 dt,
    dT/dlog alpha_j = 2 beta_j (P^T h)_j,   h = gradient of the test loss T at the GD solution.

With s = dT/dlog alpha the left side splits into  mean(Delta) sum(s)  (what a uniform shrinkage by
the mean would do: of use wherever a smaller scale is) and  sum((Delta - mean(Delta)) s)  (the
shape). A sparse solution is shrunk too much on its support, s_j < 0 there, and carries errors
elsewhere, s_j > 0. Delta_n grows with the correlation of a column with the residual, hence is
large on the support of an isotropic design: n-SAM then taxes most what is already too small. It
helps where Delta_n is spread out or larger elsewhere: correlated columns, a common factor, columns
of unequal scale, small features that matter. The same holds for 1-SAM with its own Delta, which is
nearly uniform except where columns differ in scale. A rule of thumb, of some use for both together:
SAM hurts if Delta is on average twice as large on the support as off it. Without held-out data, the
sign of the same slope for the leave-one-out loss is the better guide on sparse noiseless problems.

Tables: ``when_n_sam_hurts``, one row per instance and algorithm; ``when_n_sam_hurts_designs``, how
often each design is hurt; ``when_n_sam_hurts_rules``, how often each rule predicts the sign.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

import sam_theory as st
from analysis import data as data_sets
from analysis import grids, instances
from analysis import sensitivity as formulas
from analysis.statistics import share_interval
from analysis.store import provenance, write_table

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import pandas as pd

    from sam_theory.algorithms import Algorithm

CONDITION = (
    "to first order in rho, n-SAM raises the test loss T if and only if "
    "<dT/dlog alpha, Delta_n> < 0"
)
RULE = "SAM raises the test loss if Delta is on average twice as large on the support as off it"
SHRINKAGES = (0.0001, 0.1, 0.5)
"""Largest leading-order log-shrinkage max_j rho Delta_j of the radii at which T is measured."""
VALIDATION_ROWS = 20
SUPPORT_RATIO = 2.0
"""Of the rule of thumb; chosen on seeds 0 and 1. On seeds 2 to 5 it is right for
71 % of n-SAM and 1-SAM together (always answering the same: 60 %), for n-SAM alone no more often
than always answering "hurts"."""
_ALGORITHMS: dict[str, Callable[[float], Algorithm]] = {"n-sam": st.n_sam, "1-sam": st.one_sam}


@dataclass(frozen=True)
class Size:
    """What is computed: the product of all fields, and splits of the spectra.

    Attributes
    ----------
    designs : tuple of str
        Of :data:`analysis.instances.DESIGNS`.
    nonzeros, alphas, noises, seeds : tuple
        Of the instances (n = 20, d = 30).
    splits : int
        Random choices of 6 of the 21 spectra as test rows.
    simulated_seeds : int
        The first so many seeds are also trained with finite steps, for 3 nonzeros, alpha = 0.1 and
        no noise.
    """

    designs: tuple[str, ...] = tuple(instances.DESIGNS)
    nonzeros: tuple[int, ...] = (1, 3, 10)
    alphas: tuple[float, ...] = (0.01, 0.1, 1.0)
    noises: tuple[float, ...] = (0.0, 0.2)
    seeds: tuple[int, ...] = (0,)
    splits: int = 3
    simulated_seeds: int = 1


QUICK = Size()
FULL = Size(nonzeros=(1, 3, 10, 30), seeds=tuple(range(20)), splits=20, simulated_seeds=4)


def run(
    quick: bool = True, *, folder: Path | None = None, size: Size | None = None
) -> pd.DataFrame:
    """Predict and measure the sign of the change on all instances, and write both tables.

    Parameters
    ----------
    quick : bool
        144 synthetic instances; otherwise 3840.
    folder : pathlib.Path, optional
        Where the tables go, ``results/`` by default.
    size : Size, optional
        Instead of the two.

    Returns
    -------
    pandas.DataFrame
        One row per instance and algorithm: the columns of :func:`measure`.
    """
    import pandas as pd

    chosen = size or (QUICK if quick else FULL)
    depends = ("analysis.instances", "analysis.sensitivity")
    grid = {
        "design": chosen.designs, "nonzeros": chosen.nonzeros, "alpha": chosen.alphas,
        "noise": chosen.noises, "seed": chosen.seeds,
    }  # fmt: skip
    common = {"simulated_seeds": chosen.simulated_seeds}
    parts = [grids.compute(synthetic, grid, folder=folder, common=common, depends=depends)]
    known = [("published", data_sets.published(), 0)]
    known += [("spectra", data_sets.fermentation(seed=k), k) for k in range(chosen.splits)]
    for design, data, seed in known:
        cells = {"design": (design,), "alpha": (0.1,), "seed": (seed,)}
        parts.append(
            grids.compute(given, cells, folder=folder, common={"data": data}, depends=depends)
        )
    table = pd.concat(parts, ignore_index=True)
    settings = {
        "condition": CONDITION, "rule_of_thumb": RULE, "seed": list(chosen.seeds),
        "nonzeros": list(chosen.nonzeros),
        "alpha": list(chosen.alphas), "noise": list(chosen.noises), "designs": instances.DESIGNS,
        "spectra_splits": chosen.splits, "shrinkages": list(SHRINKAGES),
    }  # fmt: skip
    made_by = provenance(quick, custom=size is not None)
    write_table("when_n_sam_hurts", table, settings, made_by, folder=folder)
    shares = designs(table)
    write_table("when_n_sam_hurts_designs", shares, settings, made_by, folder=folder)
    write_table("when_n_sam_hurts_rules", rules(table), settings, made_by, folder=folder)
    return table


def synthetic(
    design: str, nonzeros: int, alpha: float, noise: float, seed: int, simulated_seeds: int = 0
) -> list[dict[str, Any]]:
    """Return the rows of one synthetic instance."""
    data = instances.make(design, seed, nonzeros=nonzeros, noise=noise)
    simulated = nonzeros == 3 and alpha == 0.1 and noise == 0.0 and seed < simulated_seeds
    return measure(data, alpha, simulated)


def given(design: str, alpha: float, seed: int, data: st.Regression) -> list[dict[str, Any]]:
    """Return the rows of given data."""
    return measure(data, alpha, design == "published")


def measure(data: st.Regression, alpha: float, simulated: bool = False) -> list[dict[str, Any]]:
    """Predict and measure how n-SAM and 1-SAM change the test loss of one instance.

    Parameters
    ----------
    data : Regression
        With ``test``.
    alpha : float
        Initial scale.
    simulated : bool
        Measure also by training with finite steps.

    Returns
    -------
    list of dict
        One per algorithm. All slopes and changes are relative to the test loss of GD and per unit
        of the largest log-shrinkage max_j rho Delta_j, so dimensionless:
        ``slope`` (the exact derivative at rho = 0), ``slope_uniform`` and ``slope_shape`` (its two
        parts), ``slope_validation`` (from the first 20 test rows alone), ``slope_leave_one_out``
        (from the training data alone; nan where rows are dependent, as after centring, because the
        others then determine the one left out), ``change_C`` (measured between GD and the radius of
        largest leading-order log-shrinkage C), ``change_simulation`` (by finite steps at C = 0.1).
        Further ``support_ratio``, the mean of Delta on the support over that off it.
    """
    test = data.test
    assert test is not None
    erm = st.implicit_bias(data, alpha=alpha, algorithm=st.gd())
    loss = erm.loss(test)
    part = st.Regression(test.X[:VALIDATION_ROWS], test.y[:VALIDATION_ROWS])
    scale = np.full(data.d, alpha)
    sensitivity, of_part = (
        formulas.scale_gradient(data.X, erm.beta, scale, formulas.loss_gradient(held, erm.beta))
        for held in (test, part)
    )
    left_out = np.full(data.d, np.nan)
    if data.rank == data.n:
        left_out = formulas.leave_one_out_gradient(data, alpha)
    base = _trained(data, alpha, st.gd(), erm.sharpness) if simulated else np.nan
    rows: list[dict[str, Any]] = []
    for kind, algorithm in _ALGORITHMS.items():
        delta = formulas.exponents(data, alpha, data.n if kind == "n-sam" else 1)
        unit = loss * float(delta.max())
        uniform = -float(delta.mean() * sensitivity.sum()) / unit
        slope = -float(sensitivity @ delta) / unit
        row: dict[str, Any] = {
            "kind": kind, "n": data.n, "d": data.d, "test_loss_gd": loss,
            "delta_max": float(delta.max()), "delta_mean": float(delta.mean()),
            "support_ratio": support_ratio(data, delta), "slope": slope,
            "slope_uniform": uniform, "slope_shape": slope - uniform,
            "slope_validation": -float(of_part @ delta) / unit,
            "slope_leave_one_out": -float(left_out @ delta) / unit,
        }  # fmt: skip
        for shrinkage in SHRINKAGES:
            rho = shrinkage / float(delta.max())
            limit = st.implicit_bias(data, alpha=alpha, algorithm=algorithm(rho))
            row[f"change_{shrinkage:g}"] = (limit.loss(test) - loss) / (loss * shrinkage)
        rho = 0.1 / float(delta.max())
        row["change_simulation"] = np.nan
        if simulated:
            ended = _trained(data, alpha, algorithm(rho), erm.sharpness)
            row["change_simulation"] = (ended - base) / (0.1 * base)
        rows.append(row)
    return rows


def support_ratio(data: st.Regression, delta: np.ndarray) -> float:
    """Return the mean of Delta on the support of beta_star over that off it, nan without one."""
    if data.beta_star is None or np.all(data.beta_star != 0.0):
        return float("nan")
    support = data.beta_star != 0.0
    return float(delta[support].mean() / delta[~support].mean())


def _trained(data: st.Regression, alpha: float, algorithm: Algorithm, sharpness: float) -> float:
    """Return the test loss of a run with finite steps, a fifth of 1/sharpness each."""
    end = st.descend(
        data,
        alpha=alpha,
        algorithm=algorithm,
        step_size=0.2 / sharpness,
        steps=1_000_000,
        tol=1e-17,
    )
    assert end.test_loss is not None
    return end.test_loss


def designs(table: pd.DataFrame) -> pd.DataFrame:
    """Return how often the test loss grows with rho, to first order, by design and scale.

    Parameters
    ----------
    table : pandas.DataFrame
        As returned by :func:`run`.

    Returns
    -------
    pandas.DataFrame
        One row per design, algorithm and alpha: ``hurt``, the share of instances with its 95 %
        interval ``low``, ``high``, the number of ``instances``, and the median ``support_ratio``.
    """
    import pandas as pd

    rows = []
    for (design, kind, alpha), part in table.groupby(["design", "kind", "alpha"], sort=False):
        share, low, high = share_interval(part["change_0.0001"] > 0.0)
        rows.append(
            {
                "design": design, "kind": kind, "alpha": alpha, "hurt": share, "low": low,
                "high": high, "instances": len(part),
                "support_ratio": part["support_ratio"].median(),
            }
        )  # fmt: skip
    return pd.DataFrame(rows)


def rules(table: pd.DataFrame) -> pd.DataFrame:
    """Compare the sign that each rule predicts with the sign that is measured.

    Parameters
    ----------
    table : pandas.DataFrame
        As returned by :func:`run`.

    Returns
    -------
    pandas.DataFrame
        One row per rule, algorithm ("both": pooled) and group of instances: ``instances``,
        ``accuracy`` with its 95 % interval ``low``, ``high``, and ``base_rate``, the accuracy of
        always saying what is more frequent. What is measured is the sign at log-shrinkage 0.0001,
        for the first rule also at the larger ones.
    """
    import pandas as pd

    rows: list[dict[str, Any]] = []
    drawn = table[table["design"].isin(instances.DESIGNS)]
    for kind in (*_ALGORITHMS, "both"):
        of_kind = drawn if kind == "both" else drawn[drawn["kind"] == kind]
        groups = {
            "all": of_kind,
            "sparse, no noise": of_kind[(of_kind["nonzeros"] < 10) & (of_kind["noise"] == 0.0)],
        }
        for group, part in groups.items():
            hurts = part["change_0.0001"] > 0.0
            predictions = [
                ("exact slope", part["slope"] > 0.0, hurts),
                *(
                    (f"exact slope, at shrinkage {c:g}", part["slope"] > 0.0,
                     part[f"change_{c:g}"] > 0.0)
                    for c in SHRINKAGES[1:]
                ),
                ("slope from 20 held-out rows", part["slope_validation"] > 0.0, hurts),
                ("shape part of the slope alone", part["slope_shape"] > 0.0, hurts),
                ("slope by leave-one-out", part["slope_leave_one_out"] > 0.0, hurts),
            ]  # fmt: skip
            common = {"kind": kind, "group": group}
            rows += [
                common | {"rule": name} | _accuracy(said, seen) for name, said, seen in predictions
            ]
            known = part["support_ratio"].notna()
            said = part.loc[known, "support_ratio"] > SUPPORT_RATIO
            name = f"Delta {SUPPORT_RATIO:g} times larger on the support"
            rows.append(common | {"rule": name} | _accuracy(said, hurts[known]))
    return pd.DataFrame(rows)


def _accuracy(said: pd.Series, seen: pd.Series) -> dict[str, Any]:
    if not len(seen):
        empty = dict.fromkeys(("accuracy", "low", "high", "base_rate"), float("nan"))
        return {"instances": 0} | empty
    share, low, high = share_interval(said == seen)
    often = float(max(seen.mean(), 1.0 - seen.mean()))
    return {
        "instances": len(seen), "accuracy": share, "low": low, "high": high, "base_rate": often
    }  # fmt: skip
