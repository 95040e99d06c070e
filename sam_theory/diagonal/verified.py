"""Factors of K = X W X^T with a proved bound on how far they are from exact.

With K = L L^T + F, |L^-1 F L^-T| <= defect < 1 implies K >= (1 - defect) L L^T, which is all that
the certificate needs.  Two factors are tried:

- Cholesky of the computed Gram matrix G, W = diag(root)^2.  Rounding of the products, of their sums
  (in whatever order) and of the factorisation keeps |F| <= c r r^T with c = (d + 2n + 20) u and
  r_i^2 = G_ii (Higham 2002, sections 3.1 and 10.1), so that the defect is at most c ||L^-1| r|^2,
  whatever the scaling of the rows.
- If that is not comfortably below 1, QR of diag(root) X^T with rows sorted and columns pivoted,
  stable under any grading of the weights; its defect is measured, |L^-1 K L^-T - I|.

|L^-1| is bounded through its computed counterpart Y: columns of Y solve triangular systems, hence
L Y = I + E with |E| <= 2 (n + 4) u |L| |Y|, and |L^-1| v <= |Y| (I - |E|)^-1 v for v >= 0.
Verified factorisation after Rump (2010), "Verification methods".
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
from scipy import linalg
from scipy.linalg import blas, lapack

from ..design import (
    Array,
    Matrix,
    column_chunks,
    pivoted_triangle,
    product,
    scaled_columns,
    scaled_gram,
)
from .compensated import UNIT

_COMFORTABLE = 0.01
_SMALLEST = 1e-280  # products of rows with larger squares lose nothing to underflow


class VerifiedFactor:
    """Factor of K = X diag(weight) X^T, X (n, d), weight (d,) >= 0; ``defect`` tells its quality.

    ``root`` (d,) is weight^(1/2) in units of a power of two, which is also the unit of K.
    """

    def __init__(self, X: Matrix, weight: Array) -> None:
        self.X = X
        root = np.sqrt(weight)
        self.root = np.ldexp(root, -math.frexp(float(np.max(root)))[1])
        self.defect = math.inf
        self.basis: Array | None = None
        self.pivot: npt.NDArray[np.intp] | slice = slice(None)
        n, d = X.shape
        if n == 0:
            self.defect = 0.0
        elif n <= d:
            self._cholesky()
            if not self.defect < _COMFORTABLE:
                self._orthogonal()

    def _cholesky(self) -> None:
        n, d = self.X.shape
        gram = scaled_gram(self.X, self.root)
        square = gram.diagonal().copy()
        if not (np.min(square) > _SMALLEST and np.max(square) < math.inf):
            return
        lower, info = lapack.dpotrf(gram.T, lower=1, clean=1, overwrite_a=1)
        if info == 0 and self._invert(lower, np.sqrt(square)):
            reach = self._inverse_times(self.row)
            self.defect = 1.01 * (d + 2 * n + 20) * UNIT * float(reach @ reach)

    def _orthogonal(self) -> None:
        n, d = self.X.shape
        self.defect = math.inf
        try:
            upper, self.pivot = pivoted_triangle(self.X, self.root, np.ones(n))
        except linalg.LinAlgError:
            return
        lower = np.array(upper.T, order="F")
        if not np.all(np.abs(np.diag(lower)) > 0.0):
            return
        basis, square = np.empty((n, d)), np.zeros(n)
        for start, stop in column_chunks(self.X):
            block = scaled_columns(self.X, start, stop, self.root, np.ones(n))[self.pivot]
            square += np.einsum("ij,ij->i", block, block)
            basis[:, start:stop] = blas.dtrsm(1.0, lower, block, lower=1)
        if not self._invert(lower, np.sqrt(square)):
            return
        self.basis = basis
        norm = np.sqrt(np.einsum("ij,ij->i", basis, basis))
        # Rounding of the basis and of the weighted rows, row by row.
        lost = float(
            np.linalg.norm(self._inverse_times(self._solve_error(norm) + 3.0 * UNIT * self.row))
        )
        size = float(np.linalg.norm(norm))
        gram = basis @ basis.T
        gram.flat[:: n + 1] -= 1.0
        own = float(np.linalg.norm(gram))
        self.defect = own + (d + 4) * UNIT * size**2 + lost * (2.0 * size + lost)

    def _invert(self, lower: Array, row: Array) -> bool:
        """Take a factor and the norms of the rows of X diag(root); False if it is useless."""
        n = row.shape[0]
        inverse, _ = lapack.dtrtrs(lower, np.eye(n, order="F"), lower=1, overwrite_b=1)
        self.lower, self.row = lower, row * (1.0 + 1e-10)
        self.size, self.inverse = np.abs(lower), np.abs(inverse, out=inverse)
        with np.errstate(over="ignore", invalid="ignore"):
            self.wrong = float(np.max(self._solve_error(self.inverse @ self.row) / self.row))
        return self.wrong < 0.5

    def _solve_error(self, solution: Array) -> Array:
        """Bound on the backward error of a triangular solve in terms of |solution| (n,)."""
        return 2.0 * (self.row.shape[0] + 4) * UNIT * (self.size @ solution)

    def _inverse_times(self, values: Array) -> Array:
        """Upper bound on |L^-1| values for values (n,) >= 0."""
        # |E| row <= wrong row, so (I - |E|)^-1 v <= v + wrong/(1 - wrong) max(v/row) row.
        excess = self.wrong / (1.0 - self.wrong) * float(np.max(values / self.row))
        return (1.0 + 1e-10) * (self.inverse @ (values + excess * self.row))

    def correction_norm(self, misfit: Array, misfit_error: Array) -> float:
        """Upper bound on sqrt(m^T K^-1 m) for the m (n,) within misfit_error of misfit."""
        if self.X.shape[0] == 0:
            return 0.0
        if not self.defect < 1.0:
            return math.inf
        half, _ = lapack.dtrtrs(self.lower, misfit[self.pivot], lower=1)
        error = self._solve_error(np.abs(half)) + misfit_error[self.pivot]
        total = np.linalg.norm(half) + np.linalg.norm(self._inverse_times(error))
        return float(total / math.sqrt(1.0 - self.defect) * (1.0 + 1e-12))

    def fit(self, target: Array) -> Array:
        """Return about the mu (n,) that minimises sum W (target - X^T mu)^2, target (d,)."""
        if self.basis is not None:
            half = self.basis @ (self.root * target)
        else:
            half, _ = lapack.dtrtrs(self.lower, product(self.X, self.root**2 * target), lower=1)
        step, _ = lapack.dtrtrs(self.lower, half, lower=1, trans=1)
        mu = np.empty_like(step)
        mu[self.pivot] = step
        return mu
