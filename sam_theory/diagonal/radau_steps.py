"""Compiled steps of the implicit integrator: stages, error, step size, and when to stop.

Simplified Newton iterations solve the stages with the factorisation of :mod:`.stiff`, kept for as
many steps as it serves; the next stages are guessed by the last collocation polynomial. Errors and
changes are measured in theta = 2 X^T nu, in the exponent 2 rho Delta, and in Delta relative to its
own size.
"""

from __future__ import annotations

from collections import namedtuple

import numba
import numpy as np

from .lanes import clear
from .simd import absolute, load, maximum, splat, store, zero
from .stages import stage_rates
from .stiff import metric, mixed, newton_change, stiff_modes, weighted_products

# Slots of the control array.
TIME, SIZE, PREVIOUS, INTEGRAL, AGE, USUAL, CHECKED = range(7)
CONTROLS = 7
# Answers of ``advance``.
RUNNING, STOPPED, LINEAR, STALLED, COLLAPSED = range(5)
NEWTON_STEPS = 15
PATIENCE = 3
STALLED_STEPS = 60

# The flow (y repeated in lanes); the method (nodes, A by columns, eigenvalues, transformations,
# weights of the error and of the last stage); what is carried from one call to the next.
Flow = namedtuple("Flow", "X y m rho log_alpha rank solvable start linear_below")
Method = namedtuple(
    "Method",
    "nodes columns real imaginary into_real into_imaginary from_real from_imaginary error last",
)
Carried = namedtuple("Carried", "nu delta z_nu z_delta back forward rates sizes control")
Space = namedtuple(
    "Space",
    "nu delta z_nu z_delta theta before beta s r d_nu d_delta loss defect change half columns "
    "scratch",
)


@numba.njit(forceinline=True)
def largest(a, items, stages):
    """Largest size in the first lanes; nan counts as infinite."""
    top = 0.0
    for j in range(items):
        for k in range(stages):
            value = abs(a[8 * j + k])
            if not value <= top:
                top = value if value == value else np.inf
    return top


@numba.njit(forceinline=True)
def spread(base, increments, target):
    """Target = base + increments, lane by lane."""
    for i in range(base.shape[0]):
        store(target, i, splat(base[i]) + load(increments, i))


@numba.njit(forceinline=True)
def extrapolate(nodes, ratio, z_nu, z_delta, columns, stages):
    """Continue the collocation polynomial of the last step, ratio times as long, in place."""
    clear(columns, 0, 8)
    for k in range(stages):
        for lane in range(stages):
            at = 1.0 + nodes[lane] * ratio
            value = at / nodes[k]
            for other in range(stages):
                if other != k:
                    value *= (at - nodes[other]) / (nodes[k] - nodes[other])
            columns[8 * k + lane] = value - (1.0 if k == stages - 1 else 0.0)
    for i in range(z_nu.shape[0] // 8):
        store(z_nu, i, mixed(z_nu, i, columns, stages))
    for i in range(z_delta.shape[0] // 8):
        store(z_delta, i, mixed(z_delta, i, columns, stages))


@numba.njit(forceinline=True)
def evaluate(flow, carried, space):
    """Rates of all stages; returns whether they are finite."""
    spread(carried.nu, space.z_nu, space.nu)
    spread(carried.delta, space.z_delta, space.delta)
    stage_rates(
        flow.X, flow.y, flow.m, flow.rho, flow.log_alpha, space.nu, space.delta,
        space.scratch, space.theta, space.beta, space.s, space.r,
        space.d_nu, space.d_delta, space.loss,
    )  # fmt: skip
    return largest(space.d_nu, flow.X.shape[0], 8) < np.inf


@numba.njit(forceinline=True)
def delta_scale(flow, delta, z_delta, stages):
    """Weigh a change of Delta: 2 rho in the exponent, and relative to its own size."""
    top = 0.0
    for j in range(delta.shape[0]):
        top = max(top, abs(delta[j] + z_delta[8 * j + stages - 1]))
    return max(2.0 * flow.rho, 1.0 / top if top > 0.0 else 0.0)


@numba.njit(forceinline=True)
def iterate(flow, method, carried, space, size):
    """One simplified Newton iteration; returns the largest change of a stage of Delta."""
    stages = method.nodes.shape[0]
    n, d = flow.X.shape
    for i in range(n):
        rate = splat(size) * mixed(space.d_nu, i, method.columns, stages)
        store(space.defect, i, rate - load(space.z_nu, i))
    newton_change(
        carried.back, carried.forward, carried.rates, size, method,
        space.defect, space.half, space.change,
    )  # fmt: skip
    for i in range(n):
        store(space.z_nu, i, load(space.z_nu, i) + load(space.change, i))
    moved = zero()
    for j in range(d):
        new = splat(size) * mixed(space.d_delta, j, method.columns, stages)
        moved = maximum(moved, absolute(new - load(space.z_delta, j)))
        store(space.z_delta, j, new)
        store(space.before, j, load(space.theta, j))
    store(space.defect, 0, moved)
    return largest(space.defect, 1, stages)


@numba.njit(forceinline=True)
def theta_sizes(space, d, stages):
    """Largest change of theta since the last evaluation, and largest theta."""
    moved, top = zero(), zero()
    for j in range(d):
        now = load(space.theta, j)
        moved = maximum(moved, absolute(now - load(space.before, j)))
        top = maximum(top, absolute(now))
    store(space.defect, 0, moved)
    store(space.half, 0, top)
    return largest(space.defect, 1, stages), largest(space.half, 1, stages)


@numba.njit(cache=True, nogil=True)
def solve_stages(flow, method, carried, space, size, tol):
    """Newton iterations; returns their number, or -1 where they fail."""
    stages = method.nodes.shape[0]
    if not evaluate(flow, carried, space):
        space.z_nu[:] = 0.0
        space.z_delta[:] = 0.0
        evaluate(flow, carried, space)
    last = np.inf
    for count in range(1, NEWTON_STEPS + 1):
        moved_delta = iterate(flow, method, carried, space, size)
        if not evaluate(flow, carried, space):
            return -1
        moved, top = theta_sizes(space, flow.X.shape[1], stages)
        scale = delta_scale(flow, carried.delta, space.z_delta, stages)
        moved = max(moved, moved_delta * scale)
        # Below this, changes of the stages are rounding of theta and of the exponent.
        floor = max(0.02 * tol, 1e-15 * max(top, 1.0))
        shrink = moved / last
        if moved <= floor or (moved <= 10.0 * floor and shrink > 0.5):
            return count
        if count > 1 and shrink < 1.0 and shrink / (1.0 - shrink) * moved <= 0.3 * floor:
            return count
        if moved > 1.0 or (count > 1 and moved * shrink ** (NEWTON_STEPS - count) > floor):
            return -1
        last = moved
    return -1


@numba.njit(cache=True, nogil=True)
def estimated_error(flow, method, carried, space, size):
    """Local error of theta and Delta by the embedded formula, filtered by (I - size c J)^-1."""
    stages = method.nodes.shape[0]
    n, d = flow.X.shape
    raw = np.empty(n)
    for i in range(n):
        total = 0.0
        for k in range(stages + 1):
            total += method.error[k] * space.d_nu[8 * i + k]
        raw[i] = size * total
    modes = np.dot(carried.forward, raw) / (1.0 + size * method.real[0] * carried.rates)
    theta = np.dot(np.dot(carried.back, modes), flow.X)
    error = 2.0 * np.max(np.abs(theta))
    scale = delta_scale(flow, carried.delta, space.z_delta, stages)
    for j in range(d):
        total = 0.0
        for k in range(stages + 1):
            total += method.error[k] * space.d_delta[8 * j + k]
        error = max(error, abs(size * total) * scale)
    return error


@numba.njit(cache=True, nogil=True)
def renew(flow, carried, s):
    """Factorise J at a state."""
    P = weighted_products(flow.X, s)
    back, forward, values = stiff_modes(metric(P, flow.m, flow.rho), P, flow.m == 1)
    carried.back[:], carried.forward[:] = back, forward
    carried.rates[:] = np.maximum(values, 0.0) / P.shape[0]
    carried.control[AGE] = 0.0


@numba.njit(cache=True, nogil=True)
def end_in_sight(flow, carried, r, rate):
    """Answer whether to stop following the flow at this state, and why."""
    n = r.shape[0]
    size = np.sqrt(np.dot(r, r)) / flow.start
    count = int(carried.control[CHECKED])
    carried.sizes[count] = size
    carried.control[CHECKED] = count + 1
    if not flow.solvable and count >= STALLED_STEPS:
        if size > 0.9 * carried.sizes[count + 1 - STALLED_STEPS // 2]:
            return STALLED
    if size == 0.0:
        return LINEAR
    if size > 1e-2 or carried.control[AGE] < 0.0:
        return RUNNING
    modes = np.dot(carried.forward, rate)
    modes[: n - flow.rank] = 0.0
    modes[n - flow.rank :] /= np.maximum(carried.rates[n - flow.rank :], 1e-300)
    move = 2.0 * np.max(np.abs(np.dot(np.dot(carried.back, modes), flow.X)))
    return LINEAR if move <= flow.linear_below else RUNNING


@numba.njit(cache=True, nogil=True)
def lane_of(a, lane):
    """Copy of one lane."""
    return a[lane::8].copy()


@numba.njit(cache=True, nogil=True)
def first_size(flow, d_nu, d_delta):
    """First step: a tenth of the time in which theta moves by one, or Delta by itself."""
    pace = 2.0 * np.max(np.abs(np.dot(d_nu, flow.X)))
    if np.max(np.abs(d_delta)) > 0.0:
        pace = max(pace, 1.0)
    return 0.1 / pace if pace > 0.0 else 1.0


@numba.njit(cache=True, nogil=True)
def advance(flow, method, carried, space, tol, stop, budget, to_limit):
    """Take up to ``budget`` steps, not beyond the time ``stop``; returns one of the answers above.

    ``carried.control[AGE]`` counts the steps since J was factorised, negative for never.
    """
    control = carried.control
    stages = method.nodes.shape[0]
    target = 0.1 * tol ** ((stages + 1) / (2 * stages))
    space.z_nu[:] = 0.0
    space.z_delta[:] = 0.0
    if not evaluate(flow, carried, space):
        return COLLAPSED
    s, r, rate = lane_of(space.s, 0), lane_of(space.r, 0), lane_of(space.d_nu, 0)
    if control[SIZE] == 0.0:
        control[SIZE] = first_size(flow, rate, lane_of(space.d_delta, 0))
    for _ in range(budget):
        if to_limit:
            answer = end_in_sight(flow, carried, r, rate)
            if answer != RUNNING:
                return answer
        if control[AGE] < 0.0:
            renew(flow, carried, s)
        rejected = False
        while True:
            size = min(control[SIZE], stop - control[TIME])
            if not 1e-14 * max(control[TIME], 1e-280) < size < np.inf:
                return COLLAPSED
            if control[PREVIOUS] > 0.0:
                space.z_nu[:] = carried.z_nu
                space.z_delta[:] = carried.z_delta
                extrapolate(
                    method.nodes, size / control[PREVIOUS], space.z_nu, space.z_delta,
                    space.columns, stages,
                )  # fmt: skip
            else:
                space.z_nu[:] = 0.0
                space.z_delta[:] = 0.0
            count = solve_stages(flow, method, carried, space, size, tol)
            if count < 0:
                if control[AGE] > 0.0:
                    renew(flow, carried, s)
                else:
                    control[SIZE], control[PREVIOUS], rejected = 0.3 * size, 0.0, True
                continue
            error = estimated_error(flow, method, carried, space, size)
            factor = 0.9 * (target / max(error, 1e-300)) ** (1.0 / (stages + 1))
            if error <= target:
                break
            control[SIZE], rejected = size * min(max(factor, 0.1), 0.9), True
        for k in range(stages):
            control[INTEGRAL] += size * method.last[k] * space.loss[k]
        carried.z_nu[:] = space.z_nu
        carried.z_delta[:] = space.z_delta
        carried.nu[:] += lane_of(space.z_nu, stages - 1)
        carried.delta[:] += lane_of(space.z_delta, stages - 1)
        s, r = lane_of(space.s, stages - 1), lane_of(space.r, stages - 1)
        rate = lane_of(space.d_nu, stages - 1)
        control[PREVIOUS] = size
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
