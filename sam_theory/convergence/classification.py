"""Logistic regression, and a bounded loss that is not convex."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from sam_theory._validate import checked_number, checked_vector
from sam_theory.convergence.constants import Constants, bound, exact
from sam_theory.convergence.problems import Array, Problem
from sam_theory.convergence.regression import _data
from sam_theory.errors import InputError

_NEWTON_STEPS = 100
_STEEPEST = 9.0 / (16.0 * np.sqrt(3.0))
"""Largest slope of r^2/(2(1 + r^2)), at r = 1/sqrt 3."""


def logistic(
    X: npt.ArrayLike,
    y: npt.ArrayLike,
    *,
    l2: float = 0.0,
    start: npt.ArrayLike | None = None,
    name: str | None = None,
) -> Problem:
    """Logistic regression, l_i = log(1 + exp(-y_i x_i.w)) + (l2/2) |w|^2.

    The logistic function has second derivative at most 1/4, hence beta = max |x_i|^2/4 + l2
    (attained at margin 0) and beta_mean <= |X|_2^2/(4n) + l2. With l2 > 0 the loss is l2-strongly
    convex, so mu = l2 holds, and L* follows from Newton's method with the certificate L(w) - L* <=
    |grad L(w)|^2/(2 l2). Without it there is no mu, and 0 is a lower bound of L*. Gradients of the
    logistic part are shorter than |x_i|, hence sigma^2 <= mean |x_i|^2 everywhere.

    Parameters
    ----------
    X : array of shape (n, d)
        Rows are examples.
    y : array of shape (n,)
        Labels, -1 or 1.
    l2 : float
        Weight of (l2/2) |w|^2 in every l_i, >= 0.
    start : array of shape (d,), optional
        Where runs begin, 0 by default.
    name : str, optional
        In tables.

    Returns
    -------
    Problem
        With the constants above.

    Raises
    ------
    InputError
        The data do not fit, a label is neither -1 nor 1, or l2 is negative.

    Examples
    --------
    >>> from sam_theory import convergence as rates
    >>> made = rates.logistic([[1.0, 2.0], [2.0, 0.0]], [1, -1], l2=0.1)
    >>> made.constants.beta.value, made.constants.mu.value
    (1.35, 0.1)
    """
    from sam_theory.convergence.objectives import COMPILED

    matrix, labels = _data(X, y)
    weight = checked_number("l2", l2)
    if weight < 0.0:
        raise InputError(f"l2 must be >= 0, not {weight:g}")
    wrong = ~np.isin(labels, (-1.0, 1.0))
    if wrong.any():
        row = int(np.argmax(wrong))
        raise InputError(f"labels must be -1 or 1, row {row + 1} has {labels[row]:g}")
    n, d = matrix.shape
    norms = np.sum(matrix**2, axis=1)
    if weight > 0.0:
        minimum = bound(
            _least_logistic(matrix, labels, weight),
            "L(w) - |grad L(w)|^2/(2 l2) after Newton's method",
        )
    else:
        minimum = bound(0.0, "the loss is not negative")
    constants = Constants(
        beta=exact(norms.max() / 4.0 + weight, "max |x_i|^2/4 + l2, attained at margin 0"),
        beta_mean=bound(
            np.linalg.norm(matrix, 2) ** 2 / (4.0 * n) + weight, "|X|_2^2/(4n) + l2, exact at w = 0"
        ),
        minimum=minimum,
        mu=bound(weight, "L is l2-strongly convex") if weight > 0.0 else None,
        example_minimum=bound(0.0, "the losses are not negative"),
    )
    variance = bound(norms.mean(), "the slope of log(1 + exp) is below 1: mean |x_i|^2")
    return Problem(
        name=name or ("logistic" if weight else "logistic_plain"),
        about=f"logistic regression, n = {n}, d = {d}, l2 = {weight:g}",
        A=matrix, y=labels, p=np.array([weight]), value=COMPILED["logistic"],
        start=np.zeros(d) if start is None else checked_vector("start", start),
        constants=constants, variance_on=lambda level: variance,
    )  # fmt: skip


def _least_logistic(X: Array, y: Array, l2: float) -> float:
    """Return a lower bound of L* that is sharp to rounding."""
    w = np.zeros(X.shape[1])

    def parts(w: Array) -> tuple[float, Array, Array]:
        margin = y * (X @ w)
        share = np.exp(-np.logaddexp(0.0, margin))
        loss = float(np.mean(np.logaddexp(0.0, -margin)) + 0.5 * l2 * (w @ w))
        return loss, l2 * w - X.T @ (y * share) / len(y), share * (1.0 - share)

    for _ in range(_NEWTON_STEPS):
        loss, gradient, curvature = parts(w)
        hessian = (X.T * curvature) @ X / len(y) + l2 * np.eye(len(w))
        direction = np.linalg.solve(hessian, gradient)
        decrease = float(gradient @ direction)
        step = 1.0
        while step > 1e-10 and parts(w - step * direction)[0] > loss - 0.25 * step * decrease:
            step *= 0.5
        if decrease <= 1e-30 or step <= 1e-10:
            break
        w = w - step * direction
    loss, gradient, _ = parts(w)
    return max(loss - float(gradient @ gradient) / (2.0 * l2), 0.0)


def saturating(
    X: npt.ArrayLike,
    y: npt.ArrayLike,
    *,
    start: npt.ArrayLike | None = None,
    name: str = "saturating",
) -> Problem:
    """Regression with the bounded, non-convex loss l_i = r_i^2/(2 (1 + r_i^2)), r = X w - y.

    Second derivatives (1 - 3 r^2)/(1 + r^2)^3 lie in [-1/4, 1]: beta = max |x_i|^2, attained at
    r_i = 0. Slopes are at most 9/(16 sqrt 3), which bounds the variance everywhere. There is no
    Polyak-Lojasiewicz constant: far away the loss is flat.

    Parameters
    ----------
    X : array of shape (n, d)
        Rows are examples.
    y : array of shape (n,)
        Labels.
    start : array of shape (d,), optional
        Where runs begin, 0 by default.
    name : str
        In tables.

    Returns
    -------
    Problem
        With the constants above.

    Raises
    ------
    InputError
        The data are not finite or do not fit.
    """
    from sam_theory.convergence.objectives import COMPILED

    matrix, labels = _data(X, y)
    n, d = matrix.shape
    norms = np.sum(matrix**2, axis=1)
    constants = Constants(
        beta=exact(norms.max(), "max |x_i|^2, attained at r_i = 0"),
        beta_mean=bound(np.linalg.norm(matrix, 2) ** 2 / n, "|X|_2^2/n"),
        minimum=bound(0.0, "the loss is not negative"),
        example_minimum=bound(0.0, "the losses are not negative"),
    )
    variance = bound(
        _STEEPEST**2 * norms.mean(), "largest slope 9/(16 sqrt 3), squared, times mean |x_i|^2"
    )
    return Problem(
        name=name, about=f"bounded loss r^2/(2(1 + r^2)), n = {n}, d = {d}",
        A=matrix, y=labels, p=np.zeros(1), value=COMPILED["saturating"],
        start=np.zeros(d) if start is None else checked_vector("start", start),
        constants=constants, variance_on=lambda level: variance,
    )  # fmt: skip
