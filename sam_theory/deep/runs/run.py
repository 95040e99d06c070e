"""The training run: `train` and its result.

Iteration k (from 0) is minibatch k mod b of epoch floor(k/b), b minibatches an epoch. At t = k/b
epochs done, the learning rate is that of t and SAM is on if sam_start <= t/E < sam_end. Everything
random is a function of the seed and of the epoch or iteration, and a checkpoint holds all else: a
run that was stopped or killed goes on with the bits of one that was not, on any number of threads.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from sam_theory.errors import InputError

from ..network import Network
from .evaluation import COLUMNS
from .experiment import Experiment
from .folder import RunFolder
from .loop import Loop, Progress
from .settings import TrainSettings
from .state import Snapshot

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Progress", "Snapshot", "TrainSettings", "TrainingRun", "train"]


@dataclass(frozen=True, eq=False, repr=False)
class TrainingRun:
    """A run that has ended.

    Attributes
    ----------
    settings : TrainSettings
    status : {"finished", "stopped", "not_finite"}
        stopped: it was asked to; not_finite: the loss at the weights was nan or infinite, or ten
        steps in a row were not finite.
    reason : str
        In one line, why it did not finish; empty if it did.
    iteration, skipped : int
        Steps done or skipped, and skipped.
    rows : array of shape (evaluations, columns)
        Metrics, float64, nan where there is nothing to measure; :attr:`table` has names.
    weights, buffers : array
        Parameters and running statistics at the end.
    averaged, averaged_buffers : array
        Averaged weights, and their statistics estimated at the last evaluation.
    best, averaged_best : Snapshot or None
        Least validation error at an evaluation, the earliest of equals; None without a validation
        set.
    seconds : float
        In all processes of the run.
    experiment : Experiment
        Data and network.
    notes : tuple of str
        What the user should know, one line each.
    """

    settings: TrainSettings
    status: str
    reason: str
    iteration: int
    skipped: int
    rows: np.ndarray
    weights: Any
    buffers: Any
    averaged: Any
    averaged_buffers: Any
    best: Snapshot | None
    averaged_best: Snapshot | None
    seconds: float
    experiment: Experiment
    notes: tuple[str, ...] = ()

    def __repr__(self) -> str:
        text = f"TrainingRun({self.settings.model} on {self.settings.dataset}: {self.status}"
        text += f" at iteration {self.iteration}"
        if len(self.rows):
            last = self.last
            text += f", train loss {last['train_loss']:.4g}, test error {last['test_error']:.4g}"
        return text + ")"

    @property
    def network(self) -> Network:
        """The network, as a function of weights."""
        return self.experiment.network

    @property
    def last(self) -> dict[str, float]:
        """The last row of metrics, by column."""
        return dict(zip(COLUMNS, self.rows[-1].tolist(), strict=True))

    @property
    def table(self) -> pd.DataFrame:
        """The metrics as a table, a row per evaluation."""
        import pandas as pd

        return pd.DataFrame(self.rows, columns=list(COLUMNS))


def train(
    settings: TrainSettings, output: str | Path | None = None, *, resume: bool = False,
    progress: Callable[[Progress], None] | None = None, stop: Any = None,
) -> TrainingRun:  # fmt: skip
    """Train a network.

    Parameters
    ----------
    settings : TrainSettings
        What is trained, on what, and how.
    output : path, optional
        Folder of metrics and checkpoints, see :mod:`sam_theory.deep.runs.folder`; None writes none.
    resume : bool
        Go on from the last checkpoint in the folder, and from the beginning, with a note, if there
        is none.
    progress : callable, optional
        Called after every step with a `Progress`.
    stop : object with the attribute ``requested``, optional
        Looked at before every step, such as
        :class:`sam_theory.deep.stopping.StopRequested`: if it is true, the run writes a checkpoint
        and ends.

    Returns
    -------
    TrainingRun
        The same bits for any number of threads, interrupted or not.

    Raises
    ------
    InputError
        Settings, data or device cannot be used; the folder holds a run and is not to be resumed, or
        one of other settings; the disk is full, and then earlier checkpoints stay valid.
    MissingExtra
        A package that is needed is not installed.

    Examples
    --------
    >>> from sam_theory import deep
    >>> settings = deep.TrainSettings(
    ...     model="mlp", width=8, batch_size=64, rho=0.05, epochs=1, fraction=0.2, threads=1
    ... )
    >>> run = deep.train(settings)
    >>> run.status, run.iteration
    ('finished', 4)
    """
    if output is None:
        if resume:
            raise InputError("resume needs the folder of the run")
        loop = Loop(Experiment.build(settings), None, progress, stop)
        loop.begin()
        loop.run()
        return _result(loop)
    folder = RunFolder(str(output))
    if not resume:
        folder.check_new()
    goes_on = resume and folder.has_checkpoint()
    loop = Loop(Experiment.build(settings, resumed=goes_on), folder, progress, stop)
    with folder.held():
        if resume and folder.has_checkpoint() != goes_on:
            raise InputError(f"{folder.folder}: another process has trained in it; try again")
        if goes_on:
            loop.resume()
        else:
            if resume:
                loop.notes.append(f"{folder.folder}: no checkpoint, so the run begins")
            loop.begin()
        loop.run()
    return _result(loop)


def _result(loop: Loop) -> TrainingRun:
    state, memory = loop.state, loop.memory
    return TrainingRun(
        settings=loop.settings,
        status=loop.status,
        reason=loop.reason,
        iteration=state.iteration,
        skipped=state.skipped,
        rows=memory.table(),
        weights=state.weights,
        buffers=state.buffers,
        averaged=memory.averaged,
        averaged_buffers=memory.averaged_buffers,
        best=memory.best.get("best"),
        averaged_best=memory.best.get("averaged_best"),
        seconds=loop.spent(),
        experiment=loop.experiment,
        notes=tuple(loop.notes),
    )
