"""Compiled iterations of Newton's method for the dual, and the decisions between their steps.

One table of ``numbers`` carries what the decisions remember, so that iterations on large problems,
whose products and factors are made outside, take the same decisions as those made here.
"""

from __future__ import annotations

import math

import numba
import numpy as np

from ...design import Array
from .compensated import UNIT, image_part, residual_part
from .normal_matrix import small_solve

UNSOLVED, STEP, SEARCH, SETTLED, QUIET, BROKEN, SPENT = range(7)
"""Answers: a direction is needed, go on by it (two ways), converged (two ways), failed, spent."""

ITERATIONS, FAR, SPAN, NEAR, BEST, STALLED, SILENT, RESTS, LIVELY, LOUD = range(10)
REACH, SIZE, UNITS, SLOPES = range(10, 14)
NUMBERS = 14
"""Places in ``numbers``; the last four are the sums of :func:`entropy_curve`.

UNITS: the largest slope. FAR: plain products serve, as their rounding is far below the step. SPAN:
largest change of theta by the step, in units of UNITS. NEAR: the step is so small that its error
matters. BEST: the least relative change of beta so far. LOUD: the residual in units of its
rounding. The others count iterations.
"""

_EXPONENT_LIMIT = 700.0
_TINY = 1e-300
_QUIET_STEPS = 6
_UNSETTLED_STEPS = 8
_FAR = 1e-3
_FITTED = 1e-9


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
def everything(X, y, shift, mu, low, scale, log_scale, theta, beta, slope, residual):  # type: ignore[no-untyped-def]
    """Write theta, beta, slope and y - X beta at mu + low; returns the sums of entropy_curve."""
    theta_low, bound, row = np.empty_like(theta), np.empty_like(theta), np.empty_like(residual)
    theta_low.fill(0.0)
    bound.fill(0.0)
    for j in range(theta.shape[0]):
        theta[j] = shift[j]
    image_part(X, mu, low, 0, X.shape[1], theta, theta_low, bound)
    sums = entropy_curve(theta, theta_low, scale, log_scale, beta, slope)
    residual_part(X, beta, y, 0, X.shape[0], residual, row)
    for i in range(residual.shape[0]):
        residual[i] = -residual[i]
    return sums


@numba.njit(cache=True, nogil=True)
def begin(numbers, sums, residual, size):  # type: ignore[no-untyped-def]
    """Count an iteration; returns QUIET where the residual has long been mere rounding.

    Coordinates of minute slope cannot be resolved then.
    """
    numbers[ITERATIONS] += 1.0
    numbers[REACH], numbers[SIZE], numbers[UNITS], numbers[SLOPES] = sums
    noise, loudest = UNIT * (4.0 + numbers[REACH]) * numbers[SIZE], 0.0
    for i in range(residual.shape[0]):
        part = abs(residual[i])
        if not part <= loudest * noise * size[i]:
            loudest = part / (noise * size[i]) if noise * size[i] > 0.0 else math.inf
    numbers[LOUD] = loudest
    quiet = numbers[FAR] == 0.0 and loudest <= 1.0
    numbers[SILENT] = numbers[SILENT] + 1.0 if quiet else 0.0
    return QUIET if numbers[SILENT] > _QUIET_STEPS else UNSOLVED


@numba.njit(cache=True, nogil=True, error_model="numpy")
def judge(numbers, still_below, size, mu, beta, slope, move, corrected, best):  # type: ignore[no-untyped-def]
    """Decide what to do with a step that moves theta by move/UNITS (d,); returns an answer.

    Writes ``corrected``, beta after the step, and keeps in ``best`` the one that changed the least.
    """
    unit, change, most = numbers[UNITS], 0.0, 0.0
    span, finite = 0.0, True
    for j in range(beta.shape[0]):
        corrected[j] = beta[j] + slope[j] / unit * move[j]
        finite = finite and math.isfinite(move[j])
        span = max(span, abs(move[j]))
        change = max(change, abs(corrected[j] - beta[j]))
        most = max(most, abs(beta[j]))
    if not (finite and math.isfinite(span)):
        return BROKEN
    change /= max(most, _TINY)
    numbers[SPAN], numbers[NEAR] = span, span < 0.1 * unit
    # Twice, because an inexact step may leave more of beta to be corrected than theta shows.
    numbers[RESTS] = numbers[RESTS] + 1.0 if span <= still_below * unit else 0.0
    still = numbers[RESTS] > 1.0 or (numbers[RESTS] == 1.0 and change < 1e-10)
    if numbers[FAR] != 0.0:
        lost = 0.0
        for i in range(mu.shape[0]):
            lost += UNIT * size[i] * abs(mu[i])
        numbers[FAR] = span > _FAR * unit and lost < 1e-10 and numbers[LOUD] > 1e8
    if numbers[FAR] == 0.0 and (change < 1e-10 or still):
        numbers[STALLED] = numbers[STALLED] + 1.0 if change > 0.25 * numbers[BEST] else 0.0
        if change < numbers[BEST]:
            numbers[BEST] = change
            for j in range(beta.shape[0]):
                best[j] = corrected[j]
        # Where theta still moves, coordinates too small to count as change are not settled.
        numbers[LIVELY] += span > unit
        calm = span <= unit or numbers[LIVELY] > _UNSETTLED_STEPS
        if numbers[STALLED] == 3.0 or still or (change <= 2.0**-53 and calm):
            return SETTLED
    return SEARCH if span > unit else STEP


@numba.njit(cache=True, nogil=True, error_model="numpy")
def move_on(answer, numbers, mu, low, step, move, theta, residual, scale, log_scale):  # type: ignore[no-untyped-def]
    """Add the step (n,), or what of it SEARCH finds, to mu + low; returns UNSOLVED or BROKEN."""
    length = 1.0 / numbers[UNITS]
    if answer == SEARCH:
        # In units of the largest change of theta: here only the direction matters.
        direction = move / numbers[SPAN]
        gain = np.dot(residual, step) / numbers[SPAN]
        if gain == 0.0:
            return BROKEN
        length = _step_length(theta, direction, -gain, scale, log_scale) / numbers[SPAN]
    for i in range(mu.shape[0]):
        change = length * step[i]
        total = mu[i] + change
        back = total - mu[i]
        rest = low[i] + ((mu[i] - (total - back)) + (change - back))
        mu[i] = total + rest
        low[i] = rest - (mu[i] - total)
    return UNSOLVED


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _longest_step(theta, direction, log_scale):  # type: ignore[no-untyped-def]
    """Largest t for which no coordinate of theta + t direction overflows."""
    longest = math.inf
    for j in range(theta.shape[0]):
        if direction[j] != 0.0:
            room = _EXPONENT_LIMIT - log_scale[j]
            room -= theta[j] if direction[j] > 0.0 else -theta[j]
            longest = min(longest, room / abs(direction[j]))
    return longest


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _step_length(theta, direction, slope_at_zero, scale, log_scale):  # type: ignore[no-untyped-def]
    """Zero of t -> d/dt F(theta + t direction), to a few per cent (regula falsi, Illinois)."""
    size = abs(slope_at_zero)
    pull = slope_at_zero - _curve_product(theta, direction, 0.0, scale, log_scale)
    longest = _longest_step(theta, direction, log_scale)
    low, f_low = 0.0, math.asinh(-1.0)
    high = min(1.0, longest)
    f_high = math.asinh((_curve_product(theta, direction, high, scale, log_scale) + pull) / size)
    while f_high < -0.1 and high < longest:
        low, f_low = high, f_high
        high = min(2.0 * high, longest)
        total = _curve_product(theta, direction, high, scale, log_scale) + pull
        f_high = math.asinh(total / size)
    if f_high <= 0.1:
        return high
    t = high
    for _ in range(60):
        t = low + (high - low) * f_low / (f_low - f_high)
        f = math.asinh((_curve_product(theta, direction, t, scale, log_scale) + pull) / size)
        if abs(f) <= 0.1:
            return t
        if f < 0.0:
            low, f_low, f_high = t, f, 0.5 * f_high
        else:
            high, f_high, f_low = t, f, 0.5 * f_low
    return low if low > 0.0 else t


@numba.njit(cache=True, nogil=True, error_model="numpy")
def small_steps(problem, budget, numbers, mu, low, point, corrected, best):  # type: ignore[no-untyped-def]
    """Iterate on a small dense X until an answer other than STEP and SEARCH; changes mu and low.

    ``problem`` is (X, y, shift, scale, log_scale, size, still_below), and ``point``, which is
    written, (theta, beta, slope, residual). UNSOLVED asks for the direction at that point.
    """
    X, y, shift, scale, log_scale, size, still_below = problem
    theta, beta, slope, residual = point
    step, move = np.empty_like(mu), np.empty_like(shift)
    while numbers[ITERATIONS] < budget:
        sums = everything(X, y, shift, mu, low, scale, log_scale, theta, beta, slope, residual)
        answer = begin(numbers, sums, residual, size)
        if answer == QUIET:
            return QUIET
        if not small_solve(X, slope / numbers[UNITS], residual, step, move):
            return UNSOLVED
        answer = judge(numbers, still_below, size, mu, beta, slope, move, corrected, best)
        if answer == STEP or answer == SEARCH:
            answer = move_on(
                answer, numbers, mu, low, step, move, theta, residual, scale, log_scale
            )
        if answer != UNSOLVED:
            return answer
    return SPENT


@numba.njit(cache=True)
def doubt(theta, shift, beta, slope):  # type: ignore[no-untyped-def]
    """Return how far each of beta (d,) may be off where the iteration has settled.

    By columns: the largest of beta may belong to columns far smaller than the others.
    """
    out = np.empty_like(theta)
    for j in range(theta.shape[0]):
        angle = min(abs(theta[j]) + abs(shift[j]), 1.0)
        out[j] = _FITTED * abs(beta[j]) + 2.0**-40 * slope[j] * angle
    return out


@numba.njit(cache=True)
def small_settled(problem, point, corrected, best):  # type: ignore[no-untyped-def]
    """Return the best fit of beta and the other two, and whether it fits; see small_steps."""
    X, y, shift = problem[0], problem[1], problem[2]
    theta, beta, slope, residual = point
    misfit, value, bound = np.max(np.abs(residual)), np.empty_like(y), np.empty_like(y)
    for other in (corrected, best):
        residual_part(X, other, y, 0, X.shape[0], value, bound)
        smaller = np.max(np.abs(value))
        if smaller <= misfit:
            beta, misfit = other, smaller
    unsure, most = doubt(theta, shift, beta, slope), 0.0
    for i in range(X.shape[0]):
        total = 0.0
        for j in range(X.shape[1]):
            total += abs(X[i, j]) * unsure[j]
        most = max(most, total)
    return beta, misfit <= most
