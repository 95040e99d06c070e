"""Which part of X beta = y can be solved: rank, independent rows, solvable labels."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ._validate import checked_matrix, checked_vector
from .errors import InputError

Array = npt.NDArray[np.float64]

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
    """

    rank: int
    rows: npt.NDArray[np.intp]
    y_range: Array
    consistent: bool
    residual: float


def row_space(X: npt.ArrayLike, y: npt.ArrayLike) -> RowSpace:
    """Numerical rank, independent rows and solvable part of X beta = y.

    Parameters
    ----------
    X : (n, d) array
        Finite design matrix.
    y : (n,) array
        Finite target.

    Returns
    -------
    RowSpace
        Rank by singular values, rows by QR with column pivoting of X^T.

    Raises
    ------
    InputError
        X or y is not finite, not real, not of matching shape, or too large or small to be
        factorised without overflow (largest entry outside 1e-100 .. 1e100).
    """
    X, y = checked_matrix(X), checked_vector("y", y)
    n, d = X.shape
    if y.shape[0] != n:
        raise InputError(f"y has length {y.shape[0]} but X has {n} rows")
    for name, values in (("X", X), ("y", y)):
        largest = float(np.max(np.abs(values)))
        if largest and not MAGNITUDES[0] <= largest <= MAGNITUDES[1]:
            low, high = MAGNITUDES
            raise InputError(
                f"the largest entry of {name} is {largest:.3g}, outside {low:g} .. {high:g}"
            )
    from scipy.linalg import qr

    tolerance = max(n, d) * np.finfo(np.float64).eps
    # The triangular factor has the singular values of X at the cost of one QR.
    factor = qr(X.T if n <= d else X, mode="r", check_finite=False)[0][: min(n, d)]
    singular = np.linalg.svd(factor, compute_uv=False)
    rank = int(np.count_nonzero(singular > tolerance * singular[0]))
    if rank == n:
        return RowSpace(rank, np.arange(n), y, True, 0.0)

    left = np.linalg.svd(X, full_matrices=False)[0][:, :rank]
    unit = float(np.max(np.abs(y))) or 1.0
    scaled = y / unit
    projection = left @ (left.T @ scaled)
    gap = float(np.linalg.norm(scaled - projection))
    consistent = gap <= CONSISTENCY_TOLERANCE * float(np.linalg.norm(scaled))
    pivots = qr(X.T, mode="r", pivoting=True, check_finite=False)[1]
    rows = np.sort(np.asarray(pivots[:rank], dtype=np.intp))
    return RowSpace(rank, rows, y if consistent else projection * unit, consistent, gap * unit)
