"""Compiled steps of the implicit integrator: stages, error, step size, and when to stop.

Simplified Newton iterations solve the stages with the factorisation of :mod:`.stiff`, kept for as
many steps as it serves; the next stages are guessed by the last collocation polynomial. Errors and
changes are measured in theta = 2 X^T nu, in the exponent 2 rho Delta, and in Delta relative to its
own size.

What ``advance`` calls once is inlined before compilation: every level of compiled calls compiles
again what is below it.
"""

from __future__ import annotations

import numba
import numpy as np

from ..primitives.addresses import square
from ..primitives.row_panels import clear
from ..primitives.simd import WIDTH, load, store
from .flow_end import (
    COLLAPSED,
    FACTORIZE,
    LINEAR,
    RUNNING,
    SPENT,
    STOPPED,
    copy_lane,
    end_in_sight,
    factorized,
    lane_of,
    write_rest,
)
from .seen import solve_seen
from .stage_newton import (
    AGE,
    CAREFUL,
    INTEGRAL,
    LOOSE,
    PREVIOUS,
    SIZE,
    STEPS,
    TIME,
    USUAL,
    carried_at,
    delta_scale,
    evaluate,
    flow_at,
    method_at,
    space_at,
    top_size,
)
from .stiff import combination, mixed

PATIENCE = 5


@numba.njit(forceinline=True)
def copy_lanes(source, target, items):
    """Write source over target."""
    for k in range(items):
        store(target, k, load(source, k))


@numba.njit(forceinline=True)
def extrapolate(method, ratio, space, n, d):
    """Continue the collocation polynomial of the last step, ratio times as long, in place."""
    stages, nodes, columns = method.stages, method.nodes, space.columns
    clear(columns, 8)
    for k in range(stages):
        for lane in range(stages):
            at = 1.0 + nodes[lane] * ratio
            value = at / nodes[k]
            for other in range(stages):
                if other != k:
                    value *= (at - nodes[other]) / (nodes[k] - nodes[other])
            columns[8 * k + lane] = value - (1.0 if k == stages - 1 else 0.0)
    for i in range(n):
        store(space.z_nu, i, mixed(space.z_nu, i, columns, stages))
    for j in range(d):
        store(space.z_delta, j, mixed(space.z_delta, j, columns, stages))


@numba.njit(cache=True, nogil=True)
def estimated_error(flow, method, carried, space, size):
    """Local error of theta and Delta by the embedded formula, filtered by (I - size c J)^-1."""
    stages = method.stages
    n, d = flow.X.shape
    raw = np.empty(n)
    for i in range(n):
        total = 0.0
        for k in range(stages + 1):
            total += method.error[k] * space.d_nu[8 * i + k]
        raw[i] = size * total
    modes = np.dot(square(carried.forward, n), raw)
    for i in range(n):
        modes[i] /= 1.0 + size * method.real[0] * carried.rates[i]
    error = 2.0 * top_size(combination(flow.X, np.dot(square(carried.back, n), modes)))
    error /= carried.control[LOOSE]
    scale = delta_scale(flow, space, stages)
    for j in range(d):
        total = 0.0
        for k in range(stages + 1):
            total += method.error[k] * space.d_delta[8 * j + k]
        error = max(error, abs(size * total) * scale)
    return error


@numba.njit(cache=True, nogil=True)
def first_size(flow, d_nu, d_delta):
    """First step: a tenth of the time for theta to move by one, Delta by itself."""
    pace = 2.0 * top_size(combination(flow.X, d_nu))
    if top_size(d_delta) > 0.0:
        pace = max(pace, 1.0, 0.2 * flow.rho * top_size(d_delta))
    return 0.1 / pace if pace > 0.0 else 1.0


@numba.njit(forceinline=True)
def guess_stages(method, carried, space, size, n, d):
    """Set the stages to the continuation of the last step, or to zero without one."""
    previous = carried.control[PREVIOUS]
    if previous == 0.0:
        clear(space.z_nu, n)
        clear(space.z_delta, d)
        return
    copy_lanes(carried.z_nu, space.z_nu, n)
    copy_lanes(carried.z_delta, space.z_delta, d)
    extrapolate(method, size / previous, space, n, d)


@numba.njit(forceinline=True)
def accept(method, carried, space, size, n, d):
    """Move to the end of a step and keep its stages."""
    stages = method.stages
    for k in range(stages):
        carried.control[INTEGRAL] += size * method.last[k] * space.loss[k]
    copy_lanes(space.z_nu, carried.z_nu, n)
    copy_lanes(space.z_delta, carried.z_delta, d)
    for i in range(n):
        carried.nu[i] += space.z_nu[8 * i + stages - 1]
    for j in range(d):
        carried.delta[j] += space.z_delta[8 * j + stages - 1]
    carried.control[PREVIOUS] = size


@numba.njit(inline="always")
def one_step(flow, method, carried, space, tol, stop):
    """Take one step, not beyond the time ``stop``; returns RUNNING, or why it cannot be taken."""
    control, stages = carried.control, method.stages
    n, d = flow.X.shape
    target = 0.1 * tol ** ((stages + 1) / (2 * stages))
    rejected = False
    while True:
        size = min(control[SIZE], stop - control[TIME])
        if not 1e-14 * max(control[TIME], 1e-280) < size < np.inf:
            return COLLAPSED
        guess_stages(method, carried, space, size, n, d)
        count = solve_seen(flow.X, flow, method, carried, space, size, tol)
        if count < 0:
            control[CAREFUL] = 1.0
            if control[AGE] > 0.0:
                return FACTORIZE
            control[SIZE], rejected = 0.3 * size, True
            continue
        error = estimated_error(flow, method, carried, space, size)
        factor = 0.9 * (target / max(error, 1e-300)) ** (1.0 / (stages + 1))
        if error <= target:
            break
        control[SIZE], rejected = size * min(max(factor, 0.1), 0.9), True
    accept(method, carried, space, size, n, d)
    control[STEPS] += 1.0
    copy_lane(space.s, stages - 1, carried.s, d)
    if control[AGE] == 0.0:
        control[USUAL] = count
    control[AGE] = -1.0 if count >= control[USUAL] + PATIENCE else control[AGE] + 1.0
    grown = size * min(max(factor, 0.2), 1.0 if rejected else 6.0)
    last_before_stop = size < control[SIZE]
    control[SIZE] = max(control[SIZE], grown) if last_before_stop else grown
    if control[TIME] + size >= stop * (1.0 - 1e-15):
        control[TIME] = stop
        return STOPPED
    control[TIME] += size
    return RUNNING


@numba.njit(inline="always")
def start(flow, carried, space):
    """Evaluate the rates at the present state; returns whether they are finite."""
    n, d = flow.X.shape
    clear(space.z_nu, n)
    clear(space.z_delta, d)
    if not evaluate(flow, carried, space):
        return False
    copy_lane(space.s, 0, carried.s, d)
    if carried.control[SIZE] == 0.0:
        d_nu, d_delta = lane_of(space.d_nu, 0, n), lane_of(space.d_delta, 0, d)
        carried.control[SIZE] = first_size(flow, d_nu, d_delta)
    return True


@numba.njit(cache=True, nogil=True)
def advance(flow, stages, method, carried, space, tol, stop, budget, to_limit):
    """Take up to ``budget`` steps, not beyond the time ``stop``; returns an answer of flow_end.

    ``method`` (without ``stages``), ``carried`` and ``space`` are the addresses of their arrays.
    FACTORIZE asks for a factorisation of J at the present state, where s is ``carried.s``, which
    small dense problems do here; ``carried.control[AGE]`` counts the steps since, negative for
    never. Another call goes on with the same bits as if there had been one.
    """
    flow, method = flow_at(flow), method_at(stages, method)
    carried, space = carried_at(carried), space_at(space)
    n, d = flow.X.shape
    control = carried.control
    if not start(flow, carried, space):
        return COLLAPSED
    lane, last = 0, control[STEPS] + budget
    while control[STEPS] < last:
        if to_limit:
            r, rate = lane_of(space.r, lane, n), lane_of(space.d_nu, lane, n)
            answer = end_in_sight(flow, carried, r, rate, lane_of(space.d_delta, lane, d), tol)
            if answer in (LINEAR, SPENT) and not write_rest(flow, carried, r):
                return FACTORIZE
            if answer != RUNNING:
                return answer
        answer = FACTORIZE if control[AGE] < 0.0 else RUNNING
        if answer == RUNNING:
            answer = one_step(flow, method, carried, space, tol, stop)
            # The lane beyond the stages is the state before the step.
            lane = WIDTH - 1 if answer == FACTORIZE else stages - 1
        if answer == FACTORIZE:
            if not factorized(flow, carried):
                return FACTORIZE
            control[AGE] = 0.0
        elif answer != RUNNING:
            return answer
    return RUNNING
