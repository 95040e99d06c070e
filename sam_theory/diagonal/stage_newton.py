"""The stage equations of an implicit step, solved by simplified Newton iterations.

With increments Z of nu and W of Delta at the stages, rates F and G there, and the Butcher matrix A,

    Z = h A F(nu + Z, Delta + W),   W = h A G(nu + Z, Delta + W).

Each iteration sets W to h A G and Z by the factorisation of :mod:`.stiff`. Once that has failed,
the rest of the flow is followed with care: Delta keeps its guess until nu has been corrected once,
because the stiff error of a guess is large in r and Delta would integrate its square; and a change
dW, which moves r' by about -2 rho M X (beta dW) near zero loss, enters the same solve, because nu
would answer it one iteration late, with a residual in between that Delta integrates.
Changes are measured in theta = 2 X^T nu, in the exponent 2 rho Delta, and in Delta relative to its
own size; those of theta in units of ``control[LOOSE]``, which is 1 until little of Delta is left.
"""

from __future__ import annotations

from collections import namedtuple

import numba
import numpy as np

from .lanes import clear
from .simd import absolute, beyond, load, maximum, pointer, splat, splat_at, store, zero
from .stages import row_products, stage_rates
from .stiff import combination, mixed, newton_change, squares_product

# Slots of the control array.
TIME, SIZE, PREVIOUS, INTEGRAL, AGE, USUAL, STEPS, UNSURE, LOSS_REST, CAREFUL, LOOSE = range(11)
CONTROLS = 11
NEWTON_STEPS = 30
ROUNDING = 2.0**-53
# Changes above this are not rounding, nor are those that still shrink faster.
_STUCK_BELOW, _STUCK = 1e-6, 0.5
_NOISE = 4.0

# The flow (y repeated in lanes; small problems are factorised ``inside``); the method (nodes, A by
# columns, eigenvalues, transformations, weights of the error and of the last stage); what is
# carried from one call to the next.
Flow = namedtuple("Flow", "X y m rho log_alpha rank solvable start linear_below inside")
Method = namedtuple(
    "Method",
    "nodes columns real imaginary into_real into_imaginary from_real from_imaginary error last",
)
Carried = namedtuple(
    "Carried", "nu delta s z_nu z_delta back forward turned rates sizes rest control"
)
Space = namedtuple(
    "Space",
    "nu delta z_nu z_delta theta before beta s r d_nu d_delta loss defect change half columns "
    "scratch",
)


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
def iterate(flow, method, carried, space, size, keep, coupled):
    """One iteration; returns the largest change of a stage of Delta.

    ``keep`` leaves Delta as it is; ``coupled`` lets nu answer the change of Delta at once.
    """
    stages = method.nodes.shape[0]
    n, d = flow.X.shape
    step, columns = splat(size), pointer(method.columns)
    moved = zero()
    d_delta, z_delta = pointer(space.d_delta), pointer(space.z_delta)
    theta, before, beta = pointer(space.theta), pointer(space.before), pointer(space.beta)
    for j in range(d):
        store(before, j, load(theta, j))
    change, defect = pointer(space.change), pointer(space.defect)
    if not keep:
        for j in range(d):
            new = step * mixed(d_delta, j, columns, stages)
            move = new - load(z_delta, j)
            moved = maximum(moved, absolute(move))
            store(z_delta, j, new)
            store(d_delta, j, move * load(beta, j))
    coupled = coupled and not keep
    if coupled:
        pull, half = splat(2.0 * flow.rho * size / n), pointer(space.half)
        row_products(flow.X, d_delta, half)
        for i in range(n):
            store(change, i, pull * mixed(half, i, columns, stages))
    d_nu, z_nu = pointer(space.d_nu), pointer(space.z_nu)
    for i in range(n):
        store(defect, i, step * mixed(d_nu, i, columns, stages) - load(z_nu, i))
    newton_change(
        carried.back, carried.forward, carried.turned, carried.rates, size, method,
        defect, pointer(space.half), change, coupled,
    )  # fmt: skip
    for i in range(n):
        store(z_nu, i, load(z_nu, i) + load(change, i))
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


@numba.njit(forceinline=True)
def unseen_size(unseen, items, sums, stages):
    """Bound |2 X^T items| at the stages over columns whose entries are within ``unseen`` (n,)."""
    total, bounds = zero(), pointer(unseen)
    for i in range(unseen.shape[0]):
        total = total + splat_at(bounds, i) * absolute(load(items, i))
    store(sums, 0, total)
    return 2.0 * largest(sums, stages)


@numba.njit(cache=True, nogil=True)
def rounding(flow, method, carried, space, size, unseen):
    """Estimate the changes of theta that rounding leaves in an iteration.

    beta is off by s times the rounding of its exponent, and r' by that of all products of a row,
    independent of each other; slow modes of the flow amplify it by the time that they take.
    """
    n, d = flow.X.shape
    last = method.nodes.shape[0] - 1
    unsure = np.empty(d)
    for j in range(d):
        exponent = abs(flow.log_alpha[j]) + flow.rho * abs(space.delta[8 * j + last])
        exponent = 1.0 + abs(space.theta[8 * j + last]) + 2.0 * exponent
        unsure[j] = (ROUNDING * space.s[8 * j + last] * exponent) ** 2
    off = squares_product(flow.X, unsure)
    for i in range(n):
        off[i] += (ROUNDING * flow.y[8 * i]) ** 2
    modes = np.dot(carried.forward**2, off)
    most = 0.0
    for i in range(n):
        lasting = size / (n * (1.0 + size * method.real[0] * carried.rates[i]))
        mode = np.ascontiguousarray(carried.back[:, i])
        reach = max(top_size(combination(flow.X, mode)), np.dot(unseen, np.abs(mode)))
        reach *= 2.0
        most += (reach * lasting) ** 2 * modes[i]
    return _NOISE * np.sqrt(most)


@numba.njit(cache=True, nogil=True)
def solve_stages(flow, method, carried, space, size, tol, unseen):
    """Iterate; returns the number of iterations, or -1 where they fail.

    ``unseen`` (n,) bounds the columns of X that are not in ``flow``: their theta must settle too.
    """
    stages = method.nodes.shape[0]
    careful = carried.control[CAREFUL] > 0.0
    guessed = careful and carried.control[PREVIOUS] > 0.0
    if not evaluate(flow, carried, space):
        clear(space.z_nu, 0, carried.nu.shape[0])
        clear(space.z_delta, 0, carried.delta.shape[0])
        evaluate(flow, carried, space)
        guessed = False
    last, noise = np.inf, -1.0
    for count in range(1, NEWTON_STEPS + 1):
        keep = guessed and count == 1
        moved_delta = iterate(flow, method, carried, space, size, keep, careful)
        if not evaluate(flow, carried, space):
            return -1
        moved, top = theta_sizes(space, flow.X.shape[1], stages)
        scale = delta_scale(flow, space, stages)
        if max(moved, moved_delta * scale) > 1.0:
            return -1
        moved = max(moved / carried.control[LOOSE], moved_delta * scale)
        if keep:
            continue
        # Below this, changes of the stages are rounding of theta and of the exponent.
        floor = max(0.02 * tol, 1e-15 * max(top, 1.0))
        far = unseen_size(unseen, pointer(space.nu), space.half, stages)
        beside = unseen_size(unseen, pointer(space.change), space.half, stages)
        moved = max(moved, beside * floor / max(floor, 1e-15 * far))
        shrink = moved / last
        if moved <= floor or (moved <= 10.0 * floor and shrink > 0.5):
            return count
        if last < np.inf and shrink < 1.0 and shrink / (1.0 - shrink) * moved <= 0.3 * floor:
            return count
        if shrink > _STUCK and moved < _STUCK_BELOW:
            if noise < 0.0:
                noise = (
                    rounding(flow, method, carried, space, size, unseen) / carried.control[LOOSE]
                )
            if moved <= noise:
                return count
        if last < np.inf and moved * shrink ** (NEWTON_STEPS - count) > max(floor, noise):
            return -1
        last = moved
    return -1
