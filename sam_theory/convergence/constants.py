"""Constants of a problem, each with the way it was obtained; never fitted to a run."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal

from sam_theory.errors import InputError

How = Literal["exact", "bound", "claimed"]


@dataclass(frozen=True)
class Constant:
    """A number of which it is known how it was obtained.

    Attributes
    ----------
    value : float
        The number.
    how : {"exact", "bound", "claimed"}
        "exact": the best constant, to rounding. "bound": proved, perhaps not the best. "claimed":
        the user's word, which :func:`sam_theory.convergence.refute` may refute but never proves.
    why : str
        One sentence: the formula or the proof.
    """

    value: float
    how: How
    why: str


@dataclass(frozen=True)
class Constants:
    """What the theorems need to know about L = (1/n) sum l_i.

    Attributes
    ----------
    beta : Constant
        Smoothness of every l_i (their maximum): |grad l_i(w) - grad l_i(w')| <= beta |w - w'|.
    beta_mean : Constant
        Smoothness of L; at most beta.
    minimum : Constant
        The least value L* of L, or a lower bound of it.
    mu : Constant, optional
        Polyak-Lojasiewicz constant: (1/2) |grad L|^2 >= mu (L - L*). None if there is none.
    example_minimum : Constant, optional
        The mean of the least values of the l_i, or a lower bound of it (Unified SAM needs it).

    Raises
    ------
    InputError
        A constant is not finite, not positive where it must be, or they contradict each other.
    """

    beta: Constant
    beta_mean: Constant
    minimum: Constant
    mu: Constant | None = None
    example_minimum: Constant | None = None

    def __post_init__(self) -> None:
        """Check signs and order."""
        for name in ("beta", "beta_mean", "mu"):
            constant = getattr(self, name)
            if constant is not None and not (
                math.isfinite(constant.value) and constant.value > 0.0
            ):
                raise InputError(f"{name} must be positive and finite, not {constant.value:g}")
        for name in ("minimum", "example_minimum"):
            constant = getattr(self, name)
            if constant is not None and not math.isfinite(constant.value):
                raise InputError(f"{name} must be finite, not {constant.value:g}")
        slack = 1.0 + 1e-12
        if self.beta_mean.value > self.beta.value * slack:
            raise InputError(
                f"beta_mean = {self.beta_mean.value:g} exceeds beta = {self.beta.value:g}: a mean "
                "of beta-smooth losses is beta-smooth"
            )
        if self.mu is not None and self.mu.value > self.beta_mean.value * slack:
            raise InputError(
                f"mu = {self.mu.value:g} exceeds the smoothness {self.beta_mean.value:g}: no "
                "function is so"
            )
        lower = self.example_minimum
        if lower is not None and lower.value > self.minimum.value + 1e-12 * (
            1.0 + abs(self.minimum.value)
        ):
            raise InputError(
                f"example_minimum = {lower.value:g} exceeds minimum = {self.minimum.value:g}: the "
                "mean of the least values is at most the least mean"
            )


def exact(value: Any, why: str) -> Constant:
    """Return a constant that is the best one."""
    return Constant(float(value), "exact", why)


def bound(value: Any, why: str) -> Constant:
    """Return a constant that is proved, perhaps not the best one."""
    return Constant(float(value), "bound", why)


def claimed(value: Any, why: str = "claimed") -> Constant:
    """Return a constant that somebody claims."""
    return Constant(float(value), "claimed", why)
