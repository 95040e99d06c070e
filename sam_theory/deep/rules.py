"""What a training step does, as data: algorithm, regulariser, momentum and every variant."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Literal

from sam_theory.algorithms import Algorithm
from sam_theory.errors import InputError

from .dropout import check_rate
from .network import Regularizer

Policy = Literal["at_weights", "both", "frozen"]
POLICIES = ("at_weights", "both", "frozen")
DIRECTIONS = ("ascent", "random", "previous")
DISTRIBUTIONS = ("gauss", "uniform")


@dataclass(frozen=True)
class Rule:
    """Everything that a step does except for its data and its learning rate.

    Parameters
    ----------
    algorithm : Algorithm
        rho, m, normalized and ascent_steps are used; rho = 0 is SGD on the whole batch.
    regularizer : Regularizer
        Added to the loss of every block.
    momentum : float
        In [0, 1).
    ascent_step : float
        Ascent step as a multiple of rho, > 0.
    project : bool, optional
        Keep to the ball of radius rho; None does so for normalised algorithms.
    direction : {"ascent", "random", "previous"}
        Of the perturbation: up the block's objective; a random one of length rho; up the objective
        of the same block of the previous minibatch.
    rho_per_rate : float
        If > 0, rho is this multiple of the current learning rate; ``algorithm.rho`` must be 0.
    only_step_size : bool
        Keep the direction of the gradient at w and take only the length of the one at w + delta.
    pattern : str, optional
        Perturb only parameters whose name matches.
    statistics : {"at_weights", "both", "frozen"}
        Batch normalisation: batch statistics everywhere and running ones moved by the pass at w
        alone; by all passes; running ones used everywhere and never moved. Where there is no pass
        at w (random direction), "at_weights" moves them by the perturbed one.
    micro_batch : int, optional
        Images at once; larger blocks are accumulated inside ascent and descent alike, with the same
        result to rounding. Refused for batch normalisation, whose statistics would be those of the
        micro-batch, unless ``statistics="frozen"``.
    add_noise, multiply_noise : float
        Noise on the weights in all passes of a step, see :func:`noisy_weights`.
    noise : {"gauss", "uniform"}
        Its distribution.
    gradient_noise : float
        Standard deviation of normal noise added once to the mean gradient.
    dropout : float
        Probability in [0, 1) that a unit between the convolutions of a pre-activation block is
        dropped, see :mod:`sam_theory.deep.dropout`; the same units in all passes of a step.
    seed : int
        Of everything random in the step, together with its iteration and block.

    Raises
    ------
    InputError
        A field is outside its range, or two exclude each other.
    """

    algorithm: Algorithm = field(default_factory=Algorithm)
    regularizer: Regularizer = field(default_factory=Regularizer)
    momentum: float = 0.9
    ascent_step: float = 1.0
    project: bool | None = None
    direction: Literal["ascent", "random", "previous"] = "ascent"
    rho_per_rate: float = 0.0
    only_step_size: bool = False
    pattern: str | None = None
    statistics: Policy = "at_weights"
    micro_batch: int | None = None
    add_noise: float = 0.0
    multiply_noise: float = 0.0
    noise: Literal["gauss", "uniform"] = "gauss"
    gradient_noise: float = 0.0
    dropout: float = 0.0
    seed: int = 0

    def __post_init__(self) -> None:
        """Check every field."""
        choices = (
            ("direction", self.direction, DIRECTIONS),
            ("statistics", self.statistics, POLICIES),
            ("noise", self.noise, DISTRIBUTIONS),
        )
        for name, value, known in choices:
            if value not in known:
                raise InputError(f"{name} must be one of {', '.join(known)}, not {value!r}")
        for name in ("rho_per_rate", "add_noise", "multiply_noise", "gradient_noise"):
            value = getattr(self, name)
            if not (math.isfinite(value) and value >= 0):
                raise InputError(f"{name} must be a finite number >= 0, not {value!r}")
        if not 0 <= self.momentum < 1:
            raise InputError(f"momentum must be in [0, 1), not {self.momentum!r}")
        if not (math.isfinite(self.ascent_step) and self.ascent_step > 0):
            raise InputError(f"ascent_step must be positive and finite, not {self.ascent_step!r}")
        check_rate(self.dropout)
        if self.micro_batch is not None and self.micro_batch < 1:
            raise InputError(f"micro_batch must be an integer >= 1, not {self.micro_batch!r}")
        if self.rho_per_rate and self.algorithm.rho:
            raise InputError("rho_per_rate and a positive rho exclude each other")
        if self.only_step_size and self.direction != "ascent":
            raise InputError("only_step_size needs direction='ascent'")

    @property
    def keeps_to_ball(self) -> bool:
        """Whether perturbations are projected onto the ball of radius rho."""
        return self.algorithm.normalized if self.project is None else self.project
