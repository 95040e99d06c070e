"""A posteriori certificate for a minimiser of the potential, whoever computed it.

Problem: minimise phi_alpha(beta) - <shift/2, beta> over {X beta = y}.  With A = alpha^2/2,
theta(beta) = arcsinh(beta/A) and D(beta) = sqrt(beta^2 + A^2) = d beta/d theta, the minimiser is
the feasible point whose theta - shift lies in the row space of X.  For any candidate beta:

1. Some exactly feasible beta_f = beta - W X^T K^-1 (X beta - y), K = X W X^T, lies near it:
   |beta_f - beta|_j <= sqrt(W_j) kappa,  kappa^2 = (X beta - y)^T K^-1 (X beta - y), for any
   diagonal W >= 0; W = D is about the best, and W = D on some columns alone the cheapest.
2. Any mu gives the dual point b = A sinh(X^T mu + shift); Fenchel-Young turns the duality gap at
   beta_f into the Bregman divergence D_phi(beta_f, b), which has no cancellation.
3. D_phi(beta_f, beta*) <= gap, and phi'' = 1/(2D) turns this into a bound on each coordinate.

Residuals and dual images are computed in twice the working precision with error bounds; the factor
of K is verified.  Where verification fails the error bound is infinite, never wrong.  Source:
convex duality as in THEORY section 4.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field

import numba
import numpy as np
import numpy.typing as npt

from .._threads import single_threaded
from .._validate import checked_matrix, checked_vector
from ..design import Array, Matrix
from ..errors import InputError
from ..row_space import RowSpace, find_row_space
from .compensated import UNIT, dual_image, residual_pair
from .newton import as_coordinates
from .verified import VerifiedFactor as _Verified

_SIDES = {
    "residual": "upper bound on max |X beta - y| over the independent rows",
    "stationarity": "upper bound on the distance (max norm) of the mirror image of beta from the "
    "row space of X",
    "gap": "upper bound on phi(beta_f) - phi(beta*) at the feasible beta_f next to beta",
    "error_bound": "upper bound on max |beta - beta*|",
}
_FLOORS = (0.0, 1e-24, 1e-16, 1e-8)
_LARGE = 10_000_000


@dataclass(frozen=True, eq=False)
class Certificate:
    """What is proved about a candidate minimiser beta.

    Every number is an upper bound, true of (X, y, alpha, shift, beta) whoever computed beta; a mu
    known from its computation only offers one more dual point.

    Attributes
    ----------
    residual : float
        Bounds max |X beta - y| over the constraint rows, units of y.
    stationarity : float
        Bounds the max-norm distance of (1/2) arcsinh(2 beta/alpha^2) - shift/2 from the row space
        of X, dimensionless.
    gap : float
        Bounds phi(beta_f) - phi(beta*) for the exactly feasible point beta_f next to beta (a
        duality gap), units of beta.
    error_bound : float
        Bounds max |beta - beta*|, units of beta; infinite where nothing could be proved.
    coordinate_bounds : ndarray, shape (d,)
        Bounds |beta - beta*| coordinate by coordinate.
    """

    residual: float
    stationarity: float
    gap: float
    error_bound: float
    coordinate_bounds: Array = field(repr=False)

    @property
    def valid(self) -> bool:
        """Whether a finite error bound was proved."""
        return math.isfinite(self.error_bound)

    def lines(self) -> list[str]:
        """Return one line per number, saying which side it bounds."""
        return [f"{name:<13} {getattr(self, name):9.2e}  {side}" for name, side in _SIDES.items()]


@single_threaded
def certify(
    X: npt.ArrayLike | Matrix,
    y: npt.ArrayLike,
    alpha: npt.ArrayLike,
    beta: npt.ArrayLike,
    shift: npt.ArrayLike | None = None,
) -> Certificate:
    """Certify beta as the minimiser of phi_alpha(beta) - <shift/2, beta> over {X beta = y}.

    Parameters
    ----------
    X : array_like or sparse array, shape (n, d)
        Design matrix.  Only linearly independent rows enter (numerical rank).
    y : array_like, shape (n,)
        Labels.  If they are not in the range of X their projection is used.
    alpha : array_like, scalar or shape (d,)
        Scale of the potential, positive, units of beta^(1/2).
    beta : array_like, shape (d,)
        The candidate, from any source.
    shift : array_like, shape (d,), optional
        Displacement of the mirror image (delta of the finite-step identity), dimensionless.

    Returns
    -------
    Certificate
        Upper bounds, all of them true whatever beta is.

    Raises
    ------
    InputError
        If a shape does not fit or a value is not finite, or alpha is not positive.

    Examples
    --------
    >>> from sam_theory import certify
    >>> right, wrong = [0.5, 0.5], [0.6, 0.4]  # both satisfy beta_1 + beta_2 = 1
    >>> certify([[1.0, 1.0]], [1.0], 0.1, right).error_bound < 1e-14
    True
    >>> certify([[1.0, 1.0]], [1.0], 0.1, wrong).error_bound >= 0.1
    True
    """
    matrix = checked_matrix(X)
    space = find_row_space(matrix, checked_vector("y", y))
    d = matrix.shape[1]
    candidate = np.asarray(beta, dtype=np.float64)
    if candidate.shape != (d,) or not np.all(np.isfinite(candidate)):
        raise InputError(f"beta must be {d} finite numbers, got shape {candidate.shape}")
    scale = as_coordinates(alpha, d)
    if not np.all(np.isfinite(scale) & (scale > 0.0)):
        raise InputError("alpha must be positive and finite")
    displacement = as_coordinates(0.0 if shift is None else shift, d)
    return certify_rows(matrix, space, np.log(scale), candidate, displacement)


def certify_rows(
    X: Matrix,
    space: RowSpace,
    log_alpha: Array,
    beta: Array,
    shift: Array,
    dual: tuple[Array, Array] | None = None,
) -> Certificate:
    """Certify beta for the independent rows of a known row space (arguments already valid).

    ``dual`` is a mu + mu_low, (rank,) each, to try where the mirror image of beta names none:
    where fewer coordinates than rows are large, a beta in double precision hardly knows its mu.
    """
    rows, target = space.independent(X)
    log_scale = 2.0 * log_alpha - math.log(2.0)
    theta, slope = mirror_angle(beta, log_scale)
    misfit, misfit_error = residual_pair(rows, beta, target)
    residual = float(np.max(np.abs(misfit) + misfit_error, initial=0.0))
    enough = 1e-8 * float(np.max(np.abs(beta), initial=0.0))
    best = _Bounds(math.inf, math.inf, np.full(beta.shape, math.inf))
    for weight in _weights(slope, rows.shape[0]):
        # No name holds the factor, which may be as large as the data, while the next is made.
        factor = _Verified(rows, weight)
        kappa = factor.correction_norm(misfit, misfit_error)
        if not math.isfinite(kappa):
            continue
        away, mu = factor.root * kappa, _dual_fit(factor, theta, shift)
        del factor
        for guess in (mu,) if dual is None else (mu, dual):
            bounds = _bounds(rows, away, guess, beta, theta, slope, log_scale, shift)
            best = min(best, bounds, key=lambda found: found.error)
            if best.error <= enough:
                break
        if best.error <= enough:
            break
    return Certificate(residual, best.stationarity, best.gap, best.error, best.coordinates)


def _weights(slope: Array, n: int) -> Iterator[Array]:
    """Yield weights W to try; any W >= 0 is valid, D is best unless it defies factorisation."""
    d = slope.shape[0]
    if n * n * d >= _LARGE and d >= 8 * n:
        heavy = np.argpartition(-slope, 4 * n)[: 4 * n]
        weight = np.zeros(d)
        weight[heavy] = slope[heavy]
        yield weight
    for floor in _FLOORS:
        yield np.maximum(slope, floor * np.max(slope))


@dataclass(frozen=True)
class _Bounds:
    stationarity: float
    gap: float
    coordinates: Array

    @property
    def error(self) -> float:
        return float(np.max(self.coordinates, initial=0.0))


def _dual_fit(factor: _Verified, theta: Array, shift: Array) -> tuple[Array, Array]:
    """Return a mu + mu_low, (n,) each, for which X^T mu + shift is about theta."""
    X = factor.X
    n = X.shape[0]
    mu, low = np.zeros(n), np.zeros(n)
    if n == 0:
        return mu, low
    floor = 4.0 * UNIT * (1.0 + float(np.max(np.abs(theta))))
    gap, misfit = theta - shift, math.inf
    for _ in range(8):
        total = mu + (step := factor.fit(gap))
        back = total - mu
        low = low + ((mu - (total - back)) + (step - back))
        mu = total
        high, rest, _ = dual_image(X, mu, low, shift)
        gap = (theta - high) - rest
        misfit, former = float(np.max(np.abs(gap))), misfit
        if not floor < misfit < 0.5 * former:
            break
    return mu, low


def _bounds(
    X: Matrix,
    away: Array,
    dual: tuple[Array, Array],
    beta: Array,
    theta: Array,
    slope: Array,
    log_scale: Array,
    shift: Array,
) -> _Bounds:
    """Return what follows from a dual point and the distance ``away`` (d,) of beta_f from beta."""
    high, rest, rounding = dual_image(X, *dual, shift)
    tilt = (theta - high) - rest
    rounding += 2.0 * UNIT * np.abs(tilt)
    rounding += 8.0 * UNIT * (np.abs(theta) + np.abs(log_scale) + 1.0)
    stationarity = float(np.max(np.abs(tilt) + rounding, initial=0.0)) / 2.0
    gap = _divergence(beta, away, theta, tilt, rounding, slope, log_scale)
    if not math.isfinite(gap):
        return _Bounds(stationarity, math.inf, np.full(beta.shape, math.inf))
    gap *= 1.0 + 1e-12 + 2.0 * beta.shape[0] * UNIT
    reach = np.abs(beta) + away
    scale = np.exp(log_scale)
    radius = gap + math.sqrt(gap) * np.sqrt(gap + 2.0 * (reach + scale))
    radius = math.sqrt(2.0 * gap) * np.sqrt(np.hypot(reach + radius, scale))
    return _Bounds(stationarity, gap / 2.0, (away + radius) * (1.0 + 1e-12))


def mirror_angle(beta: Array, log_scale: Array) -> tuple[Array, Array]:
    """Return theta = arcsinh(beta/A) and D = sqrt(beta^2 + A^2), (d,) each, for A = e^log_scale."""
    theta, slope = np.empty_like(beta), np.empty_like(beta)
    _mirror_angles(beta, log_scale, theta, slope)
    return theta, slope


@numba.njit(cache=True, nogil=True)
def _mirror_angles(beta, log_scale, theta, slope):  # type: ignore[no-untyped-def]
    for j in range(beta.shape[0]):
        theta[j], slope[j] = _angle(beta[j], log_scale[j])


@numba.njit(cache=True, nogil=True)
def _angle(beta, log_scale):  # type: ignore[no-untyped-def]
    scale = math.exp(log_scale)
    slope = math.hypot(beta, scale)
    size = abs(beta)
    if scale > 1e-290 and size < 1e150 * scale:
        return math.asinh(beta / scale), slope
    if size == 0.0:
        return 0.0, slope
    return math.copysign(math.log(size) + math.log(2.0) - log_scale, beta), slope


@numba.njit(cache=True, nogil=True)
def _divergence(beta, away, theta, tilt, rounding, slope, log_scale):  # type: ignore[no-untyped-def]
    """Upper bound on the divergence (of 2 phi) of beta_f from the dual point b.

    beta_f is within ``away`` (d,) of beta and theta(b) within ``rounding`` of theta(beta) - tilt.
    """
    gap = 0.0
    for j in range(beta.shape[0]):
        # Near: |theta(beta_f) - theta(b)| <= T gives at most D(beta_f) (e^T - 1 - T).
        first, total = math.inf, math.inf
        span = abs(tilt[j]) + rounding[j]
        if away[j] < 0.5 * slope[j]:
            total = span + away[j] / (slope[j] - away[j])
            growth = 0.5 * total**2 * (1.0 + total) if total <= 1.0 else math.expm1(total) - total
            first = (slope[j] + away[j]) * growth
        if not first < math.inf:
            first = math.inf
        if total > 1e-3:
            image = theta[j] - tilt[j]
            unsure = rounding[j] + 2.0**-53 * abs(image)
            first = min(first, _corners(beta[j], away[j], image, unsure, log_scale[j]))
        gap += first
    return gap


@numba.njit(cache=True, nogil=True)
def _corners(beta, away, image, unsure, log_scale):  # type: ignore[no-untyped-def]
    """Bound the divergence of one coordinate by itself; it is largest at corners of the box."""
    worst = 0.0
    for side in (-1.0, 1.0):
        end = beta + side * away
        angle, end_slope = _angle(end, log_scale)
        for turn in (-1.0, 1.0):
            other = image + turn * unsure
            grown = 0.5 * math.exp(abs(other) + log_scale)
            image_slope = grown + 0.5 * math.exp(log_scale - abs(other))
            product = end * (angle - other)
            rounding = (abs(product) + end_slope + image_slope) * 1e-14 * (1.0 + abs(other))
            value = product - end_slope + image_slope + rounding
            if not value <= worst:
                worst = value if value == value else math.inf
    return worst
