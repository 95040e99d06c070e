"""Where in the plane of radius and scale SAM selects a better solution than gradient descent."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from figures import style

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

COLUMNS = ("data_set", "kind", "alpha", "rho", "test_loss", "test_loss_gd", "status")
LARGEST = 1.0
CAPTION = (
    "Test loss of the solution that n-SAM and 1-SAM select, relative to gradient descent from "
    "the same scale, as a power of ten: teal is better, brown worse, colours end at a factor of "
    "10. Hatched: the scale shrinks so far that the flow does not end within the integrator's "
    "steps. On the published instance 1-SAM helps and n-SAM hurts everywhere, more at small "
    "alpha and large ρ; on the spectra it is nearly the other way round. Published (finite "
    "steps, alpha = 0.1): n-SAM 0.0151 to 0.0361 for ρ from 0.01 to 1 against 0.0151 of GD."
)
ALT = (
    "Four maps over radius and alpha; left n-SAM, right 1-SAM, above synthetic data, below spectra."
)


def draw(table: pd.DataFrame) -> Figure:
    """Draw one map per data set and algorithm.

    Parameters
    ----------
    table : pandas.DataFrame
        ``results/phase_diagram.csv``.

    Returns
    -------
    matplotlib.figure.Figure
        Rows of data sets, columns of algorithms, one colour bar.
    """
    import matplotlib.pyplot as plt

    style.require(table.columns, COLUMNS, "phase_diagram")
    names, kinds = (list(dict.fromkeys(table[column])) for column in ("data_set", "kind"))
    with style.house("phase_diagram"):
        figure, panels = plt.subplots(
            len(names),
            len(kinds),
            figsize=(1.4 * style.COLUMN_WIDTH, 2.3 * len(names) + 0.5),
            squeeze=False,
            sharex=True,
            sharey=True,
            layout="constrained",
        )
        cells = [(name, kind) for name in names for kind in kinds]
        for index, (axes, (name, kind)) in enumerate(zip(panels.flat, cells, strict=True)):
            part = table[(table["data_set"] == name) & (table["kind"] == kind)]
            part = part.assign(change=np.log10(part["test_loss"] / part["test_loss_gd"]))
            grid = part.pivot(index="alpha", columns="rho", values="change")
            axes.set_facecolor("0.93")
            axes.patch.set(hatch="////", edgecolor="0.75")
            colours = axes.pcolormesh(
                _edges(grid.columns), _edges(grid.index), grid.to_numpy(), cmap="BrBG_r",
                vmin=-LARGEST, vmax=LARGEST, rasterized=True,
            )  # fmt: skip
            axes.grid(False)
            axes.set(xscale="log", yscale="log")
            axes.set(xlim=_ends(grid.columns), ylim=_ends(grid.index))
            style.letter(axes, index, f"{style.NAMES[kind]}, {name}")
        for axes in panels[-1]:
            axes.set_xlabel("radius ρ")
        for axes in panels[:, 0]:
            axes.set_ylabel("alpha, units of √β")
        bar = figure.colorbar(colours, ax=panels, location="bottom", aspect=40, extend="both")
        bar.set_label("log10 of test loss / test loss of GD (dimensionless)")
    return figure


def _edges(centres: pd.Index) -> np.ndarray:
    """Return the limits of cells around logarithmically spaced centres."""
    logs = np.log(centres.to_numpy(dtype=float))
    half = 0.5 * (logs[1] - logs[0])
    return np.exp(np.append(logs - half, logs[-1] + half))


def _ends(values: pd.Index) -> tuple[float, float]:
    return float(values.min()), float(values.max())
