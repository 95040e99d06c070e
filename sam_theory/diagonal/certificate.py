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

Labels outside the range of X stand for their projection, bounded in :mod:`.projection`.
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
from .._validate import checked_matrix, checked_vector, real_array
from ..design import Array, Matrix
from ..errors import InputError
from ..row_space import RowSpace, find_row_space
from .coordinates import checked_coordinates
from .dual.compensated import UNIT, dual_image, image_part, residual_pair, residual_part
from .dual.duality_gap import bounds_at, mirror_angle, mirror_angles
from .dual.normal_matrix import is_small
from .dual.projection import label_errors
from .dual.verified import VerifiedFactor as _Verified
from .dual.verified import binary_root, small_correction

_SIDES = {
    "residual": "upper bound on max |X beta - y| over the independent rows",
    "stationarity": "upper bound on the distance (max norm) of the mirror image of beta from the "
    "row space of X",
    "gap": "upper bound on phi(beta_f) - phi(beta*) at the feasible beta_f next to beta",
    "error_bound": "upper bound on max |beta - beta*|",
}
_FLOORS = (0.0, 1e-24, 1e-16, 1e-8)
_LARGE = 10_000_000
_ENOUGH = 1e-10  # of max |beta|: no other weight or dual point is tried for a smaller bound


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
        Labels.  If they are not in the range of X their projection on it is meant, not the
        projection as rounded.
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
    candidate = real_array("beta", beta)
    if candidate.shape != (d,) or not np.all(np.isfinite(candidate)):
        raise InputError(f"beta must be {d} finite numbers, got shape {candidate.shape}")
    scale = checked_coordinates("alpha", alpha, d)
    displacement = checked_coordinates("shift", 0.0 if shift is None else shift, d)
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

    ``dual`` is a mu + mu_low, (rank,) each, to try before the one that the mirror image of beta
    names: where fewer coordinates than rows are large, a beta in double precision hardly knows it.
    """
    rows, target = space.independent(X)
    log_scale = 2.0 * log_alpha - math.log(2.0)
    enough = _ENOUGH * float(np.max(np.abs(beta), initial=0.0))
    unsure = label_errors(X, space)
    if dual is not None and is_small(rows):
        coordinates = np.empty_like(beta)
        found = _small_bounds(rows, target, unsure, *dual, shift, beta, log_scale, coordinates)
        residual, (stationarity, gap) = found
        best = _Bounds(stationarity, gap, coordinates)
        if best.error <= enough:
            return _certificate(residual, best)
    theta, slope = mirror_angle(beta, log_scale)
    candidate = _Candidate(rows, beta, shift, theta, slope, log_scale)
    value, error = residual_pair(rows, beta, target)
    misfit = value, error + unsure
    residual = float(np.max(np.abs(value) + misfit[1], initial=0.0))
    residual = math.inf if math.isnan(residual) else residual
    best = _Bounds(math.inf, math.inf, np.full(beta.shape, math.inf))
    for weight in _weights(slope, rows.shape[0]):
        for bounds in candidate.bounds(weight, misfit, dual):
            best = min(best, bounds, key=lambda found: found.error)
            if best.error <= enough:
                return _certificate(residual, best)
    return _certificate(residual, best)


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


def _certificate(residual: float, best: _Bounds) -> Certificate:
    return Certificate(residual, best.stationarity, best.gap, best.error, best.coordinates)


@dataclass(frozen=True, eq=False)
class _Candidate:
    """A beta (d,) with its mirror image theta and slope D, for independent rows X."""

    X: Matrix
    beta: Array
    shift: Array
    theta: Array
    slope: Array
    log_scale: Array

    def bounds(
        self, weight: Array, misfit: tuple[Array, Array], dual: tuple[Array, Array] | None
    ) -> Iterator[_Bounds]:
        """Yield what follows from a weight W and the known dual point, then from a fitted one."""
        factor = _Verified(self.X, weight)
        kappa = factor.correction_norm(*misfit)
        if math.isfinite(kappa):
            away = factor.root * kappa
            if dual is not None:
                yield self._bounds(away, dual)
            dual = self._dual_fit(factor)
            # It may be as large as the data.
            del factor
            yield self._bounds(away, dual)

    def _dual_fit(self, factor: _Verified) -> tuple[Array, Array]:
        """Return a mu + mu_low, (n,) each, for which X^T mu + shift is about theta."""
        n = self.X.shape[0]
        mu, low = np.zeros(n), np.zeros(n)
        if n == 0:
            return mu, low
        floor = 4.0 * UNIT * (1.0 + float(np.max(np.abs(self.theta))))
        gap, misfit = self.theta - self.shift, math.inf
        for _ in range(8):
            total = mu + (step := factor.fit(gap))
            back = total - mu
            low = low + ((mu - (total - back)) + (step - back))
            mu = total
            high, rest, _ = dual_image(self.X, mu, low, self.shift)
            gap = (self.theta - high) - rest
            misfit, former = float(np.max(np.abs(gap))), misfit
            if not floor < misfit < 0.5 * former:
                break
        return mu, low

    def _bounds(self, away: Array, dual: tuple[Array, Array]) -> _Bounds:
        """Return what follows from a dual point where beta_f is within ``away`` (d,) of beta."""
        coordinates = np.empty_like(self.beta)
        image = dual_image(self.X, *dual, self.shift)
        angle = self.theta, self.slope, self.log_scale
        stationarity, gap = bounds_at(*image, away, self.beta, *angle, coordinates)
        return _Bounds(stationarity, gap, coordinates)


@numba.njit(cache=True, nogil=True)
def _small_bounds(X, y, unsure, mu, low, shift, beta, log_scale, coordinates):  # type: ignore[no-untyped-def]
    """Write the bounds by the dual point mu + low and W = D; returns the other three numbers.

    They are those of the general path, for a small dense X; infinite where that must be taken.
    """
    n, d = X.shape
    theta, slope, misfit, error = np.empty(d), np.empty(d), np.empty(n), np.empty(n)
    mirror_angles(beta, log_scale, theta, slope)
    residual_part(X, beta, y, 0, n, misfit, error)
    residual = 0.0
    for i in range(n):
        error[i] += unsure[i]
        part = abs(misfit[i]) + error[i]
        if not part <= residual:
            residual = part if part == part else math.inf
    root = binary_root(slope)
    away = root * small_correction(X, root, misfit, error)
    high, rest, rounding = shift.copy(), np.zeros(d), np.abs(shift)
    image_part(X, mu, low, 0, d, high, rest, rounding)
    return residual, bounds_at(
        high, rest, rounding, away, beta, theta, slope, log_scale, coordinates
    )
