"""Compiled loops of finite-step training, one kernel per family of algorithms.

A step multiplies the balanced coordinates by factors (THEORY section 3),

    w+- <- w+- c+-,    c+- = 1 -+ gamma a - gamma (b + weight decay),

with ``a`` the averaged perturbed gradient and ``b`` the averaged rho_B g_B g_B'; both come from the
passes over rows of :mod:`.row_passes`. The updates take about 20 d flops. They are compiled without
any freedom to reorder, so restarting from stored weights changes no bit. One thread.

Every kernel runs ``gammas.size`` steps on the rows ``rows[0]`` (``full``: the same every step) or
``rows[k]`` in step k, changes the state arrays in place, and returns (flag, k, loss): DONE after k
steps, REACHED if the loss of the state after k steps is <= tol, DIVERGED if that loss exceeds
``limit`` or is not finite. ``loss`` is the mean over the rows of that step; with ``full`` it is
that of the final state.
"""

from __future__ import annotations

import numba
import numpy as np

from ..primitives.row_passes import (
    SUMS,
    block_gradient,
    example_gradients,
    move_coordinate,
    row_residual,
    single_update,
)

DONE, REACHED, DIVERGED = 0, 1, 2


@numba.njit(cache=True, nogil=True)
def draw_rows(uniform, n):
    """Rows without replacement, one draw per row of uniform (steps, batch), by partial shuffles."""
    steps, batch = uniform.shape
    rows = np.empty((steps, batch), np.int64)
    order = np.arange(n)
    swaps = np.empty(batch, np.int64)
    for k in range(steps):
        for q in range(batch):
            pick = min(q + int(uniform[k, q] * (n - q)), n - 1)
            swaps[q] = pick
            rows[k, q] = order[pick]
            order[pick] = order[q]
            order[q] = rows[k, q]
        for q in range(batch - 1, -1, -1):
            order[q] = order[swaps[q]]
            order[swaps[q]] = rows[k, q]
    return rows


@numba.njit(forceinline=True)
def update_plain(w_plus, w_minus, beta, low, a, gamma, decay):
    """One step with b = 0; low is the running minimum of the factors."""
    shrink = gamma * decay
    for j in range(beta.shape[0]):
        move_coordinate(j, gamma * a[j], shrink, w_plus, w_minus, beta, low)


@numba.njit(forceinline=True)
def update_sam(w_plus, w_minus, beta, s, low, a, b, gamma, decay):
    """One step; also refreshes s = u^2 + v^2."""
    for j in range(beta.shape[0]):
        even = b[j] + decay
        cp = 1.0 - gamma * (a[j] + even)
        cm = 1.0 + gamma * (a[j] - even)
        p = w_plus[j] * cp
        q = w_minus[j] * cm
        w_plus[j] = p
        w_minus[j] = q
        beta[j] = 0.5 * ((p - q) * (p + q))
        s[j] = p * p + q * q
        low[j] = min(low[j], min(cp, cm))


@numba.njit(cache=True, nogil=True)
def run_plain(X, y, rows, full, gammas, decay, tol, limit, w_plus, w_minus, beta, nu, low):
    """Gradient descent and minibatch SGD."""
    batch, steps = rows.shape[1], gammas.shape[0]
    z, a = np.empty(batch), np.empty(beta.shape[0])
    loss = 0.0
    for k in range(steps + 1 if full else steps):
        at = 0 if full else k
        loss = block_gradient(X, y, rows, at, 0, batch, beta, 1.0 / batch, z, a) * 0.5 / batch
        if not loss <= limit:
            return DIVERGED, k, loss
        if loss <= tol:
            return REACHED, k, loss
        if k == steps:
            break
        for q in range(batch):
            nu[rows[at, q]] += gammas[k] * z[q]
        update_plain(w_plus, w_minus, beta, low, a, gammas[k], decay)
    return DONE, steps, loss


@numba.njit(cache=True, nogil=True)
def run_single(X, y, rows, gammas, decay, limit, w_plus, w_minus, beta, nu, low):
    """SGD with one example per step: the gradient is r x_i and needs no array."""
    loss = 0.0
    for k in range(gammas.shape[0]):
        i = rows[k, 0]
        r = row_residual(X, y, i, beta)
        loss = 0.5 * r * r
        if not loss <= limit:
            return DIVERGED, k, loss
        step = gammas[k] * r
        nu[i] += step
        single_update(X, i, step, gammas[k] * decay, w_plus, w_minus, beta, low)
    return DONE, gammas.shape[0], loss


@numba.njit(cache=True, nogil=True)
def run_examples(
    X, y, rows, full, gammas, decay, tol, limit, w_plus, w_minus, beta, nu, low, rho, normalized
):
    """1-SAM: one perturbation per example, one ascent step."""
    d, batch, steps = beta.shape[0], rows.shape[1], gammas.shape[0]
    z, a, b = np.empty(batch), np.empty(d), np.empty(d)
    s = w_plus * w_plus + w_minus * w_minus
    loss = 0.0
    for k in range(steps + 1 if full else steps):
        at = 0 if full else k
        squares = example_gradients(X, y, rows, at, beta, s, rho, normalized, z, a, b)
        loss = 0.5 * squares / batch
        if not loss <= limit:
            return DIVERGED, k, loss
        if loss <= tol:
            return REACHED, k, loss
        if k == steps:
            break
        for q in range(batch):
            nu[rows[at, q]] += gammas[k] * z[q]
        update_sam(w_plus, w_minus, beta, s, low, a, b, gammas[k], decay)
    return DONE, steps, loss


@numba.njit(cache=True, fastmath=SUMS)
def gradient_norm(s, g):
    """||grad_w L_B||_2 = sqrt(sum_j s_j g_j^2), without overflow or underflow."""
    total = 0.0
    for j in range(g.shape[0]):
        total += s[j] * (g[j] * g[j])
    if 1e-250 < total < 1e250:
        return np.sqrt(total)
    top = 0.0
    for j in range(g.shape[0]):
        top = max(top, abs(g[j]))
    if top == 0.0:
        return 0.0
    total = 0.0
    for j in range(g.shape[0]):
        share = g[j] / top
        total += s[j] * (share * share)
    return top * np.sqrt(total)


@numba.njit(cache=True)
def ascend(w_plus, w_minus, g, length, first, up, down, point, s):
    """Multiply the perturbation factors by 1 +- length g and move point and s there."""
    for j in range(g.shape[0]):
        e = length * g[j]
        fp = 1.0 + e if first else up[j] * (1.0 + e)
        fm = 1.0 - e if first else down[j] * (1.0 - e)
        up[j] = fp
        down[j] = fm
        p = w_plus[j] * fp
        q = w_minus[j] * fm
        point[j] = 0.5 * ((p - q) * (p + q))
        s[j] = p * p + q * q


@numba.njit(cache=True, nogil=True)
def run_blocks(
    X, y, rows, full, gammas, decay, tol, limit, w_plus, w_minus, beta, nu, low,
    rho, m, normalized, ascent_steps,
):  # fmt: skip
    """m-SAM for any m and any number of ascent steps; w~+- = w+- f+- at the perturbed point."""
    d, batch, steps = beta.shape[0], rows.shape[1], gammas.shape[0]
    z, g, a, b = np.empty(batch), np.empty(d), np.empty(d), np.empty(d)
    point, up, down, there = np.empty(d), np.empty(d), np.empty(d), np.empty(d)
    s = w_plus * w_plus + w_minus * w_minus
    half, share = 0.5 * m / batch, m / batch
    loss = 0.0
    for k in range(steps + 1 if full else steps):
        at = 0 if full else k
        a.fill(0.0)
        b.fill(0.0)
        squares = 0.0
        for lo in range(0, batch, m):
            squares += block_gradient(X, y, rows, at, lo, lo + m, beta, 1.0 / m, z, g)
            for t in range(ascent_steps):
                if t > 0:
                    block_gradient(X, y, rows, at, lo, lo + m, point, 1.0 / m, z, g)
                length = rho
                if normalized:
                    norm = gradient_norm(s if t == 0 else there, g)
                    length = rho / norm if norm > 0.0 else 0.0
                ascend(w_plus, w_minus, g, length, t == 0, up, down, point, there)
            block_gradient(X, y, rows, at, lo, lo + m, point, 1.0 / m, z, g)
            for j in range(d):
                a[j] += half * (up[j] + down[j]) * g[j]
                b[j] += half * (up[j] - down[j]) * g[j]
        loss = 0.5 * squares / batch
        if not loss <= limit:
            return DIVERGED, k, loss
        if loss <= tol:
            return REACHED, k, loss
        if k == steps:
            break
        for q in range(batch):
            nu[rows[at, q]] += gammas[k] * share * z[q]
        update_sam(w_plus, w_minus, beta, s, low, a, b, gammas[k], decay)
    return DONE, steps, loss
