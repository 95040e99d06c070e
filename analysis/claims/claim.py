"""A claim as data: what is said, who says it, and how a study's tables decide it."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd

THEOREM, PUBLISHED, FINDING = "theorem", "published", "finding"
NOT_RUN = "not run"
WORDS = {True: "holds", False: "contradicted", None: "not shown"}


@dataclass(frozen=True)
class Judgement:
    """What the tables say of a claim.

    Attributes
    ----------
    holds : bool or None
        None if the data decide neither way.
    measured, predicted, slack : str
        For a reader: the number with its interval, what the claim says it is, and the room between
        them. Slack is the predicted bound over the measured value where there is a bound, and the
        distance of the interval's nearer end from "no effect" where there is an interval.
    """

    holds: bool | None
    measured: str
    predicted: str
    slack: str = ""


@dataclass(frozen=True)
class Claim:
    """A statement that a study can decide.

    Attributes
    ----------
    key : str
        Names the row.
    kind : {"theorem", "published", "finding"}
        A theorem must hold to rounding or within its bound. A published observation may or may not
        be confirmed at our sizes. A finding is ours.
    statement, source : str
        One sentence, and where it comes from.
    study : str
        Of :data:`analysis.STUDIES`.
    tables : tuple of str
        That the judgement reads, without ``.csv``.
    judge : callable
        From the tables, by name, to a :class:`Judgement`.
    """

    key: str
    kind: str
    statement: str
    source: str
    study: str
    tables: tuple[str, ...]
    judge: Callable[[Mapping[str, pd.DataFrame]], Judgement]


def within(value: float, limit: float, *, unit: str = "") -> Judgement:
    """Judge a number that may be at most a limit; one that is not a number decides nothing."""
    holds = None if math.isnan(value) else value <= limit
    slack = f"{number(limit / value)} times" if value > 0.0 else "exact" if value == 0.0 else ""
    return Judgement(holds, number(value) + unit, f"at most {number(limit)}{unit}", slack)


def equals(values: list[float], predicted: float, tolerance: float) -> Judgement:
    """Judge numbers that should all be one, to a tolerance."""
    known = [value for value in values if not math.isnan(value)]
    if not known or len(known) < len(values):
        return Judgement(None, "no number", number(predicted))
    low, high = min(known), max(known)
    off = max(abs(low - predicted), abs(high - predicted))
    measured = number(low) if number(low) == number(high) else f"{number(low)} to {number(high)}"
    slack = f"off by {number(off)}, {number(tolerance)} allowed"
    return Judgement(off <= tolerance, measured, number(predicted), slack)


def less(
    value: float, low: float, high: float, null: float, *, than: str, percent: bool = False
) -> Judgement:
    """Judge a mean that is claimed to lie below a value of no effect, by its interval."""
    holds = True if high < null else False if low > null else None
    scale = 100.0 if percent else 1.0
    gap = (null - high if holds else low - null) * scale
    slack = "" if holds is None else f"{number(gap)} {'below' if holds else 'above'}"
    return Judgement(holds, interval(value, low, high, percent=percent), f"below {than}", slack)


def more(
    value: float, low: float, high: float, null: float, *, than: str, percent: bool = False
) -> Judgement:
    """Judge a mean that is claimed to lie above a value of no effect, by its interval."""
    turned = less(value, low, high, null, than=than, percent=percent)
    holds = None if turned.holds is None else not turned.holds
    return Judgement(holds, turned.measured, f"above {than}", turned.slack)


def number(value: float) -> str:
    """Return three significant digits, small ones with an exponent."""
    if value != 0.0 and math.isfinite(value) and not 1e-3 <= abs(value) < 1e5:
        return f"{value:.1e}"
    return f"{value:.3g}"


def interval(value: float, low: float, high: float, *, percent: bool = False) -> str:
    """Return "mean [low, high]"; a mean that is rounding beside its interval is 0."""
    scale, unit = (100.0, " %") if percent else (1.0, "")
    if abs(value) < 1e-12 * max(abs(low), abs(high)):
        value = 0.0
    return f"{number(scale * value)} [{number(scale * low)}, {number(scale * high)}]{unit}"
