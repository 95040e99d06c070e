"""Whether the routes agree: the worst number of each kind beside the limit it must keep.

The limits are those that the project promises: certified solution and finite-step identity to
rounding, flow against simulation to what three step sizes can resolve, and a difference between
flow and run that is of first order in the step.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import pandas as pd

ERROR_BOUND = 1e-11
IDENTITY = 1e-11
EXTRAPOLATED = 1e-6
STEP_RATIO_TOLERANCE = 0.2
"""Of the ratio 2 by which halving the step divides a first-order difference."""
CRITERIA = {
    "error_bound": ("certified error of the theory's solution", ERROR_BOUND),
    "identity_minus_simulation": ("finite-step identity against simulation", IDENTITY),
    "theory_minus_extrapolated": (
        "flow's theory against simulation extrapolated to step size 0",
        EXTRAPOLATED,
    ),
}
STATUSES = ("status_theory", "status_simulation", "status_identity")


def verdict(table: pd.DataFrame) -> pd.DataFrame:
    """Reduce the comparison to one row per data set and algorithm.

    Parameters
    ----------
    table : pandas.DataFrame
        As returned by :func:`analysis.theory_vs_simulation.run`.

    Returns
    -------
    pandas.DataFrame
        data_set, algorithm, kind, limits (number of radii); the largest of each column of CRITERIA
        over radii and step sizes (nan if there is no number); step_ratio, by which the largest
        difference between flow and simulation falls when the step is halved for the last time (2
        for a first-order difference); agrees (bool); why_not (text, empty if it agrees).
    """
    import pandas as pd

    rows = []
    for (data_set, algorithm, kind), part in table.groupby(
        ["data_set", "algorithm", "kind"], sort=False
    ):
        worst = {name: float(part[name].max()) for name in CRITERIA}
        by_step = part.groupby("step_size")["theory_minus_simulation"].max().sort_index()
        ratio = float(by_step.iloc[1] / by_step.iloc[0]) if len(by_step) > 1 else np.nan
        complaints = _complaints(part, worst)
        if not abs(ratio - 2.0) <= STEP_RATIO_TOLERANCE:
            complaints.append(f"step_ratio is {ratio:.2f}, not 2 to {STEP_RATIO_TOLERANCE}")
        rows.append(
            {
                "data_set": data_set,
                "algorithm": algorithm,
                "kind": kind,
                "limits": part["rho"].nunique(),
                **worst,
                "step_ratio": ratio,
                "agrees": not complaints,
                "why_not": "; ".join(complaints),
            }
        )
    return pd.DataFrame(rows)


def _complaints(part: pd.DataFrame, worst: dict[str, float]) -> list[str]:
    found = [
        f"{name} is {worst[name]:.1e}, more than {limit:.0e}"
        for name, (_, limit) in CRITERIA.items()
        if not worst[name] <= limit
    ]
    missing = part.groupby("rho")[list(CRITERIA)].count().eq(0).any(axis=1)
    found += [f"a comparison is missing at rho = {rho:g}" for rho in missing.index[missing]]
    for column in STATUSES:
        others = sorted(set(part[column]) - {"converged"})
        found += [f"{column} is {status}" for status in others]
    return found
