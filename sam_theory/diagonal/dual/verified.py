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

import numba
import numpy as np
import numpy.typing as npt
from scipy import linalg
from scipy.linalg import blas, lapack

from ...design import (
    Array,
    Matrix,
    column_chunks,
    pivoted_triangle,
    product,
    scaled_columns,
    scaled_gram,
)
from ..primitives.gram import lower_root, weighted_square
from .compensated import UNIT

_COMFORTABLE = 0.01
_USEFUL = 0.5  # least relative error of the inverse factor that proves nothing
_SMALLEST = 1e-280  # products of rows with larger squares lose nothing to underflow


# Loops, not expressions of arrays: those take seconds to compile.


@numba.njit(cache=True, nogil=True)
def _absolute_product(transposed, values, factor):  # type: ignore[no-untyped-def]
    """Return factor |T| |values| for a lower triangle T, given as T^T (n, n), and values (n,)."""
    n = transposed.shape[0]
    out = np.zeros(n)
    for k in range(n):
        value = factor * abs(values[k])
        for i in range(k, n):
            out[i] += abs(transposed[k, i]) * value
    return out


@numba.njit(cache=True, nogil=True)
def _solve_error(upper, solution):  # type: ignore[no-untyped-def]
    """Bound on the backward error of a solve with L = upper^T for its solution (n,)."""
    return _absolute_product(upper, solution, 2.0 * (upper.shape[0] + 4) * UNIT)


@numba.njit(cache=True, nogil=True)
def _largest_ratio(values, row):  # type: ignore[no-untyped-def]
    """Largest of values/row, (n,) each; infinite if one is no number."""
    most = 0.0
    for i in range(row.shape[0]):
        ratio = values[i] / row[i]
        if not ratio <= most:
            most = ratio if ratio == ratio else math.inf
    return most


@numba.njit(cache=True, nogil=True)
def _wrong(upper, inverse, row):  # type: ignore[no-untyped-def]
    """Bound on |E| row in units of row; ``inverse`` is Y^T."""
    return _largest_ratio(_solve_error(upper, _absolute_product(inverse, row, 1.0)), row)


@numba.njit(cache=True, nogil=True)
def _inverse_times(inverse, row, wrong, values):  # type: ignore[no-untyped-def]
    """Upper bound on |L^-1| values for values (n,) >= 0."""
    # |E| row <= wrong row, so (I - |E|)^-1 v <= v + wrong/(1 - wrong) max(v/row) row.
    excess = wrong / (1.0 - wrong) * _largest_ratio(values, row)
    total = np.empty_like(row)
    for i in range(row.shape[0]):
        total[i] = values[i] + excess * row[i]
    return _absolute_product(inverse, total, 1.0 + 1e-10)


@numba.njit(cache=True, nogil=True)
def _cholesky_defect(inverse, row, wrong, d):  # type: ignore[no-untyped-def]
    """Bound on |L^-1 F L^-T| for a Cholesky factor of a computed Gram matrix."""
    reach = _inverse_times(inverse, row, wrong, row)
    return 1.01 * (d + 2 * row.shape[0] + 20) * UNIT * np.dot(reach, reach)


@numba.njit(cache=True, nogil=True)
def _correction(upper, inverse, row, wrong, defect, half, misfit_error):  # type: ignore[no-untyped-def]
    """Upper bound on sqrt(m^T K^-1 m) for half = L^-1 misfit, as computed."""
    error = _solve_error(upper, half)
    for i in range(row.shape[0]):
        error[i] += misfit_error[i]
    lost = _inverse_times(inverse, row, wrong, error)
    total = math.sqrt(np.dot(half, half)) + math.sqrt(np.dot(lost, lost))
    return total / math.sqrt(1.0 - defect) * (1.0 + 1e-12)


@numba.njit(cache=True, nogil=True)
def binary_root(weight):  # type: ignore[no-untyped-def]
    """Return weight^(1/2) in units of the power of two above the largest; weight (d,) >= 0."""
    root, largest = np.empty_like(weight), 0.0
    for j in range(weight.shape[0]):
        root[j] = math.sqrt(weight[j])
        largest = max(largest, root[j])
    exponent = -math.frexp(largest)[1]
    for j in range(root.shape[0]):
        root[j] = math.ldexp(root[j], exponent)
    return root


@numba.njit(cache=True, nogil=True)
def _lower_inverse(lower, right):  # type: ignore[no-untyped-def]
    """Return (L^-1)^T and L^-1 right for a lower triangle L (n, n), right (n,)."""
    n = lower.shape[0]
    inverse, half = np.zeros((n, n)), right.copy()
    for i in range(n):
        inverse[i, i] = 1.0
        for p in range(i):
            half[i] -= lower[i, p] * half[p]
            for k in range(p + 1):
                inverse[k, i] -= lower[i, p] * inverse[k, p]
        half[i] /= lower[i, i]
        for k in range(i + 1):
            inverse[k, i] /= lower[i, i]
    return inverse, half


@numba.njit(cache=True, nogil=True)
def small_correction(X, root, misfit, misfit_error):  # type: ignore[no-untyped-def]
    """Return ``correction_norm`` by the Cholesky factor of a small dense X, infinite if useless."""
    n, d = X.shape
    if n > d:
        return math.inf
    K = weighted_square(X, root)
    row = np.empty(n)
    for i in range(n):
        if not _SMALLEST < K[i, i] < math.inf:
            return math.inf
        row[i] = math.sqrt(K[i, i]) * (1.0 + 1e-10)
    lower, positive = lower_root(K)
    if not positive:
        return math.inf
    inverse, half = _lower_inverse(lower, misfit)
    upper = lower.T.copy()
    wrong = _wrong(upper, inverse, row)
    if not wrong < _USEFUL:
        return math.inf
    defect = _cholesky_defect(inverse, row, wrong, d)
    if not defect < _COMFORTABLE:
        return math.inf
    return _correction(upper, inverse, row, wrong, defect, half, misfit_error)


class VerifiedFactor:
    """Factor of K = X diag(weight) X^T, X (n, d), weight (d,) >= 0; ``defect`` tells its quality.

    ``root`` (d,) is weight^(1/2) in units of a power of two, which is also the unit of K.
    """

    def __init__(self, X: Matrix, weight: Array) -> None:
        self.X = X
        self.root = binary_root(weight)
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
            self.defect = float(_cholesky_defect(*self._inverse, d))

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
        error = _solve_error(lower.T, norm) + 3.0 * UNIT * self._inverse[1]
        lost = float(np.linalg.norm(_inverse_times(*self._inverse, error)))
        size = float(np.linalg.norm(norm))
        gram = basis @ basis.T
        gram.flat[:: n + 1] -= 1.0
        own = float(np.linalg.norm(gram))
        self.defect = own + (d + 4) * UNIT * size**2 + lost * (2.0 * size + lost)

    def _invert(self, lower: Array, row: Array) -> bool:
        """Take a factor and the norms of the rows of X diag(root); False if it is useless."""
        n = row.shape[0]
        inverse, _ = lapack.dtrtrs(lower, np.eye(n, order="F"), lower=1, overwrite_b=1)
        self.lower, row = lower, row * (1.0 + 1e-10)
        wrong = float(_wrong(lower.T, inverse.T, row))
        self._inverse = inverse.T, row, wrong
        return wrong < _USEFUL

    def correction_norm(self, misfit: Array, misfit_error: Array) -> float:
        """Upper bound on sqrt(m^T K^-1 m) for the m (n,) within misfit_error of misfit."""
        if self.X.shape[0] == 0:
            return 0.0
        if not self.defect < 1.0:
            return math.inf
        half, _ = lapack.dtrtrs(self.lower, misfit[self.pivot], lower=1)
        error = misfit_error[self.pivot]
        return float(_correction(self.lower.T, *self._inverse, self.defect, half, error))

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
