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

from .lanes import clear
from .row_passes import by_kind
from .simd import absolute, beyond, load, pointer, splat, splat_at, store, zero
from .stage_newton import Carried, Flow, Space, evaluate, solve_stages
from .stages import UNSEEN
from .stiff import mixed

# Share of the coordinates from which leaving the others out is not worth its passes.
_MANY = 0.25


@numba.njit(cache=True, nogil=True)
def _columns(X, at):
    """Copy the columns ``at`` of X."""
    out = np.empty((X.shape[0], at.shape[0]))
    for i in range(X.shape[0]):
        for k in range(at.shape[0]):
            out[i, k] = X[i, at[k]]
    return out


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
def _spread(few, at, all_of_them):
    """Write lanes of the coordinates ``at`` to their places."""
    source, target = pointer(few), pointer(all_of_them)
    for k in range(at.shape[0]):
        store(target, at[k], load(source, k))


@numba.njit(inline="always")
def _among(flow, method, carried, space, size, tol, at, unseen):
    """Solve for nu and for Delta of the coordinates ``at``; returns the number of iterations."""
    d = at.shape[0]
    z_delta = np.empty(8 * d)
    for k in range(d):
        store(pointer(z_delta), k, load(pointer(space.z_delta), at[k]))
    few = Flow(
        _columns(flow.X, at), flow.y, flow.m, flow.rho, flow.log_alpha[at], flow.rank,
        flow.solvable, flow.start, flow.linear_below, flow.inside,
    )  # fmt: skip
    part = Carried(
        carried.nu, carried.delta[at], carried.s, carried.z_nu, carried.z_delta, carried.back,
        carried.forward, carried.turned, carried.rates, carried.sizes, carried.rest,
        carried.control,
    )  # fmt: skip
    room = Space(
        space.nu, np.empty(8 * d), space.z_nu, z_delta, np.empty(8 * d), np.empty(8 * d),
        np.empty(8 * d), np.empty(8 * d), space.r, space.d_nu, np.empty(8 * d), space.loss,
        space.defect, space.change, space.half, space.columns, np.empty((3, 8 * d)),
    )  # fmt: skip
    count = solve_stages(few, method, part, room, size, tol, unseen)
    if count >= 0:
        _spread(z_delta, at, space.z_delta)
        _spread(room.delta, at, space.delta)
        _spread(room.theta, at, space.theta)
        _spread(room.s, at, space.s)
        _spread(room.d_delta, at, space.d_delta)
    return count


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
    stages, columns = method.nodes.shape[0], pointer(method.columns)
    step, two, rise = splat(size), splat(2.0), splat(2.0 * flow.rho)
    lowest, seen_from = splat(-math.inf), splat(UNSEEN)
    nu, r, d_nu = pointer(space.nu), pointer(space.r), pointer(space.d_nu)
    theta, s, delta = pointer(space.theta), pointer(space.s), pointer(space.delta)
    z_delta, d_delta = pointer(space.z_delta), pointer(space.d_delta)
    appeared = False
    for j in range(flow.X.shape[1]):
        if seen[j]:
            continue
        angle, rate = _integrands(flow.X, flow.m, j, nu, r, d_nu)
        store(theta, j, angle)
        store(d_delta, j, rate)
        moved = step * mixed(d_delta, j, columns, stages)
        now = splat_at(pointer(carried.delta), j) + moved
        store(z_delta, j, moved)
        store(delta, j, now)
        store(s, j, zero())
        scale = two * splat_at(pointer(flow.log_alpha), j) - splat(math.log(2.0)) - rise * now
        if beyond(absolute(angle) + scale, lowest, seen_from):
            seen[j] = appeared = True
    return appeared


@numba.njit(cache=True, nogil=True)
def _dense_solve_seen(X, flow, method, carried, space, size, tol):
    seen = carried.s > 0.0
    most = int(_MANY * X.shape[1])
    while np.sum(seen) <= most:
        at, unseen = np.flatnonzero(seen), _largest(X, seen)
        count = _among(flow, method, carried, space, size, tol, at, unseen)
        if count < 0:
            # What is asked next is asked of the state before the step.
            clear(space.z_nu, 0, X.shape[0])
            clear(space.z_delta, 0, X.shape[1])
            evaluate(flow, carried, space)
            return count
        if not _follow(flow, method, carried, space, size, seen):
            return count
    return solve_stages(flow, method, carried, space, size, tol, np.zeros(flow.y.shape[0] // 8))


@numba.njit(cache=True, nogil=True)
def _sparse_solve_seen(X, flow, method, carried, space, size, tol):
    return solve_stages(flow, method, carried, space, size, tol, np.zeros(flow.y.shape[0] // 8))


# Does as :func:`.stage_newton.solve_stages` does, among the coordinates that are seen.
solve_seen = by_kind(_dense_solve_seen, _sparse_solve_seen)
