"""How far computed labels are from the projection of y on the range of X: a proved bound.

Labels outside the range are replaced by their projection P y, known only to rounding. With C some
columns of X that span the range and any b,

    P y - C b = C (C^T C)^-1 C^T (y - C b),   ||P y - C b||_2^2 = g^T (C^T C)^-1 g,

g = C^T (y - C b): residuals in twice the working precision and a verified factor of C^T C bound it.
Where X has numerically, not exactly, fewer independent columns than its shape allows, P is the
projection on the span of ``rank`` of them.
"""

from __future__ import annotations

import numpy as np
from scipy import linalg

from ...design import Array, Matrix
from ...row_space import RowSpace, dense
from .compensated import UNIT, dual_image, residual_pair
from .verified import VerifiedFactor

_REFINEMENTS = 3


def label_errors(X: Matrix, space: RowSpace) -> Array:
    """Return bounds on |y_range - P y| over the independent rows, (rank,); infinite without proof.

    They are zero where y is in the range of X, for then the labels are y.
    """
    rank = space.rank
    if space.consistent or rank == 0:
        return np.zeros(rank)
    columns = _independent_columns(dense(X), rank)
    n = columns.shape[1]
    factor = VerifiedFactor(columns, np.ones(n))
    if not factor.defect < 1.0:
        return np.full(rank, np.inf)
    b, low, none = np.zeros(rank), np.zeros(rank), np.zeros(n)
    high, rest, rounding = dual_image(columns, b, low, none)
    for _ in range(_REFINEMENTS):
        total = b + (step := factor.fit((space.y - high) - rest))
        back = total - b
        low = low + ((b - (total - back)) + (step - back))
        b = total
        high, rest, rounding = dual_image(columns, b, low, none)
    left = (space.y - high) - rest
    error = rounding + 4.0 * UNIT * (np.abs(left) + np.abs(rest))
    inside = factor.root[0] * factor.correction_norm(*residual_pair(columns, left, np.zeros(rank)))
    # The projection of the errors is not longer than they are.
    away = inside + float(np.linalg.norm(error)) * (1.0 + 1e-10)
    apart = (space.y_range - high) - rest
    bounds = np.abs(apart) + 4.0 * UNIT * (np.abs(apart) + np.abs(rest)) + rounding + away
    return np.asarray(bounds[space.rows] * (1.0 + 1e-10))


def _independent_columns(X: Array, rank: int) -> Array:
    """Return ``rank`` independent columns of X as the rows of a contiguous array."""
    if rank == X.shape[1]:
        return np.ascontiguousarray(X.T)
    pivots = linalg.qr(X, mode="r", pivoting=True, check_finite=False)[1]
    return np.ascontiguousarray(X[:, np.sort(pivots[:rank])].T)
