"""Compiled convolutions on channels-last images: products over padded copies that stay in cache.

Images are (n, height, width, channels), contiguous, handed over flat. A pass copies a few images
into a padded scratch, applying what precedes the convolution on the way,

    a = act(x scale + shift),    scale and shift per image and channel,

so that normalised and activated tensors are never written to memory, and then runs the tiles of
:mod:`.operations.registers` over the scratch. Channels that do not fill a register are computed
beside zeros and left out of the result.
"""

from __future__ import annotations

import math

from numba import njit

from .registers import BYTES, PIXELS, ROWS, VECTORS, multiply_tile, outer_tile

_multiply1 = multiply_tile(PIXELS, 1)
_multiply2 = multiply_tile(PIXELS, VECTORS)
_outer1 = outer_tile(ROWS, 1)
_outer2 = outer_tile(ROWS, VECTORS)

NONE, RELU, SOFTPLUS = 0, 1, 2


@njit(inline="always")
def softplus(z, beta):
    """log(1 + exp(beta z)) / beta without overflow."""
    return max(z, 0.0) + math.log1p(math.exp(-abs(beta * z))) / beta


@njit(nogil=True, cache=True)
def span_of(channels, width):
    """Pixels handled as one long row of channels, so that few channels fill registers."""
    span = 1
    while 2 * span * channels <= 256 and width % (2 * span) == 0:
        span *= 2
    return span


@njit(nogil=True, cache=True)
def spread(values, start, channels, span, out):
    """Repeat ``channels`` values ``span`` times."""
    for s in range(span):
        for c in range(channels):
            out[s * channels + c] = values[start + c]


@njit(nogil=True, cache=True, fastmath={"contract"})
def activate(x, begin, length, scale, shift, affine, activation, beta, out, start):
    """Write act(x scale + shift) of one stretch."""
    source = x[begin : begin + length]
    target = out[start : start + length]
    if not affine:
        if activation == NONE:
            for j in range(length):
                target[j] = source[j]
        elif activation == RELU:
            for j in range(length):
                z = source[j]
                target[j] = x.dtype.type(0) if z <= 0 else z
        else:
            for j in range(length):
                target[j] = softplus(source[j], beta)
    elif activation == NONE:
        for j in range(length):
            target[j] = source[j] * scale[j] + shift[j]
    elif activation == RELU:
        for j in range(length):
            z = source[j] * scale[j] + shift[j]
            target[j] = x.dtype.type(0) if z <= 0 else z
    else:
        for j in range(length):
            target[j] = softplus(source[j] * scale[j] + shift[j], beta)


@njit(nogil=True, cache=True)
def pad_image(
    x, image, sizes, scale, shift, affine, activation, beta, rows, out, start, margins, padded
):
    """Write a padded copy of one image.

    ``sizes`` is (height, width, channels) of what is copied, then the numbers between its rows,
    between its pixels and between images; ``rows`` is work space.
    """
    height, width, channels, row_step, pixel_step, image_step = sizes
    begin = image * image_step
    zero = x.dtype.type(0)
    span = span_of(channels, width) if pixel_step == channels else 1
    stride = rows.size // 2
    if affine:
        spread(scale, image * channels, channels, span, rows)
        spread(shift, image * channels, channels, span, rows[stride:])
    line = padded[1] * channels
    head = margins[1] * channels
    full = width * channels
    out[start : start + margins[0] * line] = zero
    for y in range(height):
        at = start + (margins[0] + y) * line
        out[at : at + head] = zero
        for s in range(0, width, span):
            activate(
                x, begin + y * row_step + s * pixel_step, span * channels, rows, rows[stride:],
                affine, activation, beta, out, at + head + s * channels,
            )  # fmt: skip
        out[at + head + full : at + line] = zero
    out[start + (margins[0] + height) * line : start + padded[0] * line] = zero


@njit(nogil=True, cache=True)
def pack(w, sizes, taps, products, transposed, out):
    """Weights in the order in which the products read them.

    ``sizes`` is (kernel, inputs, outputs) of w, laid out as (kernel, kernel, inputs, outputs); for
    the gradient of the input (``transposed``) inputs and outputs change places.
    """
    kernel, inputs, outputs = sizes
    lanes = BYTES // w.itemsize
    sources = outputs if transposed else inputs
    targets = inputs if transposed else outputs
    vectors = (targets + lanes - 1) // lanes
    place = 0
    for p in range(products.shape[0]):
        count = products[p, 0] * products[p, 1]
        v = 0
        while v < vectors:
            own = VECTORS if vectors - v >= VECTORS else 1
            wide = own * lanes
            first = v * lanes
            known = min(wide, targets - first)
            for t in range(products[p, 4], products[p, 4] + count):
                begin = (taps[t, 0] * kernel + taps[t, 1]) * inputs * outputs
                for c in range(sources):
                    line = out[place : place + wide]
                    if transposed:
                        for j in range(known):
                            line[j] = w[begin + (first + j) * outputs + c]
                    else:
                        source = w[begin + c * outputs + first : begin + c * outputs + targets]
                        for j in range(known):
                            line[j] = source[j]
                    for j in range(known, wide):
                        line[j] = 0
                    place += wide
            v += own


@njit(nogil=True, cache=True)
def products_of_image(
    scratch, base, source, channels, padded_width, products, w, vectors, v, own, residual, out,
    target, out_base, out_channels, add,
):  # fmt: skip
    """All products of one image onto ``own`` registers of output channels from the v-th."""
    lanes = BYTES // w.itemsize
    for p in range(products.shape[0]):
        width = products[p, 1] * channels
        start = products[p, 4] * channels * vectors * lanes + v * lanes * products[p, 0] * width
        for tile in range(products[p, 2], products[p, 2] + products[p, 3], PIXELS):
            if own == VECTORS:
                _multiply2(
                    scratch, source, base, channels, tile, products[p, 0],
                    padded_width * channels, width, w, start, residual, out, target,
                    out_base + v * lanes, out_channels, add,
                )  # fmt: skip
            else:
                _multiply1(
                    scratch, source, base, channels, tile, products[p, 0],
                    padded_width * channels, width, w, start, residual, out, target,
                    out_base + v * lanes, out_channels, add,
                )  # fmt: skip


@njit(nogil=True, cache=True)
def convolve(
    x, n, sizes, prologue, rows, margins, padded, products, source, target, w, targets, pixels,
    bias, residual, add, out, scratch, group, narrow,
):  # fmt: skip
    """One pass of a plan over n images; ``targets`` channels on ``pixels`` pixels are written.

    ``prologue`` is (scale, shift, affine, activation, beta); ``bias`` may be empty; ``scratch``
    holds ``group`` padded images, ``narrow`` one image of filled registers if they do not fit.
    """
    scale, shift, affine, activation, beta = prologue
    channels = sizes[2]
    lanes = BYTES // w.itemsize
    vectors = (targets + lanes - 1) // lanes
    whole = targets % lanes == 0
    size = padded[0] * padded[1] * channels
    for first in range(0, n, group):
        last = min(n, first + group)
        for i in range(first, last):
            pad_image(
                x, i, sizes, scale, shift, affine, activation, beta, rows, scratch,
                (i - first) * size, margins, padded,
            )  # fmt: skip
        v = 0
        while v < vectors:
            own = VECTORS if vectors - v >= VECTORS else 1
            for i in range(first, last):
                base = (i - first) * size
                if whole:
                    products_of_image(
                        scratch, base, source, channels, padded[1], products, w, vectors, v, own,
                        residual, out, target, i * pixels * targets, targets, add,
                    )  # fmt: skip
                else:
                    products_of_image(
                        scratch, base, source, channels, padded[1], products, w, vectors, v, own,
                        narrow, narrow, target, 0, vectors * lanes, False,
                    )  # fmt: skip
                    _copy_channels(
                        narrow, vectors * lanes, v * lanes, min(targets, (v + own) * lanes),
                        target, residual, add, out, i * pixels * targets, targets,
                    )  # fmt: skip
            v += own
        if bias.size > 0:
            for q in range(first * pixels, last * pixels):
                for c in range(targets):
                    out[q * targets + c] += bias[c]


@njit(nogil=True, cache=True)
def _copy_channels(narrow, filled, low, high, target, residual, add, out, begin, targets):
    """Move the channels from low to high of the written pixels to their place."""
    previous = -1
    for t in range(target.size):
        q = target[t]
        if q == previous:
            continue
        previous = q
        for c in range(low, high):
            value = narrow[q * filled + c]
            if add:
                value += residual[begin + q * targets + c]
            out[begin + q * targets + c] = value


@njit(nogil=True, cache=True)
def panels(d, first, count, outputs, low, wide, out):
    """Columns from low to low + wide of ``count`` rows of d, contiguous; zero beyond its end."""
    known = min(wide, outputs - low)
    for q in range(count):
        begin = (first + q) * outputs + low
        out[q * wide : q * wide + known] = d[begin : begin + known]
        out[q * wide + known : (q + 1) * wide] = 0


@njit(nogil=True, cache=True)
def _gather(scratch, source, begin, channels, count, out):
    """Copy ROWS numbers of each pixel: pixels a power of two apart would share cache sets."""
    for q in range(count):
        start = begin + channels * source[q]
        for r in range(ROWS):
            out[q * ROWS + r] = scratch[start + r]


@njit(nogil=True, cache=True)
def _outer_blocks(
    left, source, begin, channels, count, right, first, outputs, dw, row, height, fresh, tile
):
    """Products of ``height`` rows, from ``row`` on, with all output channels.

    Tiles that reach over the end of the rows or channels go through ``tile``.
    """
    lanes = BYTES // left.itemsize
    vectors = (outputs + lanes - 1) // lanes
    v = 0
    while v < vectors:
        own = VECTORS if vectors - v >= VECTORS else 1
        wide = own * lanes
        base = first * wide + v * lanes * count
        place = row * outputs + v * lanes
        known = min(wide, outputs - v * lanes)
        direct = height == ROWS and known == wide
        if not direct and not fresh:
            for r in range(height):
                for j in range(known):
                    tile[r * wide + j] = dw[place + r * outputs + j]
        if own == VECTORS:
            if direct:
                _outer2(
                    left, source, begin, channels, count, right, base, wide, dw, place, outputs,
                    fresh,
                )  # fmt: skip
            else:
                _outer2(
                    left, source, begin, channels, count, right, base, wide, tile, 0, wide, fresh
                )
        elif direct:
            _outer1(
                left, source, begin, channels, count, right, base, wide, dw, place, outputs, fresh
            )
        else:
            _outer1(left, source, begin, channels, count, right, base, wide, tile, 0, wide, fresh)
        if not direct:
            for r in range(height):
                for j in range(known):
                    dw[place + r * outputs + j] = tile[r * wide + j]
        v += own


@njit(nogil=True, cache=True)
def weight_gradient(
    x, n, sizes, prologue, rows, margins, padded, source, pixels, kernel, d, outputs, dw, tile,
    scratch, group, panel, gathered, order,
):  # fmt: skip
    """Write sum over images and pixels of a d^T to dw, laid out (kernel, kernel, inputs, outputs).

    ``source`` names the pixels of a group of images. If ``gathered`` is not empty, blocks of rows
    are gathered there first; ``order`` counts.
    """
    scale, shift, affine, activation, beta = prologue
    channels = sizes[2]
    lanes = BYTES // d.itemsize
    vectors = (outputs + lanes - 1) // lanes
    length = kernel * channels
    size = padded[0] * padded[1] * channels
    for first in range(0, n, group):
        last = min(n, first + group)
        for i in range(first, last):
            pad_image(
                x, i, sizes, scale, shift, affine, activation, beta, rows, scratch,
                (i - first) * size, margins, padded,
            )  # fmt: skip
        count = (last - first) * pixels
        whole = outputs == lanes or (VECTORS == 2 and outputs == 2 * lanes)
        v = 0
        while v < vectors and not whole:
            own = VECTORS if vectors - v >= VECTORS else 1
            here = panel[v * lanes * count :]
            panels(d, first * pixels, count, outputs, v * lanes, own * lanes, here)
            v += own
        right, start = (d, first * pixels) if whole else (panel, 0)
        for ky in range(kernel):
            for b in range(0, length, ROWS):
                begin = ky * padded[1] * channels + b
                left, pixel, step = scratch, source, channels
                if gathered.size > 0:
                    _gather(scratch, source, begin, channels, count, gathered)
                    left, pixel, step, begin = gathered, order, ROWS, 0
                _outer_blocks(
                    left, pixel, begin, step, count, right, start, outputs, dw,
                    ky * length + b, min(ROWS, length - b), first == 0, tile,
                )  # fmt: skip
