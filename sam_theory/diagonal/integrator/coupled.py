"""Flows of normalised SAM: implicit steps with the whole Jacobian.

Where rho_B = rho/N_B, Delta and the norms move as fast as nu near the end, and the part of the
Jacobian that :mod:`.stiff` keeps does not suffice. The state enters the rates only through
z = (r, r', N), so the Jacobian is a product U V of rank 2n (+ blocks): steps cost dense algebra of
order 2n, not n + d. The method is that of :mod:`.radau`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy import linalg

from ...design import Array
from .field import FlowField
from .tableau import Tableau, radau_tableau
from .tail import tail

_getrf, _getrs = linalg.get_lapack_funcs(("getrf", "getrs"), dtype=np.complex128)
_NEWTON_STEPS = 12
_RESCALED_BELOW = 1e-7
_VANISHED = 1e-6


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
        # LAPACK itself: lu_factor warns of a singular matrix, which a step far too long may have.
        return [_getrf(eye - c * self.core)[:2] for c in factors]

    def solve(self, factors: Array, lu: list[tuple[Array, Array]], rhs: Array) -> Array:
        """Return (I - factor J)^-1 rhs row by row; factors (q,), rhs (q, n+d) complex."""
        q = len(factors)
        both = np.vstack([rhs.real, rhs.imag])
        inner = self.to_inner(*self._split(both))
        z = inner[:q] + 1j * inner[q:]
        for row in range(q):
            z[row] = factors[row] * _getrs(*lu[row], z[row])[0]
        back = self.to_rates(np.vstack([z.real, z.imag]))
        return rhs + back[:q] + 1j * back[q:]


@dataclass(frozen=True, eq=False)
class Step:
    """An accepted step: its size and its stage increments (s, N)."""

    size: float
    stages: Array


def _extrapolate(previous: Step | None, size: float, table: Tableau) -> Array | None:
    """Collocation polynomial of the previous step continued to the next step's nodes."""
    if previous is None:
        return None
    nodes = np.concatenate([[0.0], table.nodes])
    at = 1.0 + table.nodes * size / previous.size
    rows = np.empty((len(at), len(nodes)))
    for j in range(len(nodes)):
        others = np.delete(nodes, j)
        rows[:, j] = np.prod((at[:, None] - others) / (nodes[j] - others), axis=1)
    guess: Array = rows[:, 1:] @ previous.stages - previous.stages[-1]
    return guess


class CoupledIntegrator:
    """Same calls as :class:`.radau.Integrator`, for a normalised field."""

    def __init__(self, field: FlowField, *, tol: float, max_steps: int = 3000) -> None:
        self.field, self.tol, self.max_steps = field, tol, max_steps
        self.state = np.zeros(field.size)
        self.doubled_loss, self.unsure = 0.0, 0.0
        self._time, self._size = 0.0, 0.0
        self._previous: Step | None = None
        self._first_norm = 0.0

    def rest(self) -> tuple[Array, float]:
        """Return the rest of Delta (d,) and of int 2 L once the flow is "finished"."""
        return tail(self.field, self.state, self.field.X.shape[0])

    def to_time(self, stop: float) -> str:
        """Go to a time; returns "stops", "max_steps" or "singular"."""
        for _ in range(self.max_steps):
            if not self._step(stop):
                return "singular"
            if self._time >= stop * (1.0 - 1e-15):
                self._time = stop
                return "stops"
        return "max_steps"

    def to_limit(self, progress: Callable[[float], None] | None = None) -> str:
        """Follow the flow; returns "finished", "singular" or "max_steps"."""
        start = float(np.linalg.norm(self.field.y)) or 1.0
        for _ in range(self.max_steps):
            _, s, r = self.field.point(self.state)
            size = float(np.linalg.norm(r)) / start
            if progress is not None:
                progress(min(1.0, max(0.0, -math.log10(max(size, 1e-300)) / 9.0)))
            if size == 0.0 or (self.field.rescaled and size <= _RESCALED_BELOW):
                return "finished"
            if not self.field.rescaled and self._vanished(s, r):
                return "singular"
            if not self._step(math.inf):
                return "singular"
        return "max_steps"

    def _vanished(self, s: Array, r: Array) -> bool:
        """Whether one block's gradient norm has collapsed: the flow is not defined beyond."""
        k, m = self.field.blocks, self.field.m
        g = np.einsum("kmd,km->kd", self.field.X.reshape(k, m, -1), r.reshape(k, m)) / m
        norm = np.sqrt(g**2 @ s)
        self._first_norm = self._first_norm or float(np.max(norm))
        return float(np.min(norm)) <= _VANISHED * self._first_norm

    def _step(self, stop: float) -> bool:
        """Take one step, not beyond stop; False if the step size collapses."""
        # Where a block's gradient vanishes nothing is finite, and the attempt is refused.
        with np.errstate(all="ignore"):
            return self._attempts(stop)

    def _attempts(self, stop: float) -> bool:
        table, field, tol = radau_tableau(), self.field, self.tol
        s = len(table.nodes)
        target = 0.1 * tol ** ((s + 1) / (2 * s))
        rate = field.rates(self.state[None])[0][0]
        if self._size == 0.0:
            # The measure of Delta is relative to its own size, which is zero at the start.
            pace = field.measure(rate, self.state + np.abs(rate))
            self._size = 0.1 / pace if pace > 0.0 else 1.0
        lin = Linearization(field, self.state)
        rejected = False
        while True:
            size = min(self._size, stop - self._time)
            if not 1e-14 * max(self._time, 1e-280) < size < math.inf:
                return False
            trial = _attempt(field, lin, table, self.state, rate, size, self._previous, tol)
            if trial is None:
                self._size, rejected, self._previous = 0.3 * size, True, None
                continue
            stages, error, quadrature = trial
            factor = 0.9 * (target / max(error, 1e-300)) ** (1.0 / (s + 1))
            if error <= target:
                break
            self._size, rejected = size * min(max(factor, 0.1), 0.9), True
        self._previous = Step(size, stages)
        self.doubled_loss += quadrature
        self._time, self.state = self._time + size, self.state + stages[-1]
        grown = size * min(max(factor, 0.2), 1.0 if rejected else 6.0)
        self._size = max(self._size, grown) if size < self._size else grown
        return True


def _attempt(
    field: FlowField,
    lin: Linearization,
    table: Tableau,
    state: Array,
    rate: Array,
    size: float,
    previous: Step | None,
    tol: float,
) -> tuple[Array, float, float] | None:
    """Solve the stages; None if Newton fails, else (increments, error, int 2L)."""
    factors = size * table.eigenvalues
    lu = lin.factorize(factors)
    guess = _extrapolate(previous, size, table)
    stages = np.zeros((len(table.nodes), state.size)) if guess is None else guess
    if not np.all(np.isfinite(field.rates(state + stages)[0])):
        stages = np.zeros_like(stages)
    # Below this, changes of the stages are rounding of theta and of the exponent.
    floor = max(0.02 * tol, 1e-15 * field.measure(state, state))
    last = math.inf
    for _ in range(_NEWTON_STEPS):
        rates, doubled_loss = field.rates(state + stages)
        defect = size * (table.matrix @ rates) - stages
        if not np.all(np.isfinite(defect)):
            return None
        change = (table.to_stages @ lin.solve(factors, lu, table.from_stages @ defect)).real
        stages = stages + change
        moved = field.measure(change, state + stages[-1])
        if moved > 1.0 or (moved > 0.7 * last and moved > 100.0 * floor):
            return None
        if moved <= floor or moved > 0.5 * last:
            break
        last = moved
    else:
        return None
    rates, doubled_loss = field.rates(state + stages)
    raw = size * (table.real_eigenvalue * rate + table.embedded @ rates)
    filtered = lin.solve(factors[:1], lu[:1], raw[None].astype(complex)).real[0]
    error = field.measure(filtered, state + stages[-1])
    quadrature = size * float(table.matrix[-1] @ doubled_loss)
    return stages, error, quadrature
