"""Computing cells, in this process or in workers; every cell is recorded by who computed it.

A worker that dies takes its pool with it. The sweep then goes on with what is missing, and a cell
that was being computed at two deaths runs alone: if the worker dies a third time, the cell has
failed, otherwise it was not the cell.
"""

from __future__ import annotations

import contextlib
import functools
import os
import threading
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from multiprocessing import util
from typing import Any

import numpy as np

from sam_theory.errors import InputError
from sam_theory.sweeps import records
from sam_theory.sweeps.inputs import private, size
from sam_theory.sweeps.store import Store
from sam_theory.sweeps.study import Study, check_fresh
from sam_theory.sweeps.threads import hold_one_thread, one_thread

_ALONE = 2
_TRIES = 3
_IDLE = 60.0
_AFTER_SEMAPHORES = -1
_FEEDER = "QueueFeederThread"
_ENDING = 5.0
"""Seconds that the thread of a queue that is closed may take to end."""
_DIED = records.Failure(
    "WorkerDied",
    "the process that computed this cell ended each time: out of memory, killed, or a crash in "
    "compiled code",
)


@dataclass(frozen=True)
class Cell:
    """One cell of the grid: its key and its settings."""

    key: str
    settings: dict[str, Any]


@dataclass(frozen=True, eq=False)
class Plan:
    """What all cells of a sweep share, as it travels to the workers.

    Attributes
    ----------
    study : Study
        What is called.
    code : str
        Version of the code that the keys are made with.
    common : dict
        Arguments that all cells share.
    store : Store
        Where the cells are recorded.
    retry_failed : bool
        Whether a recorded failure counts as missing.
    """

    study: Study
    code: str
    common: dict[str, Any]
    store: Store
    retry_failed: bool = False

    def __sizeof__(self) -> int:
        """Bytes with those of the arrays: what is large, a cluster sends once per worker."""
        return object.__sizeof__(self) + size(self.common)

    def known(self, key: str) -> records.Outcome | None:
        """Return the recorded outcome that counts; Damaged if the record is damaged."""
        outcome = self.store.load(key)
        failed = outcome is not None and outcome.failure is not None
        return None if failed and self.retry_failed else outcome


@dataclass(frozen=True)
class Pool:
    """Where cells are computed.

    Attributes
    ----------
    backend : str
        ``"loky"`` or ``"dask"``.
    workers : int, optional
        Cells at a time; None is all cores of this machine or of the cluster.
    scheduler : str or distributed.Client, optional
        Of the cluster; None is the client that is current.
    """

    backend: str = "loky"
    workers: int | None = None
    scheduler: Any = None


Result = tuple[str, "records.Outcome | None"]


def compute(plan: Plan, cell: Cell, wait: bool) -> Result:
    """Compute and record one cell, unless that has been done.

    Returns
    -------
    (str, Outcome or None)
        The key, and None if another process is computing the cell and `wait` is False.
    """
    function = _ready(plan.study, plan.code)
    with plan.store.claim(cell.key, wait) as held:
        if not held:
            return cell.key, None
        with contextlib.suppress(records.Damaged):
            known = plan.known(cell.key)
            if known is not None:
                return cell.key, known
        return cell.key, _record(plan, cell, _outcome(function, plan, cell))


def _compute_in_worker(plan: Plan, cell: Cell, wait: bool) -> Result:
    hold_one_thread()
    with one_thread():
        return compute(plan, cell, wait)


def compute_all(
    plan: Plan, cells: Sequence[Cell], pool: Pool
) -> Iterator[tuple[str, records.Outcome]]:
    """Yield key and outcome of each cell as they are done, in no particular order."""
    # A cell that another process is computing is left for the end, and then waited for.
    for wait in (False, True):
        busy: set[str] = set()
        for key, outcome in _round(plan, cells, wait, pool):
            if outcome is None:
                busy.add(key)
            else:
                yield key, outcome
        cells = [cell for cell in cells if cell.key in busy]


@functools.cache
def _ready(study: Study, code: str) -> Callable[..., Any]:
    """Load the study once per process, and prove that it is the one the keys are made with."""
    function = study.load()
    check_fresh(study)
    if study.version() != code:
        raise InputError(
            f"study {study.name}: the code or the libraries of a worker on {os.uname().nodename} "
            "differ from those of the process that started the sweep (edited meanwhile?)"
        )
    return function


def _outcome(function: Callable[..., Any], plan: Plan, cell: Cell) -> records.Outcome:
    inputs = private(plan.common | cell.settings)
    try:
        with np.errstate(all="warn", under="ignore"):
            result = function(**inputs)
        return records.Outcome(records.rows_of(result, cell.settings))
    except (Exception, SystemExit) as error:
        return records.Outcome([], records.Failure.of(error))


def _record(plan: Plan, cell: Cell, outcome: records.Outcome) -> records.Outcome:
    data = records.pack(cell.key, outcome, plan.study.name, cell.settings)
    plan.store.write(cell.key, data)
    # What is returned has been through the record, as it will be the next time.
    return records.unpack(cell.key, data)


def _round(plan: Plan, cells: Sequence[Cell], wait: bool, pool: Pool) -> Iterator[Result]:
    if not cells:
        return
    if pool.backend == "loky" and pool.workers == 1:
        with one_thread():
            for cell in cells:
                yield compute(plan, cell, wait)
        return
    if pool.backend == "loky":
        yield from _despite_deaths(plan, cells, wait, pool, None)
        return
    from sam_theory.sweeps.cluster import connected

    with connected(pool.scheduler) as client:
        yield from _despite_deaths(plan, cells, wait, pool, client)


def _despite_deaths(
    plan: Plan, cells: Sequence[Cell], wait: bool, pool: Pool, client: Any
) -> Iterator[Result]:
    deaths: Counter[str] = Counter()
    left = {cell.key: cell for cell in cells}
    fruitless = 0
    while left:
        before = len(left)
        alone = [cell for cell in left.values() if deaths[cell.key] >= _ALONE][:1]
        batch = alone or list(left.values())
        try:
            for key, outcome in _in_pool(plan, batch, wait, pool, client):
                del left[key]
                yield key, outcome
        except _deaths_of(client) as error:
            guilty = [key for key in left if plan.store.left_behind(key)]
            deaths.update(guilty)
            if alone and alone[0].key in guilty:
                del left[alone[0].key]
                yield alone[0].key, _given_up(plan, alone[0])
            fruitless = 0 if guilty or len(left) < before else fruitless + 1
            if fruitless == _TRIES:
                text = " ".join(str(error).split())
                raise InputError(f"the workers end before they begin: {text}") from None


def _given_up(plan: Plan, cell: Cell) -> records.Outcome:
    with plan.store.claim(cell.key, True):
        with contextlib.suppress(records.Damaged):
            known = plan.known(cell.key)
            if known is not None:
                return known
        return _record(plan, cell, records.Outcome([], _DIED))


def _in_pool(
    plan: Plan, cells: Sequence[Cell], wait: bool, pool: Pool, client: Any
) -> Iterator[Result]:
    import joblib

    if client is None:
        _report_all_semaphores()
        # Never one worker: joblib would then compute in this process.
        count = max(2, min(pool.workers or joblib.cpu_count(), len(cells)))
        settings: dict[str, Any] = {
            "backend": "loky",
            "inner_max_num_threads": 1,
            "idle_worker_timeout": _IDLE,
            "initializer": _born,
            "initargs": (plan.study, plan.code),
        }
        form: dict[str, Any] = {"n_jobs": count}
    else:
        from sam_theory.sweeps.cluster import Backend

        settings = {"backend": Backend(client=client)}
        form = {"n_jobs": -1, "batch_size": 1, "pre_dispatch": pool.workers or "2 * n_jobs"}
    with joblib.parallel_config(**settings):
        parallel = joblib.Parallel(return_as="generator_unordered", **form)
        results = parallel(joblib.delayed(_compute_in_worker)(plan, cell, wait) for cell in cells)
        try:
            # Not `yield from`, which would close the results before the warning is silenced.
            for result in results:  # noqa: UP028
                yield result
        except BaseException:
            with warnings.catch_warnings():
                # Leaving early, on an error or an interrupt, is meant: what is done is recorded.
                warnings.simplefilter("ignore")
                results.close()
            if client is None:
                plan.store.clear({cell.key for cell in cells})
            raise


@functools.cache
def _report_all_semaphores() -> None:
    """Have loky's resource tracker told at exit of the last semaphores that were removed.

    It calls leaked, on stderr, a semaphore of whose removal it was not told. That is so where the
    garbage collector finds one while another message is on its way: the tracker is told with the
    next message, if there is one. And it is so where the thread that feeds a queue is the last to
    hold one, and the process ends between its removal and the message.
    """
    util.Finalize(None, _report_semaphores, exitpriority=_AFTER_SEMAPHORES)


def _report_semaphores() -> None:
    from joblib.externals.loky.backend.resource_tracker import ensure_running

    for thread in threading.enumerate():
        if thread.name == _FEEDER:
            thread.join(_ENDING)
    ensure_running()


def _born(study: Study, code: str) -> None:
    """Begin a worker; joblib starts new ones when the arguments are others."""
    hold_one_thread()


def _deaths_of(client: Any) -> type[BaseException]:
    """Return the exception that says that a worker has ended."""
    if client is None:
        from joblib.externals.loky import BrokenProcessPool

        return BrokenProcessPool
    from distributed.scheduler import KilledWorker

    return KilledWorker
