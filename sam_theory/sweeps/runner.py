"""The two calls of a sweep: ``run`` computes what is missing, ``status`` looks."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Iterable, Mapping
from typing import Any

from sam_theory._validate import checked_integer
from sam_theory.errors import InputError
from sam_theory.sweeps import grids, inputs, keys, tables
from sam_theory.sweeps.records import Damaged, Outcome
from sam_theory.sweeps.store import Store
from sam_theory.sweeps.study import check_arguments, check_not_loading, named
from sam_theory.sweeps.tables import Status, Sweep
from sam_theory.sweeps.workers import Cell, Plan, Pool, compute_all

BACKENDS = ("loky", "dask")
_log = logging.getLogger("sam_theory.sweeps")


def run(
    study: Any,
    grid: Any,
    *,
    cache: str | os.PathLike[str],
    common: Mapping[str, Any] | None = None,
    depends: Iterable[str] = (),
    workers: int | None = None,
    backend: str = "loky",
    scheduler: Any = None,
    retry_failed: bool = False,
    progress: bool = True,
) -> Sweep:
    """Compute every cell of a grid that is not in the cache, and return the table of all.

    It may be interrupted or killed at any moment and called again: what has been recorded is not
    computed again. Several processes may work on the same cache.

    Parameters
    ----------
    study : callable or str
        A function at the top level of a module, ``"package.module:function"`` or
        ``"path/to/file.py:function"``. Called with one cell's settings and `common` as keyword
        arguments, it returns a mapping of scalars (one row), a DataFrame (its index is dropped) or
        a list of mappings (several rows). Scalars are float, int, bool, str and None, also NumPy's.
    grid : mapping, sequence of mappings or DataFrame
        A mapping of names to sequences of values is their product, the last name running fastest.
        A sequence of mappings or a DataFrame lists the cells one by one.
    cache : path
        Folder of the records; made if it is not there. All workers must see the same folder.
    common : mapping, optional
        Arguments that all cells share: numbers, strings, None, lists, dicts, arrays (also sparse,
        CSR or CSC), a Regression, an Algorithm or another frozen dataclass. An array that is mapped
        from a file is not copied: every cell maps it anew, copy on write.
    depends : iterable of str
        Modules, packages or .py files whose sources count as part of the study's.
    workers : int, optional
        Cells at a time, by default one per core; 1 computes in this process.
    backend : {"loky", "dask"}
        Worker processes on this machine, or a Dask cluster (needs the extra ``distributed``).
    scheduler : str or distributed.Client, optional
        Address or client of the cluster, by default the client that is current.
    retry_failed : bool
        Compute cells again that are recorded as failed. By default they stay failed: the same code
        on the same inputs fails again, and other code has other keys. Ask for it after an error
        that came from outside, such as a lack of memory.
    progress : bool
        Show a bar with rate and remaining time on stderr.

    Returns
    -------
    Sweep
        ``table`` with the rows of all cells, ``failures`` with the errors of those that failed.
        The same bits for any number of workers and any backend.

    Raises
    ------
    InputError
        An argument, the study or the cache cannot be used, or the disk is full; what has been
        recorded stays valid.
    MissingExtra
        ``backend="dask"`` without the extra ``distributed``.

    Examples
    --------
    >>> import pathlib
    >>> import tempfile
    >>> from sam_theory import sweeps
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     file = pathlib.Path(folder, "study.py")
    ...     _ = file.write_text("def square(x): return {'y': x * x}")
    ...     study, grid = f"{file}:square", {"x": [1.0, 2.0, 3.0]}
    ...     done = sweeps.run(study, grid, cache=folder, workers=1, progress=False)
    ...     again = sweeps.run(study, grid, cache=folder, workers=1, progress=False)
    >>> done.table["y"].tolist(), done.computed, again.computed
    ([1.0, 4.0, 9.0], 3, 0)
    """
    check_not_loading()
    pool = _checked_pool(backend, workers, scheduler)
    names, cells, plan = _planned(study, grid, common, depends, cache, bool(retry_failed))
    outcomes: dict[str, Outcome] = {}
    todo: dict[str, Cell] = {}
    damaged = 0
    for cell in cells:
        if cell.key in outcomes or cell.key in todo:
            continue
        todo[cell.key] = cell
        try:
            known = plan.known(cell.key)
        except Damaged as error:
            _log.warning("%s %s; computed again", plan.store.path(cell.key), error)
            damaged += 1
            continue
        if known is not None:
            outcomes[cell.key] = known
            del todo[cell.key]
    if todo:
        plan.store.prepare()
        with _bar(plan.study.name, len(outcomes), len(todo), progress) as bar:
            for key, outcome in compute_all(plan, list(todo.values()), pool):
                outcomes[key] = outcome
                bar.update()
    rows = [(cell.settings, outcomes[cell.key]) for cell in cells]
    failed = tables.failures(names, rows)
    if len(failed):
        _log.warning("%d of %d cells failed", len(failed), len(cells))
    return Sweep(tables.results(names, rows), failed, len(cells), len(todo), damaged)


def status(
    study: Any,
    grid: Any,
    *,
    cache: str | os.PathLike[str],
    common: Mapping[str, Any] | None = None,
    depends: Iterable[str] = (),
) -> Status:
    """Say which cells of a sweep are done, failed, missing or damaged; computes nothing.

    Parameters
    ----------
    study, grid, cache, common, depends
        As of :func:`run`.

    Returns
    -------
    Status
        One row per cell.

    Raises
    ------
    InputError
        An argument or the study cannot be used.
    """
    names, cells, plan = _planned(study, grid, common, depends, cache, False)
    rows = []
    for cell in cells:
        state, why = "done", None
        try:
            outcome = plan.known(cell.key)
        except Damaged as error:
            state, why = "damaged", f"{plan.store.path(cell.key)} {error}"
        else:
            if outcome is None:
                state = "missing"
            elif outcome.failure is not None:
                state, why = "failed", f"{outcome.failure.type}: {outcome.failure.message}"
        rows.append(cell.settings | {"state": state, "error": why})
    return Status(tables.frame([*names, "state", "error"], rows))


def _checked_pool(backend: Any, workers: Any, scheduler: Any) -> Pool:
    if backend not in BACKENDS:
        raise InputError(f"backend must be one of {', '.join(BACKENDS)}, not {backend!r}")
    if workers is not None:
        workers = checked_integer("workers", workers, 1)
    if scheduler is not None and backend != "dask":
        raise InputError("scheduler is given, but backend is not 'dask'")
    return Pool(backend, workers, scheduler)


def _planned(
    study: Any, grid: Any, common: Any, depends: Any, cache: Any, retry_failed: bool
) -> tuple[tuple[str, ...], list[Cell], Plan]:
    found = named(study, tuple(depends) if not isinstance(depends, str) else depends)
    names, rows = grids.expand(grid)
    if common is not None and not isinstance(common, Mapping):
        raise InputError(f"common must be a mapping, not a {type(common).__name__}")
    shared = dict(common or {})
    for name in shared:
        if name in names:
            raise InputError(f"{name!r} is in the grid and in common")
    check_arguments(found, (*names, *shared))
    code, fixed = found.version(), keys.digest(shared, "common")
    cells = [Cell(keys.cell_key(found.name, code, row, fixed), row) for row in rows]
    store = Store(os.path.abspath(cache))
    return names, cells, Plan(found, code, inputs.portable(shared), store, retry_failed)


def _bar(name: str, done: int, todo: int, progress: bool) -> Any:
    from tqdm import tqdm

    return tqdm(
        total=done + todo,
        initial=done,
        desc=name,
        unit="cell",
        file=sys.stderr,
        disable=not progress,
        # A log file is no terminal: a line every half minute is enough there.
        mininterval=0.1 if sys.stderr.isatty() else 30.0,
    )
