"""The operations of the networks on a CPU: compiled kernels with their work space.

Same methods as :class:`.operations.arrays.ArrayOperations`, which is their slow twin. A lane
calls them from its own thread; none of them starts threads.
"""

from __future__ import annotations

import functools
from typing import Any

import numpy as np

from . import convolution, normalization
from . import pooling as pool
from .arrays import ArrayOperations
from .geometry import Convolution, forward_plan, gradient_plan, weight_pixels
from .registers import BYTES, PIXELS, ROWS, VECTORS
from .signals import Signal, Statistics

# Bytes of padded images in cache beside the weights, or beside the sums of their gradient.
CACHE = 448 * 1024
WEIGHT_CACHE = 1536 * 1024
# Registers of output channels and pixels of an image where gathering rows of the input pays.
GATHER, FEW_PIXELS = 8, 64
ROW = 256


def filled_channels(channels: int, lanes: int) -> int:
    """Channels rounded up to whole registers."""
    return -(-channels // lanes) * lanes


@functools.lru_cache(maxsize=64)
def counting(size: int) -> Any:
    """0, 1, ..., size - 1."""
    return np.arange(size, dtype=np.int64)


@functools.lru_cache(maxsize=512)
def _sampled(shape: Convolution) -> Convolution:
    """Return what runs: a 1x1 convolution with a stride is one over a sampled copy."""
    if shape.kernel > 1 or shape.stride == 1:
        return shape
    return Convolution(shape.out_height, shape.out_width, shape.inputs, shape.outputs, 1, 1)


@functools.lru_cache(maxsize=512)
def _source(shape: Convolution) -> tuple[int, ...]:
    """Height, width and channels of what is copied; numbers between rows, pixels and images."""
    sampled, step = _sampled(shape), 1 if shape.kernel > 1 else shape.stride
    row = shape.width * shape.inputs
    steps = (step * row, step * shape.inputs, shape.height * row)
    return sampled.height, sampled.width, shape.inputs, *steps


class CompiledOperations(ArrayOperations):
    """Operations by compiled kernels on NumPy arrays of float32 or float64."""

    compiled = True

    def __init__(self) -> None:
        super().__init__(np)
        self.nothing = {kind: np.zeros(0, kind) for kind in (np.dtype("f4"), np.dtype("f8"))}

    def _prologue(self, signal: Signal) -> tuple[Any, ...]:
        none = self.nothing[signal.x.dtype]
        affine = signal.scale is not None
        return (
            signal.scale.reshape(-1) if affine else none,
            signal.shift.reshape(-1) if affine else none,
            affine,
            signal.activation.code,
            float(signal.activation.beta),
        )

    def pack(self, shape: Convolution, w: Any, gradient: bool, memory: Any = None) -> Any:
        """Weights in the order in which the compiled products read them."""
        plan = gradient_plan(shape, PIXELS) if gradient else forward_plan(shape, PIXELS)
        lanes = BYTES // w.itemsize
        channels = (shape.outputs, shape.inputs) if gradient else (shape.inputs, shape.outputs)
        size = len(plan.taps) * channels[0] * filled_channels(channels[1], lanes)
        out = np.empty(size, w.dtype) if memory is None else memory
        sizes = (shape.kernel, shape.inputs, shape.outputs)
        convolution.pack(w.reshape(-1), sizes, plan.taps, plan.products, gradient, out)
        return out

    def convolve(
        self, lane: Any, shape: Convolution, signal: Signal, packed: Any, bias: Any,
        residual: Any, out: Any,
    ) -> None:  # fmt: skip
        """Write conv(signal) [+ bias] [+ residual] to out."""
        plan = forward_plan(_sampled(shape), PIXELS)
        self._run(lane, plan, _source(shape), signal, packed, shape.outputs, bias, residual, out)

    def convolve_back(
        self, lane: Any, shape: Convolution, d: Any, packed: Any, out: Any, add: bool
    ) -> None:
        """Write to out, or add to it, the gradient of the convolution's input."""
        plan = gradient_plan(shape, PIXELS)
        if not (plan.covers or add):
            out[...] = 0
            add = True
        sizes = _source(Convolution(shape.out_height, shape.out_width, shape.outputs, 1))
        residual = out if add else None
        self._run(lane, plan, sizes, Signal(d), packed, shape.inputs, None, residual, out)

    def _run(
        self, lane: Any, plan: Any, sizes: Any, signal: Signal, packed: Any, targets: int,
        bias: Any, residual: Any, out: Any,
    ) -> None:  # fmt: skip
        x, lanes = signal.x, BYTES // out.itemsize
        n = len(x)
        size = plan.padded[0] * plan.padded[1] * sizes[2]
        group = max(1, min(n, CACHE // (size * out.itemsize)))
        pixels = out.shape[1] * out.shape[2]
        none = self.nothing[out.dtype]
        filled = filled_channels(targets, lanes)
        narrow = none if filled == targets else lane.scratch("narrow", pixels * filled)
        convolution.convolve(
            x.reshape(-1), n, sizes, self._prologue(signal),
            lane.scratch("rows", 2 * max(ROW, sizes[2])), plan.margins, plan.padded,
            plan.products, plan.source, plan.target, packed, targets, pixels,
            none if bias is None else bias,
            none if residual is None else residual.reshape(-1), residual is not None,
            out.reshape(-1), lane.scratch("padded", group * size), group, narrow,
        )  # fmt: skip

    def weight_gradient(
        self, lane: Any, shape: Convolution, signal: Signal, d: Any, dw: Any, dbias: Any
    ) -> None:
        """Write the gradients of weights and bias, summed over the images."""
        sampled = _sampled(shape)
        plan = forward_plan(sampled, PIXELS)
        n, lanes = len(d), BYTES // d.itemsize
        pixels = shape.out_height * shape.out_width
        size = plan.padded[0] * plan.padded[1] * shape.inputs
        group = max(1, min(n, WEIGHT_CACHE // (size * d.itemsize)))
        gather = shape.outputs >= GATHER * lanes and pixels <= FEW_PIXELS
        convolution.weight_gradient(
            signal.x.reshape(-1), n, _source(shape), self._prologue(signal),
            lane.scratch("rows", 2 * max(ROW, shape.inputs)), plan.margins, plan.padded,
            weight_pixels(sampled, group), pixels, shape.kernel, d.reshape(-1), shape.outputs,
            dw.reshape(-1), lane.scratch("tile", ROWS * VECTORS * lanes),
            lane.scratch("padded", group * size + ROWS), group,
            lane.scratch("panel", group * pixels * filled_channels(shape.outputs, lanes)),
            lane.scratch("gathered", group * pixels * ROWS) if gather else self.nothing[d.dtype],
            counting(group * pixels),
        )  # fmt: skip
        if dbias is not None:
            dbias[...] = self.channel_sums(lane, d)

    def channel_sums(self, lane: Any, x: Any, centre: Any = None) -> Any:
        """Sum over images and pixels of x, or of (x - centre)^2: (channels,) in float64."""
        n, channels = len(x), x.shape[-1]
        out = np.empty((n, channels))
        squares = centre is not None
        middle = centre.astype(x.dtype) if squares else self.nothing[x.dtype]
        work = lane.scratch("rows", 2 * max(ROW, channels))
        sizes = (n, x.size // (n * channels), channels)
        normalization.channel_sums(x.reshape(-1), sizes, middle, squares, work, out)
        return out.sum(axis=0)

    def group_statistics(
        self, lane: Any, x: Any, groups: int, epsilon: float, gamma: Any, beta: Any
    ) -> Statistics:
        """Statistics per image and group of channels."""
        n, channels = len(x), x.shape[-1]
        sizes = (n, x.size // (n * channels), channels)
        mean, inverse = np.empty((2, n, groups), x.dtype)
        scale, shift = np.empty((2, n, channels), x.dtype)
        sums = np.empty((n, channels))
        normalization.group_statistics(
            x.reshape(-1), sizes, groups, epsilon, gamma, beta,
            lane.scratch("rows", 2 * max(ROW, channels)), sums, mean, inverse, scale, shift,
        )  # fmt: skip
        return Statistics(mean, inverse, scale, shift)

    def group_gradient(
        self, lane: Any, d: Any, signal: Signal, kept: Statistics, gamma: Any, residual: Any,
        dgamma: Any, dbeta: Any,
    ) -> None:  # fmt: skip
        """Turn d, the gradient of the activated output, into that of x, in place."""
        n, channels = len(d), d.shape[-1]
        sizes = (n, d.size // (n * channels), channels)
        flat = d.reshape(-1)
        normalization.group_gradient(
            flat, signal.x.reshape(-1), sizes, kept.mean.shape[1], gamma, kept.mean, kept.inverse,
            kept.scale, kept.shift, signal.activation.code, float(signal.activation.beta),
            lane.scratch("rows", 5 * max(ROW, channels)), np.empty((2, n, channels)),
            np.empty((3, n, channels), d.dtype),
            flat if residual is None else residual.reshape(-1), residual is not None,
            dgamma, dbeta,
        )  # fmt: skip

    def gradient_sums(self, lane: Any, d: Any, signal: Signal, mean: Any) -> tuple[Any, Any]:
        """Multiply d by act' in place; sums of it and of it times x - mean, (channels,)."""
        n, channels = len(d), d.shape[-1]
        sizes = (n, d.size // (n * channels), channels)
        plain, weighted = np.empty((2, n, channels))
        middle = np.tile(mean.astype(d.dtype), n)
        normalization.gradient_sums(
            d.reshape(-1), signal.x.reshape(-1), 0, sizes, middle, signal.scale.reshape(-1),
            signal.shift.reshape(-1), signal.activation.code, float(signal.activation.beta),
            lane.scratch("rows", 5 * max(ROW, channels)), plain, weighted,
        )  # fmt: skip
        return plain.sum(axis=0), weighted.sum(axis=0)

    def input_gradient(
        self, lane: Any, d: Any, signal: Signal, mean: Any, slope: Any, level: Any, residual: Any
    ) -> None:
        """Turn d into scale d - slope (x - mean) - level [+ residual], in place."""
        n, channels = len(d), d.shape[-1]
        sizes = (n, d.size // (n * channels), channels)
        middle, steep, low = (np.tile(v.astype(d.dtype), n) for v in (mean, slope, level))
        flat = d.reshape(-1)
        normalization.input_gradient(
            flat, signal.x.reshape(-1), 0, sizes, middle, signal.scale.reshape(-1), steep, low,
            lane.scratch("rows", 4 * max(ROW, channels)),
            flat if residual is None else residual.reshape(-1), residual is not None,
        )  # fmt: skip

    def through_activation(self, lane: Any, d: Any, signal: Signal) -> None:
        """Multiply d by act' at the signal, in place."""
        if signal.activation.code and signal.scale is None and d.ndim == 4:
            x = signal.x.reshape(-1)
            pool.through_plain(
                d.reshape(-1), x, signal.activation.code, float(signal.activation.beta)
            )
        else:
            super().through_activation(lane, d, signal)

    def write(self, lane: Any, signal: Signal, out: Any, add: bool = False) -> None:
        """Write the signal's tensor to out, or add it."""
        x = signal.x
        n, channels = len(x), x.shape[-1]
        scale, shift, affine, code, beta = self._prologue(signal)
        pool.write(
            x.reshape(-1), (n, x.size // (n * channels), channels), scale, shift, affine, code,
            beta, lane.scratch("rows", 3 * max(ROW, channels)), add, out.reshape(-1),
        )  # fmt: skip

    def drop(self, _lane: Any, x: Any, keep: Any, scale: float) -> None:
        """Multiply x by ``scale`` where ``keep``, by 0 elsewhere, in place; NaN stays NaN."""
        pool.drop(x.reshape(-1), keep.reshape(-1), scale)

    def global_average(self, lane: Any, signal: Signal, out: Any) -> None:
        """Mean over the pixels, (n, channels)."""
        x = signal.x
        n, channels = len(x), x.shape[-1]
        scale, shift, affine, code, beta = self._prologue(signal)
        pool.global_average(
            x.reshape(-1), (n, x.size // (n * channels), channels), scale, shift, affine, code,
            beta, lane.scratch("rows", 3 * max(ROW, channels)), out,
        )  # fmt: skip

    def max_pool(self, _lane: Any, x: Any, out: Any, where: Any) -> None:
        """Largest of each 2 x 2 window, and which of the four it is (the first of equals)."""
        pool.max_pool(x, out, where)

    def spread_max(self, _lane: Any, d: Any, where: Any, out: Any) -> None:
        """Adjoint of :meth:`max_pool`."""
        pool.spread_max(d, where, out)
