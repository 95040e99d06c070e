"""From settings to what a run works with: data, network, initial weights, minibatches, step."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from sam_theory.errors import InputError

from .. import checkpoints
from ..backend import Backend
from ..checkpoints import Checkpoint
from ..data import Augmentation, ImageSet, Splits, TrainingBatches, load, prepare
from ..network import Network, build_model
from ..parameters import Layout
from .settings import TrainSettings

_DEVICES = {"cpu": "numpy", "gpu": "cupy"}
_PART_OF_SIDE = 8


@dataclass(frozen=True, eq=False)
class Experiment:
    """Data and network of a run; nothing here changes while it trains.

    Attributes
    ----------
    settings : TrainSettings
    splits : Splits
        Training, validation and test images.
    network : Network
    weights, buffers : array
        What the run starts from.

    Raises
    ------
    InputError, MissingExtra
        From :meth:`build`: data, model, device or the checkpoint to start from cannot be used.
    """

    settings: TrainSettings
    splits: Splits
    network: Network
    weights: Any
    buffers: Any

    @classmethod
    def build(cls, settings: TrainSettings, *, resumed: bool = False) -> Experiment:
        """Load the data and make the network that ``settings`` describe.

        What a run that is ``resumed`` started from lies in its own checkpoint: ``start_from`` is
        not read again, and may be gone.
        """
        backend = Backend(
            _DEVICES[settings.device],  # type: ignore[arg-type]
            settings.precision,
            threads=settings.threads,
        )
        splits = load_splits(settings)
        network, weights, buffers = build_model(
            settings.model, settings.width, splits.train.classes, splits.train.shape,
            settings.seed, backend=backend, activation=settings.activation,
        )  # fmt: skip
        if settings.start_from is not None and not resumed:
            path = Path(settings.start_from)
            weights, buffers = restore_network(network, checkpoints.read(path), str(path))
        found = cls(settings, splits, network, weights, buffers)
        found.batches()
        return found

    def batches(self) -> TrainingBatches:
        """Return a server of the training minibatches."""
        settings = self.settings
        augmentation = None
        if settings.augment:
            side = min(self.splits.train.shape[1:])
            padding = side // _PART_OF_SIDE if settings.padding is None else settings.padding
            if padding > side:
                raise InputError(f"padding must be at most {side}, the side of the images")
            flip = self.splits.flip if settings.flip is None else settings.flip
            augmentation = Augmentation(padding, flip)
        return TrainingBatches(
            self.splits.train, settings.batch_size, seed=settings.seed, augmentation=augmentation,
            dtype=self.network.backend.dtype,
        )  # fmt: skip

    @cached_property
    def data_digest(self) -> str:
        """SHA-256 of all images and labels, so that a run resumes on the same ones only."""
        state = hashlib.sha256()
        for part in (self.splits.train, self.splits.validation, self.splits.test):
            if part is not None:
                for array in (part.pixels, part.labels, part.true_labels):
                    state.update(np.ascontiguousarray(array).data)
        return state.hexdigest()

    def training_images(self, count: int) -> ImageSet:
        """Return ``count`` training images, evenly spaced; all of them if there are fewer."""
        return evenly_spaced(self.splits.train, count)

    def training_inputs(self, epoch: int) -> Iterator[Any]:
        """Yield the images of an epoch's minibatches, for statistics of batch normalisation."""
        for batch in self.batches().epoch(epoch):
            yield self.network.images(batch.images)


def load_splits(settings: TrainSettings) -> Splits:
    """Return the parts of the data that the settings describe."""
    return prepare(
        load(settings.dataset, settings.data_dir),
        settings.seed,
        classes=settings.classes,
        grey=settings.grey,
        fraction=settings.fraction,
        validation=settings.validation,
        noise=settings.label_noise,
        noise_kind=settings.noise_type,
    )


def evenly_spaced(data: ImageSet, count: int) -> ImageSet:
    """Return so many images of a set, evenly spaced; the whole set if there are no more."""
    if count >= data.n:
        return data
    return data.select(np.arange(count) * data.n // count)


def packed(layout: Layout, flat: Any, what: str) -> dict[str, np.ndarray]:
    """Return named arrays of a flat one, on the host, for a checkpoint."""
    return {f"{what}/{name}": view for name, view in layout.named(flat).items()}


def unpacked(layout: Layout, checkpoint: Checkpoint, what: str, where: str, dtype: Any) -> Any:
    """Return the flat array of a checkpoint's named ones; InputError if they are of other shape."""
    prefix = f"{what}/"
    named = {
        name.removeprefix(prefix): array
        for name, array in checkpoint.arrays.items()
        if name.startswith(prefix)
    }
    flat = np.empty(layout.size, dtype)
    try:
        layout.fill(flat, named, what)
    except InputError as error:
        raise InputError(f"checkpoint {where}: of another model: {error}") from None
    return flat


def restore_network(network: Network, checkpoint: Checkpoint, where: str) -> tuple[Any, Any]:
    """Return weights and running statistics of a checkpoint, on the network's device."""
    backend = network.backend
    return tuple(
        backend.array(unpacked(layout, checkpoint, what, where, backend.dtype))
        for layout, what in ((network.layout, "weights"), (network.buffer_layout, "buffers"))
    )


def from_checkpoint(
    path: str | Path, *, data_dir: str | None = None, device: str | None = None
) -> tuple[Experiment, Any]:
    """Return the experiment that a checkpoint is of, with its weights, and the checkpoint.

    Parameters
    ----------
    path : path
        A file of a run's folder: last, best, averaged_last or averaged_best.
    data_dir : str, optional
        Where the data are now; where they were by default.
    device : {"cpu", "gpu"}, optional
        Where to compute; where it was trained by default.

    Raises
    ------
    InputError
        The file is no checkpoint of a training run, or its data have changed.
    """
    checkpoint = checkpoints.read(Path(path))
    try:
        values = dict(checkpoint.settings["train"])
        free = dict(checkpoint.state["free"])
        digest = checkpoint.settings["data"]
    except (KeyError, TypeError, ValueError):
        raise InputError(f"checkpoint {path}: not of a training run") from None
    values["start_from"] = None
    values["data_dir"] = free["data_dir"] if data_dir is None else data_dir
    if device is not None:
        values["device"] = device
    experiment = Experiment.build(TrainSettings(**values))
    if experiment.data_digest != digest:
        raise InputError(f"checkpoint {path}: of another run: its images or labels were others")
    weights, buffers = restore_network(experiment.network, checkpoint, str(path))
    found = Experiment(experiment.settings, experiment.splits, experiment.network, weights, buffers)
    return found, checkpoint
