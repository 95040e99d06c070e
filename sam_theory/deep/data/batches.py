"""Minibatches: the order of an epoch is a function of (seed, epoch), any batch of it can be had."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from sam_theory._validate import checked_integer
from sam_theory.deep.data import streams
from sam_theory.deep.data.augment import Augmentation, Draws
from sam_theory.deep.data.images import ImageSet, to_floats
from sam_theory.errors import InputError


@dataclass(frozen=True, eq=False)
class Batch:
    """A minibatch.

    Attributes
    ----------
    images : numpy.ndarray
        In [0, 1], (B, C, H, W).
    labels : numpy.ndarray
        int64, (B,).
    indices : numpy.ndarray
        Which examples of the set, int64, (B,).
    """

    images: np.ndarray
    labels: np.ndarray
    indices: np.ndarray


class TrainingBatches:
    """Shuffled, augmented minibatches of a set, the same for a seed however they are asked for.

    Parameters
    ----------
    data : ImageSet
        The training set.
    batch_size : int
        Examples per minibatch, at most as many as there are; an incomplete last one is dropped.
    seed : int
        With the epoch it decides order and augmentation.
    augmentation : Augmentation, optional
        None: images as they are.
    dtype : dtype
        float32 or float64.

    Attributes
    ----------
    per_epoch : int
        Minibatches in an epoch.

    Raises
    ------
    InputError
        A minibatch that is larger than the set.
    """

    def __init__(
        self,
        data: ImageSet,
        batch_size: int,
        *,
        seed: int,
        augmentation: Augmentation | None = None,
        dtype: Any = np.float32,
    ) -> None:
        self.data = data
        self.batch_size = checked_integer("batch_size", batch_size, 1)
        self.seed = checked_integer("seed", seed, 0)
        self.augmentation = augmentation
        self.dtype = np.dtype(dtype)
        if self.batch_size > data.n:
            raise InputError(
                f"batch_size {batch_size} is larger than the training set ({data.n} examples)"
            )
        self.per_epoch = data.n // self.batch_size
        # The last epoch that was asked for; any other is computed anew.
        self._plan: tuple[int, np.ndarray, Draws | None] | None = None

    def order(self, epoch: int) -> np.ndarray:
        """Return the indices of an epoch's minibatches, int64, (per_epoch, batch_size)."""
        return self._planned(epoch)[0]

    def batch(self, epoch: int, iteration: int) -> Batch:
        """Return the minibatch numbered ``iteration`` of ``epoch``, both counted from 0."""
        checked_integer("iteration", iteration, 0, self.per_epoch - 1)
        order, draws = self._planned(epoch)
        indices = order[iteration]
        if self.augmentation is None or draws is None:
            pixels = self.data.pixels[indices]
        else:
            pixels = self.augmentation.apply(self.data.pixels, draws, indices)
        return Batch(to_floats(pixels, self.data, self.dtype), self.data.labels[indices], indices)

    def epoch(self, epoch: int, *, start: int = 0) -> Iterator[Batch]:
        """Yield the minibatches of an epoch from the one numbered `start` on."""
        for iteration in range(start, self.per_epoch):
            yield self.batch(epoch, iteration)

    def _planned(self, epoch: int) -> tuple[np.ndarray, Draws | None]:
        plan = self._plan
        if plan is None or plan[0] != epoch:
            count = self.data.n
            order = streams.permutation(count, seed=self.seed, purpose="batch order", keys=(epoch,))
            used = order[: self.per_epoch * self.batch_size]
            draws = None
            if self.augmentation is not None:
                draws = self.augmentation.draw(count, seed=self.seed, epoch=epoch)
            plan = self._plan = (epoch, used.reshape(self.per_epoch, self.batch_size), draws)
        return plan[1], plan[2]


def in_order(data: ImageSet, batch_size: int, *, dtype: Any = np.float32) -> Iterator[Batch]:
    """Yield all examples in file order, without augmentation, the last batch possibly smaller.

    Parameters
    ----------
    data : ImageSet
        What is served.
    batch_size : int
        Images at once, >= 1.
    dtype : dtype
        Of the images: float32 or float64.

    Yields
    ------
    Batch
        In file order.
    """
    size = checked_integer("batch_size", batch_size, 1)
    for start in range(0, data.n, size):
        indices = np.arange(start, min(start + size, data.n))
        yield Batch(data.floats(indices, dtype=dtype), data.labels[indices], indices)
