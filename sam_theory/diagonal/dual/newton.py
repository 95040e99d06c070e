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

import numpy as np
from scipy import linalg

from ...design import (
    Array,
    Matrix,
    absolute_product,
    product,
    row_largest,
    transposed_product,
    triangle,
)
from .compensated import dual_image, residual_pair
from .newton_steps import (
    BEST,
    BROKEN,
    FAR,
    ITERATIONS,
    NEAR,
    NUMBERS,
    QUIET,
    SEARCH,
    SETTLED,
    STEP,
    UNITS,
    UNSOLVED,
    begin,
    doubt,
    entropy_curve,
    judge,
    move_on,
    small_settled,
    small_steps,
)
from .normal_matrix import NormalMatrix, is_small

_RESOLVED = 1e-9
_PLAIN_BELOW = 1e-6
_FIRST_DESCENT = 10.0
_LEAST_DESCENT = 0.1
_STAGE_STEPS = 60
_SLACK = 2.0**20  # of the bound on theta, which many columns of other sizes make a loose one
_REDUCTIONS = (0.1, 1e-4)  # of the error of a step, before and where Newton's are small


@dataclass(frozen=True, eq=False)
class DualSolution:
    """Point reached by the iteration: beta (d,), mu (n,) as mu + mu_low, and how it ended."""

    beta: Array
    mu: Array
    mu_low: Array
    iterations: int
    converged: bool


class _Problem:
    """The dual on fixed data; evaluates points of the curve beta = A sinh(theta)."""

    def __init__(self, X: Matrix, y: Array, size: Array, log_alpha: Array, shift: Array) -> None:
        self.X, self.y, self.shift = X, y, shift
        self.size = size
        self.log_scale = 2.0 * log_alpha - math.log(2.0)
        self.scale = 0.5 * np.exp(2.0 * log_alpha)
        self.zero = np.zeros(X.shape[1])
        self.still_below = 2.0**-50 * (self._least_angle() + float(np.max(np.abs(shift))))

    @property
    def fixed(self) -> tuple[Any, ...]:
        """What compiled iterations read."""
        fixed = self.X, self.y, self.shift, self.scale, self.log_scale
        return *fixed, self.size, self.still_below

    def _least_angle(self) -> float:
        """Return what max |theta| is at least, times _SLACK, and at most 1; 0 for y = 0.

        |y_i| <= size_i sum_j A_j sinh |theta_j|.
        """
        most = float(np.max(np.abs(self.y) / self.size))
        if most == 0.0:
            return 0.0
        log_sum = float(np.max(self.log_scale)) + math.log(self.X.shape[1])
        return math.exp(min(math.log(_SLACK) + math.log(most) - log_sum, 0.0))

    def point(self, theta: Array) -> tuple[Array, Array]:
        beta, slope = np.empty_like(theta), np.empty_like(theta)
        entropy_curve(theta, self.zero, self.scale, self.log_scale, beta, slope)
        return beta, slope

    def residual(self, beta: Array) -> Array:
        """Return y - X beta, (n,), rounded once."""
        return -residual_pair(self.X, beta, self.y)[0]


class _Search:
    """Newton's iteration from ``start`` (zero when None): mu + low (n,) and what belongs to it."""

    def __init__(self, problem: _Problem, start: Array | None) -> None:
        n, d = problem.X.shape
        self.problem = problem
        self.small = is_small(problem.X)
        self.mu = np.zeros(n) if start is None else start.copy()
        self.low, self.residual = np.zeros(n), np.empty(n)
        self.theta, self.beta, self.slope = np.empty(d), np.empty(d), np.empty(d)
        self.corrected, self.best = np.empty(d), np.empty(d)
        self.numbers = np.zeros(NUMBERS)
        self.numbers[FAR], self.numbers[BEST] = start is None and not self.small, math.inf
        self.matrix = NormalMatrix(problem.X, problem.size)

    @property
    def iterations(self) -> int:
        return int(self.numbers[ITERATIONS])

    def run(self, max_steps: int) -> DualSolution:
        """Iterate to the end; LinAlgError where a step cannot be made."""
        while self.iterations < max_steps:
            answer = self._small_steps(max_steps) if self.small else self._evaluate()
            if answer == UNSOLVED:
                answer = self._step()
            if answer == QUIET:
                return self._solution(self.beta, True)
            if answer == SETTLED:
                return self._settle()
            if answer == BROKEN:
                raise linalg.LinAlgError("no finite step that matters")
        return self._solution(self.corrected, False)

    def _small_steps(self, max_steps: int) -> int:
        state = self.numbers, self.mu, self.low, self._point(), self.corrected, self.best
        return int(small_steps(self.problem.fixed, max_steps, *state))

    def _point(self) -> tuple[Array, Array, Array, Array]:
        return self.theta, self.beta, self.slope, self.residual

    def _evaluate(self) -> int:
        """Evaluate everything at mu + low: by plain products, which do not see low, while FAR."""
        p = self.problem
        if self.numbers[FAR]:
            theta, low = transposed_product(p.X, self.mu) + p.shift, p.zero
        else:
            theta, low, _ = dual_image(p.X, self.mu, self.low, p.shift)
        self.theta = theta
        sums = entropy_curve(theta, low, p.scale, p.log_scale, self.beta, self.slope)
        if self.numbers[FAR]:
            self.residual = p.y - product(p.X, self.beta)
        else:
            self.residual = p.residual(self.beta)
        return int(begin(self.numbers, sums, self.residual, p.size))

    def _step(self) -> int:
        """Solve for a step and decide; returns SETTLED, BROKEN or, having taken it, UNSOLVED."""
        p = self.problem
        # In units of the largest slope: K of tiny slopes need not be representable.
        weight = self.slope / self.numbers[UNITS]
        reduction = _REDUCTIONS[int(self.numbers[NEAR])]
        step, move = self.matrix.solve(self.theta, weight, self.residual, reduction)
        point = self.mu, self.beta, self.slope, move, self.corrected, self.best
        answer = judge(self.numbers, p.still_below, p.size, *point)
        if answer in (STEP, SEARCH):
            state = self.numbers, self.mu, self.low, step, move, self.theta, self.residual
            answer = move_on(answer, *state, p.scale, p.log_scale)
        return int(answer)

    def _settle(self) -> DualSolution:
        """Return the beta of the last and the best step that fits the labels best."""
        p = self.problem
        if self.small:
            return self._solution(*small_settled(p.fixed, self._point(), self.corrected, self.best))
        beta, misfit = self.beta, float(np.max(np.abs(self.residual)))
        for other in (self.corrected, self.best):
            smaller = float(np.max(np.abs(p.residual(other))))
            beta, misfit = (other, smaller) if smaller <= misfit else (beta, misfit)
        unsure = doubt(self.theta, p.shift, beta, self.slope)
        return self._solution(beta, misfit <= float(np.max(absolute_product(p.X, unsure))))

    def _solution(self, beta: Array, converged: bool) -> DualSolution:
        return DualSolution(beta, self.mu, self.low, self.iterations, converged)


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
            return _Search(problem, start).run(max_steps)
    except (linalg.LinAlgError, ValueError):
        nothing = np.zeros(problem.X.shape[0])
        return DualSolution(problem.point(problem.shift)[0], nothing, nothing, max_steps, False)
