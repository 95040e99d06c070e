"""Compiled statistics and gradients of normalisation layers fused with the activation after them.

With z = x scale + shift per image and channel, scale = gamma / sigma and shift = beta - mu scale,
the layer's output is act(z). For a group of M numbers with d = (dout act'(z)):

    dx = scale d - slope (x - mu) - level,
    level = mean(gamma d) / sigma,   slope = mean(gamma d (x - mu)) / sigma^3.

Sums run over the rows of an image in the arrays' own precision, and over rows' ends, channels and
images in float64: the error does not grow with the number of pixels.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit

from .convolution import NONE, RELU, span_of, spread


@njit(nogil=True, cache=True)
def _fold(row, channels, span, out, line):
    """Add the ``span`` copies of each channel to a line of float64 sums."""
    for s in range(span):
        for c in range(channels):
            out[line, c] += row[s * channels + c]


@njit(nogil=True, cache=True)
def _sum_rows(x, begin, length, rows, out):
    """Sum of ``rows`` stretches of ``length`` numbers, element by element."""
    out[:length] = 0
    for y in range(rows):
        source = x[begin + y * length : begin + (y + 1) * length]
        for j in range(length):
            out[j] += source[j]


@njit(nogil=True, cache=True, fastmath={"contract"})
def _sum_squares(x, begin, length, rows, mean, out):
    """Sum of the squares of x - mean, likewise."""
    out[:length] = 0
    for y in range(rows):
        source = x[begin + y * length : begin + (y + 1) * length]
        for j in range(length):
            centred = source[j] - mean[j]
            out[j] += centred * centred


@njit(nogil=True, cache=True)
def channel_sums(x, sizes, centre, squares, work, out):
    """Write sums of x, or of (x - centre)^2, over the pixels of each image to out (n, channels)."""
    n, pixels, channels = sizes
    span = span_of(channels, pixels)
    rows = pixels // span
    # A block of rows is summed in the arrays' precision, blocks in float64.
    block = 32
    stride = work.size // 2
    mean = work[stride:]
    out[:] = 0
    if squares:
        spread(centre, 0, channels, span, mean)
    for i in range(n):
        for y in range(0, rows, block):
            count = min(block, rows - y)
            begin = (i * pixels + y * span) * channels
            if squares:
                _sum_squares(x, begin, span * channels, count, mean, work)
            else:
                _sum_rows(x, begin, span * channels, count, work)
            _fold(work, channels, span, out, i)


@njit(nogil=True, cache=True)
def group_statistics(
    x, sizes, groups, epsilon, gamma, beta, work, sums, mean, inverse, scale, shift
):
    """Mean and 1 / sqrt(variance + epsilon) per image and group; scale and shift per channel."""
    n, pixels, channels = sizes
    width = channels // groups
    count = pixels * width
    centre = np.empty(channels, dtype=x.dtype)
    for i in range(n):
        image = x[i * pixels * channels : (i + 1) * pixels * channels]
        one = sums[i : i + 1]
        channel_sums(image, (1, pixels, channels), centre, False, work, one)
        for g in range(groups):
            total = 0.0
            for c in range(g * width, (g + 1) * width):
                total += one[0, c]
            mean[i, g] = total / count
            for c in range(g * width, (g + 1) * width):
                centre[c] = mean[i, g]
        channel_sums(image, (1, pixels, channels), centre, True, work, one)
        for g in range(groups):
            total = 0.0
            for c in range(g * width, (g + 1) * width):
                total += one[0, c]
            inverse[i, g] = 1.0 / math.sqrt(total / count + epsilon)
            for c in range(g * width, (g + 1) * width):
                scale[i, c] = gamma[c] * inverse[i, g]
                shift[i, c] = beta[c] - centre[c] * scale[i, c]


@njit(nogil=True, cache=True, fastmath={"contract"})
def through_activation(d, x, begin, length, scale, shift, activation, beta):
    """Multiply a stretch of d by act'(x scale + shift)."""
    target = d[begin : begin + length]
    source = x[begin : begin + length]
    if activation == RELU:
        for j in range(length):
            z = source[j] * scale[j] + shift[j]
            target[j] = d.dtype.type(0) if z <= 0 else target[j]
    elif activation != NONE:
        for j in range(length):
            z = source[j] * scale[j] + shift[j]
            target[j] *= 1.0 / (1.0 + math.exp(-beta * z))


@njit(nogil=True, cache=True, fastmath={"contract"})
def _gradient_sums(d, x, begin, length, rows, mean, plain, weighted):
    """Sum d and d (x - mean) over rows, element by element."""
    plain[:length] = 0
    weighted[:length] = 0
    for y in range(rows):
        target = d[begin + y * length : begin + (y + 1) * length]
        source = x[begin + y * length : begin + (y + 1) * length]
        for j in range(length):
            plain[j] += target[j]
            weighted[j] += target[j] * (source[j] - mean[j])


@njit(nogil=True, cache=True)
def gradient_sums(d, x, first, sizes, mean, scale, shift, activation, beta, work, plain, weighted):
    """Multiply d of some images by act' in place; sums of it and of it times x - mean per channel.

    ``mean``, ``scale`` and ``shift`` are (n, channels); ``plain`` and ``weighted`` are float64.
    """
    n, pixels, channels = sizes
    span = span_of(channels, pixels)
    rows, length = pixels // span, span * channels
    stride = work.size // 5
    row_mean, row_scale, row_shift = (
        work[: 1 * stride],
        work[stride : 2 * stride],
        work[2 * stride : 3 * stride],
    )
    sum_plain, sum_weighted = work[3 * stride : 4 * stride], work[4 * stride :]
    block = 32
    for i in range(first, first + n):
        spread(mean, i * channels, channels, span, row_mean)
        spread(scale, i * channels, channels, span, row_scale)
        spread(shift, i * channels, channels, span, row_shift)
        plain[i] = 0
        weighted[i] = 0
        for y in range(0, rows, block):
            count = min(block, rows - y)
            begin = (i * pixels + y * span) * channels
            for k in range(count):
                through_activation(
                    d, x, begin + k * length, length, row_scale, row_shift, activation, beta
                )
            _gradient_sums(d, x, begin, length, count, row_mean, sum_plain, sum_weighted)
            _fold(sum_plain, channels, span, plain, i)
            _fold(sum_weighted, channels, span, weighted, i)


@njit(nogil=True, cache=True, fastmath={"contract"})
def _combine(d, x, begin, length, rows, mean, scale, slope, level, residual, add):
    for y in range(rows):
        target = d[begin + y * length : begin + (y + 1) * length]
        source = x[begin + y * length : begin + (y + 1) * length]
        if add:
            more = residual[begin + y * length : begin + (y + 1) * length]
            for j in range(length):
                value = scale[j] * target[j] - (slope[j] * (source[j] - mean[j]) + level[j])
                target[j] = value + more[j]
        else:
            for j in range(length):
                target[j] = scale[j] * target[j] - (slope[j] * (source[j] - mean[j]) + level[j])


@njit(nogil=True, cache=True)
def input_gradient(d, x, first, sizes, mean, scale, slope, level, work, residual, add):
    """Turn d = dout act' into scale d - (slope (x - mean) + level), plus residual, in place.

    ``mean``, ``scale``, ``slope`` and ``level`` are (n, channels).
    """
    n, pixels, channels = sizes
    span = span_of(channels, pixels)
    stride = work.size // 4
    lines = (
        work[:stride],
        work[stride : 2 * stride],
        work[2 * stride : 3 * stride],
        work[3 * stride :],
    )
    for i in range(first, first + n):
        spread(mean, i * channels, channels, span, lines[0])
        spread(scale, i * channels, channels, span, lines[1])
        spread(slope, i * channels, channels, span, lines[2])
        spread(level, i * channels, channels, span, lines[3])
        _combine(
            d, x, i * pixels * channels, span * channels, pixels // span,
            lines[0], lines[1], lines[2], lines[3], residual, add,
        )  # fmt: skip


@njit(nogil=True, cache=True)
def group_gradient(
    d, x, sizes, groups, gamma, mean, inverse, scale, shift, activation, beta, work, sums, table,
    residual, add, dgamma, dbeta,
):  # fmt: skip
    """Group norm and activation backwards, image by image, in place in d.

    ``sums`` is float64 (2, n, channels), ``table`` (3, n, channels): mean, slope, level.
    """
    n, pixels, channels = sizes
    width = channels // groups
    for i in range(n):
        for c in range(channels):
            table[0, i, c] = mean[i, c // width]
    size = n * channels
    flat_mean, flat_slope, flat_level = (
        table[0].reshape(size), table[1].reshape(size), table[2].reshape(size)
    )  # fmt: skip
    flat_scale, flat_shift = scale.reshape(size), shift.reshape(size)
    one = (1, pixels, channels)
    for i in range(n):
        gradient_sums(
            d, x, i, one, flat_mean, flat_scale, flat_shift, activation, beta, work,
            sums[0], sums[1],
        )  # fmt: skip
        for g in range(groups):
            first, second = 0.0, 0.0
            for c in range(g * width, (g + 1) * width):
                first += gamma[c] * sums[0, i, c]
                second += gamma[c] * sums[1, i, c]
            sigma = inverse[i, g]
            first *= sigma / (pixels * width)
            second *= sigma * sigma * sigma / (pixels * width)
            for c in range(g * width, (g + 1) * width):
                table[1, i, c] = second
                table[2, i, c] = first
        input_gradient(
            d, x, i, one, flat_mean, flat_scale, flat_slope, flat_level, work, residual, add
        )
    for c in range(channels):
        total, weighted = 0.0, 0.0
        for i in range(n):
            total += sums[0, i, c]
            weighted += sums[1, i, c] * inverse[i, c // width]
        dbeta[c] = total
        dgamma[c] = weighted
