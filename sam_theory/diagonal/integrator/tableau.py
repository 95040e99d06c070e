"""The Radau IIA method of order 2 s - 1: nodes, matrix, eigen-decomposition, embedded formula.

L-stable, so slow tails of nearly collinear data cost few steps. The stages are solved on the
eigenvectors of the Butcher matrix (Hairer and Wanner, Solving ODEs II, section IV.8); the step is
controlled by the embedded formula of order s.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.polynomial import legendre
from scipy import linalg

from ...design import Array

STAGES = 7


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
