"""When to stop following a flow towards its limit.

Three answers: the rest is known in closed form (:mod:`.tail`), because theta hardly moves any more
or, where coordinates that nobody sees go on for ever, because Delta does not; or the flow is at
rest above zero loss. There r' is constant, theta and Delta grow linearly, and with
w+- = (u +- v)/sqrt 2,

    d log w+-^2/dt = +- d theta/dt - 2 rho d Delta/dt <= 0

in every coordinate: nothing grows, what still decays is too small for the loss to see, and the
rates remain what they are. So it is wherever rho is so large that the origin, or an interpolator of
fewer labels, attracts.
"""

from __future__ import annotations

import numba
import numpy as np

from ..primitives.addresses import square, vector
from .stage_newton import AGE, LOOSE, LOSS_REST, PREVIOUS, STEPS, UNSURE, top_size
from .stiff import combination, factorize
from .tail import linear_rest

# Answers of ``advance``.
RUNNING, STOPPED, LINEAR, STALLED, COLLAPSED, FACTORIZE, SPENT = range(7)
STALLED_STEPS = 60
_LINEAR_FROM = 1e-2
# Least growth of a logarithm within a step that counts as for ever, and the growth beside it that
# counts as none.
_FOR_EVER = 50.0
_NO_GROWTH = 1e-7
_UNCHANGED = 1e-9
# What may be unknown of the rest of Delta, in the measure of steps, and from which residual.
_SPENT, _SPENT_FROM = 1e-10, 1e-6
_LOOSEST, _LOOSE_BELOW = 1e4, 1e-4


@numba.njit(forceinline=True)
def copy_lane(a, lane, out, items):
    """Write one lane of a to out."""
    for i in range(items):
        out[i] = a[8 * i + lane]


@numba.njit(forceinline=True)
def lane_of(a, lane, items):
    """Copy of one lane."""
    out = np.empty(items)
    copy_lane(a, lane, out, items)
    return out


@numba.njit(cache=True, nogil=True)
def at_rest(X, rho, size, rate, d_delta):
    """Answer whether no coordinate grows, for good.

    ``rate`` (n,) and ``d_delta`` (d,) are those of nu and Delta, ``size`` the last step.
    """
    pace = 2.0 * combination(X, rate)
    most, growth = 0.0, -np.inf
    for j in range(pace.shape[0]):
        most = max(most, abs(pace[j]))
        growth = max(growth, abs(pace[j]) - 2.0 * rho * d_delta[j])
    return growth <= _NO_GROWTH * most and most * size >= _FOR_EVER


@numba.njit(inline="always")
def end_in_sight(flow, carried, r, rate, d_delta, tol):
    """Answer whether to stop following the flow at this state, and why."""
    n = r.shape[0]
    size = np.sqrt(np.dot(r, r)) / flow.start
    count = int(carried.control[STEPS])
    carried.sizes[count] = size
    if not flow.solvable and count >= STALLED_STEPS:
        if size > 0.9 * carried.sizes[count + 1 - STALLED_STEPS // 2]:
            return STALLED
    if size == 0.0:
        return LINEAR
    if count > 1 and abs(size - carried.sizes[count - 1]) <= _UNCHANGED * size:
        if at_rest(flow.X, flow.rho, carried.control[PREVIOUS], rate, d_delta):
            return STALLED
    if size > _LINEAR_FROM or carried.control[AGE] < 0.0:
        return RUNNING
    modes = np.dot(square(carried.forward, n), rate)
    for i in range(n):
        modes[i] = modes[i] / max(carried.rates[i], 1e-300) if i >= n - flow.rank else 0.0
    move = 2.0 * top_size(combination(flow.X, np.dot(square(carried.back, n), modes)))
    if move <= flow.linear_below:
        return LINEAR
    if size > _SPENT_FROM or not flow.inside:
        return RUNNING
    rest, _ = rest_at(flow, carried, r)
    delta = vector(carried.delta, rest.shape[0])
    scale = max(2.0 * flow.rho, 1.0 / max(top_size(delta), 1e-300))
    left = top_size(rest)
    unsure = min(move, 1.0) * left
    if scale * unsure <= max(tol, _SPENT):
        carried.control[UNSURE] = unsure
        return SPENT
    # An error of theta changes what is left of Delta in proportion.
    carried.control[LOOSE] = max(1.0, min(_LOOSEST, _LOOSE_BELOW / (scale * left)))
    return RUNNING


@numba.njit(cache=True, nogil=True)
def factorized(flow, carried):
    """Factorise the stiff part at ``carried.s`` here; False where that is left to the caller."""
    n, d = flow.X.shape
    return flow.inside and factorize(
        flow.X, flow.m, flow.rho, vector(carried.s, d), square(carried.back, n),
        square(carried.forward, n), square(carried.turned, n), vector(carried.rates, n),
    )  # fmt: skip


@numba.njit(cache=True, nogil=True)
def rest_at(flow, carried, r):
    """Return :func:`.tail.linear_rest` by the last factorisation."""
    n = r.shape[0]
    return linear_rest(
        flow.X, flow.m, flow.rank, r, square(carried.back, n), square(carried.forward, n),
        square(carried.turned, n), vector(carried.rates, n),
    )  # fmt: skip


@numba.njit(inline="always")
def write_rest(flow, carried, r):
    """Write the rest of the integrals beyond a linear flow; returns False without a factorisation.

    It is zero where r is; what is not ``inside`` is left to :func:`.tail.tail`.
    """
    for j in range(flow.X.shape[1]):
        carried.rest[j] = 0.0
    carried.control[LOSS_REST] = 0.0
    if not flow.inside or top_size(r) == 0.0:
        return True
    if carried.control[AGE] != 0.0 and not factorized(flow, carried):
        return False
    rest, doubled_loss = rest_at(flow, carried, r)
    for j in range(rest.shape[0]):
        carried.rest[j] = rest[j]
    carried.control[LOSS_REST] = doubled_loss
    return True
