"""One-hidden-layer ReLU networks, f(x) = sum_j a_j relu(w_j . x + b_j), without a framework.

Training with finite steps by every :class:`~sam_theory.Algorithm`, jitted, resumable and in
batches; exact geometry of the function that was fitted; its curvature beside what theory says about
it; the published experiment in dimension 1. The names below are loaded on first use.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

_HOME = {
    "Network": "network",
    "random_network": "network",
    "objective": "closed_forms",
    "gradient": "closed_forms",
    "hessian": "closed_forms",
    "Run": "plan",
    "Training": "result",
    "train": "training",
    "train_run": "training",
    "continue_training": "training",
    "train_batch": "training",
    "save_checkpoint": "checkpoints",
    "load_checkpoint": "checkpoints",
    "Geometry": "geometry",
    "measure_geometry": "geometry",
    "kinks": "geometry",
    "area_between": "geometry",
    "least_variation": "geometry",
    "vertices": "geometry",
    "Curvature": "curvature",
    "measure_curvature": "curvature",
    "edge_of_stability": "curvature",
    "m_sharpness": "sharpness",
    "published_data": "published",
    "published_start": "published",
    "published_run": "published",
    "Complexity": "complexity",
    "Entry": "complexity",
    "measure": "complexity",
    "compare": "complexity",
    "summarize": "complexity",
    "paired_differences": "complexity",
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
