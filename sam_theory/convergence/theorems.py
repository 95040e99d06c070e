"""A convergence theorem as data: assumptions, schedule, bound, how its left side is measured."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from sam_theory.convergence.problems import Array, Problem
from sam_theory.convergence.runs import Schedule

Kind = Literal["upper", "lower", "tight"]


@dataclass(frozen=True, eq=False)
class Setup:
    """A theorem's algorithm on a problem.

    Attributes
    ----------
    problem : Problem
        What is minimised.
    batch_size, m : int
        Examples per step and per perturbation.
    step_size, rho : float
        gamma and rho where the theorem leaves them to the user; nan where it does not.
    normalization : float
        lam of Unified SAM: 0 unnormalised, 1 normalised.
    """

    problem: Problem
    batch_size: int
    m: int
    step_size: float = np.nan
    rho: float = np.nan
    normalization: float = 0.0

    @property
    def full_batch(self) -> bool:
        """Whether every step is the same function of w: nothing is random."""
        return self.batch_size == self.problem.n and self.m == self.problem.n

    @property
    def beta(self) -> float:
        """Smoothness of every l_i."""
        return self.problem.constants.beta.value

    @property
    def smoothness(self) -> float:
        """Smoothness of L, beta_mean; all that full-batch algorithms need."""
        return self.problem.constants.beta_mean.value

    @property
    def mu(self) -> float:
        """PL constant; nan if there is none."""
        constant = self.problem.constants.mu
        return np.nan if constant is None else constant.value


@dataclass(frozen=True)
class Assumption:
    """Something that must hold for a theorem to say anything.

    Attributes
    ----------
    name : str
        Short: "A1", "PL", "rho".
    text : str
        In words or LaTeX.
    failure : callable
        Takes a Setup; returns None, or why the assumption fails there.
    of_problem : bool
        Whether it is about the problem alone, whatever step size and radius are.
    """

    name: str
    text: str
    failure: Callable[[Setup], str | None]
    of_problem: bool = False


@dataclass(frozen=True, eq=False)
class Measurement:
    """The left side of a theorem on runs.

    Attributes
    ----------
    values : array of shape (K, R)
        One row per seed, one column per horizon.
    predicted : array of shape (K, R), optional
        The right side where it is evaluated on the run itself; otherwise the bound gives it.
    level : float
        Highest loss met, on whose sublevel set the variance is bounded.
    farthest : float
        Largest value of the problem's region met; the constants hold up to 1.
    diverged : int
        Seeds that left the finite numbers.
    """

    values: Array
    level: float
    farthest: float = -np.inf
    diverged: int = 0
    predicted: Array | None = None


@dataclass(frozen=True, eq=False)
class Theorem:
    """One theorem.

    Attributes
    ----------
    name, title : str
        Short name ("T1") and what it is about.
    statement : str
        LaTeX.
    kind : {"upper", "lower", "tight"}
        Which side of the measured value the prediction is on; "tight": equal.
    quantity : str
        What is measured, in words.
    expectation : bool
        Whether the statement is about a mean over minibatches.
    source : str
        Paper and equation, or where it is derived.
    proved_from : int, optional
        Smallest T for which this project's documentation proves the statement with its constants;
        None where it is quoted only.
    assumptions : tuple of Assumption
        Checked on every setup.
    schedule : callable
        (setup, T) -> Schedule.
    measure : callable
        (theorem, setup, horizons, seeds, seed, threads) -> Measurement.
    bound : callable
        (setup, horizons, level) -> array of shape (R,).
    exponent : float, optional
        Predicted slope of log(measured) against log T where the theorem's rate is attained.
    defaults : callable
        (setup) -> (step_size, rho) used if the user gives none; nan where the schedule changes
        them along the run.
    normalization : float
        The theorem's lam; None if any.
    horizons : tuple of int
        Where it is looked at by default.
    approach : callable, optional
        (setup) -> factor by which the distance to a limit shrinks per step; until it has shrunk to
        rounding a tight statement about the limit is inconclusive.
    fixed : bool
        Whether the theorem says what step size and radius are; the user then cannot.
    """

    name: str
    title: str
    statement: str
    kind: Kind
    quantity: str
    expectation: bool
    source: str
    proved_from: int | None
    assumptions: tuple[Assumption, ...]
    schedule: Callable[[Setup, int], Schedule]
    measure: Callable[..., Measurement]
    bound: Callable[[Setup, npt.NDArray[np.int64], float], Array]
    defaults: Callable[[Setup], tuple[float, float]]
    exponent: float | None = None
    normalization: float | None = 0.0
    horizons: tuple[int, ...] = (16, 64, 256, 1024, 4096)
    approach: Callable[[Setup], float] | None = None
    fixed: bool = False

    def __repr__(self) -> str:
        return f"Theorem({self.name!r}: {self.title})"

    def failures(self, setup: Setup) -> list[str]:
        """Return a line for every assumption that fails on a setup.

        Where the problem is of the wrong kind, what else fails has no meaning and is left out.
        """
        return self._failing(setup, True) or self._failing(setup, False)

    def fits(self, setup: Setup) -> bool:
        """Whether the problem of ``setup`` is of the kind that the theorem is about."""
        return not self._failing(setup, True)

    def _failing(self, setup: Setup, of_problem: bool) -> list[str]:
        reasons = [
            (a.name, a.failure(setup)) for a in self.assumptions if a.of_problem == of_problem
        ]
        return [f"{name}: {reason}" for name, reason in reasons if reason is not None]
