"""Dropout: which units are dropped is a function of (seed, step, layer, place in the minibatch).

A unit is kept with probability 1 - rate and then divided by 1 - rate, so that evaluation, which
drops nothing, needs no factor. All passes of one step, at w and at w + delta, drop the same units:
a step of SAM ascends and descends the loss of one thinned network per example, and the perturbation
is not blurred by a second draw. Source: Srivastava et al., JMLR 15 (2014); the place in a residual
block is that of Zagoruyko and Komodakis, BMVC 2016 (arXiv 1605.07146).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from sam_theory.errors import InputError

from .data import streams
from .lanes import Lane
from .operations.signals import Signal

_LEVELS = 1 << 32


def check_rate(rate: float) -> None:
    """Raise InputError unless a rate is at least 0 and below 1."""
    if not 0.0 <= rate < 1.0:
        raise InputError(f"dropout must be at least 0 and below 1, not {rate!r}")


@dataclass(frozen=True)
class Masks:
    """What is dropped in the passes of one step.

    Parameters
    ----------
    rate : float
        Probability that a unit is dropped, in [0, 1); it acts as the nearest multiple of 2^-32.
    seed : int
        >= 0.
    step : int
        The iteration.
    first : int
        Place in the minibatch of the first image of a pass.

    Raises
    ------
    InputError
        The rate is out of range.
    """

    rate: float
    seed: int = 0
    step: int = 0
    first: int = 0

    def __post_init__(self) -> None:
        """Check the rate."""
        check_rate(self.rate)

    @property
    def scale(self) -> float:
        """What the units that are kept are multiplied by."""
        return 1.0 / (1.0 - self.rate)

    def after(self, images: int) -> Masks:
        """Return the masks of the images after so many."""
        return replace(self, first=self.first + images) if images else self

    def keep(self, layer: int, shape: tuple[int, ...]) -> np.ndarray:
        """Return which units of a layer are kept.

        Parameters
        ----------
        layer : int
            Number of the dropout layer.
        shape : tuple of int
            (n, ...) of its output, channels last.

        Returns
        -------
        numpy.ndarray
            bool, of that shape. Every image has its own blocks of the stream, two units to a word,
            so that it does not matter which images are asked for together.
        """
        units = int(np.prod(shape[1:]))
        blocks = -(-units // (2 * streams.BLOCK))
        raw = streams.words(
            shape[0] * blocks * streams.BLOCK, seed=self.seed, purpose="dropout",
            keys=(self.step, layer), skip=self.first * blocks,
        )  # fmt: skip
        halves = raw.astype("<u8", copy=False).view("<u4").reshape(shape[0], -1)[:, :units]
        lowest = np.uint32(min(round(self.rate * _LEVELS), _LEVELS - 1))
        return (halves >= lowest).reshape(shape)


class Dropout:
    """A dropout layer between a normalisation with activation and the convolution after it.

    Parameters
    ----------
    number : int
        Among the dropout layers of its network, from 0.
    """

    def __init__(self, number: int) -> None:
        self.name, self.number = f"dropout.{number}", number

    def forward(self, lane: Lane, signal: Signal) -> Signal:
        """Return the signal itself if the lane drops nothing; else a plain one of what is left."""
        if lane.masks is None:
            return signal
        operations = lane.operations
        keep = operations.xp.asarray(lane.masks.keep(self.number, signal.x.shape))
        out = lane.take(signal.x.shape)
        operations.write(lane, signal, out)
        operations.drop(lane, out, keep, lane.masks.scale)
        if lane.gradients is not None:
            lane.kept[self.name] = keep, out
        return Signal(out)

    def backward(self, lane: Lane, d: Any) -> None:
        """Turn d into the gradient of the signal, in place."""
        if lane.masks is not None:
            keep, out = lane.kept.pop(self.name)
            lane.operations.drop(lane, d, keep, lane.masks.scale)
            lane.give(out)
