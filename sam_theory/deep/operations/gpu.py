"""The operations of the networks on a GPU: cuBLAS on column matrices, kernels where nothing fits.

Same methods as :class:`sam_theory.deep.operations.arrays.ArrayOperations`; what is not here runs as
array code on cupy.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from .arrays import ArrayOperations
from .cuda import per_image, per_number
from .geometry import Convolution
from .signals import Signal, Statistics


class GpuOperations(ArrayOperations):
    """Operations by cupy on one GPU."""

    def _plain(self, *arrays: Any) -> list[Any]:
        """Arrays without strides, copied if they have any: results of cupy may, unlike NumPy's."""
        return [self.xp.ascontiguousarray(array) for array in arrays]

    def _prologue(self, signal: Signal) -> tuple[Any, ...]:
        affine = signal.scale is not None
        scale, shift = (signal.scale, signal.shift) if affine else (signal.x, signal.x)
        scale, shift = self._plain(scale, shift)
        kind = signal.x.dtype.type
        return (
            scale,
            shift,
            np.int32(affine),
            np.int32(signal.activation.code),
            kind(signal.activation.beta),
        )

    def columns(self, shape: Convolution, signal: Signal) -> Any:
        """Matrix of all patches, (n out_height out_width, kernel^2 inputs)."""
        x = signal.x
        if shape.kernel == 1 and shape.stride == 1 and signal.scale is None:
            return self.value(signal).reshape(-1, shape.inputs)
        rows = len(x) * shape.out_height * shape.out_width
        out = self.xp.empty((rows, shape.kernel**2 * shape.inputs), x.dtype)
        sizes = (
            shape.height, shape.width, shape.inputs, shape.kernel, shape.stride, shape.pad,
            shape.out_height, shape.out_width,
        )  # fmt: skip
        arguments = (x, *self._prologue(signal), np.int64(out.size), *map(np.int32, sizes), out)
        per_number("columns", x.dtype, out.size, arguments)
        return out

    def convolve(
        self, _lane: Any, shape: Convolution, signal: Signal, packed: Any, bias: Any,
        residual: Any, out: Any,
    ) -> None:  # fmt: skip
        """Write conv(signal) [+ bias] [+ residual] to out."""
        w = packed.reshape(-1, shape.outputs)
        matrix = self.columns(shape, signal)
        if residual is None:
            self.xp.matmul(matrix, w, out=out.reshape(-1, shape.outputs))
        else:
            self.xp.add((matrix @ w).reshape(out.shape), residual, out=out)
        if bias is not None:
            out += bias

    def convolve_back(
        self, _lane: Any, shape: Convolution, d: Any, packed: Any, out: Any, add: bool
    ) -> None:
        """Write to out, or add to it, the gradient of the convolution's input."""
        w = packed.reshape(-1, shape.outputs)
        matrix = d.reshape(-1, shape.outputs) @ w.T
        sizes = (
            shape.height, shape.width, shape.inputs, shape.kernel, shape.stride, shape.pad,
            shape.out_height, shape.out_width, add,
        )  # fmt: skip
        arguments = (matrix, np.int64(out.size), *map(np.int32, sizes), out)
        per_number("spread_columns", d.dtype, out.size, arguments)

    def weight_gradient(
        self, _lane: Any, shape: Convolution, signal: Signal, d: Any, dw: Any, dbias: Any
    ) -> None:
        """Write the gradients of weights and bias, summed over the images."""
        flat = d.reshape(-1, shape.outputs)
        matrix = self.columns(shape, signal)
        self.xp.matmul(matrix.T, flat, out=dw.reshape(-1, shape.outputs))
        if dbias is not None:
            dbias[...] = flat.sum(axis=0)

    def _image_sums(self, x: Any, centre: Any) -> Any:
        n, channels = len(x), x.shape[-1]
        out = self.xp.empty((n, channels), "float64")
        squares = centre is not None
        pixels = x.size // (n * channels)
        (middle,) = self._plain(centre if squares else x)
        arguments = (
            x, middle, np.int32(squares), np.int32(pixels), np.int32(channels),
            out,
        )  # fmt: skip
        per_image("image_sums", x.dtype, n, channels, arguments)
        return out

    def channel_sums(self, _lane: Any, x: Any, centre: Any = None) -> Any:
        """Sum over images and pixels of x, or of (x - centre)^2: (channels,) in float64."""
        if centre is not None:
            centre = self.xp.repeat(centre.astype(x.dtype)[None], len(x), axis=0)
        return self._image_sums(x, centre).sum(axis=0)

    def group_statistics(
        self, _lane: Any, x: Any, groups: int, epsilon: float, gamma: Any, beta: Any
    ) -> Statistics:
        """Statistics per image and group of channels."""
        xp, n, channels, kind = self.xp, len(x), x.shape[-1], x.dtype
        wide = channels // groups
        count = x.size // (n * groups)
        mean = self._image_sums(x, None).reshape(n, groups, wide).sum(axis=2) / count
        middle = xp.repeat(mean.astype(kind), wide, axis=1)
        variance = self._image_sums(x, middle).reshape(n, groups, wide).sum(axis=2) / count
        inverse = (1 / xp.sqrt(variance + epsilon)).astype(kind)
        scale = gamma * xp.repeat(inverse, wide, axis=1)
        return Statistics(mean.astype(kind), inverse, scale, beta - middle * scale)

    def _slope_sums(self, d: Any, signal: Signal, mean: Any) -> tuple[Any, Any]:
        n, channels = len(d), d.shape[-1]
        plain, weighted = (self.xp.empty((n, channels), "float64") for _ in range(2))
        scale, shift, _, code, beta = self._prologue(signal)
        (middle,) = self._plain(mean)
        arguments = (
            d, signal.x, middle, scale, shift, code, beta, np.int32(d.size // (n * channels)),
            np.int32(channels), plain, weighted,
        )  # fmt: skip
        per_image("slope_sums", d.dtype, n, channels, arguments)
        return plain, weighted

    def _combine(
        self, d: Any, signal: Signal, mean: Any, slope: Any, level: Any, residual: Any
    ) -> None:
        n, channels = len(d), d.shape[-1]
        add = residual is not None
        arguments = (
            d, signal.x, *self._plain(mean, signal.scale, slope, level),
            residual if add else d, np.int32(add),
            np.int64(d.size), np.int32(d.size // (n * channels)), np.int32(channels),
        )  # fmt: skip
        per_number("input_gradient", d.dtype, d.size, arguments)

    def group_gradient(
        self, _lane: Any, d: Any, signal: Signal, kept: Statistics, gamma: Any, residual: Any,
        dgamma: Any, dbeta: Any,
    ) -> None:  # fmt: skip
        """Turn d, the gradient of the activated output, into that of x, in place."""
        xp, n, channels, groups, kind = self.xp, len(d), d.shape[-1], kept.mean.shape[1], d.dtype
        wide = channels // groups
        count = d.size // (n * groups)
        mean = xp.repeat(kept.mean, wide, axis=1)
        sigma = kept.inverse.astype("float64")
        plain, weighted = self._slope_sums(d, signal, mean)
        dbeta[...] = plain.sum(axis=0)
        dgamma[...] = (weighted * xp.repeat(sigma, wide, axis=1)).sum(axis=0)
        level = (gamma * plain).reshape(n, groups, wide).sum(axis=2) * sigma / count
        slope = (gamma * weighted).reshape(n, groups, wide).sum(axis=2) * sigma**3 / count
        slope, level = (xp.repeat(v.astype(kind), wide, axis=1) for v in (slope, level))
        self._combine(d, signal, mean, slope, level, residual)

    def gradient_sums(self, _lane: Any, d: Any, signal: Signal, mean: Any) -> tuple[Any, Any]:
        """Multiply d by act' in place; sums of it and of it times x - mean, (channels,)."""
        middle = self.xp.repeat(mean.astype(d.dtype)[None], len(d), axis=0)
        plain, weighted = self._slope_sums(d, signal, middle)
        return plain.sum(axis=0), weighted.sum(axis=0)

    def input_gradient(
        self, _lane: Any, d: Any, signal: Signal, mean: Any, slope: Any, level: Any, residual: Any
    ) -> None:
        """Turn d into scale d - slope (x - mean) - level [+ residual], in place."""
        middle, steep, low = (
            self.xp.repeat(v.astype(d.dtype)[None], len(d), axis=0) for v in (mean, slope, level)
        )
        self._combine(d, signal, middle, steep, low, residual)

    def write(self, _lane: Any, signal: Signal, out: Any, add: bool = False) -> None:
        """Write the signal's tensor to out, or add it."""
        x = signal.x
        n, channels = len(x), x.shape[-1]
        arguments = (
            x, *self._prologue(signal), np.int32(add), np.int64(x.size),
            np.int32(x.size // (n * channels)), np.int32(channels), out,
        )  # fmt: skip
        per_number("write_signal", x.dtype, x.size, arguments)
