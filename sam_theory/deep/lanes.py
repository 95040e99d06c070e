"""Lanes: fixed parts of a batch that are computed apart and summed in a fixed order.

A batch is cut into lanes by its size alone. Each lane runs the whole network on its images; what
layers need of the whole batch (the sums of batch normalisation) they ``yield``, and get back the
sum over the lanes. Threads only decide which lane is computed when, so the bits of a result do not
depend on their number; and between two sums a lane's data never leaves its core's caches.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from typing import Any

import numpy as np

from sam_theory._threads import parallel_map

Program = Generator[Any, Any, Any]


class Workspace:
    """Arrays that are reused from pass to pass."""

    def __init__(self, xp: Any, dtype: Any) -> None:
        self.xp, self.dtype = xp, dtype
        self.free: dict[tuple[Any, ...], list[Any]] = {}
        self.lent: dict[int, tuple[tuple[Any, ...], Any]] = {}
        self.flat: dict[str, Any] = {}

    def take(self, shape: tuple[int, ...], dtype: Any = None) -> Any:
        """Array of unspecified content, until :meth:`give` or :meth:`reset`."""
        kind = self.dtype if dtype is None else dtype
        key = (shape, kind)
        stack = self.free.setdefault(key, [])
        array = stack.pop() if stack else self.xp.empty(shape, kind)
        self.lent[id(array)] = (key, array)
        return array

    def give(self, array: Any) -> None:
        """Return an array; one that was not taken here is left alone."""
        found = self.lent.pop(id(array), None)
        if found is not None:
            self.free[found[0]].append(found[1])

    def reset(self) -> None:
        """Take everything back, after a pass that ended anyhow."""
        for key, array in self.lent.values():
            self.free[key].append(array)
        self.lent.clear()

    def scratch(self, name: str, size: int) -> Any:
        """Flat array of at least the asked size, under a name, of unspecified content."""
        array = self.flat.get(name)
        if array is None or array.size < size:
            array = self.flat[name] = self.xp.empty(size, self.dtype)
        return array[:size]


class Lane:
    """One lane of one pass: what its layers read and where they write.

    Attributes
    ----------
    index : int
        Place in the order of summation.
    operations : ArrayOperations
    weights, packed, buffers : dict
        Parameters by name, as they lie in memory; convolution weights as kernels want them;
        running statistics.
    gradients : dict or None
        Where gradients go by name; None for a forward pass.
    total : int
        Images of all lanes together.
    batch_statistics : bool
        Whether batch normalisation uses the statistics of the batch, or the running ones.
    masks : Masks or None
        What dropout layers drop, from the lane's first image on; None drops nothing.
    moments : dict
        Statistics of the batch by layer.
    kept : dict
        What layers keep from forward to backward.
    """

    def __init__(
        self,
        index: int,
        operations: Any,
        weights: Any,
        packed: Any,
        buffers: Any,
        gradients: Any,
        total: int,
        batch_statistics: bool,
        masks: Any = None,
    ) -> None:
        self.index, self.operations = index, operations
        self.weights, self.packed, self.buffers = weights, packed, buffers
        self.gradients, self.total, self.batch_statistics = gradients, total, batch_statistics
        self.masks = masks
        self.moments: dict[str, tuple[Any, Any]] = {}
        self.kept: dict[Any, Any] = {}
        self.space: Any = None
        self.features: Any = None

    def take(self, shape: tuple[int, ...], dtype: Any = None) -> Any:
        """Array of unspecified content from the lane's workspace."""
        return self.space.take(shape, dtype)

    def give(self, array: Any) -> None:
        """Return an array to the workspace."""
        self.space.give(array)

    def scratch(self, name: str, size: int) -> Any:
        """Flat scratch array of the workspace."""
        return self.space.scratch(name, size)


class Runner:
    """Runs the programs of lanes together; keeps as many workspaces as ever run at once."""

    def __init__(self, xp: Any, dtype: Any, threads: int | None) -> None:
        self.xp, self.dtype, self.threads = xp, dtype, threads
        self.spaces: list[Workspace] = []

    def run(self, lanes: Sequence[Lane], program: Callable[[Lane], Program]) -> list[Any]:
        """Run program(lane) of every lane to its end and return what they return."""
        programs: list[Program | None] = [None] * len(lanes)
        received: Any = None
        # Threads do not inherit what is done about numbers that are not finite.
        warned = np.geterr()

        def advance(k: int) -> tuple[bool, Any]:
            lane = lanes[k]
            if lane.space is None:
                lane.space = self._workspace()
            own = programs[k]
            try:
                with np.errstate(**warned):
                    if own is None:
                        own = programs[k] = program(lane)
                        return False, next(own)
                    return False, own.send(received)
            except StopIteration as end:
                self._release(lane)
                return True, end.value

        try:
            while True:
                found = parallel_map(advance, range(len(lanes)), self.threads)
                if all(done for done, _ in found):
                    return [value for _, value in found]
                if any(done for done, _ in found):
                    raise RuntimeError("lanes of one pass asked for different numbers of sums")
                received = _sum_in_order([value for _, value in found])
        finally:
            for lane in lanes:
                self._release(lane)

    def _workspace(self) -> Workspace:
        try:
            return self.spaces.pop()
        except IndexError:
            return Workspace(self.xp, self.dtype)

    def _release(self, lane: Lane) -> None:
        space = lane.space
        if space is not None:
            lane.space = None
            lane.kept.clear()
            space.reset()
            self.spaces.append(space)


def _sum_in_order(parts: Sequence[Any]) -> Any:
    total = parts[0]
    for part in parts[1:]:
        total = total + part
    return total


def cut(n: int, lanes: int) -> list[tuple[int, int]]:
    """Bounds of at most ``lanes`` parts of n images, as equal as they can be, larger ones first."""
    count = max(1, min(lanes, n))
    small, larger = divmod(n, count)
    bounds, begin = [], 0
    for k in range(count):
        end = begin + small + (k < larger)
        bounds.append((begin, end))
        begin = end
    return bounds
