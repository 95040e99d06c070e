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

from ..primitives.addresses import matrix_at, reader, square
from ..primitives.row_panels import clear
from ..primitives.simd import absolute, beyond, load, maximum, pointer, splat, splat_at, store, zero
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
# carried from one call to the next; working space, some of it for a part of the coordinates only.
# Within compiled code all arrays but X are pointers.
Flow = namedtuple("Flow", "X y m rho log_alpha rank solvable start linear_below inside")
Method = namedtuple(
    "Method",
    "stages nodes columns real imaginary into_real into_imaginary from_real from_imaginary error "
    "last",
)
Carried = namedtuple(
    "Carried", "nu delta s z_nu z_delta back forward turned rates sizes rest control"
)
Space = namedtuple(
    "Space",
    "nu delta z_nu z_delta theta before beta s r d_nu d_delta loss defect change half columns "
    "scratch few",
)
_read_method = reader(len(Method._fields) - 1)
_read_carried, _read_space = reader(len(Carried._fields)), reader(len(Space._fields))


@numba.njit(forceinline=True)
def flow_at(flow):
    """Return the flow with X of :func:`.addresses.matrix_address`, and pointers."""
    return Flow(
        matrix_at(flow.X), pointer(flow.y), flow.m, flow.rho, pointer(flow.log_alpha), flow.rank,
        flow.solvable, flow.start, flow.linear_below, flow.inside,
    )  # fmt: skip


@numba.njit(forceinline=True)
def method_at(stages, addresses):
    """Return the method of so many stages whose tables are at these addresses."""
    return Method(stages, *_read_method(addresses))


@numba.njit(forceinline=True)
def carried_at(addresses):
    """Return what is carried, at these addresses."""
    return Carried(*_read_carried(addresses))


@numba.njit(forceinline=True)
def space_at(addresses):
    """Return the working space at these addresses."""
    return Space(*_read_space(addresses))


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
    spread(carried.nu, space.z_nu, space.nu, n)
    spread(carried.delta, space.z_delta, space.delta, d)
    stage_rates(
        flow.X, flow.y, flow.m, flow.rho, flow.log_alpha, space.nu, space.delta,
        space.scratch, space.theta, space.beta, space.s, space.r,
        space.d_nu, space.d_delta, space.loss,
    )  # fmt: skip
    size = zero()
    for i in range(n):
        size = size + absolute(load(space.d_nu, i))
    return not beyond(size, splat(-1.0), splat(1e300))


@numba.njit(forceinline=True)
def delta_scale(flow, space, stages):
    """Weigh a change of Delta: 2 rho in the exponent, and relative to its own size."""
    top = zero()
    for j in range(flow.X.shape[1]):
        top = maximum(top, absolute(load(space.delta, j)))
    store(space.half, 0, top)
    end = space.half[stages - 1]
    return max(2.0 * flow.rho, 1.0 / end if end > 0.0 else 0.0)


@numba.njit(forceinline=True)
def iterate(flow, method, carried, space, size, keep, coupled):
    """One iteration; returns the largest change of a stage of Delta.

    ``keep`` leaves Delta as it is; ``coupled`` lets nu answer the change of Delta at once.
    """
    stages, columns = method.stages, method.columns
    n, d = flow.X.shape
    step, moved = splat(size), zero()
    for j in range(d):
        store(space.before, j, load(space.theta, j))
    if not keep:
        for j in range(d):
            new = step * mixed(space.d_delta, j, columns, stages)
            move = new - load(space.z_delta, j)
            moved = maximum(moved, absolute(move))
            store(space.z_delta, j, new)
            store(space.d_delta, j, move * load(space.beta, j))
    coupled = coupled and not keep
    if coupled:
        pull = splat(2.0 * flow.rho * size / n)
        row_products(flow.X, space.d_delta, space.half)
        for i in range(n):
            store(space.change, i, pull * mixed(space.half, i, columns, stages))
    for i in range(n):
        new = step * mixed(space.d_nu, i, columns, stages)
        store(space.defect, i, new - load(space.z_nu, i))
    newton_change(
        square(carried.back, n), square(carried.forward, n), square(carried.turned, n),
        carried.rates, size, method, space.defect, space.half, space.change, coupled,
    )  # fmt: skip
    for i in range(n):
        store(space.z_nu, i, load(space.z_nu, i) + load(space.change, i))
    store(space.defect, 0, moved)
    return largest(space.defect, stages)


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
    return largest(space.defect, stages), largest(space.half, stages)


@numba.njit(forceinline=True)
def unseen_size(unseen, items, sums, stages):
    """Bound |2 X^T items| at the stages over columns whose entries are within ``unseen`` (n,)."""
    total = zero()
    for i in range(unseen.shape[0]):
        total = total + splat(unseen[i]) * absolute(load(items, i))
    store(sums, 0, total)
    return 2.0 * largest(sums, stages)


@numba.njit(cache=True, nogil=True)
def rounding(flow, method, carried, space, size, unseen):
    """Estimate the changes of theta that rounding leaves in an iteration.

    beta is off by s times the rounding of its exponent, and r' by that of all products of a row,
    independent of each other; slow modes of the flow amplify it by the time that they take.
    """
    n, d = flow.X.shape
    last, unsure = method.stages - 1, np.empty(d)
    for j in range(d):
        exponent = abs(flow.log_alpha[j]) + flow.rho * abs(space.delta[8 * j + last])
        exponent = 1.0 + abs(space.theta[8 * j + last]) + 2.0 * exponent
        unsure[j] = (ROUNDING * space.s[8 * j + last] * exponent) ** 2
    off = squares_product(flow.X, unsure)
    for i in range(n):
        off[i] += (ROUNDING * flow.y[8 * i]) ** 2
    most, mode = 0.0, np.empty(n)
    for i in range(n):
        share, hidden = 0.0, 0.0
        for k in range(n):
            share += carried.forward[i * n + k] ** 2 * off[k]
            mode[k] = carried.back[k * n + i]
            hidden += unseen[k] * abs(mode[k])
        lasting = size / (n * (1.0 + size * method.real[0] * carried.rates[i]))
        reach = 2.0 * max(top_size(combination(flow.X, mode)), hidden)
        most += (reach * lasting) ** 2 * share
    return _NOISE * np.sqrt(most)


@numba.njit(cache=True, nogil=True)
def solve_stages(flow, method, carried, space, size, tol, unseen):
    """Iterate; returns the number of iterations, or -1 where they fail.

    ``unseen`` (n,) bounds the columns of X that are not in ``flow``: their theta must settle too.
    """
    stages = method.stages
    n, d = flow.X.shape
    careful = carried.control[CAREFUL] > 0.0
    guessed = careful and carried.control[PREVIOUS] > 0.0
    if not evaluate(flow, carried, space):
        clear(space.z_nu, n)
        clear(space.z_delta, d)
        evaluate(flow, carried, space)
        guessed = False
    last, noise = np.inf, -1.0
    for count in range(1, NEWTON_STEPS + 1):
        keep = guessed and count == 1
        moved_delta = iterate(flow, method, carried, space, size, keep, careful)
        if not evaluate(flow, carried, space):
            return -1
        moved, top = theta_sizes(space, d, stages)
        scale = delta_scale(flow, space, stages)
        if max(moved, moved_delta * scale) > 1.0:
            return -1
        moved = max(moved / carried.control[LOOSE], moved_delta * scale)
        if keep:
            continue
        # Below this, changes of the stages are rounding of theta and of the exponent.
        floor = max(0.02 * tol, 1e-15 * max(top, 1.0))
        far = unseen_size(unseen, space.nu, space.half, stages)
        beside = unseen_size(unseen, space.change, space.half, stages)
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
