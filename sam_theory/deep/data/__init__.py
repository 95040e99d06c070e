"""Image data for training: sets by name, splits, label noise, augmentation, minibatches.

:func:`load` reads a known set, :func:`prepare` cuts it into training, validation and test parts,
:class:`TrainingBatches` serves minibatches. Pixels stay uint8 in memory, (N, C, H, W); a batch is
converted to floats in [0, 1] when it is served. Everything random is a function of the seed, the
purpose and, during training, the epoch, never of what was drawn before: a run that was interrupted,
or has other threads, sees the same numbers.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

_HOME = {
    "Augmentation": "augment",
    "Batch": "batches",
    "TrainingBatches": "batches",
    "in_order": "batches",
    "ImageSet": "images",
    "DataSet": "known",
    "KNOWN": "known",
    "load": "known",
    "noisy_labels": "noise",
    "Splits": "splits",
    "prepare": "splits",
}

__all__ = [*_HOME]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
