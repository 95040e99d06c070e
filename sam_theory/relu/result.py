"""What a run of training has reached."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from ..regression import Regression
from .network import Network
from .plan import Run

if TYPE_CHECKING:
    import pandas as pd

    from .loop import State, Status

Array = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False, repr=False)
class Training:
    """A run of training, finished or paused.

    Attributes
    ----------
    data : Regression
        What was fitted.
    run : Run
        What was asked.
    """

    data: Regression
    run: Run
    _state: State

    def __repr__(self) -> str:
        """Name the algorithm, how the run ended, and the objective."""
        end = f"{self.status} at {self.diverged_at}" if self.diverged_at else self.status
        return (
            f"Training({self.run.algorithm.label}, {end}, steps={self.steps} of "
            f"{self.run.steps}, objective={self.objective:.6g})"
        )

    @property
    def network(self) -> Network:
        """Weights that were reached, always finite."""
        return self._state.network

    @property
    def steps(self) -> int:
        """Steps done to reach them."""
        return self._state.steps

    @property
    def status(self) -> Status:
        """How the run ended.

        "converged": the objective reached ``tol``; "max_steps": all steps were done; "paused":
        ``pause_after`` or ``max_seconds`` came first, or this is a checkpoint; "diverged": the
        objective exceeded 1e12 (relative to the larger of 1 and the initial one) or something was
        not finite, and the weights are those before the first such step.
        """
        return self._state.status

    @property
    def diverged_at(self) -> int | None:
        """First step after which that was so; None unless diverged."""
        return self._state.diverged_at

    @property
    def objective(self) -> float:
        """Objective at the weights, units of y^2."""
        return self._state.objective

    @property
    def perturbed_objective(self) -> float:
        """Sum (half_mean: mean) over blocks of the objective at their perturbed points.

        Equal to the objective without a perturbation; nan for stochastic runs.
        """
        return self._state.perturbed_objective

    @cached_property
    def table(self) -> pd.DataFrame:
        """One row per recorded step: step, objective, perturbed_objective, balance_min and _max."""
        import pandas as pd

        frame = pd.DataFrame(self._state.history, columns=["step", "objective", "perturbed"])
        frame = frame.rename(columns={"perturbed": "perturbed_objective"})
        frame["step"] = frame["step"].astype(np.int64)
        frame["balance_min"] = self.balancedness.min(axis=1)
        frame["balance_max"] = self.balancedness.max(axis=1)
        return frame

    @property
    def balancedness(self) -> Array:
        """Balancedness at the recorded steps, shape (records, width), as of :class:`Network`."""
        return self._state.balance

    def summary(self) -> dict[str, Any]:
        """Return status, steps, objective and perturbed_objective by name."""
        return {
            "status": self.status,
            "steps": self.steps,
            "objective": self.objective,
            "perturbed_objective": self.perturbed_objective,
        }
