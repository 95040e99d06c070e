"""Correlate the sharpness of the selected solution with its test loss.

Limits of GD, n-SAM, m-SAM (m = 5) and 1-SAM over radii and scales, on three synthetic designs and
on the spectra (other held-out rows for each seed). Rank correlations (Spearman) between the test
loss and each of four measures are taken within one instance, then averaged over instances with an
interval:

all                 over all algorithms, radii and scales;
scale, GD           over alpha alone;
radius, ALGORITHM   over rho at fixed alpha (mean over the scales);
algorithms          over all algorithms and radii at fixed alpha (mean over the scales).

Measures: ``sharpness``, the largest Hessian eigenvalue; ``hessian_trace``; ``l1_norm``;
``alpha_effective_mean``. Plus one says: what is flatter (sparser, smaller) generalises better.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

import sam_theory as st
from analysis import data as data_sets
from analysis import grids, instances
from analysis.statistics import mean_interval, rank_correlation
from analysis.store import provenance, write_table

if TYPE_CHECKING:
    from pathlib import Path

    import pandas as pd

MEASURES = ("sharpness", "hessian_trace", "l1_norm", "alpha_effective_mean")
SPECTRA = "spectra"
NAMES = {"gd": "GD", "n-sam": "n-SAM", "m-sam": "m-SAM", "1-sam": "1-SAM"}


@dataclass(frozen=True)
class Size:
    """Instances, scales and radii; those of 1-SAM, whose effect is larger, of their own."""

    designs: tuple[str, ...] = ("isotropic", "correlated 0.9", "large support")
    seeds: tuple[int, ...] = tuple(range(6))
    splits: int = 3
    alphas: tuple[float, ...] = (0.03, 0.1, 0.3, 1.0)
    rhos: tuple[float, ...] = (0.03, 0.1, 0.3)
    rhos_one: tuple[float, ...] = (0.01, 0.03, 0.1)
    m: int = 5
    n: int = 20
    d: int = 30


QUICK = Size()
FULL = Size(
    designs=tuple(instances.DESIGNS), seeds=tuple(range(40)), splits=20,
    rhos=(0.01, 0.03, 0.1, 0.3, 1.0), rhos_one=(0.003, 0.01, 0.03, 0.1),
)  # fmt: skip


def run(
    quick: bool = True, *, folder: Path | None = None, size: Size | None = None
) -> pd.DataFrame:
    """Compute the limits, correlate, and write both tables.

    Parameters
    ----------
    quick : bool
        Three designs with 6 instances, 3 splits of the spectra; otherwise all designs with 40, 20.
    folder : pathlib.Path, optional
        Where the tables go, ``results/`` by default.
    size : Size, optional
        Instead of the two.

    Returns
    -------
    pandas.DataFrame
        One row per limit: ``design``, ``seed``, ``kind``, ``alpha``, ``rho``, ``test_loss`` and the
        measures. ``sharpness_correlations`` is written beside ``sharpness_and_generalization``.
    """
    import pandas as pd

    chosen = size or (QUICK if quick else FULL)
    common: dict[str, Any] = {
        "alphas": list(chosen.alphas), "rhos": list(chosen.rhos),
        "rhos_one": list(chosen.rhos_one), "m": chosen.m,
    }  # fmt: skip
    shape = {"n": chosen.n, "d": chosen.d}
    grid = {"design": chosen.designs, "seed": chosen.seeds}
    parts = [
        grids.compute(
            cell, grid, folder=folder, common=common | shape, depends=("analysis.instances",)
        )
    ]
    for seed in range(chosen.splits):
        given = common | {"data": data_sets.fermentation(seed=seed)}
        one = {"design": (SPECTRA,), "seed": (seed,)}
        parts.append(grids.compute(cell, one, folder=folder, common=given))
    table = pd.concat(parts, ignore_index=True)
    settings = common | shape | {
        "seed": list(chosen.seeds), "designs": [*chosen.designs, SPECTRA],
        "spectra_splits": chosen.splits, "measures": list(MEASURES),
    }  # fmt: skip
    made_by = provenance(quick, custom=size is not None)
    write_table("sharpness_and_generalization", table, settings, made_by, folder=folder)
    write_table("sharpness_correlations", correlations(table), settings, made_by, folder=folder)
    return table


def cell(
    design: str, seed: int, alphas: list[float], rhos: list[float], rhos_one: list[float], m: int,
    n: int = 20, d: int = 30, data: st.Regression | None = None,
) -> list[dict[str, Any]]:  # fmt: skip
    """Return one row per scale, algorithm and radius; only limits that were reached."""
    if data is None:
        data = instances.make(design, seed, n=n, d=d)
    assert data.test is not None
    rules = [("gd", st.gd())]
    for rho in rhos:
        rules += [("n-sam", st.n_sam(rho)), ("m-sam", st.m_sam(rho, m))]
    rules += [("1-sam", st.one_sam(rho)) for rho in rhos_one]
    batch = st.implicit_bias_batch(
        data, st.settings_grid(algorithm=[rule for _, rule in rules], alpha=alphas), threads=1
    )
    rows: list[dict[str, Any]] = []
    kinds = [kind for kind, _ in rules for _ in alphas]
    for kind, setting, limit in zip(kinds, batch.settings, batch, strict=True):
        if limit.status == "converged":
            rows.append(
                {
                    "kind": kind, "alpha": setting.alpha, "rho": setting.algorithm.rho,
                    "test_loss": limit.loss(data.test), "sharpness": limit.sharpness,
                    "hessian_trace": limit.hessian_trace, "l1_norm": limit.l1_norm,
                    "alpha_effective_mean": float(limit.alpha_effective.mean()),
                }
            )  # fmt: skip
    return rows


def correlations(table: pd.DataFrame) -> pd.DataFrame:
    """Return mean rank correlations over instances with their intervals.

    Parameters
    ----------
    table : pandas.DataFrame
        As returned by :func:`run`.

    Returns
    -------
    pandas.DataFrame
        One row per design, group and measure: ``correlation``, ``low``, ``high``, ``instances``.
    """
    import pandas as pd

    found: dict[tuple[str, str, str], list[float]] = {}
    for (design, _), instance in table.groupby(["design", "seed"], sort=False):
        for group, parts in _groups(instance):
            for measure in MEASURES:
                values = [rank_correlation(part[measure], part["test_loss"]) for part in parts]
                known = [value for value in values if np.isfinite(value)]
                if known:
                    key = (str(design), group, measure)
                    found.setdefault(key, []).append(float(np.mean(known)))
    rows = []
    for (design, group, measure), values in found.items():
        mean, low, high = mean_interval(values)
        rows.append(
            {
                "design": design, "group": group, "measure": measure, "correlation": mean,
                "low": low, "high": high, "instances": len(values),
            }
        )  # fmt: skip
    return pd.DataFrame(rows)


def _groups(instance: pd.DataFrame) -> Iterator[tuple[str, list[pd.DataFrame]]]:
    """Yield each group's name and the sets of limits within which it is correlated."""
    yield "all", [instance]
    yield "scale, GD", [instance[instance["kind"] == "gd"]]
    by_scale = [part for _, part in instance.groupby("alpha")]
    for kind in ("n-sam", "m-sam", "1-sam"):
        chosen = [part[part["kind"].isin(("gd", kind))] for part in by_scale]
        yield f"radius, {NAMES[kind]}", [part for part in chosen if len(part) >= 3]
    yield "algorithms", by_scale
