"""Predicted and measured shrinkage of the scale: radius, step size, batch size, alpha."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from figures import style

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLUMNS = (
    "series", "kind", "x", "predicted_mean", "measured_mean", "relative_error", "standard_error",
)  # fmt: skip
CAPTION = (
    "Shrinkage log(alpha/alpha_effective) of the initial scale against the leading-order "
    "dictionary: ρ times the exponent of m-SAM plus half the step size times that of the "
    "minibatch (GD with step γ acts like n-SAM, SGD like 1-SAM, with ρ = γ/2; minibatches of b "
    "like b-SAM). Lines: predicted; markers: measured, SGD as the mean over runs with twice its "
    "standard error. Panel b: the largest error over the coordinates, relative to the largest "
    "prediction, falls in proportion to the radius or step size (grey: slope 1), so the absolute "
    "error is of second order. No published number to compare with."
)
ALT = (
    "Four panels: shrinkage against radius or step size, its relative error, shrinkage against "
    "minibatch size and against alpha; markers lie on the lines."
)
_VARIED = ("GD, step size", "SGD, step size", "n-SAM, radius", "1-SAM, radius")


def draw(table: pd.DataFrame) -> Figure:
    """Draw the four panels.

    Parameters
    ----------
    table : pandas.DataFrame
        ``results/leading_order.csv``.

    Returns
    -------
    matplotlib.figure.Figure
        Shrinkage and error against x, shrinkage against batch size and alpha.
    """
    import matplotlib.pyplot as plt

    style.require(table.columns, COLUMNS, "leading_order")
    with style.house("leading_order"):
        figure, panels = plt.subplots(
            2, 2, figsize=(1.4 * style.COLUMN_WIDTH, 4.6), layout="constrained"
        )
        for name in _VARIED:
            part = table[table["series"] == name].sort_values("x")
            _shrinkage(panels[0, 0], part, name)
            look = style.LOOKS[part["kind"].iloc[0]]
            panels[0, 1].plot(
                part["x"], part["relative_error"], color=look.color, marker=look.marker,
                mfc="white", ls=look.line,
            )  # fmt: skip
        x = np.sort(table.loc[table["series"] == _VARIED[0], "x"].to_numpy())
        panels[0, 1].plot(x, 0.25 * x, color="0.6", lw=0.8)
        _shrinkage(panels[1, 0], table[table["series"] == "SGD, batch size"].sort_values("x"), "")
        for name in ("GD, alpha", "1-SAM, alpha"):
            _shrinkage(panels[1, 1], table[table["series"] == name].sort_values("x"), "")
        titles = ("mean shrinkage", "relative error", "SGD by minibatch size", "by initial scale")
        labels = ("radius ρ or step size γ",) * 2 + ("minibatch size b", "alpha, units of √β")
        for index, axes in enumerate(panels.flat):
            axes.set(xscale="log", yscale="log", xlabel=labels[index])
            style.letter(axes, index, titles[index])
            style.plain_ticks(axes.xaxis)
            style.plain_ticks(axes.yaxis)
            axes.set_ylabel("log(α / α effective)" if index != 1 else "largest error / prediction")
        sizes = table.loc[table["series"] == "SGD, batch size", "x"]
        panels[1, 0].set_xticks(list(sizes), [f"{b:g}" for b in sizes])
        panels[1, 0].minorticks_off()
        figure.legend(
            *panels[0, 0].get_legend_handles_labels(), loc="outside upper center", ncols=4
        )
    return figure


def _shrinkage(axes: Axes, part: pd.DataFrame, name: str) -> None:
    look = style.LOOKS[part["kind"].iloc[0]]
    axes.plot(part["x"], part["predicted_mean"], color=look.color, ls=look.line, label="_")
    axes.errorbar(
        part["x"], part["measured_mean"], yerr=2.0 * part["standard_error"], color=look.color,
        marker=look.marker, mfc="white", ls="none", capsize=2, label=name or "_",
    )  # fmt: skip
