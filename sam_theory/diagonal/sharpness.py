"""Sharpness of an interpolating diagonal linear network.

At X beta = y the loss Hessian in (u, v) is J^T J/n with J = [X diag(v), X diag(u)], so its nonzero
spectrum is that of (1/n) X diag(u^2 + v^2) X^T, and u^2 + v^2 = sqrt(4 beta^2 + alpha_eff^4)
(THEORY section 5).  The same holds at a least-squares limit, where X^T r = 0.
"""

from __future__ import annotations

import math
from typing import cast

import numpy as np
from scipy import linalg

from .newton import Array


def hessian_spectrum(X: Array, beta: Array, log_alpha_effective: Array) -> Array:
    """Return the min(n, d) largest eigenvalues of the loss Hessian, descending.

    Parameters
    ----------
    X : ndarray, shape (n, d)
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
    n, d = X.shape
    # Balanced for n > d as well: both Gram matrices have the same nonzero spectrum.
    weighted = X * np.sqrt(_weights(beta, log_alpha_effective) / n)
    gram = weighted @ weighted.T if n <= d else weighted.T @ weighted
    return cast(Array, linalg.eigvalsh(gram)[::-1])


def largest_and_trace(X: Array, beta: Array, log_alpha_effective: Array) -> tuple[float, float]:
    """Return the largest eigenvalue and the trace of the loss Hessian at beta (arguments as above).

    The trace is (1/n) sum_j ||X_j||^2 sqrt(4 beta_j^2 + alpha_eff,j^4).
    """
    weights = _weights(beta, log_alpha_effective)
    trace = float(np.einsum("ij,ij,j->", X, X, weights)) / X.shape[0]
    return float(hessian_spectrum(X, beta, log_alpha_effective)[0]), trace


def stability_edge(step_size: float, rho: float = 0.0) -> float:
    """Return the sharpness at which a fixed point of gradient descent with SAM loses stability.

    Solves step_size (lambda + rho lambda^2) = 2 (unnormalised n-SAM; Agarwala and Dauphin 2023);
    2/step_size for rho = 0.
    """
    if rho == 0.0:
        return 2.0 / step_size
    return 4.0 / (step_size * (1.0 + math.sqrt(1.0 + 8.0 * rho / step_size)))


def _weights(beta: Array, log_alpha_effective: Array) -> Array:
    return np.hypot(2.0 * beta, np.exp(2.0 * log_alpha_effective))
