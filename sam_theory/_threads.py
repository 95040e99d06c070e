"""Threads whose number changes no bit: BLAS on one, and our own over fixed parts or pieces."""

from __future__ import annotations

import contextlib
import functools
import os
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Generic, TypeVar

from threadpoolctl import ThreadpoolController

from .errors import InputError

Function = TypeVar("Function", bound=Callable[..., Any])
Item = TypeVar("Item")
Result = TypeVar("Result")

VARIABLE = "SAM_THEORY_THREADS"


class _OneBlasThread:
    """Holds BLAS to one thread while any caller is inside; entering again costs a microsecond."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.inside = 0
        self.former: list[tuple[Any, int]] = []

    def enter(self) -> None:
        with self.lock:
            self.inside += 1
            if self.inside > 1:
                return
            counts = [(library, library.get_num_threads()) for library in _blas_libraries()]
            self.former = [(library, count) for library, count in counts if count != 1]
            _set_threads([(library, 1) for library, _ in self.former])

    def leave(self) -> None:
        with self.lock:
            self.inside -= 1
            if self.inside == 0:
                _set_threads(self.former)


_BRINGS_BLAS = ("numpy", "scipy.linalg", "torch")
"""Modules that load a BLAS of their own, each when it is first imported."""


def _blas_libraries() -> list[Any]:
    return _found_libraries(tuple(name in sys.modules for name in _BRINGS_BLAS))


@functools.cache
def _found_libraries(_loaded: tuple[bool, ...]) -> list[Any]:
    return list(ThreadpoolController().select(user_api="blas").lib_controllers)


def _set_threads(counts: list[tuple[Any, int]]) -> None:
    """Set libraries' numbers of threads, always from one thread of ours.

    OpenBLAS 0.3.31 ignores the number that a thread sets after another thread has set one.
    """
    if counts:
        _setter().submit(lambda: [library.set_num_threads(n) for library, n in counts]).result()


@functools.cache
def _setter() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(1, thread_name_prefix="sam-theory-blas")


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_setter.cache_clear)
_one_blas_thread = _OneBlasThread()
_worker = threading.local()


def single_threaded(function: Function) -> Function:
    """Decorate function to run with single-threaded BLAS."""

    @functools.wraps(function)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        _one_blas_thread.enter()
        try:
            return function(*args, **kwargs)
        finally:
            _one_blas_thread.leave()

    return wrapper  # type: ignore[return-value]


def worker_count(threads: int | None = None) -> int:
    """Return threads, else SAM_THEORY_THREADS from the environment, else the cores we may use."""
    if threads is None:
        text = os.environ.get(VARIABLE, "")
        if not text:
            return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 1
        if not text.isascii() or not text.isdigit() or int(text) < 1:
            raise InputError(f"{VARIABLE} must be an integer >= 1, not {text!r}")
        return int(text)
    if isinstance(threads, bool) or not isinstance(threads, int) or threads < 1:
        raise InputError(f"threads must be an integer >= 1, not {threads!r}")
    return threads


def parallel_map(
    function: Callable[[Item], Result], items: Sequence[Item], threads: int | None = None
) -> list[Result]:
    """Return [function(item) for item in items], computed on several threads.

    The parts are the caller's and do not depend on the number of threads; function must release
    the GIL for its heavy work (compiled with nogil, or BLAS, which should be single-threaded).
    Inside one of these threads, or with one thread, everything is computed in turn.
    """
    alone = len(items) <= 1 and threads is None
    workers = 1 if alone or _is_busy() else worker_count(threads)
    if alone or (len(items) <= 1 and workers > 1):
        return [function(item) for item in items]
    turns, results = _Turns(enumerate(items)), dict[int, Result]()

    def work() -> None:
        for index, item in turns:
            with turns.failing(index):
                results[index] = function(item)

    _on_threads(work, min(workers, len(items)), turns)
    return [results[index] for index in range(len(items))]


def parallel_pieces(jobs: Sequence[Iterator[None]], threads: int | None = None) -> None:
    """Carry out jobs that compute one piece whenever they are asked for their next item.

    A job belongs to no thread: each takes the piece that has waited longest, of two jobs per thread
    at a time. So threads end together although jobs are few or a core is slow. As for
    :func:`parallel_map`, the pieces do not depend on the number of threads. Of several jobs that
    fail, the first one's error is raised.
    """
    workers = 1 if _is_busy() else max(1, min(worker_count(threads), len(jobs)))
    turns = _Turns(enumerate(jobs))

    def one_by_one() -> Iterator[None]:
        for index, job in turns:
            with turns.failing(index):
                yield from job

    begun = deque(one_by_one() for _ in range(1 if workers == 1 else 2 * workers))

    def work() -> None:
        while begun and not turns.over:
            try:
                pieces = begun.popleft()
                next(pieces)
            except (IndexError, StopIteration):
                continue
            begun.append(pieces)

    _on_threads(work, workers, turns)


class _Turns(Generic[Item]):
    """Numbered items, each handed to the thread that asks first, until one has failed."""

    def __init__(self, items: Iterator[tuple[int, Item]]) -> None:
        self.items, self.over = items, False
        self.failed: dict[int, Exception] = {}

    def __iter__(self) -> Iterator[tuple[int, Item]]:
        return self

    def __next__(self) -> tuple[int, Item]:
        if self.over or self.failed:
            raise StopIteration
        return next(self.items)

    @contextlib.contextmanager
    def failing(self, index: int) -> Iterator[None]:
        """Note what an item raises, which ends the turns."""
        try:
            yield
        except Exception as error:
            self.failed[index] = error
        except BaseException:
            self.over = True
            raise


def _is_busy() -> bool:
    """Whether this is one of the threads, or one that computes in turn."""
    return getattr(_worker, "busy", False)


def _on_threads(work: Callable[[], None], workers: int, turns: _Turns[Any]) -> None:
    """Let this thread and others, so many together, do their turns; raise the first item's error.

    Nobody waits item by item: a waiter that wakes up takes the interpreter, and a core, from those
    who work.
    """
    try:
        others = [_pool(workers - 1).submit(work) for _ in range(workers - 1)]
        busy, _worker.busy = _is_busy(), True
        try:
            work()
        finally:
            _worker.busy = busy
        for other in others:
            other.result()
    finally:
        turns.over = True
    if turns.failed:
        raise turns.failed[min(turns.failed)]


@functools.cache
def _pool(workers: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(workers, "sam_theory", initializer=_begin_worker)


def _after_fork() -> None:
    """Forget the parent's threads, which a child process has not, and what they held."""
    _pool.cache_clear()
    _setter.cache_clear()
    _one_blas_thread.lock = threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


def _begin_worker() -> None:
    _worker.busy = True
