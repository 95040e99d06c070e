"""Rank correlation of test loss with four measures of the selected solution."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from figures import style

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

COLUMNS = ("design", "group", "measure", "correlation", "low", "high", "instances")
MEASURES = {
    "sharpness": "largest eigenvalue",
    "hessian_trace": "trace of the Hessian",
    "l1_norm": "l1 norm",
    "alpha_effective_mean": "mean effective scale",
}
SHADES = ("0.0", "0.45", "0.0", "0.45", "0.0", "0.45", "0.0", "0.45", "0.0")
MARKERS = "osDP^v<>X"
CAPTION = (
    "Spearman correlation between the test loss and a measure of the solution, within instances, "
    "mean over instances with 95 % bootstrap intervals. Plus one: the smaller measure "
    "generalises better. Rows: which limits are compared (all of them; gradient descent over "
    "scales; an algorithm over radii at fixed scale; all algorithms at fixed scale). On the "
    "synthetic sparse problems the l1 norm explains generalisation and the largest eigenvalue "
    "does not; on the spectra, whose solution is not sparse, every sign is reversed over scales."
)
ALT = "Four panels, correlation from -1 to 1 by group of limits, a marker for each design."


def draw(table: pd.DataFrame) -> Figure:
    """Draw one panel per measure.

    Parameters
    ----------
    table : pandas.DataFrame
        ``results/sharpness_correlations.csv``.

    Returns
    -------
    matplotlib.figure.Figure
        Panels on common axes.
    """
    import matplotlib.pyplot as plt

    style.require(table.columns, COLUMNS, "sharpness_correlations")
    designs, groups = (list(dict.fromkeys(table[column])) for column in ("design", "group"))
    places = np.arange(len(groups))
    with style.house("sharpness_correlations"):
        figure, panels = plt.subplots(
            2, 2, figsize=(1.4 * style.COLUMN_WIDTH, 5.0), sharex=True, sharey=True,
            layout="constrained",
        )  # fmt: skip
        for index, (axes, (measure, title)) in enumerate(
            zip(panels.flat, MEASURES.items(), strict=True)
        ):
            part = table[table["measure"] == measure]
            axes.axvline(0.0, color="0.5", lw=0.6)
            for number, design in enumerate(designs):
                rows = part[part["design"] == design].set_index("group").reindex(groups)
                axes.errorbar(
                    rows["correlation"], places + 0.7 * ((number + 0.5) / len(designs) - 0.5),
                    xerr=(rows["correlation"] - rows["low"], rows["high"] - rows["correlation"]),
                    color=SHADES[number], marker=MARKERS[number], mfc="white", ls="none", ms=3.5,
                    capsize=1.5, lw=0.8, label=design,
                )  # fmt: skip
            axes.set(xlim=(-1.08, 1.08))
            style.letter(axes, index, title)
        panels[0, 0].set_yticks(places, groups)
        panels[0, 0].invert_yaxis()
        for axes in panels[-1]:
            axes.set_xlabel("rank correlation")
        figure.legend(
            *panels[0, 0].get_legend_handles_labels(), loc="outside upper center",
            ncols=min(len(designs), 4), columnspacing=1.0, handletextpad=0.3,
        )  # fmt: skip
    return figure
