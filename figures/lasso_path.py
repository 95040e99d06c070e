"""The time average of gradient flow on its way to the lasso path."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from figures import style

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLUMNS = ("alpha", "s", "coordinate", "average", "lasso")
MARKERS = {0: "o", 1: "s", 2: "D"}
CAPTION = (
    "Panel a: the five largest coefficients on the lasso path (lines) against s = 1/weight, and "
    "the time average of gradient flow at t = (s/2) log(1/alpha^2), for the largest and two "
    "smaller scales (markers from light to dark). Panel b: the largest difference over s and "
    "coordinates, relative to the largest coefficient, is inversely proportional to "
    "log(1/alpha^2) (grey: slope -1), as Berthier (2026) has it in the limit. Published 20 x 30 "
    "instance."
)
ALT = "Left, coefficients against s with markers approaching lines; right, error against log scale."


def draw(table: pd.DataFrame) -> Figure:
    """Draw the path and the error.

    Parameters
    ----------
    table : pandas.DataFrame
        ``results/lasso_path.csv``.

    Returns
    -------
    matplotlib.figure.Figure
        The path left, the error right.
    """
    import matplotlib.pyplot as plt

    style.require(table.columns, COLUMNS, "lasso_path")
    with style.house("lasso_path"):
        figure, (path, error) = plt.subplots(
            1, 2, figsize=(1.4 * style.COLUMN_WIDTH, 2.9), layout="constrained"
        )
        _path(path, table)
        off = (table["average"] - table["lasso"]).abs().groupby(table["alpha"]).max()
        relative = off / table["lasso"].abs().groupby(table["alpha"]).max()
        log_scale = -2.0 * np.log(relative.index.to_numpy())
        error.plot(log_scale, relative, color="black", marker="s", mfc="white")
        error.plot(log_scale, relative.min() * log_scale.max() / log_scale, color="0.6", lw=0.8)
        error.set(
            xscale="log", yscale="log", xlabel="log(1/α²)", ylabel="largest relative difference"
        )
        style.plain_ticks(error.xaxis)
        style.letter(path, 0, "coefficients, units of β")
        style.letter(error, 1, "error")
    return figure


def _path(axes: Axes, table: pd.DataFrame) -> None:
    scales = sorted(set(table["alpha"]), reverse=True)
    chosen = [scales[0], scales[len(scales) // 2], scales[-1]]
    size = table["lasso"].abs().groupby(table["coordinate"]).max()
    largest = size.nlargest(5).index
    for coordinate in largest:
        part = table[table["coordinate"] == coordinate]
        rows = part[part["alpha"] == chosen[-1]].sort_values("s")
        axes.plot(rows["s"], rows["lasso"], color="black", lw=0.9)
        for number, alpha in enumerate(chosen):
            rows = part[part["alpha"] == alpha].sort_values("s")
            axes.plot(
                rows["s"], rows["average"], color=f"{0.7 - 0.35 * number:.2f}", mfc="white",
                marker=MARKERS[number], ls="none", ms=3,
                label=f"α = {alpha:g}" if coordinate == largest[0] else "_",
            )  # fmt: skip
    axes.set(xscale="log", xlabel="s, units of 1/(β × loss curvature)")
    axes.legend(loc="upper left", handletextpad=0.2)
