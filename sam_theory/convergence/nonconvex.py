"""Losses that are not convex, with their constants in closed form."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from sam_theory._validate import checked_integer, checked_number, checked_vector, real_array
from sam_theory.convergence.constants import Constants, bound, exact
from sam_theory.convergence.problems import Problem
from sam_theory.errors import InputError

WAVE_MU = 0.17553098588040567
"""Infimum of f'^2/(2 f) for f = z^2 + 3 sin(z)^2, at z = 2.2017..., rounded down."""
_WAVE_BETA = 8.0
_WAVE_SLOPE = 3.0 * math.sqrt(3.0) / 2.0


def wave(
    directions: npt.ArrayLike | None = None,
    shifts: npt.ArrayLike | None = None,
    *,
    start: npt.ArrayLike | None = None,
    name: str = "wave",
) -> Problem:
    """Sum of f(z) = z^2 + 3 sin(z)^2 along orthonormal directions: PL, not convex.

    l_i(w) = f(q_i.w - s_i). f'' = 2 + 6 cos 2z lies in [-4, 8], so beta = 8 and beta_mean = 8/n,
    both attained. f satisfies the PL inequality with mu_f = inf f'^2/(2f) = 0.1755... (the textbook
    value 1/32 is smaller); as the directions are orthonormal, (1/2)|grad L|^2 = (1/n^2) sum f'^2/2
    >= (mu_f/n) L, so mu = mu_f/n, attained where all z_i are worst. All l_i vanish at once, L* = 0.
    f'^2 <= 2 L_max f with L_max = 8 gives sigma^2 <= mean |grad l_i|^2 <= 16 L.

    Parameters
    ----------
    directions : array of shape (n, d), optional
        Orthonormal rows; one direction in one dimension by default.
    shifts : array of shape (n,), optional
        s_i, 0 by default.
    start : array of shape (d,), optional
        Where runs begin, by default at z_i = 3 for all i.
    name : str
        In tables.

    Returns
    -------
    Problem
        With the constants above.

    Raises
    ------
    InputError
        The directions are not orthonormal, or shapes do not fit.
    """
    from sam_theory.convergence.objectives import COMPILED

    Q = np.ones((1, 1)) if directions is None else real_array("directions", directions)
    if Q.ndim != 2 or not np.allclose(Q @ Q.T, np.eye(len(Q)), atol=1e-12):
        raise InputError("directions must have orthonormal rows")
    n = len(Q)
    s = np.zeros(n) if shifts is None else checked_vector("shifts", shifts)
    if len(s) != n:
        raise InputError(f"there are {n} directions and {len(s)} shifts")
    constants = Constants(
        beta=exact(_WAVE_BETA, "f'' = 2 + 6 cos 2z <= 8, attained at z = 0"),
        beta_mean=exact(_WAVE_BETA / n, "the directions are orthonormal: f''/n"),
        minimum=exact(0.0, "all l_i vanish where q_i.w = s_i"),
        mu=exact(WAVE_MU / n, "inf f'^2/(2f) over z, divided by n"),
        example_minimum=exact(0.0, "the l_i reach 0"),
    )
    return Problem(
        name=name, about=f"z^2 + 3 sin(z)^2 along {n} orthonormal directions",
        A=Q, y=s, p=np.zeros(1), value=COMPILED["wave"],
        start=Q.T @ (s + 3.0) if start is None else checked_vector("start", start),
        constants=constants,
        variance_on=lambda level: bound(2.0 * _WAVE_BETA * level if n > 1 else 0.0, "f'^2 <= 16 f"),
    )  # fmt: skip


def double_well(*, start: float = 1.3, radius: float = 3.0, name: str = "double_well") -> Problem:
    """L = w^4/4 - w^2/2 in one dimension, two minima at -1 and 1; constants on |w| <= radius.

    L'' = 3 w^2 - 1 is at most 3 radius^2 - 1 there, and L* = -1/4. No PL constant: w = 0 is a
    stationary point. Normalised SAM with 1 < rho < 2 has the fixed point 1 - rho, where L' is not
    0.

    Parameters
    ----------
    start : float
        Where runs begin.
    radius : float
        Half width of the interval, at least 1.
    name : str
        In tables.

    Returns
    -------
    Problem
        With the constants above.

    Raises
    ------
    InputError
        start is outside the interval.
    """
    from sam_theory.convergence.objectives import COMPILED, interval

    half, first = checked_number("radius", radius), checked_number("start", start)
    if half < 1.0:
        raise InputError(f"radius must be at least 1, not {half:g}")
    if abs(first) > half:
        raise InputError(f"start = {first:g} is outside |w| <= {half:g}")
    smoothness = exact(3.0 * half**2 - 1.0, "L'' = 3 w^2 - 1 at the ends of the interval")
    return Problem(
        name=name, about=f"w^4/4 - w^2/2 on |w| <= {half:g}",
        A=np.zeros((1, 1)), y=np.zeros(1), p=np.array([half]), value=COMPILED["double_well"],
        start=np.array([first]),
        constants=Constants(smoothness, smoothness, exact(-0.25, "at w = 1 and w = -1")),
        variance_on=lambda level: exact(0.0, "one example"), region=interval,
        features={"double_well": True},
    )  # fmt: skip


def quadratic(
    spectrum: npt.ArrayLike,
    *,
    centers: npt.ArrayLike | None = None,
    start: npt.ArrayLike | None = None,
    name: str = "quadratic",
) -> Problem:
    """L = mean_i (1/2) sum_j lambda_j (w_j - c_ij)^2: given eigenvalues, constant gradient noise.

    Written in the eigenbasis, which no algorithm here can notice. The Hessian of every l_i is
    diag(lambda), and grad l_i - grad L = lambda (mean(c) - c_i) does not depend on w: sigma^2 is
    the same everywhere, exactly.

    Parameters
    ----------
    spectrum : array of shape (d,)
        Eigenvalues, > 0.
    centers : array of shape (n, d), optional
        One centre per example; a single one at 0 by default, which leaves no noise.
    start : array of shape (d,), optional
        Where runs begin, all ones by default.
    name : str
        In tables.

    Returns
    -------
    Problem
        With the constants above, all of them exact.

    Raises
    ------
    InputError
        An eigenvalue is not positive, or shapes do not fit.
    """
    from sam_theory.convergence.objectives import COMPILED

    eigenvalues = checked_vector("spectrum", spectrum)
    if eigenvalues.size == 0 or not np.all(eigenvalues > 0.0):
        raise InputError("the spectrum must be positive")
    d = len(eigenvalues)
    c = np.zeros((1, d)) if centers is None else real_array("centers", centers)
    if c.ndim != 2 or c.shape[1] != d or not np.all(np.isfinite(c)):
        raise InputError(f"centers must be finite and have shape (n, {d})")
    spread = c - c.mean(axis=0)
    noise = exact(np.mean(np.sum((spread * eigenvalues) ** 2, axis=1)), "independent of w")
    top = exact(eigenvalues.max(), "largest eigenvalue")
    constants = Constants(
        beta=top, beta_mean=top,
        minimum=exact(0.5 * np.mean(spread**2 @ eigenvalues), "at the mean of the centres"),
        mu=exact(eigenvalues.min(), "smallest eigenvalue"),
        example_minimum=exact(0.0, "each l_i vanishes at its centre"),
    )  # fmt: skip
    return Problem(
        name=name, about=f"quadratic with given spectrum, n = {len(c)}, d = {d}",
        A=c, y=np.zeros(len(c)), p=eigenvalues, value=COMPILED["quadratic"],
        start=np.ones(d) if start is None else checked_vector("start", start),
        constants=constants, variance_on=lambda level: noise,
        features={"spectrum": eigenvalues, "solution": c.mean(axis=0)},
    )  # fmt: skip


def slow_quadratic(d: int = 400, *, decades: float = 9.0, name: str = "slow_quadratic") -> Problem:
    """Return a quadratic on which the rate of the gradient is nearly the 1/T of the smooth bound.

    Eigenvalues spread evenly in log over `decades` below 1, and start weights such that the share
    of L_0 below x is proportional to x^0.03: |grad L(w_T)|^2 then falls like T^-1.03 until 1/T
    reaches the smallest eigenvalue.

    Parameters
    ----------
    d : int
        Number of eigenvalues.
    decades : float
        How far they spread, in powers of ten, > 0.
    name : str
        In tables.

    Returns
    -------
    Problem
        As of :func:`quadratic`.
    """
    count = checked_integer("d", d, 2)
    spectrum = np.logspace(-checked_number("decades", decades), 0.0, count)
    start = np.sqrt(spectrum**0.03 / spectrum)
    return quadratic(spectrum, start=start / np.sqrt(np.sum(start**2 * spectrum)), name=name)
