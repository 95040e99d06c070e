"""What the tests of training runs share: small runs, a plain loop beside them, a comparer."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import numpy as np

from sam_theory.deep import data
from sam_theory.deep.backend import Backend
from sam_theory.deep.network import build_model
from sam_theory.deep.runs.evaluation import COLUMNS
from sam_theory.deep.runs.run import TrainSettings
from sam_theory.deep.training import State, Step

ROOT = Path(__file__).parents[2]
SMALL = {
    "dataset": "digits", "fraction": 0.1, "model": "mlp", "width": 8, "batch_size": 16,
    "epochs": 4, "evaluate_every": 1, "l2": 1e-3, "average": 0.9, "threads": 1,
}  # fmt: skip
CONVOLUTIONS = {"model": "resnet_tiny", "width": 2}
# 1438 training images: 144 of them, 14 for validation, 130 for training, 8 minibatches an epoch.
PER_EPOCH, ITERATIONS = 8, 32
ARRAYS = ("weights", "buffers", "averaged", "averaged_buffers", "rows")


def small(**changes):
    return TrainSettings(**SMALL | changes)


def sam(**changes):
    return small(**{"rho": 0.1, "m": 4} | changes)


def differences(one, other):
    """Names of what differs between two runs, to the last bit; seconds may."""
    found = [name for name in ARRAYS if not _same(getattr(one, name), getattr(other, name))]
    plain = ("status", "iteration", "skipped")
    found += [name for name in plain if getattr(one, name) != getattr(other, name)]
    for name in ("best", "averaged_best"):
        pair = getattr(one, name), getattr(other, name)
        if (pair[0] is None) != (pair[1] is None):
            found.append(name)
        elif pair[0] is not None:
            same = all(
                _same(getattr(pair[0], part), getattr(pair[1], part))
                for part in ("iteration", "error", "weights", "buffers")
            )
            found += [] if same else [name]
    return found


def _same(one, other):
    one, other = np.asarray(one), np.asarray(other)
    return (one.shape, one.dtype, one.tobytes()) == (other.shape, other.dtype, other.tobytes())


def signal_at(*iterations, number=signal.SIGTERM):
    """Return a progress function that sends this process a signal at some iterations."""

    def progress(now):
        if now.iteration in iterations:
            os.kill(os.getpid(), number)

    return progress


def column(run, name):
    return run.rows[:, COLUMNS.index(name)]


def plain_loop(settings, watch=None):
    """Train with nothing but the step: weights, buffers, and averaged weights in float64.

    ``watch(iteration, rate, report)`` is called after every step.
    """
    splits = data.prepare(
        data.load(settings.dataset), settings.seed, fraction=settings.fraction,
        validation=settings.validation, noise=settings.label_noise,
    )  # fmt: skip
    network, weights, buffers = build_model(
        settings.model, settings.width, 10, (1, 8, 8), settings.seed, backend=Backend(threads=1)
    )
    batches = data.TrainingBatches(
        splits.train, settings.batch_size, seed=settings.seed,
        augmentation=data.Augmentation(1, False),
    )  # fmt: skip
    state, step = State.start(weights, buffers), Step(network, settings.rule())
    averaged = weights.astype(np.float64)
    total = settings.epochs * batches.per_epoch
    for epoch in range(settings.epochs):
        for k in range(batches.per_epoch):
            share = (epoch * batches.per_epoch + k) / total
            rate = 0.1 * (1.0 if share < 0.5 else 0.1 if share < 0.75 else 0.01)
            on = settings.sam_start <= share and (share < settings.sam_end or settings.sam_end == 1)
            batch = batches.batch(epoch, k)
            images = network.images(batch.images)
            labels = network.labels(batch.labels, len(batch.labels))
            report = step(state, images, labels, rate, perturb=on)
            done = epoch * batches.per_epoch + k
            tau = settings.average
            tau = min(0.999, (1 + done) / (10 + done)) if tau is None else tau
            averaged = tau * averaged + (1 - tau) * state.weights
            if watch is not None:
                watch(done, rate, report)
    return state, averaged
