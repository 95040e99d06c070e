"""m-sharpness of a network, and how the gradients at w and at w + delta compare.

    sharpness = mean over batches B of m examples of  max_{||delta|| <= rho} L_B(w + delta) - L_B(w)

in evaluation mode, without the regulariser. The maximum is taken over all points that projected
gradient ascent visits, delta = 0 among them: a lower bound of the true one that is never negative
and grows with steps and restarts. Source: Andriushchenko and Flammarion, ICML 2022 (arXiv
2206.06232); there the restart with the largest *error* is kept, which is reported here beside it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from sam_theory._threads import single_threaded
from sam_theory._validate import checked_integer, checked_number
from sam_theory.errors import InputError

from .network import EVALUATION_BATCH, Network, Regularizer
from .perturbation import Ball, Subset

# Of a radius or factor: its square stays within float32.
_LARGEST = 1e15

Floats = npt.NDArray[np.float64]


def random_stream(seed: int, batch: int, restart: int) -> np.random.Generator:
    """Return the generator of a random start: a stream that no part of a training run shares."""
    return np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(batch, restart)))


@dataclass(frozen=True)
class Sharpness:
    """Sharpness over batches of m examples, batch by batch.

    Attributes
    ----------
    loss, error : array of shape (batches,)
        At w.
    max_loss : array of shape (batches,)
        Largest loss found.
    error_there, gradient_norm_there : array of shape (batches,)
        Error rate and norm of the gradient where the loss is largest.
    max_error : array of shape (batches,)
        Largest error rate found, wherever it is.
    """

    loss: Floats
    error: Floats
    max_loss: Floats
    error_there: Floats
    gradient_norm_there: Floats
    max_error: Floats

    @property
    def value(self) -> float:
        """Mean over the batches of the rise of the loss, >= 0."""
        return float(np.mean(self.max_loss - self.loss))

    @property
    def error_rise(self) -> float:
        """Mean over the batches of the rise of the error at the largest loss."""
        return float(np.mean(self.error_there - self.error))

    @property
    def largest_error_rise(self) -> float:
        """Mean over the batches of the largest rise of the error."""
        return float(np.mean(self.max_error - self.error))


@single_threaded
def m_sharpness(
    network: Network, weights: Any, buffers: Any, images: Any, labels: Any, *, rho: float = 0.1,
    m: int = 128, steps: int = 20, step_size: float = 0.1, restarts: int = 1,
    normalized: bool = True, random_start: bool = False, pattern: str | None = None,
    last_layer_scale: float = 1.0, seed: int = 0,
) -> Sharpness:  # fmt: skip
    """Estimate m-sharpness of a network at its weights, which stay as they are.

    Parameters
    ----------
    network : Network
        A network of :func:`build_model`.
    weights, buffers : array
        Parameters and running statistics.
    images : array of shape (n, height, width, channels)
        As :meth:`Network.images` returns them.
    labels : array of int, shape (n,)
        Classes.
    rho : float
        Radius, > 0, over all perturbed parameters.
    m : int
        Examples per batch; divides n. At most 256 are in memory at once.
    steps : int
        Ascent steps, >= 1.
    step_size : float
        > 0: rho step_size is the length of a step, or the factor of the gradient if not
        ``normalized``.
    restarts : int
        >= 1; without a random start they would be the same and only one is run.
    normalized, random_start : bool
        Divide steps by the gradient's norm; start on the sphere instead of at w.
    pattern : str, optional
        Perturb only parameters whose name matches.
    last_layer_scale : float
        Multiplies weight and bias of the last layer first.
    seed : int
        Of the random starts.

    Returns
    -------
    Sharpness
        A value per batch of m.

    Raises
    ------
    InputError
        An argument is out of range, or m does not divide n.
    """
    n = len(images)
    for name, value in (("rho", rho), ("step_size", step_size)):
        if not (math.isfinite(value) and value > 0):
            raise InputError(f"{name} must be positive and finite, not {value!r}")
        if value > _LARGEST:
            raise InputError(f"{name} must be at most {_LARGEST:g}, not {value!r}")
    checked_integer("seed", seed, 0)
    for name, count in (("m", m), ("steps", steps), ("restarts", restarts)):
        if isinstance(count, bool) or not isinstance(count, int) or count < 1:
            raise InputError(f"{name} must be an integer >= 1, not {count!r}")
    if n == 0 or n % m:
        raise InputError(f"m = {m} does not divide the {n} examples")
    weights = scaled_last_layer(network, weights, last_layer_scale)
    subset = Subset(network.vectors, network.layout, pattern)
    ball = Ball(subset, rho, rho * step_size, normalized, True)
    search = _Search(network, weights, buffers, ball, steps)
    rows = []
    for k in range(n // m):
        part = slice(k * m, (k + 1) * m)
        starts: list[Any] = [None]
        if random_start:
            starts = [random_stream(seed, k, r) for r in range(restarts)]
        rows.append(search.batch(images[part], labels[part], starts))
    return Sharpness(*(np.array(column, dtype=np.float64) for column in zip(*rows, strict=True)))


def scaled_last_layer(network: Network, weights: Any, factor: float) -> Any:
    """Return the weights with weight and bias of the last layer multiplied by a factor.

    Raises
    ------
    InputError
        The factor is not finite, or beyond 1e15.
    """
    if not abs(checked_number("last_layer_scale", factor)) <= _LARGEST:
        raise InputError(f"last_layer_scale must be within +-{_LARGEST:g}, not {factor}")
    if factor == 1.0:
        return weights
    weights = weights.copy()
    views = network.layout.stored(weights)
    for name in list(views)[-2:]:
        views[name] *= weights.dtype.type(factor)
    return weights


class _Search:
    """Ascent from some starts on one batch after the other, with its arrays."""

    def __init__(
        self, network: Network, weights: Any, buffers: Any, ball: Ball, steps: int
    ) -> None:
        self.network, self.weights, self.buffers = network, weights, buffers
        self.ball, self.steps = ball, steps
        xp = network.xp
        self.delta, self.point, self.g = (xp.zeros_like(weights) for _ in range(3))

    def gradient(self, point: Any, images: Any, labels: Any) -> Any:
        return self.network.gradient(
            point, images, labels, self.g, buffers=self.buffers, batch_statistics=False,
            micro_batch=EVALUATION_BATCH,
        )  # fmt: skip

    def batch(self, images: Any, labels: Any, starts: list[Any]) -> tuple[float, ...]:
        m = len(images)
        at_w = self.gradient(self.weights, images, labels)
        norm = self.network.vectors.norm(self.g)
        best = (at_w.loss, at_w.errors / m, norm)
        largest = at_w.errors / m
        for rng in starts:
            self.delta[...] = 0
            if rng is not None:
                self.ball.random(self.delta, rng)
            for step in range(self.steps + 1):
                self.ball.subset.combine(self.weights, 1.0, self.delta, self.point)
                found = self.gradient(self.point, images, labels)
                if found.loss > best[0]:
                    norm = self.network.vectors.norm(self.g)
                    best = (found.loss, found.errors / m, norm)
                largest = max(largest, found.errors / m)
                if step < self.steps:
                    self.ball.further(self.delta, self.g, self.ball.subset.norm(self.g))
        return (at_w.loss, at_w.errors / m, *best, largest)


@dataclass(frozen=True)
class Alignment:
    """Gradients at w and at w + delta.

    Attributes
    ----------
    norm, norm_perturbed : float
        Of the objective's gradients.
    cosine : float
        Between them, in [-1, 1]; nan if one vanishes.
    """

    norm: float
    norm_perturbed: float
    cosine: float


@single_threaded
def gradient_alignment(
    network: Network, weights: Any, buffers: Any, images: Any, labels: Any, *, rho: float,
    normalized: bool = True, regularizer: Regularizer | None = None,
) -> Alignment:  # fmt: skip
    """Compare the gradients at w and after one ascent step from it, in evaluation mode.

    Parameters
    ----------
    network, weights, buffers, images, labels
        As in :func:`m_sharpness`; all images form one block.
    rho : float
        Radius of the perturbation.
    normalized : bool
        Whether the ascent step is divided by the norm of the gradient.
    regularizer : Regularizer, optional
        Added to the loss; none by default.

    Returns
    -------
    Alignment
        Norms and cosine; dimensionless, as the loss is.

    Raises
    ------
    InputError
        The radius is negative or not finite.
    """
    if checked_number("rho", rho) < 0.0:
        raise InputError(f"rho must be >= 0, not {rho!r}")
    vectors = network.vectors
    first, second, point = (network.xp.empty_like(weights) for _ in range(3))

    def gradient(at: Any, out: Any) -> None:
        network.gradient(
            at, images, labels, out, buffers=buffers, batch_statistics=False,
            regularizer=regularizer,
        )  # fmt: skip

    gradient(weights, first)
    norm = vectors.norm(first)
    ball = Ball(Subset(vectors, network.layout), rho, rho, normalized, False)
    ball.first(weights, first, norm, point)
    gradient(point, second)
    other = vectors.norm(second)
    product = norm * other
    return Alignment(norm, other, vectors.dot(first, second) / product if product else math.nan)
