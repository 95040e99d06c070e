"""Which part of X beta = y can be solved: rank, independent rows, solvable labels."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import linalg
from scipy.linalg import lapack

from ._threads import single_threaded
from ._validate import checked_matrix, checked_vector
from .design import (
    DENSE_LIMIT,
    Array,
    Matrix,
    row_largest,
    scaled_gram,
    single_gram,
    single_pays,
    triangle,
)
from .errors import InputError

CONSISTENCY_TOLERANCE = 1e-10
MAGNITUDES = (1e-100, 1e100)


@dataclass(frozen=True, eq=False)
class RowSpace:
    """Which part of X beta = y can be solved.

    Attributes
    ----------
    rank : int
        Numerical rank of X: singular values above max(n, d) eps sigma_max.
    rows : (rank,) int array
        Indices, ascending, of linearly independent rows of X.
    y_range : (n,) array
        Projection of y on the range of X; y itself where the system is consistent.
    consistent : bool
        ``residual <= 1e-10 ||y||_2``.
    residual : float
        ||y - projection||_2, in the units of y; 0 if the rank is n.
    y : (n,) array
        The labels themselves.
    """

    rank: int
    rows: npt.NDArray[np.intp]
    y_range: Array
    consistent: bool
    residual: float
    y: Array

    def independent(self, X: Matrix) -> tuple[Matrix, Array]:
        """Return the independent rows of X (X itself if all are) and their solvable labels."""
        if self.rank == X.shape[0]:
            return X, self.y_range
        return X[self.rows], self.y_range[self.rows]


def row_space(X: npt.ArrayLike | Matrix, y: npt.ArrayLike) -> RowSpace:
    """Numerical rank, independent rows and solvable part of X beta = y.

    Parameters
    ----------
    X : (n, d) array or sparse array
        Finite design matrix.
    y : (n,) array
        Finite target.

    Returns
    -------
    RowSpace
        Rank by singular values (of the triangular factor of X^T, or bounded through the Gram
        matrix where that leaves no doubt), rows by QR with column pivoting of X^T.

    Raises
    ------
    InputError
        X or y is not finite, not real, not of matching shape, or too large or small to be
        factorised without overflow (largest entry outside 1e-100 .. 1e100); X is sparse, has more
        rows than columns and is too large to be made dense.
    """
    return find_row_space(checked_matrix(X), checked_vector("y", y))


def check_magnitude(name: str, values: Array, low: float = MAGNITUDES[0]) -> None:
    """InputError unless values are zero or their largest size is between low and 1e100."""
    size, high = float(np.max(np.abs(values))), MAGNITUDES[1]
    if size and not low <= size <= high:
        raise InputError(f"the largest entry of {name} is {size:.3g}, outside {low:g} .. {high:g}")


@single_threaded
def find_row_space(X: Matrix, y: Array) -> RowSpace:
    """Return :func:`row_space` of checked arguments."""
    n, d = X.shape
    if y.shape[0] != n:
        raise InputError(f"y has length {y.shape[0]} but X has {n} rows")
    largest = row_largest(X)
    check_magnitude("X", largest)
    check_magnitude("y", y)
    tolerance = max(n, d) * float(np.finfo(np.float64).eps)
    if n <= d and _surely_independent(X, largest, tolerance):
        return RowSpace(n, np.arange(n), y, True, 0.0, y)
    # The triangular factor has the singular values, the left singular vectors (as right ones) and
    # the pivots of X at the cost of one QR.
    orthogonal, transposed = None, None
    if n <= d:
        transposed = triangle(X, np.ones(d))
        _, singular, turned = np.linalg.svd(transposed)
        left = turned.T
    else:
        orthogonal, upper = linalg.qr(dense(X), mode="economic", check_finite=False)
        left, singular, _ = np.linalg.svd(upper)
    rank = int(np.count_nonzero(singular > tolerance * singular[0]))
    if rank == n:
        return RowSpace(rank, np.arange(n), y, True, 0.0, y)
    left = left[:, :rank]
    unit = float(np.max(np.abs(y))) or 1.0
    scaled = y / unit
    inside = scaled if orthogonal is None else scaled @ orthogonal
    projection = left @ (inside @ left)
    if orthogonal is not None:
        projection = orthogonal @ projection
        del orthogonal
    gap = float(np.linalg.norm(scaled - projection))
    consistent = gap <= CONSISTENCY_TOLERANCE * float(np.linalg.norm(scaled))
    wide = dense(X).T if transposed is None else transposed
    pivots = linalg.qr(wide, mode="r", pivoting=True, check_finite=False)[1]
    rows = np.sort(np.asarray(pivots[:rank], dtype=np.intp))
    solvable = y if consistent else projection * unit
    return RowSpace(rank, rows, solvable, consistent, gap * unit, y)


def _surely_independent(X: Matrix, largest: Array, tolerance: float) -> bool:
    """Whether a Gram matrix leaves no doubt that the rows (n <= d) are independent.

    That of a few columns of a large dense X is tried first: it bounds singular values from below.
    """
    n, d = X.shape
    if not np.all(largest > 0.0):
        return False
    least = 1e4 * tolerance * float(np.max(largest)) * math.sqrt(n * d)
    single = single_pays(X)
    if single and d >= 8 * n:
        some = np.zeros(d)
        some[:: d // (2 * n)] = 1.0
        if _least_singular_value(X, some, largest, single) > least:
            return True
    return _least_singular_value(X, np.ones(d), largest, single) > least


def _least_singular_value(X: Matrix, column: Array, largest: Array, single: bool) -> float:
    """Return a lower estimate for X diag(column), or 0 where a Gram matrix cannot tell."""
    if single:
        gram, norm = single_gram(X, column, largest)
    else:
        gram = scaled_gram(X, column)
        norm = np.sqrt(gram.diagonal())
        gram /= norm
        gram /= norm[:, None]
    size = float(np.abs(gram).sum(axis=0).max())
    factorise, estimate = (
        (lapack.spotrf, lapack.spocon) if single else (lapack.dpotrf, lapack.dpocon)
    )
    factor, info = factorise(gram.T, lower=1, clean=0, overwrite_a=1)
    if info != 0:
        return 0.0
    # 1/cond of the equilibrated matrix in the 1-norm, a little above that in the 2-norm perhaps.
    reciprocal = float(estimate(factor, size, uplo="L")[0])
    if reciprocal < (1e-3 if single else 1e-8):
        return 0.0
    return math.sqrt(reciprocal) * float(np.min(norm))


def dense(X: Matrix) -> Array:
    """Return X as an array; InputError if it is sparse and too large for that."""
    if isinstance(X, np.ndarray):
        return X
    n, d = X.shape
    if n * d > DENSE_LIMIT:
        raise InputError(f"a sparse X with more rows than columns is too large ({n} x {d})")
    return np.asarray(X.toarray())
