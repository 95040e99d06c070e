"""The obvious NumPy loop, and comparers that return their errors."""

from __future__ import annotations

import numpy as np

import sam_theory as st
from sam_theory import relu
from sam_theory.relu import kernels, loop


def block_gradient(theta, X, y):
    """Gradient of (1/2) sum of squares and that sum; theta = (output, hidden, bias)."""
    a, W, b = theta
    z = X @ W.T + b
    r = np.maximum(z, 0.0) @ a - y
    masked = (z > 0.0) * r[:, None]
    gradient = (np.maximum(z, 0.0).T @ r, (masked * a).T @ X, (masked * a).sum(axis=0))
    return gradient, float(r @ r)


def moved(theta, gradient, length):
    return tuple(p + length * g for p, g in zip(theta, gradient, strict=True))


def norm(gradient):
    return float(np.sqrt(sum(np.sum(g**2) for g in gradient)))


def step_gradient(theta, X, y, rule, m, mean=False):
    """Gradient of one step of m-SAM on these examples; objective before it and perturbed."""
    batch = len(y)
    total, before, after = [np.zeros_like(p) for p in theta], 0.0, 0.0
    for low in range(0, batch, m):
        rows, labels = X[low : low + m], y[low : low + m]
        point = theta
        before += block_gradient(theta, rows, labels)[1]
        for _ in range(rule.ascent_steps if rule.rho > 0.0 else 0):
            gradient, _ = block_gradient(point, rows, labels)
            scale = 1.0 / m if mean else 1.0
            length = rule.rho / norm(gradient) if rule.normalized else rule.rho * scale
            point = moved(point, gradient, length)
        gradient, squares = block_gradient(point, rows, labels)
        after += squares
        for t, g in zip(total, gradient, strict=True):
            t += g / batch if mean else g
    factor = 0.5 / batch if mean else 0.5
    return tuple(total), factor * before, factor * after


def descend(data, start, rule, step_size, steps, *, linear=False, mean=False, rows=None):
    """Weights after all steps, and the objective before each."""
    theta = (start.output_weights, start.hidden_weights, start.hidden_bias)
    objectives = []
    for k in range(steps):
        X, y = (data.X, data.y) if rows is None else (data.X[rows[k]], data.y[rows[k]])
        m = rule.resolve(data.n)[1]
        gradient, before, _ = step_gradient(theta, X, y, rule, m, mean)
        objectives.append(before)
        gamma = step_size * (1.0 - (k + 1) / steps) if linear else step_size
        theta = moved(theta, gradient, -gamma)
    return theta, objectives


def distance(theta, network):
    """Largest difference of a weight, relative to the largest weight."""
    pairs = zip(
        theta,
        (network.output_weights, network.hidden_weights, network.hidden_bias),
        strict=True,
    )
    return max(float(np.max(np.abs(p - q)) / np.max(np.abs(p))) for p, q in pairs)


def compiled_gradient(network, data, rule=None, dtype=np.float64):
    """Gradient of the compiled kernel, in the order of network.parameters; all as one block."""
    rule = st.gd() if rule is None else rule
    ascents = rule.ascent_steps if rule.rho > 0.0 else 0
    work = kernels.make_work(data.n, data.d, network.width, dtype)
    arguments = (rule.rho, data.n, rule.normalized, ascents, 1.0, 1.0)
    theta = loop.pack(network, dtype)
    kernels.block_gradient(
        theta, data.X.astype(dtype).ravel(), data.y.astype(dtype), data.d, arguments, work
    )
    rows = work.g.reshape(data.d + 2, -1)
    assert not np.any(rows[:, network.width :])
    rows = rows[:, : network.width]
    return np.concatenate([rows[0], rows[1:-1].T.ravel(), rows[-1]])


def gradient_error(gradient, function, point, h=1e-4):
    """Largest error of a gradient against central differences, relative to its largest entry."""
    differences = np.empty_like(point)
    for j in range(point.size):
        step = np.zeros_like(point)
        step[j] = h
        differences[j] = (function(point + step) - function(point - step)) / (2.0 * h)
    return float(np.max(np.abs(gradient - differences)) / np.max(np.abs(differences)))


def instance(n, d, width, seed=0, margin=1e-2):
    """Data and a network none of whose kinks is close to an example."""
    rng = np.random.default_rng(seed)
    network = relu.random_network(width, d, seed=rng, hidden=0.8, bias=0.8, output=1.0)
    rows = []
    while len(rows) < n:
        x = rng.standard_normal(d)
        if np.min(np.abs(network.preactivations(x[None, :]))) > margin:
            rows.append(x)
    return st.Regression(np.array(rows), rng.standard_normal(n)), network


def order(steps, errors):
    """Slope of log error against log step."""
    return float(np.polyfit(np.log(steps), np.log(errors), 1)[0])
