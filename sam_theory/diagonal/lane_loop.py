"""Many full-batch runs on the same X, advanced together by the kernels of :mod:`.lanes`.

A run that reaches its tolerance is frozen by a step size of zero, which changes no bit of it. One
that blows up is taken out and repeated alone by :mod:`.descent_loop`, which finds its last good
step.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from ..errors import InputError
from . import lanes
from .descent_loop import Record, Status, Trainer, blow_up_limit, loss_on_test
from .descent_plan import Phase, Plan
from .simd import WIDTH, aligned

Array = npt.NDArray[np.float64]

_CHUNK = 4096
_WORK = 1 << 27
_WHOLE_BELOW = 1 << 19


@dataclass(eq=False)
class LaneRun:
    """End of one run, as :class:`.descent_loop.Trainer` describes it."""

    plan: Plan
    loss: float
    d: int
    w_plus: Array
    w_minus: Array
    beta: Array
    nu: Array
    low: Array
    step: int = 0
    status: Status = "max_steps"
    diverged_at: int | None = None
    done: list[Phase] = field(default_factory=list)
    history: list[Record] = field(default_factory=list)

    def test_loss(self) -> float:
        """Loss on the test set, nan without one."""
        return loss_on_test(self.plan, np.ascontiguousarray(self.beta))


class LaneTrainer:
    """Advance the plans together; all share X, the family of the algorithm, steps and marks."""

    def __init__(self, plans: Sequence[Plan]) -> None:
        self.plans = plans
        self.X = plans[0].data.X
        n, d = self.X.shape
        self.groups = -(-len(plans) // WIDTH)
        self.y = self._empty(n)
        self.w_plus, self.w_minus, self.beta = self._empty(d), self._empty(d), self._empty(d)
        self.nu, self.low = self._empty(n), np.ones((self.groups, d * WIDTH))
        self.loss = np.zeros((self.groups, WIDTH))
        self.tol, self.limit = np.full_like(self.loss, -1.0), np.full_like(self.loss, np.inf)
        self.decay, self.rho = np.zeros_like(self.loss), np.zeros_like(self.loss)
        self.active = np.zeros(self.loss.shape, dtype=bool)
        self.step = 0
        self.begun: dict[int, float] = {}
        self.runs: list[LaneRun | Trainer] = [self._enter(k, plan) for k, plan in enumerate(plans)]

    def _empty(self, items: int) -> Array:
        return aligned(np.zeros(self.groups * items * WIDTH)).reshape(self.groups, -1)

    def _lane(self, array: Array, k: int) -> Array:
        """View of the items of run k."""
        return array.reshape(self.groups, -1, WIDTH)[k // WIDTH, :, k % WIDTH]

    def _enter(self, k: int, plan: Plan) -> LaneRun:
        rule, at = plan.phases[0].algorithm, divmod(k, WIDTH)
        base = self._initial_loss(plan)
        run = LaneRun(
            plan,
            base,
            plan.data.d,
            w_plus=self._lane(self.w_plus, k),
            w_minus=self._lane(self.w_minus, k),
            beta=self._lane(self.beta, k),
            nu=self._lane(self.nu, k),
            low=self._lane(self.low, k),
        )
        run.w_plus[:] = run.w_minus[:] = plan.alpha / np.sqrt(2.0)
        self._lane(self.y, k)[:] = plan.data.y
        self.tol[at] = plan.tol if plan.tol > 0.0 else -1.0
        self.limit[at] = blow_up_limit(base)
        self.decay[at], self.rho[at] = plan.weight_decay, rule.rho
        self.active[at] = True
        run.history.append((0, 0, run.loss, run.test_loss()))
        return run

    def _initial_loss(self, plan: Plan) -> float:
        """Return the loss at beta = 0, once for each set of labels."""
        key = id(plan.data)
        if key not in self.begun:
            base = float(plan.data.loss(np.zeros(plan.data.d)))
            if not np.isfinite(base):
                raise InputError("alpha, X and y are so large that the initial loss overflows")
            self.begun[key] = base
        return self.begun[key]

    def run(self, report: Callable[[float], None] | None = None) -> list[LaneRun | Trainer]:
        """Carry out all plans; returns their ends in order."""
        last = int(self.plans[0].marks[-1])
        n, d = self.X.shape
        chunk = max(1, min(_CHUNK, _WORK // (n * d * WIDTH * self.groups)))
        for mark in self.plans[0].marks:
            while self.step < mark and self.active.any():
                self._advance(min(chunk, int(mark) - self.step))
                if report is not None:
                    report(self.step / last)
            if self.step == mark:
                self._note(range(len(self.plans)))
        for k in range(len(self.plans)):
            self._leave(k)
        return self.runs

    def _advance(self, size: int) -> None:
        gammas = np.zeros((size, self.groups, WIDTH))
        for k, plan in enumerate(self.plans):
            group, lane = divmod(k, WIDTH)
            if self.active[group, lane]:
                gammas[:, group, lane] = plan.phases[0].gammas(self.step, self.step + size)
        with np.errstate(over="ignore", invalid="ignore"):
            self.step += self._kernel(gammas)
        for k in range(len(self.plans)):
            at = divmod(k, WIDTH)
            if self.active[at] and not self.loss[at] <= self.limit[at]:
                self._remove(k)
            elif self.active[at] and self.loss[at] <= self.tol[at]:
                self._note([k])
                self._leave(k, "converged")

    def _kernel(self, gammas: Array) -> int:
        rule = self.plans[0].phases[0].algorithm
        n, d = self.X.shape
        _, m = rule.resolve(n)
        per_lane = (self.decay, self.loss, self.tol, self.limit)
        state = (self.w_plus, self.w_minus, self.beta, self.nu, self.low)
        common: tuple[Any, ...] = (
            self.X,
            self.y.ravel(),
            gammas.reshape(len(gammas), -1),
            *(array.ravel() for array in (*per_lane, *state)),
        )
        if rule.rho == 0.0:
            return int(lanes.run_plain(*common))
        if m == 1 and rule.ascent_steps == 1:
            whole = n * d <= _WHOLE_BELOW
            return int(lanes.run_examples(*common, self.rho.ravel(), rule.normalized, whole))
        return int(
            lanes.run_blocks(*common, self.rho.ravel(), m, rule.normalized, rule.ascent_steps)
        )

    def _note(self, which: Sequence[int]) -> None:
        for k in which:
            run, at = self.runs[k], divmod(k, WIDTH)
            if self.active[at] and run.history[-1][0] != self.step:
                run.loss = float(self.loss[at])
                run.history.append((self.step, 0, run.loss, run.test_loss()))

    def _leave(self, k: int, status: Status = "max_steps") -> None:
        """Freeze run k where it is."""
        run, at = self.runs[k], divmod(k, WIDTH)
        if self.active[at]:
            run.step, run.status, run.loss = self.step, status, float(self.loss[at])
            phase = run.plan.phases[0]
            run.done.append(Phase(phase.algorithm, phase.step_size, self.step))
            self._retire(k)

    def _remove(self, k: int) -> None:
        """Repeat run k alone; its lane goes on with zeros."""
        alone = Trainer(self.plans[k])
        alone.run()
        self.runs[k] = alone
        for array in (self.y, self.w_plus, self.w_minus, self.beta, self.nu):
            self._lane(array, k)[:] = 0.0
        self._retire(k)

    def _retire(self, k: int) -> None:
        at = divmod(k, WIDTH)
        self.active[at], self.tol[at], self.limit[at] = False, -1.0, np.inf
