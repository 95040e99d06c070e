"""Grids of settings for a named study: parallel, cached, resumable, on one machine or a cluster.

A study is a function at the top level of a module. It takes the settings of one cell of the grid as
keyword arguments and returns a mapping of scalars (one row of the table), a DataFrame or a list of
mappings (several rows). :func:`run` computes every cell and returns one tidy table, :func:`status`
says what is done.

Each cell is stored by the SHA-256 of everything that determines it: the study's name, the version
of the code, all settings and all other inputs with the bytes of their arrays. The version of the
code covers the source of the study's module and of the modules named in ``depends``, the sources of
sam_theory, and the versions of Python (3.11, not 3.11.4), NumPy, SciPy and Numba, because each of
them can change the bits of a result. A file that a study opens by itself is not covered: pass its
content (a Regression, an array) in ``common``. So a stored cell never goes stale; it is recomputed
when, and only when, something that it depends on has changed.

Every cell runs with single-threaded BLAS, OpenMP and Numba: the workers are the parallelism, and
the bits do not depend on their number. Each cell gets copies of its inputs that it may overwrite.
Compiled kernels come from Numba's cache on disk, if their decorator says ``cache=True`` as all of
sam_theory's do: the first worker compiles, the others load.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

_HOME = {"run": "runner", "status": "runner", "Sweep": "tables", "Status": "tables"}

__all__ = [*_HOME]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
