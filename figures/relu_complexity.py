"""Complexity of the fits of ReLU networks against the radius of SAM, with intervals over seeds."""

from __future__ import annotations

from typing import TYPE_CHECKING

from figures import style

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

COLUMNS = ("name", "kind", "rho", "measure", "seeds", "mean", "low", "high")
MEASURES = {
    "total_variation": "total variation of f′",
    "kinks": "visible kinks",
    "sharpness": "largest Hessian eigenvalue",
    "active_neurons": "active neurons",
}
CAPTION = (
    "Complexity of the fits to the 12 points of the published 1-D experiment: means over seeds, "
    "bars with 95 % bootstrap intervals. The line and its band are ERM. Visible kinks: places "
    "within 1 % of the range are one, changes of slope of at most 1 % of the total variation none."
)
ALT = "Four panels, each a measure of complexity against the radius, with ERM as a horizontal band."


def draw(table: pd.DataFrame) -> Figure:
    """Draw one panel per measure.

    Parameters
    ----------
    table : pandas.DataFrame
        ``results/relu_complexity_summary.csv``: a mean with its interval per name and measure.

    Returns
    -------
    matplotlib.figure.Figure
        Four panels; only runs named "ERM" give the horizontal line.
    """
    import matplotlib.pyplot as plt
    from matplotlib.ticker import LogLocator, NullFormatter

    style.require(table.columns, COLUMNS, "relu_complexity_summary")
    sam = table[table["rho"] > 0.0]
    radii, seeds = sorted(set(sam["rho"])), int(table["seeds"].max())
    with style.house("relu_complexity"):
        figure, panels = plt.subplots(
            2, 2, figsize=(1.35 * style.COLUMN_WIDTH, 4.4), sharex=True, layout="constrained"
        )
        for index, (axes, (measure, title)) in enumerate(
            zip(panels.flat, MEASURES.items(), strict=True)
        ):
            erm = table[(table["name"] == "ERM") & (table["measure"] == measure)].iloc[0]
            look = style.LOOKS["gd"]
            axes.axhline(erm["mean"], color=look.color, lw=1, label="ERM")
            axes.axhspan(erm["low"], erm["high"], color=look.color, alpha=0.15, lw=0)
            for kind, part in sam[sam["measure"] == measure].groupby("kind", sort=False):
                look, rows = style.LOOKS[kind], part.sort_values("rho")
                spread = (rows["mean"] - rows["low"], rows["high"] - rows["mean"])
                axes.errorbar(
                    rows["rho"],
                    rows["mean"],
                    yerr=spread,
                    color=look.color,
                    marker=look.marker,
                    ls=look.line,
                    mfc="white",
                    capsize=2,
                    label=rows["name"].iloc[0].split(", rho")[0],
                )
            axes.set_xscale("log")
            axes.set_xticks(radii, [f"{rho:g}" for rho in radii])
            axes.minorticks_off()
            if measure in ("total_variation", "sharpness"):
                axes.set_yscale("log")
                axes.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
                axes.yaxis.set_major_formatter("{x:g}")
                axes.yaxis.set_minor_formatter(NullFormatter())
            else:
                axes.set_ylim(0.0, 1.15 * max(erm["high"], axes.dataLim.y1))
            style.letter(axes, index, title)
        panels[0, 0].legend(loc="best")
        for axes in panels[-1]:
            axes.set_xlabel(f"radius ρ ({seeds} seeds)")
    return figure
