"""Means over seeds with bootstrap intervals, and paired differences with a verdict.

Percentile intervals of 10,000 resamples of the seeds (Efron 1979); no distribution is assumed, and
runs that share a seed stay together. A resample of few values never leaves their range, so such an
interval is too narrow: fewer than ``LEAST_SEEDS`` seeds decide nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from .._validate import checked_integer, checked_number, real_array
from ..errors import InputError

Array = npt.NDArray[np.float64]
Verdict = Literal["smaller", "larger", "not decided"]

UNDECIDED: Verdict = "not decided"
RESAMPLES = 10_000
CONFIDENCE = 0.95
LEAST_SEEDS = 6
"""Signs that all agree by chance have probability 2 / 2^seeds, below 1 - CONFIDENCE from 6 on."""


@dataclass(frozen=True)
class Interval:
    """A mean with the interval that holds the mean of ``CONFIDENCE`` of the resamples."""

    mean: float
    low: float
    high: float


@dataclass(frozen=True)
class Paired:
    """How a quantity differs between two kinds of runs on the same seeds.

    Attributes
    ----------
    difference : Interval
        Mean over seeds of other - base.
    ratio : Interval
        Mean of other over mean of base.
    smaller_share : float
        Fraction of the seeds on which other is smaller, 0 to 1.
    seeds : int
    """

    difference: Interval
    ratio: Interval
    smaller_share: float
    seeds: int

    @property
    def verdict(self) -> Verdict:
        """Side of 0 that holds the whole interval of the difference: "smaller" or "larger".

        "not decided" if neither does, and always with fewer than ``LEAST_SEEDS`` seeds.
        """
        if self.seeds < LEAST_SEEDS:
            return UNDECIDED
        if self.difference.high < 0.0:
            return "smaller"
        return "larger" if self.difference.low > 0.0 else UNDECIDED


def mean_interval(
    values: npt.ArrayLike,
    *,
    confidence: float = CONFIDENCE,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Interval:
    """Mean of values, shape (seeds,), with a bootstrap interval.

    Parameters
    ----------
    values : (seeds,) array
        At least two, finite. With fewer than ``LEAST_SEEDS`` the interval is no 95 % interval:
        that of two values is their range, which holds the mean of a symmetric distribution in half
        of all cases.
    confidence : float
        Between 0 and 1.
    resamples : int
        >= 100.
    seed : int
        Of the resampling.

    Raises
    ------
    InputError
        An argument is out of range.
    """
    numbers = _checked("values", values)
    chosen = _resamples(numbers.size, confidence, resamples, seed)
    return _interval(float(numbers.mean()), numbers[chosen].mean(axis=1), confidence)


def paired_difference(
    base: npt.ArrayLike,
    other: npt.ArrayLike,
    *,
    confidence: float = CONFIDENCE,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Paired:
    """Compare two kinds of runs, seed by seed.

    Parameters
    ----------
    base, other : (seeds,) arrays
        Entry k of both belongs to the same seed.
    confidence, resamples, seed
        As in :func:`mean_interval`.

    Raises
    ------
    InputError
        Different lengths, fewer than two seeds, values that are not finite.
    """
    one, two = _checked("base", base), _checked("other", other)
    if one.size != two.size:
        raise InputError(f"base has {one.size} seeds, other has {two.size}")
    chosen = _resamples(one.size, confidence, resamples, seed)
    below, above = one[chosen].mean(axis=1), two[chosen].mean(axis=1)
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = _interval(float(np.divide(two.mean(), one.mean())), above / below, confidence)
    return Paired(
        difference=_interval(float((two - one).mean()), above - below, confidence),
        ratio=ratio,
        smaller_share=float(np.mean(two < one)),
        seeds=one.size,
    )


def _resamples(size: int, confidence: float, resamples: int, seed: int) -> npt.NDArray[np.int64]:
    if not 0.0 < checked_number("confidence", confidence) < 1.0:
        raise InputError(f"confidence must be between 0 and 1, not {confidence:g}")
    count = checked_integer("resamples", resamples, 100)
    return np.random.default_rng(checked_integer("seed", seed, 0)).integers(
        size, size=(count, size)
    )


def _interval(mean: float, means: Array, confidence: float) -> Interval:
    tail = 0.5 * (1.0 - confidence)
    low, high = np.quantile(means, [tail, 1.0 - tail])
    return Interval(mean, float(low), float(high))


def _checked(name: str, values: npt.ArrayLike) -> Array:
    numbers = real_array(name, values)
    if numbers.ndim != 1 or numbers.size < 2:
        raise InputError(f"{name} must hold one number for each of at least two seeds")
    if not np.all(np.isfinite(numbers)):
        raise InputError(f"{name} holds a value that is not finite")
    return numbers
