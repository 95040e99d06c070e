"""The look of all pictures: an algorithm has one colour, marker and line everywhere.

Colours are those of Okabe and Ito, told apart with any common form of colour blindness; marker and
line differ as well, so that nothing depends on colour alone.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis

COLUMN_WIDTH = 4.2
"""Width of a picture in inches; text of 8 points stays readable when printed at 3.3 inches."""

_RC: dict[Any, Any] = {
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.labelsize": 8,
    "axes.linewidth": 0.6,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlelocation": "left",
    "axes.titlesize": 8,
    "figure.constrained_layout.use": True,
    "figure.dpi": 200,
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans", "Arial", "Helvetica", "sans-serif"],
    "font.size": 8,
    "grid.color": "0.88",
    "grid.linewidth": 0.5,
    "legend.fontsize": 7,
    "legend.frameon": False,
    "lines.linewidth": 1.2,
    "lines.markersize": 4,
    "pdf.fonttype": 42,
    "svg.fonttype": "none",
    "xtick.labelsize": 7,
    "ytick.labelsize": 7,
}


@dataclass(frozen=True)
class Look:
    """How an algorithm looks: colour, marker, line."""

    color: str
    marker: str
    line: str | tuple[int, tuple[int, ...]]


LOOKS = {
    "gd": Look("#000000", "s", "-"),
    "sgd": Look("#CC79A7", "v", (0, (1, 1))),
    "n-sam": Look("#0072B2", "o", (0, (5, 1))),
    "m-sam": Look("#009E73", "^", (0, (3, 1, 1, 1))),
    "1-sam": Look("#D55E00", "D", "-"),
}


NAMES = {"gd": "GD", "sgd": "SGD", "n-sam": "n-SAM", "m-sam": "m-SAM", "1-sam": "1-SAM"}


@contextmanager
def house(name: str) -> Iterator[None]:
    """Apply the look to what is drawn inside; `name` makes the ids inside an SVG reproducible."""
    import matplotlib as mpl

    with mpl.rc_context({**_RC, "svg.hashsalt": name}):
        yield


def label(algorithm: str, rho: float) -> str:
    """Return "n-SAM, rho = 0.3" with the Greek letter; only the name if rho is 0."""
    return algorithm if rho == 0.0 else f"{algorithm}, ρ = {rho:g}"


def require(columns: Iterable[str], needed: tuple[str, ...], name: str) -> None:
    """Raise ValueError that names the columns of table `name` that a picture needs and lacks."""
    present = set(columns)
    missing = [column for column in needed if column not in present]
    if missing:
        raise ValueError(f"table {name} lacks the columns {', '.join(missing)}")


def plain_ticks(axis: Axis) -> None:
    """Label a logarithmic axis at its decades alone; at 1, 2 and 5 where it has less than two."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    low, high = axis.get_view_interval()
    wide = high >= 100.0 * low
    axis.set_major_locator(LogLocator(10.0, subs=(1.0,) if wide else (1.0, 2.0, 5.0)))
    axis.set_minor_formatter(NullFormatter())
    if not wide:
        axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))


def letter(axes: Axes, index: int, text: str) -> None:
    """Title a panel "a  text"."""
    axes.set_title(f"{'abcdefgh'[index]}   {text}")
