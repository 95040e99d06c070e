"""Largest eigenvalue of the Hessian by Lanczos iteration on Hessian-vector products.

A product is a central difference of exact gradients,

    H v = ( grad(w + h v) - grad(w - h v) ) / 2h + O(h^2 + u / h),      ||v|| = 1,

with h balancing the truncation against the rounding unit u: 1e-4 in float64 (relative error about
1e-8 on smooth networks) and 1e-2 in float32 (about 1e-3). Networks with ReLU have kinks, across
which the difference averages the slopes: there it is the curvature at the scale h.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from sam_theory._threads import single_threaded
from sam_theory._validate import checked_number
from sam_theory.errors import InputError

from .network import Network, Regularizer

STEPS = {"float32": 1e-2, "float64": 1e-4}


@dataclass(frozen=True)
class TopEigenvalue:
    """Result of the iteration.

    Attributes
    ----------
    value : float
        Largest (algebraic) Ritz value.
    residual : float
        ||H v - value v|| for its unit vector: an eigenvalue lies within it, up to the error of the
        products.
    vector : array of shape (size,)
    products : int
        Hessian-vector products used.
    converged : bool
        Whether residual <= tol |value|.
    """

    value: float
    residual: float
    vector: Any
    products: int
    converged: bool


def hessian_product(
    network: Network, weights: Any, buffers: Any, images: Any, labels: Any, *,
    regularizer: Regularizer | None = None, step: float | None = None,
    micro_batch: int | None = None,
) -> Callable[[Any], Any]:  # fmt: skip
    """Return the function v -> H v of the objective in evaluation mode.

    Parameters
    ----------
    network, weights, buffers, images, labels
        As in :func:`sam_theory.deep.sharpness.m_sharpness`; the loss is the mean over all images.
    regularizer : Regularizer, optional
        Added to the loss; none by default.
    step : float, optional
        h along the unit vector; by precision, see the module.
    micro_batch : int, optional
        Images at once.

    Returns
    -------
    callable
        From an array of shape (size,), v != 0, to one.

    Raises
    ------
    InputError
        The step is not positive and finite.
    """
    h = STEPS[network.backend.precision] if step is None else checked_number("step", step)
    if h <= 0.0:
        raise InputError(f"step must be positive, not {step!r}")
    vectors, xp = network.vectors, network.xp
    point, high, low = (xp.empty_like(weights) for _ in range(3))

    def product(v: Any) -> Any:
        norm = vectors.norm(v)
        for sign, out in ((1.0, high), (-1.0, low)):
            vectors.combine(weights, sign * h / norm, v, point)
            network.gradient(
                point, images, labels, out, buffers=buffers, batch_statistics=False,
                regularizer=regularizer, micro_batch=micro_batch,
            )  # fmt: skip
        return (high - low) * weights.dtype.type(norm / (2.0 * h))

    return product


@single_threaded
def top_eigenvalue(
    product: Callable[[Any], Any], start: Any, *, max_steps: int = 50, tol: float = 1e-3
) -> TopEigenvalue:
    """Find the largest eigenvalue by Lanczos iteration with full orthogonalisation.

    Parameters
    ----------
    product : callable
        v -> H v, H symmetric.
    start : array of shape (size,)
        Start vector, not 0; a random one meets every eigenvector.
    max_steps : int
        Largest number of products, >= 1; as many vectors are kept.
    tol : float
        Relative residual at which it stops, > 0.

    Returns
    -------
    TopEigenvalue
        With its residual, which bounds the error.

    Raises
    ------
    InputError
        The start vector is 0 or not finite, a product is not finite, or max_steps < 1.
    """
    if max_steps < 1:
        raise InputError(f"max_steps must be an integer >= 1, not {max_steps!r}")
    norm = math.sqrt(float((start.astype("float64") ** 2).sum()))
    if not (math.isfinite(norm) and norm > 0):
        raise InputError("the start vector must be finite and not 0")
    basis = [start / start.dtype.type(norm)]
    diagonal: list[float] = []
    side: list[float] = []
    value, residual, weights = math.nan, math.inf, np.ones(1)
    for k in range(min(max_steps, start.size)):
        w = product(basis[k])
        diagonal.append(_dot(w, basis[k]))
        for _ in range(2):
            for v in basis:
                w = w - w.dtype.type(_dot(w, v)) * v
        square = _dot(w, w)
        if not math.isfinite(square):
            raise InputError(
                f"product {k + 1} with the Hessian is not finite: the weights, or the step of the "
                "difference, are too large"
            )
        beta = math.sqrt(square)
        matrix = np.diag(diagonal) + np.diag(side, 1) + np.diag(side, -1)
        values, columns = np.linalg.eigh(matrix)
        value, weights = float(values[-1]), columns[:, -1]
        residual = abs(beta * weights[-1])
        scale = max(abs(values[0]), abs(values[-1]))
        if residual <= tol * abs(value) or beta <= 1e-14 * scale:
            break
        side.append(beta)
        basis.append(w / w.dtype.type(beta))
    vector = sum(v.dtype.type(c) * v for c, v in zip(weights, basis, strict=False))
    return TopEigenvalue(value, residual, vector, len(diagonal), residual <= tol * abs(value))


def _dot(x: Any, y: Any) -> float:
    return float((x.astype("float64") * y.astype("float64")).sum())
