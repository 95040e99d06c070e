"""The operations of the networks in plain array code, for NumPy and cupy alike.

One set of functions of a passed-in array module ``xp``: column matrices and BLAS for convolutions,
reductions for normalisation. On a GPU, the passes that would touch memory several times are single
kernels (:mod:`sam_theory.deep.operations.cuda`); on a CPU this is the slow and obvious twin of
:mod:`sam_theory.deep.operations.compiled`, and it takes every shape and precision.
"""

from __future__ import annotations

from typing import Any

from .geometry import Convolution
from .signals import Activation, Signal, Statistics


class ArrayOperations:
    """Operations on arrays of ``xp``; a lane hands over its buffers.

    Parameters
    ----------
    xp : module
        numpy or cupy.
    """

    compiled = False

    def __init__(self, xp: Any) -> None:
        self.xp = xp

    def activate(self, z: Any, activation: Activation) -> Any:
        """Return act(z); NaN stays NaN."""
        xp = self.xp
        if activation.kind == "relu":
            return xp.where(z <= 0, z.dtype.type(0), z)
        if activation.kind == "softplus":
            beta = z.dtype.type(activation.beta)
            return xp.maximum(z, 0) + xp.log1p(xp.exp(-xp.abs(beta * z))) / beta
        return z

    def slope(self, z: Any, activation: Activation) -> Any:
        """Return act'(z), or None where it is 1."""
        xp = self.xp
        if activation.kind == "relu":
            return xp.where(z <= 0, z.dtype.type(0), z.dtype.type(1))
        if activation.kind == "softplus":
            half = z.dtype.type(0.5)
            return half + half * xp.tanh(half * z.dtype.type(activation.beta) * z)
        return None

    def affine(self, signal: Signal) -> Any:
        """Return x scale + shift."""
        if signal.scale is None:
            return signal.x
        shape = (len(signal.x), *(1,) * (signal.x.ndim - 2), -1)
        return signal.x * signal.scale.reshape(shape) + signal.shift.reshape(shape)

    def value(self, signal: Signal) -> Any:
        """Return the tensor that a signal stands for."""
        return self.activate(self.affine(signal), signal.activation)

    # Convolutions. Weights are (kernel, kernel, inputs, outputs).

    def pack(self, _shape: Convolution, w: Any, _gradient: bool, _memory: Any = None) -> Any:
        """Weights as the convolution wants them; here as they are."""
        return w

    def columns(self, shape: Convolution, signal: Signal) -> Any:
        """Matrix of all patches, (n out_height out_width, kernel^2 inputs)."""
        xp, pad, step = self.xp, shape.pad, shape.stride
        a = self.value(signal)
        a = xp.pad(a, ((0, 0), (pad, pad), (pad, pad), (0, 0))) if pad else a
        high, wide = step * (shape.out_height - 1) + 1, step * (shape.out_width - 1) + 1
        taps = [
            a[:, y : y + high : step, x : x + wide : step]
            for y in range(shape.kernel)
            for x in range(shape.kernel)
        ]
        return xp.concatenate(taps, axis=3).reshape(-1, shape.kernel**2 * shape.inputs)

    def spread_columns(self, shape: Convolution, columns: Any, n: int) -> Any:
        """Adjoint of :meth:`columns` for a plain signal: sum of every pixel's patches."""
        xp, pad, step = self.xp, shape.pad, shape.stride
        size = (n, shape.height + 2 * pad, shape.width + 2 * pad, shape.inputs)
        padded = xp.zeros(size, dtype=columns.dtype)
        patches = columns.reshape(n, shape.out_height, shape.out_width, -1, shape.inputs)
        high, wide = step * (shape.out_height - 1) + 1, step * (shape.out_width - 1) + 1
        for tap in range(shape.kernel**2):
            y, x = divmod(tap, shape.kernel)
            padded[:, y : y + high : step, x : x + wide : step] += patches[:, :, :, tap]
        return padded[:, pad : pad + shape.height, pad : pad + shape.width]

    def convolve(
        self, _lane: Any, shape: Convolution, signal: Signal, packed: Any, bias: Any,
        residual: Any, out: Any,
    ) -> None:  # fmt: skip
        """Write conv(signal) [+ bias] [+ residual] to out."""
        w = packed.reshape(-1, shape.outputs)
        found = (self.columns(shape, signal) @ w).reshape(out.shape)
        if bias is not None:
            found += bias
        if residual is not None:
            found += residual
        out[...] = found

    def convolve_back(
        self, _lane: Any, shape: Convolution, d: Any, packed: Any, out: Any, add: bool
    ) -> None:
        """Write to out, or add to it, the gradient of the convolution's input."""
        w = packed.reshape(-1, shape.outputs)
        found = self.spread_columns(shape, d.reshape(-1, shape.outputs) @ w.T, len(d))
        out[...] = out + found if add else found

    def weight_gradient(
        self, _lane: Any, shape: Convolution, signal: Signal, d: Any, dw: Any, dbias: Any
    ) -> None:
        """Write the gradients of weights and bias, summed over the images."""
        flat = d.reshape(-1, shape.outputs)
        dw[...] = (self.columns(shape, signal).T @ flat).reshape(dw.shape)
        if dbias is not None:
            dbias[...] = flat.sum(axis=0)

    # Normalisation and activation.

    def channel_sums(self, _lane: Any, x: Any, centre: Any = None) -> Any:
        """Sum over images and pixels of x, or of (x - centre)^2: (channels,) in float64."""
        values = x if centre is None else (x - centre.astype(x.dtype)) ** 2
        return values.reshape(-1, x.shape[-1]).sum(axis=0, dtype="float64")

    def group_statistics(
        self, _lane: Any, x: Any, groups: int, epsilon: float, gamma: Any, beta: Any
    ) -> Statistics:
        """Statistics per image and group of channels."""
        xp, n, channels = self.xp, len(x), x.shape[-1]
        grouped = x.reshape(n, -1, groups, channels // groups)
        mean = grouped.mean(axis=(1, 3), keepdims=True)
        variance = ((grouped - mean) ** 2).mean(axis=(1, 3))
        inverse = 1 / xp.sqrt(variance + x.dtype.type(epsilon))
        mean = mean.reshape(n, groups)
        scale = gamma * xp.repeat(inverse, channels // groups, axis=1)
        shift = beta - xp.repeat(mean, channels // groups, axis=1) * scale
        return Statistics(mean, inverse, scale, shift)

    def group_gradient(
        self, lane: Any, d: Any, signal: Signal, kept: Statistics, gamma: Any, residual: Any,
        dgamma: Any, dbeta: Any,
    ) -> None:  # fmt: skip
        """Turn d, the gradient of the activated output, into that of x, in place."""
        xp, n, channels, groups = self.xp, len(d), d.shape[-1], kept.mean.shape[1]
        wide = channels // groups
        self.through_activation(lane, d, signal)
        x = signal.x.reshape(n, -1, channels)
        mean, inverse = (xp.repeat(v, wide, axis=1)[:, None] for v in (kept.mean, kept.inverse))
        normal = (x - mean) * inverse
        flat = d.reshape(n, -1, channels)
        dgamma[...] = (flat * normal).sum(axis=(0, 1))
        dbeta[...] = flat.sum(axis=(0, 1))
        weighted = (flat * gamma).reshape(n, -1, groups, wide)
        first = weighted.mean(axis=(1, 3), keepdims=True)
        second = (weighted * normal.reshape(weighted.shape)).mean(axis=(1, 3), keepdims=True)
        found = weighted - first - normal.reshape(weighted.shape) * second
        found = (found.reshape(flat.shape) * inverse).reshape(d.shape)
        d[...] = found if residual is None else found + residual

    def gradient_sums(self, lane: Any, d: Any, signal: Signal, mean: Any) -> tuple[Any, Any]:
        """Multiply d by act' in place; sums of it and of it times x - mean, (channels,)."""
        self.through_activation(lane, d, signal)
        channels = d.shape[-1]
        flat = d.reshape(-1, channels)
        centred = signal.x.reshape(-1, channels) - mean.astype(d.dtype)
        return flat.sum(axis=0, dtype="float64"), (flat * centred).sum(axis=0, dtype="float64")

    def input_gradient(
        self, _lane: Any, d: Any, signal: Signal, mean: Any, slope: Any, level: Any, residual: Any
    ) -> None:
        """Turn d into scale d - slope (x - mean) - level [+ residual], in place."""
        kind = d.dtype
        shape = (len(d), *(1,) * (d.ndim - 2), -1)
        found = signal.scale.reshape(shape) * d
        found -= slope.astype(kind) * (signal.x - mean.astype(kind)) + level.astype(kind)
        d[...] = found if residual is None else found + residual

    def through_activation(self, _lane: Any, d: Any, signal: Signal) -> None:
        """Multiply d by act' at the signal, in place."""
        slope = self.slope(self.affine(signal), signal.activation)
        if slope is not None:
            d *= slope

    def write(self, _lane: Any, signal: Signal, out: Any, add: bool = False) -> None:
        """Write the signal's tensor to out, or add it."""
        out[...] = out + self.value(signal) if add else self.value(signal)

    def drop(self, _lane: Any, x: Any, keep: Any, scale: float) -> None:
        """Multiply x by ``scale`` where ``keep``, by 0 elsewhere, in place; NaN stays NaN."""
        x *= keep.astype(x.dtype) * x.dtype.type(scale)

    # Pooling.

    def global_average(self, _lane: Any, signal: Signal, out: Any) -> None:
        """Mean over the pixels, (n, channels)."""
        out[...] = self.value(signal).mean(axis=(1, 2))

    def spread_average(self, _lane: Any, d: Any, out: Any) -> None:
        """Adjoint of :meth:`global_average`."""
        pixels = out.shape[1] * out.shape[2]
        out[...] = (d / d.dtype.type(pixels))[:, None, None, :]

    def max_pool(self, _lane: Any, x: Any, out: Any, where: Any) -> None:
        """Largest of each 2 x 2 window, and which of the four it is (the first of equals)."""
        xp = self.xp
        n, height, width, channels = out.shape
        x = x[:, : 2 * height, : 2 * width]
        windows = x.reshape(n, height, 2, width, 2, channels).transpose(0, 1, 3, 5, 2, 4)
        windows = windows.reshape(n, height, width, channels, 4)
        where[...] = xp.argmax(windows, axis=-1)
        out[...] = xp.max(windows, axis=-1)

    def spread_max(self, _lane: Any, d: Any, where: Any, out: Any) -> None:
        """Adjoint of :meth:`max_pool`."""
        out[...] = 0
        height, width = d.shape[1], d.shape[2]
        for k in range(4):
            y, x = divmod(k, 2)
            mine = self.xp.where(where == k, d, d.dtype.type(0))
            out[:, y : 2 * height : 2, x : 2 * width : 2] = mine
