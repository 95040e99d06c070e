"""The loop of a training run: steps, evaluations, checkpoints; see :mod:`.runs.run`."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from ..schedules import averaging, learning_rate, sam_is_on
from ..training import Report, State, Step
from . import state as run_state
from .evaluation import COLUMNS, Evaluator
from .experiment import Experiment
from .folder import RunFolder
from .state import Memory, Snapshot

MOST_SKIPPED = 10
"""So many steps in a row that are not finite end a run."""


class Progress(NamedTuple):
    """Where a run stands.

    Attributes
    ----------
    iteration, iterations : int
        Done, and in all.
    epoch : float
    loss, error : float
        Of the last minibatch; the loss where the gradient was taken.
    row : dict or None
        The metrics, right after an evaluation.
    """

    iteration: int
    iterations: int
    epoch: float
    loss: float
    error: float
    row: dict[str, float] | None = None


class Loop:
    """A run under way, with everything that it changes.

    Parameters
    ----------
    experiment : Experiment
    folder : RunFolder or None
        Where it writes.
    progress, stop
        As of :func:`sam_theory.deep.runs.run.train`.

    Attributes
    ----------
    state : State
    memory : Memory
    status : str
        "stopped" until it has ended otherwise.
    reason : str
        Why it ended before its last iteration.
    notes : list of str
    """

    def __init__(
        self,
        experiment: Experiment,
        folder: RunFolder | None,
        progress: Callable[[Progress], None] | None,
        stop: Any,
    ) -> None:
        self.experiment, self.folder = experiment, folder
        self.progress, self.stop = progress, stop
        self.settings, self.network = experiment.settings, experiment.network
        self.batches, self.evaluator = experiment.batches(), Evaluator(experiment)
        self.step = Step(self.network, self.settings.rule())
        self.per_epoch = self.batches.per_epoch
        self.iterations = self.per_epoch * self.settings.epochs
        self.state = State.start(experiment.weights, experiment.buffers)
        self.memory = Memory(experiment.weights.copy(), experiment.buffers.copy())
        self.status, self.reason = "stopped", ""
        self.notes: list[str] = []
        self.saved: tuple[str, int] | None = None
        self.clock = time.perf_counter()

    def begin(self) -> None:
        """Start: the first row of metrics and the first checkpoint."""
        self._describe()
        self._evaluate()
        self._save()

    def resume(self) -> None:
        """Put everything to where the last checkpoint was written."""
        assert self.folder is not None
        folder = self.folder.checkpoints
        found = run_state.load_last(self.experiment, folder)
        self.state, self.memory, notes = run_state.restored(self.experiment, found, folder)
        self.notes += notes
        self.saved = str(found.path), self.state.iteration
        self._describe()
        self._write()

    def run(self) -> None:
        """Go on to the end, or until asked to stop, or until nothing is finite any more."""
        state = self.state
        every = self.settings.checkpoint_every or self.per_epoch
        while state.iteration < self.iterations:
            if self.stop is not None and self.stop.requested:
                self._save()
                self.reason = f"stopped at iteration {state.iteration} of {self.iterations}"
                return
            report = self._one_step()
            if not report.done and self._hopeless(report):
                self.status, self.reason = "not_finite", self._why_not_finite()
                return
            row = None
            epochs, rest = divmod(state.iteration, self.per_epoch)
            last = state.iteration == self.iterations
            if last or (rest == 0 and epochs % self.settings.evaluate_every == 0):
                row = self._evaluate()
            if last or state.iteration % every == 0:
                self._save()
            if self.progress is not None:
                self.progress(self._position(report, row))
        self.status = "finished"
        self._save_network("averaged_last", self.memory.averaged, self.memory.averaged_buffers)

    def spent(self) -> float:
        """Return the seconds of all processes of the run."""
        return self.memory.before + time.perf_counter() - self.clock

    def _schedule(self) -> tuple[float, float, bool]:
        """Return epochs done, learning rate, and whether SAM is on, for the next step."""
        settings, at = self.settings, (self.state.iteration, self.iterations)
        rate = learning_rate(settings.schedule, settings.learning_rate, *at)
        on = sam_is_on(*at, settings.sam_start, settings.sam_end)
        return self.state.iteration / self.per_epoch, rate, on

    def _one_step(self) -> Report:
        state, memory = self.state, self.memory
        _, rate, on = self._schedule()
        previous = None
        if self.settings.direction == "previous" and on and state.iteration > 0:
            previous = self._batch(state.iteration - 1)
        images, labels = self._batch(state.iteration)
        with np.errstate(all="ignore"):
            report = self.step(state, images, labels, rate, previous=previous, perturb=on)
        tau = averaging(self.settings.average, state.iteration - 1)
        self.network.vectors.blend(memory.averaged, tau, state.weights)
        if report.done:
            memory.add(report.mean("loss"), report.mean("objective_perturbed"), self._error(report))
        memory.skipped_in_a_row = 0 if report.done else memory.skipped_in_a_row + 1
        return report

    def _batch(self, iteration: int) -> tuple[Any, Any]:
        batch = self.batches.batch(*divmod(iteration, self.per_epoch))
        images = self.network.images(batch.images)
        return images, self.network.labels(batch.labels, len(batch.labels))

    def _error(self, report: Report) -> float:
        return sum(block.errors for block in report.blocks) / self.settings.batch_size

    def _hopeless(self, report: Report) -> bool:
        # Where the direction is another there is no pass at the weights, and nan stands for that.
        at_weights = self.settings.direction == "ascent" or report.rho == 0.0
        broken = at_weights and not math.isfinite(report.mean("loss"))
        return broken or self.memory.skipped_in_a_row >= MOST_SKIPPED

    def _why_not_finite(self) -> str:
        iteration = self.state.iteration
        text = (
            f"the loss is not finite at iteration {iteration} "
            f"(epoch {iteration / self.per_epoch:.4g}); {self.state.skipped} steps were skipped; "
        )
        if self.saved is None:
            return text + "no checkpoint was written"
        return text + f"the last checkpoint is {self.saved[0]} (iteration {self.saved[1]})"

    def _position(self, report: Report, row: dict[str, float] | None) -> Progress:
        return Progress(
            self.state.iteration, self.iterations, self.state.iteration / self.per_epoch,
            report.mean("loss_perturbed"), self._error(report), row,
        )  # fmt: skip

    def _evaluate(self) -> dict[str, float]:
        """Append a row of metrics, and keep the networks that are the best so far."""
        begun = time.perf_counter()
        state, memory = self.state, self.memory
        with np.errstate(all="ignore"):
            row = self._row()
        for kind, weights, buffers in (
            ("best", state.weights, state.buffers),
            ("averaged_best", memory.averaged, memory.averaged_buffers),
        ):
            error = row.get(f"{kind.removesuffix('best')}validation_error", math.nan)
            if error < (memory.best[kind].error if kind in memory.best else math.inf):
                memory.best[kind] = Snapshot(
                    state.iteration, error, weights.copy(), buffers.copy()
                )  # fmt: skip
                self._save_network(kind, weights, buffers)
        memory.rows.append([float(row.get(name, math.nan)) for name in COLUMNS])
        memory.sums[:] = 0.0
        memory.evaluating += time.perf_counter() - begun
        memory.seconds.append([state.iteration, self.spent(), memory.evaluating])
        self._write()
        return row

    def _row(self) -> dict[str, float]:
        state, memory, evaluator = self.state, self.memory, self.evaluator
        done, rate, on = self._schedule()
        epoch = max(0, state.iteration - 1) // self.per_epoch
        memory.averaged_buffers = evaluator.averaged_buffers(memory.averaged, state.buffers, epoch)
        rho = self.settings.rho or self.settings.rho_per_rate * rate
        scores = evaluator.scores(state.weights, state.buffers)
        penalty = evaluator.penalty(state.weights)
        return {
            "epoch": done,
            "iteration": state.iteration,
            "learning_rate": rate,
            "sam": on and rho > 0.0,
            "skipped": state.skipped,
            "objective": scores["train_loss"] + penalty,
            "regularizer": penalty,
            **memory.means(),
            **scores,
            **evaluator.scores(memory.averaged, memory.averaged_buffers, "averaged_"),
            **evaluator.geometry(state.weights, state.buffers, rho),
            "weight_norm": self.network.vectors.norm(state.weights),
            "averaged_weight_norm": self.network.vectors.norm(memory.averaged),
        }

    def _describe(self) -> None:
        if self.folder is None:
            return
        splits, network = self.experiment.splits, self.network
        validation = splits.validation
        self.folder.describe(
            {
                "settings": self.settings.fixed() | self.settings.free(),
                "training_images": splits.train.n,
                "noisy_labels": int(splits.train.noisy.sum()),
                "validation_images": 0 if validation is None else validation.n,
                "test_images": splits.test.n,
                "data_sha256": self.experiment.data_digest,
                "parameters": network.size,
                "iterations_per_epoch": self.per_epoch,
                "iterations": self.iterations,
            }
        )

    def _write(self) -> None:
        if self.folder is not None:
            self.folder.write(self.memory.table(), self.memory.seconds)

    def _save(self) -> None:
        if self.folder is not None:
            content = run_state.run_checkpoint(
                self.experiment, self.state, self.memory, self.spent()
            )
            path = self.folder.checkpoints.save("last", content)
            self.saved = str(path), self.state.iteration

    def _save_network(self, kind: str, weights: Any, buffers: Any) -> None:
        if self.folder is not None:
            content = run_state.network_checkpoint(
                self.experiment, self.state.iteration, weights, buffers
            )
            self.folder.checkpoints.save(kind, content)
