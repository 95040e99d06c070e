"""The obvious NumPy loops: what a reader of the paper would write first.

Two forms of each. ``published_*`` does, operation by operation, what is recorded of the published
code: sums instead of dot products in 1-SAM, and in every iteration of GD a weight decay and a term
``-b u s``, s = +1 where |u| > |v| else -1 (likewise for v), both with coefficient 0. ``lean_*``
does the same mathematics with as little Python as the obvious loop allows. All return beta = u v
after ``steps`` steps from u = alpha, v = 0; steps of size ``gamma``; radii as in this project.
"""

from __future__ import annotations

from typing import Any

import numpy as np


def _start(X: Any, alpha: float) -> tuple[Any, Any]:
    return np.full(X.shape[1], alpha), np.zeros(X.shape[1])


def lean_gd(X: Any, y: Any, alpha: float, gamma: float, steps: int) -> Any:
    """Gradient descent."""
    u, v = _start(X, alpha)
    step = gamma / len(y)
    for _ in range(steps):
        pull = step * (X.T @ (X @ (u * v) - y))
        u, v = u - pull * v, v - pull * u
    return u * v


def published_gd(
    X: Any, y: Any, alpha: float, gamma: float, steps: int, decay: float = 0.0, balance: float = 0.0
) -> Any:
    """Gradient descent with the terms that the published loop evaluates and does not use."""
    n = len(y)
    u, v = _start(X, alpha)
    for _ in range(steps):
        pull = X.T @ (X @ (u * v) - y)
        grad_u, grad_v = (pull * v) / n, (pull * u) / n
        side_u = np.where(np.abs(u) > np.abs(v), 1.0, -1.0)
        side_v = np.where(np.abs(v) > np.abs(u), 1.0, -1.0)
        u, v = (
            u - gamma * grad_u - decay * u - balance * u * side_u,
            v - gamma * grad_v - decay * v - balance * v * side_v,
        )
    return u * v


def lean_sgd(X: Any, y: Any, alpha: float, gamma: float, steps: int, seed: int = 0) -> Any:
    """One random example per step, drawn one at a time."""
    stream = np.random.RandomState(seed)
    n = len(y)
    u, v = _start(X, alpha)
    for _ in range(steps):
        i = stream.randint(n)
        row = X[i]
        pull = (gamma * (row @ (u * v) - y[i])) * row
        u, v = u - pull * v, v - pull * u
    return u * v


def published_sgd(X: Any, y: Any, alpha: float, gamma: float, steps: int, seed: int = 0) -> Any:
    """One random example per step; the step size multiplies the two gradients."""
    stream = np.random.RandomState(seed)
    n = len(y)
    u, v = _start(X, alpha)
    for _ in range(steps):
        i = stream.randint(n)
        pull = (X[i] @ (u * v) - y[i]) * X[i]
        u, v = u - gamma * (pull * v), v - gamma * (pull * u)
    return u * v


def sgd_rows(n: int, steps: int, seed: int = 0) -> Any:
    """Rows that the two loops above draw."""
    return np.random.RandomState(seed).randint(n, size=steps)


def lean_n_sam(X: Any, y: Any, alpha: float, gamma: float, steps: int, rho: float) -> Any:
    """n-SAM: one perturbation for all examples."""
    n = len(y)
    up, down = rho / n, gamma / n
    u, v = _start(X, alpha)
    for _ in range(steps):
        pull = up * (X.T @ (X @ (u * v) - y))
        p, q = u + pull * v, v + pull * u
        pull = down * (X.T @ (X @ (p * q) - y))
        u, v = u - pull * q, v - pull * p
    return u * v


def published_n_sam(X: Any, y: Any, alpha: float, gamma: float, steps: int, rho: float) -> Any:
    """n-SAM, each gradient written out."""
    n = len(y)
    u, v = _start(X, alpha)
    for _ in range(steps):
        pull = X.T @ (X @ (u * v) - y)
        p, q = u + rho * ((pull * v) / n), v + rho * ((pull * u) / n)
        pull = X.T @ (X @ (p * q) - y)
        u, v = u - gamma * ((pull * q) / n), v - gamma * ((pull * p) / n)
    return u * v


def lean_one_sam(X: Any, y: Any, alpha: float, gamma: float, steps: int, rho: float) -> Any:
    """1-SAM: a loop over the examples inside the loop over the steps."""
    step = gamma / len(y)
    u, v = _start(X, alpha)
    for _ in range(steps):
        residual = X @ (u * v) - y
        move_u, move_v = np.zeros_like(u), np.zeros_like(v)
        for row, label, r in zip(X, y, residual, strict=True):
            pull = (rho * r) * row
            p, q = u + pull * v, v + pull * u
            pull = (step * (row @ (p * q) - label)) * row
            move_u += pull * q
            move_v += pull * p
        u, v = u - move_u, v - move_v
    return u * v


def published_one_sam(X: Any, y: Any, alpha: float, gamma: float, steps: int, rho: float) -> Any:
    """1-SAM with the published order of the operations."""
    n = len(y)
    u, v = _start(X, alpha)
    for _ in range(steps):
        residual = X @ (u * v) - y
        grad_u, grad_v = np.zeros_like(u), np.zeros_like(v)
        for row, label, r in zip(X, y, residual, strict=True):
            p, q = u + rho * r * row * v, v + rho * r * row * u
            error = (row * p * q).sum() - label
            grad_u += error * q * row / n
            grad_v += error * p * row / n
        u, v = u - gamma * grad_u, v - gamma * grad_v
    return u * v
