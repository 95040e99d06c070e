"""The plot of a verification: measured against bound, log-log."""

from __future__ import annotations

import io
import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from sam_theory.errors import InputError, MissingExtra

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

_NEEDED = (
    "theorem",
    "problem",
    "batch_size",
    "m",
    "T",
    "measured",
    "confidence_bound",
    "predicted",
)


def plot(table: pd.DataFrame, axes: Axes | None = None) -> Axes:
    """Draw measured values with their confidence bounds, and what the theorem predicts.

    Parameters
    ----------
    table : pandas.DataFrame
        Rows of one or more calls of :func:`sam_theory.convergence.verify`.
    axes : matplotlib.axes.Axes, optional
        Where to, new axes by default.

    Returns
    -------
    matplotlib.axes.Axes
        Horizontally T, vertically the theorem's quantity; markers are measured, dashes predicted.

    Raises
    ------
    InputError
        The table lacks a column.
    MissingExtra
        matplotlib is not installed.
    """
    missing = [column for column in _NEEDED if column not in table.columns]
    if missing:
        raise InputError(f"the table lacks the columns {', '.join(missing)}")
    if axes is None:
        axes = new_axes()
    for index, (labels, part) in enumerate(
        table.groupby(["theorem", "problem", "batch_size", "m"], sort=False)
    ):
        _curve(axes, part.sort_values("T"), labels, f"C{index % 10}")
    axes.set(xscale="log", yscale="log", xlabel="steps T")
    axes.legend(fontsize="small")
    return axes


def _curve(axes: Any, part: pd.DataFrame, labels: Any, color: str) -> None:
    theorem, problem, batch, m = labels
    T = np.maximum(part["T"].to_numpy(dtype=float), 1.0)
    measured = part["measured"].abs().to_numpy(dtype=float)
    predicted = part["predicted"].abs().to_numpy(dtype=float)
    spread = np.abs(
        part["confidence_bound"].to_numpy(dtype=float) - part["measured"].to_numpy(dtype=float)
    )
    spread[~np.isfinite(spread)] = np.nan
    name = f"{theorem}, {problem}, b = {batch}, m = {m}"
    shown = (measured > 0.0) & np.isfinite(measured)
    axes.errorbar(
        T[shown],
        measured[shown],
        yerr=spread[shown],
        color=color,
        marker="o",
        ls="-",
        label=f"{name}: measured",
    )
    axes.plot(
        T, np.where(predicted > 0.0, predicted, np.nan), color=color, ls="--", label="predicted"
    )


def save(table: pd.DataFrame, path: str) -> None:
    """Draw the table to a file, atomically; its suffix names the format."""
    target = Path(path)
    axes = plot(table)
    buffer = io.BytesIO()
    figure: Any = axes.figure
    figure.savefig(buffer, format=target.suffix[1:], dpi=200)
    descriptor, temporary = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.")
    try:
        with os.fdopen(descriptor, "wb") as stream:
            stream.write(buffer.getvalue())
        os.chmod(temporary, 0o644)
        os.replace(temporary, target)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def new_axes() -> Any:
    """Return new axes; MissingExtra if matplotlib is not installed."""
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError:
        raise MissingExtra("matplotlib", "report") from None
    figure = Figure(figsize=(5.0, 3.6), layout="constrained")
    FigureCanvasAgg(figure)
    return figure.add_subplot()
