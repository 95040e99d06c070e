"""Map the test loss of the selected solution over (rho, alpha), for n-SAM and 1-SAM.

Limits of the flows, on the published instance and on the spectra. A large radius shrinks the scale
so far that the flow does not end within the integrator's steps: the status then says so, the loss
is missing, and larger radii at the same scale are not tried ("not_tried").
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

import sam_theory as st
from analysis import data as data_sets
from analysis import grids
from analysis.store import provenance, write_table

if TYPE_CHECKING:
    from pathlib import Path

    import pandas as pd

KINDS = {"n-sam": st.n_sam, "1-sam": st.one_sam}
DATA = {"published 20 x 30": data_sets.published, "fermentation spectra": data_sets.fermentation}


@dataclass(frozen=True)
class Size:
    """Numbers of radii and scales per data set, equally spaced in their logarithms."""

    points: tuple[tuple[str, int, int], ...] = (
        ("published 20 x 30", 13, 9),
        ("fermentation spectra", 9, 5),
    )
    rho: tuple[float, float] = (0.003, 3.0)
    alpha: tuple[float, float] = (0.01, 1.0)


QUICK = Size()
FULL = Size(points=(("published 20 x 30", 37, 25), ("fermentation spectra", 25, 17)))


def run(
    quick: bool = True, *, folder: Path | None = None, size: Size | None = None
) -> pd.DataFrame:
    """Compute the limits on the grid, and write ``phase_diagram``.

    Parameters
    ----------
    quick : bool
        13 x 9 radii and scales on the published instance, 9 x 5 on the spectra; otherwise 37 x 25
        and 25 x 17.
    folder : pathlib.Path, optional
        Where the table goes, ``results/`` by default.
    size : Size, optional
        Instead of the two.

    Returns
    -------
    pandas.DataFrame
        One row per data set, algorithm, alpha and rho: ``test_loss`` (nan unless converged),
        ``test_loss_gd`` at the same alpha, ``alpha_effective_mean``, ``status``.
    """
    import pandas as pd

    chosen = size or (QUICK if quick else FULL)
    parts = []
    for name, radii, scales in chosen.points:
        rho, alpha = np.geomspace(*chosen.rho, radii), np.geomspace(*chosen.alpha, scales)
        grid = {"data_set": (name,), "kind": tuple(KINDS), "alpha": alpha}
        common = {"radii": rho, "data": DATA[name]()}
        parts.append(grids.compute(cell, grid, folder=folder, common=common))
    table = pd.concat(parts, ignore_index=True)
    settings = {
        "seed": 0, "rho": list(chosen.rho), "alpha": list(chosen.alpha),
        "points": [list(entry) for entry in chosen.points],
    }  # fmt: skip
    made_by = provenance(quick, custom=size is not None)
    write_table("phase_diagram", table, settings, made_by, folder=folder)
    return table


def cell(
    data_set: str, kind: str, alpha: float, radii: np.ndarray, data: st.Regression
) -> list[dict[str, Any]]:
    """Return the row of one algorithm and scale: all radii, rising, until a flow does not end."""
    assert data.test is not None
    erm = st.implicit_bias(data, alpha=alpha, algorithm=st.gd()).loss(data.test)
    rows: list[dict[str, Any]] = []
    status = "converged"
    for rho in map(float, radii):
        row = {"rho": rho, "test_loss": np.nan, "test_loss_gd": erm, "alpha_effective_mean": np.nan}
        if status == "converged":
            limit = st.implicit_bias(data, alpha=alpha, algorithm=KINDS[kind](rho))
            status = limit.status
        else:
            status = "not_tried"
        if status == "converged":
            row["test_loss"] = limit.loss(data.test)
            row["alpha_effective_mean"] = float(limit.alpha_effective.mean())
        rows.append(row | {"status": status})
    return rows
