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
from .simd import absolute, beyond, load, maximum, pointer, splat, splat_at, store, zero
from .stages import stage_rates
from .stiff import combination, mixed, newton_change

# Slots of the control array.
TIME, SIZE, PREVIOUS, INTEGRAL, AGE, USUAL, STEPS = range(7)
CONTROLS = 7
# Answers of ``advance``.
RUNNING, STOPPED, LINEAR, STALLED, COLLAPSED, FACTORIZE = range(6)
NEWTON_STEPS = 15
PATIENCE = 5
STALLED_STEPS = 60

# The flow (y repeated in lanes); the method (nodes, A by columns, eigenvalues, transformations,
# weights of the error and of the last stage); what is carried from one call to the next.
Flow = namedtuple("Flow", "X y m rho log_alpha rank solvable start linear_below")
Method = namedtuple(
    "Method",
    "nodes columns real imaginary into_real into_imaginary from_real from_imaginary error last",
)
Carried = namedtuple("Carried", "nu delta s z_nu z_delta back forward rates sizes control")
Space = namedtuple(
    "Space",
    "nu delta z_nu z_delta theta before beta s r d_nu d_delta loss defect change half columns "
    "scratch",
)


@numba.njit(forceinline=True)
def copy_lanes(source, target):
    """Write source over target."""
    for k in range(source.shape[0] // 8):
        store(target, k, load(source, k))


@numba.njit(cache=True, nogil=True)
def top_size(a):
    """Return max |a|."""
    top = 0.0
    for value in a:
        top = max(top, abs(value))
    return top


@numba.njit(forceinline=True)
def largest(a, stages):
    """Largest of the first numbers."""
    top = 0.0
    for k in range(stages):
        top = max(top, a[k])
    return top


@numba.njit(forceinline=True)
def spread(base, increments, target, items):
    """Set target = base + increments, lane by lane."""
    for i in range(items):
        store(target, i, splat_at(base, i) + load(increments, i))


@numba.njit(forceinline=True)
def extrapolate(nodes, ratio, z_nu, z_delta, columns):
    """Continue the collocation polynomial of the last step, ratio times as long, in place."""
    stages = nodes.shape[0]
    clear(columns, 0, 8)
    for k in range(stages):
        for lane in range(stages):
            at = 1.0 + nodes[lane] * ratio
            value = at / nodes[k]
            for other in range(stages):
                if other != k:
                    value *= (at - nodes[other]) / (nodes[k] - nodes[other])
            columns[8 * k + lane] = value - (1.0 if k == stages - 1 else 0.0)
    by, nu, delta = pointer(columns), pointer(z_nu), pointer(z_delta)
    for i in range(z_nu.shape[0] // 8):
        store(nu, i, mixed(nu, i, by, stages))
    for i in range(z_delta.shape[0] // 8):
        store(delta, i, mixed(delta, i, by, stages))


@numba.njit(cache=True, nogil=True)
def evaluate(flow, carried, space):
    """Rates of all stages; returns whether they are finite."""
    n, d = flow.X.shape
    spread(pointer(carried.nu), pointer(space.z_nu), pointer(space.nu), n)
    spread(pointer(carried.delta), pointer(space.z_delta), pointer(space.delta), d)
    stage_rates(
        flow.X, flow.y, flow.m, flow.rho, flow.log_alpha, space.nu, space.delta,
        space.scratch, space.theta, space.beta, space.s, space.r,
        space.d_nu, space.d_delta, space.loss,
    )  # fmt: skip
    rates = pointer(space.d_nu)
    size = zero()
    for i in range(n):
        size = size + absolute(load(rates, i))
    return not beyond(size, splat(-1.0), splat(1e300))


@numba.njit(forceinline=True)
def delta_scale(flow, space, stages):
    """Weigh a change of Delta: 2 rho in the exponent, and relative to its own size."""
    top, delta = zero(), pointer(space.delta)
    for j in range(flow.X.shape[1]):
        top = maximum(top, absolute(load(delta, j)))
    store(space.half, 0, top)
    end = space.half[stages - 1]
    return max(2.0 * flow.rho, 1.0 / end if end > 0.0 else 0.0)


@numba.njit(forceinline=True)
def iterate(flow, method, carried, space, size):
    """One simplified Newton iteration; returns the largest change of a stage of Delta."""
    stages = method.nodes.shape[0]
    n, d = flow.X.shape
    step, columns = splat(size), pointer(method.columns)
    d_nu, z_nu = pointer(space.d_nu), pointer(space.z_nu)
    defect, change = pointer(space.defect), pointer(space.change)
    for i in range(n):
        store(defect, i, step * mixed(d_nu, i, columns, stages) - load(z_nu, i))
    newton_change(
        carried.back, carried.forward, carried.rates, size, method,
        defect, pointer(space.half), change,
    )  # fmt: skip
    for i in range(n):
        store(z_nu, i, load(z_nu, i) + load(change, i))
    moved = zero()
    d_delta, z_delta = pointer(space.d_delta), pointer(space.z_delta)
    theta, before = pointer(space.theta), pointer(space.before)
    for j in range(d):
        new = step * mixed(d_delta, j, columns, stages)
        moved = maximum(moved, absolute(new - load(z_delta, j)))
        store(z_delta, j, new)
        store(before, j, load(theta, j))
    store(defect, 0, moved)
    return largest(space.defect, stages)


@numba.njit(forceinline=True)
def theta_sizes(space, d, stages):
    """Largest change of theta since the last evaluation, and largest theta."""
    moved, top = zero(), zero()
    theta, before = pointer(space.theta), pointer(space.before)
    for j in range(d):
        now = load(theta, j)
        moved = maximum(moved, absolute(now - load(before, j)))
        top = maximum(top, absolute(now))
    store(space.defect, 0, moved)
    store(space.half, 0, top)
    return largest(space.defect, stages), largest(space.half, stages)


@numba.njit(cache=True, nogil=True)
def solve_stages(flow, method, carried, space, size, tol):
    """Newton iterations; returns their number, or -1 where they fail."""
    stages = method.nodes.shape[0]
    if not evaluate(flow, carried, space):
        clear(space.z_nu, 0, carried.nu.shape[0])
        clear(space.z_delta, 0, carried.delta.shape[0])
        evaluate(flow, carried, space)
    last = np.inf
    for count in range(1, NEWTON_STEPS + 1):
        moved_delta = iterate(flow, method, carried, space, size)
        if not evaluate(flow, carried, space):
            return -1
        moved, top = theta_sizes(space, flow.X.shape[1], stages)
        scale = delta_scale(flow, space, stages)
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
    modes = np.dot(carried.forward, raw)
    for i in range(n):
        modes[i] /= 1.0 + size * method.real[0] * carried.rates[i]
    error = 2.0 * top_size(combination(flow.X, np.dot(carried.back, modes)))
    scale = delta_scale(flow, space, stages)
    for j in range(d):
        total = 0.0
        for k in range(stages + 1):
            total += method.error[k] * space.d_delta[8 * j + k]
        error = max(error, abs(size * total) * scale)
    return error


@numba.njit(cache=True, nogil=True)
def end_in_sight(flow, carried, r, rate):
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
    if size > 1e-2 or carried.control[AGE] < 0.0:
        return RUNNING
    modes = np.dot(carried.forward, rate)
    for i in range(n):
        modes[i] = modes[i] / max(carried.rates[i], 1e-300) if i >= n - flow.rank else 0.0
    move = 2.0 * top_size(combination(flow.X, np.dot(carried.back, modes)))
    return LINEAR if move <= flow.linear_below else RUNNING


@numba.njit(forceinline=True)
def copy_lane(a, lane, out):
    """Write one lane of a to out."""
    for i in range(out.shape[0]):
        out[i] = a[8 * i + lane]


@numba.njit(cache=True, nogil=True)
def lane_of(a, lane):
    """Copy of one lane."""
    out = np.empty(a.shape[0] // 8)
    copy_lane(a, lane, out)
    return out


@numba.njit(cache=True, nogil=True)
def first_size(flow, d_nu, d_delta):
    """First step: a tenth of the time in which theta moves by one, or Delta by itself."""
    pace = 2.0 * top_size(combination(flow.X, d_nu))
    if top_size(d_delta) > 0.0:
        pace = max(pace, 1.0)
    return 0.1 / pace if pace > 0.0 else 1.0


@numba.njit(forceinline=True)
def guess_stages(method, carried, space, size):
    """Set the stages to the continuation of the last step, or to zero without one."""
    previous = carried.control[PREVIOUS]
    if previous == 0.0:
        clear(space.z_nu, 0, carried.nu.shape[0])
        clear(space.z_delta, 0, carried.delta.shape[0])
        return
    copy_lanes(carried.z_nu, space.z_nu)
    copy_lanes(carried.z_delta, space.z_delta)
    nodes = method.nodes
    extrapolate(nodes, size / previous, space.z_nu, space.z_delta, space.columns)


@numba.njit(forceinline=True)
def accept(method, carried, space, size):
    """Move to the end of a step and keep its stages."""
    stages = method.nodes.shape[0]
    for k in range(stages):
        carried.control[INTEGRAL] += size * method.last[k] * space.loss[k]
    copy_lanes(space.z_nu, carried.z_nu)
    copy_lanes(space.z_delta, carried.z_delta)
    for i in range(carried.nu.shape[0]):
        carried.nu[i] += space.z_nu[8 * i + stages - 1]
    for j in range(carried.delta.shape[0]):
        carried.delta[j] += space.z_delta[8 * j + stages - 1]
    carried.control[PREVIOUS] = size


@numba.njit(cache=True, nogil=True)
def advance(flow, method, carried, space, tol, stop, budget, to_limit):
    """Take up to ``budget`` steps, not beyond the time ``stop``; returns one of the answers above.

    FACTORIZE asks for a factorisation of J at the present state, where s is ``carried.s``;
    ``carried.control[AGE]`` counts the steps since, negative for never.
    """
    control = carried.control
    stages = method.nodes.shape[0]
    target = 0.1 * tol ** ((stages + 1) / (2 * stages))
    clear(space.z_nu, 0, carried.nu.shape[0])
    clear(space.z_delta, 0, carried.delta.shape[0])
    if not evaluate(flow, carried, space):
        return COLLAPSED
    copy_lane(space.s, 0, carried.s)
    r, rate = lane_of(space.r, 0), lane_of(space.d_nu, 0)
    if control[SIZE] == 0.0:
        control[SIZE] = first_size(flow, rate, lane_of(space.d_delta, 0))
    for _ in range(budget):
        if to_limit:
            answer = end_in_sight(flow, carried, r, rate)
            if answer != RUNNING:
                return answer
        if control[AGE] < 0.0:
            return FACTORIZE
        rejected = False
        while True:
            size = min(control[SIZE], stop - control[TIME])
            if not 1e-14 * max(control[TIME], 1e-280) < size < np.inf:
                return COLLAPSED
            guess_stages(method, carried, space, size)
            count = solve_stages(flow, method, carried, space, size, tol)
            if count < 0:
                if control[AGE] > 0.0:
                    return FACTORIZE
                control[SIZE], control[PREVIOUS], rejected = 0.3 * size, 0.0, True
                continue
            error = estimated_error(flow, method, carried, space, size)
            factor = 0.9 * (target / max(error, 1e-300)) ** (1.0 / (stages + 1))
            if error <= target:
                break
            control[SIZE], rejected = size * min(max(factor, 0.1), 0.9), True
        accept(method, carried, space, size)
        control[STEPS] += 1.0
        copy_lane(space.s, stages - 1, carried.s)
        r, rate = lane_of(space.r, stages - 1), lane_of(space.d_nu, stages - 1)
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
