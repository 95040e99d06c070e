"""Compiled passes between convolutions: writing activated tensors, pooling, their adjoints."""

from __future__ import annotations

import numpy as np
from numba import njit

from .convolution import activate, span_of, spread
from .normalization import through_activation

ROW = 256


@njit(nogil=True, cache=True)
def write(x, sizes, scale, shift, affine, activation, beta, work, add, out):
    """Write act(x scale + shift) to out, or add it."""
    n, pixels, channels = sizes
    span = span_of(channels, pixels)
    length = span * channels
    stride = work.size // 3
    row_scale, row_shift, line = work[:stride], work[stride : 2 * stride], work[2 * stride :]
    for i in range(n):
        if affine:
            spread(scale, i * channels, channels, span, row_scale)
            spread(shift, i * channels, channels, span, row_shift)
        for y in range(pixels // span):
            begin = (i * pixels + y * span) * channels
            if add:
                activate(x, begin, length, row_scale, row_shift, affine, activation, beta, line, 0)
                target = out[begin : begin + length]
                for j in range(length):
                    target[j] += line[j]
            else:
                activate(
                    x, begin, length, row_scale, row_shift, affine, activation, beta, out, begin
                )


@njit(nogil=True, cache=True)
def through_plain(d, x, activation, beta):
    """Multiply d by act'(x) in place."""
    one = np.ones(ROW, dtype=d.dtype)
    zero = np.zeros(ROW, dtype=d.dtype)
    for begin in range(0, d.size, ROW):
        length = min(ROW, d.size - begin)
        through_activation(d, x, begin, length, one, zero, activation, beta)


@njit(nogil=True, cache=True)
def drop(x, keep, scale):
    """Multiply x by ``scale`` where it is kept and by 0 elsewhere, in place."""
    zero, kept = x.dtype.type(0), x.dtype.type(scale)
    for j in range(x.size):
        x[j] *= kept if keep[j] else zero


@njit(nogil=True, cache=True)
def global_average(x, sizes, scale, shift, affine, activation, beta, work, out):
    """Mean over the pixels of act(x scale + shift), (n, channels)."""
    n, pixels, channels = sizes
    stride = work.size // 3
    line = work[2 * stride :]
    total = np.empty(channels)
    for i in range(n):
        total[:] = 0.0
        for q in range(pixels):
            begin = i * channels
            activate(
                x, (i * pixels + q) * channels, channels, scale[begin : begin + channels],
                shift[begin : begin + channels], affine, activation, beta, line, 0,
            )  # fmt: skip
            for c in range(channels):
                total[c] += line[c]
        for c in range(channels):
            out[i, c] = total[c] / pixels


@njit(nogil=True, cache=True)
def max_pool(x, out, where):
    """Largest of each 2 x 2 window, and which of the four it is; NaN wins."""
    n, height, width, channels = out.shape
    for i in range(n):
        for y in range(height):
            for z in range(width):
                for c in range(channels):
                    best, place = x[i, 2 * y, 2 * z, c], 0
                    for k in range(1, 4):
                        value = x[i, 2 * y + k // 2, 2 * z + k % 2, c]
                        if value > best or (value != value and best == best):
                            best, place = value, k
                    out[i, y, z, c] = best
                    where[i, y, z, c] = place


@njit(nogil=True, cache=True)
def spread_max(d, where, out):
    """Adjoint of :func:`max_pool`."""
    n, height, width, channels = d.shape
    out[:] = 0
    for i in range(n):
        for y in range(height):
            for z in range(width):
                for c in range(channels):
                    k = where[i, y, z, c]
                    out[i, 2 * y + k // 2, 2 * z + k % 2, c] = d[i, y, z, c]
