"""Test loss of the selected solution against the perturbation radius."""

from __future__ import annotations

from typing import TYPE_CHECKING

from figures import style

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

COLUMNS = (
    "data_set", "algorithm", "kind", "rho", "step_size", "test_loss_theory", "test_loss_simulation",
)  # fmt: skip
CAPTION = (
    "Test loss of the selected solution against the radius. Lines: theory. Markers: the "
    "simulated run with the smallest step. The horizontal line is GD. At one radius the "
    "perturbation of 1-SAM is much stronger than that of n-SAM, so the curves are to be "
    "compared by shape, not at equal radius."
)
ALT = (
    "One panel per data set, test loss against radius, lines for theory and markers for simulation."
)


def draw(table: pd.DataFrame) -> Figure:
    """Draw one panel per data set.

    Parameters
    ----------
    table : pandas.DataFrame
        ``results/theory_vs_simulation.csv``; data sets without test rows are left out.

    Returns
    -------
    matplotlib.figure.Figure
        Panels in the order of the table.
    """
    import matplotlib.pyplot as plt

    style.require(table.columns, COLUMNS, "theory_vs_simulation")
    table = table[table["test_loss_theory"].notna()]
    names = list(dict.fromkeys(table["data_set"]))
    with style.house("test_loss_vs_rho"):
        figure, panels = plt.subplots(
            len(names),
            1,
            figsize=(style.COLUMN_WIDTH, 2.3 * len(names) + 0.3),
            squeeze=False,
            layout="constrained",
        )
        for index, (axes, name) in enumerate(zip(panels[:, 0], names, strict=True)):
            part = table[table["data_set"] == name]
            for (kind, algorithm), rows in part.groupby(["kind", "algorithm"], sort=False):
                look = style.LOOKS[kind]
                rows = rows[rows["step_size"] == rows["step_size"].min()].sort_values("rho")
                if kind in ("gd", "sgd"):
                    axes.axhline(
                        rows["test_loss_theory"].iloc[0], color=look.color, lw=1, label=algorithm
                    )
                    continue
                axes.plot(
                    rows["rho"],
                    rows["test_loss_theory"],
                    color=look.color,
                    ls=look.line,
                    label=algorithm,
                )
                axes.plot(
                    rows["rho"],
                    rows["test_loss_simulation"],
                    color=look.color,
                    marker=look.marker,
                    mfc="white",
                    ls="none",
                )
            axes.set(xscale="log", yscale="log", ylabel="test loss")
            style.letter(axes, index, name)
        panels[0, 0].legend()
        panels[-1, 0].set_xlabel("radius ρ")
    return figure
