"""A posteriori certificate for a minimiser of the potential, whoever computed it.

Problem: minimise phi_alpha(beta) - <shift/2, beta> over {X beta = y}.  With A = alpha^2/2,
theta(beta) = arcsinh(beta/A) and D(beta) = sqrt(beta^2 + A^2) = d beta/d theta, the minimiser is
the feasible point whose theta - shift lies in the row space of X.  For any candidate beta:

1. Some exactly feasible beta_f = beta - D X^T K^-1 (X beta - y), K = X D X^T, lies near it:
   |beta_f - beta|_j <= sqrt(D_j) kappa,  kappa^2 = (X beta - y)^T K^-1 (X beta - y).
2. Any mu gives the dual point b = A sinh(X^T mu + shift); Fenchel-Young turns the duality gap at
   beta_f into the Bregman divergence D_phi(beta_f, b), which has no cancellation.
3. D_phi(beta_f, beta*) <= gap, and phi'' = 1/(2D) turns this into a bound on each coordinate.

Residuals and dual images are computed in twice the working precision with error bounds; the factor
of K is verified (||R^-T K R^-1 - I|| < 1 with a bound on its own rounding).  Where verification
fails the error bound is infinite, never wrong.  Source: convex duality as in THEORY section 4;
verified factorisation after Rump (2010), "Verification methods".
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
from scipy import linalg

from ..errors import InputError
from ..row_space import RowSpace, row_space
from .compensated import UNIT, dual_image, residual_pair
from .newton import Array, as_coordinates

_SIDES = {
    "residual": "upper bound on max |X beta - y| over the independent rows",
    "stationarity": "upper bound on the distance (max norm) of the mirror image of beta from the "
    "row space of X",
    "gap": "upper bound on phi(beta_f) - phi(beta*) at the feasible beta_f next to beta",
    "error_bound": "upper bound on max |beta - beta*|",
}
_FLOORS = (0.0, 1e-24, 1e-16, 1e-8)


@dataclass(frozen=True, eq=False)
class Certificate:
    """What is proved about a candidate minimiser beta.

    Every number is an upper bound, computed from (X, y, alpha, shift, beta) alone.

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


def certify(
    X: npt.ArrayLike,
    y: npt.ArrayLike,
    alpha: npt.ArrayLike,
    beta: npt.ArrayLike,
    shift: npt.ArrayLike | None = None,
) -> Certificate:
    """Certify beta as the minimiser of phi_alpha(beta) - <shift/2, beta> over {X beta = y}.

    Parameters
    ----------
    X : array_like, shape (n, d)
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

    Raises
    ------
    InputError
        If a shape does not fit or a value is not finite, or alpha is not positive.
    """
    space = row_space(X, y)
    matrix = np.asarray(X, dtype=np.float64)
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
    X: Array, space: RowSpace, log_alpha: Array, beta: Array, shift: Array
) -> Certificate:
    """Certify beta for the independent rows of a known row space (arguments already valid)."""
    rows = np.ascontiguousarray(X[space.rows])
    target = space.y_range[space.rows]
    log_scale = 2.0 * log_alpha - math.log(2.0)
    theta, slope = mirror_angle(beta, log_scale)
    misfit, misfit_error = residual_pair(rows, beta, target)
    residual = float(np.max(np.abs(misfit) + misfit_error, initial=0.0))
    best = None
    for floor in _FLOORS:
        weight = np.maximum(slope, floor * np.max(slope))
        trial = _Verified(rows, weight).bounds(
            misfit, misfit_error, beta, theta, slope, log_scale, shift
        )
        if best is None or trial[2] < best[2]:
            best = trial
        if best[2] <= 1e-8 * np.max(np.abs(beta), initial=0.0):
            break
    assert best is not None
    stationarity, gap, bound, coordinates = best
    return Certificate(residual, stationarity, gap, bound, coordinates)


def mirror_angle(beta: Array, log_scale: Array) -> tuple[Array, Array]:
    """Return theta = arcsinh(beta/A) and D = sqrt(beta^2 + A^2), (d,) each, for A = e^log_scale."""
    scale = np.exp(log_scale)
    slope = np.hypot(beta, scale)
    with np.errstate(divide="ignore", over="ignore", invalid="ignore"):
        ratio = beta / scale
        logarithm = np.sign(beta) * (np.log(np.abs(beta)) + math.log(2.0) - log_scale)
    direct = (scale > 1e-290) & (np.abs(ratio) < 1e150)
    far = np.where(beta == 0.0, 0.0, logarithm)
    return np.where(direct, np.arcsinh(np.where(direct, ratio, 0.0)), far), slope


class _Verified:
    """Factor of K = X W X^T with a proved bound on how far it is from exact."""

    def __init__(self, X: Array, weight: Array) -> None:
        n, d = X.shape
        self.X, self.weight = X, weight
        self.root = np.sqrt(weight)
        self.defect = math.inf
        weighted = X * self.root
        if n == 0:
            self.defect = 0.0
            return
        order = np.argsort(-np.max(np.abs(weighted), axis=0), kind="stable")
        upper, self.pivot = linalg.qr(weighted.T[order], mode="r", pivoting=True)
        upper = upper[:n]
        if n > d or not np.all(np.abs(np.diag(upper)) > 0.0):
            return
        self.lower = np.ascontiguousarray(upper.T)
        rows = weighted[self.pivot]
        self.basis = linalg.solve_triangular(self.lower, rows, lower=True)
        self.inverse = np.abs(linalg.solve_triangular(self.lower, np.eye(n), lower=True))
        self.growth = 2.0 * (n + 4) * UNIT * (self.inverse @ np.abs(self.lower))
        if not np.all(np.isfinite(self.growth)):
            return
        # Rounding of basis: |R^-T| gamma |R^T| |basis| and that of the weighted rows.
        lost = np.linalg.norm(self.growth @ np.abs(self.basis))
        lost += 6.0 * UNIT * np.linalg.norm(self.inverse @ np.abs(rows))
        size = np.linalg.norm(self.basis)
        gram = self.basis @ self.basis.T
        own = np.linalg.norm(gram - np.eye(n))
        self.defect = float(own + (d + 4) * UNIT * size**2 + lost * (2.0 * size + lost))

    def half(self, values: Array) -> Array:
        """Return R^-T values (values in the order of the rows of X)."""
        return linalg.solve_triangular(self.lower, values[self.pivot], lower=True)

    def correction_norm(self, misfit: Array, misfit_error: Array) -> float:
        """Upper bound on kappa = sqrt(misfit^T K^-1 misfit)."""
        if self.X.shape[0] == 0:
            return 0.0
        if not self.defect < 1.0:
            return math.inf
        half = self.half(misfit)
        rounding = self.growth @ np.abs(half) + 2.0 * self.inverse @ misfit_error[self.pivot]
        total = np.linalg.norm(half) + np.linalg.norm(rounding)
        return float(total / math.sqrt(1.0 - self.defect) * (1.0 + 1e-12))

    def dual_fit(self, target: Array, shift: Array) -> tuple[Array, Array]:
        """Return target - (X^T mu + shift) for a good mu and its rounding bound, (d,) each."""
        n = self.X.shape[0]
        mu, low = np.zeros(n), np.zeros(n)
        for attempt in range(4):
            high, rest, error = dual_image(self.X, mu, low, shift)
            gap = (target - high) - rest
            if attempt == 3 or n == 0:
                break
            half = self.basis @ (self.root * gap)
            step = np.empty(n)
            step[self.pivot] = linalg.solve_triangular(self.lower.T, half)
            total = mu + step
            back = total - mu
            low = low + ((mu - (total - back)) + (step - back))
            mu = total
        return gap, error + 2.0 * UNIT * np.abs(gap)

    def bounds(
        self,
        misfit: Array,
        misfit_error: Array,
        beta: Array,
        theta: Array,
        slope: Array,
        log_scale: Array,
        shift: Array,
    ) -> tuple[float, float, float, Array]:
        """Return (stationarity, gap, error bound, coordinate bounds)."""
        unknown = np.full(beta.shape, math.inf)
        kappa = self.correction_norm(misfit, misfit_error)
        if not math.isfinite(kappa):
            return math.inf, math.inf, math.inf, unknown
        away = self.root * kappa
        tilt, rounding = self.dual_fit(theta, shift)
        span = np.abs(tilt) + rounding + 8.0 * UNIT * (np.abs(theta) + np.abs(log_scale) + 1.0)
        gap = float(np.sum(_divergence(beta, away, theta, span, slope, log_scale)))
        if not math.isfinite(gap):
            return float(np.max(span)) / 2.0, math.inf, math.inf, unknown
        gap *= 1.0 + 1e-12
        reach = np.abs(beta) + away
        scale = np.exp(log_scale)
        radius = gap + math.sqrt(gap) * np.sqrt(gap + 2.0 * (reach + scale))
        radius = math.sqrt(2.0 * gap) * np.sqrt(np.hypot(reach + radius, scale))
        coordinates = (away + radius) * (1.0 + 1e-12)
        stationarity = float(np.max(span, initial=0.0)) / 2.0
        return stationarity, gap / 2.0, float(np.max(coordinates, initial=0.0)), coordinates


def _divergence(
    beta: Array, away: Array, theta: Array, span: Array, slope: Array, log_scale: Array
) -> Array:
    """Upper bounds (d,) on the divergence (of 2 phi) of beta_f from the dual point b.

    beta_f is within ``away`` of beta and theta(b) within ``span`` of theta(beta).
    """
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        # Near: |theta(beta_f) - theta(b)| <= T gives at most D(beta_f) (e^T - 1 - T).
        near = away < 0.5 * slope
        total = span + np.where(near, away / np.where(near, slope - away, 1.0), 0.0)
        small = np.minimum(total, 1.0)
        tail = 0.5 * small**2 * (1.0 + small)
        growth = np.where(total <= 1.0, tail, np.expm1(total) - total)
        first = np.where(near, (slope + away) * growth, math.inf)
        # Far: the divergence itself, which is largest at the corners of the box.
        corners = []
        for side in (-1.0, 1.0):
            end = beta + side * away
            angle, end_slope = mirror_angle(end, log_scale)
            for turn in (-1.0, 1.0):
                other = theta + turn * span
                grown = 0.5 * np.exp(np.abs(other) + log_scale)
                image_slope = grown + 0.5 * np.exp(log_scale - np.abs(other))
                product = end * (angle - other)
                rounding = np.abs(product) + end_slope + image_slope
                rounding *= 1e-14 * (1.0 + np.abs(other))
                corners.append(product - end_slope + image_slope + rounding)
        second = np.maximum.reduce(corners)
    second = np.where(np.isnan(second), math.inf, second)
    return np.minimum(np.where(np.isnan(first), math.inf, first), second)
