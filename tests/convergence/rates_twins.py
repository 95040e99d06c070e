"""Slow, obvious twins of the compiled loop and objectives, in NumPy."""

import numpy as np


def loss_and_gradient(problem, w, rows):
    """The definitions, from the problem's name."""
    A, y, p = problem.A[rows], problem.y[rows], problem.p
    kind = problem.value.name
    if kind == "least_squares":
        r = A @ w - y
        return 0.5 * np.mean(r**2) + 0.5 * p[0] * w @ w, A.T @ r / len(rows) + p[0] * w
    if kind == "logistic":
        margin = y * (A @ w)
        loss = np.mean(np.log1p(np.exp(-margin))) + 0.5 * p[0] * w @ w
        return loss, -A.T @ (y / (1.0 + np.exp(margin))) / len(rows) + p[0] * w
    if kind == "saturating":
        r = A @ w - y
        return np.mean(0.5 * r**2 / (1 + r**2)), A.T @ (r / (1 + r**2) ** 2) / len(rows)
    if kind == "wave":
        z = A @ w - y
        slope = 2 * z + 6 * np.sin(z) * np.cos(z)
        return np.mean(z**2 + 3 * np.sin(z) ** 2), A.T @ slope / len(rows)
    if kind == "quadratic":
        return 0.5 * np.mean((w - A) ** 2 @ p), p * (w - A.mean(axis=0))
    if kind == "double_well":
        return w[0] ** 4 / 4 - w[0] ** 2 / 2, w**3 - w
    if kind == "diagonal":
        u, v = np.split(w, 2)
        r = A @ (u * v) - y
        g = A.T @ r / len(rows)
        return 0.5 * np.mean(r**2), np.concatenate([g * v, g * u])
    assert kind == "factorization"
    q, size = problem.A.shape
    k = int(p[0])
    U, V = w[: size * k].reshape(size, k), w[size * k :].reshape(q, k)
    E = V[rows] @ U.T - A
    gradient_V = np.zeros_like(V)
    gradient_V[rows] = q / len(rows) * E @ U
    gradient_U = q / len(rows) * E.T @ V[rows]
    return 0.5 * q / len(rows) * np.sum(E**2), np.concatenate(
        [gradient_U.ravel(), gradient_V.ravel()]
    )


class Xoshiro:
    """xoshiro256** with Python integers."""

    MASK = (1 << 64) - 1

    def __init__(self, seed, k):
        state = np.random.SeedSequence(seed, spawn_key=(k,)).generate_state(4, np.uint64)
        self.s = [int(x) for x in state]

    def rotated(self, x, k):
        return ((x << k) | (x >> (64 - k))) & self.MASK

    def next(self):
        s = self.s
        result = self.rotated(s[1] * 5 & self.MASK, 7) * 9 & self.MASK
        t = s[1] << 17 & self.MASK
        s[2] ^= s[0]
        s[3] ^= s[1]
        s[1] ^= s[2]
        s[0] ^= s[3]
        s[2] ^= t
        s[3] = self.rotated(s[3], 45)
        return result

    def below(self, n):
        return (self.next() >> 32) * n >> 32


def run(problem, schedule, horizons, batch, m, seed, k):
    """One seed of `simulate`: points, losses, mean and least squared gradients."""
    generator, order, w = Xoshiro(seed, k), list(range(problem.n)), problem.start.copy()
    everyone = np.arange(problem.n)
    rows, squares = [], []
    lam = schedule.normalization
    for t in range(max(horizons) + 1):
        loss, g = loss_and_gradient(problem, w, everyone)
        if t in horizons:
            mean, least = (np.mean(squares), min(squares)) if squares else (np.nan, np.inf)
            rows.append((w.copy(), loss, mean, least))
        if t == max(horizons):
            return rows
        squares.append(g @ g)
        if batch < problem.n or m < batch:
            for i in range(min(batch, problem.n - 1)):
                j = i + generator.below(problem.n - i)
                order[i], order[j] = order[j], order[i]
        step = np.zeros(problem.d)
        for first in range(0, batch, m):
            block = np.array(order[first : first + m])
            g = loss_and_gradient(problem, w, block)[1]
            size = np.linalg.norm(g)
            move = schedule.radii[t] * (1 - lam + (lam / size if size > 0 else 0.0)) * g
            step += loss_and_gradient(problem, w + move, block)[1] * m / batch
        w = w - schedule.step_sizes[t] * step
