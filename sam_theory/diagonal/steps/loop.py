"""The loop around the kernels: stretches between recording points, stopping, rolling back.

A kernel works on the state in place. Before each stretch the state is copied, so that after a
divergence the stretch is repeated up to the last good step; nothing is paid for that inside the
compiled loop. A minibatch may not contain the examples that blew up, so a stochastic stretch is
judged by the loss on all examples where it ends, and halved until the first bad step is found.
"""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from ...algorithms import Algorithm
from ...design import compiled
from ...errors import InputError
from ..primitives.row_passes import mean_loss
from ..primitives.simd import aligned
from . import kernels, small
from .plan import Phase, Plan, Record, Rows

Array = npt.NDArray[np.float64]
Status = Literal["converged", "max_steps", "diverged"]

_ROWS = 1 << 16
_WORK = 1 << 26
_BLOW_UP = 1e100
_PADDED_BELOW = 256
_SMALL = 1 << 14
_SMALL_WITH_POWERS = 1 << 10


def blow_up_limit(base: float) -> float:
    """Loss above which a run that began with the loss ``base`` counts as diverged."""
    return min(_BLOW_UP * max(1.0, base), 1e300)


def loss_on_test(plan: Plan, beta: Array) -> float:
    """Loss on the test set, nan without one."""
    test = plan.data.test
    return float("nan") if test is None else float(mean_loss(compiled(test.X), test.y, beta))


def frozen(array: Array) -> Array:
    """Return a read-only copy."""
    array = array.copy()
    array.setflags(write=False)
    return array


class Trainer:
    """State of a run; ``run`` carries out the plan and leaves the result in the attributes.

    Rows shorter than 256 are padded with zeros to a multiple of 8 coordinates, whose weights are
    zero and stay so: the compiled loops then have no remainders.
    """

    def __init__(self, plan: Plan) -> None:
        data, start = plan.data, plan.start
        n, d = data.X.shape
        self.plan = plan
        self.d = d
        dense = isinstance(data.X, np.ndarray)
        self.is_small = dense and n * d <= _SMALL
        width = d + (-d % 8 if dense and (d < _PADDED_BELOW or self.is_small) else 0)
        self.X = _widen(data.X, width) if width > d else compiled(data.X)
        self.y = data.y
        self._design: dict[bool, small.SmallDesign] = {}
        self.rows = np.arange(n, dtype=np.int64)[None, :]
        origin = plan.alpha / np.sqrt(2.0)
        plus, minus = (origin, origin) if start is None else (start.w_plus, start.w_minus)
        self.w_plus, self.w_minus = _widen(plus, width), _widen(minus, width)
        self.beta = 0.5 * ((self.w_plus - self.w_minus) * (self.w_plus + self.w_minus))
        self.nu = _widen(np.zeros(n) if start is None else start.nu, n + -n % 8)
        self.low = _widen(np.ones(d), width)
        if start is not None:
            self.low[:d] = start.smallest_factor
        self.step = plan.first
        self.loss = mean_loss(self.X, self.y, self.beta)
        if not np.isfinite(self.loss):
            raise InputError("alpha, X and y are so large that the initial loss overflows")
        base = self.loss if start is None else start.history[0][2]
        self.limit = blow_up_limit(base)
        self.status: Status = "max_steps"
        self.diverged_at: int | None = None
        self.history: list[Record] = []
        self.done: list[Phase] = []

    def test_loss(self) -> float:
        """Loss on the test set, nan without one."""
        return loss_on_test(self.plan, self.beta[: self.d])

    def state(self) -> tuple[Array, ...]:
        """Return copies of beta, w_plus, w_minus, nu and low, read-only."""
        d, n = self.d, self.plan.data.n
        found = (self.beta[:d], self.w_plus[:d], self.w_minus[:d], self.nu[:n], self.low[:d])
        return tuple(frozen(array) for array in found)

    def run(self) -> None:
        """Carry out all phases, unless the loss reaches tol or blows up before."""
        plan = self.plan
        offset = 0 if plan.start is None else len(plan.start.phases)
        if plan.start is None:
            self._note(0)
        last = int(plan.marks[-1])
        for index, phase in enumerate(plan.phases):
            begun = self.step
            end = begun + phase.steps
            while self.step < end and self.status == "max_steps":
                mark = int(plan.marks[np.searchsorted(plan.marks, self.step, side="right")])
                self._stretch(phase, begun, min(mark, end), at_mark=mark <= end)
                if self.step == mark or self.status != "max_steps":
                    self._note(offset + index)
                if plan.progress is not None:
                    plan.progress((self.step - plan.first) / (last - plan.first))
            self.done.append(Phase(phase.algorithm, phase.step_size, self.step - begun))
            if self.status != "max_steps":
                break

    def _note(self, phase: int) -> None:
        if not self.history or self.history[-1][0] != self.step:
            self.history.append((self.step, phase, self.loss, self.test_loss()))

    def _stretch(self, phase: Phase, begun: int, stop: int, at_mark: bool) -> None:
        """Run to stop, or to the end of a chunk, and settle what came of it."""
        batch, _ = phase.algorithm.resolve(self.plan.data.n)
        full = phase.algorithm.batch_size is None
        size = min(stop - self.step, self._chunk(1 if full else batch, batch))
        rows = self.rows if full else self.plan.stream.take(size, batch)
        gammas = phase.gammas(self.step - begun, self.step - begun + size)
        look = self.plan.tol > 0.0 and (full or (at_mark and self.step + size == stop))
        tol = self.plan.tol if look else -1.0
        saved = self._copy()
        flag, k, loss = self._kernel(phase, rows, gammas, tol)
        if not full and flag == kernels.DONE:
            loss = self._loss()
            if loss <= tol:
                flag = kernels.REACHED
            elif not loss <= self.limit:
                flag = kernels.DIVERGED
        if flag == kernels.DIVERGED:
            k = self._back(phase, rows, gammas, k, saved)
            self.status, self.diverged_at = "diverged", self.step + k + 1
            loss = self._loss()
        elif flag == kernels.REACHED:
            self.status = "converged"
        self.step += k
        self.loss = float(loss)

    def _chunk(self, stored: int, batch: int) -> int:
        """Bound the steps of one kernel call: a fraction of a second, at most _ROWS stored rows."""
        return max(1, min(_ROWS // stored, max(16, _WORK // (batch * self.X.shape[1]))))

    def _loss(self) -> float:
        return float(mean_loss(self.X, self.y, self.beta))

    def _back(
        self, phase: Phase, rows: Rows, gammas: Array, bad: int, saved: tuple[Array, ...]
    ) -> int:
        """Return to the last good state before the one ``bad`` steps into the stretch.

        A full-batch kernel has seen the loss of every state; otherwise the stretch is bisected.
        """
        full = phase.algorithm.batch_size is None
        good, middle = 0, bad - 1 if full else bad // 2
        while middle > good:
            self._restore(saved)
            part = rows if full else rows[good:middle]
            self._kernel(phase, part, gammas[good:middle], -1.0)
            if self._loss() <= self.limit:
                good, saved = middle, self._copy()
            else:
                bad = middle
            middle = (good + bad) // 2
        self._restore(saved)
        return good

    def _arrays(self) -> tuple[Array, ...]:
        return self.w_plus, self.w_minus, self.beta, self.nu, self.low

    def _copy(self) -> tuple[Array, ...]:
        return tuple(array.copy() for array in self._arrays())

    def _restore(self, saved: tuple[Array, ...]) -> None:
        for array, old in zip(self._arrays(), saved, strict=True):
            array[:] = old

    def _kernel(
        self, phase: Phase, rows: Rows, gammas: Array, tol: float
    ) -> tuple[int, int, float]:
        rule, decay = phase.algorithm, self.plan.weight_decay
        batch, m = rule.resolve(self.plan.data.n)
        full = rule.batch_size is None
        # A minibatch beyond n times the limit proves that the mean over all examples exceeds it.
        limit = self.limit if full else self.limit * self.plan.data.n
        state = self._arrays()
        with np.errstate(over="ignore", invalid="ignore"):
            if full and self.is_small:
                found = self._small_kernel(rule, m, (gammas, decay, tol, limit, *state))
                if found is not None:
                    return found
            if rule.rho == 0.0 and batch == 1 and not full:
                if self.is_small:
                    design = self._small_design(False)
                    return small.run_single(design, rows, gammas, decay, limit, *state)
                return kernels.run_single(self.X, self.y, rows, gammas, decay, limit, *state)
            common = (self.X, self.y, rows, full, gammas, decay, tol, limit, *state)
            if rule.rho == 0.0:
                return kernels.run_plain(*common)
            if m == 1 and rule.ascent_steps == 1:
                return kernels.run_examples(*common, rule.rho, rule.normalized)
            return kernels.run_blocks(*common, rule.rho, m, rule.normalized, rule.ascent_steps)

    def _small_design(self, powers: bool) -> small.SmallDesign:
        if powers not in self._design:
            self._design[powers] = small.small_design(self.X, self.y, powers)
        return self._design[powers]

    def _small_kernel(
        self, rule: Algorithm, m: int, common: tuple[Any, ...]
    ) -> tuple[int, int, float] | None:
        """Run a kernel of :mod:`.small`, if there is one for this algorithm and size."""
        n = self.plan.data.n
        if rule.rho > 0.0 and (rule.ascent_steps > 1 or m not in (1, n)):
            return None
        powers = rule.rho > 0.0 and m < n
        if powers and n * self.w_plus.size > _SMALL_WITH_POWERS:
            return None
        design = self._small_design(powers)
        if rule.rho == 0.0:
            return small.run_plain(design, *common)
        kernel = small.run_examples if powers else small.run_whole
        return kernel(design, *common, rule.rho, rule.normalized)


def _widen(array: Array, width: int) -> Array:
    """Copy with zeros behind each row, at a multiple of 64 bytes."""
    wide = np.zeros((*array.shape[:-1], width))
    wide[..., : array.shape[-1]] = array
    return aligned(wide).reshape(wide.shape)
