"""Sharpness, trace and l1 norm of the selected solution against its test loss."""

from __future__ import annotations

from typing import TYPE_CHECKING

from figures import style

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

COLUMNS = (
    "design", "seed", "kind", "alpha", "rho", "test_loss", "sharpness", "hessian_trace", "l1_norm"
)  # fmt: skip
MEASURES = {
    "sharpness": "largest Hessian eigenvalue",
    "hessian_trace": "trace of the Hessian",
    "l1_norm": "l1 norm, units of β",
}
CAPTION = (
    "Test loss of the selected solutions of one isotropic instance (seed 0) against three "
    "measures; every point is an algorithm with its radius and initial scale (larger markers: "
    "larger scale). The largest eigenvalue orders them badly, the trace fairly, the l1 norm "
    "almost perfectly. Correlations over all instances and designs: "
    "results/sharpness_correlations.csv. The publication makes the same observation for deep "
    "networks, without a number that could be compared."
)
ALT = "Three panels with the same test losses against sharpness, trace and l1 norm."


def draw(table: pd.DataFrame) -> Figure:
    """Draw one panel per measure, for the first design and seed of the table.

    Parameters
    ----------
    table : pandas.DataFrame
        ``results/sharpness_and_generalization.csv``.

    Returns
    -------
    matplotlib.figure.Figure
        Panels on a common axis of test loss.
    """
    import matplotlib.pyplot as plt

    style.require(table.columns, COLUMNS, "sharpness_and_generalization")
    first = table.iloc[0]
    table = table[(table["design"] == first["design"]) & (table["seed"] == first["seed"])]
    scales = sorted(set(table["alpha"]))
    with style.house("sharpness_and_generalization"):
        figure, panels = plt.subplots(
            1, 3, figsize=(1.4 * style.COLUMN_WIDTH, 2.7), sharey=True, layout="constrained"
        )
        for index, (axes, (measure, title)) in enumerate(
            zip(panels, MEASURES.items(), strict=True)
        ):
            for kind, rows in table.groupby("kind", sort=False):
                look = style.LOOKS[kind]
                for number, alpha in enumerate(scales):
                    part = rows[rows["alpha"] == alpha]
                    axes.plot(
                        part[measure], part["test_loss"], color=look.color, marker=look.marker,
                        ls="none", mfc="none", ms=2.5 + 1.5 * number,
                        label=style.NAMES[kind] if number == 1 else "_",
                    )  # fmt: skip
            axes.set(xscale="log", yscale="log", xlabel=title)
            style.plain_ticks(axes.xaxis)
            style.letter(axes, index, "")
        panels[0].set_ylabel("test loss")
        figure.legend(*panels[0].get_legend_handles_labels(), loc="outside upper center", ncols=4)
    return figure
