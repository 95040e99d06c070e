"""The convex problem that the implicit bias solves: argmin phi_alpha over {X beta = y}.

phi_alpha is the hyperbolic entropy; with a shift the problem is
min phi_alpha(beta) - <shift/2, beta> s.t. X beta = y, whose solution is
beta = (alpha^2/2) sinh(X^T mu + shift) (Woodworth et al. 2020, Thm 1; Even et al. 2023 for the
shift).  Rank-deficient X and labels outside its range are answered by the limit of gradient flow,
X^T (X beta - y) = 0, and the status says so.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
from scipy import linalg

from .._threads import single_threaded
from .._validate import checked_matrix, checked_vector
from ..design import Array, Matrix, transposed_product, triangle
from ..row_space import RowSpace, find_row_space
from .certificate import Certificate, certify_rows
from .coordinates import check_shift, checked_coordinates, initial_scale
from .dual.newton import solve_dual
from .dual.newton_steps import entropy_curve

"""Beyond it the squares of sinh(shift), which the normal matrix holds, leave double precision."""


@dataclass(frozen=True, eq=False)
class PotentialMinimum:
    """Minimiser of the potential on the interpolators, with its certificate.

    Attributes
    ----------
    beta : ndarray, shape (d,)
        The minimiser.
    dual : ndarray, shape (n,)
        nu with beta = (alpha^2/2) sinh(2 X^T nu + shift); zero on dependent rows.
    certificate : Certificate
        What is proved about beta, independently of the iteration.
    status : str
        "converged": interpolates; "least_squares": y is not in the range of X, beta minimises the
        potential over the least-squares solutions; "max_steps": the iteration stopped early.
    iterations : int
        Newton steps.
    rank : int
        Numerical rank of X.
    """

    beta: Array = field(repr=False)
    dual: Array = field(repr=False)
    certificate: Certificate
    status: str
    iterations: int
    rank: int


@single_threaded
def minimize_potential(
    X: npt.ArrayLike | Matrix,
    y: npt.ArrayLike,
    alpha: npt.ArrayLike,
    shift: npt.ArrayLike | None = None,
) -> PotentialMinimum:
    """Minimise phi_alpha(beta) - <shift/2, beta> subject to X beta = y.

    Parameters
    ----------
    X : array_like or sparse array, shape (n, d)
        Design matrix of any rank.
    y : array_like, shape (n,)
        Labels.
    alpha : array_like, scalar or shape (d,)
        Scale of the potential, 1e-150 to 1e6, units of beta^(1/2).
    shift : array_like, shape (d,), optional
        Displacement of the mirror image, -300 to 300, dimensionless.

    Returns
    -------
    PotentialMinimum
        The minimiser, how it was found, and its certificate.

    Raises
    ------
    InputError
        If a shape does not fit, a value is not finite, or alpha or shift is outside its range.

    Examples
    --------
    >>> from sam_theory import minimize_potential
    >>> found = minimize_potential([[1.0, 1.0, 0.5]], [1.0], alpha=0.1)
    >>> found.status, found.certificate.error_bound < 1e-12
    ('converged', True)
    >>> found.beta.round(2)  # small alpha: nearly the smallest l1 norm, so the long columns
    array([0.49, 0.49, 0.03])
    """
    matrix = checked_matrix(X)
    space = find_row_space(matrix, checked_vector("y", y))
    d = matrix.shape[1]
    displacement = checked_coordinates("shift", 0.0 if shift is None else shift, d)
    check_shift(displacement)
    return minimize_on_rows(matrix, space, np.log(initial_scale(alpha, d)), displacement)


def minimize_on_rows(
    X: Matrix, space: RowSpace, log_alpha: Array, shift: Array, start: Array | None = None
) -> PotentialMinimum:
    """Solve for a known row space; log_alpha, shift (d,); alpha may be below its public range.

    ``start`` (n,) is a mu to begin with.
    """
    dual, mu = np.zeros(X.shape[0]), None
    if space.rank == 0:
        beta, iterations, converged = _unconstrained(log_alpha, shift), 0, True
    else:
        rows, target = space.independent(X)
        if start is not None and space.rank < X.shape[0]:
            start = _on_independent_rows(X, rows, start)
        found = solve_dual(rows, target, log_alpha, shift, start=start)
        beta, iterations, converged = found.beta, found.iterations, found.converged
        mu = found.mu, found.mu_low
        dual[space.rows] = 0.5 * (found.mu + found.mu_low)
    certificate = certify_rows(X, space, log_alpha, beta, shift, mu)
    status = "converged" if space.consistent else "least_squares"
    return PotentialMinimum(
        beta, dual, certificate, status if converged else "max_steps", iterations, space.rank
    )


def _on_independent_rows(X: Matrix, rows: Matrix, mu: Array) -> Array:
    """Return the (rank,) combination of independent rows of X that is X^T mu, mu (n,)."""
    upper = triangle(rows, np.ones(X.shape[1]), transposed_product(X, mu))
    return np.asarray(linalg.lstsq(upper[:-1, :-1], upper[:-1, -1])[0])


def _unconstrained(log_alpha: Array, shift: Array) -> Array:
    beta, slope = np.empty_like(shift), np.empty_like(shift)
    scale = 0.5 * np.exp(2.0 * log_alpha)
    log_scale = 2.0 * log_alpha - np.log(2.0)
    entropy_curve(shift, np.zeros_like(shift), scale, log_scale, beta, slope)
    return beta
