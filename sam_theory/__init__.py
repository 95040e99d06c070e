"""Theory-first numerical toolkit for Sharpness-Aware Minimization.

The public names, each loaded from its module on first use.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

_HOME = {
    "Algorithm": "algorithms",
    "gd": "algorithms",
    "sgd": "algorithms",
    "n_sam": "algorithms",
    "m_sam": "algorithms",
    "one_sam": "algorithms",
    "from_reference": "algorithms",
    "from_woodworth": "algorithms",
    "from_even": "algorithms",
    "Regression": "regression",
    "sparse_regression": "regression",
    "InputError": "errors",
    "MissingExtra": "errors",
    "minimize_potential": "diagonal.minimizer",
    "certify": "diagonal.certificate",
    "ImplicitBias": "diagonal.limit",
    "implicit_bias": "diagonal.flow",
    "flow": "diagonal.flow",
    "descend": "diagonal.descent",
    "Setting": "diagonal.settings",
    "settings_grid": "diagonal.settings",
    "descend_batch": "diagonal.descent_batch",
    "implicit_bias_batch": "diagonal.flow_batch",
}

__version__ = "0.1.0"
__all__ = ["__version__", *_HOME]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
