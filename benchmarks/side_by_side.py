"""The same work in two processes at once, which share nothing: what two cores can give here."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable
from multiprocessing.connection import Connection
from types import TracebackType
from typing import Any

START = 300.0


def _serve(pipe: Connection, make: Callable[..., Callable[[], Any]], arguments: Any) -> None:
    call = make(*arguments)
    call()
    pipe.send(None)
    for _ in iter(pipe.recv, None):
        pipe.send(call())


class TwoProcesses:
    """Two processes that each do the work whenever the pair is called.

    ``make(*arguments)`` makes the call in each of them; a call returns both answers, after both.
    One of them can do the work alone as well: what both give is to be compared with that.
    """

    def __init__(self, make: Callable[..., Callable[[], Any]], *arguments: Any) -> None:
        context = multiprocessing.get_context("spawn")
        self._pipes, self._processes = [], []
        for _ in range(2):
            ours, theirs = context.Pipe()
            process = context.Process(target=_serve, args=(theirs, make, arguments), daemon=True)
            process.start()
            theirs.close()
            self._pipes.append(ours)
            self._processes.append(process)

    def __enter__(self) -> TwoProcesses:
        """Wait until both have done the work once."""
        for pipe in self._pipes:
            if not pipe.poll(START):
                raise TimeoutError("a process did not begin")
            pipe.recv()
        return self

    def __call__(self) -> tuple[Any, Any]:
        """Do the work in both at once."""
        for pipe in self._pipes:
            pipe.send(True)
        first, second = (pipe.recv() for pipe in self._pipes)
        return first, second

    def alone(self) -> Any:
        """Do the work in one of them while the other waits."""
        self._pipes[0].send(True)
        return self._pipes[0].recv()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """End both."""
        for pipe, process in zip(self._pipes, self._processes, strict=True):
            pipe.send(None)
            process.join()
            pipe.close()
