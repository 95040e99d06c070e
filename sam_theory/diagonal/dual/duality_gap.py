"""The duality gap of a candidate minimiser, coordinate by coordinate, and what follows from it.

With A = e^log_scale, theta(beta) = arcsinh(beta/A) and D(beta) = sqrt(beta^2 + A^2): the Bregman
divergence of 2 phi between the feasible point near a candidate and a dual point, without
cancellation, and the distance from the minimiser that it allows (see :mod:`.certificate`).
"""

from __future__ import annotations

import math

import numba
import numpy as np

from ...design import Array
from .compensated import UNIT


def mirror_angle(beta: Array, log_scale: Array) -> tuple[Array, Array]:
    """Return theta = arcsinh(beta/A) and D = sqrt(beta^2 + A^2), (d,) each, for A = e^log_scale."""
    theta, slope = np.empty_like(beta), np.empty_like(beta)
    mirror_angles(beta, log_scale, theta, slope)
    return theta, slope


# log |beta|/A from which arcsinh is a logarithm to rounding.
_FAR = 20.0
# What a term of the gap may have lost below the normal range.
_UNDERFLOW = 1e-306


@numba.njit(cache=True, nogil=True)
def mirror_angles(beta, log_scale, theta, slope):  # type: ignore[no-untyped-def]
    """Write :func:`mirror_angle`."""
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
    ratio = math.log(size) - log_scale
    if ratio > _FAR:
        return math.copysign(ratio + math.log(2.0), beta), slope
    return math.copysign(math.asinh(math.exp(ratio)), beta), slope


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


@numba.njit(cache=True, nogil=True)
def bounds_at(high, rest, rounding, away, beta, theta, slope, log_scale, coordinates):  # type: ignore[no-untyped-def]
    """Write bounds on |beta - beta*| (d,); returns those on the stationarity and on the gap of phi.

    The dual point has theta = high + rest within ``rounding``, and beta_f is within ``away`` of
    beta, all (d,).  Where nothing is proved, the bounds are infinite.
    """
    d = beta.shape[0]
    tilt, unsure, farthest = np.empty(d), np.empty(d), 0.0
    for j in range(d):
        tilt[j] = (theta[j] - high[j]) - rest[j]
        unsure[j] = rounding[j] + 2.0 * UNIT * abs(tilt[j])
        # An error of log A moves theta by |beta|/D = tanh |theta| times as much.
        unsure[j] += 8.0 * UNIT * abs(theta[j])
        unsure[j] += 8.0 * UNIT * (abs(log_scale[j]) + 1.0) * min(1.0, abs(theta[j]))
        distance = abs(tilt[j]) + unsure[j]
        if not distance <= farthest:
            farthest = distance if distance == distance else math.inf
    gap = _divergence(beta, away, theta, tilt, unsure, slope, log_scale)
    if not math.isfinite(gap):
        coordinates.fill(math.inf)
        return farthest / 2.0, math.inf
    gap = gap * (1.0 + 1e-12 + 2.0 * d * UNIT) + d * _UNDERFLOW
    for j in range(d):
        reach = abs(beta[j]) + away[j]
        scale = math.exp(log_scale[j])
        radius = gap + math.sqrt(gap) * math.sqrt(gap + 2.0 * (reach + scale))
        radius = math.sqrt(2.0 * gap) * math.sqrt(math.hypot(reach + radius, scale))
        coordinates[j] = (away[j] + radius) * (1.0 + 1e-12)
    return farthest / 2.0, gap / 2.0
