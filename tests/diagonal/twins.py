"""Slow, obvious twins of the training loops: plain NumPy in (u, v), straight from the definitions.

Nothing here uses the closed form of the perturbed residual or the balanced coordinates, except
``balanced_one_sam``, which is a second, extended-precision witness for 1-SAM.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass
class Trace:
    """Final (u, v) and the accumulators of THEORY section 3, all (d,)."""

    u: np.ndarray
    v: np.ndarray
    log_plus: np.ndarray
    log_minus: np.ndarray
    drift: np.ndarray
    negative: np.ndarray

    @property
    def beta(self):
        return self.u * self.v

    @property
    def shift(self):
        return self.log_plus - self.log_minus + 2.0 * self.drift


def gradients(u, v, X, y):
    """Gradient of (1/2m) ||X (u v) - y||^2 with respect to beta, u and v."""
    g = X.T @ (X @ (u * v) - y) / len(y)
    return g, g * v, g * u


def perturbed(u, v, X, y, algorithm, sign=1.0):
    """Weights after the ascent steps on one block."""
    pu, pv = u, v
    for _ in range(algorithm.ascent_steps):
        _, gu, gv = gradients(pu, pv, X, y)
        length = np.sqrt(gu @ gu + gv @ gv)
        radius = algorithm.rho
        if algorithm.normalized:
            radius = algorithm.rho / length if length > 0.0 else 0.0
        pu, pv = pu + sign * radius * gu, pv + sign * radius * gv
    return pu, pv


def train(
    data, alpha, algorithm, step_size, steps, batches=None, weight_decay=0.0, sign=1.0, state=None
):
    """Run the algorithm; ``sign = -1`` plants the fault of descending instead of ascending."""
    X, y = data.X, data.y
    u, v = (np.full(data.d, 1.0) * alpha, np.zeros(data.d)) if state is None else state
    trace = Trace(u, v, *(np.zeros(data.d) for _ in range(3)), np.zeros(data.d, bool))
    batch, m = algorithm.resolve(data.n)
    sizes = np.broadcast_to(step_size, (steps,))
    for k in range(steps):
        rows = np.arange(data.n) if batches is None else batches[k]
        grad_u, grad_v = np.zeros(data.d), np.zeros(data.d)
        a, b = np.zeros(data.d), np.zeros(data.d)
        blocks = [rows[i : i + m] for i in range(0, batch, m)]
        for block in blocks:
            pu, pv = perturbed(u, v, X[block], y[block], algorithm, sign)
            g_there, gu, gv = gradients(pu, pv, X[block], y[block])
            grad_u += gu / len(blocks)
            grad_v += gv / len(blocks)
            g, here_u, here_v = gradients(u, v, X[block], y[block])
            radius = algorithm.rho
            if algorithm.normalized:
                radius /= np.sqrt(here_u @ here_u + here_v @ here_v)
            a += g_there / len(blocks)
            b += radius * g * g_there / len(blocks)
        u, v = (
            u - sizes[k] * (grad_u + weight_decay * u),
            v - sizes[k] * (grad_v + weight_decay * v),
        )
        plus = 1.0 - sizes[k] * a - sizes[k] * (b + weight_decay)
        minus = 1.0 + sizes[k] * a - sizes[k] * (b + weight_decay)
        trace.log_plus += np.log(np.abs(plus))
        trace.log_minus += np.log(np.abs(minus))
        trace.drift += sizes[k] * a
        trace.negative |= (plus < 0.0) | (minus < 0.0)
    trace.u, trace.v = u, v
    return trace


def one_sam(X, y, alpha, rho, step_size, steps):
    """1-SAM in (u, v), all examples at once; returns u, v."""
    u, v = np.full(X.shape[1], alpha), np.zeros(X.shape[1])
    for _ in range(steps):
        G = (X @ (u * v) - y)[:, None] * X
        U, V = u + rho * G * v, v + rho * G * u
        G = ((X * (U * V)).sum(axis=1) - y)[:, None] * X
        u, v = u - step_size * (G * V).mean(axis=0), v - step_size * (G * U).mean(axis=0)
    return u, v


def balanced_one_sam(X, y, alpha, rho, step_size, steps):
    """1-SAM in w+- = (u +- v)/sqrt 2 and the longest floating-point type; returns beta."""
    X, y = X.astype(np.longdouble), y.astype(np.longdouble)
    p = np.full(X.shape[1], alpha, np.longdouble) / np.sqrt(np.longdouble(2))
    q = p.copy()
    for _ in range(steps):
        G = (X @ ((p - q) * (p + q) / 2) - y)[:, None] * X
        P, Q = p * (1 + rho * G), q * (1 - rho * G)
        there = ((X * ((P - Q) * (P + Q) / 2)).sum(axis=1) - y)[:, None] * X
        p = p * (1 - step_size * (there * (1 + rho * G)).mean(axis=0))
        q = q * (1 + step_size * (there * (1 - rho * G)).mean(axis=0))
    return ((p - q) * (p + q) / 2).astype(np.float64)


def draw(uniform, n):
    """Rows without replacement: shuffle from the front, one list per step."""
    drawn = []
    for numbers in uniform:
        order = list(range(n))
        for q, number in enumerate(numbers):
            pick = q + int(number * (n - q))
            order[q], order[pick] = order[pick], order[q]
        drawn.append(order[: len(numbers)])
    return np.array(drawn)
