"""Training of one-hidden-layer ReLU networks with finite steps, one run or many.

A step is described by :class:`~sam_theory.relu.Run`, the published experiment (Andriushchenko and
Flammarion, ICML 2022, arXiv 2206.06232) by :mod:`sam_theory.relu.published`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from .._threads import parallel_map, worker_count
from .._validate import checked_integer, checked_number
from ..algorithms import Algorithm
from ..diagonal.settings import Meter
from ..errors import InputError
from ..regression import Regression
from .closed_forms import Objective
from .network import Network
from .plan import Precision, Run, Schedule, StopAt
from .result import Training

if TYPE_CHECKING:
    from .loop import State

Progress = Callable[[float], None]


def train(
    data: Regression,
    start: Network,
    *,
    algorithm: Algorithm,
    step_size: float,
    steps: int,
    schedule: Schedule = "constant",
    objective: Objective = "half_sum",
    tol: float = 0.0,
    tol_at: StopAt = "weights",
    record: int | npt.ArrayLike | None = None,
    seed: int = 0,
    precision: Precision = "float64",
    pause_after: int | None = None,
    max_seconds: float | None = None,
    checkpoint: str | PathLike[str] | None = None,
    checkpoint_every: int | None = None,
    progress: Progress | None = None,
) -> Training:
    """Train a network.

    Parameters
    ----------
    data : Regression
        X (n, d), dense, and y (n,).
    start : Network
        Initial weights.
    algorithm, step_size, steps, schedule, objective, tol, tol_at, record, seed, precision
        As in :class:`Run`, which says what a step is.
    pause_after : int, optional
        Pause after this many steps, >= 1; :func:`continue_training` goes on with the same bits.
    max_seconds : float, optional
        Pause once this much time has passed, > 0. Where that is depends on the machine.
    checkpoint : path, optional
        An NPZ file to which the run is written, atomically, every ``checkpoint_every`` steps and at
        the end; see :func:`load_checkpoint`.
    checkpoint_every : int, optional
        Steps, counted from the start of the run, >= 1; by default a tenth of ``steps``.
    progress : callable, optional
        Called with the fraction of the steps done, 0 to 1.

    Returns
    -------
    Training
        The network that was reached, and the way there.

    Raises
    ------
    InputError
        An argument is out of range or does not fit another one; the message names it.

    Examples
    --------
    >>> from sam_theory import gd, relu
    >>> data, start = relu.published_data(), relu.published_start(0)
    >>> relu.train(data, start, algorithm=gd(), step_size=5e-5, steps=100).status
    'max_steps'
    """
    run = Run(
        start,
        algorithm,
        step_size,
        steps,
        schedule=schedule,
        objective=objective,
        tol=tol,
        tol_at=tol_at,
        record=record,
        seed=seed,
        precision=precision,
    )
    return train_run(
        data,
        run,
        pause_after=pause_after,
        max_seconds=max_seconds,
        checkpoint=checkpoint,
        checkpoint_every=checkpoint_every,
        progress=progress,
    )


def train_run(
    data: Regression,
    run: Run,
    *,
    pause_after: int | None = None,
    max_seconds: float | None = None,
    checkpoint: str | PathLike[str] | None = None,
    checkpoint_every: int | None = None,
    progress: Progress | None = None,
) -> Training:
    """Carry out a run that has been described.

    Parameters
    ----------
    data : Regression
        X (n, d), dense, and y (n,).
    run : Run
        What to do.
    pause_after, max_seconds, checkpoint, checkpoint_every, progress
        As in :func:`train`.

    Returns
    -------
    Training
        As of :func:`train`.
    """
    if not isinstance(run, Run):
        raise InputError(f"run must be a Run, not {type(run).__name__}")
    stops = (pause_after, max_seconds)
    return _carry_out(data, run, None, stops, (checkpoint, checkpoint_every), progress)


def continue_training(
    result: Training,
    *,
    steps: int | None = None,
    pause_after: int | None = None,
    max_seconds: float | None = None,
    checkpoint: str | PathLike[str] | None = None,
    checkpoint_every: int | None = None,
    progress: Progress | None = None,
) -> Training:
    """Go on with a run; the result has the bits of the run that never stopped.

    Parameters
    ----------
    result : Training
        Paused, or at its last step.
    steps : int, optional
        New total, more than were done; refused with a linear schedule, whose end was planned.
    pause_after, max_seconds, checkpoint, checkpoint_every, progress
        As in :func:`train`; ``pause_after`` counts the steps of this call.

    Returns
    -------
    Training
        Of the whole run, with all that was recorded. A converged run is returned as it is.

    Raises
    ------
    InputError
        The run diverged or has no steps left; steps does not fit.
    """
    if not isinstance(result, Training):
        raise InputError(f"result must be a Training, not {type(result).__name__}")
    if result.status == "diverged":
        raise InputError(f"the run diverged at step {result.diverged_at} and cannot go on")
    run = result.run
    if steps is not None:
        checked_integer("steps", steps, 1)
        if run.schedule != "constant" and steps != run.steps:
            raise InputError(
                f"steps = {steps}, but the linear schedule was planned for {run.steps} steps"
            )
        if steps < result.steps:
            raise InputError(f"steps = {steps}, but {result.steps} have been done")
        run = replace(run, steps=steps)
    if result.status == "converged":
        return result
    if result.steps >= run.steps:
        raise InputError(f"all {run.steps} steps have been done; give more steps")
    state = _resumed(result)
    stops = (pause_after, max_seconds)
    return _carry_out(result.data, run, state, stops, (checkpoint, checkpoint_every), progress)


def _resumed(result: Training) -> State:
    """Return the state to go on from, without the row that marks the end of the steps asked."""
    state, asked = result._state, result.run
    history, balance = state.history, state.balance
    ended = state.status == "max_steps" and state.steps not in asked.marks(-1, last=False)
    if ended and history[-1, 0] == state.steps:
        history, balance = history[:-1], balance[:-1]
    return replace(state, status="paused", history=history, balance=balance)


def train_batch(
    data: Regression,
    runs: Iterable[Run],
    *,
    threads: int | None = None,
    progress: Progress | None = None,
) -> tuple[Training, ...]:
    """Carry out many runs on all cores; each result has the bits of the single run.

    Parameters
    ----------
    data : Regression
        X (n, d), y (n,), the same for all.
    runs : iterable of Run
        What to run.
    threads : int, optional
        Threads; else SAM_THEORY_THREADS from the environment, else one per core.
    progress : callable, optional
        Called with the fraction of all steps done, 0 to 1.

    Returns
    -------
    tuple of Training
        In the order of the runs.

    Raises
    ------
    InputError
        A run does not fit the data; the message begins with its number.
    """
    from .loop import Trainer

    workers = worker_count(threads)
    chosen = tuple(runs)
    trainers = []
    for index, run in enumerate(chosen):
        try:
            if not isinstance(run, Run):
                raise InputError(f"must be a Run, not {type(run).__name__}")
            trainers.append(Trainer(data, run, None))
        except InputError as error:
            raise InputError(f"runs[{index}]: {error}") from None
    meter = Meter(progress, [run.steps for run in chosen])

    def carry_out(index: int) -> Training:
        run, report = chosen[index], meter.of(index)
        state = trainers[index].run(run.steps, progress=report)
        report(1.0)
        return Training(data, run, state)

    return tuple(parallel_map(carry_out, range(len(chosen)), workers))


def _carry_out(
    data: Regression,
    run: Run,
    state: State | None,
    pause: tuple[int | None, float | None],
    kept: tuple[str | PathLike[str] | None, int | None],
    progress: Progress | None,
) -> Training:
    from .loop import Trainer

    until, seconds = _pause(run, 0 if state is None else state.steps, *pause)
    path, every = _checkpoint(run, *kept)
    if progress is not None and not callable(progress):
        raise InputError("progress must be a function of one number")
    trainer = Trainer(data, run, state)
    if path is None:
        return Training(data, run, trainer.run(until, seconds=seconds, progress=progress))
    from .checkpoints import save_checkpoint

    def save(reached: State) -> None:
        save_checkpoint(Training(data, run, reached), path)

    done = trainer.run(until, seconds=seconds, progress=progress, every=every, save=save)
    save(done)
    return Training(data, run, done)


def _pause(run: Run, done: int, after: int | None, seconds: float | None) -> tuple[int, float]:
    until, limit = run.steps, np.inf
    if after is not None:
        until = min(until, done + checked_integer("pause_after", after, 1))
    if seconds is not None:
        limit = checked_number("max_seconds", seconds)
        if limit <= 0.0:
            raise InputError(f"max_seconds must be > 0, not {limit:g}")
    return until, limit


def _checkpoint(
    run: Run, path: str | PathLike[str] | None, every: int | None
) -> tuple[Path | None, int | None]:
    if path is None:
        if every is not None:
            raise InputError("checkpoint_every is given without checkpoint")
        return None, None
    from .checkpoints import checked_path

    step = (
        max(1, run.steps // 10) if every is None else checked_integer("checkpoint_every", every, 1)
    )
    return checked_path(path), step
