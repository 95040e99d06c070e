"""The SAM flow of a diagonal linear network in dual coordinates.

State (nu, Delta) in R^(n+d).  With theta = 2 X^T nu and log A = 2 (log alpha - rho Delta) - log 2,

    beta = A sinh(theta),  s = u^2 + v^2 = 2 A cosh(theta),  r = X beta - y,
    g_B = X_B^T r_B / m,   beta'_B = beta (1 + rho_B^2 g_B^2) + rho_B g_B s,
    r'_B = X_B beta'_B - y_B,
    d nu/dt = -r'/n,       d Delta/dt = mean_B (rho_B/rho) g_B g'_B

(THEORY section 2), rho_B = rho or, normalised, rho/N_B with N_B^2 = sum_j s_j g_Bj^2.

Normalised SAM with a single block can be integrated in the time tau with dt = N dtau
(``rescaled``), in which its finite-time extinction becomes exponential decay.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import numba
import numpy as np

from ...design import CSR, Array, Matrix, product, transposed_product
from ..primitives.addresses import Dense, matrix_address


@numba.njit(cache=True)
def _network(
    X: Array, rho: float, log_alpha: Array, state: Array, work: Array, beta: Array, s: Array
) -> None:
    """Write beta and s = u^2 + v^2 of a state; work (d,) is overwritten."""
    n, d = X.shape
    work.fill(0.0)
    for i in range(n):
        for j in range(d):
            work[j] += 2.0 * state[i] * X[i, j]
    for j in range(d):
        size = abs(work[j])
        e = math.exp(size + 2.0 * (log_alpha[j] - rho * state[n + j]) - math.log(2.0))
        fall = math.expm1(-2.0 * size)
        s[j] = e * (2.0 + fall)
        beta[j] = -0.5 * e * fall if work[j] > 0.0 else 0.5 * e * fall


@numba.njit(cache=True)
def flow_rates(
    X: Array,
    y: Array,
    m: int,
    rho: float,
    normalized: bool,
    rescaled: bool,
    log_alpha: Array,
    states: Array,
    rates: Array,
    doubled_loss: Array,
) -> None:
    """Write the time derivative of each state (rows, (q, n+d)) and 2L (q,), in the field's time."""
    n, d = X.shape
    k = n // m
    beta, s, g, h, moved = np.empty(d), np.empty(d), np.empty(d), np.empty(d), np.empty(d)
    r = np.empty(n)
    for q in range(states.shape[0]):
        _network(X, rho, log_alpha, states[q], h, beta, s)
        for i in range(n):
            r[i] = np.dot(X[i], beta) - y[i]
        doubled_loss[q] = np.dot(r, r) / n
        rates[q, n:] = 0.0
        for b in range(k):
            g.fill(0.0)
            for i in range(b * m, (b + 1) * m):
                for j in range(d):
                    g[j] += X[i, j] * r[i] / m
            norm = math.sqrt(np.sum(s * g * g)) if normalized else 1.0
            radius = rho / norm if norm > 0.0 else 0.0
            for j in range(d):
                lift = radius * g[j]
                moved[j] = beta[j] * (1.0 + lift * lift) + lift * s[j]
            h.fill(0.0)
            clock = norm if rescaled else 1.0
            for i in range(b * m, (b + 1) * m):
                after = np.dot(X[i], moved) - y[i]
                rates[q, i] = -after * clock / n
                for j in range(d):
                    h[j] += X[i, j] * after / m
            share = clock / (k * norm) if norm > 0.0 else 0.0
            for j in range(d):
                rates[q, n + j] += share * g[j] * h[j]
            doubled_loss[q] *= clock


@dataclass(frozen=True, eq=False)
class FlowField:
    """The flow of one algorithm on one data set; arguments as in the module docstring.

    ``rates`` and ``measure`` need a dense X.
    """

    X: Matrix
    y: Array
    m: int
    rho: float
    normalized: bool
    log_alpha: Array
    rescaled: bool = False

    @property
    def blocks(self) -> int:
        """Number of blocks, n/m."""
        return int(self.X.shape[0]) // self.m

    @cached_property
    def where(self) -> Dense | CSR:
        """X as compiled code that takes addresses sees it."""
        return matrix_address(self.X)

    @property
    def size(self) -> int:
        """Length of a state, n + d."""
        return int(self.X.shape[0] + self.X.shape[1])

    def rates(self, states: Array) -> tuple[Array, Array]:
        """Return derivatives (q, n+d) and 2L (q,) at the states (q, n+d)."""
        out, doubled_loss = np.empty_like(states), np.empty(states.shape[0])
        flow_rates(
            self.X,
            self.y,
            self.m,
            self.rho,
            self.normalized,
            self.rescaled,
            self.log_alpha,
            states,
            out,
            doubled_loss,
        )
        return out, doubled_loss

    def point(self, state: Array) -> tuple[Array, Array, Array]:
        """Return beta (d,), s = u^2 + v^2 (d,) and the residual r (n,)."""
        n = self.X.shape[0]
        theta = 2.0 * transposed_product(self.X, state[:n])
        size = np.abs(theta)
        e = np.exp(size + 2.0 * (self.log_alpha - self.rho * state[n:]) - math.log(2.0))
        fall = np.expm1(-2.0 * size)
        beta = -0.5 * np.sign(theta) * e * fall
        return beta, e * (2.0 + fall), product(self.X, beta) - self.y

    def measure(self, change: Array, state: Array) -> float:
        """Size of changes of state (rows): in theta, 2 rho Delta, and Delta relative to itself."""
        n = self.X.shape[0]
        theta = 2.0 * float(np.max(np.abs(change[..., :n] @ self.X)))
        delta = float(np.max(np.abs(change[..., n:])))
        largest = float(np.max(np.abs(state[n:])))
        scaled = delta * max(2.0 * self.rho, 1.0 / largest if largest > 0.0 else 0.0)
        return max(theta, scaled)
