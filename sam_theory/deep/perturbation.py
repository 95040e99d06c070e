"""Perturbations of the weights: ascent steps in a ball, random directions, noise.

One ascent step from delta along a gradient g is

    delta <- delta + step g / (||g|| + 1e-12)     (normalised), or delta + step g,
    delta <- rho delta / ||delta||                if ||delta|| > rho and the ball is kept to,

with norms over all perturbed parameters together. Nothing here changes the weights: the point
w + delta is another array, so going back to w is exact.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from .parameters import Layout
from .vectors import Vectors

FLOOR = 1e-12


class Subset:
    """The parameters that a perturbation may move: all, or those whose name matches a pattern.

    Parameters
    ----------
    vectors : Vectors
    layout : Layout
    pattern : str, optional
        As in :meth:`Layout.matching`; norms are over the matching parameters alone.

    Raises
    ------
    InputError
        Nothing matches.
    """

    def __init__(self, vectors: Vectors, layout: Layout, pattern: str | None = None) -> None:
        self.vectors = vectors
        self.parts = [slice(0, layout.size)]
        if pattern is not None:
            self.parts = []
            for slot in layout.matching(pattern):
                end = slot.begin + slot.size
                if self.parts and self.parts[-1].stop == slot.begin:
                    self.parts[-1] = slice(self.parts[-1].start, end)
                else:
                    self.parts.append(slice(slot.begin, end))
        self.whole = self.parts == [slice(0, layout.size)]

    def norm(self, x: Any) -> float:
        """Euclidean norm over the subset, in float64."""
        return float(np.sqrt(sum(self.vectors.dot(x[part], x[part]) for part in self.parts)))

    def combine(self, x: Any, factor: float, y: Any, out: Any) -> None:
        """Write x + factor y on the subset; x elsewhere."""
        if not self.whole and out is not x:
            out[...] = x
        for part in self.parts:
            self.vectors.combine(x[part], factor, y[part], out[part])

    def scale(self, x: Any, factor: float) -> None:
        """Multiply by factor on the subset, in place."""
        for part in self.parts:
            x[part] *= x.dtype.type(factor)


class Ball:
    """Steps of a perturbation delta that stays in a ball, if it is kept to.

    Parameters
    ----------
    subset : Subset
    rho, step : float
        Radius; length of a normalised step, or factor of an unnormalised one.
    normalized : bool
        Divide each step by the gradient's norm.
    project : bool
        Whether delta is scaled back to the ball's surface when it leaves it.
    """

    def __init__(
        self, subset: Subset, rho: float, step: float, normalized: bool, project: bool
    ) -> None:
        self.subset, self.rho, self.step = subset, rho, step
        self.normalized, self.project = normalized, project

    def first(self, base: Any, g: Any, norm: float, out: Any) -> float:
        """Write base + delta after one step from delta = 0; return the length of delta.

        Parameters
        ----------
        base, g, out : array of shape (size,)
        norm : float
            Of g over the subset.
        """
        factor = self.step / (norm + FLOOR) if self.normalized else self.step
        if self.project and factor * norm > self.rho:
            factor = self.rho / norm
        self.subset.combine(base, factor, g, out)
        return factor * norm

    def further(self, delta: Any, g: Any, norm: float) -> float:
        """One step of delta along g, in place; return its length."""
        factor = self.step / (norm + FLOOR) if self.normalized else self.step
        self.subset.combine(delta, factor, g, delta)
        length = self.subset.norm(delta)
        if self.project and length > self.rho:
            self.subset.scale(delta, self.rho / length)
            return self.rho
        return length

    def random(self, delta: Any, rng: np.random.Generator) -> None:
        """Write a uniform direction of length rho to delta: zero outside the subset."""
        array = self.subset.vectors.backend.array
        delta[...] = 0
        for part in self.subset.parts:
            delta[part] = array(rng.standard_normal(part.stop - part.start, dtype=np.float32))
        self.subset.scale(delta, self.rho / self.subset.norm(delta))


def noisy_weights(
    vectors: Vectors, w: Any, rng: np.random.Generator, add: float, multiply: float,
    distribution: str, out: Any,
) -> None:  # fmt: skip
    """Write (1 + multiply z) w + add z' with independent z, z' to out.

    Parameters
    ----------
    vectors : Vectors
    w, out : array of shape (size,)
    rng : Generator
    add, multiply : float
        Scales >= 0.
    distribution : {"gauss", "uniform"}
        Standard normal, or uniform on [-1/2, 1/2].
    """

    def draw() -> Any:
        if distribution == "gauss":
            values = rng.standard_normal(w.size, dtype=np.float32)
        else:
            values = rng.random(w.size, dtype=np.float32) - np.float32(0.5)
        return vectors.backend.array(values)

    kind = w.dtype.type
    out[...] = w
    if multiply:
        out += kind(multiply) * draw() * w
    if add:
        out += kind(add) * draw()
