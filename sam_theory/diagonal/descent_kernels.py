"""Compiled loops of finite-step training, one kernel per family of algorithms.

A step multiplies the balanced coordinates by factors (THEORY section 3),

    w+- <- w+- c+-,    c+- = 1 -+ gamma a - gamma (b + weight decay),

with ``a`` the averaged perturbed gradient and ``b`` the averaged rho_B g_B g_B'. Because row i of X
serves its own forward product and its own backward product, each row is read from memory once per
gradient; four rows go together so that ``beta`` and the sums are loaded once for the four.

Floor per step, N = examples in the step (flops; bytes of X where it does not stay in cache):

    plain gradient         4 N d     8 N d
    one example per block  13 N d    8 N d     (X^2 s and X^3 beta come out of the same pass)
    blocks of m examples   8 N d     8 N d if a block stays in cache, else 16 N d

and 20 d more for the update. At (n, d) = (200, 1000) that is 1.6 MB a pass, about 35 us from the
third-level cache of a current server core.

Sums may be reassociated; nothing is assumed about infinities and NaN. The elementwise updates are
compiled without any such freedom, so restarting from stored weights changes no bit. One thread.

Every kernel runs ``gammas.size`` steps on the rows ``rows[0]`` (``full``: the same every step) or
``rows[k]`` in step k, changes the state arrays in place, and returns (flag, k, loss): DONE after k
steps, REACHED if the loss of the state after k steps is <= tol, DIVERGED if that loss exceeds
``limit`` or is not finite. ``loss`` is the mean over the rows of that step; with ``full`` it is
that of the final state.
"""

from __future__ import annotations

import numba
import numpy as np

DONE, REACHED, DIVERGED = 0, 1, 2
_SUMS = {"reassoc", "contract", "nsz", "arcp"}


@numba.njit(cache=True, fastmath=_SUMS)
def mean_loss(X, y, beta):
    """(1/2n) ||X beta - y||^2."""
    n, d = X.shape
    total = 0.0
    for i in range(n):
        f = 0.0
        for j in range(d):
            f += X[i, j] * beta[j]
        f -= y[i]
        total += f * f
    return 0.5 * total / n


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


@numba.njit(cache=True, fastmath=_SUMS)
def block_gradient(X, y, rows, at, lo, hi, point, scale, z, g):
    """Set z = scale r and g = X^T z over rows[at, lo:hi], r = X point - y; returns sum r^2."""
    d = point.shape[0]
    g[:] = 0.0
    squares = 0.0
    tail = hi - (hi - lo) % 4
    for k in range(lo, tail, 4):
        i0, i1, i2, i3 = rows[at, k], rows[at, k + 1], rows[at, k + 2], rows[at, k + 3]
        r0, r1, r2, r3 = 0.0, 0.0, 0.0, 0.0
        for j in range(d):
            p = point[j]
            r0 += X[i0, j] * p
            r1 += X[i1, j] * p
            r2 += X[i2, j] * p
            r3 += X[i3, j] * p
        r0 -= y[i0]
        r1 -= y[i1]
        r2 -= y[i2]
        r3 -= y[i3]
        squares += r0 * r0 + r1 * r1 + r2 * r2 + r3 * r3
        r0 *= scale
        r1 *= scale
        r2 *= scale
        r3 *= scale
        z[k], z[k + 1], z[k + 2], z[k + 3] = r0, r1, r2, r3
        for j in range(d):
            g[j] += r0 * X[i0, j] + r1 * X[i1, j] + r2 * X[i2, j] + r3 * X[i3, j]
    for k in range(tail, hi):
        i = rows[at, k]
        r = 0.0
        for j in range(d):
            r += X[i, j] * point[j]
        r -= y[i]
        squares += r * r
        r *= scale
        z[k] = r
        for j in range(d):
            g[j] += r * X[i, j]
    return squares


@numba.njit(forceinline=True)
def update_plain(w_plus, w_minus, beta, low, a, gamma, decay):
    """One step with b = 0; low is the running minimum of the factors."""
    for j in range(beta.shape[0]):
        cp = 1.0 - gamma * (a[j] + decay)
        cm = 1.0 + gamma * (a[j] - decay)
        p = w_plus[j] * cp
        q = w_minus[j] * cm
        w_plus[j] = p
        w_minus[j] = q
        beta[j] = 0.5 * ((p - q) * (p + q))
        low[j] = min(low[j], min(cp, cm))


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


@numba.njit(cache=True, fastmath=_SUMS)
def row_residual(X, y, i, beta):
    """x_i beta - y_i."""
    r = 0.0
    for j in range(beta.shape[0]):
        r += X[i, j] * beta[j]
    return r - y[i]


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
        shrink = gammas[k] * decay
        nu[i] += step
        for j in range(beta.shape[0]):
            move = step * X[i, j]
            cp = 1.0 - move - shrink
            cm = 1.0 + move - shrink
            p = w_plus[j] * cp
            q = w_minus[j] * cm
            w_plus[j] = p
            w_minus[j] = q
            beta[j] = 0.5 * ((p - q) * (p + q))
            low[j] = min(low[j], min(cp, cm))
    return DONE, gammas.shape[0], loss


@numba.njit(forceinline=True)
def ascent_length(r, q, rho, normalized):
    """rho_i r_i of one example, with q = sum_j s_j x_ij^2."""
    if not normalized:
        return rho * r
    if r == 0.0 or q == 0.0:
        return 0.0
    return np.copysign(rho / np.sqrt(q), r)


@numba.njit(fastmath=_SUMS, forceinline=True)
def one_example(X, y, i, beta, s, rho, normalized, scale, a, b):
    """Add row i's share to a and b; returns (z_i, r_i^2), z_i = scale r_i'.

    r' = r + e (x^2 . s) + e^2 (x^3 . beta) with e = rho_i r_i (THEORY section 2).
    """
    r, q, c = 0.0, 0.0, 0.0
    for j in range(beta.shape[0]):
        x = X[i, j]
        f, v = x * beta[j], x * x
        r += f
        q += v * s[j]
        c += v * f
    r -= y[i]
    e = ascent_length(r, q, rho, normalized)
    z = scale * (r + e * q + e * e * c)
    e *= z
    for j in range(beta.shape[0]):
        x = X[i, j]
        a[j] += z * x
        b[j] += x * (e * x)
    return z, r * r


@numba.njit(fastmath=_SUMS, forceinline=True)
def four_examples(X, y, rows, at, k, beta, s, rho, normalized, scale, z, a, b):
    """Do what one_example does for rows[at, k:k+4] in one pass; returns the sum of r^2."""
    i0, i1, i2, i3 = rows[at, k], rows[at, k + 1], rows[at, k + 2], rows[at, k + 3]
    r0, r1, r2, r3 = 0.0, 0.0, 0.0, 0.0
    q0, q1, q2, q3 = 0.0, 0.0, 0.0, 0.0
    c0, c1, c2, c3 = 0.0, 0.0, 0.0, 0.0
    for j in range(beta.shape[0]):
        x0, x1, x2, x3 = X[i0, j], X[i1, j], X[i2, j], X[i3, j]
        p, t = beta[j], s[j]
        f0, f1, f2, f3 = x0 * p, x1 * p, x2 * p, x3 * p
        v0, v1, v2, v3 = x0 * x0, x1 * x1, x2 * x2, x3 * x3
        r0 += f0
        r1 += f1
        r2 += f2
        r3 += f3
        q0 += v0 * t
        q1 += v1 * t
        q2 += v2 * t
        q3 += v3 * t
        c0 += v0 * f0
        c1 += v1 * f1
        c2 += v2 * f2
        c3 += v3 * f3
    r0 -= y[i0]
    r1 -= y[i1]
    r2 -= y[i2]
    r3 -= y[i3]
    e0 = ascent_length(r0, q0, rho, normalized)
    e1 = ascent_length(r1, q1, rho, normalized)
    e2 = ascent_length(r2, q2, rho, normalized)
    e3 = ascent_length(r3, q3, rho, normalized)
    z0 = scale * (r0 + e0 * q0 + e0 * e0 * c0)
    z1 = scale * (r1 + e1 * q1 + e1 * e1 * c1)
    z2 = scale * (r2 + e2 * q2 + e2 * e2 * c2)
    z3 = scale * (r3 + e3 * q3 + e3 * e3 * c3)
    z[k], z[k + 1], z[k + 2], z[k + 3] = z0, z1, z2, z3
    e0, e1, e2, e3 = e0 * z0, e1 * z1, e2 * z2, e3 * z3
    for j in range(beta.shape[0]):
        x0, x1, x2, x3 = X[i0, j], X[i1, j], X[i2, j], X[i3, j]
        a[j] += z0 * x0 + z1 * x1 + z2 * x2 + z3 * x3
        b[j] += x0 * (e0 * x0) + x1 * (e1 * x1) + x2 * (e2 * x2) + x3 * (e3 * x3)
    return r0 * r0 + r1 * r1 + r2 * r2 + r3 * r3


@numba.njit(forceinline=True)
def example_gradients(X, y, rows, at, beta, s, rho, normalized, z, a, b):
    """Set a, b and z of one step with one block per example; returns the sum of r^2."""
    batch = rows.shape[1]
    scale = 1.0 / batch
    tail = batch - batch % 4
    a[:] = 0.0
    b[:] = 0.0
    squares = 0.0
    for k in range(0, tail, 4):
        squares += four_examples(X, y, rows, at, k, beta, s, rho, normalized, scale, z, a, b)
    for k in range(tail, batch):
        z[k], square = one_example(X, y, rows[at, k], beta, s, rho, normalized, scale, a, b)
        squares += square
    return squares


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


@numba.njit(cache=True, fastmath=_SUMS)
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
        a[:] = 0.0
        b[:] = 0.0
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
