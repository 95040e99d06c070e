"""Stages of a step where the loss sees few coordinates.

A large radius or a small alpha drives most coordinates to s = u^2 + v^2 below e^UNSEEN: beta and
the residuals do not depend on them, to the last bit, while their theta and Delta go on, integrals
of the residuals alone. The Newton iterations then run among the others, by the same code on a
smaller problem; the rest is integrated at their end, and whoever has come into sight by then joins
the iterations.
"""

from __future__ import annotations

import math

import numba
import numpy as np

from ..primitives.addresses import behind
from ..primitives.row_panels import clear
from ..primitives.row_passes import by_kind
from ..primitives.simd import absolute, beyond, load, splat, splat_at, store, zero
from .stage_newton import Carried, Flow, Space, evaluate, solve_stages
from .stages import UNSEEN
from .stiff import mixed

# Share of the coordinates from which leaving the others out is not worth its passes.
_MANY = 0.25


def numbers_of_few(d: int) -> int:
    """Numbers of working space for the coordinates that are seen, where they are few of d."""
    return 82 * int(_MANY * d)


@numba.njit(cache=True, nogil=True)
def _columns(X, at):
    """Copy the columns ``at`` of X."""
    out = np.empty((X.shape[0], at.shape[0]))
    for i in range(X.shape[0]):
        for k in range(at.shape[0]):
            out[i, k] = X[i, at[k]]
    return out


@numba.njit(forceinline=True)
def _count(seen):
    """Return how many are seen."""
    count = 0
    for j in range(seen.shape[0]):
        count += seen[j]
    return count


@numba.njit(cache=True, nogil=True)
def _places(seen):
    """Return where the seen ones are."""
    at, k = np.empty(_count(seen), np.intp), 0
    for j in range(seen.shape[0]):
        if seen[j]:
            at[k] = j
            k += 1
    return at


@numba.njit(cache=True, nogil=True)
def _largest(X, seen):
    """Return the largest |entry| of each row in the columns that are not seen, (n,)."""
    out = np.zeros(X.shape[0])
    for i in range(X.shape[0]):
        for j in range(X.shape[1]):
            if not seen[j]:
                out[i] = max(out[i], abs(X[i, j]))
    return out


@numba.njit(forceinline=True)
def _among(flow, carried, space, at):
    """Return the problem of the coordinates ``at``, with what it carries and works on."""
    d = at.shape[0]
    delta, log_alpha, lanes = space.few, behind(space.few, d), behind(space.few, 2 * d)
    few = Flow(
        _columns(flow.X, at), flow.y, flow.m, flow.rho, log_alpha, flow.rank,
        flow.solvable, flow.start, flow.linear_below, flow.inside,
    )  # fmt: skip
    part = Carried(
        carried.nu, delta, carried.s, carried.z_nu, carried.z_delta, carried.back,
        carried.forward, carried.turned, carried.rates, carried.sizes, carried.rest,
        carried.control,
    )  # fmt: skip
    room = Space(
        space.nu, lanes, space.z_nu, behind(lanes, 8 * d), behind(lanes, 16 * d),
        behind(lanes, 24 * d), behind(lanes, 32 * d), behind(lanes, 40 * d), space.r, space.d_nu,
        behind(lanes, 48 * d), space.loss, space.defect, space.change, space.half, space.columns,
        behind(lanes, 56 * d), space.few,
    )  # fmt: skip
    for k in range(d):
        delta[k], log_alpha[k] = carried.delta[at[k]], flow.log_alpha[at[k]]
        store(room.z_delta, k, load(space.z_delta, at[k]))
    return few, part, room


@numba.njit(forceinline=True)
def _put_back(room, at, space):
    """Write the stages of the coordinates ``at`` to those of all."""
    for k in range(at.shape[0]):
        store(space.z_delta, at[k], load(room.z_delta, k))
        store(space.delta, at[k], load(room.delta, k))
        store(space.theta, at[k], load(room.theta, k))
        store(space.s, at[k], load(room.s, k))
        store(space.d_delta, at[k], load(room.d_delta, k))


@numba.njit(forceinline=True)
def _integrands(X, m, j, nu, r, d_nu):
    """Return theta and the rate of Delta of one coordinate, from what the seen ones settled."""
    n = X.shape[0]
    theta, rate = zero(), zero()
    for lo in range(0, n, m):
        g, h = zero(), zero()
        for i in range(lo, lo + m):
            x = splat(X[i, j])
            theta = theta + x * load(nu, i)
            g = g + x * load(r, i)
            h = h + x * load(d_nu, i)
        rate = rate - g * h
    return splat(2.0) * theta, splat(1.0 / m) * rate


@numba.njit(cache=True, nogil=True)
def _follow(flow, method, carried, space, size, seen):
    """Set the stages of those not seen; returns whether one of them comes into sight."""
    step, two, rise = splat(size), splat(2.0), splat(2.0 * flow.rho)
    lowest, seen_from = splat(-math.inf), splat(UNSEEN)
    appeared = False
    for j in range(flow.X.shape[1]):
        if seen[j]:
            continue
        angle, rate = _integrands(flow.X, flow.m, j, space.nu, space.r, space.d_nu)
        store(space.theta, j, angle)
        store(space.d_delta, j, rate)
        moved = step * mixed(space.d_delta, j, method.columns, method.stages)
        now = splat_at(carried.delta, j) + moved
        store(space.z_delta, j, moved)
        store(space.delta, j, now)
        store(space.s, j, zero())
        scale = two * splat_at(flow.log_alpha, j) - splat(math.log(2.0)) - rise * now
        if beyond(absolute(angle) + scale, lowest, seen_from):
            seen[j] = appeared = True
    return appeared


@numba.njit(cache=True, nogil=True)
def _dense_solve_seen(X, flow, method, carried, space, size, tol):
    d = X.shape[1]
    seen = np.empty(d, np.bool_)
    for j in range(d):
        seen[j] = carried.s[j] > 0.0
    while True:
        some = _count(seen) <= int(_MANY * d)
        few, part, room, at = flow, carried, space, np.empty(0, np.intp)
        unseen = np.zeros(X.shape[0])
        if some:
            at, unseen = _places(seen), _largest(X, seen)
            few, part, room = _among(flow, carried, space, at)
        count = solve_stages(few, method, part, room, size, tol, unseen)
        if not some:
            return count
        if count < 0:
            # What is asked next is asked of the state before the step.
            clear(space.z_nu, X.shape[0])
            clear(space.z_delta, d)
            evaluate(flow, carried, space)
            return count
        _put_back(room, at, space)
        if not _follow(flow, method, carried, space, size, seen):
            return count


@numba.njit(cache=True, nogil=True)
def _sparse_solve_seen(X, flow, method, carried, space, size, tol):
    return solve_stages(flow, method, carried, space, size, tol, np.zeros(X.shape[0]))


# Does as :func:`.stage_newton.solve_stages` does, among the coordinates that are seen.
solve_seen = by_kind(_dense_solve_seen, _sparse_solve_seen)
