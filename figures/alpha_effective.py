"""Effective initialisation scale of each coordinate: what the perturbation does to the bias."""

from __future__ import annotations

from typing import TYPE_CHECKING

from figures import style

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLUMNS = (
    "data_set", "algorithm", "kind", "rho", "alpha", "coordinate", "feature",
    "alpha_effective_theory", "alpha_effective_identity", "beta_star",
)  # fmt: skip
CAPTION = (
    "Effective scale of each coordinate relative to the initial one, at the largest radius of "
    "each algorithm; smaller favours sparser solutions. Synthetic data: lines are the theory "
    "of the flow, markers the accumulated factors of the simulated run, grey bands the "
    "coordinates of the true solution. Spectra: theory against spectral position."
)
ALT = "One panel per data set, effective scale of each coordinate for each algorithm."
_MARKERS_BELOW = 100


def draw(table: pd.DataFrame) -> Figure:
    """Draw one panel per data set.

    Parameters
    ----------
    table : pandas.DataFrame
        ``results/alpha_effective.csv``: one row per data set, algorithm, rho and coordinate.

    Returns
    -------
    matplotlib.figure.Figure
        Panels in the order of the table.
    """
    import matplotlib.pyplot as plt

    style.require(table.columns, COLUMNS, "alpha_effective")
    names = list(dict.fromkeys(table["data_set"]))
    with style.house("alpha_effective"):
        figure, panels = plt.subplots(
            len(names),
            1,
            figsize=(style.COLUMN_WIDTH, 2.5 * len(names) + 0.6),
            squeeze=False,
            layout="constrained",
        )
        for index, (axes, name) in enumerate(zip(panels[:, 0], names, strict=True)):
            _panel(axes, table[table["data_set"] == name])
            axes.set(yscale="log", ylabel="effective / initial scale")
            style.letter(axes, index, name)
        keys = [axes.get_legend_handles_labels() for axes in panels[:, 0]]
        if all(labels == keys[0][1] for _, labels in keys):
            figure.legend(*keys[0], loc="outside upper center", ncols=2)
        else:
            for axes in panels[:, 0]:
                axes.legend()
    return figure


def _panel(axes: Axes, part: pd.DataFrame) -> None:
    first = part[part["coordinate"].duplicated().eq(False)]
    few = len(first) <= _MARKERS_BELOW
    for coordinate in first.loc[first["beta_star"].fillna(0.0) != 0.0, "coordinate"]:
        axes.axvspan(coordinate - 0.5, coordinate + 0.5, color="0.9", lw=0)
    for (kind, algorithm), rows in part.groupby(["kind", "algorithm"], sort=False):
        look = style.LOOKS[kind]
        rows = rows[rows["rho"] == rows["rho"].max()].sort_values("coordinate")
        where = rows["coordinate"] if few else rows["feature"].astype(float)
        axes.plot(
            where,
            rows["alpha_effective_theory"] / rows["alpha"],
            color=look.color,
            lw=0.8,
            label=style.label(algorithm, rows["rho"].iloc[0]),
        )
        if few:
            axes.plot(
                where,
                rows["alpha_effective_identity"] / rows["alpha"],
                color=look.color,
                marker=look.marker,
                mfc="white",
                ms=3,
                ls="none",
            )
    axes.set_xlabel("coordinate" if few else "spectral position")
