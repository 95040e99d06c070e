"""Compiled steps of one-hidden-layer ReLU networks; they validate nothing.

Weights theta are a flat array of d + 2 rows, each padded with zeros to whole registers of neurons:
the output weights a, the d rows of the hidden weights, the biases b. A neuron of zeros stays zero.
X is flat too, example by example. For a block of examples with residuals r_i = f(x_i) - y_i,

    z_ij = w_j . x_i + b_j,   s_j = sum_i r_i 1[z_ij > 0],   t_j = sum_i r_i x_i 1[z_ij > 0]
    grad b_j = a_j s_j,   grad w_j = a_j t_j,   grad a_j = w_j . t_j + b_j s_j

times the scale of the objective, so that nothing of size n x width is stored: the activations are
computed once for f and once more for the masks. relu'(0) = 0. Source: the chain rule.

Floor of one gradient in dimension 1: 7 operations on a register for each example and register of
neurons, 3 for f (fused multiply-add, maximum, fused multiply-add) and 4 backwards (fused
multiply-add, comparison, two masked additions): 12 examples and 100 neurons, 13 registers of
float64, are 1092 of them, about 0.2 us at 3 GHz with two a cycle; n-SAM takes two gradients.
"""

from __future__ import annotations

import math
from collections import namedtuple

import numba
import numpy as np

from .registers import (
    add_where_positive,
    aligned,
    fma,
    lane_sum,
    lanes,
    lanes_of,
    load,
    pointer,
    relu,
    splat,
    splats,
    store,
    subtract_sums,
    zero,
    zero4,
)

DONE, REACHED, DIVERGED = 0, 1, 2
_SMALLEST, _LARGEST = 1e-30, 1e30

# Scratch: residuals, residuals times x, gradient, its sum over blocks, perturbed weights, and the
# examples of a minibatch.
Work = namedtuple("Work", "z zx g total point X y")


def padded(width, dtype):
    """Width rounded up to whole registers."""
    return width + -width % lanes(dtype)


def make_work(batch, d, width, dtype):
    """Scratch for steps of ``batch`` examples."""
    size = (d + 2) * padded(width, dtype)
    return Work(
        z=aligned(batch, dtype),
        zx=aligned(batch * d, dtype),
        g=aligned(size, dtype),
        total=aligned(size, dtype),
        point=aligned(size, dtype),
        X=aligned(batch * d, dtype),
        y=aligned(batch, dtype),
    )


@numba.njit(forceinline=True)
def activations(rows, theta, X, d, items, item, i):
    """Row k is w . x_(i + k) + b of the neurons of one register."""
    z = rows + load(theta, (d + 1) * items + item)
    for k in range(d):
        z = fma(splats(rows, X, i * d + k, d), load(theta, (1 + k) * items + item), z)
    return z


@numba.njit(forceinline=True)
def residuals_part(rows, theta, X, y, d, items, i, z):
    """Set z = f(x) - y of some examples; returns the sum of squares."""
    f = rows
    for item in range(items):
        f = fma(relu(activations(rows, theta, X, d, items, item, i)), load(theta, item), f)
    return subtract_sums(f, y, z, i)


@numba.njit(forceinline=True)
def residuals(theta, X, y, d, items, low, high, z):
    """Set z = f(x) - y of the examples low, ..., high - 1; returns the sum of squares."""
    squares = 0.0
    i = low
    while i + 4 <= high:
        squares += residuals_part(zero4(X), theta, X, y, d, items, i, z)
        i += 4
    while i < high:
        squares += residuals_part(zero(X), theta, X, y, d, items, i, z)
        i += 1
    return squares


@numba.njit(forceinline=True)
def sums_part(rows, theta, X, d, items, item, i, z, zx, g, s):
    """Add some examples to s, which is returned, and to t, which is kept in the rows of g."""
    active = activations(rows, theta, X, d, items, item, i)
    for k in range(d):
        at = (1 + k) * items + item
        store(g, at, add_where_positive(active, splats(rows, zx, i * d + k, d), load(g, at)))
    return add_where_positive(active, splats(rows, z, i, 1), s)


@numba.njit(forceinline=True)
def finish(theta, d, items, item, s, g, squares):
    """Turn s and t of one register into the gradient; returns squares plus its squares."""
    a, b = load(theta, item), load(theta, (d + 1) * items + item)
    of_a, of_b = b * s, a * s
    for k in range(d):
        at = (1 + k) * items + item
        t = load(g, at)
        of_a = fma(load(theta, at), t, of_a)
        of_w = a * t
        squares = fma(of_w, of_w, squares)
        store(g, at, of_w)
    store(g, item, of_a)
    store(g, (d + 1) * items + item, of_b)
    return fma(of_a, of_a, fma(of_b, of_b, squares))


@numba.njit(forceinline=True)
def gradient(theta, X, d, items, low, high, scale, z, zx, g):
    """Set g to scale times the gradient of half the sum of squares, from the residuals z.

    z is scaled in place. Returns the squared norm of g.
    """
    for i in range(low, high):
        z[i] *= scale
        for k in range(d):
            zx[i * d + k] = z[i] * X[i * d + k]
    squares = zero(X)
    for item in range(items):
        for k in range(d):
            store(g, (1 + k) * items + item, zero(X))
        s = zero(X)
        i = low
        while i + 4 <= high:
            s = sums_part(zero4(X), theta, X, d, items, item, i, z, zx, g, s)
            i += 4
        while i < high:
            s = sums_part(zero(X), theta, X, d, items, item, i, z, zx, g, s)
            i += 1
        squares = finish(theta, d, items, item, s, g, squares)
    return lane_sum(squares)


@numba.njit(forceinline=True)
def norm(g, size):
    """Euclidean norm, without overflow or underflow of the squares."""
    most = 0.0
    for j in range(size):
        if not abs(g[j]) <= most:
            most = abs(g[j])
    if not 0.0 < most < np.inf:
        return most
    total = 0.0
    for j in range(size):
        total += (g[j] / most) ** 2
    return most * math.sqrt(total)


@numba.njit(forceinline=True)
def move(start, g, length, out, count):
    """Set out = start + length g."""
    step = splat(out, length)
    for j in range(count):
        store(out, j, fma(step, load(g, j), load(start, j)))


@numba.njit(forceinline=True)
def ascent_length(g, size, squares, rho, normalized):
    """Factor of the gradient in an ascent step; 0 where there is no direction."""
    if not normalized:
        return rho
    length = math.sqrt(squares) if _SMALLEST < squares < _LARGEST else norm(g, size)
    return rho / length if length > 0.0 else 0.0


@numba.njit(forceinline=True)
def block_step(theta, X, y, d, items, low, high, rule, work):
    """Set work.g to the block's gradient at its perturbed point; returns both sums of squares.

    They are those at theta and at the perturbed point. Every ascent step starts where the one
    before it ended.
    """
    rho, _, normalized, ascents, share, weight = rule
    count = (d + 2) * items
    size = count * lanes_of(theta)
    here, before, after = theta, 0.0, 0.0
    for ascent in range(ascents + 1):
        after = residuals(here, X, y, d, items, low, high, work.z)
        if ascent == 0:
            before = after
        scale = weight if ascent == ascents else share
        squares = gradient(here, X, d, items, low, high, scale, work.z, work.zx, work.g)
        if ascent < ascents:
            length = ascent_length(work.g, size, squares, rho, normalized)
            move(here, work.g, length, work.point, count)
            here = work.point
    return before, after


@numba.njit(forceinline=True)
def whole_step(theta, X, y, batch, d, items, rule, work):
    """Set the step's gradient, in work.g if there is one block, else in work.total.

    Returns the sums of squares of :func:`block_step`.
    """
    m = rule[1]
    before, after = 0.0, 0.0
    for low in range(0, batch, m):
        old, new = block_step(theta, X, y, d, items, low, low + m, rule, work)
        before += old
        after += new
        if m < batch:
            for j in range((d + 2) * items):
                former = load(work.total, j) if low > 0 else zero(theta)
                store(work.total, j, former + load(work.g, j))
    return before, after


@numba.njit(forceinline=True)
def take(X, y, d, chosen, work):
    """Copy the chosen examples into the scratch."""
    for i in range(chosen.size):
        work.y[i] = y[chosen[i]]
        for k in range(d):
            work.X[i * d + k] = X[chosen[i] * d + k]


@numba.njit(forceinline=True)
def addresses(work):
    """Scratch as pointers."""
    return Work(
        z=pointer(work.z),
        zx=pointer(work.zx),
        g=pointer(work.g),
        total=pointer(work.total),
        point=pointer(work.point),
        X=pointer(work.X),
        y=pointer(work.y),
    )


@numba.njit(forceinline=True)
def steps_in(theta, X, y, batch, d, items, rows, full, gammas, rule, stop, work):
    """Body of :func:`run`, compiled for d = 1 and for any d; arrays are pointers."""
    tol, at_perturbed, limit, half = stop
    loss, perturbed = 0.0, 0.0
    here_X, here_y = (X, y) if full else (work.X, work.y)
    g = work.g if rule[1] == batch else work.total
    for k in range(gammas.size + 1):
        if not full:
            if k == gammas.size:
                break
            take(X, y, d, rows[k], work)
        before, after = whole_step(theta, here_X, here_y, batch, d, items, rule, work)
        loss, perturbed = half * before, half * after
        if not loss <= limit:
            return DIVERGED, k, loss, perturbed
        if (perturbed if at_perturbed else loss) <= tol:
            return REACHED, k, loss, perturbed
        if k == gammas.size:
            break
        move(theta, g, -gammas[k], theta, (d + 2) * items)
    return DONE, gammas.size, loss, perturbed


@numba.njit(cache=True, nogil=True)
def run(theta, X, y, d, rows, full, gammas, rule, stop, work):
    """Take steps, in place.

    Parameters
    ----------
    theta : ((d + 2) padded width,) array
        Weights; changed.
    X, y : (n d,) and (n,) arrays
        Data.
    rows : (steps, batch) int array
        Examples of each step, unused if ``full``.
    full : bool
        All examples, in order, in every step.
    gammas : (steps,) float64 array
        Step sizes.
    rule : tuple
        rho, m, normalized, ascent steps, scale of a block's objective, weight of a block's
        gradient in the step. m divides the batch; without a perturbation it is the batch, with 0
        ascent steps.
    stop : tuple
        Stop where the objective is <= tol (negative: never), whether at the perturbed point, limit
        of the objective, factor of the sum of squares in the objective.
    work : Work
        Scratch.

    Returns
    -------
    flag : int
        DONE, REACHED, DIVERGED.
    k : int
        Steps done.
    loss, perturbed : float
        Objective of the batch of step k before that step, at the weights and at the perturbed
        points; with ``full`` those of the weights that were reached.
    """
    weights, examples, labels = pointer(theta), pointer(X), pointer(y)
    items = theta.size // (d + 2) // lanes_of(weights)
    batch = y.size if full else rows.shape[1]
    inner = addresses(work)
    fixed = (rows, full, gammas, rule, stop, inner)
    if d == 1:
        return steps_in(weights, examples, labels, batch, 1, items, *fixed)
    return steps_in(weights, examples, labels, batch, d, items, *fixed)


@numba.njit(cache=True, nogil=True)
def block_gradient(theta, X, y, d, rule, work):
    """Set work.g to the gradient of all examples, as one block, at its perturbed point.

    Parameters as in :func:`run`; returns both sums of squares of :func:`block_step`.
    """
    weights = pointer(theta)
    items = theta.size // (d + 2) // lanes_of(weights)
    return block_step(weights, pointer(X), pointer(y), d, items, 0, y.size, rule, addresses(work))
