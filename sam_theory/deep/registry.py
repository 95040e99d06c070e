"""From a name and a width to a network's layers."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from sam_theory.errors import InputError

from .models import DEPTHS, Model, Perceptron, Residual, Vgg, batch_norm, group_norm
from .operations.signals import Activation

Shape = tuple[int, int, int]
Maker = Callable[[Shape, int, int, Activation], Model]


def _preactivation(depth: str, groups: bool) -> Maker:
    def make(shape: Shape, outputs: int, width: int, activation: Activation) -> Model:
        norm: Any = batch_norm
        if groups:
            if width % 2:
                raise InputError(f"width must be even with group normalisation, not {width}")
            norm = functools.partial(group_norm, groups=width // 2)
        widths = (width, 2 * width, 4 * width, 8 * width)
        return Residual(
            shape, outputs, stem=width, widths=widths, depths=DEPTHS[depth], norm=norm,
            activation=activation,
        )  # fmt: skip

    return make


def _postactivation(shape: Shape, outputs: int, width: int, activation: Activation) -> Model:
    return Residual(
        shape, outputs, stem=width, widths=(width, 2 * width, 4 * width, 8 * width),
        depths=DEPTHS["34"], norm=batch_norm, activation=activation, preactivation=False,
    )  # fmt: skip


def _wide(shape: Shape, outputs: int, width: int, activation: Activation) -> Model:
    return Residual(
        shape, outputs, stem=16, widths=(16 * width, 32 * width, 64 * width), depths=(4, 4, 4),
        norm=batch_norm, activation=activation,
    )  # fmt: skip


def _perceptron(shape: Shape, outputs: int, width: int, activation: Activation) -> Model:
    return Perceptron(shape, outputs, (width,), activation)


def _linear(shape: Shape, outputs: int, _width: int, activation: Activation) -> Model:
    return Perceptron(shape, outputs, (), activation)


MODELS: dict[str, tuple[Maker, int]] = {
    "resnet_tiny": (_preactivation("tiny", False), 64),
    "resnet_tiny_gn": (_preactivation("tiny", True), 64),
    "resnet18": (_preactivation("18", False), 64),
    "resnet18_gn": (_preactivation("18", True), 64),
    "resnet34preact": (_preactivation("34", False), 64),
    "resnet34_gn": (_preactivation("34", True), 64),
    "resnet34": (_postactivation, 64),
    "wrn28": (_wide, 10),
    "vgg16": (Vgg, 64),
    "mlp": (_perceptron, 128),
    "linear": (_linear, 1),
}


def make_model(
    name: str, width: int | None, classes: int, input_shape: Any, activation: Activation
) -> Model:
    """Layers of a network.

    Parameters
    ----------
    name : str
        A key of ``MODELS``.
    width : int or None
        Channels of the first stage (ResNets, VGG), widening factor (``wrn28``), hidden units
        (``mlp``); None is the usual one: 64, 10, 128.
    classes : int
        >= 2; two classes have one logit, the other is 0.
    input_shape : tuple of int
        Channels, height, width.
    activation : Activation

    Raises
    ------
    InputError
        Unknown name (lists the known), or a size out of range.
    """
    if name not in MODELS:
        raise InputError(f"unknown model {name!r}; known are {', '.join(MODELS)}")
    maker, usual = MODELS[name]
    width = usual if width is None else width
    for what, value, least in (("width", width, 1), ("classes", classes, 2)):
        if isinstance(value, bool) or not isinstance(value, int) or value < least:
            raise InputError(f"{what} must be an integer >= {least}, not {value!r}")
    try:
        shape = tuple(int(size) for size in input_shape)
    except (TypeError, ValueError):
        shape = ()
    if len(shape) != 3 or min(shape) < 1:
        raise InputError(f"input_shape must be (channels, height, width), not {input_shape!r}")
    return maker(shape, 1 if classes == 2 else classes, width, activation)
