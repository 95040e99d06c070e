"""What a run measures of itself: losses, errors, sharpness, gradients; it changes nothing."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..data import ImageSet, in_order
from ..losses import predictions
from ..network import Network
from ..sharpness import gradient_alignment, m_sharpness
from ..statistics import reestimated_buffers
from .experiment import Experiment

SMALL_RADIUS = 0.01
USUAL_RADIUS = 0.1
CHUNK = 1024
_PARTS = ("loss", "error")

COLUMNS = (
    "epoch", "iteration", "learning_rate", "sam", "skipped",
    "objective", "regularizer", "batch_loss", "batch_objective", "batch_error",
    "train_loss", "train_error", "train_loss_clean", "train_error_clean",
    "train_loss_noisy", "train_error_noisy",
    "validation_loss", "validation_error", "test_loss", "test_error",
    "averaged_train_loss", "averaged_train_error", "averaged_train_loss_clean",
    "averaged_train_error_clean", "averaged_train_loss_noisy", "averaged_train_error_noisy",
    "averaged_validation_loss", "averaged_validation_error", "averaged_test_loss",
    "averaged_test_error",
    "sharpness_small", "sharpness_rho", "gradient_norm", "gradient_norm_perturbed",
    "gradient_cosine", "weight_norm", "averaged_weight_norm",
)  # fmt: skip
"""Columns of a run's metrics; docs/deep.md says what each is."""
INTEGERS = ("iteration", "sam", "skipped")


@dataclass(frozen=True)
class Score:
    """Mean loss and error rate of a set, and of its examples with true and with wrong labels.

    Attributes
    ----------
    loss, error : float
        Against the labels as given, without the regulariser.
    loss_clean, error_clean, loss_noisy, error_noisy : float
        nan where there is no such example.
    """

    loss: float
    error: float
    loss_clean: float
    error_clean: float
    loss_noisy: float
    error_noisy: float


def score(network: Network, weights: Any, buffers: Any, data: ImageSet) -> Score:
    """Evaluate a set, in file order and as it is; weights and statistics stay as they are.

    Parameters
    ----------
    network : Network
    weights, buffers : array
        Parameters and running statistics.
    data : ImageSet
    """
    losses, wrong = [], []
    host = network.backend.host
    for batch in in_order(data, CHUNK, dtype=network.backend.dtype):
        labels = network.labels(batch.labels, len(batch.labels))
        found, logits, _ = network.evaluate(
            weights, network.images(batch.images), labels, buffers=buffers
        )
        losses.append(host(found).astype(np.float64))
        wrong.append(host(predictions(network.xp, logits) != labels))
    values = np.concatenate(losses), np.concatenate(wrong).astype(np.float64)
    noisy = data.noisy
    parts = (np.ones(data.n, bool), ~noisy, noisy)
    return Score(*(_mean(value[part]) for part in parts for value in values))


def _mean(values: np.ndarray) -> float:
    return float(values.mean()) if values.size else math.nan


class Evaluator:
    """Evaluates a run at its weights and at its averaged ones.

    Parameters
    ----------
    experiment : Experiment
    """

    def __init__(self, experiment: Experiment) -> None:
        self.experiment, self.network = experiment, experiment.network
        settings, splits = experiment.settings, experiment.splits
        self.sets = {
            "train": experiment.training_images(settings.train_examples),
            "validation": splits.validation,
            "test": splits.test,
        }
        size = settings.batch_size
        if settings.micro_batch is not None:
            size = min(size, settings.micro_batch)
        self.block = min(size, self.sets["train"].n)
        count = max(1, min(settings.sharpness_examples, self.sets["train"].n) // self.block)
        sample = experiment.training_images(count * self.block)
        self.images = sample.floats(dtype=self.network.backend.dtype)
        self.labels = sample.labels

    def averaged_buffers(self, averaged: Any, buffers: Any, epoch: int) -> Any:
        """Return running statistics of averaged weights, estimated on an epoch's minibatches.

        Frozen ``buffers`` are what averaged weights were trained with, and stay.
        """
        if not self.network.has_batch_norm or self.experiment.settings.statistics == "frozen":
            return buffers.copy()
        return reestimated_buffers(self.network, averaged, self.experiment.training_inputs(epoch))

    def scores(self, weights: Any, buffers: Any, prefix: str = "") -> dict[str, float]:
        """Return losses and errors of all sets by column."""
        row = {}
        for name, data in self.sets.items():
            if data is None:
                continue
            found = score(self.network, weights, buffers, data)
            parts = ("", "_clean", "_noisy") if name == "train" else ("",)
            for part in parts:
                for what in _PARTS:
                    row[f"{prefix}{name}_{what}{part}"] = getattr(found, what + part)
        return row

    def geometry(self, weights: Any, buffers: Any, rho: float) -> dict[str, float]:
        """Return gradient norms, their cosine and, if asked for, sharpness at two radii.

        Parameters
        ----------
        weights, buffers : array
        rho : float
            Radius; 0 stands for 0.1.
        """
        network, settings = self.network, self.experiment.settings
        rho = rho or USUAL_RADIUS
        images = network.images(self.images[: self.block])
        labels = network.labels(self.labels[: self.block], self.block)
        found = gradient_alignment(
            network, weights, buffers, images, labels, rho=rho, normalized=settings.normalized,
            regularizer=settings.rule().regularizer,
        )  # fmt: skip
        row = {
            "gradient_norm": found.norm,
            "gradient_norm_perturbed": found.norm_perturbed,
            "gradient_cosine": found.cosine,
        }
        if settings.sharpness:
            images = network.images(self.images)
            labels = network.labels(self.labels, len(self.labels))
            for name, radius in (("small", SMALL_RADIUS), ("rho", rho)):
                row[f"sharpness_{name}"] = m_sharpness(
                    network, weights, buffers, images, labels, rho=radius, m=self.block, steps=1,
                    step_size=1.0,
                ).value  # fmt: skip
        return row

    def penalty(self, weights: Any) -> float:
        """Return l1 ||w||_1 + (l2/2) ||w||^2."""
        settings, vectors = self.experiment.settings, self.network.vectors
        value = 0.5 * settings.l2 * vectors.dot(weights, weights) if settings.l2 else 0.0
        return value + (settings.l1 * vectors.absolute_sum(weights) if settings.l1 else 0.0)
