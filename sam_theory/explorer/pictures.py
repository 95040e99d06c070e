"""Pictures of the explorer as SVG text: coefficients, effective scale, one against the other.

An algorithm has the colour and the marker that it has in all figures of the project; a second
m-SAM is drawn hollow. Sizes are in units of a view box as wide as a phone, so that the text stays
readable there.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

import numpy as np

from sam_theory.design import Array
from sam_theory.explorer.model import Answer, largest
from sam_theory.regression import Regression

COLORS = {"gd": "#000000", "n-sam": "#0072B2", "m-sam": "#009E73", "1-sam": "#D55E00"}
"""Colour of each kind of algorithm (Okabe and Ito)."""
STAR = "#B8B8B8"
"""Colour of the coefficients that made the labels."""
MOST_SHOWN = 40
"""Coordinates side by side in a picture; of more, the largest."""
MOST_POINTS = 200
"""Coordinates as points of a plane; of more, the largest."""
_SHAPES = {"gd": "square", "n-sam": "circle", "m-sam": "triangle", "1-sam": "diamond"}
_WIDTH, _HEIGHT = 420.0, 270.0
_LEFT, _RIGHT, _BOTTOM, _LINE = 62.0, 8.0, 42.0, 18.0
_LETTER = 6.6
_SMALLEST = 1e-300


@dataclass(frozen=True)
class Axis:
    """Numbers from low to high, placed from start to stop; logarithms of them if ``log``."""

    low: float
    high: float
    start: float
    stop: float
    log: bool = False

    def place(self, value: float) -> float:
        """Return where a number lies."""
        low, high, at = self.low, self.high, value
        if self.log:
            low, high, at = math.log10(low), math.log10(high), math.log10(max(value, _SMALLEST))
        return self.start + (at - low) / (high - low) * (self.stop - self.start)

    def ticks(self) -> list[float]:
        """Return up to seven round numbers in the range."""
        if not self.log:
            step = _round_step((self.high - self.low) / 6.0)
            first, last = math.ceil(self.low / step - 1e-9), math.floor(self.high / step + 1e-9)
            return [k * step for k in range(first, last + 1)]
        bottom, top = math.log10(self.low), math.log10(self.high)
        stride = max(1, math.ceil((top - bottom) / 6.0))
        decades = range(math.floor(bottom), math.ceil(top) + 1)
        digits = (1, 2, 5) if top - bottom < 2.5 else (1,)
        round_numbers = [float(f"{m}e{k}") for k in decades if k % stride == 0 for m in digits]
        found = [number for number in round_numbers if self.low <= number <= self.high]
        return found if len(found) > 1 else [self.low, self.high]


def _round_step(raw: float) -> float:
    unit = float(10.0 ** math.floor(math.log10(raw)))
    return next(k * unit for k in (1.0, 2.0, 5.0, 10.0) if k * unit >= raw * (1.0 - 1e-9))


def _spanning(values: Sequence[float], start: float, stop: float) -> Axis:
    """Return a linear axis with some room around the values."""
    low, high = min(values), max(values)
    room = 0.06 * (high - low) or 0.1 * abs(high) or 1.0
    return Axis(low - room, high + room, start, stop)


def _decades(values: Sequence[float], start: float, stop: float) -> Axis:
    """Return a logarithmic axis around positive values, at least a factor of two wide."""
    bottom, top = (math.log10(max(v, _SMALLEST)) for v in (min(values), max(values)))
    room = max(0.06 * (top - bottom), 0.15 if top - bottom > 0.05 else 0.31)
    return Axis(10.0 ** max(bottom - room, -307.0), 10.0 ** (top + room), start, stop, log=True)


def coefficients(data: Regression, found: Sequence[Answer]) -> str:
    """Draw the selected coefficients of each algorithm, over bars of beta_star where it is known.

    Parameters
    ----------
    data : Regression
        What was fitted, d columns.
    found : sequence of Answer
        Those with a limit are drawn.

    Returns
    -------
    str
        An SVG element; empty if no answer has a limit.
    """
    limits = _with_limit(found)
    if not limits:
        return ""
    vectors = [one.limit.beta for one in limits if one.limit is not None]
    stars = [] if data.beta_star is None else [data.beta_star]
    where = largest([*vectors, *stars], MOST_SHOWN)
    top = _top(_legend_items(limits, data.beta_star is not None))
    values = np.vstack([*vectors, *stars])[:, where]
    y = _spanning([0.0, *values.ravel()], _HEIGHT - _BOTTOM, top)
    slot = (_WIDTH - _LEFT - _RIGHT) / len(where)
    parts = _horizontal(y, "coefficient β")
    for star in stars:
        for k, j in enumerate(where):
            a, b = sorted((y.place(0.0), y.place(float(star[j]))))
            parts.append(
                f'<rect x="{_LEFT + (k + 0.12) * slot:.1f}" y="{a:.1f}" '
                f'width="{0.76 * slot:.1f}" height="{b - a:.1f}" fill="{STAR}"/>'
            )
    parts.append(_line(_LEFT, y.place(0.0), _WIDTH - _RIGHT, y.place(0.0), "#666"))
    parts += _dodged(data, limits, vectors, where, y, slot)
    parts += _coordinates(data, where, slot)
    return _svg(parts, limits, data.beta_star is not None, "Selected coefficients")


def scales(data: Regression, found: Sequence[Answer], alpha: float) -> str:
    """Draw the effective scale per coordinate on a logarithmic axis, and alpha as a line.

    Parameters
    ----------
    data : Regression
        What was fitted, d columns.
    found : sequence of Answer
        Those with a limit are drawn.
    alpha : float
        Initial scale.

    Returns
    -------
    str
        An SVG element; empty if no answer has a limit.
    """
    limits = _with_limit(found)
    if not limits:
        return ""
    shown = [one.limit.beta for one in limits if one.limit is not None]
    stars = [] if data.beta_star is None else [data.beta_star]
    where = largest([*shown, *stars], MOST_SHOWN)
    vectors = [one.limit.alpha_effective for one in limits if one.limit is not None]
    values = np.vstack(vectors)[:, where].ravel()
    top = _top(_legend_items(limits, False))
    y = _decades([alpha, *values], _HEIGHT - _BOTTOM, top)
    slot = (_WIDTH - _LEFT - _RIGHT) / len(where)
    at = y.place(alpha)
    parts = _horizontal(y, "scale α_eff (dashed: α)")
    parts.append(_line(_LEFT, at, _WIDTH - _RIGHT, at, "#666", dashed=True))
    parts += _dodged(data, limits, vectors, where, y, slot)
    parts += _coordinates(data, where, slot)
    return _svg(parts, limits, False, "Effective scale per coordinate")


def against(data: Regression, found: Sequence[Answer]) -> str:
    """Draw the coefficients of each algorithm against beta_star, or else against those of GD.

    Parameters
    ----------
    data : Regression
        What was fitted, d columns.
    found : sequence of Answer
        Those with a limit are drawn.

    Returns
    -------
    str
        An SVG element; empty if there is nothing to draw against.
    """
    limits = _with_limit(found)
    base, name = data.beta_star, "β* that made the labels"
    if base is None:
        reference = next((one for one in limits if one.choice.kind == "gd"), None)
        limits = [one for one in limits if one is not reference]
        if reference is None or reference.limit is None:
            return ""
        base, name = reference.limit.beta, "coefficient of GD"
    if not limits:
        return ""
    vectors = [one.limit.beta for one in limits if one.limit is not None]
    where = largest([base, *vectors], MOST_POINTS)
    values = [float(v) for v in np.concatenate([base, *vectors])]
    y = _spanning(values, _HEIGHT - _BOTTOM, _top(_legend_items(limits, False)))
    x = Axis(y.low, y.high, _LEFT, _WIDTH - _RIGHT)
    parts = _horizontal(y, "coefficient β")
    for tick in x.ticks():
        parts.append(_text(x.place(tick), _HEIGHT - _BOTTOM + 14.0, _number(tick), "middle"))
        parts.append(_line(x.place(tick), y.start, x.place(tick), y.stop, "#E0E0E0"))
    parts.append(_line(x.start, y.start, x.stop, y.stop, "#666", dashed=True))
    parts.append(_text((x.start + x.stop) / 2.0, _HEIGHT - 8.0, name, "middle"))
    for one, vector in zip(limits, vectors, strict=True):
        parts += [
            _marker(
                one,
                limits,
                x.place(float(base[j])),
                y.place(float(vector[j])),
                3.4 if len(where) <= 60 else 2.4,
                _hint(data, int(j), one, float(vector[j])),
            )
            for j in where
        ]
    return _svg(parts, limits, False, f"Coefficients against {name}")


def _with_limit(found: Sequence[Answer]) -> list[Answer]:
    return [one for one in found if one.limit is not None]


def _hint(data: Regression, j: int, one: Answer, value: float) -> str:
    name = f"coordinate {j + 1}" if data.feature_names is None else data.feature_names[j]
    return f"{name}, {one.choice.label}: {value:.4g}"


def _dodged(
    data: Regression,
    limits: Sequence[Answer],
    vectors: Sequence[Array],
    where: np.ndarray,
    y: Axis,
    slot: float,
) -> list[str]:
    """Markers of all algorithms, those of one coordinate beside each other in its slot."""
    size = max(1.8, min(3.6, 0.3 * slot))
    parts = []
    for i, (one, vector) in enumerate(zip(limits, vectors, strict=True)):
        offset = (i - (len(limits) - 1) / 2.0) * 0.26 * slot
        for k, j in enumerate(where):
            x, value = _LEFT + (k + 0.5) * slot + offset, float(vector[j])
            hint = _hint(data, int(j), one, value)
            parts.append(_marker(one, limits, x, y.place(value), size, hint))
    return parts


def _coordinates(data: Regression, where: np.ndarray, slot: float) -> list[str]:
    """Numbers of some coordinates below the picture, and what they are."""
    parts = []
    stride = max(1, math.ceil(26.0 / slot))
    for k in range(0, len(where), stride):
        at = _LEFT + (k + 0.5) * slot
        parts.append(_text(at, _HEIGHT - _BOTTOM + 14.0, str(int(where[k]) + 1), "middle"))
    part = "" if len(where) == data.d else f" (the {len(where)} largest of {data.d})"
    middle = (_LEFT + _WIDTH - _RIGHT) / 2.0
    parts.append(_text(middle, _HEIGHT - 8.0, f"coordinate{part}", "middle"))
    return parts


def _horizontal(y: Axis, name: str) -> list[str]:
    """Lines and numbers of the vertical axis, and its name."""
    parts = []
    for tick in y.ticks():
        at = y.place(tick)
        parts.append(_line(_LEFT, at, _WIDTH - _RIGHT, at, "#E0E0E0"))
        parts.append(_text(_LEFT - 5.0, at + 4.0, _number(tick), "end"))
    middle = (y.start + y.stop) / 2.0
    turned = f'transform="rotate(-90 11 {middle:.1f})"'
    parts.append(_text(11.0, middle, name, "middle", turned))
    return parts


def _number(value: float) -> str:
    return f"{value:.3g}".replace("-", "−")


def _legend_items(limits: Sequence[Answer], star: bool) -> list[tuple[Answer | None, str]]:
    """Return what the legend names: the algorithms, then beta_star as None."""
    items: list[tuple[Answer | None, str]] = [(one, one.choice.label) for one in limits]
    return [*items, (None, "β*")] if star else items


def _legend_places(items: Sequence[tuple[Answer | None, str]]) -> list[tuple[float, float]]:
    """Where each item begins; a new line where the next would leave the picture."""
    places, x, y = [], _LEFT, 13.0
    for _, label in items:
        wide = 14.0 + _LETTER * len(label) + 14.0
        if x > _LEFT and x + wide > _WIDTH:
            x, y = _LEFT, y + _LINE
        places.append((x, y))
        x += wide
    return places


def _top(items: Sequence[tuple[Answer | None, str]]) -> float:
    """Where the data begin, below the legend."""
    return _legend_places(items)[-1][1] + 14.0


def _svg(parts: list[str], limits: Sequence[Answer], star: bool, title: str) -> str:
    items = _legend_items(limits, star)
    legend = []
    for (one, label), (x, y) in zip(items, _legend_places(items), strict=True):
        if one is None:
            box = f'<rect x="{x:.1f}" y="{y - 9:.1f}" width="9" height="10" fill="{STAR}"/>'
            legend.append(box)
        else:
            legend.append(_marker(one, limits, x + 4.5, y - 4.0, 4.0))
        legend.append(_text(x + 14.0, y, label, "start"))
    body = "".join([*legend, *parts])
    name = escape(title, quote=True)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH:.0f} {_HEIGHT:.0f}" '
        f'role="img" aria-label="{name}" font-family="DejaVu Sans, Arial, sans-serif" '
        f'font-size="12" fill="#222"><title>{name}</title>{body}</svg>'
    )


def hollow(one: Answer, found: Sequence[Answer]) -> bool:
    """Whether an answer is drawn hollow: an earlier one is of the same kind."""
    return next(other for other in found if other.choice.kind == one.choice.kind) is not one


def _marker(
    one: Answer, limits: Sequence[Answer], x: float, y: float, size: float, hint: str = ""
) -> str:
    """One marker, with a hint that appears when the pointer rests on it."""
    color = COLORS[one.choice.kind]
    fill = "#FFFFFF" if hollow(one, limits) else color
    paint = f'fill="{fill}" stroke="{color}" stroke-width="1"'
    inside = f"<title>{escape(hint)}</title>" if hint else ""
    shape = _SHAPES[one.choice.kind]
    if shape == "circle":
        return f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{size:.1f}" {paint}>{inside}</circle>'
    corners = {
        "square": ((-0.85, -0.85), (0.85, -0.85), (0.85, 0.85), (-0.85, 0.85)),
        "triangle": ((0.0, -1.1), (1.0, 0.8), (-1.0, 0.8)),
        "diamond": ((0.0, -1.2), (1.2, 0.0), (0.0, 1.2), (-1.2, 0.0)),
    }[shape]
    points = " ".join(f"{x + a * size:.1f},{y + b * size:.1f}" for a, b in corners)
    return f'<polygon points="{points}" {paint}>{inside}</polygon>'


def _line(x: float, y: float, to_x: float, to_y: float, color: str, dashed: bool = False) -> str:
    dash = ' stroke-dasharray="5 3"' if dashed else ""
    return (
        f'<line x1="{x:.1f}" y1="{y:.1f}" x2="{to_x:.1f}" y2="{to_y:.1f}" stroke="{color}"{dash}/>'
    )


def _text(x: float, y: float, text: str, anchor: str, more: str = "") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" {more}>{escape(text)}</text>'
