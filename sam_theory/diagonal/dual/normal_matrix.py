"""Solves with the Newton matrix K = X diag(slope) X^T of the dual problem.

A factor of K at one point of the iteration serves the next ones as the preconditioner of conjugate
gradients on the exact K, as long as no logarithm of a weight moves by more than about one: two
products with X are far cheaper than a Gram matrix.  The factor is the first of these that the
conditioning allows:

- for a large dense X, a Cholesky factor in single precision, of the columns that carry nearly all
  of the weight and the diagonal of the others, or else of all columns;
- a Cholesky factor in double precision;
- QR of diag(slope)^(1/2) X^T with rows sorted and columns pivoted, which is stable under any
  grading of the weights (Cox and Higham 1998).
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numba
import numpy as np
from scipy import linalg
from scipy.linalg import lapack

from ...design import (
    Array,
    Matrix,
    column_squares,
    pivoted_triangle,
    product,
    scaled_gram,
    single_gram,
    single_pays,
    transposed_product,
)
from ..primitives.gram import lower_root, weighted_square

_LEVELS = ("heavy", "single", "double")
# Least diagonal of the Cholesky factor of the equilibrated matrix, by precision.
_TRUSTED_SINGLE, _TRUSTED_DOUBLE = 5e-3, 1e-5
_ACCURATE = 0.05  # above this a single-precision factor needs no conjugate gradients
_LIGHT = 0.05  # of the mean weight: columns below are represented by their diagonal
_NEAR = 1.0
_INNER_STEPS = 10
_REUSE_FROM = 5_000_000
_SMALL = 200_000


def is_small(X: Matrix) -> bool:
    """Whether X is dense and so small that one compiled call beats several of BLAS."""
    return isinstance(X, np.ndarray) and X.shape[0] * X.size <= _SMALL


@numba.njit(cache=True, nogil=True)
def small_solve(X, weight, rhs, step, move):  # type: ignore[no-untyped-def]
    """Write K^-1 rhs and X^T K^-1 rhs; returns whether the Cholesky factor of K is trusted."""
    n = X.shape[0]
    K = weighted_square(X, np.sqrt(weight))
    L, positive = lower_root(K)
    if not positive:
        return False
    for i in range(n):
        if not L[i, i] >= _TRUSTED_DOUBLE * np.sqrt(K[i, i]):
            return False
    for i in range(n):
        rest = rhs[i]
        for k in range(i):
            rest -= L[i, k] * step[k]
        step[i] = rest / L[i, i]
    for i in range(n - 1, -1, -1):
        rest = step[i]
        for k in range(i + 1, n):
            rest -= L[k, i] * step[k]
        step[i] = rest / L[i, i]
    np.dot(step, X, out=move)
    return True


class NormalMatrix:
    """Solver with K = X diag(slope) X^T for changing slopes; X (n, d) with independent rows.

    size (n,) is the largest entry of each row.
    """

    def __init__(self, X: Matrix, size: Array) -> None:
        self.X, self.size = X, size
        self.first = _LEVELS.index("heavy" if single_pays(X) else "double")
        self.level = self.first
        self.reusable = X.shape[0] * X.size >= _REUSE_FROM
        self.at: Array | None = None
        self._squares: Array | None = None
        self._apply: Callable[[Array], Array] | None = None

    def solve(
        self, theta: Array, weight: Array, rhs: Array, reduction: float
    ) -> tuple[Array, Array]:
        """Return s = K^-1 rhs (n,) and X^T s (d,) for weight = slope/max(slope) at angle theta.

        theta tells how far the weights have moved: |d log slope| <= |d theta|.  Where conjugate
        gradients are used they stop when the error is about ``reduction`` times what it was.
        """
        if self.at is not None and float(np.max(np.abs(theta - self.at))) <= _NEAR:
            found = self._conjugate_gradients(weight, rhs, reduction)
            if found is not None:
                return found
        root = np.sqrt(weight)
        self.at = theta if self.reusable else None
        while _LEVELS[self.level] != "double":
            if accurate := self._factorise_single(root):
                break
            found = None if accurate is None else self._conjugate_gradients(weight, rhs, reduction)
            if found is not None:
                return found
            self.level += 1
        else:
            self._factorise_double(root)
        assert self._apply is not None
        step = self._apply(rhs)
        return step, transposed_product(self.X, step)

    def _factorise_single(self, root: Array) -> bool | None:
        """Factorise; return whether the factor alone is accurate enough, None without a factor."""
        rest = None
        if _LEVELS[self.level] == "heavy":
            if self._squares is None:
                self._squares = column_squares(self.X, 1.0 / self.size)
            share = self._squares * root**2
            light = share < _LIGHT * np.mean(share)
            if 2 * np.count_nonzero(light) > light.size:
                root, rest = np.where(light, 0.0, root), np.where(light, root, 0.0)
        gram, norm = single_gram(self.X, root, self.size, rest)
        factor, info = lapack.spotrf(gram.T, lower=1, clean=0, overwrite_a=1)
        least = float(factor.diagonal().min()) if info == 0 else 0.0
        if least < _TRUSTED_SINGLE:
            return None
        self._apply = _cholesky_solver(np.asarray(factor, dtype=np.float64), norm)
        return rest is None and least >= _ACCURATE

    def _factorise_double(self, root: Array) -> None:
        gram = scaled_gram(self.X, root)
        norm = np.sqrt(gram.diagonal())
        factor, info = lapack.dpotrf(gram.T, lower=1, clean=0, overwrite_a=1)
        least = float((factor.diagonal() / norm).min()) if info == 0 else 0.0
        if least >= _TRUSTED_DOUBLE:
            self._apply = _cholesky_solver(factor, None)
            # The conditioning often improves on the way.
            if least >= 4.0 * _TRUSTED_SINGLE:
                self.level = self.first
        else:
            self._apply, self.at = _orthogonal_solver(self.X, root, norm), None

    def _conjugate_gradients(
        self, weight: Array, rhs: Array, reduction: float
    ) -> tuple[Array, Array] | None:
        """Return about K^-1 rhs and X^T K^-1 rhs, or None if that takes long."""
        assert self._apply is not None
        X, apply = self.X, self._apply
        size = float(np.max(np.abs(rhs)))
        if not 0.0 < size < math.inf:
            return None
        rest = rhs / size
        step, move = np.zeros_like(rest), np.zeros(X.shape[1])
        ahead = apply(rest)
        direction = ahead
        energy = first = float(rest @ ahead)
        for _ in range(_INNER_STEPS):
            image = transposed_product(X, direction)
            pushed = product(X, weight * image)
            curvature = float(direction @ pushed)
            if not curvature > 0.0:
                return None
            length = energy / curvature
            step += length * direction
            move += length * image
            rest -= length * pushed
            ahead = apply(rest)
            energy, former = float(rest @ ahead), energy
            if energy <= reduction**2 * first:
                return step * size, move * size
            direction = ahead + energy / former * direction
        return None


def _cholesky_solver(factor: Array, norm: Array | None) -> Callable[[Array], Array]:
    def apply(rhs: Array) -> Array:
        if norm is None:
            return np.asarray(lapack.dpotrs(factor, rhs, lower=1)[0])
        return np.asarray(lapack.dpotrs(factor, rhs / norm, lower=1)[0] / norm)

    return apply


def _orthogonal_solver(X: Matrix, root: Array, norm: Array) -> Callable[[Array], Array]:
    if not np.all(norm > 0.0):
        raise linalg.LinAlgError("a row of X has no weight")
    upper, pivot = pivoted_triangle(X, root, 1.0 / norm)
    if not np.all(np.abs(np.diag(upper)) > 0.0):
        raise linalg.LinAlgError("the weighted rows are linearly dependent")

    def apply(rhs: Array) -> Array:
        half = linalg.solve_triangular(upper, (rhs / norm)[pivot], trans="T", check_finite=False)
        out = np.empty_like(half)
        out[pivot] = linalg.solve_triangular(upper, half, check_finite=False)
        return out / norm

    return apply
