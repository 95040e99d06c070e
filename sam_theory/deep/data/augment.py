"""Random crops and flips: what happens to image i in an epoch is a function of (seed, epoch, i)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from sam_theory._validate import checked_integer
from sam_theory.deep.data import streams
from sam_theory.errors import InputError


@dataclass(frozen=True, eq=False)
class Draws:
    """What is drawn for every image of a set in one epoch.

    Attributes
    ----------
    top, left : numpy.ndarray
        Corner of the crop in the padded image, int64, (N,), from 0 to twice the padding.
    flip : numpy.ndarray
        Whether it is mirrored left to right, bool, (N,).
    """

    top: np.ndarray
    left: np.ndarray
    flip: np.ndarray


@dataclass(frozen=True)
class Augmentation:
    """A random crop of the zero-padded image in its own size, then a flip with probability 1/2.

    Attributes
    ----------
    padding : int
        Pixels on each side, 4 by default; 0: no crop.
    flip : bool
        Whether to mirror (not for digits).
    """

    padding: int = 4
    flip: bool = True

    def __post_init__(self) -> None:
        checked_integer("padding", self.padding, 0)

    def draw(self, count: int, *, seed: int, epoch: int) -> Draws:
        """Return the draws for a set of ``count`` images, a function of ``seed`` and ``epoch``."""
        size = 2 * self.padding + 1
        epochs = {"seed": seed, "purpose": "augmentation"}
        top, left = (streams.integers(count, size, keys=(epoch, axis), **epochs) for axis in (0, 1))
        flip = streams.integers(count, 2, keys=(epoch, 2), **epochs) == 1
        return Draws(top, left, flip & self.flip)

    def apply(self, pixels: np.ndarray, draws: Draws, indices: np.ndarray) -> np.ndarray:
        """Return augmented images.

        Parameters
        ----------
        pixels : numpy.ndarray
            All images of the set, uint8, (N, C, H, W).
        draws : Draws
            Of the epoch, for the whole set.
        indices : numpy.ndarray
            Which images, int64, (B,).

        Returns
        -------
        numpy.ndarray
            uint8, (B, C, H, W), in the order of the indices.
        """
        if len(draws.top) != len(pixels):
            raise InputError(f"draws for {len(draws.top)} images, but there are {len(pixels)}")
        batch = pixels[indices]
        count, channels, height, width = batch.shape
        edge = self.padding
        padded = np.zeros((count, channels, height + 2 * edge, width + 2 * edge), dtype=np.uint8)
        padded[:, :, edge : edge + height, edge : edge + width] = batch
        windows = np.lib.stride_tricks.sliding_window_view(padded, (height, width), axis=(2, 3))
        cropped = windows[np.arange(count), :, draws.top[indices], draws.left[indices]]
        mirrored = np.flatnonzero(draws.flip[indices])
        cropped[mirrored] = cropped[mirrored, :, :, ::-1]
        return cropped
