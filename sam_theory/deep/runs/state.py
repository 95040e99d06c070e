"""What a run carries beside the state of its step, and both as a checkpoint and back."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from sam_theory.errors import InputError

from ..checkpoints import Checkpoint, CheckpointFolder, Found
from ..training import State
from .evaluation import COLUMNS
from .experiment import Experiment, packed, restore_network, unpacked

SUMS = ("batch_loss", "batch_objective", "batch_error")
BEST = ("best", "averaged_best")


@dataclass(frozen=True, eq=False)
class Snapshot:
    """The best network of a run so far, by validation error.

    Attributes
    ----------
    iteration : int
    error : float
        On the validation set.
    weights, buffers : array
    """

    iteration: int
    error: float
    weights: Any
    buffers: Any


@dataclass
class Memory:
    """What a run carries beside the state of its step.

    Attributes
    ----------
    averaged, averaged_buffers : array
        Averaged weights; their statistics at the last evaluation.
    rows : list
        Metrics.
    sums : array of shape (4,)
        Since the last evaluation: minibatches, and their losses, objectives and error rates.
    skipped_in_a_row : int
    best : dict
        Snapshots by kind.
    seconds : list
        iteration, seconds, seconds evaluating: a row per evaluation.
    before, evaluating : float
        Seconds spent by earlier processes, and evaluating.
    """

    averaged: Any
    averaged_buffers: Any
    rows: list[list[float]] = field(default_factory=list)
    sums: np.ndarray = field(default_factory=lambda: np.zeros(1 + len(SUMS)))
    skipped_in_a_row: int = 0
    best: dict[str, Snapshot] = field(default_factory=dict)
    seconds: list[list[float]] = field(default_factory=list)
    before: float = 0.0
    evaluating: float = 0.0

    def table(self) -> np.ndarray:
        """Return the metrics, float64, (evaluations, columns)."""
        return np.array(self.rows, dtype=np.float64).reshape(-1, len(COLUMNS))

    def add(self, loss: float, objective: float, error: float) -> None:
        """Count a minibatch."""
        self.sums += (1.0, loss, objective, error)

    def means(self) -> dict[str, float]:
        """Return means over the minibatches since the last evaluation."""
        count = self.sums[0]
        return {
            name: float(value / count) if count else math.nan
            for name, value in zip(SUMS, self.sums[1:], strict=True)
        }


def identity(experiment: Experiment) -> dict[str, Any]:
    """Return what must be the same for a run to be resumed, as it stands in a checkpoint."""
    return {"train": experiment.settings.fixed(), "data": experiment.data_digest}


def _parts(experiment: Experiment, state: State, memory: Memory) -> list[tuple[Any, Any, str]]:
    layout, statistics = experiment.network.layout, experiment.network.buffer_layout
    return [
        (layout, state.weights, "weights"),
        (layout, state.velocity, "velocity"),
        (statistics, state.buffers, "buffers"),
        (layout, memory.averaged, "averaged"),
        (statistics, memory.averaged_buffers, "averaged_buffers"),
    ]


def network_checkpoint(
    experiment: Experiment, iteration: int, weights: Any, buffers: Any
) -> Checkpoint:
    """Return a checkpoint of one network of a run."""
    host, network = experiment.network.backend.host, experiment.network
    arrays = packed(network.layout, host(weights), "weights")
    arrays |= packed(network.buffer_layout, host(buffers), "buffers")
    return _checkpoint(experiment, iteration, arrays, {})


def run_checkpoint(
    experiment: Experiment, state: State, memory: Memory, spent: float
) -> Checkpoint:
    """Return a checkpoint of everything that a run needs to go on with the same bits."""
    host = experiment.network.backend.host
    arrays: dict[str, np.ndarray] = {"metrics": memory.table(), "sums": memory.sums.copy()}
    for layout, flat, name in _parts(experiment, state, memory):
        arrays |= packed(layout, host(flat), name)
    best = {kind: [found.iteration, found.error] for kind, found in memory.best.items()}
    more = {
        "skipped": state.skipped, "skipped_in_a_row": memory.skipped_in_a_row, "best": best,
        "seconds": memory.seconds, "spent": spent, "evaluating": memory.evaluating,
    }  # fmt: skip
    return _checkpoint(experiment, state.iteration, arrays, more)


def _checkpoint(
    experiment: Experiment,
    iteration: int,
    arrays: Mapping[str, np.ndarray],
    state: Mapping[str, Any],
) -> Checkpoint:
    settings = experiment.settings
    per_epoch = experiment.splits.train.n // settings.batch_size
    return Checkpoint(
        arrays, identity(experiment), settings.seed,
        {"epoch": iteration / per_epoch, "iteration": iteration},
        {"free": settings.free(), **state},
    )  # fmt: skip


def load_last(experiment: Experiment, folder: CheckpointFolder) -> Found:
    """Return the newest checkpoint from which the run can go on.

    Raises
    ------
    InputError
        There is none, or it is of another run or model; one line says why.
    """
    start = State.start(experiment.weights, experiment.buffers)
    memory = Memory(experiment.weights, experiment.buffers)
    host = experiment.network.backend.host
    like: dict[str, np.ndarray] = {"sums": memory.sums}
    for layout, flat, name in _parts(experiment, start, memory):
        like |= packed(layout, host(flat), name)
    return folder.load("last", settings=identity(experiment), arrays=like)


def restored(
    experiment: Experiment, found: Found, folder: CheckpointFolder
) -> tuple[State, Memory, list[str]]:
    """Return state and memory of a checkpoint, and what the user should know.

    Where the file of a best network is not there or not of this run, the best counts from here.
    """
    checkpoint, where = found.checkpoint, str(found.path)
    backend = experiment.network.backend
    flats = {
        name: backend.array(unpacked(layout, checkpoint, name, where, backend.dtype))
        for layout, _, name in _parts(
            experiment, State(None, None, None), Memory(None, None)
        )
    }  # fmt: skip
    kept = checkpoint.state
    state = State(
        flats["weights"], flats["velocity"], flats["buffers"],
        iteration=int(checkpoint.position["iteration"]), skipped=int(kept["skipped"]),
    )  # fmt: skip
    memory = Memory(
        flats["averaged"], flats["averaged_buffers"],
        rows=checkpoint.arrays["metrics"].tolist(), sums=checkpoint.arrays["sums"].copy(),
        skipped_in_a_row=int(kept["skipped_in_a_row"]),
        seconds=[list(row) for row in kept["seconds"]], before=float(kept["spent"]),
        evaluating=float(kept["evaluating"]),
    )  # fmt: skip
    notes = [f"{line}; {found.path} is used" for line in found.refused]
    for kind, (iteration, error) in kept["best"].items():
        try:
            best = folder.load(kind, settings=identity(experiment)).checkpoint
            weights, buffers = restore_network(experiment.network, best, str(folder.path(kind)))
        except InputError as refused:
            notes.append(f"{refused}; the best network counts from iteration {state.iteration}")
            continue
        # A file that a killed run left further ahead: the same steps will write it again.
        memory.best[kind] = Snapshot(int(iteration), float(error), weights, buffers)
    return state, memory, notes
