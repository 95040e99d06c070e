"""`ImageSet`: images as bytes, labels, and the true label of each."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from sam_theory._validate import checked_integer
from sam_theory.errors import InputError

# ITU-R BT.601: luma of red, green, blue, in thousandths.
_LUMA = (299, 587, 114)


@dataclass(frozen=True, eq=False, repr=False)
class ImageSet:
    """Labelled images of one size.

    Attributes
    ----------
    pixels : numpy.ndarray
        uint8, (N, C, H, W).
    labels : numpy.ndarray
        int64, (N,), from 0 to ``classes - 1``; what training sees.
    classes : int
        Number of classes, at least 2.
    largest : int
        The pixel value that becomes 1.0 (dimensionless), 255 unless the set has fewer levels.
    true_labels : numpy.ndarray
        int64, (N,); `labels` unless label noise has changed some.
    source : str
        Where the images come from, for messages.

    Raises
    ------
    InputError
        A wrong type or shape, a label out of range, a pixel above `largest`; one line says where.
    """

    pixels: np.ndarray
    labels: np.ndarray
    classes: int
    largest: int = 255
    true_labels: np.ndarray = field(default=None)  # type: ignore[arg-type]
    source: str = "images"

    def __post_init__(self) -> None:
        pixels = np.asarray(self.pixels)
        if pixels.dtype != np.uint8 or pixels.ndim != 4 or 0 in pixels.shape[1:]:
            raise InputError(
                f"{self.source}: the images must be uint8 of shape (N, C, H, W), not "
                f"{pixels.dtype} of shape {pixels.shape}"
            )
        checked_integer("classes", self.classes, 2)
        checked_integer("largest", self.largest, 1, 255)
        if self.largest < 255 and pixels.size and int(pixels.max()) > self.largest:
            raise InputError(f"{self.source}: a pixel is {pixels.max()}, above {self.largest}")
        labels = checked_labels(self.labels, self.classes, len(pixels), self.source)
        given = labels if self.true_labels is None else self.true_labels
        true = checked_labels(given, self.classes, len(pixels), f"{self.source} (true labels)")
        object.__setattr__(self, "pixels", np.ascontiguousarray(pixels))
        object.__setattr__(self, "labels", labels)
        object.__setattr__(self, "true_labels", true)

    def __repr__(self) -> str:
        shape = "x".join(map(str, self.shape))
        noisy = int(self.noisy.sum())
        return f"ImageSet({self.source}: {self.n} images {shape}, {self.classes} classes" + (
            f", {noisy} noisy labels)" if noisy else ")"
        )

    @property
    def n(self) -> int:
        """Number of images."""
        return len(self.pixels)

    @property
    def shape(self) -> tuple[int, int, int]:
        """(C, H, W)."""
        channels, height, width = self.pixels.shape[1:]
        return channels, height, width

    @property
    def noisy(self) -> np.ndarray:
        """Which labels are not the true one, bool, (N,)."""
        return self.labels != self.true_labels

    def floats(self, indices: Any = None, *, dtype: Any = np.float32) -> np.ndarray:
        """Return images as numbers in [0, 1], pixel / largest, correctly rounded.

        Parameters
        ----------
        indices : array of int, optional
            Which images, (B,); all of them by default.
        dtype : dtype
            float32 or float64.

        Returns
        -------
        numpy.ndarray
            (B, C, H, W).
        """
        return to_floats(self.pixels if indices is None else self.pixels[indices], self, dtype)

    def select(self, indices: Any) -> ImageSet:
        """Return the set of some images, in the order of the indices."""
        return replace(
            self,
            pixels=self.pixels[indices],
            labels=self.labels[indices],
            true_labels=self.true_labels[indices],
        )

    def two_classes(self, first: int, second: int) -> tuple[ImageSet, np.ndarray]:
        """Return the images of classes ``first`` and ``second``, as 0 and 1, with their indices.

        Raises
        ------
        InputError
            A class that does not exist or has no image, or the same class twice.
        """
        chosen = [
            checked_integer("a class of a two-class subset", value, 0, self.classes - 1)
            for value in (first, second)
        ]
        if chosen[0] == chosen[1]:
            raise InputError(f"a two-class subset needs two classes, not {first} twice")
        for value in chosen:
            if not np.any(self.true_labels == value):
                raise InputError(f"{self.source}: there is no image of class {value}")
        if self.noisy.any():
            raise InputError(f"{self.source}: take the two classes before adding label noise")
        kept = np.flatnonzero(np.isin(self.labels, chosen))
        labels = (self.labels[kept] == chosen[1]).astype(np.int64)
        part = ImageSet(self.pixels[kept], labels, 2, largest=self.largest, source=self.source)
        return part, kept

    def grey(self) -> ImageSet:
        """Return the set in one channel: 0.299 red + 0.587 green + 0.114 blue, rounded."""
        if self.shape[0] == 1:
            return self
        if self.shape[0] != 3:
            raise InputError(f"{self.source}: no grey-scale variant of {self.shape[0]} channels")
        total = np.full((self.n, *self.shape[1:]), 500, dtype=np.uint32)
        for channel, weight in enumerate(_LUMA):
            total += np.uint32(weight) * self.pixels[:, channel]
        return replace(self, pixels=(total // 1000).astype(np.uint8)[:, None])


def to_floats(pixels: np.ndarray, like: ImageSet, dtype: Any = np.float32) -> np.ndarray:
    """Return bytes as floats in [0, 1], scaled as the images of `like`."""
    kind = np.dtype(dtype)
    if kind not in (np.dtype(np.float32), np.dtype(np.float64)):
        raise InputError(f"the dtype of images must be float32 or float64, not {kind}")
    return np.divide(pixels, kind.type(like.largest), dtype=kind)


def checked_labels(values: Any, classes: int, count: int, source: str) -> np.ndarray:
    """Return labels as int64, (count,); InputError names the first that is out of range."""
    labels = np.asarray(values)
    if labels.dtype.kind not in "iu" or labels.shape != (count,):
        raise InputError(
            f"{source}: the labels must be {count} integers, not {labels.dtype} of shape "
            f"{labels.shape}"
        )
    wrong = np.flatnonzero((labels < 0) | (labels >= classes))
    if wrong.size:
        raise InputError(
            f"{source}: label {labels[wrong[0]]} of image {wrong[0] + 1}; labels must be from 0 to "
            f"{classes - 1}"
        )
    return labels.astype(np.int64)
