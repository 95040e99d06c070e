r"""Objective, gradient, Hessian and Hessian-vector products of a ReLU network in closed form.

With r_i = f(x_i) - y_i, masks m_ij = 1[w_j . x_i + b_j > 0] and c = 1 (half_sum) or 1/n (half_mean)

    L = (c/2) sum_i r_i^2,   grad L = c J^T r,   Hess L = c (J^T J + sum_i r_i Hess f(x_i))

where row i of J is grad f(x_i) = (relu(z_ij); a_j m_ij x_i; a_j m_ij), and Hess f(x_i) couples only
a_j with its own (w_j, b_j), by m_ij (x_i, 1). These are the derivatives wherever no w_j . x_i + b_j
is 0; there relu' = relu'' = 0 is used. In plain NumPy, apart from the compiled steps.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from ..errors import InputError
from ..regression import Regression
from .network import Network

Array = npt.NDArray[np.float64]
Objective = Literal["half_sum", "half_mean"]
OBJECTIVES: tuple[Objective, ...] = ("half_sum", "half_mean")


def checked_objective(objective: str) -> Objective:
    """Return the name; InputError if there is none such."""
    for known in OBJECTIVES:
        if objective == known:
            return known
    raise InputError(f"objective must be one of {', '.join(OBJECTIVES)}, not {objective!r}")


def checked_pair(network: Network, data: Regression) -> Array:
    """Return X as a dense array; InputError if network and data do not fit."""
    if not isinstance(data, Regression):
        raise InputError(f"data must be a Regression, not {type(data).__name__}")
    if not isinstance(network, Network):
        raise InputError(f"network must be a Network, not {type(network).__name__}")
    if not isinstance(data.X, np.ndarray):
        raise InputError("X is sparse: ReLU networks take a dense X")
    if data.d != network.d:
        raise InputError(f"the network takes d = {network.d} inputs but X has {data.d} columns")
    return data.X


@dataclass(frozen=True, eq=False)
class Expansion:
    """Everything about one network on some examples that derivatives need.

    Attributes
    ----------
    network : Network
        Where.
    X : (n, d) array
    z : (n, width) array
        w_j . x_i + b_j.
    residuals : (n,) array
        f(x_i) - y_i.
    factor : float
        c.
    """

    network: Network
    X: Array
    z: Array
    residuals: Array
    factor: float

    @classmethod
    def of(cls, network: Network, X: Array, y: Array, objective: Objective) -> Expansion:
        """Evaluate a network on the examples X (n, d), y (n,)."""
        z = network.preactivations(X)
        residuals = np.maximum(z, 0.0) @ network.output_weights - y
        return cls(network, X, z, residuals, 1.0 if objective == "half_sum" else 1.0 / len(y))

    @property
    def objective(self) -> float:
        """L."""
        return float(0.5 * self.factor * (self.residuals @ self.residuals))

    def pull(self, weights: Array) -> Array:
        """Return J^T weights, shape (size,), for weights (n,)."""
        masked = np.where(self.z > 0.0, weights[:, None], 0.0)
        a = self.network.output_weights
        of_output = np.sum(masked * self.z, axis=0)
        of_hidden = a[:, None] * (masked.T @ self.X)
        return np.concatenate([of_output, of_hidden.ravel(), a * masked.sum(axis=0)])

    def push(self, direction: Array) -> Array:
        """Return J direction, shape (n,), for a direction (size,)."""
        output, hidden, bias = self._split(direction)
        change = self.network.output_weights * (self.X @ hidden.T + bias)
        result: Array = np.where(self.z > 0.0, self.z * output + change, 0.0).sum(axis=1)
        return result

    def gradient(self) -> Array:
        """Return grad L, shape (size,)."""
        return self.factor * self.pull(self.residuals)

    def hessian_product(self, direction: Array) -> Array:
        """Return Hess L direction, shape (size,)."""
        output, hidden, bias = self._split(direction)
        masked = np.where(self.z > 0.0, self.residuals[:, None], 0.0)
        of_output = np.sum(masked * (self.X @ hidden.T + bias), axis=0)
        of_hidden = output[:, None] * (masked.T @ self.X)
        coupled = np.concatenate([of_output, of_hidden.ravel(), output * masked.sum(axis=0)])
        return self.factor * (self.pull(self.push(direction)) + coupled)

    def hessian(self) -> Array:
        """Return Hess L, shape (size, size)."""
        width, d = self.network.hidden_weights.shape
        active = self.z > 0.0
        masks = active.astype(np.float64)
        slopes = masks * self.network.output_weights
        n = len(self.residuals)
        hidden = (slopes[:, :, None] * self.X[:, None, :]).reshape(n, width * d)
        jacobian = np.concatenate([masks * self.z, hidden, slopes], axis=1)
        result = jacobian.T @ jacobian
        j = np.arange(width)
        weighted = masks * self.residuals[:, None]
        pairs = [(width + j * d + k, weighted.T @ self.X[:, k]) for k in range(d)]
        for column, values in [*pairs, (width * (d + 1) + j, weighted.sum(axis=0))]:
            result[j, column] += values
            result[column, j] += values
        return self.factor * result

    def _split(self, direction: Array) -> tuple[Array, Array, Array]:
        width, d = self.network.hidden_weights.shape
        output, hidden, bias = np.split(direction, [width, width * (d + 1)])
        return output, hidden.reshape(width, d), bias


def expand(network: Network, data: Regression, objective: str) -> Expansion:
    """Check the arguments and evaluate the network on all examples."""
    X = checked_pair(network, data)
    return Expansion.of(network, X, data.y, checked_objective(objective))


def objective(network: Network, data: Regression, *, objective: Objective = "half_sum") -> float:
    """Half the sum, or the mean, of the squared errors.

    Parameters
    ----------
    network : Network
        Where.
    data : Regression
        X dense, of the network's input dimension.
    objective : {"half_sum", "half_mean"}
        (1/2) or (1/2n) times the sum of squared errors, units of y^2.

    Returns
    -------
    float
        Units of y^2.

    Raises
    ------
    InputError
        Unknown objective; network and data do not fit.
    """
    return expand(network, data, objective).objective


def gradient(network: Network, data: Regression, *, objective: Objective = "half_sum") -> Array:
    """Return the gradient of :func:`objective`, with relu'(0) = 0.

    Parameters
    ----------
    network : Network
        Where.
    data : Regression
        X dense, of the network's input dimension.
    objective : {"half_sum", "half_mean"}
        (1/2) or (1/2n) times the sum of squared errors, units of y^2.

    Returns
    -------
    (size,) array
        In the order of ``network.parameters``.

    Raises
    ------
    InputError
        Unknown objective; network and data do not fit.
    """
    return expand(network, data, objective).gradient()


def hessian(network: Network, data: Regression, *, objective: Objective = "half_sum") -> Array:
    """Return the Hessian of :func:`objective` where no kink lies on an example.

    Parameters
    ----------
    network : Network
        Where.
    data : Regression
        X dense, of the network's input dimension.
    objective : {"half_sum", "half_mean"}
        (1/2) or (1/2n) times the sum of squared errors, units of y^2.

    Returns
    -------
    (size, size) array
        In the order of ``network.parameters``.

    Raises
    ------
    InputError
        Unknown objective; network and data do not fit.
    """
    return expand(network, data, objective).hessian()
