"""Sharpness of an interpolating diagonal linear network.

At X beta = y the loss Hessian in (u, v) is J^T J/n with J = [X diag(v), X diag(u)], so its nonzero
spectrum is that of (1/n) X diag(u^2 + v^2) X^T, and u^2 + v^2 = sqrt(4 beta^2 + alpha_eff^4)
(THEORY section 5).  The same holds at a least-squares limit, where X^T r = 0.
"""

from __future__ import annotations

import math
from typing import cast

import numba
import numpy as np
from scipy import linalg
from scipy.linalg import lapack

from .._threads import single_threaded
from ..design import Array, Matrix, scaled_gram, transposed
from .dual.normal_matrix import is_small
from .primitives.gram import weighted_square


@single_threaded
def hessian_spectrum(X: Matrix, beta: Array, log_alpha_effective: Array) -> Array:
    """Return the min(n, d) largest eigenvalues of the loss Hessian, descending.

    Parameters
    ----------
    X : array or sparse array, shape (n, d)
        Design matrix.
    beta : ndarray, shape (d,)
        An interpolator or least-squares solution.
    log_alpha_effective : ndarray, shape (d,)
        log alpha_eff, so that w_plus w_minus = alpha_eff^2/2.

    Returns
    -------
    ndarray, shape (min(n, d),)
        Units of the loss per squared weight; the other 2d - min(n, d) eigenvalues are zero.
    """
    return cast(Array, linalg.eigvalsh(_gram(X, beta, log_alpha_effective))[::-1])


@single_threaded
def largest_and_trace(X: Matrix, beta: Array, log_alpha_effective: Array) -> tuple[float, float]:
    """Return the largest eigenvalue and the trace of the loss Hessian at beta (arguments as above).

    The trace is (1/n) sum_j ||X_j||^2 sqrt(4 beta_j^2 + alpha_eff,j^4).
    """
    gram = _gram(X, beta, log_alpha_effective)
    trace = float(np.trace(gram))
    eigenvalues, *_ = lapack.dsyevd(gram.T, compute_v=0, overwrite_a=1)
    return float(eigenvalues[-1]), trace


def stability_edge(step_size: float, rho: float = 0.0) -> float:
    """Return the sharpness at which a fixed point of gradient descent with SAM loses stability.

    Solves step_size (lambda + rho lambda^2) = 2 (unnormalised n-SAM; Agarwala and Dauphin 2023);
    2/step_size for rho = 0.
    """
    if rho == 0.0:
        return 2.0 / step_size
    return 4.0 / (step_size * (1.0 + math.sqrt(1.0 + 8.0 * rho / step_size)))


def _gram(X: Matrix, beta: Array, log_alpha_effective: Array) -> Array:
    """Gram matrix of the smaller size, (1/n) X W X^T or (1/n) W^1/2 X^T X W^1/2."""
    n, d = X.shape
    if n <= d and is_small(X):
        return cast(Array, _small_gram(X, beta, log_alpha_effective))
    root = np.sqrt(np.hypot(2.0 * beta, np.exp(2.0 * log_alpha_effective)) / n)
    # Balanced for n > d as well: both Gram matrices have the same nonzero spectrum.
    return scaled_gram(X, root) if n <= d else scaled_gram(transposed(X), np.ones(n), root)


@numba.njit(cache=True)
def _small_gram(X, beta, log_alpha):  # type: ignore[no-untyped-def]
    root = np.empty_like(beta)
    for j in range(beta.shape[0]):
        root[j] = math.sqrt(math.hypot(2.0 * beta[j], math.exp(2.0 * log_alpha[j])) / X.shape[0])
    return weighted_square(X, root)
