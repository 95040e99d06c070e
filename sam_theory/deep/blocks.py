"""Residual blocks: two 3x3 convolutions beside a shortcut."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from .dropout import Dropout
from .lanes import Lane, Program
from .layers import Conv
from .operations.geometry import Convolution
from .operations.signals import LINEAR, Activation, Signal
from .parameters import Layout

NormMaker = Callable[[Layout, str, int], Any]


class PreActivationBlock:
    """out = conv2(dropout(act(norm2(conv1(a))))) + shortcut with a = act(norm1(h)).

    The shortcut is h itself, or a 1x1 convolution of a where the shape changes. Source: He et al.,
    ECCV 2016 (arXiv 1603.05027).
    """

    def __init__(
        self, layout: Layout, name: str, norm: NormMaker, first: Convolution,
        activation: Activation, number: int,
    ) -> None:  # fmt: skip
        self.activation = activation
        self.dropout = Dropout(number)
        self.norm1 = norm(layout, f"{name}.norm1", first.inputs)
        self.conv1 = Conv(layout, f"{name}.conv1", first)
        self.norm2 = norm(layout, f"{name}.norm2", first.outputs)
        second = Convolution(first.out_height, first.out_width, first.outputs, first.outputs)
        self.conv2 = Conv(layout, f"{name}.conv2", second)
        self.shortcut = _shortcut(layout, f"{name}.shortcut", first)
        self.convolutions = [c for c in (self.conv1, self.conv2, self.shortcut) if c is not None]
        self.norms = [self.norm1, self.norm2]

    def forward(self, lane: Lane, h: Signal) -> Program:
        """Return the block's output as a plain signal."""
        a = yield from self.norm1.forward(lane, h.x, self.activation)
        side = None if self.shortcut is None else self.shortcut.forward(lane, a)
        middle = self.conv1.forward(lane, a)
        b = yield from self.norm2.forward(lane, middle, self.activation)
        b = self.dropout.forward(lane, b)
        out = self.conv2.forward(lane, b, h.x if side is None else side, side)
        if lane.gradients is None:
            lane.give(middle)
            lane.give(h.x)
        return Signal(out)

    def backward(self, lane: Lane, d: Any) -> Program:
        """Return the gradient of h; d is given back."""
        inner = lane.take(d.shape)
        self.conv2.backward(lane, d, inner)
        self.dropout.backward(lane, inner)
        middle = yield from self.norm2.backward(lane, inner)
        first = self.conv1.shape
        found = lane.take((len(d), first.height, first.width, first.inputs))
        self.conv1.backward(lane, inner, found)
        lane.give(middle)
        lane.give(inner)
        if self.shortcut is not None:
            self.shortcut.backward(lane, d, found, add=True)
        h = yield from self.norm1.backward(lane, found, d if self.shortcut is None else None)
        lane.give(h)
        lane.give(d)
        return found


class PostActivationBlock:
    """z = norm2(conv2(act(norm1(conv1(a))))) + shortcut of a; the next block sees a' = act(z).

    Where the shape changes the shortcut is norm(conv1x1(a)), otherwise a. Source: He et al., CVPR
    2016 (arXiv 1512.03385).
    """

    def __init__(
        self, layout: Layout, name: str, norm: NormMaker, first: Convolution,
        activation: Activation, _number: int,
    ) -> None:  # fmt: skip
        self.activation = activation
        self.conv1 = Conv(layout, f"{name}.conv1", first)
        self.norm1 = norm(layout, f"{name}.norm1", first.outputs)
        second = Convolution(first.out_height, first.out_width, first.outputs, first.outputs)
        self.conv2 = Conv(layout, f"{name}.conv2", second)
        self.norm2 = norm(layout, f"{name}.norm2", first.outputs)
        self.shortcut = _shortcut(layout, f"{name}.shortcut", first)
        self.shortcut_norm: Any = None
        self.convolutions = [c for c in (self.conv1, self.conv2, self.shortcut) if c is not None]
        self.norms = [self.norm1, self.norm2]
        if self.shortcut is not None:
            self.shortcut_norm = norm(layout, f"{name}.shortcut_norm", first.outputs)
            self.norms.append(self.shortcut_norm)
        self.name = name

    def forward(self, lane: Lane, a: Signal) -> Program:
        """Return act(z) as a signal."""
        one = self.conv1.forward(lane, a)
        b = yield from self.norm1.forward(lane, one, self.activation)
        two = self.conv2.forward(lane, b)
        main = yield from self.norm2.forward(lane, two, LINEAR)
        out = lane.take(two.shape)
        lane.operations.write(lane, main, out)
        if self.shortcut is None:
            lane.operations.write(lane, a, out, add=True)
        else:
            side = self.shortcut.forward(lane, a)
            more = yield from self.shortcut_norm.forward(lane, side, LINEAR)
            lane.operations.write(lane, more, out, add=True)
            if lane.gradients is None:
                lane.give(side)
        if lane.gradients is None:
            for array in (one, two, a.x):
                lane.give(array)
        else:
            lane.kept[self.name] = a
        return Signal(out, activation=self.activation)

    def backward(self, lane: Lane, d: Any) -> Program:
        """Return the gradient of signal a's x, or of a itself where a normalisation made it.

        d, the gradient of z, is given back.
        """
        a = lane.kept.pop(self.name)
        inner = lane.take(d.shape)
        inner[...] = d
        lane.give((yield from self.norm2.backward(lane, inner)))
        middle = lane.take(d.shape)
        self.conv2.backward(lane, inner, middle)
        lane.give((yield from self.norm1.backward(lane, middle)))
        found = lane.take(a.x.shape)
        self.conv1.backward(lane, middle, found)
        lane.give(middle)
        if self.shortcut is None:
            found += d
        else:
            inner[...] = d
            lane.give((yield from self.shortcut_norm.backward(lane, inner)))
            self.shortcut.backward(lane, inner, found, add=True)
        for array in (inner, d):
            lane.give(array)
        if a.scale is None:
            lane.operations.through_activation(lane, found, a)
            lane.give(a.x)
        return found


def _shortcut(layout: Layout, name: str, first: Convolution) -> Conv | None:
    if first.stride == 1 and first.inputs == first.outputs:
        return None
    shape = Convolution(first.height, first.width, first.inputs, first.outputs, 1, first.stride)
    return Conv(layout, name, shape)
