"""What flows between layers: a tensor in memory, and what still has to be applied to it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import numpy as np

from sam_theory.errors import InputError

Kind = Literal["none", "relu", "softplus"]
CODES: dict[str, int] = {"none": 0, "relu": 1, "softplus": 2}


@dataclass(frozen=True)
class Activation:
    """Elementwise activation.

    Parameters
    ----------
    kind : {"none", "relu", "softplus"}
        Softplus is log(1 + exp(beta z)) / beta.
    beta : float
        Sharpness of softplus, > 0 (dimensionless).

    Raises
    ------
    InputError
        Unknown kind, or beta out of range.
    """

    kind: Kind = "relu"
    beta: float = 1.0

    def __post_init__(self) -> None:
        """Check both fields."""
        if self.kind not in CODES:
            raise InputError(f"activation must be one of {', '.join(CODES)}, not {self.kind!r}")
        if not (np.isfinite(self.beta) and self.beta > 0):
            raise InputError(f"beta of softplus must be positive and finite, not {self.beta!r}")

    @property
    def code(self) -> int:
        """Number of the kind in compiled kernels."""
        return CODES[self.kind]

    @classmethod
    def parse(cls, text: str) -> Activation:
        """From "relu", "none", "softplus" or "softplusBETA", for instance "softplus8"."""
        if text.startswith("softplus") and text != "softplus":
            try:
                return cls("softplus", float(text.removeprefix("softplus")))
            except ValueError:
                raise InputError(f"activation {text!r}: no number after softplus") from None
        return cls(text)  # type: ignore[arg-type]


LINEAR = Activation("none")
RELU = Activation("relu")


class Signal(NamedTuple):
    """The tensor act(x scale + shift), of which only x is in memory.

    Attributes
    ----------
    x : array of shape (n, height, width, channels) or (n, features)
    scale, shift : array of shape (n, channels), or None
        Affine map of a normalisation layer per image and channel.
    activation : Activation
    """

    x: Any
    scale: Any = None
    shift: Any = None
    activation: Activation = LINEAR


class Statistics(NamedTuple):
    """What a normalisation layer keeps of its forward pass.

    Attributes
    ----------
    mean, inverse : array of shape (n, groups) or (channels,)
        Mean and 1 / sqrt(variance + epsilon).
    scale, shift : array of shape (n, channels)
    """

    mean: Any
    inverse: Any
    scale: Any
    shift: Any
