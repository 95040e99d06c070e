"""Many full-batch runs on the same X, advanced together by compiled kernels.

They are those of :mod:`.tiles` where X is small, else those of :mod:`.lanes`.

A run that reaches its tolerance is frozen by a step size of zero, which changes no bit of it. One
that blows up is taken out and repeated alone by :mod:`.descent_loop`, which finds its last good
step.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from ..errors import InputError
from . import lanes, tiles
from .descent_loop import Record, Status, Trainer, blow_up_limit, loss_on_test
from .descent_plan import Phase, Plan
from .row_passes import mean_loss
from .simd import WIDTH, aligned

Array = npt.NDArray[np.float64]

_CHUNK = 1 << 14
_WORK = 1 << 27
_WHOLE_BELOW = 1 << 19
_IN_TILES = 1 << 16
_ROTATED = 1 << 8


def shared_tiles(plan: Plan) -> tiles.TileDesign | None:
    """Lay out X for the kernels of :mod:`.tiles`, if it is small enough for them.

    The rotation of X costs about as much as n steps, so that fewer go without.
    """
    rule, (n, d) = plan.phases[0].algorithm, plan.data.X.shape
    _, m = rule.resolve(n)
    perturbed = rule.rho > 0.0
    if n * d > _IN_TILES or (perturbed and rule.ascent_steps > 1):
        return None
    if perturbed and m == 1:
        return tiles.tile_design(plan.data.X, True)
    if (perturbed and m < n) or n > min(_ROTATED, int(plan.marks[-1])):
        return None
    return tiles.tile_design(plan.data.X, False)


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
        if self.plan.data.test is None:
            return math.nan
        return loss_on_test(self.plan, np.ascontiguousarray(self.beta))


class LaneTrainer:
    """Advance the plans together; all share X, the family of the algorithm, steps and marks.

    ``design`` is what :func:`shared_tiles` returns for any of them; it is for eight at most.
    """

    def __init__(self, plans: Sequence[Plan], design: tiles.TileDesign | None = None) -> None:
        self.plans, self.design = plans, design
        self.X = plans[0].data.X
        n, d = self.X.shape
        self.groups = -(-len(plans) // WIDTH)
        extra = 0 if design is None else tiles.scratch_items(n, d)
        self.y, self.nu, self.w_plus, self.w_minus, self.beta, self.low, self.scratch = self._zeros(
            n, n, d, d, d, d, extra
        )
        self.low[:] = 1.0
        per_lane = np.zeros((5, self.groups, WIDTH))
        self.loss, self.tol, self.limit, self.decay, self.rho = per_lane
        self.tol[:], self.limit[:] = -1.0, np.inf
        self.active = np.zeros(self.loss.shape, dtype=bool)
        self.step = 0
        self.begun: dict[int, float] = {}
        self.runs: list[LaneRun | Trainer] = [self._enter(k, plan) for k, plan in enumerate(plans)]
        if design is not None:
            tiles.rotate(design, True, self.y)

    def _zeros(self, *items: int) -> list[Array]:
        """One array (groups, items, WIDTH) for each number of items, all in one piece of memory."""
        memory = aligned(np.zeros(self.groups * sum(items) * WIDTH))
        found, first = [], 0
        for count in items:
            end = first + self.groups * count * WIDTH
            found.append(memory[first:end].reshape(self.groups, count, WIDTH))
            first = end
        return found

    def _enter(self, k: int, plan: Plan) -> LaneRun:
        group, lane = at = divmod(k, WIDTH)
        base = self._initial_loss(plan)
        run = LaneRun(
            plan,
            base,
            plan.data.d,
            w_plus=self.w_plus[group, :, lane],
            w_minus=self.w_minus[group, :, lane],
            beta=self.beta[group, :, lane],
            nu=self.nu[group, :, lane],
            low=self.low[group, :, lane],
        )
        run.w_plus[:] = run.w_minus[:] = plan.alpha / math.sqrt(2.0)
        self.y[group, :, lane] = plan.data.y
        self.tol[at] = plan.tol if plan.tol > 0.0 else -1.0
        self.limit[at] = blow_up_limit(base)
        self.decay[at], self.rho[at] = plan.weight_decay, plan.phases[0].algorithm.rho
        self.active[at] = True
        run.history.append((0, 0, run.loss, run.test_loss()))
        return run

    def _initial_loss(self, plan: Plan) -> float:
        """Return the loss at beta = 0, once for each set of labels."""
        key = id(plan.data)
        if key not in self.begun:
            base = float(mean_loss(self.X, plan.data.y, np.zeros(plan.data.d)))
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
        if self.design is not None:
            tiles.rotate(self.design, False, self.nu)
        return self.runs

    def _advance(self, size: int) -> None:
        with np.errstate(over="ignore", invalid="ignore"):
            self.step += self._kernel(size)
        going = (self.loss > self.tol) & (self.loss <= self.limit)
        for k in np.flatnonzero(self.active & ~going).tolist():
            at = divmod(k, WIDTH)
            if not self.loss[at] <= self.limit[at]:
                self._remove(k)
            else:
                self._note([k])
                self._leave(k, "converged")

    def _gammas(self, size: int) -> Array:
        """Step sizes of the next steps, (size or 1, groups * WIDTH), zero where a run has ended."""
        chosen = [plan.phases[0].step_size for plan in self.plans]
        rows = 1 if all(isinstance(step_size, float) for step_size in chosen) else size
        gammas = np.zeros((rows, self.groups, WIDTH))
        for k, step_size in enumerate(chosen):
            group, lane = at = divmod(k, WIDTH)
            if not isinstance(step_size, float):
                step_size = step_size[self.step : self.step + size]
            if self.active[at]:
                gammas[:, group, lane] = step_size
        return gammas.reshape(rows, -1)

    def _kernel(self, size: int) -> int:
        rule = self.plans[0].phases[0].algorithm
        n, d = self.X.shape
        _, m = rule.resolve(n)
        per_lane = (self.decay, self.loss, self.tol, self.limit)
        state = (self.w_plus, self.w_minus, self.beta, self.nu, self.low)
        common: tuple[Any, ...] = (
            self.X,
            self.y.ravel(),
            size,
            self._gammas(size),
            *(array.ravel() for array in (*per_lane, *state)),
        )
        if self.design is not None:
            return self._tiles(self.design, common[1:])
        if rule.rho == 0.0:
            return int(lanes.run_plain(*common))
        if m == 1 and rule.ascent_steps == 1:
            whole = n * d <= _WHOLE_BELOW
            return int(lanes.run_examples(*common, self.rho.ravel(), rule.normalized, whole))
        return int(
            lanes.run_blocks(*common, self.rho.ravel(), m, rule.normalized, rule.ascent_steps)
        )

    def _tiles(self, design: tiles.TileDesign, common: tuple[Any, ...]) -> int:
        rule, scratch = self.plans[0].phases[0].algorithm, self.scratch.ravel()
        self.beta *= 2.0
        if rule.rho == 0.0:
            done = tiles.run_plain(design, *common, scratch)
        else:
            kernel = tiles.run_examples if design.X2.size else tiles.run_whole
            done = kernel(design, *common, self.rho.ravel(), rule.normalized, scratch)
        self.beta *= 0.5
        return int(done)

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
        group, lane = divmod(k, WIDTH)
        for array in (self.y, self.w_plus, self.w_minus, self.beta, self.nu):
            array[group, :, lane] = 0.0
        self._retire(k)

    def _retire(self, k: int) -> None:
        at = divmod(k, WIDTH)
        self.active[at], self.tol[at], self.limit[at] = False, -1.0, np.inf
