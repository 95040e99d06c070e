"""The network: f(x) = sum_j a_j relu(w_j . x + b_j), its weights and how they are drawn.

There is no bias on the output. Source: Andriushchenko and Flammarion, ICML 2022 (arXiv 2206.06232),
experiment with one-hidden-layer networks; data and architecture after Maennel et al. (2018).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from .._validate import checked_generator, checked_integer, checked_number, real_array
from ..errors import InputError

Array = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False, repr=False)
class Network:
    """Weights of one network.

    Parameters
    ----------
    hidden_weights : (width, d) array
        Rows w_j; units of 1/x.
    hidden_bias : (width,) array
        b_j, dimensionless.
    output_weights : (width,) array
        a_j; units of y.

    Raises
    ------
    InputError
        An array has another shape, no entries (width 0 or d = 0) or one that is not finite.
    """

    hidden_weights: Array
    hidden_bias: Array
    output_weights: Array

    def __post_init__(self) -> None:
        """Check the arrays and keep read-only copies."""
        hidden = _checked("hidden_weights", self.hidden_weights, 2)
        width, d = hidden.shape
        if width < 1:
            raise InputError("hidden_weights has no rows: width must be >= 1, not 0")
        if d < 1:
            raise InputError("hidden_weights has no columns: d must be >= 1, not 0")
        object.__setattr__(self, "hidden_weights", hidden)
        for name in ("hidden_bias", "output_weights"):
            vector = _checked(name, getattr(self, name), 1)
            if vector.size != width:
                raise InputError(
                    f"{name} has length {vector.size} but hidden_weights has {width} rows"
                )
            object.__setattr__(self, name, vector)

    def __repr__(self) -> str:
        """Name the sizes."""
        return f"Network(width={self.width}, d={self.d}, parameters={self.size})"

    @property
    def width(self) -> int:
        """Number of hidden neurons."""
        return int(self.hidden_weights.shape[0])

    @property
    def d(self) -> int:
        """Dimension of the input."""
        return int(self.hidden_weights.shape[1])

    @property
    def size(self) -> int:
        """Number of parameters, width (d + 2)."""
        return self.width * (self.d + 2)

    @property
    def parameters(self) -> Array:
        """All parameters, shape (size,): output weights, hidden weights row by row, biases."""
        return np.concatenate([self.output_weights, self.hidden_weights.ravel(), self.hidden_bias])

    @classmethod
    def from_parameters(cls, parameters: npt.ArrayLike, width: int, d: int) -> Network:
        """Make a network from all its parameters.

        Parameters
        ----------
        parameters : (width (d + 2),) array
            In the order of :attr:`parameters`.
        width, d : int
            Hidden neurons and dimension of the input.

        Returns
        -------
        Network
            With copies of them.
        """
        values = _checked("parameters", parameters, 1)
        if values.size != width * (d + 2):
            raise InputError(
                f"parameters has length {values.size}, expected {width * (d + 2)} = width (d + 2)"
            )
        output, hidden, bias = np.split(values, [width, width * (d + 1)])
        return cls(hidden.reshape(width, d), bias, output)

    def preactivations(self, X: npt.ArrayLike) -> Array:
        """Return w_j . x_i + b_j, shape (n, width), for X of shape (n, d), or (n,) if d = 1."""
        rows = np.asarray(real_array("X", X), dtype=np.float64)
        if rows.ndim == 1 and self.d == 1:
            rows = rows[:, None]
        if rows.ndim != 2 or rows.shape[1] != self.d:
            raise InputError(f"X has shape {rows.shape}, expected (n, {self.d})")
        result: Array = rows @ self.hidden_weights.T + self.hidden_bias
        return result

    def __call__(self, X: npt.ArrayLike) -> Array:
        """Return f(x_i), shape (n,), for X of shape (n, d), or (n,) if d = 1."""
        result: Array = np.maximum(self.preactivations(X), 0.0) @ self.output_weights
        return result

    @property
    def balancedness(self) -> Array:
        """Balancedness a_j^2 - ||w_j||^2 - b_j^2, shape (width,).

        Conserved by gradient flow, moved by SAM.
        """
        return balancedness(self.output_weights, self.hidden_weights.T, self.hidden_bias)


def balancedness(output: Array, hidden: Array, bias: Array) -> Array:
    """a^2 - sum over the first axis of hidden^2 - b^2, elementwise."""
    result: Array = output**2 - np.sum(hidden**2, axis=0) - bias**2
    return result


def random_network(
    width: int,
    d: int,
    *,
    seed: int | np.random.Generator,
    scale: float = 1.0,
    hidden: float = 2.5,
    bias: float = 2.5,
    output: float = 4.0,
) -> Network:
    """Draw a network as the published experiment does.

    Parameters
    ----------
    width, d : int
        Hidden neurons and dimension of the input, >= 1.
    seed : int or numpy.random.Generator
        Source of, in this order, the signs of the hidden weights, the biases, the output weights.
    scale : float
        Factor of all weights, > 0; the initialisation scale.
    hidden, bias, output : float
        Hidden weights are +-hidden, biases bias N(0, 1), output weights output N(0, 1); each >= 0.

    Returns
    -------
    Network
        The same for the same seed.

    Raises
    ------
    InputError
        An argument is out of range.

    Examples
    --------
    >>> from sam_theory import relu
    >>> relu.random_network(100, 1, seed=0)
    Network(width=100, d=1, parameters=300)
    """
    checked_integer("width", width, 1)
    checked_integer("d", d, 1)
    factors = {"scale": scale, "hidden": hidden, "bias": bias, "output": output}
    for name, value in factors.items():
        if checked_number(name, value) < 0.0 or (name == "scale" and value == 0.0):
            raise InputError(f"{name} must be {'>' if name == 'scale' else '>='} 0, not {value:g}")
    rng = checked_generator(seed)
    signs = rng.choice([-1.0, 1.0], (width, d))
    return Network(
        scale * (hidden * signs),
        scale * (bias * rng.standard_normal(width)),
        scale * (output * rng.standard_normal(width)),
    )


def _checked(name: str, value: Any, dimensions: int) -> Array:
    array = np.array(real_array(name, value), dtype=np.float64)
    if array.ndim != dimensions:
        form = "(width, d)" if dimensions == 2 else "one"
        raise InputError(f"{name} has {array.ndim} dimensions, expected {form}")
    if not np.all(np.isfinite(array)):
        bad = float(array[~np.isfinite(array)][0])
        raise InputError(f"{name} has an entry that is {bad}")
    array.setflags(write=False)
    return array
