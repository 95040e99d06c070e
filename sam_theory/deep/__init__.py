"""Deep networks with m-SAM on NumPy or cupy, without torch.

A network is a function of one flat array of parameters; a training step is a function of the arrays
that it changes. Each name below is loaded from its module on first use; image data is in
:mod:`sam_theory.deep.data`.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

_HOME = {
    "Backend": "backend",
    "build_model": "network",
    "Network": "network",
    "Regularizer": "network",
    "Rule": "rules",
    "State": "training",
    "Step": "training",
    "learning_rate": "schedules",
    "sam_is_on": "schedules",
    "reestimated_buffers": "statistics",
    "Sharpness": "sharpness",
    "m_sharpness": "sharpness",
    "gradient_alignment": "sharpness",
    "Segment": "segment",
    "loss_along_segment": "segment",
    "distance": "segment",
    "hessian_product": "hessian",
    "top_eigenvalue": "hessian",
    "feature_rank": "features",
    "error_rates": "features",
    "Checkpoint": "checkpoints",
    "CheckpointFolder": "checkpoints",
    "StopRequested": "stopping",
    "TrainSettings": "runs.settings",
    "TrainingRun": "runs.run",
    "train": "runs.run",
}

__all__ = list(_HOME)


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
