"""Newton's method for the dual of the potential problem.

With beta = A sinh(theta), theta = X^T mu + shift and A = alpha^2/2, the minimiser of the potential
on {X beta = y} is the zero of the gradient of the convex dual

    F(mu) = sum_j A_j cosh(theta_j) - mu^T y,
    grad F = X beta - y,   Hess F = X diag(A cosh theta) X^T.

|F'''| <= F'' holds along every coordinate direction of theta, so a step that changes theta by at
most about one decreases F; longer steps are found by a safeguarded search for the zero of the
directional derivative.  The last iterations carry mu in twice the working precision, which makes
the answer independent of the conditioning of X as long as the Newton matrix can be factorised.
All quantities are dimensionless up to the units of beta.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numba
import numpy as np
import numpy.typing as npt
from scipy import linalg

from .compensated import UNIT, dual_image, residual_pair

Array = npt.NDArray[np.float64]
_EXPONENT_LIMIT = 700.0
_TINY = 1e-300
_FITTED = 1e-9
_RESOLVED = 1e-9
_QUIET_STEPS = 6
_PLAIN_BELOW = 1e-6
_FIRST_DESCENT = 10.0
_LEAST_DESCENT = 0.1
_STAGE_STEPS = 60


@dataclass(frozen=True, eq=False)
class DualSolution:
    """Point reached by the iteration: beta (d,), mu (n,) as mu + mu_low, and how it ended."""

    beta: Array
    mu: Array
    mu_low: Array
    iterations: int
    converged: bool


@numba.njit(cache=True)
def entropy_curve(
    theta: Array, theta_low: Array, scale: Array, log_scale: Array, beta: Array, slope: Array
) -> None:
    """Write beta = A sinh(theta) and slope = A cosh(theta) for theta + theta_low, all (d,).

    log_scale = log A is used where A = scale or the hyperbolic functions leave the normal range.
    """
    for j in range(theta.shape[0]):
        t = theta[j]
        if scale[j] > 1e-290 and abs(t) < _EXPONENT_LIMIT:
            b = scale[j] * math.sinh(t)
            s = scale[j] * math.cosh(t)
        else:
            size = abs(t)
            e = math.exp(size + log_scale[j] - math.log(2.0))
            fall = math.exp(-2.0 * size)
            s = e * (1.0 + fall)
            b = -e * math.expm1(-2.0 * size)
            if t < 0.0:
                b = -b
        beta[j] = b + s * theta_low[j]
        slope[j] = s + b * theta_low[j]


class WeightedNormalMatrix:
    """Factorisation of K = X diag(slope) X^T, X (n, d), slope (d,) positive.

    Cholesky of the equilibrated matrix while that is well conditioned, otherwise QR of
    diag(slope)^(1/2) X^T with rows sorted and columns pivoted, which is stable under any grading
    of the weights (Cox and Higham 1998).  Scaling by ``exp(-log_unit)`` keeps K representable.
    """

    def __init__(self, X: Array, slope: Array) -> None:
        self.unit = float(np.max(slope))
        root = np.sqrt(slope / self.unit)
        weighted = X * root
        self.row = np.sqrt(np.einsum("ij,ij->i", weighted, weighted))
        if not np.all(self.row > 0.0):
            raise linalg.LinAlgError("a row of X has no weight")
        weighted /= self.row[:, None]
        self._solve = self._cholesky(weighted) or self._orthogonal(weighted)

    def solve(self, rhs: Array) -> Array:
        """Return K^-1 rhs times ``unit``; divide by ``unit`` for the solution itself."""
        return self._solve(rhs / self.row) / self.row

    @staticmethod
    def _cholesky(weighted: Array) -> Callable[[Array], Array] | None:
        try:
            factor = linalg.cholesky(weighted @ weighted.T, lower=True, check_finite=False)
        except linalg.LinAlgError:
            return None
        if np.min(np.diag(factor)) < 1e-5:
            return None
        pair = (factor, True)
        return lambda rhs: linalg.cho_solve(pair, rhs, check_finite=False)

    @staticmethod
    def _orthogonal(weighted: Array) -> Callable[[Array], Array]:
        order = np.argsort(-np.max(np.abs(weighted), axis=0), kind="stable")
        upper, pivot = linalg.qr(weighted.T[order], mode="r", pivoting=True, check_finite=False)
        upper = upper[: weighted.shape[0]]
        if not np.all(np.abs(np.diag(upper)) > 0.0):
            raise linalg.LinAlgError("the weighted rows are linearly dependent")

        def solve(rhs: Array) -> Array:
            half = linalg.solve_triangular(upper, rhs[pivot], trans="T", check_finite=False)
            out = np.empty_like(half)
            out[pivot] = linalg.solve_triangular(upper, half, check_finite=False)
            return out

        return solve


class _Problem:
    """The dual on fixed data; evaluates points of the curve beta = A sinh(theta)."""

    def __init__(self, X: Array, y: Array, log_alpha: Array, shift: Array) -> None:
        self.X, self.y, self.shift = X, y, shift
        self.log_scale = 2.0 * log_alpha - math.log(2.0)
        self.scale = 0.5 * np.exp(2.0 * log_alpha)
        self.zero = np.zeros(X.shape[1])

    def point(self, theta: Array, theta_low: Array | None = None) -> tuple[Array, Array]:
        beta, slope = np.empty_like(theta), np.empty_like(theta)
        low = self.zero if theta_low is None else theta_low
        entropy_curve(theta, low, self.scale, self.log_scale, beta, slope)
        return beta, slope

    def longest_step(self, theta: Array, direction: Array) -> float:
        """Largest t for which no coordinate of theta + t direction overflows."""
        room = _EXPONENT_LIMIT - np.maximum(self.log_scale, 0.0) - np.sign(direction) * theta
        with np.errstate(divide="ignore"):
            limit = (room - np.minimum(self.log_scale, 0.0)) / np.abs(direction)
        return float(np.min(limit))

    def step_length(self, theta: Array, direction: Array, slope_at_zero: float) -> float:
        """Zero of t -> d/dt F(theta + t direction), to a few per cent (regula falsi, Illinois)."""
        pull = slope_at_zero - float(self.point(theta)[0] @ direction)

        def derivative(t: float) -> float:
            value = float(self.point(theta + t * direction)[0] @ direction) + pull
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
    X: Array, y: Array, log_alpha: Array, shift: Array, *, max_steps: int = 1000
) -> DualSolution:
    """Minimise the dual for linearly independent rows X (n, d), y (n,), log_alpha, shift (d,).

    Small alpha is approached by max(alpha, e^level), the level falling in steps that double and are
    cut where Newton does not follow.
    """
    level = math.log(_PLAIN_BELOW) + 0.5 * math.log(_magnitude(X, y))
    bottom = float(np.min(log_alpha))
    level = max(level, bottom)
    problem = _Problem(X, y, np.maximum(log_alpha, level), shift)
    found = _solve(problem, None, max_steps)
    iterations, growth = found.iterations, _FIRST_DESCENT
    while found.converged and level > bottom and iterations < max_steps and growth > _LEAST_DESCENT:
        lower = max(level - growth, bottom)
        deeper = _Problem(X, y, np.maximum(log_alpha, lower), shift)
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
    theta = problem.X.T @ mu + problem.shift
    slope = problem.point(theta)[1]
    factor = float(np.max(fall)) / max(float(np.max(np.abs(theta))), 1.0)
    target = fall * np.tanh(theta) - factor * (theta - problem.shift)
    root = np.sqrt(slope / np.max(slope))
    correction = linalg.lstsq((problem.X * root).T, root * target, cond=_RESOLVED)[0]
    return mu * (1.0 + factor) + correction


def _magnitude(X: Array, y: Array) -> float:
    """Order of magnitude of the interpolators' largest coordinate (positive)."""
    size = float(np.max(np.abs(y) / np.max(np.abs(X), axis=1)))
    return size if size > 0.0 else 1.0


def _solve(problem: _Problem, start: Array | None, max_steps: int) -> DualSolution:
    """Globalised Newton from start (zero when None); not converged where it breaks down."""
    try:
        with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
            return _iterate(problem, start, max_steps)
    except (linalg.LinAlgError, ValueError):
        nothing = np.zeros(problem.X.shape[0])
        return DualSolution(problem.point(problem.shift)[0], nothing, nothing, max_steps, False)


def _iterate(problem: _Problem, start: Array | None, max_steps: int) -> DualSolution:
    X, y, shift = problem.X, problem.y, problem.shift
    mu = np.zeros(X.shape[0]) if start is None else start.copy()
    low = np.zeros_like(mu)
    best, best_change, stalled, quiet = np.empty(0), math.inf, 0, 0
    size = np.max(np.abs(X), axis=1)
    for iteration in range(1, max_steps + 1):
        theta, theta_low, _ = dual_image(X, mu, low, shift)
        beta, slope = problem.point(theta, theta_low)
        matrix = WeightedNormalMatrix(X, slope)
        residual = -residual_pair(X, beta, y)[0]
        # Coordinates of minute slope cannot be resolved once the residual is mere rounding.
        noise = UNIT * (4.0 + float(np.max(np.abs(theta)))) * size * float(np.sum(np.abs(beta)))
        quiet = quiet + 1 if np.all(np.abs(residual) <= noise) else 0
        if quiet > _QUIET_STEPS:
            return DualSolution(beta, mu, low, iteration, True)
        step = matrix.solve(residual)
        move = X.T @ step
        if not np.all(np.isfinite(move)):
            raise linalg.LinAlgError("the step is not finite")
        span = float(np.max(np.abs(move)))
        corrected = beta + slope / matrix.unit * move
        change = float(np.max(np.abs(corrected - beta))) / max(float(np.max(np.abs(beta))), _TINY)
        still = span <= 2.0**-50 * matrix.unit * (1.0 + float(np.max(np.abs(shift))))
        if change < 1e-10 or still:
            stalled = stalled + 1 if change > 0.25 * best_change else 0
            if change < best_change:
                best, best_change = corrected, change
            if stalled == 3 or change <= 2.0**-53 or still:
                beta = min((best, corrected, beta), key=lambda b: _misfit(X, b, y))
                resolved = _FITTED * np.sum(np.abs(beta)) + 2.0**-40 * np.sum(slope)
                fits = _misfit(X, beta, y) <= float(np.max(size) * resolved)
                return DualSolution(beta, mu, low, iteration, fits)
        if span > matrix.unit:
            # In units of the largest change of theta: here only the direction matters.
            step, move = step / span, move / span
            step *= problem.step_length(theta, move, -float(residual @ step))
        else:
            step /= matrix.unit
        mu, low = _add(mu, low, step)
    return DualSolution(corrected, mu, low, max_steps, False)


def _misfit(X: Array, beta: Array, y: Array) -> float:
    return float(np.max(np.abs(residual_pair(X, beta, y)[0])))


def _add(high: Array, low: Array, step: Array) -> tuple[Array, Array]:
    """Return (high + low) + step as an unevaluated sum."""
    total = high + step
    back = total - high
    low = low + ((high - (total - back)) + (step - back))
    new = total + low
    return new, low - (new - total)


def as_coordinates(value: Any, d: int) -> Array:
    """Return value broadcast to a fresh (d,) float64 array."""
    return np.array(np.broadcast_to(np.asarray(value, dtype=np.float64), (d,)))
