"""Grids of the studies, through :mod:`sam_theory.sweeps`: parallel, cached, resumable."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from analysis import store
from sam_theory import sweeps
from sam_theory._threads import worker_count
from sam_theory.errors import InputError

if TYPE_CHECKING:
    from pathlib import Path

    import pandas as pd

CELLS = "cells"


def compute(
    cell: Any,
    grid: Any,
    *,
    folder: Path | None = None,
    common: Mapping[str, Any] | None = None,
    depends: Iterable[str] = (),
) -> pd.DataFrame:
    """Compute a study's cells, those not yet recorded, and return the table of all.

    Parameters
    ----------
    cell : callable
        A function at the top level of a module of this package: settings in, rows out.
    grid : mapping or sequence of mappings
        As of :func:`sam_theory.sweeps.run`.
    folder : pathlib.Path, optional
        Where the study's tables go, ``results/`` by default; records go to ``cells/`` in it.
    common : mapping, optional
        Arguments that all cells share.
    depends : iterable of str
        Modules of this package that the cell uses, beside its own.

    Returns
    -------
    pandas.DataFrame
        Settings and results, in the order of the grid; the same for any number of workers, which
        is SAM_THEORY_THREADS of the environment, by default one per core.

    Raises
    ------
    InputError
        A cell failed; the message is that of the first, in one line.
    """
    done = sweeps.run(
        cell,
        grid,
        cache=(store.RESULTS if folder is None else folder) / CELLS,
        common=common,
        depends=tuple(depends),
        workers=worker_count(),
    )
    if len(done.failures):
        first = done.failures.iloc[0]
        reason = " ".join(f"{first['error_type']}: {first['error']}".split())
        raise InputError(f"{len(done.failures)} of {done.cells} cells failed; the first: {reason}")
    return done.table
