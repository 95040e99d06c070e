"""One training step: SGD with momentum on the gradients of m-SAM and its variants.

The minibatch is cut into consecutive blocks B of m examples. With the objective
F_B(w) = mean loss over B + l1 ||w||_1 + (l2/2) ||w||^2,

    delta_B from ascent steps on F_B (see :mod:`sam_theory.deep.perturbation`),
    g = mean_B grad F_B(w + delta_B),    v <- momentum v + g,    w <- w - rate v.

Unlike the published code F_B is not divided by the number of blocks before the ascent, so rho means
the same for any m in the unnormalised variant too. Source: Foret et al., ICLR 2021 (arXiv
2010.01412); Andriushchenko and Flammarion, ICML 2022 (arXiv 2206.06232), section 2.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from sam_theory._threads import parallel_map, single_threaded, worker_count
from sam_theory.errors import InputError

from .block_gradients import (
    GRADIENT_NOISE,
    WEIGHT_NOISE,
    Block,
    BlockGradient,
    Moments,
    Part,
    stream,
)
from .network import Network
from .perturbation import Subset, noisy_weights
from .rules import Rule


@dataclass
class State:
    """What a step changes, and all that has to be saved to continue bit for bit.

    Attributes
    ----------
    weights, velocity : array of shape (size,)
    buffers : array of shape (buffer size,)
        Running statistics.
    iteration : int
        Steps done or skipped.
    skipped : int
        Steps skipped because something was not finite.
    """

    weights: Any
    velocity: Any
    buffers: Any
    iteration: int = 0
    skipped: int = 0

    @classmethod
    def start(cls, weights: Any, buffers: Any) -> State:
        """Return a state with copies of ``weights`` and ``buffers``, at rest."""
        return cls(weights.copy(), 0 * weights, buffers.copy())


class Report(NamedTuple):
    """What one step found.

    Attributes
    ----------
    done : bool
        False if a pass was not finite and the step was skipped.
    blocks : tuple of Block
    step_norm : float
        Norm of the mean gradient that was used.
    rho : float
        Radius of the perturbation.
    """

    done: bool
    blocks: tuple[Block, ...]
    step_norm: float
    rho: float

    def mean(self, name: str) -> float:
        """Mean of an attribute over the blocks."""
        return float(np.mean([getattr(block, name) for block in self.blocks]))


class Step:
    """Training steps of one rule on one network, with the arrays they need.

    Parameters
    ----------
    network : Network
        A network of :func:`build_model`.
    rule : Rule
        What a step does.

    Raises
    ------
    InputError
        The rule does not suit the network.
    """

    def __init__(self, network: Network, rule: Rule) -> None:
        if rule.micro_batch and network.has_batch_norm and rule.statistics != "frozen":
            raise InputError(
                "micro_batch with batch normalisation would change its statistics; use group "
                "normalisation, statistics='frozen', or a smaller m"
            )
        if rule.dropout and not network.model.dropouts:
            raise InputError(
                f"dropout: {network.name} has no place for it; pre-activation ResNets and wrn28 do"
            )
        self.network, self.rule, self.vectors = network, rule, network.vectors
        self.subset = Subset(network.vectors, network.layout, rule.pattern)
        self._workers = [BlockGradient(network, rule, self.subset)]
        self._array = self._workers[0].array

    @single_threaded
    def __call__(
        self, state: State, images: Any, labels: Any, rate: float, *, previous: Any = None,
        perturb: bool = True,
    ) -> Report:  # fmt: skip
        """One step, in place on the state; a step that is not finite changes only its counters.

        Parameters
        ----------
        state : State
        images : array of shape (n, height, width, channels)
            As :meth:`Network.images` returns them.
        labels : integer array of shape (n,)
        rate : float
            Learning rate.
        previous : tuple of images and labels, optional
            The previous minibatch, for ``direction="previous"``; None perturbs nothing.
        perturb : bool
            False makes this a step of SGD.

        Returns
        -------
        Report

        Raises
        ------
        InputError
            m does not divide the batch, or the rate is negative or not finite.
        """
        if not (math.isfinite(rate) and rate >= 0.0):
            raise InputError(f"the learning rate must be a finite number >= 0, not {rate!r}")
        rule, n = self.rule, len(images)
        rho = rate * rule.rho_per_rate if rule.rho_per_rate else rule.algorithm.rho
        rho = rho if perturb and (rule.direction != "previous" or previous is not None) else 0.0
        m = n if rule.algorithm.m is None or rho == 0.0 else rule.algorithm.m
        if n % m:
            raise InputError(f"m = {m} does not divide the batch of {n} examples")
        base = state.weights
        if rule.add_noise or rule.multiply_noise:
            base = self._array("base")
            noisy_weights(
                self.vectors, state.weights, stream(rule, state.iteration, WEIGHT_NOISE),
                rule.add_noise, rule.multiply_noise, rule.noise, base,
            )  # fmt: skip
        total, blocks, moments = self._array("total"), [], []
        parts = _cut(images, labels, previous if rule.direction == "previous" else None, m)
        at_once = self._at_once(m, len(parts))
        for begin in range(0, len(parts), at_once):
            for g, block, found in self._wave(state, base, parts[begin : begin + at_once], rho):
                blocks.append(block)
                moments.append(found)
                if g is not total:
                    self.vectors.combine(total, 1.0, g, total)
        if n // m > 1:
            total *= total.dtype.type(m / n)
        return self._move(state, total, blocks, moments, rate, rho)

    def _at_once(self, m: int, count: int) -> int:
        """How many blocks are computed at once, each on its own thread; no bit depends on it."""
        backend = self.network.backend
        if backend.name != "numpy" or self.rule.micro_batch:
            return 1
        threads = min(worker_count(backend.threads), backend.lanes, count)
        return 1 if self.network.lanes_for(m) >= threads else threads

    def _wave(
        self, state: State, base: Any, parts: list[Part], rho: float
    ) -> list[tuple[Any, Block, Moments]]:
        """Gradients of consecutive blocks, that of the very first in the array "total"."""
        while len(self._workers) < len(parts):
            self._workers.append(BlockGradient(self.network, self.rule, self.subset))
        warned = np.geterr()

        def work(k: int) -> tuple[Any, Block, Moments]:
            worker, part = self._workers[k], parts[k]
            g = worker.array("block" if part.number else "total")
            # Threads do not inherit what is done about numbers that are not finite.
            with np.errstate(**warned):
                return g, *worker(state.iteration, state.buffers, base, part, rho, g)

        return parallel_map(work, range(len(parts)), self.network.backend.threads)

    def _move(
        self, state: State, total: Any, blocks: list[Block], moments: list[Moments], rate: float,
        rho: float,
    ) -> Report:  # fmt: skip
        """Apply the mean gradient, unless something was not finite."""
        if self.rule.gradient_noise:
            rng = stream(self.rule, state.iteration, GRADIENT_NOISE)
            noise = self.network.backend.array(rng.standard_normal(total.size, dtype=np.float32))
            total += total.dtype.type(self.rule.gradient_noise) * noise
        norm = self.vectors.norm(total)
        numbers = [norm, *(block.loss_perturbed for block in blocks)]
        numbers += [block.gradient_norm for block in blocks if rho and self._ascends]
        done = bool(np.all(np.isfinite(numbers)))
        if done:
            self.vectors.momentum_step(
                state.weights, state.velocity, total, rate, self.rule.momentum
            )
            for found in moments:
                self.network.commit(state.buffers, found)
        state.skipped += not done
        state.iteration += 1
        return Report(done, tuple(blocks), norm, rho)

    @property
    def _ascends(self) -> bool:
        return self.rule.direction != "random"


def _cut(images: Any, labels: Any, source: tuple[Any, Any] | None, m: int) -> list[Part]:
    """Blocks of m consecutive examples; the ascent is on those of ``source``, if it is given."""
    parts = []
    for j in range(len(images) // m):
        own = slice(j * m, (j + 1) * m)
        other = None if source is None else (source[0][own], source[1][own])
        parts.append(Part(j, j * m, images[own], labels[own], other))
    return parts
