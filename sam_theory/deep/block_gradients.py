"""The gradient that one block of a minibatch contributes to a step: ascent, then descent."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from .dropout import Masks
from .network import Network, Scratch
from .perturbation import Ball, Subset
from .rules import Rule

Moments = Mapping[str, Sequence[tuple[Any, Any]]]


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


# Never 0: SeedSequence([s, k]), which draws initial weights, is SeedSequence([s, k, 0, 0]).
GRADIENT_NOISE, DIRECTION, WEIGHT_NOISE = 1, 2, 3


def stream(rule: Rule, iteration: int, purpose: int, block: int = 0) -> np.random.Generator:
    """Return the generator of a step's perturbations: a function of the rule's seed and these."""
    key = [rule.seed, iteration, purpose, block]
    return np.random.default_rng(np.random.SeedSequence(key))


class Part(NamedTuple):
    """A block of a minibatch.

    Attributes
    ----------
    number, first : int
        Among the blocks of the minibatch; place of its first example there.
    images, labels : array
        Of the block.
    source : tuple of images and labels, or None
        What the ascent is on; None for the block itself.
    """

    number: int
    first: int
    images: Any
    labels: Any
    source: tuple[Any, Any] | None = None


class BlockGradient:
    """Gradients of blocks one after another, with arrays of its own: several work at once.

    Parameters
    ----------
    network : Network
    rule : Rule
    subset : Subset
        What is perturbed.
    """

    def __init__(self, network: Network, rule: Rule, subset: Subset) -> None:
        self.network, self.rule, self.subset = network, rule, subset
        self.vectors, self.scratch = network.vectors, Scratch()
        self._arrays: dict[str, Any] = {}

    def array(self, name: str) -> Any:
        """Flat array of unspecified content under a name, always the same one."""
        if name not in self._arrays:
            empty = self.network.xp.empty
            self._arrays[name] = empty(self.network.size, self.network.backend.dtype)
        return self._arrays[name]

    def __call__(
        self, iteration: int, buffers: Any, base: Any, part: Part, rho: float, out: Any
    ) -> tuple[Block, Moments]:
        """Write the block's gradient; return what was found and the statistics to commit.

        Parameters
        ----------
        iteration : int
        buffers : array of shape (buffer size,)
            Running statistics; not written to.
        base, out : array of shape (size,)
            Weights that are perturbed; where the gradient goes.
        part : Part
        rho : float
            Radius.
        """
        rule = self.rule
        here = _Passes(self, iteration, buffers, part)
        if rho == 0.0:
            found = here.gradient(base, out)
            objective = found.loss + self._penalty(base)
            block = Block(found.loss, found.loss, objective, found.errors, math.nan, 0.0)
            return block, self._commit([found.moments])
        point = self.array("point")
        ball = Ball(
            self.subset, rho, rho * rule.ascent_step, rule.algorithm.normalized, rule.keeps_to_ball
        )
        passes: list[Any] = []
        norm = math.nan
        if rule.direction == "random":
            delta = self.array("delta")
            ball.random(delta, stream(rule, iteration, DIRECTION, part.number))
            self.subset.combine(base, 1.0, delta, point)
            length = rho
        else:
            passes, norm, length = self._ascend(ball, here, base, point)
        found = here.gradient(point, out)
        if rule.only_step_size:
            plain = self.array("plain")
            ratio = self.vectors.norm(out) / (self.vectors.norm(plain) + 1e-300)
            out[...] = plain.dtype.type(ratio) * plain
        at_weights = rule.direction == "ascent"
        loss = passes[0].loss if at_weights else math.nan
        errors = passes[0].errors if at_weights else found.errors
        objective = found.loss + self._penalty(point)
        block = Block(loss, found.loss, objective, errors, norm, length)
        return block, self._commit([p.moments for p in [*passes, found]])

    def _ascend(
        self, ball: Ball, here: _Passes, base: Any, point: Any
    ) -> tuple[list[Any], float, float]:
        """Write base + delta to point; return the passes, the first norm and delta's length."""
        steps = self.rule.algorithm.ascent_steps
        g = self.array("plain" if self.rule.only_step_size else "ascent")
        passes = [here.gradient(base, g, ascent=True)]
        norm = self.subset.norm(g)
        length = ball.first(base, g, norm, point)
        if steps > 1:
            delta, g = self.array("delta"), self.array("ascent")
            first = self.array("plain") if self.rule.only_step_size else g
            zero = 0 * base
            ball.first(zero, first, norm, delta)
            for _ in range(steps - 1):
                passes.append(here.gradient(point, g, ascent=True))
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


class _Passes:
    """Passes of one block: all of them drop the same units."""

    def __init__(self, own: BlockGradient, iteration: int, buffers: Any, part: Part) -> None:
        self.own, self.buffers, self.part = own, buffers, part
        rule = own.rule
        self.masks = Masks(rule.dropout, rule.seed, iteration, part.first) if rule.dropout else None

    def gradient(self, point: Any, out: Any, ascent: bool = False) -> Any:
        rule, part = self.own.rule, self.part
        images, labels = (part.source if ascent else None) or (part.images, part.labels)
        return self.own.network.gradient(
            point, images, labels, out, buffers=self.buffers, regularizer=rule.regularizer,
            batch_statistics=rule.statistics != "frozen", micro_batch=rule.micro_batch,
            masks=self.masks, scratch=self.own.scratch,
        )  # fmt: skip
