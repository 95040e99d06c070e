"""How near to the smallest l1 norm deeper diagonal networks come as the scale shrinks."""

from __future__ import annotations

from typing import TYPE_CHECKING

from figures import style

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

COLUMNS = ("depth", "mu", "l1_excess", "l1_excess_simulation", "test_loss")
LINES = ("-", (0, (5, 1)), (0, (3, 1, 1, 1)), (0, (1, 1)), (0, (7, 2, 1, 2)), (0, (2, 2)))
MARKERS = "soD^vP"
CAPTION = (
    "Gradient flow on diagonal networks of depth D, at equal scale mu of beta at the start "
    "(published 20 x 30 instance): excess of the l1 norm over the smallest interpolator's, and "
    "test loss. Lines: minimisers of the depth-D potential; markers: the flow integrated in the "
    "weights. Above depth 2 the excess falls in proportion to mu, at depth 2 as mu to the power "
    "0.527, both predicted without a fit. All curves are gradient descent's; grey shades tell "
    "depths apart."
)
ALT = "Two panels against the scale: l1 excess and test loss, steeper for depths above 2."


def draw(table: pd.DataFrame) -> Figure:
    """Draw the two panels.

    Parameters
    ----------
    table : pandas.DataFrame
        ``results/depth.csv``.

    Returns
    -------
    matplotlib.figure.Figure
        l1 excess left, test loss right.
    """
    import matplotlib.pyplot as plt

    style.require(table.columns, COLUMNS, "depth")
    depths = sorted(set(table["depth"]))
    with style.house("depth"):
        figure, panels = plt.subplots(
            1, 2, figsize=(1.4 * style.COLUMN_WIDTH, 2.8), sharex=True, layout="constrained"
        )
        for number, depth in enumerate(depths):
            rows = table[table["depth"] == depth].sort_values("mu")
            shade = f"{0.6 * number / max(len(depths) - 1, 1):.2f}"
            line = LINES[number % len(LINES)]
            for axes, name in zip(panels, ("l1_excess", "test_loss"), strict=True):
                axes.plot(rows["mu"], rows[name], color=shade, ls=line, label=f"depth {depth:g}")
            panels[0].plot(
                rows["mu"], rows["l1_excess_simulation"], color=shade, mfc="white",
                marker=MARKERS[number % len(MARKERS)], ls="none",
            )  # fmt: skip
        titles = ("l1 norm over the minimum, units of β", "test loss")
        for index, (axes, title) in enumerate(zip(panels, titles, strict=True)):
            axes.set(xscale="log", yscale="log", xlabel="scale mu at the start, units of β")
            style.letter(axes, index, title)
        figure.legend(*panels[0].get_legend_handles_labels(), loc="outside upper center", ncols=4)
    return figure
