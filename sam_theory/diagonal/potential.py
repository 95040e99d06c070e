"""The potential of a diagonal linear network and its relatives, accurate at every scale.

Array front of the printed scalar formulas (:mod:`.formulas`, derived in :mod:`.derivation`):

    phi_alpha(beta) = sum_j [ (1/2) beta_j arcsinh(2 beta_j/alpha_j^2)
                              - (1/4) sqrt(4 beta_j^2 + alpha_j^4) + alpha_j^2/4 ]

(Woodworth et al. 2020, Theorem 1, with this project's alpha).  beta and phi carry the same unit,
alpha its square root; mirror images are dimensionless.  Every function broadcasts its arguments and
raises InputError for arguments that are not finite or out of range.
"""

from __future__ import annotations

import math
from typing import Any

import numba
import numpy as np
import numpy.typing as npt

from ..errors import InputError
from . import formulas

Array = npt.NDArray[np.float64]


@numba.njit(cache=True)
def _fill_potential(beta: Array, alpha: Array, out: Array) -> None:
    for j in range(out.size):
        out[j] = formulas.potential(beta[j], alpha[j])


@numba.njit(cache=True)
def _fill_mirror_map(beta: Array, alpha: Array, out: Array) -> None:
    for j in range(out.size):
        out[j] = formulas.mirror_map(beta[j], alpha[j])


@numba.njit(cache=True)
def _fill_hessian(beta: Array, alpha: Array, out: Array) -> None:
    for j in range(out.size):
        out[j] = formulas.hessian(beta[j], alpha[j])


@numba.njit(cache=True)
def _fill_inverse(xi: Array, alpha: Array, out: Array) -> None:
    for j in range(out.size):
        out[j] = formulas.inverse_mirror_map(xi[j], alpha[j])


@numba.njit(cache=True)
def _fill_conjugate(xi: Array, alpha: Array, out: Array) -> None:
    for j in range(out.size):
        out[j] = formulas.conjugate(xi[j], alpha[j])


@numba.njit(cache=True)
def _fill_bregman(beta: Array, beta0: Array, alpha: Array, out: Array) -> None:
    for j in range(out.size):
        out[j] = formulas.bregman(beta[j], beta0[j], alpha[j])


@numba.njit(cache=True)
def _fill_flow(beta: Array, alpha: Array, time: Array, out: Array, area: Array) -> None:
    for j in range(out.size):
        out[j], area[j] = formulas.orthonormal_flow(beta[j], alpha[j], time[j])


@numba.njit(cache=True)
def _fill_depth_h(z: Array, depth: Array, out: Array) -> None:
    for j in range(out.size):
        out[j] = formulas.depth_h(z[j], depth[j])


@numba.njit(cache=True)
def _fill_depth_inverse(value: Array, depth: Array, out: Array) -> None:
    """Solve h_D(z) = value by Newton in z, or in log(1 - z) above z = 1/2."""
    for j in range(out.size):
        target, power = abs(value[j]), depth[j] / (depth[j] - 2.0)
        if formulas.depth_h(0.5, depth[j]) >= target:
            # h is convex and above 2 sinh(power arctanh z): Newton descends from here.
            z = math.tanh(math.asinh(0.5 * target) / power)
            for _ in range(60):
                slope = power * ((1.0 - z) ** (-power - 1.0) + (1.0 + z) ** (-power - 1.0))
                step = (formulas.depth_h(z, depth[j]) - target) / slope
                z -= step
                if abs(step) <= 2e-16 * abs(z):
                    break
        else:
            # h is (1 - z)^-p up to a bounded term: Newton on the logarithm in log(1 - z).
            log_gap = -math.log(target) / power
            for _ in range(60):
                near = math.exp(log_gap)
                far = (2.0 - near) ** (-power)
                main = math.exp(-power * log_gap)
                change = (math.log(main - far) - math.log(target)) * (main - far)
                slope = -power * main - power * far * near / (2.0 - near)
                log_gap -= change / slope
                if abs(change / slope) <= 1e-16 * (1.0 + abs(log_gap)):
                    break
            z = -math.expm1(log_gap)
        out[j] = math.copysign(z, value[j])


def potential_terms(beta: npt.ArrayLike, alpha: npt.ArrayLike) -> Array:
    """Return phi_alpha coordinate by coordinate, shape of the broadcast arguments."""
    return _apply(_fill_potential, _finite("beta", beta), _scale(alpha))


def potential(beta: npt.ArrayLike, alpha: npt.ArrayLike) -> float:
    """Return phi_alpha(beta), the sum over the coordinates."""
    return float(np.sum(potential_terms(beta, alpha)))


def mirror_map(beta: npt.ArrayLike, alpha: npt.ArrayLike) -> Array:
    """Return grad phi = (1/2) arcsinh(2 beta/alpha^2), dimensionless."""
    return _apply(_fill_mirror_map, _finite("beta", beta), _scale(alpha))


def inverse_mirror_map(xi: npt.ArrayLike, alpha: npt.ArrayLike) -> Array:
    """Return beta = (alpha^2/2) sinh(2 xi)."""
    return _apply(_fill_inverse, _finite("xi", xi), _scale(alpha))


def hessian(beta: npt.ArrayLike, alpha: npt.ArrayLike) -> Array:
    """Return the diagonal of the Hessian of phi, 1/sqrt(4 beta^2 + alpha^4)."""
    return _apply(_fill_hessian, _finite("beta", beta), _scale(alpha))


def conjugate_terms(xi: npt.ArrayLike, alpha: npt.ArrayLike) -> Array:
    """Return (alpha^2/4) (cosh(2 xi) - 1) coordinate by coordinate."""
    return _apply(_fill_conjugate, _finite("xi", xi), _scale(alpha))


def conjugate(xi: npt.ArrayLike, alpha: npt.ArrayLike) -> float:
    """Return phi*(xi), the sum over the coordinates."""
    return float(np.sum(conjugate_terms(xi, alpha)))


def bregman_terms(beta: npt.ArrayLike, beta0: npt.ArrayLike, alpha: npt.ArrayLike) -> Array:
    """Return D_phi(beta, beta0) coordinate by coordinate, without cancellation."""
    first, second = _finite("beta", beta), _finite("beta0", beta0)
    return _apply(_fill_bregman, first, second, _scale(alpha))


def bregman(beta: npt.ArrayLike, beta0: npt.ArrayLike, alpha: npt.ArrayLike) -> float:
    """Return D_phi(beta, beta0) = phi(beta) - phi(beta0) - <grad phi(beta0), beta - beta0>."""
    return float(np.sum(bregman_terms(beta, beta0, alpha)))


def orthonormal_flow(beta_star: npt.ArrayLike, alpha: npt.ArrayLike, t: npt.ArrayLike) -> Array:
    """Return beta(t) of gradient flow on an orthonormal design (X^T X = n I) towards beta_star.

    Solves beta' = -(beta - beta_star) sqrt(4 beta^2 + alpha^4), beta(0) = 0 (THEORY section 5).
    """
    return _orthonormal(beta_star, alpha, t)[0]


def orthonormal_delta(beta_star: npt.ArrayLike, alpha: npt.ArrayLike, t: npt.ArrayLike) -> Array:
    """Return int_0^t (beta(s) - beta_star)^2 ds along :func:`orthonormal_flow`."""
    return _orthonormal(beta_star, alpha, t)[1]


def depth_h(z: npt.ArrayLike, depth: npt.ArrayLike) -> Array:
    """Return h_D(z) = (1-z)^(-D/(D-2)) - (1+z)^(-D/(D-2)) for |z| < 1, D > 2."""
    inside = _finite("z", z)
    if np.any(np.abs(inside) >= 1.0):
        raise InputError("z must lie strictly between -1 and 1")
    return _apply(_fill_depth_h, inside, _depth(depth))


def depth_mirror_map(beta: npt.ArrayLike, alpha: npt.ArrayLike, depth: npt.ArrayLike) -> Array:
    """Return q_D'(beta/alpha^D) = h_D^{-1}(beta/alpha^D), in (-1, 1), for beta = w+^D - w-^D.

    Source: Woodworth et al. (2020), Theorem 3; w+(0) = w-(0) = alpha.
    """
    power = _depth(depth)
    with np.errstate(over="ignore", under="ignore", divide="ignore", invalid="ignore"):
        value = _finite("beta", beta) / _scale(alpha) ** power
    if not np.all(np.isfinite(value)):
        raise InputError("beta/alpha^depth is too large for the mirror map to differ from 1")
    return _apply(_fill_depth_inverse, value, power)


def _orthonormal(
    beta_star: npt.ArrayLike, alpha: npt.ArrayLike, t: npt.ArrayLike
) -> tuple[Array, Array]:
    times = _finite("t", t)
    if np.any(times < 0.0):
        raise InputError("t must be >= 0")
    goal, scale, at = np.broadcast_arrays(_finite("beta_star", beta_star), _scale(alpha), times)
    out, area = np.empty(goal.size), np.empty(goal.size)
    _fill_flow(goal.ravel(), scale.ravel(), at.ravel(), out, area)
    return out.reshape(goal.shape), area.reshape(goal.shape)


def _apply(fill: Any, *arguments: Array) -> Array:
    wide = np.broadcast_arrays(*arguments)
    out = np.empty(wide[0].size)
    fill(*(array.ravel() for array in wide), out)
    return out.reshape(wide[0].shape)


def _finite(name: str, value: npt.ArrayLike) -> Array:
    try:
        array = np.asarray(value, dtype=np.float64)
    except (TypeError, ValueError):
        raise InputError(f"{name} must hold real numbers") from None
    if not np.all(np.isfinite(array)):
        raise InputError(f"{name} must be finite")
    return array


def _scale(alpha: npt.ArrayLike) -> Array:
    array = _finite("alpha", alpha)
    if not np.all(array > 0.0):
        raise InputError("alpha must be positive")
    return array


def _depth(depth: npt.ArrayLike) -> Array:
    array = _finite("depth", depth)
    if not np.all(array > 2.0):
        raise InputError("depth must be greater than 2")
    return array
