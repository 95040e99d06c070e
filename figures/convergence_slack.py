"""How loose each bound is: predicted over measured, theorem by problem."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from figures import style

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

COLUMNS = ("theorem", "problem", "kind", "T", "slack", "verdict")
CAPTION = (
    "The smallest slack (bound over measured value) of each upper bound on each problem, over "
    "horizons, batch sizes and m: 1 is a tight bound, 10 a bound ten times too large. Empty: the "
    "theorem's assumptions do not hold on that problem. A cross would mark a violated bound."
)
ALT = "Grid of theorems by problems, coloured and labelled by the slack of the bound."
_MOST = 1e4


def draw(table: pd.DataFrame) -> Figure:
    """Draw the grid.

    Parameters
    ----------
    table : pandas.DataFrame
        ``results/convergence_rates.csv``.

    Returns
    -------
    matplotlib.figure.Figure
        Rows are problems, columns theorems.
    """
    import matplotlib.pyplot as plt
    from matplotlib.colors import LogNorm

    style.require(table.columns, COLUMNS, "convergence_rates")
    upper = table[(table["kind"] == "upper") & np.isfinite(table["slack"]) & (table["slack"] > 0)]
    grid = upper.pivot_table("slack", "problem", "theorem", aggfunc="min", sort=False)
    bad = table[table["verdict"] == "violated"].groupby(["problem", "theorem"]).size()
    with style.house("convergence_slack"):
        figure, axes = plt.subplots(
            figsize=(1.5 * style.COLUMN_WIDTH, 0.25 * len(grid) + 1.2), layout="constrained"
        )
        image = axes.imshow(
            grid.clip(upper=_MOST), norm=LogNorm(1.0, _MOST), cmap="cividis_r", aspect="auto"
        )
        for i, problem in enumerate(grid.index):
            for j, theorem in enumerate(grid.columns):
                value = grid.loc[problem, theorem]
                if np.isfinite(value):
                    dark = value > 100.0
                    text = "×" if (problem, theorem) in bad.index else _short(float(value))
                    axes.text(
                        j, i, text, ha="center", va="center", fontsize=6.5,
                        color="white" if dark else "black",
                    )  # fmt: skip
        axes.set_xticks(range(len(grid.columns)), grid.columns)
        axes.set_yticks(range(len(grid)), [name.replace("_", " ") for name in grid.index])
        axes.grid(False)
        axes.tick_params(length=0)
        figure.colorbar(image, ax=axes, label="smallest slack (dimensionless)", extend="max")
    return figure


def _short(value: float) -> str:
    if value < 9.95:
        return f"{value:.2g}" if value >= 1.05 else f"{value:.2f}"
    if value < 1e4:
        return f"{value:.0f}"
    return f"1e{np.log10(value):.0f}"
