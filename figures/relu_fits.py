"""What ERM and SAM fit to the 12 points of the published 1-D experiment, seed by seed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from figures import style

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

COLUMNS = ("name", "kind", "rho", "seed", "x", "f")
CAPTION = (
    "Functions fitted to the 12 points (circles) by a one-hidden-layer ReLU network of width 100, "
    "between the outermost points, one line per initialisation. The lines join the vertices of the "
    "piecewise-linear fits, so they are exact."
)
ALT = "One panel per algorithm with a line per seed through or near the 12 points."


def draw(table: pd.DataFrame) -> Figure:
    """Draw one panel per algorithm, on common axes.

    Parameters
    ----------
    table : pandas.DataFrame
        ``results/relu_fits.csv``: vertices of each fit, and the points under the name "data".

    Returns
    -------
    matplotlib.figure.Figure
        Panels in the order of the table.
    """
    import matplotlib.pyplot as plt

    style.require(table.columns, COLUMNS, "relu_fits")
    points = table[table["name"] == "data"]
    fits = table[table["name"] != "data"]
    names = list(dict.fromkeys(fits["name"]))
    with style.house("relu_fits"):
        figure, panels = plt.subplots(
            len(names),
            1,
            figsize=(style.COLUMN_WIDTH, 2.2 * len(names) + 0.3),
            squeeze=False,
            sharex=True,
            sharey=True,
            layout="constrained",
        )
        for index, (axes, name) in enumerate(zip(panels[:, 0], names, strict=True)):
            part = fits[fits["name"] == name]
            look = style.LOOKS[part["kind"].iloc[0]]
            seeds = part.groupby("seed", sort=True)
            for seed, rows in seeds:
                axes.plot(
                    rows["x"], rows["f"], color=look.color, lw=0.9, alpha=0.65, label=f"seed {seed}"
                )
            axes.plot(
                points["x"], points["f"], color="#D55E00", marker="o", mfc="white", ls="none",
                zorder=3, label="data",
            )  # fmt: skip
            axes.set_ylabel("f(x)")
            title = name.replace("rho", "ρ")
            style.letter(axes, index, f"{title}: {seeds.ngroups} seeds")
        panels[-1, 0].set_xlabel("x")
    return figure
