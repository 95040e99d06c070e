"""Layers with explicit forward and backward passes on a lane.

``forward`` returns an array or a :class:`Signal`, a tensor with what is still to be applied to it;
``backward`` takes the gradient of the output, writes the gradients of its parameters to the lane
and returns or fills the gradient of the input. Normalisation layers are generators: they yield what
has to be summed over the lanes.
"""

from __future__ import annotations

from typing import Any

from sam_theory.errors import InputError

from .lanes import Lane, Program
from .operations.geometry import Convolution
from .operations.signals import Activation, Signal, Statistics
from .parameters import Layout, normal_fan_out, ones, uniform_fan_in, zeros

EPSILON = 1e-5
MOMENTUM = 0.1


class Conv:
    """Convolution with padding kernel // 2.

    Parameters
    ----------
    layout : Layout
        Gets ``NAME.weight`` and, with ``bias``, ``NAME.bias``.
    name : str
    shape : Convolution
    bias : bool
    """

    def __init__(self, layout: Layout, name: str, shape: Convolution, bias: bool = False) -> None:
        size = (shape.outputs, shape.inputs, shape.kernel, shape.kernel)
        self.name, self.shape = name, shape
        self.weight = layout.add(f"{name}.weight", size, normal_fan_out)
        self.bias = layout.add(f"{name}.bias", (shape.outputs,), zeros) if bias else None

    def forward(self, lane: Lane, signal: Signal, residual: Any = None, out: Any = None) -> Any:
        """Return conv(signal) [+ residual]; ``out`` may be ``residual`` itself."""
        if out is None:
            out = lane.take(
                (len(signal.x), self.shape.out_height, self.shape.out_width, self.shape.outputs)
            )
        bias = None if self.bias is None else lane.weights[self.bias]
        packed = lane.packed[self.name, False]
        lane.operations.convolve(lane, self.shape, signal, packed, bias, residual, out)
        if lane.gradients is not None:
            lane.kept[self.name] = signal
        return out

    def backward(self, lane: Lane, d: Any, out: Any = None, add: bool = False) -> None:
        """Gradients of the parameters; that of the input is written or added to ``out``."""
        gradients = lane.gradients
        dbias = None if self.bias is None else gradients[self.bias]
        signal = lane.kept.pop(self.name)
        lane.operations.weight_gradient(lane, self.shape, signal, d, gradients[self.weight], dbias)
        if out is not None:
            packed = lane.packed[self.name, True]
            lane.operations.convolve_back(lane, self.shape, d, packed, out, add)


class GroupNorm:
    """Normalisation per image and group of channels, followed by an activation.

    Source: Wu and He, ECCV 2018 (arXiv 1803.08494).
    """

    def __init__(self, layout: Layout, name: str, channels: int, groups: int) -> None:
        if groups < 1 or channels % groups:
            raise InputError(f"{name}: {groups} groups do not divide {channels} channels")
        self.name, self.groups = name, groups
        self.weight = layout.add(f"{name}.weight", (channels,), ones)
        self.bias = layout.add(f"{name}.bias", (channels,), zeros)

    def forward(self, lane: Lane, x: Any, activation: Activation) -> Program:
        """Return the signal act(norm(x))."""
        gamma, beta = lane.weights[self.weight], lane.weights[self.bias]
        kept = lane.operations.group_statistics(lane, x, self.groups, EPSILON, gamma, beta)
        signal = Signal(x, kept.scale, kept.shift, activation)
        if lane.gradients is not None:
            lane.kept[self.name] = signal, kept
        yield from ()
        return signal

    def backward(self, lane: Lane, d: Any, residual: Any = None) -> Program:
        """Turn d into the gradient of x [+ residual] in place; return x, no longer needed."""
        signal, kept = lane.kept.pop(self.name)
        lane.operations.group_gradient(
            lane, d, signal, kept, lane.weights[self.weight], residual,
            lane.gradients[self.weight], lane.gradients[self.bias],
        )  # fmt: skip
        yield from ()
        return signal.x


class BatchNorm:
    """Normalisation per channel by the statistics of the batch, or by running ones.

    The running ones move by ``MOMENTUM`` towards the mean and the unbiased variance of a batch,
    when the caller commits them. Source: Ioffe and Szegedy, ICML 2015 (arXiv 1502.03167).
    """

    def __init__(self, layout: Layout, buffers: Layout, name: str, channels: int) -> None:
        self.name = name
        self.weight = layout.add(f"{name}.weight", (channels,), ones)
        self.bias = layout.add(f"{name}.bias", (channels,), zeros)
        self.mean = buffers.add(f"{name}.running_mean", (channels,), zeros)
        self.variance = buffers.add(f"{name}.running_var", (channels,), ones)

    def forward(self, lane: Lane, x: Any, activation: Activation) -> Program:
        """Return the signal act(norm(x))."""
        operations = lane.operations
        xp = operations.xp
        if lane.batch_statistics:
            count = lane.total * (x.size // (len(x) * x.shape[-1]))
            if count < 2:
                raise InputError(f"{self.name}: batch statistics need two numbers per channel")
            mean = (yield operations.channel_sums(lane, x)) / count
            variance = (yield operations.channel_sums(lane, x, mean)) / count
            lane.moments[self.name] = mean, variance * (count / (count - 1))
        else:
            mean = lane.buffers[self.mean].astype("float64")
            variance = lane.buffers[self.variance].astype("float64")
        inverse = 1 / xp.sqrt(variance + EPSILON)
        scale = (lane.weights[self.weight] * inverse).astype(x.dtype)
        shift = (lane.weights[self.bias] - mean * scale).astype(x.dtype)
        scale, shift = (xp.repeat(v[None], len(x), axis=0) for v in (scale, shift))
        signal = Signal(x, scale, shift, activation)
        if lane.gradients is not None:
            lane.kept[self.name] = signal, Statistics(mean, inverse, scale, shift)
        return signal

    def backward(self, lane: Lane, d: Any, residual: Any = None) -> Program:
        """Turn d into the gradient of x [+ residual] in place; return x, no longer needed."""
        signal, kept = lane.kept.pop(self.name)
        operations = lane.operations
        plain, weighted = operations.gradient_sums(lane, d, signal, kept.mean)
        lane.gradients[self.weight][...] = weighted * kept.inverse
        lane.gradients[self.bias][...] = plain
        zero = 0 * kept.mean
        slope, level = zero, zero
        if lane.batch_statistics:
            count = lane.total * (d.size // (len(d) * d.shape[-1]))
            both = yield operations.xp.stack([plain, weighted])
            gamma = lane.weights[self.weight].astype("float64")
            level = gamma * kept.inverse * both[0] / count
            slope = gamma * kept.inverse**3 * both[1] / count
        operations.input_gradient(lane, d, signal, kept.mean, slope, level, residual)
        return signal.x

    def commit(self, buffers: dict[str, Any], moments: tuple[Any, Any]) -> None:
        """Move the running statistics towards those of a batch."""
        for name, value in zip((self.mean, self.variance), moments, strict=True):
            running = buffers[name]
            running *= running.dtype.type(1 - MOMENTUM)
            running += (MOMENTUM * value).astype(running.dtype)


class Linear:
    """Affine map x W^T + b of (n, inputs) arrays."""

    def __init__(self, layout: Layout, name: str, inputs: int, outputs: int) -> None:
        self.name, self.inputs, self.outputs = name, inputs, outputs
        self.weight = layout.add(f"{name}.weight", (outputs, inputs), uniform_fan_in)
        self.bias = layout.add(f"{name}.bias", (outputs,), zeros)

    def forward(self, lane: Lane, x: Any) -> Any:
        """Return x W^T + b."""
        out = lane.take((len(x), self.outputs))
        lane.operations.xp.matmul(x, lane.weights[self.weight].T, out=out)
        out += lane.weights[self.bias]
        if lane.gradients is not None:
            lane.kept[self.name] = x
        return out

    def backward(self, lane: Lane, d: Any, out: Any = None) -> None:
        """Gradients of the parameters; that of the input goes to ``out``."""
        x = lane.kept.pop(self.name)
        lane.operations.xp.matmul(d.T, x, out=lane.gradients[self.weight])
        lane.gradients[self.bias][...] = d.sum(axis=0)
        if out is not None:
            lane.operations.xp.matmul(d, lane.weights[self.weight], out=out)
