"""The potential of a diagonal linear network and its relatives, accurate at every scale.

Array front of the printed scalar formulas (:mod:`.formulas`, derived in :mod:`.derivation`):

    phi_alpha(beta) = sum_j [ (1/2) beta_j arcsinh(2 beta_j/alpha_j^2)
                              - (1/4) sqrt(4 beta_j^2 + alpha_j^4) + alpha_j^2/4 ]

(Woodworth et al. 2020, Theorem 1, with this project's alpha).  beta and phi carry the same unit,
alpha its square root; mirror images are dimensionless.  Every function broadcasts its arguments;
what is not finite, out of range or of shapes that do not fit is an InputError.
"""

from __future__ import annotations

import math
from typing import Any

import numba
import numpy as np
import numpy.typing as npt

from .._validate import real_array, together
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
def _fill_depth_mirror(beta: Array, alpha: Array, depth: Array, out: Array) -> None:
    """Solve h_D(z) = beta/alpha^D by Newton in z, or in log(1 - z) above z = 1/2."""
    for j in range(out.size):
        power = depth[j] / (depth[j] - 2.0)
        root = alpha[j] ** (0.5 * depth[j])  # alpha^D itself may leave the range where z does not
        target = abs(beta[j])
        if target > 0.0:
            target = target / root / root if root > 0.0 else math.inf
        if target > 1e18:
            # h is (1 - z)^-p up to a term below 1, which is lost here.
            level = math.log(target)
            if target == math.inf:
                level = math.log(abs(beta[j])) - depth[j] * math.log(alpha[j])
            z = -math.expm1(-level / power)
        elif formulas.depth_h(0.5, depth[j]) >= target:
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
        out[j] = math.copysign(z, beta[j])


def potential_terms(beta: npt.ArrayLike, alpha: npt.ArrayLike) -> Array:
    """Return phi_alpha coordinate by coordinate.

    Parameters
    ----------
    beta, alpha : array_like
        Point (finite) and scale (positive); units of beta and beta^(1/2).

    Returns
    -------
    ndarray, shape of the broadcast arguments
        Terms of the potential, units of beta; relative error below 1e-15.

    Raises
    ------
    InputError
        If an argument is not finite or out of its range.
    """
    return _apply(_fill_potential, _finite("beta", beta), _scale(alpha))


def potential(beta: npt.ArrayLike, alpha: npt.ArrayLike) -> float:
    """Return phi_alpha(beta), the sum over the coordinates.

    A float, units of beta; arguments and errors as for :func:`potential_terms`.
    """
    return float(np.sum(potential_terms(beta, alpha)))


def mirror_map(beta: npt.ArrayLike, alpha: npt.ArrayLike) -> Array:
    """Return grad phi = (1/2) arcsinh(2 beta/alpha^2).

    Parameters
    ----------
    beta, alpha : array_like
        Point (finite) and scale (positive); units of beta and beta^(1/2).

    Returns
    -------
    ndarray, shape of the broadcast arguments
        Mirror image, dimensionless; relative error below 1e-15.

    Raises
    ------
    InputError
        If an argument is not finite or out of its range.
    """
    return _apply(_fill_mirror_map, _finite("beta", beta), _scale(alpha))


def inverse_mirror_map(xi: npt.ArrayLike, alpha: npt.ArrayLike) -> Array:
    """Return beta = (alpha^2/2) sinh(2 xi), the inverse of :func:`mirror_map`.

    Parameters
    ----------
    xi, alpha : array_like
        Mirror image (dimensionless, finite) and scale (positive, units of beta^(1/2)).

    Returns
    -------
    ndarray, shape of the broadcast arguments
        Point with that mirror image, units of beta; relative error below 1e-15 at the given xi.

    Raises
    ------
    InputError
        If an argument is not finite or out of its range.
    """
    return _apply(_fill_inverse, _finite("xi", xi), _scale(alpha))


def hessian(beta: npt.ArrayLike, alpha: npt.ArrayLike) -> Array:
    """Return the diagonal of the Hessian of phi, 1/sqrt(4 beta^2 + alpha^4).

    Parameters
    ----------
    beta, alpha : array_like
        Point (finite) and scale (positive); units of beta and beta^(1/2).

    Returns
    -------
    ndarray, shape of the broadcast arguments
        Second derivatives, units of 1/beta; relative error below 1e-15.

    Raises
    ------
    InputError
        If an argument is not finite or out of its range.
    """
    return _apply(_fill_hessian, _finite("beta", beta), _scale(alpha))


def conjugate_terms(xi: npt.ArrayLike, alpha: npt.ArrayLike) -> Array:
    """Return phi*, (alpha^2/4) (cosh(2 xi) - 1), coordinate by coordinate.

    Parameters
    ----------
    xi, alpha : array_like
        Mirror image (dimensionless, finite) and scale (positive, units of beta^(1/2)).

    Returns
    -------
    ndarray, shape of the broadcast arguments
        Terms of the conjugate, units of beta; relative error below 1e-15.

    Raises
    ------
    InputError
        If an argument is not finite or out of its range.
    """
    return _apply(_fill_conjugate, _finite("xi", xi), _scale(alpha))


def conjugate(xi: npt.ArrayLike, alpha: npt.ArrayLike) -> float:
    """Return phi*(xi), the sum over the coordinates.

    A float, units of beta; arguments and errors as for :func:`conjugate_terms`.
    """
    return float(np.sum(conjugate_terms(xi, alpha)))


def bregman_terms(beta: npt.ArrayLike, beta0: npt.ArrayLike, alpha: npt.ArrayLike) -> Array:
    """Return D_phi(beta, beta0) coordinate by coordinate, without cancellation.

    Parameters
    ----------
    beta, beta0, alpha : array_like
        Two points (finite, units of beta) and the scale (positive, units of beta^(1/2)).

    Returns
    -------
    ndarray, shape of the broadcast arguments
        Terms >= 0 of the divergence, units of beta; relative error below 1e-14.

    Raises
    ------
    InputError
        If an argument is not finite or out of its range.
    """
    points = _finite("beta", beta), _finite("beta0", beta0)
    return _apply(_fill_bregman, *points, _scale(alpha))


def bregman(beta: npt.ArrayLike, beta0: npt.ArrayLike, alpha: npt.ArrayLike) -> float:
    """Return D_phi(beta, beta0) = phi(beta) - phi(beta0) - <grad phi(beta0), beta - beta0>.

    A float, units of beta; arguments and errors as for :func:`bregman_terms`.
    """
    return float(np.sum(bregman_terms(beta, beta0, alpha)))


def orthonormal_flow(beta_star: npt.ArrayLike, alpha: npt.ArrayLike, t: npt.ArrayLike) -> Array:
    """Return beta(t) of gradient flow on an orthonormal design (X^T X = n I) towards beta_star.

    Solves beta' = -(beta - beta_star) sqrt(4 beta^2 + alpha^4), beta(0) = 0, in closed form
    (docs/theory.md, Closed forms).

    Parameters
    ----------
    beta_star, alpha, t : array_like
        Target (finite, units of beta), scale (positive, beta^(1/2)), time (>= 0, 1/beta).

    Returns
    -------
    ndarray, shape of the broadcast arguments
        beta(t), units of beta.

    Raises
    ------
    InputError
        If an argument is not finite or out of its range.
    """
    return _orthonormal(beta_star, alpha, t)[0]


def orthonormal_delta(beta_star: npt.ArrayLike, alpha: npt.ArrayLike, t: npt.ArrayLike) -> Array:
    """Return int_0^t (beta(s) - beta_star)^2 ds along :func:`orthonormal_flow`.

    Parameters
    ----------
    beta_star, alpha, t : array_like
        Target (finite, units of beta), scale (positive, beta^(1/2)), time (>= 0, 1/beta).

    Returns
    -------
    ndarray, shape of the broadcast arguments
        phi(beta_star) - D_phi(beta_star, beta(t)), units of beta.

    Raises
    ------
    InputError
        If an argument is not finite or out of its range.
    """
    return _orthonormal(beta_star, alpha, t)[1]


def depth_h(z: npt.ArrayLike, depth: npt.ArrayLike) -> Array:
    """Return h_D(z) = (1-z)^(-D/(D-2)) - (1+z)^(-D/(D-2)).

    Parameters
    ----------
    z, depth : array_like
        |z| < 1 and depth D > 2 (any real), dimensionless.

    Returns
    -------
    ndarray, shape of the broadcast arguments
        h_D(z) = beta/alpha^D, dimensionless.

    Raises
    ------
    InputError
        If an argument is not finite or out of its range.
    """
    inside = _finite("z", z)
    _above(0.0, 1.0 - np.abs(inside), "z must lie strictly between -1 and 1")
    return _apply(_fill_depth_h, inside, _depth(depth))


def depth_mirror_map(beta: npt.ArrayLike, alpha: npt.ArrayLike, depth: npt.ArrayLike) -> Array:
    """Return q_D'(beta/alpha^D) = h_D^{-1}(beta/alpha^D), the mirror map of beta = w+^D - w-^D.

    Source: Woodworth et al. (2020), Theorem 3; w+(0) = w-(0) = alpha.

    Parameters
    ----------
    beta, alpha, depth : array_like
        Point (finite), scale (positive, units of beta^(1/D)), depth D > 2 (any real).

    Returns
    -------
    ndarray, shape of the broadcast arguments
        z in (-1, 1), dimensionless; rounded to the nearest double, hence +-1 far out.

    Raises
    ------
    InputError
        If an argument is not finite or out of its range.
    """
    return _apply(_fill_depth_mirror, _finite("beta", beta), _scale(alpha), _depth(depth))


def _orthonormal(
    beta_star: npt.ArrayLike, alpha: npt.ArrayLike, t: npt.ArrayLike
) -> tuple[Array, Array]:
    times = _finite("t", t)
    if np.any(times < 0.0):
        raise InputError("t must be >= 0")
    goal, scale, at = together(_finite("beta_star", beta_star), _scale(alpha), times)
    out, area = np.empty(goal.size), np.empty(goal.size)
    _fill_flow(goal.flatten(), scale.flatten(), at.flatten(), out, area)
    return out.reshape(goal.shape), area.reshape(goal.shape)


def _apply(fill: Any, *arguments: Array) -> Array:
    wide = together(*arguments)
    out = np.empty(wide[0].shape)
    # Copies: numba's look at the flags of a broadcast view makes NumPy warn.
    fill(*(array.flatten() for array in wide), out.reshape(-1))
    return out


def _finite(name: str, value: npt.ArrayLike) -> Array:
    array = np.asarray(real_array(name, value), dtype=np.float64)
    if not np.all(np.isfinite(array)):
        raise InputError(f"{name} must be finite")
    return array


def _scale(alpha: npt.ArrayLike) -> Array:
    return _above(0.0, _finite("alpha", alpha), "alpha must be positive")


def _depth(depth: npt.ArrayLike) -> Array:
    return _above(2.0, _finite("depth", depth), "depth must be greater than 2")


def _above(least: float, array: Array, message: str) -> Array:
    if np.all(array > least):
        return array
    raise InputError(message)
