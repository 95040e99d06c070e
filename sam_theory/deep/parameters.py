"""All parameters of a network in one flat array, with named views.

Convolution weights lie in memory as (kernel, kernel, inputs, outputs), the order in which they are
used; their named views have the customary shape (outputs, inputs, kernel, kernel). Perturbing,
averaging, norms and checkpoints are single passes over the flat array.
"""

from __future__ import annotations

import fnmatch
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np

from sam_theory.errors import InputError

Draw = Callable[[np.random.Generator, tuple[int, ...]], Any]


class Slot(NamedTuple):
    """Place of one named array in the flat array.

    Attributes
    ----------
    name : str
    shape : tuple of int
        Customary shape; 4 axes are those of a convolution.
    begin, size : int
        First number and count.
    draw : callable
        Initial values from a generator and the shape.
    """

    name: str
    shape: tuple[int, ...]
    begin: int
    size: int
    draw: Draw

    @property
    def stored(self) -> tuple[int, ...]:
        """Shape in memory."""
        if len(self.shape) == 4:
            outputs, inputs, height, width = self.shape
            return height, width, inputs, outputs
        return self.shape


class Layout:
    """Names, shapes and places, in the order in which they were added."""

    def __init__(self) -> None:
        self.slots: dict[str, Slot] = {}
        self.size = 0

    def add(self, name: str, shape: tuple[int, ...], draw: Draw) -> str:
        """Append an array and return its name.

        Raises
        ------
        InputError
            The name is taken.
        """
        if name in self.slots:
            raise InputError(f"two parameters are called {name!r}")
        size = int(np.prod(shape))
        self.slots[name] = Slot(name, tuple(shape), self.size, size, draw)
        self.size += size
        return name

    def stored(self, flat: Any) -> dict[str, Any]:
        """Return views in memory order, which layers use."""
        return {
            s.name: flat[s.begin : s.begin + s.size].reshape(s.stored) for s in self.slots.values()
        }

    def named(self, flat: Any) -> dict[str, Any]:
        """Return views in customary shape; writing to one writes to the flat array.

        Parameters
        ----------
        flat : array of shape (size,)
        """
        views = self.stored(flat)
        return {
            name: view.transpose(3, 2, 0, 1) if view.ndim == 4 else view
            for name, view in views.items()
        }

    def draw(self, seed: int, dtype: Any = np.float64) -> Any:
        """Draw initial values: a stream of its own per array, so that none depends on others.

        Parameters
        ----------
        seed : int
            >= 0.
        dtype : dtype
            Numbers are drawn in float64 and rounded.

        Returns
        -------
        array of shape (size,)
        """
        flat = np.empty(self.size, dtype)
        for index, (name, view) in enumerate(self.named(flat).items()):
            stream = np.random.default_rng(np.random.SeedSequence([seed, index]))
            view[...] = self.slots[name].draw(stream, self.slots[name].shape)
        return flat

    def fill(self, flat: Any, arrays: Mapping[str, Any], what: str = "parameters") -> None:
        """Copy named arrays of customary shape into the flat array.

        Raises
        ------
        InputError
            A name is missing or unknown, or a shape differs; nothing is written then.
        """
        missing = [name for name in self.slots if name not in arrays]
        unknown = [name for name in arrays if name not in self.slots]
        if missing or unknown:
            part, names = ("misses", missing) if missing else ("has the unknown", unknown)
            raise InputError(f"{what}: {part} {', '.join(names[:3])} ({len(names)} in all)")
        for name, slot in self.slots.items():
            found = tuple(arrays[name].shape)
            if found != slot.shape:
                raise InputError(f"{what}: {name} has shape {found}, not {slot.shape}")
        for name, view in self.named(flat).items():
            view[...] = arrays[name]

    def matching(self, pattern: str) -> list[Slot]:
        """Arrays whose name matches a shell pattern; a plain word matches anywhere in the name.

        Raises
        ------
        InputError
            Nothing matches; the message names a few that exist.
        """
        glob = pattern if any(c in pattern for c in "*?[") else f"*{pattern}*"
        found = [s for s in self.slots.values() if fnmatch.fnmatchcase(s.name, glob)]
        if not found:
            some = ", ".join(list(self.slots)[:4])
            raise InputError(f"no parameter matches {pattern!r}; there are {some}, ...")
        return found


def zeros(_rng: np.random.Generator, shape: tuple[int, ...]) -> Any:
    """Start of biases and shifts."""
    return np.zeros(shape)


def ones(_rng: np.random.Generator, shape: tuple[int, ...]) -> Any:
    """Start of the scales of normalisation layers."""
    return np.ones(shape)


def normal_fan_out(rng: np.random.Generator, shape: tuple[int, ...]) -> Any:
    """Convolution weights: normal with variance 2 / (kernel^2 outputs)."""
    return rng.normal(0.0, np.sqrt(2.0 / (shape[0] * shape[2] * shape[3])), shape)


def uniform_fan_in(rng: np.random.Generator, shape: tuple[int, ...]) -> Any:
    """Linear weights: uniform between -1 / sqrt(inputs) and 1 / sqrt(inputs)."""
    bound = 1.0 / np.sqrt(shape[1])
    return rng.uniform(-bound, bound, shape)
