"""The loop around the compiled steps: stretches, recording, stopping, rolling back a divergence.

A kernel works on the weights in place. Before each stretch they are copied, so that after a
divergence the stretch is repeated up to its last good step; nothing is paid for that inside the
compiled loop. A minibatch may not hold the examples that blew up, so a stochastic stretch is judged
by the objective on all examples where it ends, and halved until the first bad step is found. Where
a stretch ends changes no bit of the run.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from ..diagonal.steps.kernels import draw_rows
from ..errors import InputError
from ..regression import Regression
from . import kernels
from .network import Network, balancedness
from .plan import Run
from .registers import aligned

Array = npt.NDArray[np.float64]
Status = Literal["converged", "max_steps", "diverged", "paused"]

_CHUNK = 1 << 16
_WORK = 1 << 28
_BLOW_UP = 1e12


@dataclass(frozen=True, eq=False)
class State:
    """Where a run is.

    Attributes
    ----------
    network : Network
        Weights, exact also for a run in float32.
    steps : int
        Steps done.
    status : {"converged", "max_steps", "diverged", "paused"}
    diverged_at : int or None
        First step after which the objective was not within its limit.
    objective, perturbed_objective : float
        At the weights and at their perturbed points; the latter is nan for a stochastic run.
    history : (records, 3) array
        Step, objective, perturbed objective where they were recorded.
    balance : (records, width) array
        Balancedness there.
    generator : numpy.random.Generator or None
        Source of the minibatches of the steps to come.
    """

    network: Network
    steps: int
    status: Status
    diverged_at: int | None
    objective: float
    perturbed_objective: float
    history: Array
    balance: Array
    generator: np.random.Generator | None


class Trainer:
    """State of a run in motion."""

    def __init__(self, data: Regression, run: Run, state: State | None) -> None:
        self.asked = run
        self.batch, m = run.check(data)
        assert isinstance(data.X, np.ndarray)
        self.d, self.n = data.d, data.n
        self.dtype = np.dtype(run.precision)
        with np.errstate(over="ignore"):
            self.X = np.array(data.X, self.dtype, order="C").ravel()
            self.y = np.array(data.y, self.dtype)
        network = run.start if state is None else state.network
        self.width = network.width
        self.theta = pack(network, self.dtype)
        self.work = kernels.make_work(max(self.batch, self.n), self.d, self.width, self.dtype)
        self.rule = _rule(run, self.batch, m)
        mean = run.objective == "half_mean"
        self.half = 0.5 / self.batch if mean else 0.5
        self.half_all = 0.5 / self.n if mean else 0.5
        self.no_rows = np.zeros((1, self.batch), np.int64)
        self.marks = run.marks(-1 if state is None else state.steps)
        self.step = 0 if state is None else state.steps
        self.generator = None
        if run.stochastic:
            given = None if state is None else state.generator
            self.generator = np.random.default_rng(run.seed) if given is None else given
            self.generator = copy.deepcopy(self.generator)
        self.status: Status = "paused"
        self.diverged_at: int | None = None
        self.history: list[tuple[float, float, float]] = []
        self.balance: list[Array] = []
        self._begin(state)

    def _begin(self, state: State | None) -> None:
        self.limit = np.inf
        if state is not None:
            self.objective, self.perturbed = state.objective, state.perturbed_objective
            self.history = [(float(k), one, two) for k, one, two in state.history]
            self.balance = list(state.balance)
        else:
            self.objective, self.perturbed = self._evaluate()
            if not np.isfinite(self.objective):
                raise InputError("start, X and y are so large that the initial objective overflows")
            self._note()
        self.limit = _BLOW_UP * max(1.0, self.history[0][1])

    def run(
        self,
        until: int,
        *,
        seconds: float = np.inf,
        progress: Callable[[float], None] | None = None,
        every: int | None = None,
        save: Callable[[State], None] | None = None,
    ) -> State:
        """Take steps up to step ``until``, or until the run ends, or the seconds are over.

        ``save`` is called with the state after every ``every`` steps of the whole run.
        """
        end = time.monotonic() + seconds
        run, first = self.asked, self.step
        if self._reached() and self.step == 0:
            self.status = "converged"
        while self.status == "paused" and self.step < until:
            mark = int(self.marks[np.searchsorted(self.marks, self.step, side="right")])
            stop = min(mark, until)
            if every is not None:
                stop = min(stop, (self.step // every + 1) * every)
            self._stretch(min(stop, self.step + self._chunk()), mark)
            if self.step == run.steps and self.status == "paused":
                self.status = "max_steps"
            if self.step == mark or self.status != "paused":
                self._note()
            if progress is not None:
                progress((self.step - first) / max(1, until - first))
            if every is not None and save is not None and self.step % every == 0:
                save(self.state())
            if time.monotonic() >= end:
                break
        return self.state()

    def state(self) -> State:
        """Return what is known now."""
        return State(
            network=unpack(self.theta, self.width, self.d),
            steps=self.step,
            status=self.status,
            diverged_at=self.diverged_at,
            objective=self.objective,
            perturbed_objective=self.perturbed,
            history=np.array(self.history),
            balance=np.array(self.balance),
            generator=copy.deepcopy(self.generator),
        )

    def _note(self) -> None:
        if self.history and self.history[-1][0] == self.step:
            return
        self.history.append((float(self.step), self.objective, self.perturbed))
        rows = self.theta.reshape(self.d + 2, -1)[:, : self.width].astype(np.float64)
        with np.errstate(over="ignore", invalid="ignore"):
            self.balance.append(balancedness(rows[0], rows[1:-1], rows[-1]))

    def _reached(self) -> bool:
        value = self.perturbed if self.asked.tol_at == "perturbed" else self.objective
        return value <= self.asked.tol

    def _chunk(self) -> int:
        """Bound the steps of one kernel call to a fraction of a second."""
        passes = 1 + self.rule[3]
        return max(1, min(_CHUNK, _WORK // (self.batch * self.theta.size * passes)))

    def _stretch(self, stop: int, mark: int) -> None:
        gammas = self.asked.gammas(self.step, stop)
        saved = self.theta.copy()
        rows = self.no_rows
        if self.generator is not None:
            rows = draw_rows(self.generator.random((gammas.size, self.batch)), self.n)
        flag, k, self.objective, self.perturbed = self._kernel(rows, gammas)
        if self.generator is not None and flag == kernels.DONE:
            self.objective, self.perturbed = self._evaluate()
            if stop == mark and self._reached():
                flag = kernels.REACHED
        if flag == kernels.DIVERGED or not self._good():
            k = self._back(rows, gammas, max(k, 1), saved)
        elif flag == kernels.REACHED:
            self.status = "converged"
        self.step += k

    def _good(self) -> bool:
        return self.objective <= self.limit and bool(np.all(np.isfinite(self.theta)))

    def _back(self, rows: Any, gammas: Array, bad: int, saved: Array) -> int:
        """Return to the last good state, fewer than ``bad`` steps into a stretch.

        A full-batch kernel has seen the objective of every state before the bad one.
        """
        good, middle = 0, bad - 1 if self.generator is None else bad // 2
        while middle > good:
            self._restore(saved)
            part = rows if self.generator is None else rows[good:middle]
            self._kernel(part, gammas[good:middle], stopping=False)
            self.objective, self.perturbed = self._evaluate()
            if self._good():
                good, saved = middle, self.theta.copy()
            else:
                bad = middle
            middle = (good + bad) // 2
        self._restore(saved)
        self.objective, self.perturbed = self._evaluate()
        self.status, self.diverged_at = "diverged", self.step + good + 1
        return good

    def _restore(self, saved: Array) -> None:
        self.theta[:] = saved

    def _kernel(
        self, rows: Any, gammas: Array, *, stopping: bool = True
    ) -> tuple[int, int, float, float]:
        full = self.generator is None
        tol = self.asked.tol if stopping and full else -1.0
        limit = self.limit if full else self.limit * self.n
        stop = (tol, self.asked.tol_at == "perturbed", limit if stopping else np.inf, self.half)
        found: tuple[int, int, float, float] = kernels.run(
            self.theta, self.X, self.y, self.d, rows, full, gammas, self.rule, stop, self.work
        )
        return found

    def _evaluate(self) -> tuple[float, float]:
        """Objective on all examples at the weights, and at their perturbed points."""
        if self.generator is None:
            return self._kernel(self.no_rows, np.empty(0), stopping=False)[2:]
        rule = (0.0, self.n, False, 0, 1.0, 1.0)
        squares, _ = kernels.block_gradient(self.theta, self.X, self.y, self.d, rule, self.work)
        return self.half_all * squares, float("nan")


def _rule(run: Run, batch: int, m: int) -> tuple[float, int, bool, int, float, float]:
    """Arguments of the kernels: blocks, ascent, scales of the blocks' objectives and gradients."""
    algorithm = run.algorithm
    mean = run.objective == "half_mean"
    weight = 1.0 / batch if mean else 1.0
    if algorithm.rho == 0.0:
        return 0.0, batch, False, 0, weight, weight
    share = 1.0 / m if mean else 1.0
    return algorithm.rho, m, algorithm.normalized, algorithm.ascent_steps, share, weight


def pack(network: Network, dtype: npt.DTypeLike) -> npt.NDArray[Any]:
    """Weights as the kernels take them, flat."""
    d, width = network.d, network.width
    theta = aligned((d + 2, kernels.padded(width, dtype)), dtype)
    # What exceeds float32 becomes infinite, and the initial objective says so.
    with np.errstate(over="ignore"):
        theta[0, :width] = network.output_weights
        theta[1:-1, :width] = network.hidden_weights.T
        theta[-1, :width] = network.hidden_bias
    return theta.ravel()


def unpack(theta: npt.NDArray[Any], width: int, d: int) -> Network:
    """Inverse of :func:`pack`."""
    rows = theta.reshape(d + 2, -1)[:, :width].astype(np.float64)
    return Network(rows[1:-1].T, rows[-1], rows[0])
