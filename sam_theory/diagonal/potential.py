"""The potential of a diagonal linear network and its relatives (first version, plain NumPy)."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]


def potential_terms(beta: npt.ArrayLike, alpha: npt.ArrayLike) -> Array:
    """Potential of each coordinate."""
    b, a = np.broadcast_arrays(np.asarray(beta, float), np.asarray(alpha, float))
    z = 2.0 * (b / a) / a
    return np.asarray(0.5 * b * (np.arcsinh(z) - z / (1.0 + np.hypot(1.0, z))))


def potential(beta: npt.ArrayLike, alpha: npt.ArrayLike) -> float:
    """Sum over the coordinates."""
    return float(np.sum(potential_terms(beta, alpha)))


def orthonormal_flow(beta_star: npt.ArrayLike, alpha: npt.ArrayLike, t: npt.ArrayLike) -> Array:
    """Gradient flow on an orthonormal design."""
    b, a = np.asarray(beta_star, float), np.asarray(alpha, float)
    w = np.exp(np.arcsinh(2.0 * b / a**2))
    x = np.sqrt(4.0 * b * b + a**4) * t
    up = -np.expm1(-x) * (w - 1.0 / w) / ((w - 1.0) * np.exp(-x) + 1.0 + 1.0 / w)
    return np.asarray(a**2 / 4.0 * ((1.0 + up) - 1.0 / (1.0 + up)))


def orthonormal_delta(beta_star: npt.ArrayLike, alpha: npt.ArrayLike, t: npt.ArrayLike) -> Array:
    """Integral of (beta(s) - beta_star)^2 over (0, t)."""
    b = np.asarray(beta_star, float)
    now = orthonormal_flow(b, alpha, t)
    theta = np.arcsinh(2.0 * now / np.asarray(alpha, float) ** 2)
    return np.asarray(potential_terms(now, alpha) + 0.5 * theta * (b - now))
