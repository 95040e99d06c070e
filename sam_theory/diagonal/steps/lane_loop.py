"""Many full-batch runs on the same X, advanced together by compiled kernels.

They are those of :mod:`.tiles` where X is small, else those of :mod:`.lanes`.

A run that reaches its tolerance is frozen by a step size of zero, which changes no bit of it. One
that blows up is taken out and repeated alone by :mod:`.steps.loop`, which finds its last good
step.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from ...algorithms import Algorithm
from ..primitives.row_passes import mean_loss
from ..primitives.simd import WIDTH, aligned_zeros
from . import lanes, tiles
from .loop import Status, Trainer, blow_up_limit, frozen, loss_on_test
from .plan import Phase, Plan, Record

Array = npt.NDArray[np.float64]

_CHUNK = 1 << 14
_WORK = 1 << 27
_LEAST_WORK = 1 << 23
IN_TILES = 1 << 18
_ROTATED = 1 << 8


def shared_tiles(plan: Plan) -> tiles.TileDesign | None:
    """Lay out X for the kernels of :mod:`.tiles`, if it is small enough for them.

    The rotation of X costs about as much as n steps, so that fewer go without.
    """
    rule, (n, d) = plan.phases[0].algorithm, plan.data.X.shape
    _, m = rule.resolve(n)
    perturbed = rule.rho > 0.0
    if n * d > IN_TILES or (perturbed and rule.ascent_steps > 1):
        return None
    if perturbed and m == 1:
        return tiles.tile_design(plan.data.X, True)
    if (perturbed and m < n) or n > min(_ROTATED, int(plan.marks[-1])):
        return None
    return tiles.tile_design(plan.data.X, False)


@dataclass(eq=False)
class LaneRun:
    """End of one run, as :class:`.steps.loop.Trainer` describes it."""

    plan: Plan
    loss: float
    history: list[Record]
    step: int = 0
    status: Status = "max_steps"
    diverged_at: int | None = None
    done: list[Phase] = field(default_factory=list)
    numbers: Array = field(default_factory=lambda: np.zeros(0))

    def state(self) -> tuple[Array, ...]:
        """Return beta, w_plus, w_minus, nu and low, read-only."""
        d, numbers = self.plan.data.d, self.numbers
        rest = 3 * d
        return (
            numbers[:d],
            numbers[d : 2 * d],
            numbers[2 * d : rest],
            numbers[rest:-d],
            numbers[-d:],
        )


class LaneTrainer:
    """Advance the plans together; all share X, the family of the algorithm, steps and marks.

    ``design`` is what :func:`shared_tiles` returns for any of them; it is for eight at most. With
    it, ``beta`` is 2 beta while the plans are under way.
    """

    def __init__(self, plans: Sequence[Plan], design: tiles.TileDesign | None = None) -> None:
        self.plans, self.design = plans, design
        self.X = plans[0].data.X
        self.n, self.d = n, d = self.X.shape
        self.groups = -(-len(plans) // WIDTH)
        self.y, self.nu, self.w_plus, self.w_minus, self.beta, self.low = self._zeros(
            n, n, d, d, d, d
        )
        self.low[:] = 1.0
        self.loss, self.tol, self.limit, self.decay, self.rho = np.zeros((5, self.groups * WIDTH))
        self.tol[:], self.limit[:] = -1.0, np.inf
        self.active, self.left = np.arange(self.groups * WIDTH) < len(plans), len(plans)
        self.step = 0
        self.runs: list[LaneRun | Trainer] = []
        self._enter()
        self.gammas = self._constant_gammas()
        self._choose(plans[0].phases[0].algorithm)
        self.ready = False
        if design is not None:
            tiles.rotate(design, True, self.y)
        per_lane = (self.decay, self.loss, self.tol, self.limit)
        state = (self.w_plus, self.w_minus, self.beta, self.nu, self.low)
        self.flat = (*per_lane, *(array.ravel() for array in state))

    def _zeros(self, *items: int) -> list[Array]:
        """One array (groups, items, WIDTH) for each number of items, all in one piece of memory."""
        memory = aligned_zeros(self.groups * sum(items) * WIDTH)
        found, first = [], 0
        for count in items:
            end = first + self.groups * count * WIDTH
            found.append(memory[first:end].reshape(self.groups, count, WIDTH))
            first = end
        return found

    def _enter(self) -> None:
        """Set the initial states, eight at a time, and note the losses there."""
        plans, count = self.plans, len(self.plans)
        for group in range(self.groups):
            part = plans[group * WIDTH : (group + 1) * WIDTH]
            scales = np.array([plan.alpha for plan in part]).T / math.sqrt(2.0)
            self.w_plus[group, :, : len(part)] = self.w_minus[group, :, : len(part)] = scales
            self.y[group, :, : len(part)] = np.array([plan.data.y for plan in part]).T
        begun: dict[int, tuple[float, float]] = {}
        for plan in plans:
            if id(plan.data) not in begun:
                begun[id(plan.data)] = self._initial_losses(plan)
            base, test = begun[id(plan.data)]
            self.runs.append(LaneRun(plan, base, [(0, 0, base, test)]))
        self.tol[:count] = [plan.tol if plan.tol > 0.0 else -1.0 for plan in plans]
        self.limit[:count] = [blow_up_limit(run.loss) for run in self.runs]
        self.decay[:count] = [plan.weight_decay for plan in plans]
        self.rho[:count] = [plan.phases[0].algorithm.rho for plan in plans]

    def _initial_losses(self, plan: Plan) -> tuple[float, float]:
        """Losses at beta = 0, on the data and on the test set."""
        beta = np.zeros(self.d)
        return float(mean_loss(self.X, plan.data.y, beta)), loss_on_test(plan, beta)

    def run(self, report: Callable[[float], None]) -> Iterator[None]:
        """Carry out all plans piece by piece; ``runs`` has their ends, in order."""
        last = int(self.plans[0].marks[-1])
        for mark in self.plans[0].marks.tolist():
            while self.step < mark and self.left:
                self._advance(self._piece(mark - self.step), mark)
                report(self.step / last)
                yield
            if self.step == mark:
                self._note(np.flatnonzero(self.active).tolist())
        if self.design is not None:
            tiles.rotate(self.design, False, self.nu)
        for k in np.flatnonzero(self.active).tolist():
            self._leave(k)
        self._hand_over()

    def _piece(self, left: int) -> int:
        """Return the steps of the next piece: half of those left, within bounds on its work.

        As pieces shrink towards the end, threads that share jobs by the piece end together.
        """
        work = self.n * self.d * WIDTH * self.groups
        most = max(1, min(_CHUNK, _WORK // work))
        return min(left, most, max(-(-left // 2), _LEAST_WORK // work))

    def _advance(self, size: int, mark: int) -> None:
        """Carry out a piece; runs that end with it show at once in the next one, if not here."""
        done = self._run_kernel(size)
        self.step += done
        if done == size and self.step < mark:
            return
        going = (self.loss > self.tol) & (self.loss <= self.limit)
        for k in np.flatnonzero(self.active & ~going).tolist():
            if not self.loss[k] <= self.limit[k]:
                self._remove(k)
            else:
                self._note([k])
                self._leave(k, "converged")

    def _constant_gammas(self) -> Array | None:
        """Step sizes (1, groups * WIDTH) of all steps, None if a plan has its own for each step."""
        gammas = np.zeros((1, self.active.size))
        for k, plan in enumerate(self.plans):
            step_size = plan.phases[0].step_size
            if not isinstance(step_size, float):
                return None
            gammas[0, k] = step_size
        return gammas

    def _gammas(self, size: int) -> Array:
        """Step sizes of the next steps, (size or 1, groups * WIDTH), zero where a run has ended."""
        if self.gammas is not None:
            return self.gammas
        gammas = np.zeros((size, self.active.size))
        for k in np.flatnonzero(self.active).tolist():
            gammas[:, k] = self.plans[k].phases[0].gammas(self.step, self.step + size)
        return gammas

    def _choose(self, rule: Algorithm) -> None:
        """Choose the compiled loop, the arguments that are its own, and its memory."""
        n, d, design = self.n, self.d, self.design
        m = n if rule.m is None else rule.m
        self.own: tuple[Any, ...] = (self.rho, rule.normalized) if rule.rho > 0.0 else ()
        if design is not None:
            perturbed = tiles.run_examples if design.X2.size else tiles.run_whole
            self.kernel = perturbed if rule.rho > 0.0 else tiles.run_plain
            self.work: Any = self._zeros(tiles.scratch_items(n, d))[0].ravel()
            return
        if rule.rho == 0.0:
            self.kernel, items = lanes.run_plain, lanes.plain_items(n, d)
        elif m == 1 and rule.ascent_steps == 1:
            self.kernel, items = lanes.run_examples, lanes.example_items(n, d)
        else:
            self.kernel, items = lanes.run_blocks, lanes.block_items(n, d, rule.ascent_steps)
            self.own += (m, rule.ascent_steps)
        self.work = tuple(array.ravel() for array in self._zeros(*items))

    def _run_kernel(self, size: int) -> int:
        where = self.X if self.design is None else self.design
        common = (self.y.ravel(), size, self._gammas(size), *self.flat)
        done = int(self.kernel(where, *common, self.work, self.ready, *self.own))
        self.ready = True
        return done

    def _note(self, which: Sequence[int]) -> None:
        for k in which:
            run = self.runs[k]
            if run.history[-1][0] != self.step:
                run.loss = float(self.loss[k])
                run.history.append((self.step, 0, run.loss, self._test_loss(k)))

    def _test_loss(self, k: int) -> float:
        plan, (group, lane) = self.plans[k], divmod(k, WIDTH)
        if plan.data.test is None:
            return math.nan
        beta = np.ascontiguousarray(self.beta[group, :, lane])
        return loss_on_test(plan, beta if self.design is None else 0.5 * beta)

    def _leave(self, k: int, status: Status = "max_steps") -> None:
        """Freeze run k where it is."""
        run, phase = self.runs[k], self.plans[k].phases[0]
        run.step, run.status, run.loss = self.step, status, float(self.loss[k])
        whole = self.step == phase.steps
        run.done.append(phase if whole else Phase(phase.algorithm, phase.step_size, self.step))
        self._retire(k)

    def _remove(self, k: int) -> None:
        """Repeat run k alone; its lane goes on with zeros."""
        alone = Trainer(self.plans[k])
        alone.run()
        self.runs[k] = alone
        group, lane = divmod(k, WIDTH)
        for array in (self.y, self.w_plus, self.w_minus, self.beta, self.nu):
            array[group, :, lane] = 0.0
        self.ready = False
        self._retire(k)

    def _retire(self, k: int) -> None:
        self.active[k], self.tol[k], self.limit[k] = False, -1.0, np.inf
        self.left -= 1
        if self.gammas is not None:
            self.gammas[0, k] = 0.0

    def _hand_over(self) -> None:
        """Give each run a copy of its numbers."""
        if self.design is not None:
            self.beta *= 0.5
        state = (self.beta, self.w_plus, self.w_minus, self.nu, self.low)
        for group in range(self.groups):
            block = np.concatenate([array[group] for array in state])
            for lane, run in enumerate(self.runs[group * WIDTH : (group + 1) * WIDTH]):
                if isinstance(run, LaneRun):
                    run.numbers = frozen(block[:, lane])
