"""The networks by name: residual networks, VGG-16, multilayer perceptron, linear classifier.

Architectures as in the published deep-network experiments of Andriushchenko and Flammarion (ICML
2022), except that every activation follows ``activation`` (there the last one stays ReLU) and that
pooling before the last layer is over all pixels, so that other image sizes work.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from sam_theory.errors import InputError

from .blocks import PostActivationBlock, PreActivationBlock
from .lanes import Lane, Program
from .layers import BatchNorm, Conv, GroupNorm, Linear
from .operations.geometry import Convolution
from .operations.signals import Activation, Signal
from .parameters import Layout

DEPTHS = {"tiny": (1, 1, 1, 1), "18": (2, 2, 2, 2), "34": (3, 4, 6, 3)}
IMAGE_MEAN, IMAGE_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


class Model:
    """Layers of one network on images of (channels, height, width).

    Attributes
    ----------
    layout, buffers : Layout
        Parameters; running statistics.
    convolutions, norms : list
        All such layers.
    dropouts : int
        Number of places where units can be dropped.
    """

    def __init__(self, input_shape: tuple[int, int, int], outputs: int) -> None:
        self.channels, self.height, self.width = input_shape
        self.outputs = outputs
        self.layout, self.buffers = Layout(), Layout()
        self.convolutions: list[Conv] = []
        self.norms: list[Any] = []
        self.dropouts = 0

    def forward(self, lane: Lane, images: Any) -> Program:
        """Return logits (n, outputs) of images (n, height, width, channels)."""
        raise NotImplementedError

    def backward(self, lane: Lane, d: Any) -> Program:
        """Write the gradients of all parameters, from the gradient of the logits."""
        raise NotImplementedError


class Residual(Model):
    """Stem, stages of residual blocks, mean over pixels, linear layer."""

    def __init__(
        self, input_shape: tuple[int, int, int], outputs: int, *, stem: int, widths: Any,
        depths: Any, norm: Any, activation: Activation, preactivation: bool = True,
    ) -> None:  # fmt: skip
        super().__init__(input_shape, outputs)
        self.activation, self.preactivation = activation, preactivation
        shape = Convolution(self.height, self.width, self.channels, stem)
        self.stem = Conv(self.layout, "stem", shape)
        self.convolutions.append(self.stem)
        make: Any = PreActivationBlock if preactivation else PostActivationBlock
        if not preactivation:
            self.norm = self._norm(norm, "norm", stem)
        self.blocks: list[Any] = []
        height, width, channels = self.height, self.width, stem
        for s, (target, depth) in enumerate(zip(widths, depths, strict=True)):
            for b in range(depth):
                stride = 2 if s > 0 and b == 0 else 1
                first = Convolution(height, width, channels, target, 3, stride)
                block = make(
                    self.layout, f"stages.{s}.{b}", self._maker(norm), first, activation,
                    len(self.blocks),
                )  # fmt: skip
                self.blocks.append(block)
                self.convolutions += block.convolutions
                self.norms += block.norms
                height, width, channels = first.out_height, first.out_width, target
        if preactivation:
            self.norm = self._norm(norm, "norm", channels)
            self.dropouts = len(self.blocks)
        self.last = (height, width, channels)
        self.linear = Linear(self.layout, "linear", channels, outputs)

    def _maker(self, norm: Any) -> Callable[[Layout, str, int], Any]:
        return lambda _layout, name, channels: norm(self, name, channels)

    def _norm(self, norm: Any, name: str, channels: int) -> Any:
        found = norm(self, name, channels)
        self.norms.append(found)
        return found

    def forward(self, lane: Lane, images: Any) -> Program:
        """Return logits (n, outputs) of images (n, height, width, channels)."""
        signal = Signal(self.stem.forward(lane, Signal(images)))
        if not self.preactivation:
            signal = yield from self.norm.forward(lane, signal.x, self.activation)
        for block in self.blocks:
            signal = yield from block.forward(lane, signal)
        if self.preactivation:
            signal = yield from self.norm.forward(lane, signal.x, self.activation)
        pooled = lane.take((len(images), self.last[2]))
        lane.operations.global_average(lane, signal, pooled)
        lane.features = pooled
        lane.kept["last"] = signal
        return self.linear.forward(lane, pooled)

    def backward(self, lane: Lane, d: Any) -> Program:
        """Write the gradients of all parameters, from the gradient of the logits."""
        signal = lane.kept.pop("last")
        pooled = lane.take((len(d), self.last[2]))
        self.linear.backward(lane, d, pooled)
        found = lane.take(signal.x.shape)
        lane.operations.spread_average(lane, pooled, found)
        if self.preactivation:
            lane.give((yield from self.norm.backward(lane, found)))
        else:
            lane.operations.through_activation(lane, found, signal)
        for block in reversed(self.blocks):
            found = yield from block.backward(lane, found)
        if not self.preactivation:
            yield from self.norm.backward(lane, found)
        self.stem.backward(lane, found)


class Vgg(Model):
    """Five groups of 3x3 convolutions with biases and 2x2 max-pooling, three linear layers."""

    GROUPS = (("w", 2), ("2w", 2), ("4w", 3), ("8w", 3), ("8w", 3))

    def __init__(
        self, input_shape: tuple[int, int, int], outputs: int, width: int, activation: Activation
    ) -> None:
        super().__init__(input_shape, outputs)
        if self.channels not in (1, 3) or min(self.height, self.width) < 32:
            raise InputError(
                "vgg16 halves its images five times: they must be at least 32x32, with 1 or 3 "
                f"channels, not {input_shape}"
            )
        self.activation = activation
        self.groups: list[list[Conv]] = []
        height, wide, channels = self.height, self.width, self.channels
        for factor, count in ((1, 2), (2, 2), (4, 3), (8, 3), (8, 3)):
            group = []
            for _ in range(count):
                shape = Convolution(height, wide, channels, factor * width)
                name = f"features.{len(self.convolutions)}"
                group.append(Conv(self.layout, name, shape, bias=True))
                self.convolutions.append(group[-1])
                channels = factor * width
            self.groups.append(group)
            height, wide = height // 2, wide // 2
        sizes = (channels, channels, channels, outputs)
        self.head = Head(self.layout, sizes, activation, "classifier")

    def forward(self, lane: Lane, images: Any) -> Program:
        """Return logits (n, outputs) of images (n, height, width, channels)."""
        xp, n = lane.operations.xp, len(images)
        mean = [sum(IMAGE_MEAN) / 3] if self.channels == 1 else IMAGE_MEAN
        std = [sum(IMAGE_STD) / 3] if self.channels == 1 else IMAGE_STD
        scale = xp.asarray([[1 / s for s in std]] * n, dtype=images.dtype)
        shift = xp.asarray([[-m / s for m, s in zip(mean, std, strict=True)]] * n, images.dtype)
        signal = Signal(images, scale, shift)
        for k, group in enumerate(self.groups):
            for conv in group:
                before = signal.x
                signal = Signal(conv.forward(lane, signal), activation=self.activation)
                if lane.gradients is None:
                    lane.give(before)
            x = signal.x
            size = (n, x.shape[1] // 2, x.shape[2] // 2, x.shape[3])
            out, where = lane.take(size), lane.take(size, "int8")
            lane.operations.max_pool(lane, x, out, where)
            lane.kept["pool", k] = x, where
            signal = Signal(out, activation=self.activation)
        pooled = lane.take((n, signal.x.shape[3]))
        lane.operations.global_average(lane, signal, pooled)
        lane.kept["last"] = signal
        yield from ()
        return self.head.forward(lane, pooled)

    def backward(self, lane: Lane, d: Any) -> Program:
        """Write the gradients of all parameters, from the gradient of the logits."""
        pooled = lane.take((len(d), self.head.layers[0].inputs))
        self.head.backward(lane, d, pooled)
        signal = lane.kept.pop("last")
        found = lane.take(signal.x.shape)
        lane.operations.spread_average(lane, pooled, found)
        for k in reversed(range(len(self.groups))):
            lane.operations.through_activation(lane, found, signal)
            x, where = lane.kept.pop(("pool", k))
            wide = lane.take(x.shape)
            lane.operations.spread_max(lane, found, where, wide)
            lane.give(found)
            found = wide
            for j, conv in reversed(list(enumerate(self.groups[k]))):
                signal = lane.kept[conv.name]
                if k == j == 0:
                    conv.backward(lane, found)
                    continue
                inner = lane.take(signal.x.shape)
                conv.backward(lane, found, inner)
                lane.give(found)
                found = inner
                if j > 0:
                    lane.operations.through_activation(lane, found, signal)
        yield from ()


class Head:
    """Linear layers with an activation between them."""

    def __init__(self, layout: Layout, sizes: Any, activation: Activation, name: str) -> None:
        pairs = zip(sizes, sizes[1:], strict=False)
        self.layers = [Linear(layout, f"{name}.{k}", a, b) for k, (a, b) in enumerate(pairs)]
        self.activation, self.name = activation, name

    def forward(self, lane: Lane, x: Any) -> Any:
        """Return the last layer's output."""
        for layer in self.layers[:-1]:
            z = layer.forward(lane, x)
            x = lane.take(z.shape)
            lane.operations.write(lane, Signal(z, activation=self.activation), x)
            lane.kept[layer.name, "z"] = z
        lane.features = x
        return self.layers[-1].forward(lane, x)

    def backward(self, lane: Lane, d: Any, out: Any = None) -> None:
        """Gradients of all layers; that of the input goes to ``out``."""
        for k, layer in reversed(list(enumerate(self.layers))):
            inner = out if k == 0 else lane.take((len(d), layer.inputs))
            layer.backward(lane, d, inner)
            if k > 0:
                z = lane.kept.pop((self.layers[k - 1].name, "z"))
                lane.operations.through_activation(
                    lane, inner, Signal(z, None, None, self.activation)
                )
            d = inner


class Perceptron(Model):
    """Linear layers on the pixels in the order (channels, height, width); none hidden is linear."""

    def __init__(
        self, input_shape: tuple[int, int, int], outputs: int, hidden: Any, activation: Activation
    ) -> None:
        super().__init__(input_shape, outputs)
        sizes = (self.channels * self.height * self.width, *hidden, outputs)
        self.head = Head(self.layout, sizes, activation, "layers")

    def forward(self, lane: Lane, images: Any) -> Program:
        """Return logits (n, outputs) of images (n, height, width, channels)."""
        flat = images.transpose(0, 3, 1, 2).reshape(len(images), -1)
        yield from ()
        return self.head.forward(lane, lane.operations.xp.ascontiguousarray(flat))

    def backward(self, lane: Lane, d: Any) -> Program:
        """Write the gradients of all parameters, from the gradient of the logits."""
        self.head.backward(lane, d)
        yield from ()


def group_norm(model: Model, name: str, channels: int, groups: int) -> GroupNorm:
    """Group normalisation in a model."""
    return GroupNorm(model.layout, name, channels, groups)


def batch_norm(model: Model, name: str, channels: int) -> BatchNorm:
    """Batch normalisation in a model."""
    return BatchNorm(model.layout, model.buffers, name, channels)
