"""What a training run of a ReLU network is asked to do: one checked, frozen description."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from .._validate import checked_integer, checked_number, real_array
from ..algorithms import Algorithm
from ..errors import InputError
from ..regression import Regression
from .closed_forms import Objective, checked_objective, checked_pair
from .network import Network

Steps = npt.NDArray[np.int64]
Schedule = Literal["constant", "linear"]
StopAt = Literal["weights", "perturbed"]
Precision = Literal["float64", "float32"]
_CHOICES = {
    "schedule": ("constant", "linear"),
    "tol_at": ("weights", "perturbed"),
    "precision": ("float64", "float32"),
}
MOST_STEPS = 10**15


@dataclass(frozen=True, eq=False)
class Run:
    """One training run.

    A step draws the minibatch, if the algorithm has a ``batch_size``, cuts it into blocks B of m
    consecutive examples and moves each block's weights by its own ascent, then

        theta <- theta - gamma_k C_B grad L_B(theta + e_B),   e_B = rho_B grad L_B(theta)

    With ``half_sum``, L_B = (1/2) sum of r_i^2 over B and the blocks' gradients are added (C_B is
    the sum); with ``half_mean``, L_B = (1/2m) sum and they are averaged. So for m = n the step is
    that of n-SAM on the objective itself, and half_mean with step n gamma is half_sum with step
    gamma where the ascent is normalised. rho_B = rho, or rho / ||grad L_B|| over all parameters
    together if normalised; each of several ascent steps starts where the one before it ended,
    without projection. relu'(0) = 0.

    Attributes
    ----------
    start : Network
        Initial weights.
    algorithm : Algorithm
        GD, SGD, n-SAM, m-SAM or 1-SAM.
    step_size : float
        gamma > 0; units of theta^2 / L.
    steps : int
        Number of steps, >= 1; the schedule ends there.
    schedule : {"constant", "linear"}
        gamma_k = gamma, or gamma (1 - (k+1)/steps) for k = 0, 1, ..., as the published code.
    objective : {"half_sum", "half_mean"}
        (1/2) or (1/2n) times the sum of squared errors, units of y^2.
    tol : float
        Stop where the objective is <= tol; 0 stops at a perfect fit only. Stochastic runs look only
        where they record.
    tol_at : {"weights", "perturbed"}
        Whether that is the objective at the weights, or at the perturbed points (the sum or mean
        over blocks of L_B(theta + e_B)), which is what the published code tests. They are the same
        without a perturbation. "perturbed" is not available with a batch_size.
    record : int or int array, optional
        Record every ``record`` steps, or at these steps, besides the first and the last.
    seed : int
        Source of the minibatches, >= 0.
    precision : {"float64", "float32"}
        Of all arithmetic.

    Raises
    ------
    InputError
        A field is out of range; the message names it.
    """

    start: Network
    algorithm: Algorithm
    step_size: float
    steps: int
    schedule: Schedule = "constant"
    objective: Objective = "half_sum"
    tol: float = 0.0
    tol_at: StopAt = "weights"
    record: int | npt.ArrayLike | None = None
    seed: int = 0
    precision: Precision = "float64"

    def __post_init__(self) -> None:
        """Check every field."""
        if not isinstance(self.start, Network):
            raise InputError(f"start must be a Network, not {type(self.start).__name__}")
        if not isinstance(self.algorithm, Algorithm):
            raise InputError(f"algorithm must be an Algorithm, not {type(self.algorithm).__name__}")
        step = checked_number("step_size", self.step_size)
        if step <= 0.0:
            raise InputError(f"step_size must be > 0, not {step:g}")
        object.__setattr__(self, "step_size", step)
        steps = checked_integer("steps", self.steps, 1, MOST_STEPS)
        object.__setattr__(self, "steps", steps)
        for name, known in _CHOICES.items():
            if getattr(self, name) not in known:
                value = getattr(self, name)
                raise InputError(f"{name} must be one of {', '.join(known)}, not {value!r}")
        checked_objective(self.objective)
        tol = checked_number("tol", self.tol)
        if tol < 0.0:
            raise InputError(f"tol must be >= 0, not {tol:g}")
        object.__setattr__(self, "tol", tol)
        if self.tol_at == "perturbed" and self.stochastic:
            raise InputError("tol_at = 'perturbed' is not available with a batch_size")
        object.__setattr__(self, "record", _record(self.record, steps))
        object.__setattr__(self, "seed", checked_integer("seed", self.seed, 0))

    @property
    def stochastic(self) -> bool:
        """Whether steps draw minibatches."""
        return self.algorithm.batch_size is not None

    def gammas(self, low: int, high: int) -> npt.NDArray[np.float64]:
        """Return the step sizes of the steps ``low``, ..., ``high`` - 1, counted from 0."""
        if self.schedule == "constant":
            return np.full(high - low, self.step_size)
        left = self.steps - np.arange(low + 1, high + 1, dtype=np.float64)
        return self.step_size * (left / self.steps)

    def marks(self, first: int, *, last: bool = True) -> Steps:
        """Return the steps after ``first`` that are recorded; ``last`` adds the last, ``steps``."""
        if self.record is None:
            steps = np.empty(0, np.int64)
        elif isinstance(self.record, int):
            every = self.record
            steps = np.arange(first // every + 1, self.steps // every + 1, dtype=np.int64) * every
        else:
            steps = np.asarray(self.record, dtype=np.int64)
        kept = steps[(steps > first) & (steps <= self.steps)]
        return np.unique(np.append(kept, self.steps) if last else kept)

    def check(self, data: Regression) -> tuple[int, int]:
        """Return the sizes of batch and block on some data; InputError if they do not fit."""
        checked_pair(self.start, data)
        return self.algorithm.resolve(data.n)


def _record(record: Any, steps: int) -> Any:
    if record is None:
        return None
    if np.ndim(record) == 0:
        return checked_integer("record", record, 1)
    real_array("record", record)
    marks = np.asarray(record)
    if marks.ndim != 1 or marks.dtype.kind not in "iu":
        raise InputError("record must be an integer or a list of integers")
    outside = (marks < 0) | (marks > steps)
    if outside.any():
        raise InputError(f"record asks for step {marks[outside][0]}, outside 0 to {steps}")
    marks = marks.astype(np.int64)
    marks.setflags(write=False)
    return marks
