"""Radau IIA collocation of order 2 s - 1 for systems whose Jacobian is a product of thin factors.

The stages are solved by simplified Newton iterations on the eigenvectors of the Butcher matrix
(Hairer and Wanner, Solving ODEs II, section IV.8); the step is controlled by the embedded formula
of order s.  L-stable, so slow tails of nearly collinear data cost few steps.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.polynomial import legendre
from scipy import linalg

from .field import FlowField, Linearization
from .newton import Array

STAGES = 7
_NEWTON_STEPS = 12


@dataclass(frozen=True, eq=False)
class Tableau:
    """Nodes c (s,), Butcher matrix A (s, s), its eigen-decomposition and the embedded weights."""

    nodes: Array
    matrix: Array
    eigenvalues: Array
    to_stages: Array
    from_stages: Array
    embedded: Array

    @property
    def real_eigenvalue(self) -> float:
        """The real eigenvalue of the Butcher matrix."""
        return float(self.eigenvalues[0].real)


@cache
def radau_tableau(stages: int = STAGES) -> Tableau:
    """Return the Radau IIA method with an odd number of stages."""
    difference = np.zeros(stages + 1)
    difference[stages - 1], difference[stages] = 1.0, -1.0
    roots = np.sort(legendre.legroots(difference).real)[:-1]
    slope = legendre.legder(difference)
    for _ in range(3):
        roots = roots - legendre.legval(roots, difference) / legendre.legval(roots, slope)
    points = np.append(roots, 1.0)
    nodes = (points + 1.0) / 2.0
    # Exact on Legendre polynomials: int_{-1}^x P_k = (P_{k+1} - P_{k-1})/(2k + 1).
    values_at = legendre.legvander(points, stages)
    degree = np.arange(1, stages)
    integrals = np.empty((stages, stages))
    integrals[:, 0] = points + 1.0
    integrals[:, 1:] = (values_at[:, 2:] - values_at[:, :-2]) / (2 * degree + 1)
    matrix = linalg.solve(values_at[:, :stages].T, integrals.T / 2.0).T
    values, vectors = linalg.eig(matrix)
    keep = [int(np.argmin(np.abs(values.imag)))] + [
        int(i) for i in np.flatnonzero(values.imag > 1e-8)
    ]
    inverse = linalg.inv(vectors)
    weight = np.full(len(keep), 2.0)
    weight[0] = 1.0
    gamma = values[keep[0]].real
    moments = 1.0 / np.arange(1, stages + 1)
    moments[0] -= gamma
    embedded = linalg.solve(np.vander(nodes, stages, increasing=True).T, moments) - matrix[-1]
    return Tableau(nodes, matrix, values[keep], vectors[:, keep] * weight, inverse[keep], embedded)


@dataclass(frozen=True, eq=False)
class Step:
    """One accepted step: from (time, state) over size, with stage increments (s, N)."""

    time: float
    size: float
    state: Array
    stages: Array
    quadrature: float


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


def integrate(
    field: FlowField,
    state: Array,
    *,
    tol: float,
    finished: Callable[[float, Array], bool],
    stops: Array | None = None,
    max_steps: int = 3000,
    on_step: Callable[[Step], None] | None = None,
) -> tuple[float, Array, float, str]:
    """Integrate until finished(time, state) or the last of ``stops``, hitting each stop exactly.

    tol is the local error in the field's measure.  Returns (time, state, int 2L, status), status in
    "finished", "stops", "max_steps", "singular" (the step size collapsed).
    """
    table = radau_tableau()
    s = len(table.nodes)
    target = 0.1 * tol ** ((s + 1) / (2 * s))
    time, integral = 0.0, 0.0
    pending = [] if stops is None else [float(t) for t in stops if t > 0.0]
    rate = field.rates(state[None])[0][0]
    # The measure of Delta is relative to its own size, which is zero at the start.
    pace = field.measure(rate, state + np.abs(rate))
    size = 0.1 / pace if pace > 0.0 else 1.0
    previous: Step | None = None
    for _ in range(max_steps):
        if finished(time, state):
            return time, state, integral, "finished"
        lin = field.linearize(state)
        rejected = False
        while True:
            if size <= 1e-14 * max(time, 1e-280) or not math.isfinite(size):
                return time, state, integral, "singular"
            step_size = min(size, pending[0] - time) if pending else size
            trial = _attempt(field, lin, table, state, rate, step_size, previous, tol)
            if trial is None:
                size, rejected, previous = 0.3 * step_size, True, None
                continue
            stages, error, quadrature, last_rate = trial
            factor = 0.9 * (target / max(error, 1e-300)) ** (1.0 / (s + 1))
            if error <= target:
                break
            size, rejected = step_size * min(max(factor, 0.1), 0.9), True
        previous = Step(time, step_size, state, stages, quadrature)
        integral += quadrature
        time, state, rate = time + step_size, state + stages[-1], last_rate
        if on_step is not None:
            on_step(previous)
        if pending and (time >= pending[0] * (1.0 - 1e-15)):
            time = pending.pop(0)
            if not pending:
                return time, state, integral, "stops"
        grown = step_size * min(max(factor, 0.2), 1.0 if rejected else 6.0)
        size = max(size, grown) if step_size < size else grown
    return time, state, integral, "max_steps"


def _attempt(
    field: FlowField,
    lin: Linearization,
    table: Tableau,
    state: Array,
    rate: Array,
    size: float,
    previous: Step | None,
    tol: float,
) -> tuple[Array, float, float, Array] | None:
    """Solve the stages; None if Newton fails, else (increments, error, int 2L, last rate)."""
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
    return stages, error, quadrature, rates[-1]
