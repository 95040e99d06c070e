"""Finite-step training of diagonal linear networks, and the exact limit of a run.

The balanced coordinates w+- = (u +- v)/sqrt 2 evolve by factors, w+-(k+1) = w+-(k) c+-, with

    c+- = 1 -+ gamma a - gamma (b + weight decay),   a = mean_B g_B' = X^T z,
    b = mean_B rho_B g_B g_B'

(primes at the perturbed point). With nu = sum gamma z accumulated beside the weights, any iterate
is, exactly,

    beta_T = A sinh(-2 X^T nu + shift),  A = |w+ w-| = alpha_eff^2 / 2,
    shift = log|w+/w-| + 2 X^T nu,

so it minimises phi_{alpha_eff}(beta) - <shift/2, beta> among the beta with X beta = X beta_T:
THEORY section 3, for GD, SGD and n-, m-, 1-SAM, any step size, any minibatches. The sums of
log|c+-| of that section are log|w+- / w+-(0)| and need no accumulator. As beta depends on squares
only, the identity survives a factor c+- that changes sign; the coordinate is reported all the same.

With several ascent steps the even part of the perturbation enters the odd part of c+-, and nu no
longer holds all of it; the identity stays exact, and the remainder is part of ``shift``.

In (u, v), where the published code computes, u - v rounds to zero once w- is 1e-16 times w+, and
the coordinate can then never change sign; w+- keep their relative accuracy.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt

from .._threads import single_threaded
from ..algorithms import Algorithm
from ..errors import InputError
from ..regression import Regression
from ..row_space import MAGNITUDES
from .limit import ImplicitBias, solve_limit
from .steps.lane_loop import LaneRun
from .steps.loop import Status, Trainer
from .steps.plan import Begun, Phase, Plan, Record, RowStream, make_plan

if TYPE_CHECKING:
    import pandas as pd

Array = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False, repr=False)
class Descent:
    """A finished run of finite-step training.

    Attributes
    ----------
    data : Regression
        What was fitted.
    alpha : (d,) array
        Initial scale, u(0) = alpha, v(0) = 0.
    beta, w_plus, w_minus : (d,) arrays
        Final state, always finite; beta = (w_plus^2 - w_minus^2)/2.
    nu : (n,) array
        Accumulated dual coordinates, sum over steps of gamma times the residuals' coefficients.
    smallest_factor : (d,) array
        Smallest factor c+- of the run, dimensionless; 1 is no change, negative a change of sign.
    steps : int
        Steps done to reach this state.
    status : {"converged", "max_steps", "diverged"}
        The loss reached ``tol``; all steps were done; the loss exceeded 1e100 (relative to the
        larger of 1 and the initial one) or was not finite.
    diverged_at : int or None
        First step whose state had such a loss; the state kept here is the last one before it.
    loss, test_loss : float
        (1/2n)||X beta - y||^2 at the end, on the data and on ``data.test`` (None without one).
    phases : tuple of Phase
        What was run.
    weight_decay : float
        Coefficient of the decay, in the last call.
    """

    data: Regression
    alpha: Array
    beta: Array
    w_plus: Array
    w_minus: Array
    nu: Array
    smallest_factor: Array
    steps: int
    status: Status
    diverged_at: int | None
    loss: float
    test_loss: float | None
    phases: tuple[Phase, ...]
    weight_decay: float
    _history: tuple[Record, ...]
    _stream: RowStream

    def __repr__(self) -> str:
        """Name the algorithms, how the run ended, and the losses."""
        names = " -> ".join(phase.algorithm.label for phase in self.phases)
        end = f"{self.status} at {self.diverged_at}" if self.diverged_at else self.status
        test = "" if self.test_loss is None else f", test_loss={self.test_loss:.6g}"
        return f"Descent({names}, {end}, steps={self.steps}, loss={self.loss:.6g}{test})"

    def summary(self) -> dict[str, Any]:
        """Return status, steps, loss and test_loss (nan without a test set) by name."""
        test_loss = float("nan") if self.test_loss is None else self.test_loss
        return {
            "status": self.status,
            "steps": self.steps,
            "loss": self.loss,
            "test_loss": test_loss,
        }

    def _begun(self) -> Begun:
        """Return where this run stands."""
        return Begun(
            data=self.data,
            alpha=self.alpha,
            steps=self.steps,
            w_plus=self.w_plus,
            w_minus=self.w_minus,
            nu=self.nu,
            smallest_factor=self.smallest_factor,
            phases=self.phases,
            history=self._history,
            stream=self._stream,
        )

    @property
    def generator(self) -> np.random.Generator:
        """Source of the minibatches as the run left it; a copy, which ``start`` does not see."""
        return self._stream.left().generator

    @property
    def algorithm(self) -> Algorithm:
        """Algorithm of the last phase."""
        return self.phases[-1].algorithm

    @property
    def step_size(self) -> float | Array:
        """Step size of the last phase."""
        return self.phases[-1].step_size

    @cached_property
    def table(self) -> pd.DataFrame:
        """One row per recorded step: step, phase (from 0), algorithm, loss, test_loss."""
        import pandas as pd

        frame = pd.DataFrame(self._history, columns=["step", "phase", "loss", "test_loss"])
        names = [self.phases[phase].algorithm.label for phase in frame["phase"]]
        frame.insert(2, "algorithm", names)
        return frame

    @cached_property
    def log_alpha_effective(self) -> Array:
        """(1/2) log(2 |w+ w-|), shape (d,); -inf where a weight is exactly zero."""
        with np.errstate(divide="ignore"):
            return 0.5 * (np.log(2.0) + np.log(np.abs(self.w_plus)) + np.log(np.abs(self.w_minus)))

    @property
    def alpha_effective(self) -> Array:
        """Effective scale sqrt(2 |w+ w-|), shape (d,), units of alpha."""
        return np.exp(self.log_alpha_effective)

    @cached_property
    def shift(self) -> Array:
        """Displacement log|w+/w-| + 2 X^T nu, shape (d,), dimensionless; O(gamma), 0 for a flow."""
        with np.errstate(divide="ignore", invalid="ignore"):
            ratio = np.log(np.abs(self.w_plus)) - np.log(np.abs(self.w_minus))
            return ratio + 2.0 * _product(self.data.X.T, self.nu)

    @property
    def sign_changed(self) -> npt.NDArray[np.bool_]:
        """Coordinates, shape (d,), in which some factor c+- was negative."""
        return self.smallest_factor < 0.0

    @property
    def vanished(self) -> npt.NDArray[np.bool_]:
        """Coordinates, shape (d,), in which w_plus or w_minus is exactly zero."""
        return (self.w_plus == 0.0) | (self.w_minus == 0.0)

    def limit(self, at: Literal["labels", "reached"] = "labels") -> ImplicitBias:
        """Solve for the limit from the accumulators of the run alone.

        Parameters
        ----------
        at : {"labels", "reached"}
            "labels": the limit, on the labels of the data, of gradient flow started at the final
            state, which is the limit of the run itself once it has converged. "reached": the same
            problem with the labels X beta_T; its solution is beta_T itself, whatever the run.

        Returns
        -------
        ImplicitBias
            With ``alpha_effective`` and ``shift`` of this run. ``delta`` is nan if phases of
            different rho were run, which have no common rho to divide by.

        Raises
        ------
        InputError
            Unknown ``at``; the run diverged (for "labels"); a weight is exactly zero; the largest
            entry of X beta_T is outside 1e-100 .. 1e100 (for "reached").
        """
        if at not in ("labels", "reached"):
            raise InputError(f'at must be "labels" or "reached", not {at!r}')
        if at == "labels" and self.status == "diverged":
            raise InputError(f'at = "labels", but the run diverged at step {self.diverged_at}')
        if self.vanished.any():
            j = int(np.flatnonzero(self.vanished)[0])
            raise InputError(f"a weight of coordinate {j} is exactly zero: no limit is defined")
        reached = _product(self.data.X, self.beta) if at == "reached" else None
        if reached is not None:
            _check_reached(float(np.max(np.abs(reached))))
        mixed = len({phase.algorithm.rho for phase in self.phases}) > 1
        return solve_limit(
            self.data,
            alpha=self.alpha,
            algorithm=self.algorithm,
            log_alpha_effective=self.log_alpha_effective,
            shift=self.shift,
            y=reached,
            delta=np.full(self.data.d, np.nan) if mixed else None,
        )


def descend(
    data: Regression,
    *,
    alpha: npt.ArrayLike | None = None,
    algorithm: Algorithm | None = None,
    step_size: npt.ArrayLike | None = None,
    steps: int | None = None,
    phases: Sequence[tuple[Algorithm, npt.ArrayLike, int]] | None = None,
    record: int | npt.ArrayLike | None = None,
    seed: int | np.random.Generator | None = None,
    batches: npt.ArrayLike | None = None,
    weight_decay: float = 0.0,
    tol: float = 0.0,
    progress: Callable[[float], None] | None = None,
    start: Descent | None = None,
) -> Descent:
    """Train a diagonal linear network beta = u v with finite steps.

    Parameters
    ----------
    data : Regression
        X (n, d) and y (n,); ``data.test`` is evaluated where the loss is recorded.
    alpha : float or (d,) array
        u(0) = alpha > 0, v(0) = 0. May be left out only with ``start``.
    algorithm : Algorithm
        GD, SGD, n-SAM, m-SAM or 1-SAM. A ``batch_size`` makes it stochastic: each step then draws
        that many rows without replacement, and blocks of m follow one another in drawn order.
    step_size : float or (steps,) array
        gamma > 0, dimensionless.
    steps : int
        Number of steps, >= 1.
    phases : sequence of (algorithm, step_size, steps), optional
        Instead of the three, several stretches one after the other.
    record : int or int array, optional
        Record the losses every ``record`` steps, or at these steps (counted from the start of the
        whole run), besides the first and the last. No bit of the run depends on it.
    seed : int or numpy.random.Generator, optional
        Source of the minibatches; 0 unless given. A Generator is advanced.
    batches : (steps, batch_size) int array, optional
        Prescribes the rows of every stochastic step instead; repetitions are allowed.
    weight_decay : float
        Adds weight_decay * (u, v) to the gradient, >= 0. The published code subtracts wd * (u, v)
        per step, without the step size: its wd is step_size * weight_decay here.
    tol : float
        Stop once the loss is <= tol; 0 never stops. Stochastic runs look only where they record.
    progress : callable, optional
        Called with the fraction done, 0 to 1.
    start : Descent, optional
        Continue this run: its state, accumulators, history and random stream.

    Returns
    -------
    Descent
        Final state, losses, accumulators; ``.limit()`` is its exact limit.

    Raises
    ------
    InputError
        An argument is out of range or contradicts another one; the message names it.

    Notes
    -----
    L = (1/2n)||X beta - y||^2; L_B and rho_B as in :mod:`sam_theory.algorithms`. With several
    ascent steps each moves by rho_B times the gradient at the point reached (no projection).
    Source: Andriushchenko and Flammarion, ICML 2022 (arXiv 2206.06232); THEORY section 3.

    Examples
    --------
    >>> import sam_theory as st
    >>> data = st.sparse_regression(n=20, d=30, nonzeros=3, seed=0)
    >>> run = st.descend(data, alpha=0.1, algorithm=st.one_sam(0.1), step_size=0.05, steps=10_000)
    >>> run.status, run.steps
    ('max_steps', 10000)
    >>> exact = run.limit(at="reached")  # the finite-step identity, without running a step
    >>> bool(abs(run.beta - exact.beta).max() < 1e-12)
    True
    """
    if start is not None and not isinstance(start, Descent):
        raise InputError(f"start must be a Descent, not {type(start).__name__}")
    plan = make_plan(
        data,
        alpha=alpha,
        stretch=(algorithm, step_size, steps),
        phases=phases,
        record=record,
        seed=seed,
        batches=batches,
        weight_decay=weight_decay,
        tol=tol,
        progress=progress,
        start=None if start is None else start._begun(),
    )
    trainer = Trainer(plan)
    trainer.run()
    return describe_run(plan, trainer)


def describe_run(plan: Plan, trainer: Trainer | LaneRun) -> Descent:
    """Assemble the result of a finished run."""
    before, history = ((), ()) if plan.start is None else (plan.start.phases, plan.start.history)
    beta, w_plus, w_minus, nu, low = trainer.state()
    return Descent(
        data=plan.data,
        alpha=plan.alpha,
        beta=beta,
        w_plus=w_plus,
        w_minus=w_minus,
        nu=nu,
        smallest_factor=low,
        steps=trainer.step,
        status=trainer.status,
        diverged_at=trainer.diverged_at,
        loss=trainer.loss,
        test_loss=None if plan.data.test is None else trainer.history[-1][3],
        phases=(*before, *trainer.done),
        weight_decay=plan.weight_decay,
        _history=(*history, *trainer.history),
        _stream=plan.stream.left(),
    )


def _check_reached(size: float) -> None:
    low, high = MAGNITUDES
    if size and not low <= size <= high:
        raise InputError(
            f"the run has reached labels X beta of at most {size:.3g}, outside {low:g} .. {high:g}"
        )


@single_threaded
def _product(matrix: Array, vector: Array) -> Array:
    return matrix @ vector
