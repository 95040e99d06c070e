"""Measured against bound for the convergence theorems, log-log, one panel per theorem."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from figures import style

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLUMNS = (
    "theorem", "problem", "batch_size", "m", "normalization", "T", "quantity", "measured", "slack",
    "confidence_bound", "predicted",
)  # fmt: skip
PANELS = ("T1", "T2", "T3", "T4", "T5-PL", "T6")
PROBLEMS = {"noisy_quadratic": "#D55E00", "logistic": "#0072B2", "interpolation": "#009E73"}
_MARKERS = ("D", "o", "^")
CAPTION = (
    "Six theorems on three problems: markers are measured (means over seeds where minibatches are "
    "drawn, b = 1, with the one-sided 99 % bound), dashes the theorem's bound. Every marker lies "
    "below its dashes; how far is the slack. T1, T2, T5-PL and T6 (unnormalised) are stochastic, "
    "T3 and T4 use all examples. Values that are rounding are left out."
)
ALT = "Six panels, a theorem's quantity against the number of steps, markers below dashed bounds."
_LABELS = {
    "mean of |grad L|^2": "mean |∇L|²",
    "min of |grad L|^2": "min |∇L|²",
    "L - L*": "L − L*",
}


def draw(table: pd.DataFrame) -> Figure:
    """Draw one panel per theorem of PANELS.

    Parameters
    ----------
    table : pandas.DataFrame
        ``results/convergence_rates.csv``.

    Returns
    -------
    matplotlib.figure.Figure
        Two columns; problems that a theorem does not apply to are missing from its panel.
    """
    import matplotlib.pyplot as plt

    style.require(table.columns, COLUMNS, "convergence_rates")
    with style.house("convergence_rates"):
        figure, panels = plt.subplots(
            3, 2, figsize=(1.55 * style.COLUMN_WIDTH, 6.6), layout="constrained", sharex=False
        )
        for index, (axes, name) in enumerate(zip(panels.flat, PANELS, strict=True)):
            _panel(axes, table[table["theorem"] == name])
            style.letter(axes, index, name)
        for axes in panels[-1]:
            axes.set_xlabel("steps T")
        handles, labels = panels[0, 0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=len(labels))
    return figure


def _panel(axes: Axes, rows: pd.DataFrame) -> None:
    import matplotlib.ticker as ticker

    rows = rows[rows["normalization"].isin([0.0]) | (rows["theorem"] == "T4")]
    for (problem, color), marker in zip(PROBLEMS.items(), _MARKERS, strict=True):
        part = rows[rows["problem"] == problem]
        part = part[part["batch_size"] == part["batch_size"].min()]
        part = part[(part["m"] == part["m"].min()) & (part["measured"] > 0.0)].sort_values("T")
        if part.empty:
            continue
        axes.plot(part["T"], part["predicted"], color=color, ls="--")
        axes.errorbar(
            part["T"], part["measured"],
            yerr=[np.zeros(len(part)), part["confidence_bound"] - part["measured"]],
            color=color, marker=marker, ls="-", lw=0.8, mfc="white",
            label=problem.replace("_", " "),
        )  # fmt: skip
        axes.set_ylabel(_LABELS.get(part["quantity"].iloc[0], part["quantity"].iloc[0]))
    axes.set(xscale="log", yscale="log")
    axes.yaxis.set_major_locator(ticker.LogLocator(numticks=6))
