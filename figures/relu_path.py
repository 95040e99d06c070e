"""Sharpness beside the edge of stability, and complexity, along ERM and SAM runs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from figures import style

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

COLUMNS = (
    "name", "kind", "rho", "seed", "step", "sharpness", "edge", "gd_edge", "balance_moved",
    "total_variation",
)  # fmt: skip
CAPTION = (
    "Along the runs of the published 1-D experiment, one line per seed. a: largest Hessian "
    "eigenvalue; crosses, for the first seed: the eigenvalue at which a step of normalised SAM is "
    "no longer stable at the gradient norm of that moment; dashed: 2/step for ERM. b: largest "
    "change of a² − w² − b², which gradient flow conserves. c: total variation of f′."
)
ALT = "Three panels against steps: sharpness with its edge, change of balancedness, variation."


def draw(table: pd.DataFrame) -> Figure:
    """Draw the three panels.

    Parameters
    ----------
    table : pandas.DataFrame
        ``results/relu_path.csv``: one row per run and step looked at.

    Returns
    -------
    matplotlib.figure.Figure
    """
    import matplotlib.pyplot as plt

    style.require(table.columns, COLUMNS, "relu_path")
    panels_of = ("sharpness", "balance_moved", "total_variation")
    titles = ("largest Hessian eigenvalue; ×: SAM's edge", "change of balancedness",
              "total variation of f′")  # fmt: skip
    with style.house("relu_path"):
        figure, panels = plt.subplots(
            3, 1, figsize=(style.COLUMN_WIDTH, 6.2), sharex=True, layout="constrained"
        )
        for index, (axes, column, title) in enumerate(zip(panels, panels_of, titles, strict=True)):
            for (kind, name, seed), part in table.groupby(["kind", "name", "seed"], sort=False):
                look, rows = style.LOOKS[kind], part.sort_values("step")
                label = name.replace("rho", "ρ") if seed == table["seed"].min() else None
                axes.plot(
                    rows["step"], rows[column], color=look.color, lw=0.9, alpha=0.65, label=label
                )
                shown = rows[rows["edge"] < float("inf")]
                if column != "sharpness" or not len(shown):
                    continue
                if kind == "gd":
                    axes.plot(
                        shown["step"], shown["edge"], color=look.color, ls=(0, (4, 3)), lw=0.8
                    )
                elif label:
                    axes.plot(
                        shown["step"], shown["edge"], color="#D55E00", marker="x", ls="none", ms=3.5
                    )
            axes.set(xscale="log", yscale="log")
            style.letter(axes, index, title)
        panels[0].legend(loc="lower left")
        panels[-1].set_xlabel("steps")
    return figure
