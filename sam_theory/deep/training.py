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
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from sam_theory._threads import single_threaded
from sam_theory.errors import InputError

from .network import Network
from .perturbation import Ball, Subset, noisy_weights
from .rules import Rule

Moments = Mapping[str, Sequence[tuple[Any, Any]]]


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
        """Return copies of the arrays, at rest."""
        return cls(weights.copy(), 0 * weights, buffers.copy())


class Block(NamedTuple):
    """What one block found.

    Attributes
    ----------
    loss : float
        Mean loss at w, without the regulariser; nan where there was no pass at w on this batch.
    loss_perturbed, objective_perturbed : float
        Mean loss, and objective, where the descent gradient was taken.
    errors : int
        Wrongly classified examples in the first pass.
    gradient_norm : float
        Of the objective at the start of the ascent, over the perturbed parameters; nan without one.
    length : float
        Of the perturbation.
    """

    loss: float
    loss_perturbed: float
    objective_perturbed: float
    errors: int
    gradient_norm: float
    length: float


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
        self.network, self.rule, self.vectors = network, rule, network.vectors
        self.subset = Subset(network.vectors, network.layout, rule.pattern)
        self._arrays: dict[str, Any] = {}

    def _array(self, name: str) -> Any:
        if name not in self._arrays:
            empty = self.network.xp.empty
            self._arrays[name] = empty(self.network.size, self.network.backend.dtype)
        return self._arrays[name]

    def _rng(self, iteration: int, purpose: int, block: int = 0) -> np.random.Generator:
        key = [self.rule.seed, iteration, purpose, block]
        return np.random.default_rng(np.random.SeedSequence(key))

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
            m does not divide the batch.
        """
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
                self.vectors, state.weights, self._rng(state.iteration, 0), rule.add_noise,
                rule.multiply_noise, rule.noise, base,
            )  # fmt: skip
        total, blocks, moments = self._array("total"), [], []
        for j in range(n // m):
            part = slice(j * m, (j + 1) * m)
            g = total if j == 0 else self._array("block")
            source = previous if rule.direction == "previous" and rho else (images, labels)
            block, found = self._block(
                state, base, images[part], labels[part], (source[0][part], source[1][part]), rho,
                j, g,
            )  # fmt: skip
            blocks.append(block)
            moments.append(found)
            if j > 0:
                self.vectors.combine(total, 1.0, g, total)
        if n // m > 1:
            total *= total.dtype.type(m / n)
        return self._move(state, total, blocks, moments, rate, rho)

    def _move(
        self, state: State, total: Any, blocks: list[Block], moments: list[Moments], rate: float,
        rho: float,
    ) -> Report:  # fmt: skip
        """Apply the mean gradient, unless something was not finite."""
        if self.rule.gradient_noise:
            rng = self._rng(state.iteration, 1)
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

    def _gradient(self, point: Any, state: State, images: Any, labels: Any, out: Any) -> Any:
        rule = self.rule
        return self.network.gradient(
            point, images, labels, out, buffers=state.buffers, regularizer=rule.regularizer,
            batch_statistics=rule.statistics != "frozen", micro_batch=rule.micro_batch,
        )  # fmt: skip

    def _block(
        self, state: State, base: Any, images: Any, labels: Any, source: Any, rho: float, j: int,
        g: Any,
    ) -> tuple[Block, Moments]:  # fmt: skip
        """Write the block's gradient to g; return what was found and the statistics to commit."""
        rule = self.rule
        if rho == 0.0:
            found = self._gradient(base, state, images, labels, g)
            objective = found.loss + self._penalty(base)
            block = Block(found.loss, found.loss, objective, found.errors, math.nan, 0.0)
            return block, self._commit([found.moments])
        point = self._array("point")
        ball = Ball(
            self.subset, rho, rho * rule.step_size, rule.algorithm.normalized, rule.keeps_to_ball
        )
        passes: list[Any] = []
        norm = math.nan
        if rule.direction == "random":
            delta = self._array("delta")
            ball.random(delta, self._rng(state.iteration, 2, j))
            self.subset.combine(base, 1.0, delta, point)
            length = rho
        else:
            passes, norm, length = self._ascend(ball, state, base, source, point)
        found = self._gradient(point, state, images, labels, g)
        if rule.only_step_size:
            plain = self._array("plain")
            ratio = self.vectors.norm(g) / (self.vectors.norm(plain) + 1e-300)
            g[...] = plain.dtype.type(ratio) * plain
        at_weights = rule.direction == "ascent"
        loss = passes[0].loss if at_weights else math.nan
        errors = passes[0].errors if at_weights else found.errors
        objective = found.loss + self._penalty(point)
        block = Block(loss, found.loss, objective, errors, norm, length)
        return block, self._commit([p.moments for p in [*passes, found]])

    def _ascend(
        self, ball: Ball, state: State, base: Any, source: Any, point: Any
    ) -> tuple[list[Any], float, float]:
        """Write base + delta to point; return the passes, the first norm and delta's length."""
        steps = self.rule.algorithm.ascent_steps
        g = self._array("plain" if self.rule.only_step_size else "ascent")
        passes = [self._gradient(base, state, source[0], source[1], g)]
        norm = self.subset.norm(g)
        length = ball.first(base, g, norm, point)
        if steps > 1:
            delta, g = self._array("delta"), self._array("ascent")
            first = self._array("plain") if self.rule.only_step_size else g
            zero = 0 * base
            ball.first(zero, first, norm, delta)
            for _ in range(steps - 1):
                passes.append(self._gradient(point, state, source[0], source[1], g))
                length = ball.further(delta, g, self.subset.norm(g))
                self.subset.combine(base, 1.0, delta, point)
        return passes, norm, length

    def _penalty(self, w: Any) -> float:
        rule = self.rule.regularizer
        square = self.vectors.dot(w, w) if rule.l2 else 0.0
        return 0.5 * rule.l2 * square + (rule.l1 * self.vectors.absolute_sum(w) if rule.l1 else 0.0)

    def _commit(self, passes: list[Moments]) -> Moments:
        """Statistics that move the running ones, pass after pass."""
        policy = self.rule.statistics
        if policy == "frozen":
            return {}
        chosen = passes if policy == "both" else passes[:1]
        return {name: [v for found in chosen for v in found[name]] for name in chosen[0]}
