"""Affine transforms of the columns, recorded so that they can be repeated on new rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from sam_theory._validate import checked_matrix, column_label
from sam_theory.design import Array, Matrix
from sam_theory.errors import InputError


@dataclass(frozen=True, eq=False)
class Preprocessing:
    """The affine transform of the columns that a data set has been through.

    Attributes
    ----------
    center : (d,) array
        Subtracted from each column, in the column's units.
    scale : (d,) array
        Divides each centred column, in the column's units; > 0.
    target_center : float
        Subtracted from the target, in its units.
    """

    center: Array
    scale: Array
    target_center: float = 0.0

    def apply(self, X: npt.ArrayLike | Matrix) -> Matrix:
        """Transform raw rows, ``(X - center) / scale``.

        Parameters
        ----------
        X : (k, d) array or sparse array
            Rows in the original units.

        Returns
        -------
        (k, d) array, sparse if X is
            Rows in the units of the fitted coefficients.

        Raises
        ------
        InputError
            The number of columns differs, or X is sparse and ``center`` is not zero.
        """
        rows = checked_matrix(X)
        if rows.shape[1] != self.center.shape[0]:
            raise InputError(f"X has {rows.shape[1]} columns, expected {self.center.shape[0]}")
        if isinstance(rows, np.ndarray):
            moved = rows - self.center
            moved /= self.scale
            return moved
        if np.any(self.center):
            raise InputError("a sparse X cannot be centred, which would make it dense")
        scaled = rows.copy()
        scaled.data /= self.scale[scaled.indices]
        return scaled

    def after(self, first: Preprocessing) -> Preprocessing:
        """Return the transform that applies ``first`` and then this one."""
        return Preprocessing(
            first.center + first.scale * self.center,
            first.scale * self.scale,
            first.target_center + self.target_center,
        )


def fit_columns(
    X: Matrix, center: bool, scale: bool, names: Sequence[str] | None, where: str
) -> tuple[Array, Array]:
    """Return what to subtract from each column and what to divide it by, (d,) each.

    Parameters
    ----------
    X : (n, d) array or sparse array
        Rows in the original units.
    center, scale : bool
        Whether to subtract the mean, and to divide by the standard deviation (about the mean,
        1/n); 0 and 1 otherwise.
    names : sequence of d str or None
        Names of the columns, for messages that begin with ``where``.

    Raises
    ------
    InputError
        A constant column is to be scaled (the message names it), or a sparse X to be centred.
    """
    n, d = X.shape
    dense = isinstance(X, np.ndarray)
    if center and not dense:
        raise InputError(f"{where}a sparse X cannot be centred, which would make it dense")
    high, low = X.max(axis=0), X.min(axis=0)
    if not dense:
        high, low = high.toarray(), low.toarray()
    constant = np.flatnonzero(high == low)
    if scale and constant.size:
        column = column_label(int(constant[0]), names)
        raise InputError(f"{where}{column} is constant and cannot be scaled")
    # A power of two per column: no overflow in sums and squares, and no rounding.
    unit = np.exp2(np.frexp(np.maximum(high, -low))[1] - 1.0)
    middle, deviation = np.zeros(d), np.ones(d)
    if isinstance(X, np.ndarray):
        reduced = X / unit
        if center:
            middle = reduced.mean(axis=0) * unit
        if scale:
            deviation = reduced.std(axis=0) * unit
    elif scale:
        reduced, place = X.data / unit[X.indices], X.indices
        mean = np.bincount(place, reduced, d) / n
        square = np.bincount(place, (reduced - mean[place]) ** 2, d)
        square += (n - np.bincount(place, minlength=d)) * mean**2
        deviation = np.sqrt(square / n) * unit
    return middle, deviation
