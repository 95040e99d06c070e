"""Arithmetic on flat arrays of parameters: sums in a fixed order, whatever the threads."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from sam_theory._threads import parallel_map

from .backend import Backend

STRETCH = 1 << 18


class Vectors:
    """Passes over flat arrays, compiled on the CPU, array code on a GPU.

    Parameters
    ----------
    backend : Backend
    """

    def __init__(self, backend: Backend) -> None:
        self.backend, self.xp = backend, backend.xp
        self.compiled = backend.name == "numpy"
        self.kernels: Any = None
        if backend.name == "cupy":
            from .operations.cuda import flat_kernels

            self.kernels = flat_kernels()

    def _each(self, size: int, work: Callable[[int, int], Any]) -> list[Any]:
        """Call work(begin, end) on fixed stretches."""
        parts = [(b, min(size, b + STRETCH)) for b in range(0, size, STRETCH)]
        return parallel_map(lambda part: work(*part), parts, self.backend.threads)

    def dot(self, x: Any, y: Any) -> float:
        """Inner product in float64."""
        if self.compiled:
            from .operations.flat import inner_product

            return float(sum(self._each(x.size, lambda b, e: inner_product(x, y, b, e))))
        if self.kernels is not None:
            return float(self.kernels.dot(x, y))
        return float(self.xp.sum(x.astype("float64") * y.astype("float64")))

    def norm(self, x: Any) -> float:
        """Euclidean norm in float64."""
        return math.sqrt(self.dot(x, x))

    def absolute_sum(self, x: Any) -> float:
        """Sum of absolute values in float64."""
        if self.compiled:
            from .operations.flat import absolute_sum

            return float(sum(self._each(x.size, lambda b, e: absolute_sum(x, b, e))))
        return float(self.xp.sum(self.xp.abs(x), dtype="float64"))

    def combine(self, x: Any, factor: float, y: Any, out: Any) -> None:
        """Write x + factor y; out may be x or y."""
        if self.compiled:
            from .operations.flat import combine

            self._each(x.size, lambda b, e: combine(x, factor, y, b, e, out))
        elif self.kernels is not None:
            self.kernels.combine(x, out.dtype.type(factor), y, out)
        else:
            out[...] = x + out.dtype.type(factor) * y

    def momentum_step(self, w: Any, v: Any, g: Any, rate: float, momentum: float) -> None:
        """One step in place: v = momentum v + g, w = w - rate v."""
        if self.compiled:
            from .operations.flat import momentum_step

            self._each(w.size, lambda b, e: momentum_step(w, v, g, rate, momentum, b, e))
        elif self.kernels is not None:
            kind = w.dtype.type
            self.kernels.momentum_step(g, kind(rate), kind(momentum), w, v, w, v)
        else:
            v *= w.dtype.type(momentum)
            v += g
            w -= w.dtype.type(rate) * v

    def blend(self, x: Any, keep: float, y: Any) -> None:
        """Turn x into keep x + (1 - keep) y, in place: an exponential average."""
        if self.compiled:
            from .operations.flat import blend

            self._each(x.size, lambda b, e: blend(x, keep, y, b, e))
        elif self.kernels is not None:
            kind = x.dtype.type
            self.kernels.blend(x, kind(keep), kind(1 - keep), y, x)
        else:
            x *= x.dtype.type(keep)
            x += x.dtype.type(1 - keep) * y

    def finish_gradient(
        self, parts: Any, count: int, w: Any, l1: float, l2: float, add: bool, last: bool, out: Any
    ) -> None:
        """Sum the lanes' gradients into out [added to it]; then the regulariser's, if ``last``."""
        if self.compiled:
            from .operations.flat import finish_gradient

            self._each(
                out.size,
                lambda b, e: finish_gradient(parts, count, w, l1, l2, b, e, add, last, out),
            )
            return
        total = parts[0]
        for k in range(1, count):
            total = total + parts[k]
        out[...] = out + total if add else total
        if last:
            out += w.dtype.type(l2) * w + w.dtype.type(l1) * self.xp.sign(w)
