r"""Least squares and ridge regression with exact constants.

L(w) = (1/2n) |X w - y|^2 + (l2/2) |w|^2 has Hessian H = X^T X/n + l2 I: beta_mean and mu are its
largest and its smallest nonzero eigenvalue, beta = max_i |x_i|^2 + l2. The variance is a quadratic
form, sigma^2(w) = (1/n) sum r_i^2 |x_i|^2 - |X^T r/n|^2, and its supremum on an ellipsoid
{L <= level} is the largest value of a quadratic on a ball, which the dual of the trust-region
problem gives exactly (S-lemma). All of it comes from the singular values of X: forming X^T X would
square the condition number.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from sam_theory._validate import checked_matrix, checked_number, checked_vector
from sam_theory.convergence.constants import Constant, Constants, bound, exact
from sam_theory.convergence.problems import Array, Problem
from sam_theory.errors import InputError

_TRUSTED = 1e-8
"""Relative rounding up to which a constant counts as exact."""


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
        With exact beta, mu, L* and supremum of the variance on {L <= level}. Where X is so badly
        conditioned that rounding hides more than 1e-8 of a constant, that constant is a bound on
        the safe side, and labelled so.

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
    factors = _factors(matrix, labels, weight)
    norms = np.sum(matrix**2, axis=1)
    lowest = (
        0.5 * weight * labels**2 / (norms + weight) if weight > 0.0 else _empty_rows(matrix, labels)
    )
    minimum = _minimum(matrix, factors, float(lowest.mean()))
    constants = Constants(
        beta=exact(norms.max() + weight, "max |x_i|^2 + l2"),
        beta_mean=exact(factors.spectrum[0], "largest eigenvalue of X^T X/n + l2 I"),
        minimum=minimum,
        mu=_pl_constant(factors, n, d),
        example_minimum=exact(lowest.mean(), "least values of the l_i in closed form"),
    )

    def variance_on(level: float) -> Constant:
        return _variance(matrix, factors, level - minimum.value)

    kind = "ridge" if weight > 0.0 else "least_squares"
    return Problem(
        name=name or kind,
        about=f"{'ridge regression' if weight else 'least squares'}, n = {n}, d = {d}",
        A=matrix, y=labels, p=np.array([weight]), value=COMPILED["least_squares"],
        start=np.zeros(d) if start is None else checked_vector("start", start),
        constants=constants, variance_on=variance_on,
        features={"solution": factors.solution},
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


@dataclass(frozen=True)
class _Factors:
    """X = U diag(s) V^T without its zero singular values, and what follows from it.

    U (n, k), s (k,), V (d, k); spectrum (k,) = s^2/n + l2, decreasing; l2; coordinates (k,) of y
    in U; rest (n,) of y outside U; solution (d,); rounding: of every singular value.
    """

    U: Array
    s: Array
    V: Array
    spectrum: Array
    l2: float
    coordinates: Array
    rest: Array
    solution: Array
    rounding: float

    @property
    def blur(self) -> Array:
        """Relative rounding of the spectrum."""
        n = len(self.U)
        change = (2.0 * self.s + self.rounding) * self.rounding / n
        return np.asarray(change / self.spectrum)

    @property
    def residual(self) -> Array:
        """X w* - y, without the cancellation of that difference."""
        return -self.rest - self.U @ (self.coordinates * (self.l2 / self.spectrum))


def _factors(X: Array, y: Array, l2: float) -> _Factors:
    n, d = X.shape
    U, s, Vt = np.linalg.svd(X, full_matrices=False)
    rounding = max(n, d) * float(np.finfo(float).eps * s[0])
    # With l2 > 0 no direction is flat, and a wrong rank would be a wrong mu.
    kept = s > (rounding if l2 == 0.0 else -1.0)
    U, s, V = U[:, kept], s[kept], Vt[kept].T
    spectrum = s**2 / n + l2
    coordinates = U.T @ y
    rest = y - U @ coordinates
    if len(s) == n or rest @ rest <= 1e-25 * (y @ y):
        rest = np.zeros(n)
    solution = V @ (coordinates * (s / n / spectrum))
    return _Factors(U, s, V, spectrum, l2, coordinates, rest, solution, rounding)


def _minimum(X: Array, factors: _Factors, lowest: float) -> Constant:
    """L* = (1/2n) (|rest|^2 + sum c_k^2 l2/lambda_k), from below where rounding hides it.

    For every w, |X w - y|^2 >= |rest|^2 - 2 (X^T rest).w, and X^T rest is not 0 but rounding.
    """
    n = len(X)
    parts = factors.coordinates**2 * (factors.l2 / factors.spectrum)
    value = 0.5 * float(factors.rest @ factors.rest + parts.sum()) / n
    leak = float(np.linalg.norm(X.T @ factors.rest) * np.linalg.norm(factors.solution)) / n
    hidden = leak + 0.5 * float(parts @ factors.blur) / n
    if hidden <= _TRUSTED * value:
        return exact(value, "value at the minimum-norm solution")
    return bound(max(value - hidden, lowest), "value at the solution, less its rounding")


def _pl_constant(factors: _Factors, n: int, d: int) -> Constant:
    if factors.l2 > 0.0 and len(factors.s) < d:
        return exact(factors.l2, "l2: X^T X has the eigenvalue 0")
    least = "smallest nonzero eigenvalue of X^T X/n + l2 I"
    if factors.blur[-1] <= _TRUSTED:
        return exact(factors.spectrum[-1], least)
    safe = max(float(factors.s[-1]) - factors.rounding, 0.0) ** 2 / n + factors.l2
    return bound(safe, f"{least}, less its rounding")


def _variance(X: Array, factors: _Factors, height: float) -> Constant:
    """Supremum of sigma^2 on {L - L* <= height}.

    With w = w* + V Lambda^{-1/2} t the set is |t|^2 <= 2 height (directions outside V change
    nothing), and sigma^2 = t^T Q t + b^T t + c.
    """
    n, residual, spectrum = len(X), factors.residual, factors.spectrum
    Z = factors.U * (factors.s / np.sqrt(spectrum))
    norms = np.sum(X**2, axis=1) / n
    mean = (factors.V * (factors.s**2 / n / np.sqrt(spectrum))).T
    Q = (Z.T * norms) @ Z - mean @ mean.T
    gradient = X.T @ residual / n
    b = 2.0 * (Z.T @ (norms * residual) - mean @ gradient)
    c = float(norms @ residual**2 - gradient @ gradient)
    squared = 2.0 * max(height, 0.0)
    value = max(largest_on_ball(0.5 * (Q + Q.T), b, squared) + c, 0.0)
    why = "largest value of the quadratic sigma^2 on the ellipsoid {L <= level} (S-lemma)"
    if len(factors.s) == n or float(factors.blur.max()) <= _TRUSTED:
        return exact(value, why)
    # What rounding of U, at most rounding/s, can change in the residuals.
    change = np.linalg.norm(factors.solution) + np.sqrt(squared / spectrum[-1])
    shift = np.sqrt(norms.max()) * factors.rounding * float(change)
    return bound((np.sqrt(value) + shift) ** 2, f"{why}, and its rounding")


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
