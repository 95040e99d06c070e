"""Which pixels a convolution reads and writes: tables for the compiled products.

A convolution with an odd kernel, stride 1 or 2 and padding kernel // 2 is a list of products over a
zero-padded copy of its source. Forward there is one. The gradient of the input has one per parity
of the input pixel, because with stride 2 different pixels meet different taps of the kernel:

    dx[s i + p] = sum_{k = p + pad (mod s)} dout[i + (p + pad - k) / s] w[k]^T
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from sam_theory.errors import InputError

Table = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Convolution:
    """Sizes of one convolution on channels-last images.

    Parameters
    ----------
    height, width : int
        Input size in pixels.
    inputs, outputs : int
        Channels.
    kernel : int
        Odd size of the kernel; the padding is ``kernel // 2``.
    stride : int
        1 or 2.
    """

    height: int
    width: int
    inputs: int
    outputs: int
    kernel: int = 3
    stride: int = 1

    def __post_init__(self) -> None:
        """Refuse what the tables do not cover."""
        if self.kernel % 2 == 0 or self.kernel < 1:
            raise InputError(f"kernel must be odd, not {self.kernel}")
        if self.stride not in (1, 2):
            raise InputError(f"stride must be 1 or 2, not {self.stride}")

    @property
    def pad(self) -> int:
        """Rows and columns of zeros on each side."""
        return self.kernel // 2

    @property
    def out_height(self) -> int:
        """Rows of the output."""
        return (self.height + 2 * self.pad - self.kernel) // self.stride + 1

    @property
    def out_width(self) -> int:
        """Columns of the output."""
        return (self.width + 2 * self.pad - self.kernel) // self.stride + 1

    @property
    def flops(self) -> int:
        """Multiplications and additions of one image, forward; as many for each gradient."""
        taps = self.kernel**2 * self.inputs * self.outputs
        return 2 * self.out_height * self.out_width * taps


@dataclass(frozen=True, eq=False)
class Plan:
    """Products of one pass over a padded source.

    Attributes
    ----------
    margins : tuple of int
        Zero rows above and columns left of the source.
    padded : tuple of int
        Height and width of the padded source.
    products : array of int64, shape (count, 5)
        Rows and columns of taps, first table entry, entries, first tap.
    source, target : array of int64
        Pixel of the padded source where an entry's taps begin; pixel it writes. Each product's
        entries are filled up with repetitions of its last one to whole tiles.
    taps : array of int64, shape (taps, 2)
        Row and column of the kernel, product after product.
    covers : bool
        Whether every pixel of the target is written.
    """

    margins: tuple[int, int]
    padded: tuple[int, int]
    products: Table
    source: Table
    target: Table
    taps: Table
    covers: bool


def _axis(size: int, out_size: int, shape: Convolution, parity: int) -> tuple[Table, int, Table]:
    """Taps of input pixels of one parity in rising order of output, first output, pixels."""
    step = shape.stride
    taps = [k for k in range(shape.kernel - 1, -1, -1) if (parity + shape.pad - k) % step == 0]
    pixels = np.arange(parity, size, step)
    first = (parity + shape.pad - taps[0]) // step if taps else 0
    return np.array(taps, dtype=np.int64), first, pixels


@functools.lru_cache(maxsize=512)
def forward_plan(shape: Convolution, tile: int) -> Plan:
    """Plan of the output, with entries in groups of ``tile``."""
    pad, step, kernel = shape.pad, shape.stride, shape.kernel
    padded = (shape.height + 2 * pad, shape.width + 2 * pad)
    rows, columns = np.divmod(np.arange(shape.out_height * shape.out_width), shape.out_width)
    source = step * (rows * padded[1] + columns)
    filled = _filled(source, tile)
    taps = np.stack(np.divmod(np.arange(kernel**2), kernel), axis=1).astype(np.int64)
    products = np.array([[kernel, kernel, 0, filled.size, 0]], dtype=np.int64)
    target = _filled(np.arange(source.size), tile)
    return Plan((pad, pad), padded, products, filled, target, taps, True)


@functools.lru_cache(maxsize=512)
def gradient_plan(shape: Convolution, tile: int) -> Plan:
    """Plan of the gradient of the input, whose source is the gradient of the output."""
    sizes = ((shape.height, shape.out_height), (shape.width, shape.out_width))
    axes = [
        [_axis(size, out, shape, parity) for parity in range(min(shape.stride, size))]
        for size, out in sizes
    ]
    margins, padded = [], []
    for (_, out), axis in zip(sizes, axes, strict=True):
        used = [(taps, first, pixels) for taps, first, pixels in axis if taps.size]
        low = max([0] + [-first for _, first, _ in used])
        high = max([0] + [first + p.size - 1 + t.size - out for t, first, p in used])
        margins.append(low)
        padded.append(low + out + high)
    products: list[list[int]] = []
    source: list[Table] = []
    target: list[Table] = []
    taps: list[list[int]] = []
    begin = written = 0
    for taps_y, first_y, rows in axes[0]:
        for taps_x, first_x, columns in axes[1]:
            if not (taps_y.size and taps_x.size):
                continue
            y = np.arange(rows.size)[:, None] + first_y + margins[0]
            x = np.arange(columns.size)[None, :] + first_x + margins[1]
            source.append(_filled((y * padded[1] + x).ravel(), tile))
            pixels = (rows[:, None] * shape.width + columns[None, :]).ravel()
            target.append(_filled(pixels, tile))
            count = target[-1].size
            products.append([taps_y.size, taps_x.size, begin, count, len(taps)])
            taps += [[int(a), int(b)] for a in taps_y for b in taps_x]
            begin, written = begin + count, written + pixels.size
    return Plan(
        (margins[0], margins[1]),
        (padded[0], padded[1]),
        np.array(products, dtype=np.int64),
        np.concatenate(source),
        np.concatenate(target),
        np.array(taps, dtype=np.int64),
        written == shape.height * shape.width,
    )


@functools.lru_cache(maxsize=512)
def weight_pixels(shape: Convolution, images: int) -> Table:
    """Pixel of some padded inputs, one after the other, where each output pixel's taps begin."""
    plan = forward_plan(shape, 1)
    starts = np.arange(images, dtype=np.int64) * (plan.padded[0] * plan.padded[1])
    return (starts[:, None] + plan.source[None, :]).ravel()


def _filled(values: Any, tile: int) -> Table:
    found = np.asarray(values, dtype=np.int64)
    extra = -found.size % tile
    return np.concatenate([found, np.full(extra, found[-1], dtype=np.int64)])
