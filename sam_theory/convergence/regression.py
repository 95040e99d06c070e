r"""Least squares and ridge regression with exact constants.

L(w) = (1/2n) |X w - y|^2 + (l2/2) |w|^2 has Hessian H = X^T X/n + l2 I: beta_mean and mu are its
largest and its smallest nonzero eigenvalue, beta = max_i |x_i|^2 + l2. The variance is a quadratic
form, sigma^2(w) = (1/n) sum r_i^2 |x_i|^2 - |X^T r/n|^2, and its supremum on an ellipsoid
{L <= level} is the largest value of a quadratic on a ball, which the dual of the trust-region
problem gives exactly (S-lemma).
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from sam_theory._validate import checked_matrix, checked_number, checked_vector
from sam_theory.convergence.constants import Constant, Constants, exact
from sam_theory.convergence.problems import Array, Problem
from sam_theory.errors import InputError

_RANK = 1e-11
"""Eigenvalues below this share of the largest count as zero."""


def least_squares(
    X: npt.ArrayLike,
    y: npt.ArrayLike,
    *,
    l2: float = 0.0,
    start: npt.ArrayLike | None = None,
    name: str | None = None,
) -> Problem:
    """Least squares (l2 = 0) or ridge regression on any data.

    Parameters
    ----------
    X : array of shape (n, d)
        Rows are examples; any rank.
    y : array of shape (n,)
        Labels; they need not be solvable.
    l2 : float
        Weight of (l2/2) |w|^2 in every l_i, >= 0.
    start : array of shape (d,), optional
        Where runs begin, 0 by default.
    name : str, optional
        In tables.

    Returns
    -------
    Problem
        With exact beta, mu, L* and supremum of the variance on {L <= level}.

    Raises
    ------
    InputError
        The data are not finite or do not fit, X is 0, or l2 is negative.

    Examples
    --------
    >>> from sam_theory import convergence as rates
    >>> made = rates.least_squares([[2.0, 0.0], [0.0, 1.0]], [1.0, 1.0])
    >>> made.constants.beta.value, made.constants.beta_mean.value, made.constants.mu.value
    (4.0, 2.0, 0.5)
    """
    from sam_theory.convergence.objectives import COMPILED

    matrix, labels = _data(X, y)
    n, d = matrix.shape
    weight = checked_number("l2", l2)
    if weight < 0.0:
        raise InputError(f"l2 must be >= 0, not {weight:g}")
    hessian = matrix.T @ matrix / n + weight * np.eye(d)
    eigenvalues, vectors = np.linalg.eigh(hessian)
    kept = eigenvalues > _RANK * eigenvalues[-1]
    spectrum, basis = eigenvalues[kept], vectors[:, kept]
    solution = basis @ ((basis.T @ (matrix.T @ labels / n)) / spectrum)
    residual = matrix @ solution - labels
    minimum = 0.5 * float(residual @ residual) / n + 0.5 * weight * float(solution @ solution)
    if minimum <= 1e-25 * max(float(labels @ labels) / n, 1e-300):
        minimum = 0.0
    norms = np.sum(matrix**2, axis=1)
    lowest = (
        0.5 * weight * labels**2 / (norms + weight) if weight > 0.0 else _empty_rows(matrix, labels)
    )
    constants = Constants(
        beta=exact(norms.max() + weight, "max |x_i|^2 + l2"),
        beta_mean=exact(spectrum[-1], "largest eigenvalue of X^T X/n + l2 I"),
        minimum=exact(minimum, "value at the minimum-norm solution"),
        mu=exact(spectrum[0], "smallest nonzero eigenvalue of X^T X/n + l2 I"),
        example_minimum=exact(lowest.mean(), "least values of the l_i in closed form"),
    )

    def variance_on(level: float) -> Constant:
        return _variance(matrix, residual, spectrum, basis, level - minimum)

    kind = "ridge" if weight > 0.0 else "least_squares"
    return Problem(
        name=name or kind,
        about=f"{'ridge regression' if weight else 'least squares'}, n = {n}, d = {d}",
        A=matrix, y=labels, p=np.array([weight]), value=COMPILED["least_squares"],
        start=np.zeros(d) if start is None else checked_vector("start", start),
        constants=constants, variance_on=variance_on,
        features={"solution": solution},
    )  # fmt: skip


def _data(X: npt.ArrayLike, y: npt.ArrayLike) -> tuple[Array, Array]:
    matrix, labels = checked_matrix(X), checked_vector("y", y)
    if not isinstance(matrix, np.ndarray):
        raise InputError("X must be a dense matrix here")
    if len(labels) != len(matrix):
        raise InputError(f"X has {len(matrix)} rows, y has {len(labels)} entries")
    if not np.any(matrix):
        raise InputError("X is 0")
    return matrix, labels


def _empty_rows(matrix: Array, labels: Array) -> Array:
    """Least value of (1/2)(x_i.w - y_i)^2: 0 unless x_i is 0."""
    return np.where(np.any(matrix, axis=1), 0.0, 0.5 * labels**2)


def _variance(X: Array, residual: Array, spectrum: Array, basis: Array, height: float) -> Constant:
    """Supremum of sigma^2 on {L - L* <= height}.

    With w = w* + B Lambda^{-1/2} s the set is |s|^2 <= 2 height (directions outside the basis
    change nothing), and sigma^2 = s^T Q s + b^T s + c.
    """
    n = len(X)
    Z = X @ (basis / np.sqrt(spectrum))
    norms = np.sum(X**2, axis=1) / n
    mean = Z.T @ X / n
    Q = (Z.T * norms) @ Z - mean @ mean.T
    gradient = X.T @ residual / n
    b = 2.0 * (Z.T @ (norms * residual) - mean @ gradient)
    c = float(norms @ residual**2 - gradient @ gradient)
    return exact(
        largest_on_ball(0.5 * (Q + Q.T), b, 2.0 * max(height, 0.0)) + c,
        "largest value of the quadratic sigma^2 on the ellipsoid {L <= level} (S-lemma)",
    )


def largest_on_ball(Q: Array, b: Array, squared_radius: float) -> float:
    """Return max {s^T Q s + b^T s : |s|^2 <= squared_radius}, exact to rounding and never below.

    The dual function nu r^2 + (1/4) b^T (nu I - Q)^{-1} b, nu >= max(0, largest eigenvalue), is an
    upper bound for every nu, convex, and its minimum is the maximum (S-lemma; also when the
    maximiser is not unique).
    """
    from scipy.optimize import brentq

    if squared_radius <= 0.0:
        return 0.0
    eigenvalues, vectors = np.linalg.eigh(Q)
    weights = (vectors.T @ b) ** 2
    floor = max(float(eigenvalues[-1]), 0.0)

    def dual(nu: float) -> float:
        with np.errstate(divide="ignore", invalid="ignore"):
            terms = np.where(weights > 0.0, weights / (nu - eigenvalues), 0.0)
        return float(nu * squared_radius + 0.25 * np.sum(terms))

    def slope(nu: float) -> float:
        return float(squared_radius - 0.25 * np.sum(weights / (nu - eigenvalues) ** 2))

    scale = max(float(np.max(np.abs(eigenvalues))), 1e-300)
    low = floor + 1e-13 * scale
    if slope(low) >= 0.0:
        return dual(low)
    high = floor + scale + 0.5 * np.sqrt(float(np.sum(weights)) / squared_radius)
    nu = float(brentq(slope, low, high, xtol=1e-14 * scale, rtol=1e-14))
    return dual(nu)
