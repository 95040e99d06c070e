"""The SAM flow of a diagonal linear network in dual coordinates.

State (nu, Delta) in R^(n+d).  With theta = 2 X^T nu and log A = 2 (log alpha - rho Delta) - log 2,

    beta = A sinh(theta),  s = u^2 + v^2 = 2 A cosh(theta),  r = X beta - y,
    g_B = X_B^T r_B / m,   beta'_B = beta (1 + rho_B^2 g_B^2) + rho_B g_B s,
    r'_B = X_B beta'_B - y_B,
    d nu/dt = -r'/n,       d Delta/dt = mean_B (rho_B/rho) g_B g'_B

(THEORY section 2), rho_B = rho or, normalised, rho/N_B with N_B^2 = sum_j s_j g_Bj^2.  The state
enters only through z = (r, r', N), so the Jacobian is a product U V of rank 2n (+ blocks): implicit
steps cost dense algebra of order 2n, not n + d.

Normalised SAM with a single block can be integrated in the time tau with dt = N dtau
(``rescaled``), in which its finite-time extinction becomes exponential decay.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numba
import numpy as np
from scipy import linalg

from .newton import Array


@numba.njit(cache=True)
def _network(
    X: Array, rho: float, log_alpha: Array, state: Array, work: Array, beta: Array, s: Array
) -> None:
    """Write beta and s = u^2 + v^2 of a state; work (d,) is overwritten."""
    n, d = X.shape
    work[:] = 0.0
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
            g[:] = 0.0
            for i in range(b * m, (b + 1) * m):
                for j in range(d):
                    g[j] += X[i, j] * r[i] / m
            norm = math.sqrt(np.sum(s * g * g)) if normalized else 1.0
            radius = rho / norm if norm > 0.0 else 0.0
            for j in range(d):
                lift = radius * g[j]
                moved[j] = beta[j] * (1.0 + lift * lift) + lift * s[j]
            h[:] = 0.0
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
    """The flow of one algorithm on one data set; arguments as in the module docstring."""

    X: Array
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
        theta = 2.0 * (state[:n] @ self.X)
        size = np.abs(theta)
        e = np.exp(size + 2.0 * (self.log_alpha - self.rho * state[n:]) - math.log(2.0))
        fall = np.expm1(-2.0 * size)
        beta = -0.5 * np.sign(theta) * e * fall
        return beta, e * (2.0 + fall), self.X @ beta - self.y

    def measure(self, change: Array, state: Array) -> float:
        """Size of changes of state (rows): in theta, 2 rho Delta, and Delta relative to itself."""
        n = self.X.shape[0]
        theta = 2.0 * float(np.max(np.abs(change[..., :n] @ self.X)))
        delta = float(np.max(np.abs(change[..., n:])))
        largest = float(np.max(np.abs(state[n:])))
        scaled = delta * max(2.0 * self.rho, 1.0 / largest if largest > 0.0 else 0.0)
        return max(theta, scaled)

    def linearize(self, state: Array) -> Linearization:
        """Return the factors of the Jacobian at state."""
        return Linearization(self, state)


class Linearization:
    """Jacobian U V of the field at one state, V: (n+d) -> z = (r, r', N), U: z -> rates."""

    def __init__(self, field: FlowField, state: Array) -> None:
        X, m, k, rho = field.X, field.m, field.blocks, field.rho
        n, d = X.shape
        self.field, self.normalized = field, field.normalized
        beta, s, r = field.point(state)
        blocks = X.reshape(k, m, d)
        g = np.einsum("kmd,km->kd", blocks, r.reshape(k, m)) / m
        norm = np.sqrt(g**2 @ s) if self.normalized else np.ones(k)
        radius = (rho / norm)[:, None]
        lift = radius * g
        moved = beta * (1.0 + lift**2) + lift * s
        after = np.einsum("kmd,kd->km", blocks, moved) - field.y.reshape(k, m)
        h = np.einsum("kmd,km->kd", blocks, after) / m
        self.beta, self.s, self.norm, self.after = beta, s, norm, after.reshape(n)
        self.by_beta = (blocks * (1.0 + lift**2)[:, None, :]).reshape(n, d)
        self.by_s = (blocks * lift[:, None, :]).reshape(n, d)
        inner = blocks * (2.0 * radius * lift * beta + radius * s)[:, None, :]
        self.within = np.einsum("kad,kbd->kab", inner, blocks) / m
        weight = (1.0 / norm if self.normalized and not field.rescaled else np.ones(k))[:, None]
        self.delta_by_r = (blocks * (weight * h)[:, None, :]).reshape(n, d) / n
        self.delta_by_after = (blocks * (weight * g)[:, None, :]).reshape(n, d) / n
        if self.normalized:
            self.norm_by_s = g**2 / (2.0 * norm[:, None])
            self.norm_by_r = np.einsum("kmd,kd->km", blocks, s * g) / (m * norm[:, None])
            turn = np.einsum("kmd,kd->km", blocks, 2.0 * lift * g * beta + g * s)
            self.after_by_norm = -turn * (radius / norm[:, None])
            self.delta_by_norm = -(g * h) / (k * norm[:, None] ** 2)
        self.inner_size = 2 * n + (k if self.normalized else 0)
        core = self.to_inner(*self._split(self.to_rates(np.eye(self.inner_size))))
        self.core = np.ascontiguousarray(core.T)

    def _split(self, rows: Array) -> tuple[Array, Array]:
        n = self.field.X.shape[0]
        return rows[:, :n], rows[:, n:]

    def to_inner(self, d_nu: Array, d_delta: Array) -> Array:
        """Apply V to rows d_nu (q, n), d_delta (q, d); returns (q, inner_size)."""
        X, k, m, rho = self.field.X, self.field.blocks, self.field.m, self.field.rho
        q = d_nu.shape[0]
        along = d_nu @ X
        d_beta = self.s * along - 2.0 * rho * self.beta * d_delta
        d_s = 4.0 * self.beta * along - 2.0 * rho * self.s * d_delta
        d_r = d_beta @ X.T
        d_after = d_beta @ self.by_beta.T + d_s @ self.by_s.T
        by_block = d_r.reshape(q, k, m)
        d_after += np.einsum("kab,qkb->qka", self.within, by_block).reshape(q, -1)
        if not self.normalized:
            return np.hstack([d_r, d_after])
        d_norm = d_s @ self.norm_by_s.T + np.einsum("km,qkm->qk", self.norm_by_r, by_block)
        d_after += (d_norm[:, :, None] * self.after_by_norm).reshape(q, -1)
        return np.hstack([d_r, d_after, d_norm])

    def to_rates(self, inner: Array) -> Array:
        """Apply U to rows (q, inner_size); returns (q, n+d)."""
        n = self.field.X.shape[0]
        d_r, d_after = inner[:, :n], inner[:, n : 2 * n]
        clock = self.norm[0] if self.field.rescaled else 1.0
        d_nu = -clock * d_after / n
        d_delta = d_r @ self.delta_by_r + d_after @ self.delta_by_after
        if self.normalized:
            d_norm = inner[:, 2 * n :]
            if self.field.rescaled:
                d_nu = d_nu - d_norm * self.after / n
            else:
                d_delta = d_delta + d_norm @ self.delta_by_norm
        return np.hstack([d_nu, d_delta])

    def factorize(self, factors: Array) -> list[tuple[Array, Array]]:
        """LU factors of I - factor V U for each (complex or real) factor."""
        eye = np.eye(self.inner_size)
        return [linalg.lu_factor(eye - c * self.core, check_finite=False) for c in factors]

    def solve(self, factors: Array, lu: list[tuple[Array, Array]], rhs: Array) -> Array:
        """Return (I - factor J)^-1 rhs row by row; factors (q,), rhs (q, n+d) complex."""
        q = len(factors)
        both = np.vstack([rhs.real, rhs.imag])
        inner = self.to_inner(*self._split(both))
        z = inner[:q] + 1j * inner[q:]
        for row in range(q):
            z[row] = factors[row] * linalg.lu_solve(lu[row], z[row], check_finite=False)
        back = self.to_rates(np.vstack([z.real, z.imag]))
        return rhs + back[:q] + 1j * back[q:]
