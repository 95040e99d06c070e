"""What changes over training: learning rate, whether SAM is on, how slowly weights are averaged."""

from __future__ import annotations

import math
from collections.abc import Callable

from sam_theory.errors import InputError


def _piecewise(first: float) -> Callable[[float], float]:
    def factor(fraction: float) -> float:
        return 1.0 if fraction < first else 0.1 if fraction < 0.75 else 0.01

    return factor


def _cyclic(fraction: float) -> float:
    rise = 0.4
    return fraction / rise if fraction < rise else max(0.0, (1.0 - fraction) / (1.0 - rise))


def _cosine(fraction: float) -> float:
    return 0.5 * (1.0 + math.cos(math.pi * fraction))


SCHEDULES: dict[str, Callable[[float], float]] = {
    "constant": lambda _fraction: 1.0,
    "piecewise": _piecewise(0.5),
    "piecewise_02epochs": _piecewise(0.2),
    "piecewise_03epochs": _piecewise(0.3),
    "piecewise_04epochs": _piecewise(0.4),
    "cyclic": _cyclic,
    "cosine": _cosine,
}


def learning_rate(schedule: str, rate: float, done: float, epochs: float) -> float:
    """Learning rate after ``done`` of ``epochs`` epochs.

    Parameters
    ----------
    schedule : str
        A key of ``SCHEDULES``: constant; piecewise: rate, rate/10 from half of the epochs (0.2, 0.3
        or 0.4 of them in the variants), rate/100 from three quarters; cyclic: linear from 0 to rate
        at 2/5 and back to 0; cosine: rate (1 + cos(pi done / epochs)) / 2.
    rate : float
        Largest learning rate, > 0.
    done, epochs : float
        0 <= done <= epochs, fractional epochs done before the step. Only their ratio counts, so
        steps done and steps in all will do, and then a rate drops with the very step that is due:
        epochs that are themselves quotients can round to less.

    Returns
    -------
    float
        >= 0.

    Raises
    ------
    InputError
        Unknown schedule (lists the known), or a number out of range.

    Examples
    --------
    >>> from sam_theory import deep
    >>> deep.learning_rate("constant", 0.1, 3, 10), deep.learning_rate("cosine", 0.1, 5, 10)
    (0.1, 0.05)
    """
    if schedule not in SCHEDULES:
        raise InputError(f"unknown schedule {schedule!r}; known are {', '.join(SCHEDULES)}")
    if not (math.isfinite(rate) and rate > 0):
        raise InputError(f"the learning rate must be positive and finite, not {rate!r}")
    if not (epochs > 0 and 0 <= done <= epochs):
        raise InputError(f"{done!r} of {epochs!r} epochs cannot be done")
    return rate * SCHEDULES[schedule](done / epochs)


def sam_is_on(done: float, epochs: float, start: float = 0.0, end: float = 1.0) -> bool:
    """Whether SAM is on after ``done`` epochs: for start <= done / epochs < end.

    Parameters
    ----------
    done, epochs : float
        Fractional epochs done before the step, and in all; or steps, as of :func:`learning_rate`.
    start, end : float
        Fractions with 0 <= start <= end <= 1; end = 1 includes the last step.

    Returns
    -------
    bool
        For the step that comes next.

    Raises
    ------
    InputError
        The fractions are out of order or range.
    """
    if not 0.0 <= start <= end <= 1.0:
        raise InputError(f"SAM cannot be on from {start!r} to {end!r} of training")
    fraction = done / epochs
    return start <= fraction and (fraction < end or end == 1.0)


LONGEST_AVERAGE = 0.999


def averaging(tau: float | None, done: int) -> float:
    """Return tau of the averaged weights, w_avg <- tau w_avg + (1 - tau) w, for one step.

    Parameters
    ----------
    tau : float or None
        Is returned as it is. None warms up: min(0.999, (1 + done) / (10 + done)), so that after K
        steps the average is over about the last K/9, at most 1000, and of the initial weights a
        share of about 9! / K^9 is left: with 0.999 throughout it is 90 % after 100 steps.
    done : int
        Steps before this one, >= 0.

    Returns
    -------
    float
    """
    return min(LONGEST_AVERAGE, (1 + done) / (10 + done)) if tau is None else tau
