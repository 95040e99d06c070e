"""Switch between ERM (plain gradient descent) and 1-SAM: what is escaped, what is kept.

ERM -> 1-SAM and 1-SAM -> ERM as published (step size 1/d, 10,001 steps each, published rho 10 and
0.175, hence 20 and 0.35 here), with the loss on the segment between both ends in (u, v). Then the
same on other instances over the step of the switch, with radii that are fractions of the stability
edge: near a minimum a step of full-batch 1-SAM multiplies the residual by I - gamma K M (THEORY
section 2), so it is stable while  gamma lambda_max(K (I + rho diag(n K))) < 2.

Tables: ``fine_tuning`` (losses along training), ``fine_tuning_segment``, ``fine_tuning_summary``
(final losses beside the published ones, and how far beyond the edge the run was),
``fine_tuning_switch`` (one row per instance, switch and radius), ``fine_tuning_switch_summary``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

import sam_theory as st
from analysis import data as data_sets
from analysis import grids
from analysis.statistics import geometric_interval
from analysis.store import provenance, write_table

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import pandas as pd

    from sam_theory.algorithms import Algorithm
    from sam_theory.diagonal.descent import Descent

ALPHA = 0.1
STEPS = 10_001
AFTER_ERM, ALONE = 10.0, 0.175
"""Published radii of 1-SAM: after ERM, and from the start."""
PUBLISHED = {
    "ERM": 0.0146023,
    "ERM -> 1-SAM": 1.42692e-4,
    "1-SAM": 1.24576e-4,
    "1-SAM -> ERM": 9.83485e-5,
}
"""Published final test losses; ERM after 20,002 steps, 1-SAM after 10,001."""


@dataclass(frozen=True)
class Size:
    """What is computed.

    Attributes
    ----------
    seeds : tuple of int
        Of the instances of the second part.
    switches : tuple of int
        Steps of ERM before 1-SAM.
    fractions : tuple of float
        Radii as fractions of the stability edge at the switch.
    steps : int
        Of each phase of the first part; the second has twice as many in all.
    n, d, nonzeros : int
        Of the instances of the second part.
    """

    seeds: tuple[int, ...] = tuple(range(12))
    switches: tuple[int, ...] = (300, 1000, 3000, STEPS)
    fractions: tuple[float, ...] = (0.1, 0.3, 0.9)
    steps: int = STEPS
    n: int = 20
    d: int = 30
    nonzeros: int = 3


QUICK = Size()
FULL = Size(seeds=tuple(range(60)), switches=(100, 300, 1000, 3000, STEPS))


def run(
    quick: bool = True, *, folder: Path | None = None, size: Size | None = None
) -> pd.DataFrame:
    """Train, and write the tables.

    Parameters
    ----------
    quick : bool
        12 instances in the second part; otherwise 60, and an earlier switch.
    folder : pathlib.Path, optional
        Where the tables go, ``results/`` by default.
    size : Size, optional
        Instead of the two.

    Returns
    -------
    pandas.DataFrame
        The losses along training: ``path``, ``phase``, ``kind``, ``step``, ``train_loss``,
        ``test_loss``.
    """
    import pandas as pd

    chosen = size or (QUICK if quick else FULL)
    data = data_sets.published()
    ends = dict(_published_runs(data, chosen.steps))
    curves = pd.concat([_curve(path, run) for path, run in ends.items()], ignore_index=True)
    segments = pd.concat(
        [
            segment(path, data, ends[path.split(" -> ")[0] + " (one phase)"], ends[path])
            for path in ends
            if "->" in path
        ],
        ignore_index=True,
    )
    common = {
        "switches": list(chosen.switches), "fractions": list(chosen.fractions),
        "steps": 2 * chosen.steps, "n": chosen.n, "d": chosen.d, "nonzeros": chosen.nonzeros,
    }  # fmt: skip
    switch = grids.compute(cell, {"seed": chosen.seeds}, folder=folder, common=common)
    settings = common | {
        "seed": list(chosen.seeds), "alpha": ALPHA, "step_size": "1/d", "steps": chosen.steps,
        "rho_published": [AFTER_ERM, ALONE], "rho": [2 * AFTER_ERM, 2 * ALONE],
    }  # fmt: skip
    made_by = provenance(quick, custom=size is not None)
    for name, table in (
        ("fine_tuning", curves),
        ("fine_tuning_segment", segments),
        ("fine_tuning_summary", pd.DataFrame(_summary(data, ends))),
        ("fine_tuning_switch", switch),
        ("fine_tuning_switch_summary", switch_summary(switch)),
    ):
        write_table(name, table, settings, made_by, folder=folder)
    return curves


def _published_runs(data: st.Regression, steps: int) -> Iterator[tuple[str, Descent]]:
    gamma = 1 / data.d
    strong = st.from_reference("1-sam", AFTER_ERM)
    gentle = st.from_reference("1-sam", ALONE)
    record = np.unique(np.rint(np.geomspace(1, 2 * steps, 200)).astype(int))
    plans: dict[str, list[tuple[Algorithm, float, int]]] = {
        "ERM (one phase)": [(st.gd(), gamma, steps)],
        "1-SAM (one phase)": [(gentle, gamma, steps)],
        "ERM": [(st.gd(), gamma, 2 * steps)],
        "1-SAM": [(gentle, gamma, 2 * steps)],
        "ERM -> 1-SAM": [(st.gd(), gamma, steps), (strong, gamma, steps)],
        "1-SAM -> ERM": [(gentle, gamma, steps), (st.gd(), gamma, steps)],
    }
    extra = steps + np.unique(np.rint(np.geomspace(1, steps, 200)).astype(int))
    for path, phases in plans.items():
        total = sum(phase[2] for phase in phases)
        at = np.unique(np.concatenate([record, extra]))
        yield path, st.descend(data, alpha=ALPHA, phases=phases, record=at[at <= total])


def _curve(path: str, run: Descent) -> pd.DataFrame:
    frame = run.table[["step", "phase", "loss", "test_loss"]].rename(columns={"loss": "train_loss"})
    kinds = [run.phases[phase].algorithm.kind for phase in frame["phase"]]
    frame.insert(0, "path", path)
    frame.insert(2, "kind", kinds)
    return frame


def weights(run: Descent) -> tuple[np.ndarray, np.ndarray]:
    """Return u and v at the end of a run, (d,) each."""
    return (run.w_plus + run.w_minus) / np.sqrt(2.0), (run.w_plus - run.w_minus) / np.sqrt(2.0)


def segment(
    path: str, data: st.Regression, start: Descent, end: Descent, points: int = 61
) -> pd.DataFrame:
    """Return the losses on the line through both ends in (u, v).

    Parameters
    ----------
    path : str
        Names the segment.
    data : Regression
        With ``test``.
    start, end : Descent
        At ``position`` 0 and 1; the line is followed from -0.25 to 1.25.
    points : int
        Evenly spaced.
    """
    import pandas as pd

    assert data.test is not None
    (u0, v0), (u1, v1) = weights(start), weights(end)
    rows = []
    for t in np.linspace(-0.25, 1.25, points):
        beta = (u0 + t * (u1 - u0)) * (v0 + t * (v1 - v0))
        rows.append((path, t, data.loss(beta), data.test.loss(beta)))
    return pd.DataFrame(rows, columns=["path", "position", "train_loss", "test_loss"])


def edge_ratio(data: st.Regression, run: Descent, rho: float, step_size: float) -> float:
    """Return step_size lambda_max(K M) at the end of a run, over the edge 2; above 1 is unstable.

    K = (1/n) X diag(s) X^T, s = u^2 + v^2, M = I + rho diag(n K): full-batch 1-SAM near a minimum.
    """
    s = run.w_plus**2 + run.w_minus**2
    K = (data.X * s) @ data.X.T / data.n
    # K M has the spectrum of the symmetric M^1/2 K M^1/2.
    root = np.sqrt(1.0 + rho * data.n * np.diag(K))
    return float(0.5 * step_size * np.linalg.eigvalsh(root[:, None] * K * root)[-1])


def radius_at_edge(data: st.Regression, run: Descent, step_size: float) -> float:
    """Return rho at which :func:`edge_ratio` is 1; 0 if plain gradient descent is unstable."""
    from scipy.optimize import brentq

    def off(rho: float) -> float:
        return edge_ratio(data, run, rho, step_size) - 1.0

    if off(0.0) >= 0.0:
        return 0.0
    high = 1.0
    while off(high) < 0.0:
        high *= 2.0
    return float(brentq(off, 0.0, high))


def _summary(data: st.Regression, ends: dict[str, Descent]) -> list[dict[str, Any]]:
    rows = []
    for path, run in ends.items():
        name = path.removesuffix(" (one phase)")
        published = PUBLISHED[name]
        if (name == "1-SAM") != (path == "1-SAM (one phase)") or path == "ERM (one phase)":
            published = float("nan")
        assert run.test_loss is not None
        rows.append(
            {
                "path": path, "steps": run.steps, "status": run.status, "train_loss": run.loss,
                "test_loss": run.test_loss, "test_loss_published": published,
                "relative_difference": run.test_loss / published - 1.0,
                "test_loss_limit": run.limit().loss(data.test),
                "edge_ratio": edge_ratio(data, run, run.algorithm.rho, float(run.step_size)),
                "mean_shrinkage": float(np.mean(np.log(ALPHA) - run.log_alpha_effective)),
            }
        )  # fmt: skip
    at_switch = ends["ERM (one phase)"]
    for row in rows:
        if row["path"] == "ERM -> 1-SAM":
            row["edge_ratio"] = edge_ratio(data, at_switch, 2 * AFTER_ERM, 1 / data.d)
    return rows


def cell(
    seed: int, switches: list[int], fractions: list[float], steps: int, n: int, d: int,
    nonzeros: int,
) -> list[dict[str, Any]]:  # fmt: skip
    """Return one row per switch and radius of one instance.

    Returns
    -------
    list of dict
        ``radius``, "edge" or, at the last switch, "published" (its ``fraction`` is then the
        :func:`edge_ratio` it has on this instance); ``switch``, ``fraction``, ``rho``;
        ``train_loss_switch``; ``test_loss`` (nan if the run diverged); ``test_loss_erm``, without a
        switch after as many steps; ``status``.
    """
    data = st.sparse_regression(n=n, d=d, nonzeros=nonzeros, seed=seed)
    gamma = 1 / d
    erm = st.descend(data, alpha=ALPHA, algorithm=st.gd(), step_size=gamma, steps=steps)
    rows: list[dict[str, Any]] = []
    for switch in switches:
        start = st.descend(data, alpha=ALPHA, algorithm=st.gd(), step_size=gamma, steps=switch)
        edge = radius_at_edge(data, start, gamma)
        radii = [("edge", fraction, fraction * edge) for fraction in fractions]
        if switch == switches[-1]:
            rho = st.from_reference("1-sam", AFTER_ERM).rho
            radii.append(("published", edge_ratio(data, start, rho, gamma), rho))
        for radius, fraction, rho in radii:
            end = st.descend(
                data, start=start, algorithm=st.one_sam(rho), step_size=gamma, steps=steps - switch
            )
            rows.append(
                {
                    "radius": radius, "switch": switch, "fraction": fraction, "rho": rho,
                    "train_loss_switch": start.loss, "status": end.status,
                    "test_loss": np.nan if end.status == "diverged" else end.test_loss,
                    "test_loss_erm": erm.test_loss,
                }
            )  # fmt: skip
    return rows


def switch_summary(table: pd.DataFrame) -> pd.DataFrame:
    """Return geometric means of test_loss / test_loss_erm with intervals, and shares of divergence.

    Parameters
    ----------
    table : pandas.DataFrame
        The rows of :func:`cell`.
    """
    import pandas as pd

    rows = []
    table = table.assign(fraction=table["fraction"].where(table["radius"] == "edge", float("nan")))
    groups = table.groupby(["radius", "switch", "fraction"], sort=True, dropna=False)
    for (radius, switch, fraction), part in groups:
        stable = part[part["test_loss"].notna()]
        ratio = (float("nan"),) * 3
        if len(stable):
            ratio = geometric_interval(stable["test_loss"] / stable["test_loss_erm"])
        names = ("ratio", "ratio_low", "ratio_high")
        rows.append(
            {
                "radius": radius, "switch": switch, "fraction": fraction, "seeds": len(part),
                "diverged": 1.0 - len(stable) / len(part),
                "train_loss_switch": part["train_loss_switch"].median(),
            }
            | dict(zip(names, ratio, strict=True))
        )  # fmt: skip
    return pd.DataFrame(rows)
