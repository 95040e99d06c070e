"""Newton's method for the dual of the potential problem.

With beta = A sinh(theta), theta = X^T mu + shift and A = alpha^2/2, the minimiser of the potential
on {X beta = y} is the zero of the gradient of the convex dual

    F(mu) = sum_j A_j cosh(theta_j) - mu^T y,
    grad F = X beta - y,   Hess F = X diag(A cosh theta) X^T.

|F'''| <= F'' holds along every coordinate direction of theta, so a step that changes theta by at
most about one decreases F; longer steps are found by a safeguarded search for the zero of the
directional derivative.  The last iterations carry mu in twice the working precision, which makes
the answer independent of the conditioning of X as long as the Newton matrix can be factorised;
the first ones, whose steps are far larger than rounding, make do with plain products.
All quantities are dimensionless up to the units of beta.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import numba
import numpy as np
from scipy import linalg

from ..design import Array as Array
from ..design import Matrix, product, row_largest, transposed_product, triangle
from .compensated import UNIT, dual_image, image_part, residual_pair, residual_part
from .normal_matrix import NormalMatrix, is_small

_EXPONENT_LIMIT = 700.0
_TINY = 1e-300
_FITTED = 1e-9
_RESOLVED = 1e-9
_QUIET_STEPS = 6
_UNSETTLED_STEPS = 8
_PLAIN_BELOW = 1e-6
_FIRST_DESCENT = 10.0
_LEAST_DESCENT = 0.1
_STAGE_STEPS = 60
_FAR = 1e-3
_REDUCTIONS = (0.1, 1e-4)  # of the error of a step, before and where Newton's are small


@dataclass(frozen=True, eq=False)
class DualSolution:
    """Point reached by the iteration: beta (d,), mu (n,) as mu + mu_low, and how it ended."""

    beta: Array
    mu: Array
    mu_low: Array
    iterations: int
    converged: bool


@numba.njit(cache=True, nogil=True)
def _curve_point(t, scale, log_scale):  # type: ignore[no-untyped-def]
    """Return A sinh(t) and A cosh(t); log A serves where A or they leave the normal range."""
    size = abs(t)
    if scale > 1e-290 and size < _EXPONENT_LIMIT:
        grown = math.expm1(size)
        b = 0.5 * scale * (grown + grown / (1.0 + grown))
        s = 0.5 * scale * ((1.0 + grown) + 1.0 / (1.0 + grown))
    else:
        e = math.exp(size + log_scale - math.log(2.0))
        s = e * (1.0 + math.exp(-2.0 * size))
        b = -e * math.expm1(-2.0 * size)
    return math.copysign(b, t), s


@numba.njit(cache=True, nogil=True)
def entropy_curve(
    theta: Array, theta_low: Array, scale: Array, log_scale: Array, beta: Array, slope: Array
) -> tuple[float, float, float, float]:
    """Write beta = A sinh(theta) and slope = A cosh(theta) for theta + theta_low, all (d,).

    log_scale = log A, A = scale.  Returns max |theta|, sum |beta|, max slope and sum slope.
    """
    reach, beta_sum, slope_most, slope_sum = 0.0, 0.0, 0.0, 0.0
    for j in range(theta.shape[0]):
        b, s = _curve_point(theta[j], scale[j], log_scale[j])
        beta[j] = b + s * theta_low[j]
        slope[j] = s + b * theta_low[j]
        reach = max(reach, abs(theta[j]))
        beta_sum += abs(beta[j])
        slope_most = max(slope_most, slope[j])
        slope_sum += slope[j]
    return reach, beta_sum, slope_most, slope_sum


@numba.njit(cache=True, nogil=True)
def _curve_product(theta, direction, length, scale, log_scale):  # type: ignore[no-untyped-def]
    """Return the sum of A sinh(theta + length direction) direction."""
    total = 0.0
    for j in range(theta.shape[0]):
        angle = theta[j] + length * direction[j]
        total += _curve_point(angle, scale[j], log_scale[j])[0] * direction[j]
    return total


@numba.njit(cache=True, nogil=True)
def _everything(X, y, shift, mu, low, scale, log_scale, theta, beta, slope, residual):  # type: ignore[no-untyped-def]
    """Write theta, beta, slope and y - X beta at mu + low; returns the sums of entropy_curve."""
    theta_low, bound, row = np.empty_like(theta), np.empty_like(theta), np.empty_like(residual)
    theta[:] = shift
    theta_low[:] = 0.0
    bound[:] = 0.0
    image_part(X, mu, low, 0, X.shape[1], theta, theta_low, bound)
    sums = entropy_curve(theta, theta_low, scale, log_scale, beta, slope)
    residual_part(X, beta, y, 0, X.shape[0], residual, row)
    for i in range(residual.shape[0]):
        residual[i] = -residual[i]
    return sums


@numba.njit(cache=True, nogil=True)
def _loudness(residual, noise, size):  # type: ignore[no-untyped-def]
    """Return the largest |residual| in units of its rounding, noise size."""
    loudest = 0.0
    for i in range(residual.shape[0]):
        part = abs(residual[i])
        if not part <= loudest * noise * size[i]:
            loudest = part / (noise * size[i]) if noise * size[i] > 0.0 else math.inf
    return loudest


class _Problem:
    """The dual on fixed data; evaluates points of the curve beta = A sinh(theta)."""

    def __init__(self, X: Matrix, y: Array, size: Array, log_alpha: Array, shift: Array) -> None:
        self.X, self.y, self.shift = X, y, shift
        self.size = size
        self.log_scale = 2.0 * log_alpha - math.log(2.0)
        self.scale = 0.5 * np.exp(2.0 * log_alpha)
        self.zero = np.zeros(X.shape[1])
        self.small = is_small(X)

    def point(self, theta: Array) -> tuple[Array, Array]:
        beta, slope = np.empty_like(theta), np.empty_like(theta)
        entropy_curve(theta, self.zero, self.scale, self.log_scale, beta, slope)
        return beta, slope

    def everything(
        self, mu: Array, low: Array, roughly: bool
    ) -> tuple[Array, Array, Array, Array, tuple[float, float, float, float]]:
        """Return theta, beta, slope, y - X beta and the sums of :func:`entropy_curve`.

        Roughly: by plain products, which do not see ``low``.
        """
        X, beta, slope = self.X, np.empty_like(self.shift), np.empty_like(self.shift)
        scales = self.scale, self.log_scale
        if self.small and not roughly:
            theta, residual = np.empty_like(self.shift), np.empty_like(mu)
            sums = _everything(
                X, self.y, self.shift, mu, low, *scales, theta, beta, slope, residual
            )
            return theta, beta, slope, residual, sums
        if roughly:
            theta, theta_low = transposed_product(X, mu) + self.shift, self.zero
        else:
            theta, theta_low, _ = dual_image(X, mu, low, self.shift)
        sums = entropy_curve(theta, theta_low, *scales, beta, slope)
        residual = self.y - product(X, beta) if roughly else -residual_pair(X, beta, self.y)[0]
        return theta, beta, slope, residual, sums

    def longest_step(self, theta: Array, direction: Array) -> float:
        """Largest t for which no coordinate of theta + t direction overflows."""
        room = _EXPONENT_LIMIT - np.maximum(self.log_scale, 0.0) - np.sign(direction) * theta
        with np.errstate(divide="ignore"):
            limit = (room - np.minimum(self.log_scale, 0.0)) / np.abs(direction)
        return float(np.min(limit))

    def step_length(self, theta: Array, direction: Array, slope_at_zero: float) -> float:
        """Zero of t -> d/dt F(theta + t direction), to a few per cent (regula falsi, Illinois)."""
        curve = (self.scale, self.log_scale)
        pull = slope_at_zero - _curve_product(theta, direction, 0.0, *curve)

        def derivative(t: float) -> float:
            value = _curve_product(theta, direction, t, *curve) + pull
            return math.asinh(value / abs(slope_at_zero))

        longest = self.longest_step(theta, direction)
        low, f_low = 0.0, math.asinh(-1.0)
        high = min(1.0, longest)
        f_high = derivative(high)
        while f_high < -0.1 and high < longest:
            low, f_low = high, f_high
            high = min(2.0 * high, longest)
            f_high = derivative(high)
        if f_high <= 0.1:
            return high
        for _ in range(60):
            t = low + (high - low) * f_low / (f_low - f_high)
            f = derivative(t)
            if abs(f) <= 0.1:
                return t
            if f < 0.0:
                low, f_low, f_high = t, f, 0.5 * f_high
            else:
                high, f_high, f_low = t, f, 0.5 * f_low
        return low if low > 0.0 else t


def solve_dual(
    X: Matrix,
    y: Array,
    log_alpha: Array,
    shift: Array,
    *,
    start: Array | None = None,
    max_steps: int = 1000,
) -> DualSolution:
    """Minimise the dual for linearly independent rows X (n, d), y (n,), log_alpha, shift (d,).

    Small alpha is approached by max(alpha, e^level), the level falling in steps that double and are
    cut where Newton does not follow. A ``start`` mu (n,) is tried first.
    """
    size = row_largest(X)
    if start is not None:
        near = _solve(_Problem(X, y, size, log_alpha, shift), start, _STAGE_STEPS)
        if near.converged:
            return near
    level = math.log(_PLAIN_BELOW) + 0.5 * math.log(float(np.max(np.abs(y) / size)) or 1.0)
    bottom = float(np.min(log_alpha))
    level = max(level, bottom)
    problem = _Problem(X, y, size, np.maximum(log_alpha, level), shift)
    found = _solve(problem, None, max_steps)
    iterations, growth = found.iterations, _FIRST_DESCENT
    while found.converged and level > bottom and iterations < max_steps and growth > _LEAST_DESCENT:
        lower = max(level - growth, bottom)
        deeper = _Problem(X, y, size, np.maximum(log_alpha, lower), shift)
        start = _continue(problem, found.mu, problem.log_scale - deeper.log_scale)
        trial = _solve(deeper, start, min(_STAGE_STEPS, max_steps - iterations))
        iterations += trial.iterations + 1
        if trial.converged:
            level, problem, found, growth = lower, deeper, trial, 2.0 * growth
        else:
            growth *= 0.25
    return replace(found, iterations=iterations, converged=found.converged and level == bottom)


def _continue(problem: _Problem, mu: Array, fall: Array) -> Array:
    """Start for scale A e^-fall: theta grows with log(1/A), large coordinates by fall exactly."""
    theta = transposed_product(problem.X, mu) + problem.shift
    slope = problem.point(theta)[1]
    factor = float(np.max(fall)) / max(float(np.max(np.abs(theta))), 1.0)
    target = fall * np.tanh(theta) - factor * (theta - problem.shift)
    root = np.sqrt(slope / np.max(slope))
    # Least squares on the triangular factor: that of the data would need copies of them.
    upper = triangle(problem.X, root, root * target)
    correction = linalg.lstsq(upper[:-1, :-1], upper[:-1, -1], cond=_RESOLVED)[0]
    return mu * (1.0 + factor) + correction


def _solve(problem: _Problem, start: Array | None, max_steps: int) -> DualSolution:
    """Globalised Newton from start (zero when None); not converged where it breaks down."""
    try:
        with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
            return _iterate(problem, start, max_steps)
    except (linalg.LinAlgError, ValueError):
        nothing = np.zeros(problem.X.shape[0])
        return DualSolution(problem.point(problem.shift)[0], nothing, nothing, max_steps, False)


@numba.njit(cache=True, nogil=True)
def _propose(beta, slope, move, factor, corrected):  # type: ignore[no-untyped-def]
    """Write beta + factor slope move; return the largest |move|, |change| and |beta|."""
    span, change, size, finite = 0.0, 0.0, 0.0, True
    for j in range(beta.shape[0]):
        corrected[j] = beta[j] + slope[j] * factor * move[j]
        finite = finite and math.isfinite(move[j])
        span = max(span, abs(move[j]))
        change = max(change, abs(corrected[j] - beta[j]))
        size = max(size, abs(beta[j]))
    return (span if finite else math.inf), change, size


def _iterate(problem: _Problem, start: Array | None, max_steps: int) -> DualSolution:
    X, y, shift = problem.X, problem.y, problem.shift
    n, d = X.shape
    mu = np.zeros(n) if start is None else start.copy()
    low = np.zeros(n)
    best, best_change = np.empty(0), math.inf
    stalled, quiet, rests, unsettled = 0, 0, 0, 0
    size, matrix = problem.size, NormalMatrix(X, problem.size)
    still_below = 2.0**-50 * (1.0 + float(np.max(np.abs(shift))))
    far, reduction = start is None, _REDUCTIONS[0]
    for iteration in range(1, max_steps + 1):
        corrected = np.empty(d)
        theta, beta, slope, residual, sums = problem.everything(mu, low, far)
        reach, beta_sum, unit, slope_sum = sums
        # Coordinates of minute slope cannot be resolved once the residual is mere rounding.
        loudness = _loudness(residual, UNIT * (4.0 + reach) * beta_sum, size)
        quiet = quiet + 1 if not far and loudness <= 1.0 else 0
        if quiet > _QUIET_STEPS:
            return DualSolution(beta, mu, low, iteration, True)
        # In units of 1/unit: K of tiny slopes need not be representable.
        step, move = matrix.solve(theta, slope / unit, residual, reduction)
        span, change, beta_most = _propose(beta, slope, move, 1.0 / unit, corrected)
        if not math.isfinite(span):
            raise linalg.LinAlgError("the step is not finite")
        change /= max(beta_most, _TINY)
        # Twice, because an inexact step may leave more of beta to be corrected than theta shows.
        rests = rests + 1 if span <= still_below * unit else 0
        still = rests > 1 or (rests == 1 and change < 1e-10)
        reduction = _REDUCTIONS[span < 0.1 * unit]
        # Plain products serve while their rounding is far below the step.
        far = far and span > _FAR * unit and UNIT * float(size @ np.abs(mu)) < 1e-10
        far = far and loudness > 1e8
        if not far and (change < 1e-10 or still):
            stalled = stalled + 1 if change > 0.25 * best_change else 0
            if change < best_change:
                best, best_change = corrected, change
            # Where theta still moves, coordinates too small to count as change are not settled.
            unsettled += span > unit
            settled = change <= 2.0**-53 and (span <= unit or unsettled > _UNSETTLED_STEPS)
            if stalled == 3 or settled or still:
                misfit = float(np.max(np.abs(residual)))
                for other in (corrected,) if best is corrected else (corrected, best):
                    smaller = float(np.max(np.abs(residual_pair(X, other, y)[0])))
                    beta, misfit = (other, smaller) if smaller <= misfit else (beta, misfit)
                resolved = _FITTED * np.sum(np.abs(beta)) + 2.0**-40 * slope_sum
                fits = misfit <= float(np.max(size) * resolved)
                return DualSolution(beta, mu, low, iteration, fits)
        if span > unit:
            # In units of the largest change of theta: here only the direction matters.
            step, move = step / span, move / span
            gain = float(residual @ step)
            if gain == 0.0:
                raise linalg.LinAlgError("the residual is too small for a direction")
            step *= problem.step_length(theta, move, -gain)
        else:
            step /= unit
        mu, low = _add(mu, low, step)
    return DualSolution(corrected, mu, low, max_steps, False)


def _add(high: Array, low: Array, step: Array) -> tuple[Array, Array]:
    """Return (high + low) + step as an unevaluated sum."""
    total = high + step
    back = total - high
    low = low + ((high - (total - back)) + (step - back))
    new = total + low
    return new, low - (new - total)


def as_coordinates(value: Any, d: int) -> Array:
    """Return value broadcast to a fresh (d,) float64 array."""
    if isinstance(value, float):
        return np.full(d, value)
    return np.array(np.broadcast_to(np.asarray(value, dtype=np.float64), (d,)))
