"""Empirical rates: a slope in log-log coordinates on the asymptotic window, with its interval."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from sam_theory._validate import checked_integer, checked_vector, real_array
from sam_theory.convergence.problems import Array
from sam_theory.errors import InputError


@dataclass(frozen=True)
class Rate:
    """Slope of log(measured) against log T.

    Attributes
    ----------
    slope, low, high : float
        Least-squares slope and its 95 % bootstrap interval over seeds (one seed: low = high =
        slope; the window's curvature is then all the uncertainty there is).
    window : tuple of int
        First and last T used.
    curvature : float
        Change of the slope across the window: slope of its later half less that of its earlier
        half. Large where the asymptotic regime is not reached.
    """

    slope: float
    low: float
    high: float
    window: tuple[int, int]
    curvature: float


def empirical_rate(
    horizons: npt.ArrayLike,
    samples: npt.ArrayLike,
    *,
    points: int = 4,
    resamples: int = 400,
    seed: int = 0,
) -> Rate:
    """Fit a power of T to means over seeds.

    Parameters
    ----------
    horizons : array of shape (R,)
        T >= 0, strictly increasing; T = 0 has no logarithm and is left out.
    samples : array of shape (K, R)
        One row per seed; the rate is that of the mean over seeds.
    points : int
        Number of the longest horizons that are the asymptotic window, at least 2.
    resamples : int
        Bootstrap samples of the seeds, at least 1.
    seed : int
        Of the bootstrap.

    Returns
    -------
    Rate
        Over the window of the longest horizons.

    Raises
    ------
    InputError
        An argument is of the wrong type, shape or range, there are fewer than two horizons T > 0,
        or a mean in the window is not positive and finite.

    Examples
    --------
    >>> from sam_theory import convergence as rates
    >>> found = rates.empirical_rate([10, 20, 40, 80], [[1.0, 0.5, 0.25, 0.125]])
    >>> round(found.slope, 12)
    -1.0
    """
    T, values = _checked(horizons, samples)
    checked_integer("resamples", resamples, 1)
    checked_integer("seed", seed, 0)
    count = min(checked_integer("points", points, 2), int(np.sum(T > 0.0)))
    if count < 2:
        raise InputError("a rate needs at least two horizons T > 0")
    T, values = T[-count:], values[:, -count:]
    mean = values.mean(axis=0)
    if not (np.all(np.isfinite(mean)) and np.all(mean > 0.0)):
        raise InputError("a rate needs positive, finite means on its window")
    x = np.log(T)
    slope = _slope(x, np.log(mean)[None, :])[0]
    low = high = slope
    if len(values) > 1:
        generator = np.random.default_rng(seed)
        picks = generator.integers(len(values), size=(resamples, len(values)))
        means = np.array([values[pick].mean(axis=0) for pick in picks])
        with np.errstate(invalid="ignore", divide="ignore"):
            slopes = _slope(x, np.log(means))
        low, high = (float(q) for q in np.nanquantile(slopes, (0.025, 0.975)))
    half = max((count + 1) // 2, 2)
    logs = np.log(mean)
    change = _slope(x[-half:], logs[None, -half:])[0] - _slope(x[:half], logs[None, :half])[0]
    return Rate(float(slope), low, high, (int(T[0]), int(T[-1])), float(change))


def _checked(horizons: npt.ArrayLike, samples: npt.ArrayLike) -> tuple[Array, Array]:
    T = checked_vector("horizons", horizons)
    if np.any(T < 0.0) or np.any(np.diff(T) <= 0.0):
        raise InputError("horizons must be >= 0 and strictly increasing")
    values = real_array("samples", samples)
    if values.ndim != 2 or len(values) == 0 or values.shape[1] != len(T):
        raise InputError(f"samples must have shape (seeds, {len(T)}), not {values.shape}")
    return T, values


def _slope(x: Array, y: Array) -> Array:
    centred = x - x.mean()
    return np.asarray((y - y.mean(axis=1, keepdims=True)) @ centred / (centred @ centred))
